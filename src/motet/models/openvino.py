"""OpenVINO models, from .xml files with their weights in a .bin file of the same name beside them, and `openvino:x.onnx`.

The first axis of each tensor is the row; axes that the file leaves open may have any length. Inputs and outputs are called as the
model calls them. Options:

    precision   f32 (the default, whose answers are those of ONNX Runtime but for rounding), bf16, f16, or auto for what OpenVINO
                thinks best for the processor; bf16 and f16 keep two to three digits of what is computed on the way, and are
                refused where the processor does not compute in them

OpenVINO computes whole numbers in 32 bits, and float64 as float32: a row with a whole number beyond them fails.

As many calls at a time are computed as there are cores for their threads; others wait.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from motet.batch import Array
from motet.errors import InputError, UnknownNameError
from motet.locks import new_lock
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
from motet.models.onnx_proto import read_onnx
from motet.system.limits import num_cores
from motet.types import ColumnType, Signature

__all__ = ["OpenVINOHandler", "OpenVINOModel", "compile_openvino", "openvino_core", "read_openvino"]

_OUT_OF_MEMORY = ("bad_alloc", "out of memory", "Cannot allocate", "could not allocate")
_PRECISIONS = {"f32": "f32", "bf16": "bf16", "f16": "f16", "auto": "undefined"}
_NARROW = {"bf16": "BF16", "f16": "FP16"}
"""Precisions that not every processor computes in, and what they are called among what one can do."""
_OPTIONS = ("precision",)
_WIDE = ("int64", "uint64", "uint32")


class OpenVINOHandler(Handler):
    """Loads `.xml` files with their `.bin`, and ONNX files by the scheme."""

    name: ClassVar[str] = "openvino"
    extra: ClassVar[str] = "openvino"
    suffixes: ClassVar[tuple[str, ...]] = (".xml",)

    def __init__(self) -> None:
        self._kept: LoadCache[Any] = LoadCache(read_openvino, whole=_whole)

    @staticmethod
    def companions(path: str) -> list[str]:
        """The file of weights beside an .xml, those of an ONNX file's own; relative paths."""
        if not path.lower().endswith(".xml"):
            return list(read_onnx(path).external_files)
        return [os.path.basename(_weights(path))] if os.path.isfile(_weights(path)) else []

    def signature(self, source: ModelSource) -> Signature:
        """What the model says, with the declared types over it; reads it, and keeps it for `load`.

        Raises:
            ModelLoadError: when the file is no such model, its weights are missing, or it takes or gives what is no column.
        """
        _precision(source)
        return _signature(self._kept.look(source), source)

    def load(self, source: ModelSource) -> LoadedModel:
        """Compile it for use, and see whether rows that share a call answer as alone; see `Handler.load`."""
        precision = _precision(source)
        check_cpu(source, "OpenVINO")
        model = self._kept.take(source)
        signature = _signature(model, source)
        compiled, at_once = compile_openvino(model, source, precision)
        places = {name: at for at, name in enumerate(_names(model.outputs))}
        outputs = {name: places[name] for name in signature.outputs}
        loaded = OpenVINOModel(compiled, at_once, _names(model.inputs), outputs)
        return one_row_a_call_if_needed(loaded, signature, place(source))


class OpenVINOModel:
    """A compiled model; several threads may call it.

    Args:
        compiled: the model.
        at_once: how many calls are computed at a time.
        inputs: the names of its inputs, in its order.
        outputs: by name the places of the outputs that are given.
    """

    fresh_outputs = True
    batch_invariant = False

    def __init__(self, compiled: Any, at_once: int, inputs: Sequence[str], outputs: Mapping[str, int]) -> None:
        self._requests: Instances[Any] | None = Instances(compiled.create_infer_request, at_once)
        self._inputs, self._outputs = inputs, outputs

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`.

        Raises:
            MemoryError: when the batch is too large for the memory.
            InputError: when a whole number has more than 32 bits.
        """
        assert self._requests is not None, "a model that is closed is not called"
        for name in self._inputs:
            _check_whole(name, columns[name])
        try:
            with self._requests.one() as request:
                answers = request.infer([columns[name] for name in self._inputs], share_outputs=False)
        except Exception as error:
            raise_memory_error(error, _OUT_OF_MEMORY)
            raise
        return {name: answers[at] for name, at in self._outputs.items()}

    def close(self) -> None:
        """Let go of the compiled model."""
        self._requests = None


def compile_openvino(model: Any, source: ModelSource, precision: str) -> tuple[Any, int]:
    """Compile what `read_openvino` gave.

    Args:
        model: it.
        source: where it is from, and how many threads a call may use.
        precision: what OpenVINO calls the precision to compute in.

    Returns:
        The compiled model, and how many calls of it are computed at a time.

    Raises:
        ModelLoadError: when OpenVINO does not compile it, or does not compute in this precision here.
    """
    core, hint = openvino_core(source), "say another precision, as f32 or auto"
    if precision in _NARROW and _NARROW[precision] not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise load_error(source, f"this processor does not compute in {precision}", hint)
    at_once = max(1, num_cores() // source.threads)
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": at_once * source.threads,
        "NUM_STREAMS": at_once,
        "ENABLE_CPU_PINNING": False,  # several models, and processes, would be bound to the same cores
    }
    try:
        compiled = core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise_memory_error(error, _OUT_OF_MEMORY)
        raise load_error(source, f"OpenVINO cannot compile it: {_reason(error)}") from error
    if precision in _NARROW and compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() != precision:
        raise load_error(source, f"OpenVINO does not compute it in {precision} here", hint)
    return compiled, at_once


def _check_whole(name: str, column: Array) -> None:
    if column.dtype.name not in _WIDE or not column.size:
        return
    least, most = int(column.min()), int(column.max())
    if least < -(1 << 31) or most >= 1 << 31:
        found = least if least < -(1 << 31) else most
        what = f"input {name!r} is {found}, and OpenVINO computes whole numbers in 32 bits"
        raise InputError(what, hint="play the model by ONNX Runtime")


_core_of: dict[int, Any] = {}
_making = new_lock()


def openvino_core(source: ModelSource) -> Any:
    """OpenVINO's core, one for the life of a process.

    What computes on the processor is loaded once for each core, gives the thread that loads it a stack for signals, and frees
    that with the core, in whatever thread that is then: a signal later would end the process. So it is a thread that ends at once.
    """
    openvino = framework("openvino", "openvino", "openvino", source)

    def make() -> Any:
        core = openvino.Core()
        core.set_property({"ENABLE_MMAP": False})  # a file that is cut off meanwhile would end the process
        core.get_property("CPU", "FULL_DEVICE_NAME")
        return core

    with _making:
        if os.getpid() not in _core_of:
            with ThreadPoolExecutor(1, "motet-openvino") as thread:
                _core_of[os.getpid()] = thread.submit(make).result()
        return _core_of[os.getpid()]


def _weights(path: str) -> str:
    return f"{os.path.splitext(path)[0]}.bin"


def _whole(path: str) -> str:
    """The file that tells a model from what it was: that of its weights, which is always written with the .xml."""
    return _weights(path) if path.lower().endswith(".xml") and os.path.isfile(_weights(path)) else path


def read_openvino(source: ModelSource) -> Any:
    """The model of a file, as OpenVINO has it, not compiled.

    Raises:
        ModelLoadError: when OpenVINO does not read it.
    """
    path = source.location
    if path.lower().endswith(".xml") and not os.path.isfile(_weights(path)):
        name = os.path.basename(_weights(path))
        raise load_error(
            source, f"its weights, {name}, are not beside it", "copy both files that openvino.save_model wrote"
        )
    try:
        return openvino_core(source).read_model(path)
    except RuntimeError as error:
        hint = "write it with openvino.save_model(model, 'x.xml'), or name an ONNX file"
        raise load_error(source, f"OpenVINO cannot read it: {_reason(error)}", hint) from error


def _reason(error: Exception) -> str:
    """What an error says, without the places in OpenVINO's code that it begins with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (said or lines or [type(error).__name__])[0]


def _precision(source: ModelSource) -> str:
    check_options(source, _OPTIONS)
    chosen = source.options.get("precision", "f32")
    if not isinstance(chosen, str) or chosen not in _PRECISIONS:
        raise UnknownNameError("precision", str(chosen), tuple(_PRECISIONS), where=place(source))
    return _PRECISIONS[chosen]


def _names(ports: Sequence[Any]) -> list[str]:
    """The names of inputs or outputs; those that have none are numbered."""
    single = ["output"] if len(ports) == 1 else [f"output_{at}" for at in range(len(ports))]
    return [min(port.names) if port.names else single[at] for at, port in enumerate(ports)]


def _signature(model: Any, source: ModelSource) -> Signature:
    sides = [dict(zip(_names(ports), ports, strict=True)) for ports in (model.inputs, model.outputs)]
    shapes = [{name: _axes(port) for name, port in side.items()} for side in sides]
    rows = fixed_rows(source, *shapes)
    given, got = (
        {name: _type(name, axes, side[name], source) for name, axes in each.items()}
        for each, side in zip(shapes, sides, strict=True)
    )
    return declared_over(Signature(given, got, rows), source)


def _axes(port: Any) -> tuple[int | None, ...] | None:
    """The lengths of a tensor's axes, None where any will do; None where their number is open."""
    shape = port.partial_shape
    if shape.rank.is_dynamic:
        return None
    return tuple(axis.get_length() if axis.is_static else None for axis in shape)


def _type(name: str, axes: tuple[int | None, ...] | None, port: Any, source: ModelSource) -> ColumnType:
    hints = "give each tensor a first axis for the rows", "convert the model with tensors of numbers"
    if axes is None:
        raise load_error(source, f"{name!r} does not say how many axes it has", hints[0])
    kind = port.element_type
    dtype = kind.to_dtype().name if kind.get_type_name() not in ("string", "bf16") else kind.get_type_name()
    return row_type(repr(name), axes, dtype, source, *hints)
