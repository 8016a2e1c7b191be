"""Whole jobs through a server of Spark Connect, which takes data frames alone: a task is a row of one."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import cloudpickle
import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql.utils import is_remote

from motet.errors import InputError, RunError
from motet.tracebacks import said

__all__ = ["SCHEME", "mapped", "session_at", "session_of_program"]

T = TypeVar("T")
R = TypeVar("R")

SCHEME = "sc://"
PORT = 15002
"""Where servers are asked whose address names no port."""
LOOK_S = 10.0
"""How long a server may take to take a connection: Spark itself would ask again for minutes."""
_REMOTE = "SPARK_CONNECT_MODE_ENABLED"
"""What tells PySpark, resource profiles among it, that sessions are those of servers."""


def session_of_program() -> Any:
    """The session of Spark Connect that the program has; None without one."""
    if not is_remote():
        return None
    from pyspark.sql.connect.session import SparkSession  # needs gRPC

    return SparkSession.getActiveSession()


@contextmanager
def session_at(url: str, conf: Sequence[tuple[str, str]] = ()) -> Iterator[Any]:
    """A session of a server, which ends with this.

    Args:
        url: `sc://HOST[:PORT]`, and what else Spark takes behind it.
        conf: settings of the session.

    Raises:
        InputError: when there is no server, it refuses the session, or a setting is not one of sessions.
    """
    _check_there(url)
    try:
        from pyspark.sql.connect.session import SparkSession
    except ImportError as error:
        raise InputError(said(error), where="engine spark", hint="pip install 'pyspark[connect]'") from error
    with ExitStack() as stack:
        try:
            session = SparkSession.builder.remote(url).create()
            stack.callback(session.stop)
            if _REMOTE not in os.environ:
                os.environ[_REMOTE] = "1"
                stack.callback(os.environ.pop, _REMOTE, None)
            for name, value in conf:
                session.conf.set(name, value)
        except PySparkException as error:
            raise InputError(_told(error), where="engine spark", hint="mend the options behind --") from error
        yield session


def mapped(session: Any, function: Callable[[T], R], items: Sequence[T], profile: Any = None) -> Iterator[R]:
    """Call a function for each item in workers of a server, and give what it returns; see `SplitEngine.map`.

    Raises:
        RunError: when the server ends it.
    """
    tag = f"motet-{uuid.uuid4().hex}"
    rows = [(number, bytearray(cloudpickle.dumps(item))) for number, item in enumerate(items)]
    frame = session.createDataFrame(rows, "number int, item binary").repartitionByRange(len(rows), "number")
    played = frame.mapInArrow(_Played(cloudpickle.dumps(function)), "result binary", profile=profile)
    session.addTag(tag)
    ended = False
    try:
        for row in played.toLocalIterator():
            yield cloudpickle.loads(bytes(row.result))
        ended = True
    except PySparkException as error:
        ended = True
        raise RunError(_told(error), where="engine spark", hint="--resume goes on with what is finished") from error
    finally:
        if not ended:
            session.interruptTag(tag)
        session.removeTag(tag)


class _Played:
    """Calls a function for items that come as record batches; what `mapInArrow` takes."""

    def __init__(self, pickled: bytes) -> None:
        self._pickled = pickled

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        function = cloudpickle.loads(self._pickled)
        for batch in batches:
            for item in batch["item"].to_pylist():
                result = cloudpickle.dumps(function(cloudpickle.loads(item)))
                yield pa.RecordBatch.from_pydict({"result": pa.array([result], pa.binary())})


def _check_there(url: str) -> None:
    """See that something takes connections at an address.

    Raises:
        InputError: when nothing does, or it is none.
    """
    shown = url.partition(";")[0].rstrip("/")  # without what follows, such as a token
    try:
        parts = urlsplit(shown)
        address = parts.hostname or "", parts.port or PORT
        socket.create_connection(address, LOOK_S).close()
    except (OSError, ValueError) as error:
        what = f"no server of Spark Connect answers at {shown}: {said(error)}"
        raise InputError(what, where="engine spark", hint=f"{SCHEME}HOST:PORT, {PORT} if left out") from error


def _told(error: PySparkException) -> str:
    """What an error says, without the traces of Java behind it."""
    return said(error).partition("\n\nJVM stacktrace:")[0].strip()
