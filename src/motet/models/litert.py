"""LiteRT (TensorFlow Lite) models, from .tflite files, by the package ai-edge-litert.

The first axis of each tensor is the row. A model whose first axis is fixed, as that of most files is to 1, is called with so many
rows; one that leaves it open (-1) with any number. Inputs and outputs are called as the file's signature calls them,
`serving_default` or the one that `signature:` names; in a file without signatures as its tensors are.

A quantized tensor (integers with one scale and a zero point) takes and gives the real numbers that it stands for, float32: they
are rounded and, beyond its range, cut off on the way in, and scaled on the way out. One that is declared in its own dtype,
`inputs: {image: "uint8[224,224,3]"}`, takes and gives the integers as they are. A NaN has no quantized value, and fails its row.

An interpreter bears one call at a time, so there are as many as calls come together, at most one a core; they share the file's bytes. What
a model keeps in variables is as at the beginning before each call. Options:

    signature   which of the file's signatures is called
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from motet.batch import Array
from motet.errors import UnknownNameError
from motet.models.common import (
    check_cpu,
    check_options,
    declared_over,
    fixed_rows,
    framework,
    load_error,
    place,
    raise_memory_error,
    row_type,
)
from motet.models.handler import Handler, LoadedModel, ModelSource
from motet.models.independence import one_row_a_call_if_needed
from motet.models.instances import Instances
from motet.models.keep import LoadCache
from motet.system.limits import num_cores
from motet.types import ColumnType, Signature

__all__ = ["LiteRTHandler", "LiteRTModel"]

_OUT_OF_MEMORY = ("bad_alloc", "out of memory", "Failed to allocate", "allocation failed")
_DEFAULT = "serving_default"
_REAL = "float32"
_STATEFUL = ("ASSIGN_VARIABLE", "RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL")
"""Operators by which an answer depends on earlier calls."""


class LiteRTHandler(Handler):
    """Loads `.tflite` files."""

    name: ClassVar[str] = "litert"
    extra: ClassVar[str] = "litert"
    suffixes: ClassVar[tuple[str, ...]] = (".tflite",)

    def __init__(self) -> None:
        self._kept: LoadCache[bytes] = LoadCache(_read)

    def signature(self, source: ModelSource) -> Signature:
        """What the file says, with the declared types over it.

        Raises:
            ModelLoadError: when it is no such file, keeps state from call to call, or takes or gives what is no column.
            UnknownNameError: when it has no signature of that name.
        """
        check_options(source, ("signature",))
        return _signature(_tensors(self._kept.look(source), source), source)

    def load(self, source: ModelSource) -> LoadedModel:
        """Load it for use, and see whether rows that share a call answer as alone; see `Handler.load`."""
        check_options(source, ("signature",))
        check_cpu(source, "LiteRT")
        content = self._kept.take(source)
        tensors = _tensors(content, source)
        signature = _signature(tensors, source)
        _check_operators(content, tensors, source)
        model = LiteRTModel(lambda: _caller(content, source), tensors, signature)
        return one_row_a_call_if_needed(model, signature, place(source))


@dataclass(frozen=True)
class _Tensor:
    """An input or output.

    Attributes:
        axes: lengths, None where any will do.
        dtype: as the file has it.
        scale, zero: of quantized integers what one step stands for, and which integer stands for 0; a scale of None for others.
    """

    axes: tuple[int | None, ...]
    dtype: str
    scale: float | None = None
    zero: int = 0

    def is_real(self, kind: ColumnType) -> bool:
        """Whether a column of this type holds the real numbers that quantized integers stand for."""
        return self.scale is not None and kind.dtype != self.dtype

    def quantized(self, name: str, column: Array) -> Array:
        """The integers that stand for real numbers."""
        if np.isnan(column).any():
            raise ValueError(f"{name}: NaN has no quantized value")
        bounds = np.iinfo(self.dtype)
        places = np.rint(column / np.float32(self.scale)) + self.zero
        found: Array = np.clip(places, bounds.min, bounds.max).astype(self.dtype)
        return found

    def real(self, column: Array) -> Array:
        """The real numbers that integers stand for."""
        steps = (column.astype(np.int32) - self.zero).astype(np.float32)
        return np.multiply(steps, np.float32(self.scale), out=steps)


@dataclass(frozen=True)
class _Tensors:
    """Inputs and outputs by name."""

    inputs: Mapping[str, _Tensor]
    outputs: Mapping[str, _Tensor]


class LiteRTModel:
    """Interpreters of a file; several threads may call it.

    Args:
        make: makes an interpreter, as a function from arrays to arrays, both by name.
        tensors: what the file has.
        signature: what columns it takes and gives.
    """

    fresh_outputs = True

    def __init__(
        self, make: Callable[[], Callable[..., dict[str, Array]]], tensors: _Tensors, signature: Signature
    ) -> None:
        self._instances: Instances[Callable[..., dict[str, Array]]] | None = Instances(make, num_cores())
        self._inputs = {
            name: tensors.inputs[name] if tensors.inputs[name].is_real(kind) else None
            for name, kind in signature.inputs.items()
        }
        self._outputs = {
            name: tensors.outputs[name] if tensors.outputs[name].is_real(kind) else None
            for name, kind in signature.outputs.items()
        }

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`.

        Raises:
            MemoryError: when the batch is too large for the memory.
        """
        assert self._instances is not None, "a model that is closed is not called"
        given = {
            name: columns[name] if tensor is None else tensor.quantized(name, columns[name])
            for name, tensor in self._inputs.items()
        }
        try:
            with self._instances.one() as call:
                answers = call(given)
        except Exception as error:
            raise_memory_error(error, _OUT_OF_MEMORY)
            raise
        return {
            name: answers[name] if tensor is None else tensor.real(answers[name])
            for name, tensor in self._outputs.items()
        }

    def close(self) -> None:
        """Let go of the interpreters."""
        self._instances = None


def _read(source: ModelSource) -> bytes:
    """The file, which is not mapped: one that is cut off meanwhile would end the process."""
    try:
        content = Path(source.location).read_bytes()
    except OSError as error:
        raise load_error(source, f"the file cannot be read: {error}", "check the path and the rights") from error
    _interpreter(content, source)
    return content


def _interpreter(content: bytes, source: ModelSource) -> Any:
    litert = framework("ai_edge_litert.interpreter", "ai-edge-litert", "litert", source)
    try:
        return litert.Interpreter(model_content=content, num_threads=source.threads)
    except (ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [""])[0] if content else "it is empty"
        hint = "convert the model again, or copy the file again if it was cut off"
        raise load_error(source, f"not a LiteRT model: {reason}", hint) from error


def _key(interpreter: Any, source: ModelSource) -> str | None:
    """The name of the signature that is called; None in a file without any."""
    known = tuple(interpreter.get_signature_list())
    chosen = source.options.get("signature")
    if chosen is not None and chosen not in known:
        raise UnknownNameError("signature of the model", str(chosen), known, where=place(source))
    if chosen is not None or not known:
        return None if chosen is None else str(chosen)
    return _DEFAULT if _DEFAULT in known else known[0]


def _tensors(content: bytes, source: ModelSource) -> _Tensors:
    interpreter = _interpreter(content, source)
    key = _key(interpreter, source)
    if key is None:
        given, got = (
            {each["name"]: each for each in side}
            for side in (interpreter.get_input_details(), interpreter.get_output_details())
        )
    else:
        runner = interpreter.get_signature_runner(key)
        given, got = runner.get_input_details(), runner.get_output_details()
    return _Tensors(*({name: _tensor(each) for name, each in side.items()} for side in (given, got)))


def _tensor(details: Mapping[str, Any]) -> _Tensor:
    signature = details["shape_signature"] if len(details["shape_signature"]) else details["shape"]
    axes = tuple(None if axis < 0 else int(axis) for axis in signature)
    dtype, numbers = np.dtype(details["dtype"]), details["quantization_parameters"]
    if dtype.kind in "iu" and len(numbers["scales"]) == 1:
        return _Tensor(axes, dtype.name, float(numbers["scales"][0]), int(numbers["zero_points"][0]))
    return _Tensor(axes, dtype.name if dtype.kind in "iufb" else "text")


def _signature(tensors: _Tensors, source: ModelSource) -> Signature:
    sides = tensors.inputs, tensors.outputs
    rows = fixed_rows(source, *({name: tensor.axes for name, tensor in side.items()} for side in sides))
    given, got = (
        {name: _type(name, tensor, declared.get(name), source) for name, tensor in side.items()}
        for side, declared in zip(sides, (source.inputs, source.outputs), strict=True)
    )
    return declared_over(Signature(given, got, rows), source)


def _type(name: str, tensor: _Tensor, declared: ColumnType | None, source: ModelSource) -> ColumnType:
    is_raw = declared is not None and declared.dtype == tensor.dtype
    dtype = tensor.dtype if tensor.scale is None or is_raw else _REAL
    hints = "give each tensor a first axis for the rows", "convert the model with tensors of numbers"
    return row_type(repr(name), tensor.axes, dtype, source, *hints)


def _check_operators(content: bytes, tensors: _Tensors, source: ModelSource) -> None:
    """Refuse what answers by what was asked before, and what cannot be run here."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content)
    codes = [model.OperatorCodes(place) for place in range(model.OperatorCodesLength())]
    used = {max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes}
    if found := [name for name in _STATEFUL if getattr(schema.BuiltinOperator, name) in used]:
        what = f"its answers depend on earlier calls ({', '.join(found)})"
        raise load_error(source, what, "convert it so that its state is an input and an output")
    if any(None in tensor.axes[1:] for tensor in tensors.inputs.values()):
        return  # of which length they are is known when it is called
    try:
        _interpreter(content, source).allocate_tensors()
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise load_error(
            source, f"LiteRT cannot run it: {reason}", "convert it with built-in operators only"
        ) from error


def _caller(content: bytes, source: ModelSource) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """An interpreter of its own, as a function from arrays to arrays that are new."""
    interpreter = _interpreter(content, source)
    key = _key(interpreter, source)
    if key is not None:
        runner = interpreter.get_signature_runner(key)

        def signed(columns: Mapping[str, Array]) -> dict[str, Array]:
            try:
                answers: dict[str, Array] = runner(**columns)
            finally:
                interpreter.reset_all_variables()
            return answers

        return signed
    given, got = (
        {each["name"]: each["index"] for each in side}
        for side in (interpreter.get_input_details(), interpreter.get_output_details())
    )

    def plain(columns: Mapping[str, Array]) -> dict[str, Array]:
        for name, column in columns.items():
            interpreter.resize_tensor_input(given[name], column.shape)
        interpreter.allocate_tensors()
        interpreter.reset_all_variables()
        for name, column in columns.items():
            interpreter.set_tensor(given[name], column)
        interpreter.invoke()
        return {name: interpreter.get_tensor(place) for name, place in got.items()}

    return plain
