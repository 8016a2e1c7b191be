"""Reads what an ONNX file says of its inputs and outputs, without ONNX Runtime and without its weights.

The protobuf wire format is a sequence of fields: a key (number and kind, a varint), then a varint, 4 or 8 bytes, or a
length and that many bytes. The file is mapped; weights are stepped over by their length. Field numbers are
those of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

__all__ = [
    "OnnxFile", "OnnxFormatError", "OnnxNode", "OnnxTensor", "ProtoReader", "Span", "onnx_bytes", "read_node", "read_onnx",
]  # fmt: skip

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA = 7, 8, 14
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE = 1
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_INTS = 1, 3, 5, 8
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SPARSE_INITIALIZER = 5, 11, 12, 15
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_INT64S, _TENSOR_NAME, _TENSOR_RAW, _TENSOR_EXTERNAL_DATA = 1, 2, 7, 8, 9, 13
_SPARSE_VALUES = 1
_INT64 = 7
_MOST_INTEGERS = 64
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_KINDS = {1: "tensor", 4: "sequence", 5: "map", 8: "sparse tensor", 9: "optional"}
_TENSOR_ELEM_TYPE, _TENSOR_SHAPE, _SHAPE_DIM = 1, 2, 1
_DIM_VALUE, _DIM_PARAM = 1, 2


class OnnxFormatError(ValueError):
    """The file is not an ONNX model, or not a whole one."""


@dataclass(frozen=True)
class OnnxTensor:
    """An input or output.

    Attributes:
        name: its name.
        kind: `tensor`, or what it is instead: `sequence`, `map`, `sparse tensor`, `optional`.
        elem_type: the number of its element type in onnx.proto3.
        axes: of each axis its length, its symbol, or None; None where the number of axes is not known.
    """

    name: str
    kind: str
    elem_type: int
    axes: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class OnnxNode:
    """A node of the graph.

    Attributes:
        operator: its type; with the domain in front (`com.microsoft:Attention`) where that is not ONNX's own.
        inputs: the names of what it takes; an empty one was left out.
        outputs: the names of what it gives.
        integers: its attributes that are an integer (a tuple of one) or several.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    integers: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class OnnxFile:
    """What a file declares.

    Attributes:
        inputs: those that are to be given.
        outputs: what it gives.
        external_files: the files that hold weights outside it, relative paths.
        nodes: the graph's own nodes, in order; those of graphs inside (`If`, `Loop`, `Scan`) are not looked at.
        weights: the number of axes of each constant by name.
        integers: the values of small constants of 64-bit integers by name, such as axes and shapes.
        opset: the version of ONNX's own operators.
        metadata: texts by key, which whoever made it has put there.
    """

    inputs: tuple[OnnxTensor, ...]
    outputs: tuple[OnnxTensor, ...]
    external_files: tuple[str, ...] = ()
    nodes: tuple[OnnxNode, ...] = ()
    weights: Mapping[str, int] = field(default_factory=dict)
    integers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    opset: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)


Span = tuple[int, int]
Field = tuple[int, int, Span]


class ProtoReader:
    """Reads fields of a message: `data` is all bytes, and a span is from where to where a message lies in them."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self.data = data

    def fields(self, span: Span) -> Iterator[Field]:
        """Number, varint value (-1 for others) and span of each field; every span lies within the one given."""
        at, end = span
        while at < end:
            key, at = self.varint(at, end)
            number, wire = key >> 3, key & 7
            value, start = -1, at
            if wire == _VARINT:
                value, at = self.varint(at, end)
            elif wire == _BYTES:
                length, start = self.varint(at, end)
                at = start + length
            elif wire in (_FIXED64, _FIXED32):
                at += 8 if wire == _FIXED64 else 4
            else:
                raise OnnxFormatError(f"byte {start} has a field of an unknown kind {wire}")
            if at > end or number == 0:
                raise OnnxFormatError(f"field {number} at byte {start} ends at byte {at}, behind the end at byte {end}")
            yield number, value, (start, at)

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """The number that begins at a byte, and where the next field begins."""
        value = shift = 0
        while at < end and shift < 70:
            byte = self.data[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at
        raise OnnxFormatError(f"the number at byte {at} has no end")

    def integers(self, value: int, span: Span) -> list[int]:
        """The signed integers of a repeated field: packed into one field of bytes, or one a field."""
        if value >= 0:
            return [_signed(value)]
        found, (at, end) = list[int](), span
        while at < end:
            each, at = self.varint(at, end)
            found.append(_signed(each))
        return found

    def text(self, span: Span) -> str:
        """The bytes of a field as text."""
        return bytes(self.data[span[0] : span[1]]).decode(errors="replace")

    def text_of(self, span: Span, number: int) -> str:
        """The last field of that number, as text; empty where there is none."""
        found = [inner for got, _, inner in self.fields(span) if got == number]
        return self.text(found[-1]) if found else ""


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


@contextmanager
def onnx_bytes(path: str) -> Iterator[ProtoReader]:
    """A file, mapped.

    Raises:
        OnnxFormatError: when it is empty.
        OSError: when it cannot be read.
    """
    with open(path, "rb") as file:
        if not file.seek(0, 2):
            raise OnnxFormatError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield ProtoReader(data)


def read_onnx(path: str) -> OnnxFile:
    """Read a file's inputs, outputs and external files.

    Raises:
        OnnxFormatError: when it is no ONNX model, or was cut off; says where.
        OSError: when it cannot be read.
    """
    with onnx_bytes(path) as reader:
        return _read_model(reader, (0, len(reader.data)))


def _read_model(reader: ProtoReader, span: Span) -> OnnxFile:
    graphs: list[Span] = []
    opsets: dict[str, int] = {}
    metadata: dict[str, str] = {}
    for number, value, inner in reader.fields(span):
        if number == _MODEL_GRAPH:
            graphs.append(inner)
        elif number == _MODEL_OPSET:
            versions = [version for got, version, _ in reader.fields(inner) if got == _OPSET_VERSION]
            opsets[reader.text_of(inner, _OPSET_DOMAIN)] = max(versions, default=0)
        elif number == _MODEL_METADATA and value < 0:
            metadata[reader.text_of(inner, _ENTRY_KEY)] = reader.text_of(inner, _ENTRY_VALUE)
    if not graphs:
        raise OnnxFormatError("it has no graph")
    if not opsets:
        raise OnnxFormatError("it does not say which version of the operators it means")
    file = _read_graph(reader, graphs[-1], opsets.get("", opsets.get("ai.onnx", 0)))
    return replace(file, metadata=metadata)


def _read_graph(reader: ProtoReader, span: Span, opset: int) -> OnnxFile:
    inputs: list[OnnxTensor] = []
    outputs: list[OnnxTensor] = []
    nodes: list[OnnxNode] = []
    weights: dict[str, int] = {}
    integers: dict[str, tuple[int, ...]] = {}
    external: dict[str, None] = {}
    for number, _, inner in reader.fields(span):
        if number == _GRAPH_INPUT:
            inputs.append(_read_value(reader, inner))
        elif number == _GRAPH_OUTPUT:
            outputs.append(_read_value(reader, inner))
        elif number == _GRAPH_NODE:
            nodes.append(_read_node(reader, inner, weights, integers))
        elif number == _GRAPH_INITIALIZER:
            _read_weight(reader, inner, reader.text_of(inner, _TENSOR_NAME), weights, integers)
            external.update(_external_files(reader, inner))
        elif number == _GRAPH_SPARSE_INITIALIZER:
            values = [part for got, _, part in reader.fields(inner) if got == _SPARSE_VALUES]
            weights.update({reader.text_of(part, _TENSOR_NAME): 2 for part in values})
    given = tuple(tensor for tensor in inputs if tensor.name not in weights)
    return OnnxFile(given, tuple(outputs), tuple(external), tuple(nodes), weights, integers, opset)


def read_node(reader: ProtoReader, span: Span) -> tuple[str, list[str], list[str], list[Span]]:
    """A node's operator, as `OnnxNode` has it, the names of what it takes and gives, and where its attributes are."""
    names: dict[int, list[str]] = {_NODE_INPUT: [], _NODE_OUTPUT: [], _NODE_OPERATOR: [""], _NODE_DOMAIN: [""]}
    attributes: list[Span] = []
    for number, _, inner in reader.fields(span):
        if number in names:
            names[number].append(reader.text(inner))
        elif number == _NODE_ATTRIBUTE:
            attributes.append(inner)
    operator, domain = names[_NODE_OPERATOR][-1], names[_NODE_DOMAIN][-1]
    full = operator if domain in ("", "ai.onnx") else f"{domain}:{operator}"
    return full, names[_NODE_INPUT], names[_NODE_OUTPUT], attributes


def _read_node(
    reader: ProtoReader, span: Span, weights: dict[str, int], integers: dict[str, tuple[int, ...]]
) -> OnnxNode:
    """A node; what a `Constant` holds is put among the weights."""
    operator, inputs, outputs, spans = read_node(reader, span)
    attributes: dict[str, tuple[int, ...]] = {}
    for each in spans:
        name, values, tensor = _read_attribute(reader, each)
        attributes[name] = values
        if operator == "Constant" and name == "value" and tensor is not None and outputs:
            _read_weight(reader, tensor, outputs[0], weights, integers)
    return OnnxNode(operator, tuple(inputs), tuple(outputs), attributes)


def _read_attribute(reader: ProtoReader, span: Span) -> tuple[str, tuple[int, ...], Span | None]:
    """An attribute's name, its integers, and where its tensor is."""
    name, single, several, tensor = "", list[int](), list[int](), None
    for number, value, inner in reader.fields(span):
        if number == _ATTRIBUTE_NAME:
            name = reader.text(inner)
        elif number == _ATTRIBUTE_INT:
            single = [_signed(value)]
        elif number == _ATTRIBUTE_INTS:
            several += reader.integers(value, inner)
        elif number == _ATTRIBUTE_TENSOR:
            tensor = inner
    return name, tuple(several or single), tensor


def _read_weight(
    reader: ProtoReader, span: Span, name: str, weights: dict[str, int], integers: dict[str, tuple[int, ...]]
) -> None:
    """Note the number of axes of a constant, and its values where they are a few 64-bit integers."""
    dims: list[int] = []
    values: list[int] = []
    kind, raw = 0, None
    for number, value, inner in reader.fields(span):
        if number == _TENSOR_DIMS:
            dims += reader.integers(value, inner)
        elif number == _TENSOR_TYPE:
            kind = value
        elif number == _TENSOR_INT64S and inner[1] - inner[0] <= 10 * _MOST_INTEGERS:
            values += reader.integers(value, inner)
        elif number == _TENSOR_RAW and inner[1] - inner[0] <= 8 * _MOST_INTEGERS:
            raw = bytes(reader.data[inner[0] : inner[1]])
    weights[name] = len(dims)
    if kind == _INT64 and raw is not None and len(raw) % 8 == 0:
        values = list(struct.unpack(f"<{len(raw) // 8}q", raw))
    if kind == _INT64 and values:
        integers[name] = tuple(values)


def _external_files(reader: ProtoReader, span: Span) -> dict[str, None]:
    entries = [inner for number, _, inner in reader.fields(span) if number == _TENSOR_EXTERNAL_DATA]
    pairs = [(reader.text_of(entry, _ENTRY_KEY), reader.text_of(entry, _ENTRY_VALUE)) for entry in entries]
    return {value: None for key, value in pairs if key == "location"}


def _read_value(reader: ProtoReader, span: Span) -> OnnxTensor:
    name, kind, elem_type, axes = "", "unknown", 0, None
    for number, _, inner in reader.fields(span):
        if number == _VALUE_NAME:
            name = reader.text(inner)
        elif number == _VALUE_TYPE:
            for got, _, body in reader.fields(inner):
                if got in _TYPE_KINDS:
                    kind = _TYPE_KINDS[got]
                    elem_type, axes = _read_tensor(reader, body) if kind == "tensor" else (0, None)
    return OnnxTensor(name, kind, elem_type, axes)


def _read_tensor(reader: ProtoReader, span: Span) -> tuple[int, tuple[int | str | None, ...] | None]:
    elem_type, axes = 0, None
    for number, value, inner in reader.fields(span):
        if number == _TENSOR_ELEM_TYPE:
            elem_type = max(value, 0)
        elif number == _TENSOR_SHAPE:
            axes = tuple(_read_axis(reader, dim) for got, _, dim in reader.fields(inner) if got == _SHAPE_DIM)
    return elem_type, axes


def _read_axis(reader: ProtoReader, span: Span) -> int | str | None:
    for number, value, inner in reader.fields(span):
        if number == _DIM_VALUE:
            return value if 0 <= value < 1 << 63 else None
        if number == _DIM_PARAM:
            return reader.text(inner) or None
    return None
