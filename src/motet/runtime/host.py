"""The host: holds the loaded models of a process, puts rows together for their calls, and finds the rows at fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from motet.batch import Array, Column, Indices, Ragged, as_column, column_type, concat_columns, empty_column, take_rows
from motet.errors import GraphError, ModelLoadError, MotetError
from motet.graph.model import Model
from motet.graph.node import Answer, Fault
from motet.models.handler import LoadedModel
from motet.nodes.merge import faults_at, kept_rows, merge
from motet.runtime.functions import FunctionRunner, chain
from motet.runtime.isolate import Health, isolate
from motet.runtime.resolve import Located, ModelResolver
from motet.runtime.sizes import BatchSize, CallTime
from motet.types import ColumnType, Signature

__all__ = ["Host", "HostedModel", "ModelStats"]


@dataclass
class ModelStats:
    """What a model has done: rows answered, calls made, seconds in them, and rows that failed."""

    rows: int = 0
    calls: int = 0
    seconds: float = 0.0
    failed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, rows: int, calls: int, seconds: float, failed: int) -> None:
        """Count what one batch did."""
        with self.lock:
            self.rows += rows
            self.calls += calls
            self.seconds += seconds
            self.failed += failed


class HostedModel:
    """A loaded model: its copies, the functions around it, and how many rows its calls have.

    Args:
        model: what the graph says of it.
        located: its handler and file.
        signature: what it takes and gives itself.
        size: how many rows a call has, where that is known.
    """

    def __init__(self, model: Model, located: Located, signature: Signature, size: int | None) -> None:
        self.model, self.located, self.signature = model, located, signature
        self.stats = ModelStats()
        limit = signature.fixed_rows or model.batch.max_rows
        self.size = BatchSize(signature.fixed_rows or size, limit)
        self._health = Health(f"model {model.name!r}")
        self._before = [FunctionRunner(function, function.outputs) for function in model.before]
        self._after = [FunctionRunner(function, function.outputs) for function in model.after]
        self._copies = [self._load() for _ in range(model.replicas)]
        self._busy = [0] * model.replicas
        self._lock = threading.Lock()

    @property
    def key(self) -> str:
        """What the model is remembered under: its file's digest, or its URI."""
        return (
            f"{self.located.version}:{self.located.source.threads}" if self.located.handler.has_file else self.model.uri
        )

    @property
    def batch_invariant(self) -> bool:
        """Whether a row's answer has the same bits whatever shares its call."""
        return self.located.handler.batch_invariant and self.model.device == "cpu" and not self.model.batch.pad

    def _load(self) -> LoadedModel:
        try:
            return self.located.handler.load(self.located.source)
        except MotetError as error:
            raise error.located(f"model {self.model.name!r}") from error.__cause__

    def close(self) -> None:
        """Give the copies' memory back."""
        for copy in self._copies:
            copy.close()

    def play(self, columns: Sequence[Column] | Mapping[str, Column], rows: int) -> Answer:
        """Answer rows: functions before, the model, functions after."""
        if not (self._before or self._after):
            return self._model(self._named(columns), rows)
        values = list(columns.values()) if isinstance(columns, Mapping) else list(columns)
        answer = chain(self._before, values, rows) if self._before else Answer({})
        inner = self._behind(answer.columns) if self._before else self._named(columns)
        return self._then(answer, inner, rows)

    def _then(self, before: Answer, inner: dict[str, Column], rows: int) -> Answer:
        kept = np.arange(rows) if before.kept is None else before.kept
        faults = list(before.faults)
        if not len(kept):
            return Answer(self._no_rows(), tuple(faults), kept)
        answer = self._model(inner, len(kept))
        faults += faults_at(answer, kept)
        kept = kept if answer.kept is None else kept[answer.kept]
        if self._after and len(kept):
            answer = chain(self._after, list(answer.columns.values()), len(kept))
            answer.columns = {name or "output": column for name, column in answer.columns.items()}
            faults += faults_at(answer, kept)
            kept = kept if answer.kept is None else kept[answer.kept]
        faults.sort(key=lambda fault: fault.position)
        return Answer(answer.columns, tuple(faults), kept if faults else None)

    def _named(self, columns: Sequence[Column] | Mapping[str, Column]) -> dict[str, Column]:
        if isinstance(columns, Mapping):
            return dict(columns)
        return dict(zip(self.signature.inputs, columns, strict=True))

    def _behind(self, columns: dict[str, Column]) -> dict[str, Column]:
        """What the functions before gave, under the names of the model's inputs."""
        if set(columns) == set(self.signature.inputs):
            return columns
        if len(columns) != len(self.signature.inputs):
            raise GraphError(
                f"before of {self.model.name!r} gave {len(columns)} columns; the model takes {len(self.signature.inputs)}"
            )
        return dict(zip(self.signature.inputs, columns.values(), strict=True))

    def _no_rows(self) -> dict[str, Column]:
        if self._after:
            return {}
        return {name: empty_column(kind) for name, kind in self.signature.outputs.items()}

    def _model(self, columns: dict[str, Column], rows: int) -> Answer:
        """The model itself: rows of equal shape together."""
        if not rows:
            return Answer(self._no_rows())
        for name, column in columns.items():
            self._check(name, column)
        ragged = [name for name, column in columns.items() if isinstance(column, Ragged)]
        if not ragged:
            return self._dense(columns, rows)  # type: ignore[arg-type]
        if self.model.batch.pad is not None:
            return self._dense(
                {n: _padded(c, self.model.batch.pad) if isinstance(c, Ragged) else c for n, c in columns.items()}, rows
            )
        return merge([(chosen, self._dense(group, len(chosen))) for chosen, group in _groups(columns, ragged)], rows)

    def _check(self, name: str, column: Column) -> None:
        wanted = self.signature.inputs[name]
        got = column_type(column)
        if isinstance(column, Ragged):
            fits = wanted.dtype == "any" or (wanted.dtype == got.dtype and len(wanted.shape) == len(got.shape))
        elif wanted.is_object:
            fits = wanted.dtype == "any" or column.dtype == object
        else:
            fits = wanted.accepts(got)
        if not fits:
            raise GraphError(
                f"model {self.model.name!r} takes {name}: {wanted}; it was given {got}",
                hint="cast or reshape the column in a map node",
            )

    def _dense(self, columns: dict[str, Array], rows: int) -> Answer:
        """Calls of the best number of rows."""
        started, calls = time.perf_counter(), 0
        found: list[dict[str, Column]] = []
        faults: list[Fault] = []
        first = 0
        while first < rows:
            end = min(rows, first + self.size.rows)
            part = columns if end - first == rows else {name: column[first:end] for name, column in columns.items()}
            first_of_part, size, begun = first, end - first, CallTime()
            try:
                found.append(self._call(part, size))
                self.size.took(size, begun.seconds())
                self._health.succeeded = True
            except Exception:  # noqa: BLE001 (isolate calls again, and sorts the errors)
                segments, bad = self._isolate(part, size)
                found += [result for _, _, result in segments]
                faults += [fault.at(first_of_part + fault.position) for fault in bad]
            calls += 1
            first = end
        self.stats.add(rows, calls, time.perf_counter() - started, len(faults))
        merged = (
            {name: concat_columns([part[name] for part in found]) for name in found[0]} if found else self._no_rows()
        )
        return Answer(merged, tuple(faults), kept_rows(faults, rows) if faults else None)

    def _isolate(
        self, columns: dict[str, Array], rows: int
    ) -> tuple[list[tuple[int, int, dict[str, Column]]], list[Fault]]:
        def run(first: int, end: int) -> dict[str, Column]:
            return self._call({name: column[first:end] for name, column in columns.items()}, end - first)

        return isolate(
            run, rows, self._health, model=self.model.name, version=self.located.version, too_big=self.size.too_big
        )

    def _call(self, columns: dict[str, Array], rows: int) -> dict[str, Column]:
        """One call of the copy with the least to do."""
        fixed = self.signature.fixed_rows
        if fixed and rows < fixed:
            columns = {
                name: np.concatenate([column, np.repeat(column[-1:], fixed - rows, axis=0)])
                for name, column in columns.items()
            }
        place = self._take()
        try:
            answer = self._copies[place](columns)
        finally:
            self._busy[place] -= 1
        result = self._answer(answer, fixed or rows)
        return {name: column[:rows] for name, column in result.items()} if fixed and rows < fixed else result

    def _take(self) -> int:
        if len(self._busy) == 1:
            self._busy[0] += 1
            return 0
        with self._lock:
            place = self._busy.index(min(self._busy))
            self._busy[place] += 1
        return place

    def _answer(self, answer: Mapping[str, Any], rows: int) -> dict[str, Column]:
        """What the model gave, checked against its signature."""
        found: dict[str, Column] = {}
        for name, kind in self.signature.outputs.items():
            if name not in answer:
                raise ModelLoadError(
                    f"model {self.model.name!r} gave {', '.join(answer)}; its signature promises {name!r}"
                )
            column = as_column(answer[name])
            if len(column) != rows:
                raise ModelLoadError(f"model {self.model.name!r} gave {len(column)} rows of {name!r} for {rows} rows")
            found[name] = _as_declared(column, kind, f"model {self.model.name!r}: output {name!r}")
        return found


def _as_declared(column: Column, kind: ColumnType, where: str) -> Column:
    if isinstance(column, np.ndarray) and not kind.varies:
        if kind.is_object or (column.dtype == kind.numpy_dtype and column.shape[1:] == kind.shape):
            return column
        if column.shape == (len(column), 1) and kind.shape == ():
            return _as_declared(column.reshape(-1), kind, where)
    if kind.varies and isinstance(column, np.ndarray) and column.dtype != object:
        column = Ragged.from_dense(column)
    if not kind.accepts(column_type(column)):
        raise ModelLoadError(f"the signature promises {kind}; the model gave {column_type(column)}", where=where)
    return column


def _groups(columns: Mapping[str, Column], ragged: Sequence[str]) -> Iterable[tuple[Indices, dict[str, Array]]]:
    """Rows that have the same shape in every ragged column, groups in the order of their first row."""
    shapes = np.concatenate([column.shapes for name in ragged if isinstance(column := columns[name], Ragged)], axis=1)
    _, first, inverse = np.unique(shapes, axis=0, return_index=True, return_inverse=True)
    for group in np.argsort(first):
        chosen = np.flatnonzero(inverse.reshape(-1) == group)
        taken = {name: take_rows(column, chosen) for name, column in columns.items()}
        yield chosen, {name: column.dense() if isinstance(column, Ragged) else column for name, column in taken.items()}


def _padded(column: Ragged, value: float) -> Array:
    """Rows made equal: padded behind on every axis with a value."""
    shape = tuple(int(axis) for axis in column.shapes.max(axis=0))
    padded = np.full((len(column), *shape), value, dtype=column.dtype)
    for place, row in enumerate(column):
        padded[place][tuple(slice(0, axis) for axis in row.shape)] = row
    return padded


class Host:
    """Holds the loaded models of a process; each is loaded once, when it is first needed.

    Args:
        resolver: finds models; None makes one.
        sizes: how many rows the calls of models have, by `HostedModel.key`, where that is known.
    """

    def __init__(self, resolver: ModelResolver | None = None, sizes: Mapping[str, int] | None = None) -> None:
        self.resolver = resolver or ModelResolver()
        self._sizes = dict(sizes or {})
        self._lock = threading.Lock()
        self._models: dict[tuple[str, str], HostedModel] = {}

    def model(self, model: Model, folder: str) -> HostedModel:
        """A loaded model.

        Raises:
            ModelLoadError: when it cannot be loaded.
        """
        key = (model.name, folder)
        found = self._models.get(key)
        if found is not None and found.model == model:
            return found
        with self._lock:
            found = self._models.get(key)
            if found is None or found.model != model:
                located = self.resolver.locate(model, folder)
                signature = self.resolver.signature(model, folder)
                found = HostedModel(model, located, signature, None)
                if found.key in self._sizes and not signature.fixed_rows:
                    found.size = BatchSize(self._sizes[found.key], found.size.limit)
                self._models[key] = found
            return found

    @property
    def models(self) -> list[HostedModel]:
        """The models that are loaded."""
        return list(self._models.values())

    def close(self) -> None:
        """Give all models' memory back; the host may be used again, and loads them again."""
        with self._lock:
            models, self._models = self._models, {}
        for model in models.values():
            model.close()
