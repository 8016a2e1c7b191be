"""HTTP/1.1.

connection.py   one client's connection: parsing, limits, timeouts, order of answers
exchange.py     what stands in a connection's line of answers
asgi.py         a request that the ASGI application answers
infer.py        the inference routes, which do without it; infer_batch.py: requests of theirs that are read and answered together
respond.py      heads and errors as bytes
front.py        what the connections of a process share: routes, limits, clock, the sweep
"""
