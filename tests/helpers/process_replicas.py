"""What the tests of process replicas share."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from motet.models import ModelSource, handler_by_name
from motet.runtime.replicas.process.replica import ProcessReplica


def made(location: str = "helpers.replica_models:Doing", options: Any = None, **settings: Any) -> Any:
    """A replica of a Python model that was not started."""
    return ProcessReplica(handler_by_name("python"), ModelSource("doing", location, options or {}), **settings)


@contextmanager
def started(*args: Any, **settings: Any) -> Iterator[Any]:
    """A replica that was started, and is closed behind."""
    replica = made(*args, **settings)
    replica.start()
    try:
        yield replica
    finally:
        replica.close()


def do(replica: Any, what: Any, x: Any = None, timeout_s: Any = None) -> Any:
    """Have a model do something."""
    x = np.arange(6, dtype=np.float32).reshape(3, 2) if x is None else x
    return replica.call({"what": np.array([what] * len(x), dtype=object), "x": x}, timeout_s)["output"]


def held() -> Any:
    """What this process holds: its descriptors, and its mappings of shared memory."""
    with open("/proc/self/maps") as file:
        mapped = sum("memfd:motet" in line for line in file)
    return len(os.listdir("/proc/self/fd")), mapped
