"""TensorRT engines, from .engine and .plan files, which are made for one kind of GPU and one version of TensorRT.

    trtexec --onnx=cnn.onnx --saveEngine=cnn.engine --minShapes=image:1x28x28 --optShapes=image:64x28x28 --maxShapes=image:256x28x28
    models: {cnn: {uri: cnn.engine, device: cuda}}

The first axis of each tensor is the row. A call of more rows than the engine's first profile allows is cut, and one of fewer is
filled up by its last row, whose answers are left out again. Where inputs and outputs are declared, a graph can be checked on machines that
have no GPU. `device:` says which GPU; ONNX files play by TensorRT, too, through ONNX Runtime (`providers: [TensorrtExecutionProvider]`).

This is written after TensorRT's documentation, and has not been run with it yet, for want of a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from motet.batch import Array
from motet.errors import InputError, ModelLoadError
from motet.models.common import check_options, declared_over, framework, load_error, place, raise_memory_error, row_type
from motet.models.handler import Handler, LoadedModel, ModelSource
from motet.models.independence import one_row_a_call_if_needed
from motet.models.instances import Instances
from motet.models.keep import LoadCache
from motet.models.torch import OUT_OF_MEMORY, torch_device
from motet.types import ColumnType, Signature

__all__ = ["RowRange", "TensorRTHandler", "TensorRTModel"]

_HINT = "make the engine with trtexec on this kind of GPU, with this version of TensorRT"


@dataclass(frozen=True)
class RowRange:
    """How many rows a call may have.

    Attributes:
        least, most: of an engine's profile.
    """

    least: int
    most: int

    def cuts(self, rows: int) -> Iterator[tuple[int, int, int]]:
        """The calls for so many rows: the first, the one behind the last, and how often the last is repeated to fill it up."""
        for first in range(0, rows, self.most):
            last = min(first + self.most, rows)
            yield first, last, max(self.least - (last - first), 0)


@dataclass(frozen=True)
class _Engine:
    """A file that was read.

    Attributes:
        runtime: what it was read by, which must live as long.
        engine: as TensorRT has it.
        types: the types of its inputs and of its outputs, by name.
        rows: how many rows a call may have.
        said: the last errors that TensorRT logged.
    """

    runtime: Any
    engine: Any
    types: tuple[Mapping[str, ColumnType], Mapping[str, ColumnType]]
    rows: RowRange
    said: list[str]


class TensorRTHandler(Handler):
    """Loads `.engine` and `.plan` files."""

    name: ClassVar[str] = "tensorrt"
    extra: ClassVar[str] = "tensorrt"
    suffixes: ClassVar[tuple[str, ...]] = (".engine", ".plan")
    runs_code: ClassVar[bool] = True

    def __init__(self) -> None:
        self._kept: LoadCache[_Engine] = LoadCache(_read)

    def signature(self, source: ModelSource) -> Signature:
        """What the engine says, with the declared types over it; what is declared alone, where inputs and outputs are.

        Raises:
            ModelLoadError: when it is no engine for this GPU and version, or the model is not on a GPU.
            MissingExtraError: when TensorRT is not installed.
        """
        _check(source)
        if source.inputs and source.outputs:
            return Signature(dict(source.inputs), dict(source.outputs))
        return declared_over(Signature(*self._kept.look(source).types), source)

    def load(self, source: ModelSource) -> LoadedModel:
        """Load it onto its GPU, and see whether rows that share a call answer as alone; see `Handler.load`."""
        _check(source)
        engine = self._kept.take(source)
        signature = declared_over(Signature(*engine.types), source)
        return one_row_a_call_if_needed(TensorRTModel(engine, signature, source), signature, place(source))


class TensorRTModel:
    """An engine on its GPU; several threads may call it, which take turns.

    Args:
        engine: it.
        signature: which outputs are given.
        source: for its device, and for messages.
    """

    fresh_outputs = True
    batch_invariant = False

    def __init__(self, engine: _Engine, signature: Signature, source: ModelSource) -> None:
        import torch

        self._torch, self._device, self._where = torch, torch_device(torch, source), place(source)
        self._engine: _Engine | None = engine
        self._contexts = Instances(engine.engine.create_execution_context, 1)
        self._stream = torch.cuda.Stream(self._device)
        self._outputs = tuple(signature.outputs)

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`.

        Raises:
            MemoryError: when the batch is too large for the GPU.
            InputError: when an axis is none that the engine was made for.
        """
        assert self._engine is not None, "a model that is closed is not called"
        rows = len(next(iter(columns.values())))
        with self._contexts.one() as context, self._torch.cuda.stream(self._stream):
            try:
                parts = [self._part(self._engine, context, columns, *cut) for cut in self._engine.rows.cuts(rows)]
            except Exception as error:
                raise_memory_error(error, OUT_OF_MEMORY)
                raise
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def close(self) -> None:
        """Let go of the engine, and of the memory that torch keeps for it."""
        if self._engine is not None:
            self._engine, self._contexts = None, Instances(lambda: None, 0)
            self._torch.cuda.empty_cache()

    def _part(
        self, engine: _Engine, context: Any, columns: Mapping[str, Array], first: int, last: int, more: int
    ) -> dict[str, Array]:
        """Answer the rows `first` to `last`, the last of them `more` times more."""
        torch, (inputs, outputs) = self._torch, engine.types
        held = []  # until the call has ended
        for name, kind in inputs.items():
            rows = columns[name][first:last]
            if rows.dtype != kind.dtype:  # whose bytes the engine would take for its own
                raise InputError(
                    f"input {name!r} is {rows.dtype}, and the engine takes {kind.dtype}", where=self._where
                )
            array = np.concatenate([rows, np.repeat(rows[-1:], more, axis=0)])
            tensor = torch.from_numpy(array).to(self._device)
            if not context.set_input_shape(name, tuple(tensor.shape)):
                what = f"input {name!r} has shape {array.shape[1:]}, which the engine was not made for"
                raise InputError(what, where=self._where, hint="make it with --minShapes and --maxShapes that hold it")
            context.set_tensor_address(name, tensor.data_ptr())
            held.append(tensor)
        answers = {}
        for name, kind in outputs.items():
            shape = tuple(context.get_tensor_shape(name))
            answers[name] = torch.empty(shape, dtype=getattr(torch, kind.dtype), device=self._device)
            context.set_tensor_address(name, answers[name].data_ptr())
        engine.said.clear()
        if not context.execute_async_v3(self._stream.cuda_stream):
            raise RuntimeError(f"TensorRT cannot play it: {'; '.join(engine.said) or 'it does not say why'}")
        self._stream.synchronize()
        return {name: answers[name].cpu().numpy()[: last - first] for name in self._outputs}


def _check(source: ModelSource) -> None:
    check_options(source, ())
    if source.device.partition(":")[0] != "cuda":
        what = f"TensorRT engines run on a GPU only, got device {source.device!r}"
        raise load_error(source, what, "say device: cuda, or cuda:1 for the second")


def _read(source: ModelSource) -> _Engine:
    """Read a file onto its GPU."""
    trt = framework("tensorrt", "tensorrt", "tensorrt", source)
    torch = framework("torch", "torch", "tensorrt", source)
    said: list[str] = []
    with torch.cuda.device(torch_device(torch, source)):
        runtime = trt.Runtime(_logger(trt, said))
        engine = runtime.deserialize_cuda_engine(Path(source.location).read_bytes())
    if engine is None:
        raise load_error(source, f"TensorRT cannot read it: {'; '.join(said) or 'it is no engine'}", _HINT)
    types = _types(trt, engine, source)
    return _Engine(runtime, engine, types, _rows(engine, types[0], source), said)


def _logger(trt: Any, said: list[str]) -> Any:
    """A logger that keeps the last errors."""
    levels = (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)

    def log(self: Any, severity: Any, text: str) -> None:
        if severity in levels:
            del said[:-3]
            said.append(text)

    def begin(self: Any) -> None:
        trt.ILogger.__init__(self)  # which its binding asks for

    return type("Logger", (trt.ILogger,), {"__init__": begin, "log": log})()


def _types(trt: Any, engine: Any, source: ModelSource) -> tuple[dict[str, ColumnType], dict[str, ColumnType]]:
    sides: tuple[dict[str, ColumnType], dict[str, ColumnType]] = ({}, {})
    for number in range(engine.num_io_tensors):
        name = engine.get_tensor_name(number)
        if engine.is_shape_inference_io(name):
            raise load_error(
                source, f"{name!r} is a shape, which is no column", "make the engine without shape tensors"
            )
        given = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        shape = [None if axis < 0 else axis for axis in engine.get_tensor_shape(name)]
        hints = "make the engine with a first axis for the rows", "make it with --inputIOFormats and --outputIOFormats"
        sides[0 if given else 1][name] = row_type(repr(name), shape, _dtype(trt, engine, name), source, *hints)
    return sides


def _dtype(trt: Any, engine: Any, name: str) -> str:
    kind = engine.get_tensor_dtype(name)
    try:
        return str(np.dtype(trt.nptype(kind)).name)
    except TypeError:  # numpy has none such
        return str(kind)


def _rows(engine: Any, inputs: Mapping[str, ColumnType], source: ModelSource) -> RowRange:
    least, most = 1, math.inf
    for name in inputs:
        fixed = engine.get_tensor_shape(name)[0]
        bounds = engine.get_tensor_profile_shape(name, 0) if fixed < 0 else [(fixed,)] * 3
        least, most = max(least, bounds[0][0]), min(most, bounds[2][0])
    if not inputs or least > most:
        raise ModelLoadError(
            "its inputs allow no number of rows that is the same for all", where=place(source), hint=_HINT
        )
    return RowRange(least, int(most))
