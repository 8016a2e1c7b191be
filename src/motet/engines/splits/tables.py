"""Tables as outputs of workers: which rows a table cannot take, and rows that workers write into it by their ids themselves.

A split may be played twice, at the same time too: its rows are written over by the same ones. A table in a folder or a file is written
by the driver, which puts together what workers answered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from motet.batch import Indices
from motet.engines.layout import failures_table
from motet.engines.local.output import Refuses
from motet.engines.local.table_output import TableDestination, TableOutput
from motet.errors import Failure
from motet.io.sink import CountingWriter
from motet.io.take import take_batch

__all__ = ["SplitTable", "TableWriter"]


@dataclass(frozen=True)
class SplitTable:
    """What workers must know of a table that answers go to.

    Attributes:
        refuses: which rows it cannot take; they fail alone.
        destination: the table, where workers write into it; None where the driver does.
    """

    refuses: Refuses
    destination: TableDestination | None = None

    def taken(
        self, ids: Indices, answers: pa.RecordBatch, failures: pa.RecordBatch
    ) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """The answers that it takes, and the failures with those that it does not.

        Args:
            ids: of the rows that were played.
            answers: of those that did not fail.
            failures: of the others.
        """
        refused = self.refuses(answers) if len(answers) else {}
        if not refused:
            return answers, failures
        own = np.setdiff1d(ids, failures["row"].to_numpy())
        more = failures_table(
            [Failure(int(own[row]), "output", "", "", "InputError", why) for row, why in refused.items()]
        )
        both = pa.Table.from_batches([failures, more]).sort_by("row").combine_chunks()
        kept = np.setdiff1d(np.arange(len(answers)), list(refused))
        return take_batch(answers, kept), both.to_batches()[0]


class TableWriter:
    """Writes the answers of a split into a table, and a part that says so. See `BatchWriter`.

    Args:
        destination: the table.
        schema: of the answers.
        part: the writer of the part, which has no rows.

    Attributes:
        rows: rows that it has taken.
    """

    def __init__(self, destination: TableDestination, schema: pa.Schema, part: CountingWriter) -> None:
        self._part, self._output, self.rows = part, TableOutput.of(destination), 0
        self._output.open(schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch."""
        self._output.write(batch)
        self.rows += len(batch)

    def close(self) -> None:
        """Have all rows stay, and let the part appear."""
        self._output.close()
        self._part.close()

    def abort(self) -> None:
        """Let go of both: rows that are written stay, and will be written over."""
        self._output.abort()
        self._part.abort()
