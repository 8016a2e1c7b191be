"""Reads what an ONNX file says of its inputs and outputs, without ONNX Runtime and without its weights.

The protobuf wire format is a sequence of fields: a key (number and kind, a varint), then a varint, 4 or 8 bytes, or a
length and that many bytes. The file is mapped; weights are stepped over by their length. Field numbers are
those of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["OnnxFile", "OnnxFormatError", "Tensor", "read_onnx"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH = 7
_GRAPH_NODE, _NODE_OPERATOR = 1, 4
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SPARSE_INITIALIZER = 5, 11, 12, 15
_TENSOR_NAME, _TENSOR_EXTERNAL_DATA, _SPARSE_VALUES = 8, 13, 1
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_KINDS = {1: "tensor", 4: "sequence", 5: "map", 8: "sparse tensor", 9: "optional"}
_TENSOR_ELEM_TYPE, _TENSOR_SHAPE, _SHAPE_DIM = 1, 2, 1
_DIM_VALUE, _DIM_PARAM = 1, 2


class OnnxFormatError(ValueError):
    """The file is not an ONNX model, or not a whole one."""


@dataclass(frozen=True)
class Tensor:
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
class OnnxFile:
    """What a file declares: inputs that are to be given, outputs, the files that hold weights outside it, and operators.

    Operators are the types of the graph's own nodes; those of graphs inside (`If`, `Loop`, `Scan`) are not looked at.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    external_files: tuple[str, ...]
    operators: frozenset[str]


Span = tuple[int, int]
Field = tuple[int, int, Span]


class _Reader:
    def __init__(self, data: mmap.mmap | bytes) -> None:
        self.data = data

    def fields(self, span: Span) -> Iterator[Field]:
        """Number, varint value (0 for others) and span of each field; every span lies within the one given."""
        at, end = span
        while at < end:
            key, at = self.varint(at, end)
            number, wire = key >> 3, key & 7
            value, start = 0, at
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
        value = shift = 0
        while at < end and shift < 70:
            byte = self.data[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at
        raise OnnxFormatError(f"the number at byte {at} has no end")

    def text(self, span: Span) -> str:
        return bytes(self.data[span[0] : span[1]]).decode(errors="replace")

    def text_of(self, span: Span, number: int) -> str:
        """The last field of that number, as text; empty where there is none."""
        found = [inner for got, _, inner in self.fields(span) if got == number]
        return self.text(found[-1]) if found else ""


def read_onnx(path: str) -> OnnxFile:
    """Read a file's inputs, outputs and external files.

    Raises:
        OnnxFormatError: when it is no ONNX model, or was cut off; says where.
        OSError: when it cannot be read.
    """
    with open(path, "rb") as file:
        if not file.seek(0, 2):
            raise OnnxFormatError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read_model(_Reader(data), (0, len(data)))


def _read_model(reader: _Reader, span: Span) -> OnnxFile:
    graphs = [inner for number, _, inner in reader.fields(span) if number == _MODEL_GRAPH]
    if not graphs:
        raise OnnxFormatError("it has no graph")
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    weights: set[str] = set()
    external: dict[str, None] = {}
    operators: set[str] = set()
    for number, _, inner in reader.fields(graphs[-1]):
        if number == _GRAPH_INPUT:
            inputs.append(_read_value(reader, inner))
        elif number == _GRAPH_OUTPUT:
            outputs.append(_read_value(reader, inner))
        elif number == _GRAPH_NODE:
            operators.add(reader.text_of(inner, _NODE_OPERATOR))
        elif number == _GRAPH_INITIALIZER:
            weights.add(reader.text_of(inner, _TENSOR_NAME))
            external.update(_external_files(reader, inner))
        elif number == _GRAPH_SPARSE_INITIALIZER:
            values = [part for got, _, part in reader.fields(inner) if got == _SPARSE_VALUES]
            weights.update(reader.text_of(part, _TENSOR_NAME) for part in values)
    given = tuple(tensor for tensor in inputs if tensor.name not in weights)
    return OnnxFile(given, tuple(outputs), tuple(external), frozenset(operators))


def _external_files(reader: _Reader, span: Span) -> dict[str, None]:
    entries = [inner for number, _, inner in reader.fields(span) if number == _TENSOR_EXTERNAL_DATA]
    pairs = [(reader.text_of(entry, _ENTRY_KEY), reader.text_of(entry, _ENTRY_VALUE)) for entry in entries]
    return {value: None for key, value in pairs if key == "location"}


def _read_value(reader: _Reader, span: Span) -> Tensor:
    name, kind, elem_type, axes = "", "unknown", 0, None
    for number, _, inner in reader.fields(span):
        if number == _VALUE_NAME:
            name = reader.text(inner)
        elif number == _VALUE_TYPE:
            for got, _, body in reader.fields(inner):
                if got in _TYPE_KINDS:
                    kind = _TYPE_KINDS[got]
                    elem_type, axes = _read_tensor(reader, body) if kind == "tensor" else (0, None)
    return Tensor(name, kind, elem_type, axes)


def _read_tensor(reader: _Reader, span: Span) -> tuple[int, tuple[int | str | None, ...] | None]:
    elem_type, axes = 0, None
    for number, value, inner in reader.fields(span):
        if number == _TENSOR_ELEM_TYPE:
            elem_type = value
        elif number == _TENSOR_SHAPE:
            axes = tuple(_read_axis(reader, dim) for got, _, dim in reader.fields(inner) if got == _SHAPE_DIM)
    return elem_type, axes


def _read_axis(reader: _Reader, span: Span) -> int | str | None:
    for number, value, inner in reader.fields(span):
        if number == _DIM_VALUE:
            return value if value < 1 << 63 else None
        if number == _DIM_PARAM:
            return reader.text(inner) or None
    return None
