"""The embedded engine: source -> batches -> executor -> ordered output, on this machine with nothing to start.

A run is prepared, begins, plays and is finished; each line of modules below uses those below it:

engine.py, dry_run.py            a run, and one that writes nothing
results.py, beginning.py         what is done with what was played; where a run begins, and may
prepared.py, options.py          what a run is put together from; what it may be asked
pipeline.py, batches.py          reads, plays and hands on in order, all at the same time; how a batch is played
rows.py, selection.py, replay.py which rows are read
head.py, sizing.py               rows of a batch and of a call, by what they take
turns.py                         taking turns on this machine
merge.py, append.py, done.py     answers put into an output that is there; parts added to it
destination.py, output.py, folder_output.py, failure_file.py     where answers and failures go
journal.py, pending.py, manifest.py, work.py, lease.py     what is finished, so that a run that dies goes on where it stopped
no_overwrite.py                  nothing is written over what is read
streams/                         topics of Kafka, which have no end
report.py, estimate.py           what a run did, and what it would
"""
