"""ONNX models, by ONNX Runtime.

The signature is read from the file itself (`onnx_proto.py`), so checking a graph loads no runtime and no weights. The
first axis of each tensor is the row. Options (`with:` of the model):

    providers           execution providers in order of preference, instead of the one of `device`: names, or
                        `[name, {option: value}]`; those of CUDA and TensorRT are put on `device`
    graph_optimization  disabled, basic, extended or all (the default)
    precision, backend, sample, tolerance    in which numbers it is computed, and by which library: see `onnx_precision.py`
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from motet.batch import Array
from motet.errors import UnknownNameError
from motet.locks import new_lock
from motet.models.common import (
    check_options,
    declared_over,
    fixed_rows,
    framework,
    load_error,
    place,
    raise_memory_error,
)
from motet.models.digest import Change, change_of
from motet.models.handler import Handler, LoadedModel, ModelSource
from motet.models.independence import RowByRow, one_row_a_call_if_needed
from motet.models.onnx_labels import labels_of
from motet.models.onnx_precision import OPTIONS, is_quantized, openvino_model, precision_of
from motet.models.onnx_proto import OnnxFile, OnnxFormatError, OnnxTensor, read_onnx
from motet.models.onnx_rows import RowSharing, reached_by_inputs, rows_of, same_bits
from motet.models.stacking.program import Program
from motet.types import ANY, ColumnType, Signature

__all__ = ["OUT_OF_MEMORY", "OnnxHandler", "OnnxModel", "open_session"]

_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
_OPTIMIZATION = {
    "disabled": "ORT_DISABLE_ALL", "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED", "all": "ORT_ENABLE_ALL",
}  # fmt: skip
OUT_OF_MEMORY = (
    "bad allocation", "bad_alloc", "Failed to allocate memory", "out of memory", "ALLOC_FAILED", "AllocateRawInternal",
)  # fmt: skip
_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
_importing = new_lock()
_FATAL_ONLY = 4  # what fails is raised, and said once
_ON_CUDA = ("TensorrtExecutionProvider", "CUDAExecutionProvider")


class OnnxHandler(Handler):
    """Loads `.onnx` files."""

    name: ClassVar[str] = "onnx"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    batch_invariant: ClassVar[bool] = True

    def signature(self, source: ModelSource) -> Signature:
        """What the file says, with the declared types over it.

        Raises:
            ModelLoadError: when it is no ONNX file, or takes or gives what is no column.
        """
        check_options(source, ("providers", "graph_optimization", *OPTIONS))
        precision_of(source)
        file, meeting = _read(source)
        own_inputs = {
            tensor.name: _column_type(source, tensor, "input", "export the model with a first axis for the rows")
            for tensor in file.inputs
        }
        wanted = source.outputs or {tensor.name: ANY for tensor in file.outputs}
        own_outputs = {
            tensor.name: _output_type(source, tensor) if tensor.name in wanted else ANY for tensor in file.outputs
        }
        given = [tensor for tensor in file.outputs if tensor.name in wanted]
        rows = fixed_rows(source, *({each.name: each.axes for each in tensors} for tensors in (file.inputs, given)))
        _refuse_constants(source, file, given)
        if rows is None:
            rows = 1 if meeting is RowSharing.TOGETHER else None
        labels = labels_of(file.metadata, own_outputs)
        return declared_over(Signature(own_inputs, own_outputs, rows, labels), source)

    def notes(self, source: ModelSource) -> list[str]:
        """What whoever checks a graph should know of this model."""
        precision = precision_of(source)
        notes = [] if precision.is_plain else [f"computed in {precision}"]
        if _read(source)[1] is RowSharing.TOGETHER:
            notes.append("rows that share a call change each other's answers, so each row is a call of its own")
        return notes

    def companions(self, path: str) -> list[str]:
        """The files beside `path` that hold its weights, relative paths; empty for a model in one file.

        Raises:
            ModelLoadError: when it is no ONNX file.
        """
        return list(_read(ModelSource(path, path))[0].external_files)

    def program(self, source: ModelSource, most_bytes: int) -> Program:
        """What it computes; see `Handler`."""
        from motet.models.stacking.onnx_program import onnx_program

        return onnx_program(source.location, self.signature(source), most_bytes)

    def load(self, source: ModelSource) -> LoadedModel:
        """Load it into a session of `source.threads` threads.

        Raises:
            ModelLoadError: when ONNX Runtime refuses the file or has no provider for the device.
            MissingExtraError: when ONNX Runtime is not installed.
        """
        signature, precision = self.signature(source), precision_of(source)
        if precision.name == "auto" or (precision.name.startswith("int8") and not is_quantized(_read(source)[0])):
            raise load_error(source, f"its precision {precision.name} is not settled yet", "load it by a graph")
        if precision.backend == "openvino":
            return _apart(openvino_model(source, signature, precision), signature, source)
        file, rows = _read(source)
        exact = precision.is_plain and (rows is RowSharing.TOGETHER or (rows is RowSharing.APART and same_bits(file)))
        return _apart(OnnxModel(open_session(source), signature, exact), signature, source)

    def onnx_file(self, source: ModelSource) -> OnnxFile:
        """What the file says of itself.

        Raises:
            ModelLoadError: when it is no ONNX file.
        """
        return _read(source)[0]


def open_session(source: ModelSource) -> Any:
    """A session of `source.threads` threads for the file at `source.location`, on its device.

    Raises:
        ModelLoadError: when ONNX Runtime refuses the file or has no provider for the device.
        MissingExtraError: when ONNX Runtime is not installed.
    """
    runtime = _runtime(source)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = source.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, _optimization(source))
    providers = _providers(source, runtime)
    try:
        return runtime.InferenceSession(source.location, options, providers=providers)
    except Exception as error:
        raise_memory_error(error, OUT_OF_MEMORY)
        raise _refused(source, error) from error


class OnnxModel:
    """A session; ONNX Runtime lets several threads call it at once, without the interpreter's lock."""

    fresh_outputs = True

    def __init__(self, session: Any, signature: Signature, batch_invariant: bool = True) -> None:
        self.batch_invariant = batch_invariant
        self._session: Any = session
        self._run: Any = _run_of(session)
        self._inputs, self._outputs = tuple(signature.inputs), list(signature.outputs)

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`.

        Raises:
            MemoryError: when the batch is too large for the memory.
        """
        try:
            answers = self._run(self._outputs, {name: columns[name] for name in self._inputs}, None)
        except Exception as error:
            raise_memory_error(error, OUT_OF_MEMORY)
            raise
        return dict(zip(self._outputs, answers, strict=True))

    def close(self) -> None:
        """Give the session's memory back."""
        self._session = self._run = None


def _runtime(source: ModelSource) -> Any:
    """ONNX Runtime, imported without its telemetry: the thread that sends it makes a forked process hang when it ends.

    What the program says itself of `ORT_DISABLE_TELEMETRY` counts, and so does that it imports ONNX Runtime first.
    """
    with _importing:
        said = os.environ.get(_NO_TELEMETRY)
        if said is None:
            os.environ[_NO_TELEMETRY] = "1"
        try:
            return framework("onnxruntime", "onnxruntime", "onnx", source)
        finally:
            if said is None:
                os.environ.pop(_NO_TELEMETRY, None)


def _apart(model: LoadedModel, signature: Signature, source: ModelSource) -> LoadedModel:
    """A model whose rows do not meet; where the graph does not tell whether they do, a few made-up rows do."""
    rows = _read(source)[1]
    if rows is RowSharing.UNKNOWN:
        return one_row_a_call_if_needed(model, signature, place(source))
    fixed = signature.fixed_rows or 1
    return RowByRow(model, fixed) if rows is RowSharing.TOGETHER and fixed > 1 else model


def _run_of(session: Any) -> Callable[..., Any]:
    """What runs a session: where it has one, the native object inside, since its columns have been checked already.

    `InferenceSession.run` looks at names and owners of its inputs again on each call, which takes longer than a small model.
    What else it does, trying again with other providers, is for sessions that have some.
    """
    inside = getattr(session, "_sess", None)
    if callable(getattr(inside, "run", None)) and session.get_providers() == ["CPUExecutionProvider"]:
        return inside.run  # type: ignore[no-any-return, union-attr]
    return session.run  # type: ignore[no-any-return]


def _read(source: ModelSource) -> tuple[OnnxFile, RowSharing]:
    """What a file says, and what becomes of rows that share a call of it."""
    try:
        return _read_once(source.location, change_of(os.stat(source.location)))
    except OnnxFormatError as error:
        hint = "export the model again, or copy the file again if it was cut off"
        raise load_error(source, f"not a whole ONNX file: {error}", hint) from error
    except OSError as error:
        raise load_error(source, f"the file cannot be read: {error}", "check the path and the rights") from error


@functools.lru_cache(maxsize=512)
def _read_once(location: str, change: Change) -> tuple[OnnxFile, RowSharing]:
    """See `_read`; a model that comes and goes need not be looked through each time."""
    file = read_onnx(location)
    return file, rows_of(file)


def _output_type(source: ModelSource, tensor: OnnxTensor) -> ColumnType:
    if tensor.kind == "sequence":
        hint = "export it with zipmap=False (skl2onnx: options={'zipmap': False}), or declare only the other outputs"
        if not any(node.operator == "ai.onnx.ml:ZipMap" for node in _read(source)[0].nodes):
            hint = "declare only the other outputs"
        raise load_error(source, f"output {tensor.name!r} is a sequence, not a tensor", hint)
    return _column_type(source, tensor, "output", "declare under `outputs` only those that have a row axis")


def _column_type(source: ModelSource, tensor: OnnxTensor, kind: str, hint: str) -> ColumnType:
    if tensor.kind != "tensor":
        raise load_error(source, f"{kind} {tensor.name!r} is a {tensor.kind}, not a tensor", hint)
    if tensor.elem_type not in _DTYPES:
        what = f"{kind} {tensor.name!r} has ONNX element type {tensor.elem_type}, which no column has"
        raise load_error(source, what, "export the model with a Cast to float32 there")
    if tensor.axes is None:
        return ANY
    if not tensor.axes:
        raise load_error(source, f"{kind} {tensor.name!r} is one value whatever the rows are: it has no row axis", hint)
    shape = tuple(axis if isinstance(axis, int) else None for axis in tensor.axes[1:])
    return ColumnType(_DTYPES[tensor.elem_type], shape)


def _refuse_constants(source: ModelSource, file: OnnxFile, outputs: Iterable[OnnxTensor]) -> None:
    """Refuse outputs that no input reaches: they are weights, and have no rows."""
    reached = reached_by_inputs(file)
    for tensor in outputs:
        if tensor.name not in reached:
            hint = "declare under `outputs` only those that have the rows as their first axis"
            raise load_error(source, f"output {tensor.name!r} is a constant, whatever the rows are", hint)


def _optimization(source: ModelSource) -> str:
    level = source.options.get("graph_optimization", "all")
    if level not in _OPTIMIZATION:
        raise UnknownNameError("graph_optimization", str(level), tuple(_OPTIMIZATION), where=place(source))
    return _OPTIMIZATION[level]


def _providers(source: ModelSource, runtime: Any) -> list[Any]:
    kind, _, number = source.device.partition(":")
    if kind not in ("cpu", "cuda"):
        raise UnknownNameError("device", source.device, ("cpu", "cuda", "cuda:N"), where=place(source))
    default = ["CUDAExecutionProvider", "CPUExecutionProvider"] if kind == "cuda" else ["CPUExecutionProvider"]
    given = source.options.get("providers", default)
    if isinstance(given, str) or not isinstance(given, (list, tuple)) or not given:
        raise load_error(source, f"providers must be a list of names; got {given!r}", "write providers: [NAME, ...]")
    chosen = [_provider(each, int(number or 0), source) for each in given]
    available = runtime.get_available_providers()
    for name, _ in chosen:
        if name not in available:
            hint = "install onnxruntime-gpu in place of onnxruntime" if name in _ON_CUDA else "name one of those"
            raise load_error(source, f"this ONNX Runtime has no {name}; it has {', '.join(available)}", hint)
    return chosen


def _provider(given: object, device: int, source: ModelSource) -> tuple[str, dict[str, Any]]:
    """A provider's name and options."""
    pair = given if isinstance(given, (list, tuple)) and len(given) == 2 else (given, {})
    name, options = pair
    if not isinstance(name, str) or not isinstance(options, Mapping):
        raise load_error(source, f"a provider is a name, or [name, {{option: value}}]; got {given!r}")
    return name, {**({"device_id": device} if name in _ON_CUDA else {}), **options}


def _refused(source: ModelSource, error: Exception) -> Exception:
    hint = "check the file with onnx.checker, and that this onnxruntime is new enough for its opset"
    if "external" in str(error).lower():
        hint = "the weights are in another file: keep it beside the .onnx file, or save the model as one file"
    return load_error(source, f"ONNX Runtime cannot load it: {error}", hint)
