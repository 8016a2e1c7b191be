"""What an ONNX file computes, as a `Program`: its weights are read from the file, without a framework.

Weights that operators give from weights alone are computed here, and layers of `ai.onnx.ml`, as scikit-learn's models are exported
with, become those of ONNX itself. Field numbers are those of onnx.proto3.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from motet.batch import Array
from motet.models.onnx_proto import OnnxFormatError, ProtoReader, Span, onnx_bytes, read_node
from motet.models.stacking.builder import ProgramBuilder
from motet.models.stacking.program import Attribute, Program, Unstackable, input_value
from motet.types import Signature

__all__ = ["onnx_program"]

_GRAPH, _NODE, _INITIALIZER, _SPARSE, _FUNCTION = 7, 1, 5, 15, 25
_DTYPES: Final = {1: "float32", 6: "int32", 7: "int64", 8: "object", 9: "bool", 11: "float64"}


def onnx_program(location: str, signature: Signature, most_bytes: int) -> Program:
    """What a file computes.

    Args:
        location: its path.
        signature: what it takes and gives.
        most_bytes: how large it may be: the weights of larger models take so long to compute with that nothing is gained.

    Raises:
        Unstackable: when it cannot be played together with others.
        OnnxFormatError: when it is no whole ONNX file.
        OSError: when it cannot be read.
    """
    with onnx_bytes(location) as reader:
        if len(reader.data) > most_bytes:
            raise Unstackable(f"is larger than {most_bytes >> 20} MiB")
        nodes, weights = _read(reader, (0, len(reader.data)))
    translated = _Translated(weights, signature)
    for node in nodes:
        translated.add(node)
    return translated.program()


@dataclass
class _Node:
    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


def _read(reader: ProtoReader, span: Span) -> tuple[list[_Node], dict[str, Array]]:
    graphs = [inner for number, _, inner in reader.fields(span) if number == _GRAPH]
    if any(number == _FUNCTION for number, _, _ in reader.fields(span)):
        raise Unstackable("has functions of its own")
    if not graphs:
        raise OnnxFormatError("it has no graph")
    nodes, weights = list[_Node](), dict[str, Array]()
    for number, _, inner in reader.fields(graphs[-1]):
        if number == _NODE:
            nodes.append(_node(reader, inner))
        elif number == _INITIALIZER:
            name, weight = _tensor(reader, inner)
            weights[name] = weight
        elif number == _SPARSE:
            raise Unstackable("has sparse weights")
    return nodes, weights


def _node(reader: ProtoReader, span: Span) -> _Node:
    operator, inputs, outputs, attributes = read_node(reader, span)
    return _Node(operator, inputs, outputs, dict(_attribute(reader, each) for each in attributes))


def _attribute(reader: ProtoReader, span: Span) -> tuple[str, Any]:
    """An attribute's name and value: a number, a text, a tensor, or several numbers or texts; None for others."""
    name, several = "", list[Any]()
    single: Any = None
    for number, value, inner in reader.fields(span):
        if number == 1:
            name = reader.text(inner)
        elif number == 2:
            (single,) = _floats(reader, inner)
        elif number == 3:
            single = reader.integers(value, inner)[0]
        elif number == 4:
            single = reader.text(inner)
        elif number == 5:
            single = _tensor(reader, inner)[1]
        elif number == 7:
            several += _floats(reader, inner)
        elif number == 8:
            several += reader.integers(value, inner)
        elif number == 9:
            several.append(reader.text(inner))
    return name, several or single


def _floats(reader: ProtoReader, span: Span) -> list[float]:
    data = bytes(reader.data[span[0] : span[1]])
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def _tensor(reader: ProtoReader, span: Span) -> tuple[str, Array]:
    """A weight's name and values."""
    dims, values, parts, kind, name = list[int](), list[Any](), list[bytes](), 0, ""
    for number, value, inner in reader.fields(span):
        if number == 1:
            dims += reader.integers(value, inner)
        elif number == 2:
            kind = value
        elif number in (5, 7):
            values += reader.integers(value, inner)
        elif number == 6:
            values.append(reader.text(inner))
        elif number == 8:
            name = reader.text(inner)
        elif number in (4, 9, 10):
            parts.append(bytes(reader.data[inner[0] : inner[1]]))
        elif number == 13:
            raise Unstackable("has weights in another file")
    if kind not in _DTYPES:
        raise Unstackable("has weights that are no plain numbers")
    dtype, count = np.dtype(_DTYPES[kind]), int(np.prod(dims, dtype=np.int64))
    found = np.array(values, dtype) if values or dtype.hasobject else _numbers(b"".join(parts), dtype)
    if found.size != count:
        raise OnnxFormatError(f"weight {name!r} has {found.size} values; its shape {dims} has {count}")
    return name, found.reshape(dims)


def _numbers(data: bytes, dtype: np.dtype[Any]) -> Array:
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype)


class _Translated:
    """The operators of a file, as a program has them.

    Args:
        weights: by name; those that are computed are put among them.
        signature: of the model.
    """

    def __init__(self, weights: dict[str, Array], signature: Signature) -> None:
        self._builder, self._signature = ProgramBuilder(), signature
        self._builder.weights = self._weights = weights
        self._names: dict[str, str] = {name: input_value(name) for name in signature.inputs}
        self._tables: dict[str, tuple[str, str]] = {}

    def program(self) -> Program:
        """The program; see `ProgramBuilder`."""
        outputs = {name: self._names.get(name, name) for name in self._signature.outputs}
        return self._builder.program(self._signature.inputs, outputs)

    def add(self, node: _Node) -> None:
        """Take one operator of the file."""
        if node.operator == "Constant":
            value = node.attributes.get("value")
            if not isinstance(value, np.ndarray):
                value = np.array(next(iter(node.attributes.values()), None))
                value = value.astype({"f": "float32", "i": "int64"}.get(value.dtype.kind, value.dtype))
            if value.dtype.kind not in "fib":
                raise Unstackable("has a constant that is no number")
            self._weights[node.outputs[0]] = value
        elif node.inputs and all(name in self._weights for name in node.inputs):
            self._fold(node)
        else:
            translate: Callable[[_Node], None] = _TRANSLATED.get(node.operator, _Translated._plain).__get__(self)
            translate(node)

    def _fold(self, node: _Node) -> None:
        """A weight that is made of another one."""
        weight = self._weights[node.inputs[0]]
        if node.operator == "Transpose":
            weight = np.ascontiguousarray(weight.transpose(node.attributes.get("perm")))
        elif node.operator == "Cast" and node.attributes.get("to") in _DTYPES:
            weight = weight.astype(_DTYPES[node.attributes["to"]])
        elif node.operator != "Identity":
            raise Unstackable(f"computes a weight by {node.operator}")
        self._weights[node.outputs[0]] = weight

    def _value(self, name: str) -> str:
        """What a value of the file is called in the program, where files that differ in names are alike."""
        if name in self._weights:
            return name
        if name not in self._names:
            raise Unstackable("has values that nothing gives")
        return self._names[name]

    def _gives(self, name: str, output: str, *inputs: str, **attributes: Attribute) -> str:
        """Add an operator that gives a value of the file, or an empty name; what it is called in the program."""
        given = self._builder.add(name, *inputs, **attributes)
        if output:
            self._names[output] = given
        return given

    def _plain(self, node: _Node) -> None:
        attributes = node.attributes
        if any(not isinstance(value, (int, float, str)) for value in attributes.values()):
            raise Unstackable(f"has the operator {node.operator}")
        if [name for name in node.outputs[1:] if name]:
            raise Unstackable(f"has a {node.operator} of several outputs")
        inputs = [self._value(name) for name in node.inputs if name]
        if node.operator == "Dropout":
            inputs = inputs[:1]
        self._gives(node.operator, node.outputs[0], *inputs, **attributes)

    def _softmax(self, node: _Node) -> None:
        axis = node.attributes.get("axis", -1)
        self._gives("Softmax", node.outputs[0], self._value(node.inputs[0]), axis=axis)

    def _argmax(self, node: _Node) -> None:
        if node.attributes.get("select_last_index"):
            raise Unstackable("has an ArgMax that takes the last place")
        attributes = {name: value for name, value in node.attributes.items() if name in ("axis", "keepdims")}
        self._gives("ArgMax", node.outputs[0], self._value(node.inputs[0]), **attributes)

    def _cast(self, node: _Node) -> None:
        to = node.attributes.get("to")
        if to not in _DTYPES:
            raise Unstackable(f"has a Cast to the type {to}")
        self._gives("Cast", node.outputs[0], self._value(node.inputs[0]), to=_DTYPES[to])

    def _gemm(self, node: _Node) -> None:
        if node.attributes.get("transA") or any(name not in self._weights for name in node.inputs[1:] if name):
            raise Unstackable("has a Gemm of another form than that of layers")
        weight = self._weights[node.inputs[1]]
        alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
        turned = weight.T if node.attributes.get("transB") else weight
        scaled = np.ascontiguousarray(turned * weight.dtype.type(alpha)) if alpha != 1 else np.ascontiguousarray(turned)
        bias = [self._weights[name] for name in node.inputs[2:] if name]
        added = [self._builder.weight(each * each.dtype.type(beta)) for each in bias]
        self._gives("Gemm", node.outputs[0], self._value(node.inputs[0]), self._builder.weight(scaled), *added)

    def _normalization(self, node: _Node) -> None:
        """The one of batches, in use: it scales and moves features by weights."""
        if node.attributes.get("training_mode") or any(name not in self._weights for name in node.inputs[1:]):
            raise Unstackable("has a BatchNormalization of another form than that of layers")
        scale, bias, mean, variance = (self._weights[name].astype(np.float64) for name in node.inputs[1:])
        dtype = self._weights[node.inputs[1]].dtype
        factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
        scaled = self._gives("Mul", "", self._value(node.inputs[0]), self._builder.weight(factor.astype(dtype)))
        self._gives("Add", node.outputs[0], scaled, self._builder.weight((bias - mean * factor).astype(dtype)))

    def _scaler(self, node: _Node) -> None:
        offset, scale = (np.array(node.attributes[name], np.float32) for name in ("offset", "scale"))
        moved = self._gives("Sub", "", self._value(node.inputs[0]), self._builder.weight(offset))
        self._gives("Mul", node.outputs[0], moved, self._builder.weight(scale))

    def _linear(self, node: _Node, outputs: int) -> str:
        """The scores of a linear model of `ai.onnx.ml`."""
        weights = np.array(node.attributes["coefficients"], np.float32).reshape(outputs, -1).T
        intercepts = np.array(node.attributes.get("intercepts") or [0.0] * outputs, np.float32)
        given = self._value(node.inputs[0])
        return self._gives(
            "Gemm", "", given, self._builder.weight(np.ascontiguousarray(weights)), self._builder.weight(intercepts)
        )

    def _regressor(self, node: _Node) -> None:
        if node.attributes.get("post_transform", "NONE") != "NONE":
            raise Unstackable("has a LinearRegressor that transforms its answers")
        self._names[node.outputs[0]] = self._linear(node, node.attributes.get("targets", 1))

    def _classifier(self, node: _Node) -> None:
        classes = node.attributes.get("classlabels_ints") or node.attributes.get("classlabels_strings") or []
        after = node.attributes.get("post_transform", "NONE")
        if after not in ("NONE", "SOFTMAX", "LOGISTIC") or len(node.attributes.get("intercepts", ())) != len(classes):
            raise Unstackable("has a LinearClassifier of another form than one of scores for each class")
        scores = self._linear(node, len(classes))
        table = np.array(classes, object if isinstance(classes[0], str) else np.int64)
        self._gives(
            "Take", node.outputs[0], self._gives("ArgMax", "", scores, axis=1, keepdims=0), self._builder.weight(table)
        )
        if after == "SOFTMAX":
            scores = self._gives("Softmax", "", scores, axis=-1)
        elif after == "LOGISTIC":
            scores = self._gives("Sigmoid", "", scores)
        self._names[node.outputs[1]] = scores

    def _normalizer(self, node: _Node) -> None:
        if node.attributes.get("norm") != "L1":
            raise Unstackable(f"has a Normalizer by {node.attributes.get('norm')}")
        self._gives("Shares", node.outputs[0], self._value(node.inputs[0]))

    def _extractor(self, node: _Node) -> None:
        """A table of classes, looked up by places: its rows come out as columns, which a Reshape behind it turns back."""
        if node.inputs[0] not in self._weights or self._weights[node.inputs[0]].ndim != 1:
            raise Unstackable("has an ArrayFeatureExtractor of another form than a table of classes")
        self._tables[node.outputs[0]] = node.inputs[0], self._value(node.inputs[1])

    def _reshape(self, node: _Node) -> None:
        """Of a table's rows, which stand as columns, and of rows of one value, which stay as they are."""
        shape = self._weights[node.inputs[1]].tolist() if node.inputs[1] in self._weights else None
        if node.inputs[0] in self._tables and shape == [-1]:
            table, places = self._tables[node.inputs[0]]
            self._gives("Take", node.outputs[0], self._builder.add("First", places), table)
        elif node.inputs[0] in self._names and shape == [-1, 1]:
            self._gives("Single", node.outputs[0], self._names[node.inputs[0]])
        else:
            raise Unstackable("has the operator Reshape")


_TRANSLATED: Final[Mapping[str, Callable[[_Translated, _Node], None]]] = {
    "Softmax": _Translated._softmax, "ArgMax": _Translated._argmax, "Cast": _Translated._cast, "Gemm": _Translated._gemm,
    "BatchNormalization": _Translated._normalization, "Reshape": _Translated._reshape,
    "ai.onnx.ml:Scaler": _Translated._scaler, "ai.onnx.ml:LinearRegressor": _Translated._regressor,
    "ai.onnx.ml:LinearClassifier": _Translated._classifier, "ai.onnx.ml:Normalizer": _Translated._normalizer,
    "ai.onnx.ml:ArrayFeatureExtractor": _Translated._extractor,
}  # fmt: skip
