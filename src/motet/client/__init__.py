"""A client of servers that speak the Open Inference Protocol: Motet's own, Triton, KServe and others.

    from motet.client import Client

    with Client("http://localhost:8000") as client:
        answer = client.infer("fashion", {"image": images})     # arrays in, arrays out
        rows = client.predict("fashion", [{"image": image}])     # rows in, rows out: Motet's own form

    with client.stream("answers", {"text": "Why?"}) as stream:   # a text while it is written, piece by piece
        for piece in stream: print(piece, end="")

`AsyncClient` has the same methods, to be awaited (and `async with client.stream(...)`, `async for`). Both need the extra `client`.

Where a change goes:

    sync.py, aio.py   the two clients: connections, and the driving of flows
    flows.py          the methods, and what is asked and read for each, without any connection
    calls.py          how the server is asked: what every call has, how often it is made, whose mistake a wrong answer is
    streams.py        texts that are read while they are written, and events.py, what comes of them
    convert.py        values that users give as tensors or JSON, and answers put together
    refusals.py       from what a server answered to our errors
"""

from motet.client.aio import AsyncClient
from motet.client.streams import AsyncStreamedText, StreamedText
from motet.client.sync import Client

__all__ = ["AsyncClient", "AsyncStreamedText", "Client", "StreamedText"]
