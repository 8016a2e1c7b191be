"""The embedded engine: source -> batches -> executor -> ordered output, on this machine with nothing to start.

engine.py    puts a run together
options.py   what a run may be asked
layout.py    which columns go in and out
pipeline.py  reads, plays and hands on in order, all at the same time
journal.py   what is finished, so that a run that dies goes on where it stopped
manifest.py  what a run is, so that it never goes on over something else
output.py    the final files
sizing.py    rows of a batch and of a call
report.py    what a run did
"""
