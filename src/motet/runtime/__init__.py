"""Playing graphs: the executor, the host of loaded models, and finding the rows at fault.

executor.py   plays a graph over batches; graph_models.py: the models that its nodes call
host.py       loaded models: batches of the best size, copies, functions around them
sizes.py      the best number of rows a call, found while running
asides.py     members off the way of the answer, called later (shadows)
functions.py  users' functions
isolate.py    halving until the rows at fault stand alone
session.py    the executor of a graph that is called: when it is made, lent and closed
deadline.py   calls that are awaited, or may not take longer
resolve.py    from a model's URI to its file, handler and signature
given.py      what is given by name as the batch that a graph takes; bind.py: also what Arrow stores
call.py       arrays in, arrays out; explaining a row
predict.py    rows in, rows out; rows.py: rows of JSON as columns
explanation.py  how the answer of one row came about
"""
