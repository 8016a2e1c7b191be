"""A model in one precision after another, by one backend after another, beside what it is in f32 by ONNX Runtime."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from motet.batch import Array
from motet.errors import ModelLoadError, MotetError
from motet.models.common import load_error
from motet.models.handler import Handler, LoadedModel, ModelSource
from motet.models.onnx_precision import OPTIONS, Precision, quantized_path
from motet.runtime.precision.judge import difference
from motet.runtime.precision.sample import LEAST_ROWS, MOST_ROWS, PrecisionSample
from motet.runtime.sizes import BatchSize
from motet.tracebacks import said
from motet.types import Signature

__all__ = ["GAIN", "Baseline", "Trial", "refuse_lost", "source_in"]

GAIN = 1.1
"""What is not so many times as fast as f32 by ONNX Runtime is not worth its differences."""
ROUNDS, ROUNDS_S = 7, 2.0
"""How often calls of both are timed in turn, of which the fastest count; fewer where they have taken so long."""
LOOKED_AT_ROWS = 32
"""How many of the rows that scales are learned from are played to see that there are answers."""
JUDGED_S = 10.0
"""How long f32 may take for the rows that are judged by; fewer rows where it would take longer."""


@dataclass(frozen=True)
class Trial:
    """What was found of a precision.

    Attributes:
        precision: it, by which backend, and the quantized file.
        speed: how many times as fast as f32 by ONNX Runtime; 0 where that was not found.
        largest: the largest difference; see `judge.Difference`.
        why: why it is not chosen, whatever its speed is; empty where it may be.
    """

    precision: Precision
    speed: float = 0.0
    largest: float = 0.0
    why: str = ""

    def __str__(self) -> str:
        if self.why:
            return f"{self.precision}: {self.why}"
        return f"{self.precision}: {self.speed:.2f} times as fast, off by up to {self.largest:.2g}"


def source_in(source: ModelSource, precision: Precision) -> ModelSource:
    """A model's source in a precision that is settled."""
    others = {name: value for name, value in source.options.items() if name not in OPTIONS}
    location = quantized_path(precision.quantized) if precision.quantized else source.location
    return replace(source, location=location, options={**others, **precision.options})


class Baseline:
    """The model in f32 by ONNX Runtime, and rows of a sample that it has answered.

    Args:
        handler: that of ONNX models.
        source: the model.
        signature: what it takes and gives.
        sample: the rows.

    Raises:
        ModelLoadError: when the model does not answer the sample.
    """

    def __init__(self, handler: Handler, source: ModelSource, signature: Signature, sample: PrecisionSample) -> None:
        self._handler, self._source, self._fixed = handler, source, signature.fixed_rows
        self._model = handler.load(source_in(source, Precision("f32", "onnxruntime")))
        self._rows = sample.judged
        try:
            self._size = self._best_size(self._model)
            each_s = self._seconds(self._model, self._size) / self._size
            most = max(LEAST_ROWS // 2, round(JUDGED_S / max(each_s, 1e-9)))
            self._rows = {name: column[:most] for name, column in self._rows.items()}
            self._exact = _answers(self._model, self._rows, self._size)
        except Exception as error:  # whatever a framework raises
            self.close()
            raise ModelLoadError(
                f"the model does not answer it: {said(error)}", where=f"sample {sample.where}"
            ) from error

    def compared(self, precision: Precision, tolerance: float | None) -> Trial:
        """What becomes of the model in a precision; its quantized file is there."""
        try:
            model = self._handler.load(source_in(self._source, precision))
        except MotetError as error:
            return Trial(precision, why=error.what)
        try:
            size = self._best_size(model)
            found = difference(self._exact, _answers(model, self._rows, size), tolerance)
            if found.why:
                return Trial(precision, largest=found.largest, why=found.why)
            return Trial(precision, self.speed(model, size), found.largest)
        except Exception as error:  # noqa: BLE001 (that it fails is the finding)
            return Trial(precision, why=f"it does not answer the sample: {said(error)}")
        finally:
            model.close()

    def close(self) -> None:
        """Give the model's memory back."""
        self._model.close()

    def _best_size(self, model: LoadedModel) -> int:
        if self._fixed is not None:
            return self._fixed
        size = BatchSize()
        size.at_most(MOST_ROWS)
        size.find(lambda rows: self._seconds(model, rows))
        return size.best

    def speed(self, model: LoadedModel, size: int) -> float:
        """How many times as fast a row is in calls of `size` rows as in f32; calls of both in turn, so that neither has the machine
        for itself."""
        end = time.perf_counter() + ROUNDS_S
        own: list[float] = []
        other: list[float] = []
        while not own or (len(own) < ROUNDS and time.perf_counter() < end):
            own.append(self._seconds(self._model, self._size) / self._size)
            other.append(self._seconds(model, size) / size)
        return min(own) / max(min(other), 1e-12)

    def _seconds(self, model: LoadedModel, rows: int) -> float:
        """How long a call takes, without what puts its rows together.

        Of one thread it is the time that the process had on processors: of rows that are many, all of them are busy, and what else the
        machine does in the meantime does not count. Of several it is that of the clock, for which they are wanted.
        """
        given = {name: column.take(np.arange(rows), axis=0, mode="wrap") for name, column in self._rows.items()}
        clock = time.process_time if self._source.threads == 1 else time.perf_counter
        began = clock()
        model(given)
        return clock() - began


def refuse_lost(handler: Handler, source: ModelSource, precision: Precision, rows: Mapping[str, Array]) -> None:
    """See that a model in int8 has answers where it has some in f32: scales of a row that is far too large leave none.

    Args:
        handler: that of ONNX models.
        source: the model.
        precision: the one to look at; its quantized file is there.
        rows: what its scales were learned from.

    Raises:
        ModelLoadError: when they are infinite or NaN, or it cannot be loaded.
    """
    size = handler.signature(source).fixed_rows or LOOKED_AT_ROWS
    given = {name: column[:size] for name, column in rows.items()}
    found = []
    for each in (Precision("f32", "onnxruntime"), precision):
        with closing(handler.load(source_in(source, each))) as model:
            found.append(_answers(model, given, size))
    for name, exact in found[0].items():
        if exact.dtype.kind == "f" and (np.isfinite(exact) & ~np.isfinite(found[1][name])).any():
            hint = "look for rows in it that the model does not meet, of numbers that are far too large"
            raise load_error(source, f"in int8 its {name} is infinite or NaN, by scales learned from its sample", hint)


def _call(model: LoadedModel, columns: Mapping[str, Array], start: int, rows: int) -> Mapping[str, Any]:
    """The answers of a call of so many rows, from one on, and behind the last from the first again."""
    places = np.arange(start, start + rows)
    given = {name: column.take(places, axis=0, mode="wrap") for name, column in columns.items()}
    answers = model(given)
    for name, answer in answers.items():
        for value in answer if isinstance(answer, list) else ():
            if isinstance(value, BaseException):
                raise ModelLoadError(f"{name}: {said(value)}") from value
    return answers


def _answers(model: LoadedModel, columns: Mapping[str, Array], size: int) -> dict[str, Array]:
    count = len(next(iter(columns.values())))
    parts = [_call(model, columns, start, size) for start in range(0, count, size)]
    return {name: np.concatenate([np.asarray(part[name]) for part in parts])[:count] for name in parts[0]}
