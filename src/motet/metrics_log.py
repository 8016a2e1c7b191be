"""`log`: numbers over time, from whatever runs: a step of a workflow, or a training that it begins.

    RUN/metrics.jsonl     appended to in one write, so a line is there or, at the end of the file, torn

A line is `[step, source, worker, number, time, {name: value}]`. The source tells writers apart that came one after another, as
when a step is tried again: what came later counts (see `read_series`).
"""

from __future__ import annotations

import json
import logging
import math
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from motet.errors import InputError
from motet.locks import new_lock
from motet.system.recent import LruCache

__all__ = [
    "MetricSeries",
    "MetricsDestination",
    "current_destination",
    "in_json",
    "log",
    "logging_to",
    "metrics_file",
    "read_series",
]

_logger = logging.getLogger("motet.metrics")
_THINNED = 10_000
"""Points of one metric that are all kept; of the next 10,000 every second is, of the next 20,000 every fourth, and so on."""
_MOST_BYTES = 64 << 20
_MOST_NAME = 200
_MOST_READ = 4
"""Files whose points stay in memory, to read only what is added to them."""
_lock = new_lock()


class MetricsDestination:
    """Where the metrics of what runs go. `add` may be called from any thread.

    Args:
        path: the file.
        step: the step that runs.
        worker: the number of this process among those that train together.
    """

    __slots__ = ("_counts", "_source", "path", "step", "worker")

    def __init__(self, path: Path, step: str, worker: int = 0) -> None:
        self.path, self.step, self.worker = path, step, worker
        self._source = ""  # made with the first number: most steps log none
        self._counts: dict[str, int] = {}

    def add(self, number: float, values: dict[str, float]) -> None:
        """Note values. When this returns, a kill of the process does not lose them; a disk that is full does, which is logged."""
        with _lock:
            self._source = self._source or secrets.token_hex(4)
            kept = {name: value for name, value in values.items() if self._is_kept(name)}
            if not kept:
                return
            row = [self.step, self._source, self.worker, number, time.time(), kept]
            try:
                self._write(json.dumps(row, separators=(",", ":")).encode() + b"\n")
            except OSError as error:
                self._warn(f"cannot be written: {error}")

    def _is_kept(self, name: str) -> bool:
        count = self._counts[name] = self._counts.get(name, -1) + 1
        return count % (1 << (count // _THINNED).bit_length()) == 0

    def _write(self, line: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            size = os.fstat(file).st_size
            if size > _MOST_BYTES:
                self._warn(f"are {_MOST_BYTES >> 20} MiB, and no more are kept")
                return
            torn = size and os.pread(file, 1, size - 1) != b"\n"
            line = b"\n" + line if torn else line
            if os.write(file, line) < len(line):
                self._warn("cannot be written: there is no room for all of them")
        finally:
            os.close(file)

    def _warn(self, told: str) -> None:
        if "" not in self._counts:
            self._counts[""] = 0
            _logger.warning("the metrics of step %s %s", self.step, told)


destination: ContextVar[MetricsDestination | None] = ContextVar("motet_metrics", default=None)
"""Where `log` writes in this thread."""
_process: MetricsDestination | None = None
"""That of all threads of a process that runs one step alone."""


def metrics_file(run: Path) -> Path:
    """Where the metrics of a run are, in its folder."""
    return run / "metrics.jsonl"


def current_destination() -> MetricsDestination | None:
    """Where `log` writes in this thread; None outside of a run."""
    return destination.get() or _process


@contextmanager
def logging_to(where: MetricsDestination | None, *, whole_process: bool = False) -> Iterator[None]:
    """Have `log` write there, in this thread or in all threads of the process."""
    global _process
    token, before = destination.set(where), _process
    _process = where if whole_process else before
    try:
        yield
    finally:
        destination.reset(token)
        _process = before


def log(step: float, /, *, all_workers: bool = False, **metrics: Any) -> None:
    """Keep numbers over time with the run: `mt.log(epoch, loss=0.3, accuracy=0.9)`.

    In a step of a workflow, or a training that it begins, they are in `run.metrics`, `motet workflow show`, `compare` and on the
    page. They are there at once, and survive the end of the process. Outside of a run they are logged by `motet.metrics`.
    Of several workers that train together worker 0's count, unless all are asked for. Of more than 10,000 points of one
    metric fewer and fewer are kept, and of a run 64 MiB.

    Args:
        step: the number of what was done so far: a step, an epoch.
        all_workers: keep each worker's own, as `NAME[WORKER]`.
        metrics: numbers by name, also NumPy's and torch's; NaN and infinity too.

    Raises:
        InputError: when something is no number.
    """
    number = _number(step, "step")
    if not math.isfinite(number):
        raise InputError(f"step is {number}", where="log", hint="number the steps, for example by epoch")
    if not metrics:
        raise InputError("no metric is given", where="log", hint="mt.log(epoch, accuracy=0.9)")
    values = {_name(name): _number(value, name) for name, value in metrics.items()}
    where = current_destination()
    if where is None:
        _logger.info("%g: %s", number, ", ".join(f"{name}={value:.6g}" for name, value in values.items()))
    elif where.worker == 0 or all_workers:
        named = {f"{name}[{where.worker}]": value for name, value in values.items()} if all_workers else values
        where.add(number, named)


def _name(name: str) -> str:
    if not name or len(name) > _MOST_NAME or not name.isprintable():
        raise InputError(f"{name[:_MOST_NAME]!r} is no name of a metric", where="log", hint="give a short text")
    return name


def _number(value: Any, name: str) -> float:
    """A number as a float: from Python, NumPy, or an array or tensor of one value."""
    try:
        value = value.item() if hasattr(value, "item") else value
        found = None if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        found = None
    if found is None:
        raise InputError(f"{name} is {value!r:.80}, a {type(value).__name__}", where="log", hint="give one number")
    return found


@dataclass(frozen=True, slots=True)
class MetricSeries:
    """One metric of one step over time.

    Attributes:
        step: the step of the workflow.
        name: the metric.
        numbers: the steps or epochs, as they were logged.
        values: the values there.
        times: when they were logged, seconds since 1970.
    """

    step: str
    name: str
    numbers: tuple[float, ...]
    values: tuple[float, ...]
    times: tuple[float, ...]

    @property
    def last(self) -> float:
        """The last value."""
        return self.values[-1]

    def __str__(self) -> str:
        """The last value, the bounds, and how many there are."""
        known = [value for value in self.values if not math.isnan(value)]
        bounds = f" ({min(known):.6g} to {max(known):.6g}, {len(self.values)} points)" if len(known) > 1 else ""
        return f"{self.last:.6g}{bounds}"


def in_json(value: Any) -> Any:
    """A value as JSON can have it: NaN and infinity are the texts `NaN`, `Infinity` and `-Infinity`."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {name: in_json(each) for name, each in value.items()}
    return [in_json(each) for each in value] if isinstance(value, list | tuple) else value


def read_series(path: Path) -> list[MetricSeries]:
    """The metrics in a file, in the order in which they were first logged; none where there is no file.

    A source that follows another, as after a restart, goes on from its first number: what the other had from there on is gone.
    The same number again replaces the value. Of the files that were read last only what was added since is read again.
    """
    try:
        with path.open("rb") as file, _read_lock:
            about = os.fstat(file.fileno())
            key = (str(path), about.st_dev, about.st_ino)
            found = _read.get(key)
            if found is None or about.st_size < found.place:
                found = _read.put(key, _Points())
            found.add(file)
            return found.series()
    except OSError:
        return []


class _Points:
    """The metrics in a file as far as it was read, in whole lines."""

    def __init__(self) -> None:
        self.place = 0
        self._found: dict[tuple[str, str], dict[float, tuple[float, float]]] = {}
        self._sources: dict[tuple[str, str], str] = {}

    def add(self, file: BinaryIO) -> None:
        """Read what was added to the file since."""
        file.seek(self.place)
        for line in file:
            if not line.endswith(b"\n"):
                break  # torn by a crash, or about to be written
            self.place += len(line)
            try:
                step, source, _, number, when, values = json.loads(line)
                for name, value in values.items():
                    self._add((step, name), source, float(number), (float(value), when))
            except (ValueError, TypeError, AttributeError):
                continue  # torn by a crash

    def _add(self, key: tuple[str, str], source: str, number: float, point: tuple[float, float]) -> None:
        points = self._found.setdefault(key, {})
        if self._sources.setdefault(key, source) != source:
            self._sources[key] = source
            for later in [each for each in points if each >= number]:
                del points[later]
        points[number] = point

    def series(self) -> list[MetricSeries]:
        """The metrics."""
        return [
            MetricSeries(step, name, tuple(points), *(zip(*points.values(), strict=True)))
            for (step, name), points in self._found.items()
        ]


_read: LruCache[tuple[str, int, int], _Points] = LruCache(_MOST_READ)
"""The files that were read last, by path and what the file system calls them."""
_read_lock = new_lock()
