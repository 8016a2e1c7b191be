"""What a run would do and take, told from its first rows: a run that writes nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from motet.engines.local.head import Cost
from motet.engines.local.report import peak_memory_bytes, save_json
from motet.engines.local.selection import Ids
from motet.errors import Failure

__all__ = ["NOTHING_TRIED", "Estimate", "Tried", "estimated_memory", "estimated_seconds", "try_rows"]

WARM_UP, FIRST = 4, 16
"""Rows that are played before the clock runs, and then."""
ENOUGH_SECONDS = 1.0
"""Rows that take so long are enough to tell what all take."""
GROUP_ROWS = 65_536
"""Rows that are held of an output that is written."""
SHOWN = 3
"""Failures of the rows tried that are shown."""


@dataclass(frozen=True)
class Tried:
    """What a few rows took.

    Attributes:
        rows: how many were played.
        failures: of them.
        cost: what a batch takes.
        read_bytes: bytes of a row as it is read.
        written_bytes: bytes of a row as it is written.
    """

    rows: int
    failures: tuple[Failure, ...]
    cost: Cost
    read_bytes: float
    written_bytes: float


NOTHING_TRIED = Tried(0, (), Cost(0.0, 0.0), 0.0, 0.0)


def try_rows(
    read: pa.RecordBatch, ids: Ids, play: Callable[[pa.RecordBatch, Ids], tuple[Sequence[Failure], int]]
) -> Tried:
    """Play more and more rows, each once, until it is known what they take.

    Args:
        read: the rows.
        ids: their ids.
        play: plays some of them; gives the failures, and the bytes of the answers.
    """
    failures: list[Failure] = []
    took: list[tuple[int, float]] = []
    done, written, size = 0, 0, WARM_UP
    while done < len(ids) and sum(seconds for _, seconds in took) < ENOUGH_SECONDS:
        begun = time.perf_counter()
        failed, count = play(read.slice(done, size), ids[done : done + size])
        rows = len(ids[done : done + size])
        took.append((rows, time.perf_counter() - begun))
        failures += failed
        done, written = done + rows, written + count
        size = FIRST if len(took) == 1 else 4 * rows
    return Tried(done, tuple(failures), _cost(took), read.nbytes / len(ids), written / max(done, 1))


def _cost(took: Sequence[tuple[int, float]]) -> Cost:
    """What a batch takes, from the last two parts; of few rows all that they took is the rows'."""
    rows, seconds = took[-1]
    less, before = took[-2] if len(took) > 2 else (0, 0.0)
    row = max(0.0, seconds - before) / max(1, rows - less) if rows > less else seconds / rows
    return Cost(max(0.0, seconds - rows * row), row)


@dataclass(frozen=True)
class Estimate:
    """What a run would do and take.

    Attributes:
        graph: the graph's name.
        source: what would be read.
        output: what would be written.
        rows: rows that would be played; None where only reading them all would tell.
        files: files that would be read; 0 where the source is none.
        bytes: what these hold.
        columns: the columns that would be written.
        columns_left_out, files_left_out: see `RunReport`.
        tried: rows that were played to see what they take.
        failures: those of them that failed, as `Failure`.
        batch_rows: rows of a batch.
        workers: threads that would play.
        seconds: about how long all rows would take on this machine, as it was just now; of a million where `rows` is None.
        memory_bytes: about the most memory that it would need.
        paid: whether a model is paid, so that no row was tried, and `seconds` and `memory_bytes` say nothing of models and answers.
    """

    graph: str
    source: str
    output: str
    rows: int | None
    files: int
    bytes: int
    columns: tuple[str, ...]
    columns_left_out: tuple[str, ...]
    files_left_out: str
    tried: int
    failures: tuple[Failure, ...]
    batch_rows: int
    workers: int
    seconds: float
    memory_bytes: int
    paid: bool = False

    def to_json(self) -> str:
        """The estimate as JSON."""
        return json.dumps(asdict(self), indent=2)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the estimate as JSON; see `RunReport.save`."""
        save_json(path, self.to_json())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The estimate as a notebook shows it."""
        printer.text(str(self))

    def __str__(self) -> str:
        rows = "rows: only reading them all would tell" if self.rows is None else f"{self.rows:,} rows"
        files = f" in {self.files:,} file{'s' if self.files > 1 else ''} of {_size(self.bytes)}" if self.files else ""
        time_taken = f"about {_duration(self.seconds)}{'' if self.rows is not None else ' for a million rows'}"
        lines = [
            f"{self.graph}: {rows}{files}; nothing was written",
            f"{self.source} -> {self.output}",
            self.files_left_out,
        ]
        if not self.workers:  # there is nothing to play
            return "\n".join(lines)
        if self.paid:
            time_taken = "tried no rows, since a model is paid; what they take is not known"
            return "\n".join([*filter(None, lines), f"columns: {', '.join(self.columns)}", time_taken])
        lines += [
            f"columns: {', '.join(self.columns)}",
            f"columns left out: {', '.join(self.columns_left_out)} (--keep names those to write)"
            if self.columns_left_out
            else "",
            f"{self.workers} workers, {self.batch_rows:,} rows a batch: {time_taken}, "
            f"about {_size(self.memory_bytes)} of memory",
            f"tried {self.tried:,} rows, {len(self.failures):,} failed",
            *(f"  {failure}" for failure in self.failures[:SHOWN]),
        ]
        return "\n".join(filter(None, lines))


def nothing_to_estimate(graph: str, source: str, output: str, said: str) -> Estimate:
    """The estimate of a run that has no rows to play."""
    return Estimate(
        graph=graph, source=source, output=output, rows=0, files=0, bytes=0, columns=(), columns_left_out=(),
        files_left_out=f"nothing new: {said}", tried=0, failures=(), batch_rows=0, workers=0, seconds=0.0, memory_bytes=0,
    )  # fmt: skip


def estimated_seconds(tried: Tried, rows: int, batch_rows: int, workers: int, reading: float, loading: float) -> float:
    """Seconds that a run takes whose reading and playing are side by side.

    Args:
        tried: what its first rows took.
        rows: how many it has.
        batch_rows: rows of a batch.
        workers: threads that play.
        reading: seconds that reading a row takes.
        loading: seconds that the models took to load.
    """
    batches = -(-rows // batch_rows)
    playing = rows * tried.cost.row + batches * tried.cost.overhead
    return loading + max(rows * reading, playing / min(workers, max(batches, 1)))


def estimated_memory(tried: Tried, rows: int | None, batch_rows: int, workers: int) -> int:
    """Bytes that a run needs at most: this process as it is, the batches under way, and a group of the output."""
    most = batch_rows * (2 * workers + 3)
    held = most if rows is None else min(rows, most)
    group = GROUP_ROWS if rows is None else min(rows, GROUP_ROWS)
    return peak_memory_bytes() + int(held * (tried.read_bytes + tried.written_bytes) + 2 * group * tried.written_bytes)


def _size(count: float) -> str:
    power = min(4, max(0, int(count).bit_length() - 1) // 10)
    return f"{count / 1024**power:,.0f} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
