"""What a table of a lake does when it is written to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, Protocol

import pyarrow as pa

from motet.errors import OutputExistsError

__all__ = ["LakeTable", "Rows", "made_meanwhile"]

Rows = Callable[[], Iterator[pa.RecordBatch]]
"""Gives all rows from the first one on, in record batches of some thousand rows, as often as it is called."""


class LakeTable(Protocol):
    """A table that rows are added to in one transaction. One thread may touch it.

    Attributes:
        database: what people call it.
        replaces: whether its rows can go in the transaction in which new ones come.
    """

    database: ClassVar[str]
    replaces: ClassVar[bool]

    def schema(self) -> pa.Schema | None:
        """The columns that are there; None where there is no such table.

        Raises:
            InputError: when it cannot be looked at, or written to.
        """
        ...

    def partitions(self) -> list[str]:
        """The columns that it is partitioned by where its rows are replaced; none where there is no such table."""
        ...

    def stored(self, kind: pa.DataType) -> pa.DataType | None:
        """What values of a type are kept as, every one of them unchanged; None where they cannot be kept."""
        ...

    def prepare(self, schema: pa.Schema) -> None:
        """See that rows of a schema can be added, before any is played; nothing is made."""
        ...

    def commit(
        self, rows: Rows, schema: pa.Schema, noted: str, note: Callable[[str], None], *, replaces: bool, creates: bool
    ) -> None:
        """Add rows, in one transaction: who reads the table sees all of them or none.

        Args:
            rows: the rows.
            schema: theirs; that of the table where it is there and not replaced.
            noted: what an earlier try of the same run has noted; empty for nothing. Where that one was committed, this does
                nothing.
            note: keeps what the transaction is known by, before it is made.
            replaces: whether the rows of the table go in the same transaction.
            creates: whether it was not there when the run began, so that one that is there is somebody else's.

        Raises:
            OutputExistsError: when somebody else has made the table meanwhile.
            RunError: when it cannot be done; the same call with what was noted may be made again.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def made_meanwhile(where: str) -> OutputExistsError:
    """What is said where a run would make a table that somebody else has made since it began."""
    return OutputExistsError(
        "was made by somebody else while the run went on",
        where=where,
        hint="begin anew: ?mode=append behind its name adds to it, --overwrite replaces it",
    )
