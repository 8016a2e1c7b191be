"""Streams without end: windows of a topic of Kafka, each played and written out before its offsets are.

run.py                                the loop: read a window, play it, write it out; when it ends
topic_reader.py                       a window of messages; which partitions are this process's, and where they begin
window.py                             messages as rows, answers as JSON or as tables
topic_output.py, folder_output.py     where a window goes, so that one that is done again changes nothing
client.py, address.py                 what is said to the client of Kafka, and what it says
"""
