"""What a place for records must do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from motet.serving.sinks.records import Records

__all__ = ["RefusedError", "Target", "told"]


class RefusedError(Exception):
    """Records that cannot be written, now or later: it is their fault.

    Args:
        why: the reason.
        whole: whether all the records of the write are at fault, or some of them that are to be found.
    """

    def __init__(self, why: str, *, whole: bool = False) -> None:
        self.whole = whole
        super().__init__(why)


def told(error: BaseException) -> str:
    """What the log says of an error of a target: its class and its first line, without statements and their values."""
    cause = getattr(error, "orig", None) or error
    first, _, _ = str(cause).partition("\n")
    return f"{type(cause).__name__}: {first}".rstrip(": ")


class Target(Protocol):
    """A place for records.

    Attributes:
        is_log: whether what was written is on disk when `write` returns, so that no spool is needed before it.
    """

    is_log: bool

    def prepare(self, table: str, kinds: Mapping[str, str]) -> None:
        """Make room for records of a table; any thread may ask.

        Raises:
            GraphError: when what is there does not fit.
            Exception: of any other kind, when it cannot be reached now.
        """
        ...

    def write(self, batch: Sequence[Records], name: str) -> None:
        """Write records, all or none; one thread at a time.

        Args:
            batch: the records.
            name: names the batch: the same records that are written again have the same name.

        Raises:
            RefusedError: when some of the records cannot be written.
            Exception: of any other kind, when it cannot be reached now.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
