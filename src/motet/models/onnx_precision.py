"""In which numbers an ONNX model is computed, and by which library.

    precision    f32 (the default), bf16, f16, int8 (scales of what is computed on the way, learned from a sample), int8-dynamic
                 (scales of each row, no sample; one row a call), or auto: whatever is fastest and answers alike
    backend      onnxruntime, which has f32, int8 and int8-dynamic, or openvino, which has all but int8-dynamic
    sample       a file of rows, columns by the model's own inputs: .npz, or what a run reads
    tolerance    how far answers may be from those of f32, for auto
    quantized    the file in int8 that was made of the model; a graph that is loaded says it, nobody else

`auto`, and `int8` of a file that is not quantized, are settled when a graph is loaded (`motet.runtime.precision`): from then on the
options say one precision, one backend, and which file it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from motet.errors import UnknownNameError
from motet.models.common import framework, load_error, place
from motet.models.handler import LoadedModel, ModelSource
from motet.models.onnx_proto import OnnxFile
from motet.models.openvino import OpenVINOModel, compile_openvino, read_openvino
from motet.system.places import cache_folder
from motet.types import Signature

__all__ = ["OPTIONS", "Precision", "alternatives", "is_quantized", "openvino_model", "precision_of", "quantized_path"]

OPTIONS: Final = ("precision", "backend", "sample", "tolerance", "quantized")
PRECISIONS: Final = ("f32", "bf16", "f16", "int8", "int8-dynamic", "auto")
BACKENDS: Final = ("onnxruntime", "openvino")
_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "f32": BACKENDS,
    "bf16": ("openvino",),
    "f16": ("openvino",),
    "int8": BACKENDS,
    "int8-dynamic": ("onnxruntime",),
    "auto": BACKENDS,
}
"""The backends that have a precision; the first is taken where none is said."""
_NARROW: Final = ("bf16", "f16")
_QUANTIZED: Final = frozenset(
    ("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger")
)
_PRODUCTS: Final = frozenset(("MatMul", "Gemm", "Conv", "ConvTranspose"))
_DYNAMIC: Final = frozenset(("MatMul", "Gemm"))
_KEPT_BY_DYNAMIC: Final = frozenset(("Conv", "ConvTranspose"))
"""Where most is computed in these there is nothing to gain."""
_WIDE: Final = ("int64", "uint64", "uint32", "float64", "string")
"""What OpenVINO computes in fewer bits, or not."""


@dataclass(frozen=True)
class Precision:
    """What a model's options say of it.

    Attributes:
        name: one of `PRECISIONS`.
        backend: one of `BACKENDS`; empty for `auto` that may choose it.
        sample: a file of rows, as it is written; empty where there is none.
        tolerance: how far answers may be from those of f32; None for what is said of each kind of answer.
        quantized: the name of the quantized file; empty where it is not made yet, or the model's own is.
    """

    name: str
    backend: str
    sample: str = ""
    tolerance: float | None = None
    quantized: str = ""

    @property
    def options(self) -> dict[str, str]:
        """What says the same; of `f32` by ONNX Runtime nothing."""
        said = {"precision": self.name, "backend": self.backend, "quantized": self.quantized}
        return {} if self.is_plain else {name: value for name, value in said.items() if value}

    @property
    def is_plain(self) -> bool:
        """Whether the model is played as its file says."""
        return (self.name, self.backend) == ("f32", "onnxruntime")

    def __str__(self) -> str:
        return f"{self.name} by {'OpenVINO' if self.backend == 'openvino' else 'ONNX Runtime'}"


def precision_of(source: ModelSource) -> Precision:
    """What the options of a model say.

    Raises:
        UnknownNameError: when there is no such precision or backend.
        ModelLoadError: when options contradict each other, or the model is not on the processor.
    """
    said = source.options
    name = _one_of("precision", said.get("precision", "f32"), PRECISIONS, source)
    backend = said.get("backend")
    if backend is not None and _one_of("backend", backend, BACKENDS, source) not in _BY[name]:
        has = ", ".join(each for each in PRECISIONS if backend in _BY[each])
        raise load_error(source, f"{backend} has no {name} for ONNX models; it has {has}", "leave the backend out")
    chosen = backend or ("" if name == "auto" else _BY[name][0])
    found = Precision(name, chosen, _text(source, "sample"), _tolerance(source), _text(source, "quantized"))
    if not found.is_plain and (source.device != "cpu" or "providers" in said):
        what = "device" if source.device != "cpu" else "providers"
        hint = f"leave {what} out, or the precision; TensorRT's provider has options of its own for that"
        raise load_error(source, f"precision and backend are for the processor, and {what} is said, too", hint)
    for option, wanted in (("sample", ("int8", "auto")), ("tolerance", ("auto",))):
        if said.get(option) is not None and name not in wanted:
            raise load_error(source, f"{option} is for precision {' and '.join(wanted)}; it is {name}")
    return found


def alternatives(source: ModelSource, signature: Signature, file: OnnxFile) -> Iterator[Precision]:
    """What `auto` may choose beside f32 by ONNX Runtime, for a model that is not quantized."""
    said = precision_of(source).backend
    wide = any(kind.dtype in _WIDE for kind in (*signature.inputs.values(), *signature.outputs.values()))
    found = [] if wide else [Precision("f32", "openvino"), *(Precision(name, "openvino") for name in _NARROW)]
    operators = {node.operator for node in file.nodes}
    if operators & _PRODUCTS:
        found += [Precision("int8", each) for each in BACKENDS if not (wide and each == "openvino")]
    if operators & _DYNAMIC and not operators & _KEPT_BY_DYNAMIC:
        found.append(Precision("int8-dynamic", "onnxruntime"))
    yield from (each for each in found if said in ("", each.backend))


def is_quantized(file: OnnxFile) -> bool:
    """Whether an ONNX file computes in int8 by itself."""
    return any(node.operator in _QUANTIZED for node in file.nodes)


def quantized_path(name: str) -> str:
    """Where a quantized file of this name is on this machine; a path is where it says."""
    return os.path.join(cache_folder(), "precisions", name)


def openvino_model(source: ModelSource, signature: Signature, precision: Precision) -> LoadedModel:
    """The model of an ONNX file, played by OpenVINO; its tensors are called as in the file.

    Raises:
        ModelLoadError: when OpenVINO does not load it, or does not compute in this precision here.
        MissingExtraError: when OpenVINO is not installed.
    """
    framework("openvino", "openvino", "precision", source)
    model = read_openvino(source)
    compiled, at_once = compile_openvino(model, source, precision.name if precision.name in _NARROW else "f32")
    inputs = [_called(port, signature.inputs, source) for port in model.inputs]
    given = {name: at for at, port in enumerate(model.outputs) for name in port.names}
    if lost := [name for name in signature.outputs if name not in given]:
        raise load_error(source, f"OpenVINO has no output {lost[0]!r} of it", "say backend: onnxruntime")
    return OpenVINOModel(compiled, at_once, inputs, {name: given[name] for name in signature.outputs})


def _called(port: Any, names: Mapping[str, Any], source: ModelSource) -> str:
    found = next((name for name in names if name in port.names), None)
    if found is None:
        raise load_error(source, f"OpenVINO has an input {min(port.names, default='')!r} that the file has not")
    return found


def _one_of(what: str, said: object, known: tuple[str, ...], source: ModelSource) -> str:
    if not isinstance(said, str) or said not in known:
        raise UnknownNameError(what, str(said), known, where=place(source))
    return said


def _text(source: ModelSource, option: str) -> str:
    said = source.options.get(option)
    if said is not None and (not isinstance(said, str) or not said):
        raise load_error(source, f"{option} is the name of a file; got {said!r}")
    return said or ""


def _tolerance(source: ModelSource) -> float | None:
    said = source.options.get("tolerance")
    if said is None:
        return None
    if isinstance(said, bool) or not isinstance(said, (int, float)) or not 0 <= said < 1:
        raise load_error(source, f"tolerance must be a number from 0 to below 1; got {said!r}", "0.02 is the default")
    return float(said)
