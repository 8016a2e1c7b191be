"""What the rows of a graph take, as it was measured on one machine: data, which a file keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from motet.errors import InputError

__all__ = ["GraphProfile", "ModelProfile", "NodeProfile"]

VERSION = 1
"""Of the file."""


@dataclass(frozen=True)
class NodeProfile:
    """What a node takes.

    Attributes:
        name, kind: the node.
        seconds: of a row of the run, in a thread that plays batches as a run has them.
        by_rows: seconds of a row, by rows of a batch: the fastest of warm plays.
        model_seconds: of `seconds`, those in calls of models.
        accelerator_seconds: of `model_seconds`, those of models that ask for an accelerator.
    """

    name: str
    kind: str
    seconds: float
    by_rows: dict[int, float] = field(default_factory=dict)
    model_seconds: float = 0.0
    accelerator_seconds: float = 0.0

    @property
    def best_rows(self) -> int:
        """Rows of the batches whose rows were fastest; the fewest of those within 5 %."""
        if not self.by_rows:
            return 0
        least = min(self.by_rows.values())
        return min(rows for rows, seconds in self.by_rows.items() if seconds <= 1.05 * least)


@dataclass(frozen=True)
class ModelProfile:
    """What a model takes.

    Attributes:
        name: in its graph.
        memory_bytes: by how much the memory of the process grew at most while it was loaded and first called; 0 where that
            was not seen.
        load_seconds: of loading it.
        call_rows: rows of a call, as the runtime found or the graph says them; 0 where they were not found yet.
        declared: what the graph says it needs, as `resources` has it; empty where it says nothing.
        elsewhere: whether it is behind an address, and needs nothing here.
    """

    name: str
    memory_bytes: int = 0
    load_seconds: float = 0.0
    call_rows: int = 0
    declared: dict[str, float] = field(default_factory=dict)
    elsewhere: bool = False


@dataclass(frozen=True)
class GraphProfile:
    """What the rows of a graph take.

    Attributes:
        graph: its name.
        source: where the rows were from.
        rows: how many there are; None where nobody knows.
        played: how many were played.
        machine: where it was measured.
        cores: of it.
        nodes: in the order of play.
        models: each once.
        read_seconds, write_seconds: of a row, in the thread that reads, and the one that writes.
        convert_seconds: of a row, from what was read to columns and from columns to what is written.
        contention: how many times as long a row takes with a thread on every core as alone: 1 where threads do not disturb each
            other, `cores` where only one can work at a time.
        column_bytes: of a row, by input and by `node.column`.
        kept_bytes: of a row, of columns that are written as they were read.
        handover_seconds: of a byte that a stage leaves for the next: written and read, as Arrow files on the disk here.
        base_bytes: memory of a process without models.
        batch_bytes: by how much it grew at most while batches were played, for each thread.
        batch_rows: rows of a batch.
        load_seconds: of all models.
        accelerated: whether models that ask for an accelerator had one.
        failed: rows of those played that failed.
        version: of the file.
    """

    graph: str
    source: str
    rows: int | None
    played: int
    machine: str
    cores: int
    nodes: tuple[NodeProfile, ...]
    models: tuple[ModelProfile, ...] = ()
    read_seconds: float = 0.0
    write_seconds: float = 0.0
    convert_seconds: float = 0.0
    contention: float = 1.0
    column_bytes: dict[str, float] = field(default_factory=dict)
    kept_bytes: float = 0.0
    handover_seconds: float = 0.0
    base_bytes: int = 0
    batch_bytes: int = 0
    batch_rows: int = 1
    load_seconds: float = 0.0
    accelerated: bool = False
    failed: int = 0
    version: int = VERSION

    @property
    def play_seconds(self) -> float:
        """Of a row, in the thread that plays it."""
        return self.convert_seconds + sum(node.seconds for node in self.nodes)

    def rows_per_second(self, workers: int | None = None) -> float:
        """Rows that `motet run` answers in a second on the machine where this was measured, once its models are loaded.

        Args:
            workers: threads that play; None is one a core.
        """
        threads = min(self.cores, workers or self.cores)
        all_seconds = self.play_seconds * self.slowed(threads) + self.read_seconds + self.write_seconds
        playing = threads / (self.play_seconds * self.slowed(threads))
        others = (1 / each for each in (self.read_seconds, self.write_seconds) if each)
        return min(playing, self.cores / all_seconds, *others)

    def slowed(self, threads: float) -> float:
        """How many times as long a row takes with so many threads of one process as with one.

        On the line from 1 with one thread to `contention` with one on every core, and on beyond: where only one thread can work at
        a time, twice as many take twice as long.
        """
        if self.cores < 2 or threads <= 1:
            return 1.0
        return 1 + (self.contention - 1) * (threads - 1) / (self.cores - 1)

    def to_json(self) -> str:
        """The profile as a file has it."""
        return msgspec.json.format(msgspec.json.encode(asdict(self)), indent=2).decode()

    @classmethod
    def load(cls, path: str) -> GraphProfile:
        """A profile that was saved.

        Raises:
            InputError: when it is none, or of another version.
        """
        try:
            found = msgspec.json.decode(Path(path).read_bytes(), type=cls)
        except OSError as error:
            raise InputError(f"{path!r} cannot be read: {error.strerror}", where="profile") from None
        except msgspec.MsgspecError as error:
            hint = "save one: motet plan GRAPH.yaml --input SAMPLE --save-profile FILE"
            raise InputError(f"{path!r} is no profile: {error}", where="profile", hint=hint) from None
        if found.version != VERSION:
            raise InputError(
                f"{path!r} is of version {found.version}, not {VERSION}", where="profile", hint="measure anew"
            )
        found._check(path)
        return found

    def _check(self, path: str) -> None:
        """See that numbers are what they can be.

        Raises:
            InputError: when one is not.
        """
        where = f"profile {path!r}"
        positive = {"cores": self.cores, "batch_rows": self.batch_rows, "contention": self.contention}
        for name, value in positive.items():
            if value < 1:
                raise InputError(f"{name} must be at least 1; got {value}", where=where)
        for name, value in _numbers(asdict(self)):
            if not 0 <= value < float("inf"):
                raise InputError(f"{name} must be a number from 0; got {value}", where=where)
        for node in self.nodes:
            if any(rows < 1 for rows in node.by_rows):
                raise InputError(
                    f"a batch has at least 1 row; got {min(node.by_rows)}", where=f"{where}: nodes.{node.name}.by_rows"
                )
        names = [each.name for each in self.nodes]
        if twice := sorted({each for each in names if names.count(each) > 1}):
            raise InputError(f"the node {twice[0]!r} is there twice", where=where)
        if self.failed > self.played:
            raise InputError(f"{self.failed:,} rows failed of {self.played:,} that were played", where=where)
        if self.play_seconds <= 0:
            raise InputError("no node takes any time", where=where, hint="measure anew")


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """All numbers of a profile, with their places; parts of lists by their names."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _numbers(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _numbers(each, f"{name}.{each['name']}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, value
