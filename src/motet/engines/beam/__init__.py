"""Apache Beam: graphs inside other people's pipelines, and whole jobs.

engine.py       whole jobs, over splits
transform.py    `Graph.as_ptransform()`: which types go in and out
handler.py      `Graph.as_model_handler()`: a graph for `RunInference`
refresh.py      other versions of models, as a side input tells of them
play.py         what workers do: rows are held until a batch is full or the bundle ends, and keep their windows, times and keys
rows.py         rows of Python (dicts, named tuples, Beam rows) as batches and back
tables.py       record batches and tables
workers.py      processes of Beam's runner in this process: one that is lost ends the pipeline
types.py        between types of columns and Beam's
"""
