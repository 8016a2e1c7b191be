"""What a run did: as an object, as JSON, and as a table."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from motet.io.places import place_of
from motet.io.target import write_file, writing
from motet.runtime.host import ModelRuntime
from motet.runtime.stats import ModelStats, NodeStats
from motet.system.html import paragraph, table

__all__ = ["ModelReport", "NodeReport", "NothingNew", "RunReport", "model_reports", "node_reports", "peak_memory_bytes"]

_NODE = {
    "node": "name", "rows": "rows", "batches": "batches", "failed": "failed",
    "queue s": "seconds_queue", "compute s": "seconds_compute",
}  # fmt: skip
_MODEL = {
    "model": "name", "version": "version", "rows": "rows", "calls": "calls", "failed": "failed",
    "compute s": "seconds_compute", "rows a call": "batch_rows", "loads": "loads",
}  # fmt: skip
_USED = {"prompt tokens": "prompt_tokens", "completion tokens": "completion_tokens", "cost": "cost"}  # fmt: skip
"""What tables call the attributes of reports."""


@dataclass(frozen=True)
class NodeReport:
    """What a node did.

    Attributes:
        name: the node, behind the graphs it stands in: `outer/inner`.
        rows: rows it was given.
        batches: batches it was given.
        failed: rows that failed in it.
        seconds_queue: seconds its rows waited for a replica.
        seconds_compute: seconds in it, added over the workers.
    """

    name: str
    rows: int
    batches: int
    failed: int
    seconds_queue: float
    seconds_compute: float


@dataclass(frozen=True)
class ModelReport:
    """What a model did.

    Attributes:
        name: the model.
        version: its version.
        rows: rows it was given.
        calls: calls made.
        failed: rows that failed in it.
        seconds_compute: seconds in calls, added over the workers.
        batch_rows: rows a call has, as found or declared.
        loads: how many times it was loaded: more than once where it had to go for others in between, and once in each
            process of a cluster that needs it.
        prompt_tokens, completion_tokens: that a language model used.
        cost: of these, where its price is said.
    """

    name: str
    version: str
    rows: int
    calls: int
    failed: int
    seconds_compute: float
    batch_rows: int
    loads: int = 1
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    Attributes:
        graph: the graph's name.
        source: what was read.
        output: what was written.
        failed_output: where failures were written, empty where no row failed and no file was asked for.
        first_failures: the first few of them, as people read them.
        rows: rows played, those of an earlier part of a resumed run included.
        answered: rows with an answer.
        failed: rows without one.
        resumed_rows: rows that an earlier part of a resumed run had done.
        seconds: the whole run.
        rows_per_second: rows played by this part of the run, in a second.
        seconds_reading: seconds of the reader; on a cluster added over the workers.
        seconds_writing: seconds of the writer; on a cluster added over the workers.
        seconds_waiting: seconds the writer waited for answers; 0 on a cluster.
        batch_rows: rows of a batch.
        workers: threads that played; on a cluster processes.
        peak_memory_bytes: the most memory the process has had, or one of the workers of a cluster.
        sizes_file: where the batch sizes that were found are remembered.
        nodes: what each node did.
        models: what each model did.
        loads: where rows were brought together by key, how often the models of that route were loaded, and how many models
            the rows of each split lead to, added up: each would have been loaded for its split once, or more often.
        left_out: models that no store had when the graph was built, whose members took no part.
        columns_left_out: columns of the source that are not written though nobody asked for that: arrays and bytes that
            the graph takes, and what the format cannot hold.
        files_left_out: what the source did not read of its folder: `2 files left out: 1 .db, 1 .heic`; empty for nothing.
    """

    graph: str
    source: str
    output: str
    failed_output: str
    rows: int
    answered: int
    failed: int
    resumed_rows: int
    seconds: float
    rows_per_second: float
    seconds_reading: float
    seconds_writing: float
    seconds_waiting: float
    batch_rows: int
    workers: int
    peak_memory_bytes: int
    sizes_file: str
    nodes: Sequence[NodeReport] = field(default_factory=tuple)
    models: Sequence[ModelReport] = field(default_factory=tuple)
    loads: tuple[int, int] = (0, 0)
    left_out: Sequence[str] = field(default_factory=tuple)
    files_left_out: str = ""
    columns_left_out: Sequence[str] = field(default_factory=tuple)
    first_failures: Sequence[str] = field(default_factory=tuple)

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(asdict(self), indent=2)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as JSON.

        Args:
            path: a path or an fsspec URL.

        Raises:
            InputError, RunError: when it cannot be written.
        """
        save_json(path, self.to_json())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The report as a shell shows it."""
        printer.text(str(self))

    def _repr_html_(self) -> str:
        """The report as a notebook shows it."""
        return "".join([paragraph(self._head()), *(table(*each) for each in self._tables()), paragraph(self._foot())])

    def __str__(self) -> str:
        tables = [line for each in self._tables() for line in _table(*each)]
        return "\n".join([*self._head(), *tables, "", *self._foot()]).rstrip()

    def _head(self) -> list[str]:
        lines = [
            f"{self.graph}: {self.rows:,} rows, {self.answered:,} answered, {self.failed:,} failed, "
            f"{self.seconds:.2f} s, {self.rows_per_second:,.0f} rows/s, peak memory {self.peak_memory_bytes / 2**20:,.0f} MiB",
            f"{self.source} -> {self.output}",
        ]
        if self.files_left_out:
            lines.append(self.files_left_out)
        if self.resumed_rows:
            lines.append(f"{self.resumed_rows:,} rows were done by an earlier part of this run")
        if self.loads[1]:
            lines.append(
                "rows brought together by key: {:,} loads of models, against {:,} for each split by itself".format(
                    *self.loads
                )
            )
        if self.columns_left_out:
            lines.append(f"columns left out: {', '.join(self.columns_left_out)} (--keep names those to write)")
        if self.left_out:
            lines.append(f"left out, for no store had them: {', '.join(self.left_out)}")
        return lines

    def _tables(self) -> list[tuple[Sequence[str], Sequence[Sequence[str]]]]:
        used = {head: name for head, name in _USED.items() if any(getattr(each, name) for each in self.models)}
        return [_columns(_NODE, self.nodes), _columns({**_MODEL, **used}, self.models)]

    def _foot(self) -> list[str]:
        if not self.workers:  # there was nothing to play
            return []
        waited = f", writer waited {self.seconds_waiting:.3f} s" if self.seconds_waiting else ""
        times = f"reading {self.seconds_reading:.3f} s, writing {self.seconds_writing:.3f} s{waited}"
        lines = [f"{times}; {self.workers} workers, {self.batch_rows:,} rows a batch"]
        if self.failed_output:
            lines.append(f"failures: {self.failed_output}")
        return lines


def save_json(path: str | os.PathLike[str], text: str) -> None:
    """Write what is said of a run to a path or an fsspec URL, in a folder that is made where it is not there."""
    where = os.fspath(path)
    if (place := place_of(where)).is_local:
        with writing(where):
            os.makedirs(os.path.dirname(place.path) or ".", exist_ok=True)
    write_file(where, f"{text}\n".encode())


def _columns(attributes: Mapping[str, str], items: Sequence[object]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """A header, and a row for each item: its attributes by what the table calls them."""
    return tuple(attributes), [[_cell(getattr(each, name), name) for name in attributes.values()] for each in items]


def _cell(value: str | int | float, name: str) -> str:
    if name == "cost":
        return f"{value:.6g}"
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side, the first to the left, the others to the right."""
    if not rows:
        return []
    lines = [header, *rows]
    first, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
    return ["", *("  ".join([line[0].ljust(first), *map(str.rjust, line[1:], others)]).rstrip() for line in lines)]


class NothingNew(Exception):
    """A run that appends has no files to play: all are done."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


def nothing_to_do(graph: str, source: str, output: str, said: str) -> RunReport:
    """The report of a run that had no rows to play, and touched nothing."""
    return RunReport(
        graph=graph, source=source, output=output, failed_output="", rows=0, answered=0, failed=0, resumed_rows=0, seconds=0.0,
        rows_per_second=0.0, seconds_reading=0.0, seconds_writing=0.0, seconds_waiting=0.0, batch_rows=0, workers=0,
        peak_memory_bytes=peak_memory_bytes(), sizes_file="", files_left_out=f"nothing new: {said}",
    )  # fmt: skip


def node_reports(stats: Mapping[str, NodeStats]) -> list[NodeReport]:
    """What each node did; a node of models is busy as long as its calls are, for none waits for a replica here."""
    return [NodeReport(name, s.rows, s.batches, s.failed, 0.0, s.seconds) for name, s in stats.items()]


def model_reports(models: Iterable[tuple[ModelRuntime, ModelStats]]) -> list[ModelReport]:
    """What each model did."""
    return [_model_report(model, stats) for model, stats in models]


def _model_report(model: ModelRuntime, stats: ModelStats) -> ModelReport:
    used = stats.used
    return ModelReport(
        name=model.model.name,
        version=model.located.version,
        rows=stats.rows,
        calls=stats.calls,
        failed=stats.failed,
        seconds_compute=stats.seconds,
        batch_rows=model.size.best,
        loads=model.stats.loads,
        prompt_tokens=used.prompt_tokens,
        completion_tokens=used.completion_tokens,
        cost=used.cost,
    )


def peak_memory_bytes() -> int:
    """The most memory that the process has had, as the system counts it.

    Linux counts the program that began this one as well in `ru_maxrss`, which `VmHWM` leaves out.
    """
    _, found, after = _own_status().partition("\nVmHWM:")
    if found:
        return int(after.split(maxsplit=1)[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _own_status() -> str:
    """What Linux says of this process; empty elsewhere."""
    try:
        with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
