"""A client of servers that speak the Open Inference Protocol: Motet's own, Triton, KServe and others.

    from motet.client import Client

    with Client("http://localhost:8000") as client:
        answer = client.infer("fashion", {"image": images})     # arrays in, arrays out
        rows = client.predict("fashion", [{"image": image}])     # rows in, rows out: Motet's own form

`AsyncClient` has the same methods, to be awaited. Both need the extra `client`.

Where a change goes:

    sync.py, aio.py   the two clients: connections, and the driving of flows
    flows.py          the methods, and what is asked and read for each, without any connection
    convert.py        values that users give as tensors or JSON, and answers put together
    refusals.py       from what a server answered to our errors
"""

from motet.client.aio import AsyncClient
from motet.client.sync import Client

__all__ = ["AsyncClient", "Client"]
