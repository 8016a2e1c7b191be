"""What runs a graph from a source to a sink: one folder an engine behind one small protocol (engine.py).

job.py, batch_worker.py    what workers of an engine are given, and what plays it in them: batches of Arrow in, batches out
shipping.py                models on this machine's disks, for workers that do not reach them
player.py                  how a batch is played, and what ends a run
tables.py                  tables in pipelines of others
layout.py, undeclared.py   which columns go in and out; types that nobody declared
batch_rows.py              how many rows a batch has
collect.py                 runs whose answers are given back
"""
