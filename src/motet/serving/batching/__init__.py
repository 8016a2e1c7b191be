"""One served graph: requests of one tick of the event loop are one batch, and each is answered alone.

request.py         what a protocol hands in, and what it gets back; parameters.py: what all protocols understand alike
request_future.py  one whose answer is a future
graph_batcher.py   the bounded queue of a graph: takes batches from it, has them played
groups.py          which requests go together where models come and go
in_flight.py       a batch that is being played
placement.py       where a batch is played: in the loop, in a thread or as a task; what batches cost, which decides it
listened.py        a request whose texts are told while they are written
responder.py       gives each request its answer, once
hooks.py           who is told of what is played
response_cache.py  answers that are given again
"""
