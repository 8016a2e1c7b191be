"""Inference requests and answers of the Open Inference Protocol over REST.

The protocol: https://github.com/kserve/open-inference-protocol, and Triton's binary tensor data extension: behind a JSON
of `Inference-Header-Content-Length` bytes come the elements of the tensors that say their `binary_data_size`, in order.
With a length of 0 the whole body is the only input's elements, whose number of rows follows from the size.

NaN and infinities have no form in JSON; they are written as null, and null is read as NaN.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from motet.batch import Column, objects, take_rows
from motet.errors import InputError, TooLargeError, known_names
from motet.graph.graph import Input
from motet.oip.classes import best_classes
from motet.oip.tensors import datatype_of, from_raw, num_elements, tensor_of, tensor_shape, to_raw
from motet.runtime.bind import constant_column
from motet.serving.wire.elements import elements, from_json
from motet.types import ColumnType

__all__ = ["InferCodec", "InferRequest"]

KNOWN_HEADERS = 512
"""Headers of binary requests whose meaning is remembered; clients send the same one again and again."""
MAX_KNOWN_BYTES = 2048
_encode = msgspec.json.Encoder().encode


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Any = None


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Body(msgspec.Struct):
    inputs: list[_Tensor]
    id: str = ""
    parameters: dict[str, Any] | None = None
    outputs: list[_Output] | None = None


_decode = msgspec.json.Decoder(_Body).decode
Wanted = tuple[tuple[str, bool, int], ...]
"""Outputs: name, whether as bytes, and how many best classes of it, 0 for the output itself."""


class InferRequest:
    """A request that was read.

    Attributes:
        columns: by the names of the inputs, held as their types want them; numbers may be read-only views of the body.
        rows: how many.
        id: the caller's name for it; empty where there is none.
        parameters: of the request.
        wanted: the outputs to write.
        timed: whether the parameters say of a timeout or a priority.
    """

    __slots__ = ("columns", "id", "parameters", "rows", "timed", "wanted")

    def __init__(
        self, columns: dict[str, Column], rows: int, id: str, parameters: Mapping[str, Any], wanted: Wanted
    ) -> None:
        self.columns, self.rows, self.id, self.parameters, self.wanted = columns, rows, id, parameters, wanted
        self.timed = bool(parameters) and ("timeout" in parameters or "priority" in parameters)


class Form:
    """Answers of one shape: all that does not differ between them, made once.

    Args:
        text: the JSON.
        names: the outputs whose bytes come behind it.
        size: how many bytes these are together.
    """

    __slots__ = ("_head", "_names", "_text")

    def __init__(self, text: bytes, names: list[str], size: int) -> None:
        self._head = (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n"
            b"inference-header-content-length: %d\r\n" % (len(text) + size, len(text))
        )
        self._text, self._names = b"\r\n" + text, names

    def answer(self, columns: Mapping[str, Any], first: int, end: int, more: bytes) -> bytes:
        """A whole answer over HTTP/1.1, on a connection that stays.

        Args:
            columns: the outputs of a whole batch by name.
            first, end: where the rows of the answer are in them.
            more: further fields of the head, each with the end of its line.
        """
        names = self._names
        if len(names) == 1:
            return b"%b%b%b%b" % (self._head, more, self._text, columns[names[0]][first:end].tobytes())
        return b"".join([self._head, more, self._text, *[columns[name][first:end].tobytes() for name in names]])


class _Plan:
    """What the header of a binary request means, where every input is numbers of a fixed shape."""

    __slots__ = ("id", "parameters", "parts", "rows", "size", "wanted")

    def __init__(self, body: _Body, parts: list[Any], rows: int, size: int, wanted: Wanted) -> None:
        self.id, self.parameters, self.wanted = body.id, body.parameters or {}, wanted
        self.parts, self.rows, self.size = parts, rows, size


class InferCodec:
    """Reads and writes the inference requests of one served model.

    Args:
        name: what it is called in answers.
        version: likewise.
        inputs: what it takes.
        outputs: what it gives.
        max_rows: rows that a request may have.
    """

    def __init__(
        self, name: str, version: str, inputs: Mapping[str, Input], outputs: Mapping[str, ColumnType], max_rows: int
    ) -> None:
        self._inputs, self._outputs, self._max_rows = inputs, outputs, max_rows
        self._plans: dict[bytes, _Plan] = {}
        self._all: dict[bool, Wanted] = {
            binary: tuple((output, binary, 0) for output in outputs) for binary in (False, True)
        }
        self._forms: dict[tuple[Wanted, int], Form | None] = {}
        self._begin = b'{"model_name":%b,"model_version":%b,' % (_encode(name), _encode(version))
        self._heads = {output: self._head(output, kind) for output, kind in outputs.items()}

    @staticmethod
    def _head(name: str, kind: ColumnType) -> tuple[bytes, bytes] | None:
        """What stands before and behind the number of rows of an output whose type says all else."""
        if kind.varies or kind.dtype == "any":
            return None
        axes = b"".join(b",%d" % axis for axis in kind.shape if axis is not None)
        datatype = datatype_of(kind).encode()
        return b'{"name":%b,"datatype":"%b","shape":[' % (_encode(name), datatype), b"%b]," % axes

    def read(self, body: bytes, header_length: int | None) -> InferRequest:
        """Read a request.

        Args:
            body: the whole body.
            header_length: the bytes of the JSON at its beginning; None where all of it is JSON, 0 for the elements of
                the only input alone.

        Raises:
            InputError: when it is wrong; says which input, what was expected and what was got.
            TooLargeError: when it has too many rows.
        """
        if header_length is None:
            return self._general(body, b"")
        if not header_length:
            return self._raw(body)
        if header_length > len(body):
            raise InputError(f"Inference-Header-Content-Length is {header_length}; the body has {len(body)} bytes")
        header = body[:header_length]
        plan = self._plans.get(header)
        if plan is None:
            plan = self._plan(header)
            if plan is None:
                return self._general(header, memoryview(body)[header_length:])
        if len(body) - header_length != plan.size:
            raise InputError(f"the inputs have {plan.size} bytes; {len(body) - header_length} came")
        columns: dict[str, Column] = {}
        for name, dtype, count, offset, shape in plan.parts:
            columns[name] = np.frombuffer(body, dtype, count, header_length + offset).reshape(shape)
        return InferRequest(columns, plan.rows, plan.id, plan.parameters, plan.wanted)

    def _plan(self, header: bytes) -> _Plan | None:
        """What a header means; None where it must be read each time."""
        body = self._decoded(header)
        parts, offset, rows = [], 0, -1
        for tensor in body.inputs:
            declared, size = self._inputs.get(tensor.name), (tensor.parameters or {}).get("binary_data_size")
            if declared is None or not _is_size(size):
                return None
            kind, shape = declared.type, tensor.shape
            if kind.row_bytes is None or kind.dtype == "bool" or tuple(shape[1:]) != kind.shape or not shape:
                return None
            if datatype_of(kind) != tensor.datatype or size != kind.row_bytes * shape[0] or rows not in (-1, shape[0]):
                return None
            rows = shape[0]
            dtype = kind.numpy_dtype.newbyteorder("<")
            parts.append((tensor.name, dtype, math.prod(shape), offset, tuple(shape)))
            offset += size
        if {tensor.name for tensor in body.inputs} != set(self._inputs) or len(parts) != len(self._inputs) or rows < 0:
            return None
        if rows > self._max_rows:
            raise self._too_many(rows)
        plan = _Plan(body, parts, rows, offset, self._wanted(body))
        if len(header) <= MAX_KNOWN_BYTES:
            if len(self._plans) >= KNOWN_HEADERS:
                self._plans.clear()
            self._plans[header] = plan
        return plan

    def _decoded(self, text: bytes) -> _Body:
        try:
            return _decode(text)
        except msgspec.ValidationError as error:
            raise InputError(f"the request is no inference request: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"the request is no JSON: {error}") from None

    def _general(self, text: bytes, rest: bytes | memoryview) -> InferRequest:
        """A request as it comes, input by input."""
        body = self._decoded(text)
        columns: dict[str, Column] = {}
        rows, offset = -1, 0
        for tensor in body.inputs:
            declared = self._inputs.get(tensor.name)
            if declared is None:
                raise InputError(f"unknown input {tensor.name!r}; {known_names(tensor.name, list(self._inputs))}")
            where = f"input {tensor.name!r}"
            if tensor.name in columns:
                raise InputError(f"{where} is given twice")
            column, offset = self._column(tensor, declared.type, rest, offset, where)
            count = tensor.shape[0]
            if rows not in (-1, count):
                raise InputError(f"inputs differ in their number of rows: {where} has {count}, those before it {rows}")
            rows, columns[tensor.name] = count, column
        if offset != len(rest):
            raise InputError(f"{len(rest) - offset} bytes of the body belong to no input")
        rows = self._fill(columns, rows)
        return InferRequest(columns, rows, body.id, body.parameters or {}, self._wanted(body))

    def _column(
        self, tensor: _Tensor, kind: ColumnType, rest: bytes | memoryview, offset: int, where: str
    ) -> tuple[Column, int]:
        shape, parameters = tensor.shape, tensor.parameters or {}
        num_elements(shape, where)
        if shape[0] > self._max_rows:
            raise self._too_many(shape[0])
        if "shared_memory_region" in parameters:
            raise InputError("shared memory is not offered", where=where, hint="send the elements")
        size = parameters.get("binary_data_size")
        if size is None:
            if tensor.data is None:
                raise InputError("has neither data nor binary_data_size", where=where)
            return from_json(tensor.data, tensor.datatype, shape, kind, where), offset
        if tensor.data is not None:
            raise InputError("has data and binary_data_size; it can have one of them", where=where)
        if not _is_size(size):
            raise InputError(f"binary_data_size must be a number of bytes; got {size!r}", where=where)
        if offset + size > len(rest):
            raise InputError(f"should have {size} bytes; {len(rest) - offset} are left of the body", where=where)
        return from_raw(memoryview(rest)[offset : offset + size], tensor.datatype, shape, kind, where), offset + size

    def _raw(self, body: bytes) -> InferRequest:
        """The elements of the only input."""
        if len(self._inputs) != 1:
            names = ", ".join(self._inputs)
            raise InputError(f"a body without a header is one input; the model takes {len(self._inputs)} ({names})")
        name, declared = next(iter(self._inputs.items()))
        kind, where = declared.type, f"input {name!r}"
        if kind.is_object and not kind.shape:
            value: Any = body
            if kind.dtype == "string":
                try:
                    value = body.decode()
                except UnicodeDecodeError as error:
                    raise InputError(f"is no UTF-8: {error.reason} at byte {error.start}", where=where) from None
            return InferRequest({name: objects([value])}, 1, "", {}, self._all[True])
        if not kind.row_bytes:
            raise InputError(f"is {kind}: its rows do not follow from its bytes", where=where, hint="send a header")
        rows, over = divmod(len(body), kind.row_bytes)
        if over:
            raise InputError(f"a row of {kind} has {kind.row_bytes} bytes; {len(body)} are no multiple", where=where)
        if rows > self._max_rows:
            raise self._too_many(rows)
        column = from_raw(body, datatype_of(kind), (rows, *tensor_shape(kind)[1:]), kind, where)
        return InferRequest({name: column}, rows, "", {}, self._all[True])

    def _too_many(self, rows: int) -> TooLargeError:
        return TooLargeError(f"{rows} rows; a request may have {self._max_rows}", hint="send several requests")

    def _fill(self, columns: dict[str, Column], rows: int) -> int:
        """Put the defaults of inputs that are not given."""
        if len(columns) == len(self._inputs):
            return rows
        missing = {name: each for name, each in self._inputs.items() if name not in columns}
        for name, each in missing.items():
            if not each.has_default:
                takes = ", ".join(f"{known}: {kind.type}" for known, kind in self._inputs.items())
                raise InputError(f"input {name!r} is missing; the model takes {takes}")
        if rows < 0:
            raise InputError("no input is given, so there is no number of rows", hint="give at least one input")
        for name, each in missing.items():
            columns[name] = constant_column(each.default, each.type, rows)
        return rows

    def _wanted(self, body: _Body) -> Wanted:
        """The outputs that a request asks for; all, where it names none."""
        binary = (body.parameters or {}).get("binary_data_output", False)
        if not isinstance(binary, bool):
            raise InputError(f"binary_data_output must be true or false; got {binary!r}")
        if not body.outputs:
            return self._all[binary]
        wanted: dict[str, tuple[str, bool, int]] = {}
        for output in body.outputs:
            name, parameters = output.name, output.parameters or {}
            where = f"output {name!r}"
            if name not in self._outputs:
                raise InputError(f"unknown output {name!r}; {known_names(name, list(self._outputs))}")
            if name in wanted:
                raise InputError(f"{where} is asked for twice")
            if "shared_memory_region" in parameters:
                raise InputError("shared memory is not offered", where=where)
            own, classes = parameters.get("binary_data", binary), parameters.get("classification", 0)
            if not isinstance(own, bool):
                raise InputError(f"binary_data must be true or false; got {own!r}", where=where)
            if not _is_size(classes):
                raise InputError(f"classification must be a whole number from 1; got {classes!r}", where=where)
            wanted[name] = (name, own, classes)
        return tuple(wanted.values())

    def write(
        self, request: InferRequest, columns: Mapping[str, Column], first: int, end: int
    ) -> tuple[bytes, int | None]:
        """Write the answer to a request.

        Args:
            request: what was read.
            columns: the outputs of a whole batch by name.
            first, end: where the request's rows are in them.

        Returns:
            The body, and the bytes of the JSON at its beginning; None where all of it is JSON.

        Raises:
            InputError: when an output has no form as a tensor.
        """
        heads: list[bytes] = []
        raws: list[bytes] = []
        for name, binary, classes in request.wanted:
            column, head = columns[name], self._heads[name]
            if head is None or classes or not isinstance(column, np.ndarray) or column.dtype == object:
                opening, array = self._described(name, column, first, end, classes)
            else:
                array = column[first:end]
                opening = b"%b%d%b" % (head[0], end - first, head[1])
            if binary:
                raw = to_raw(array)
                raws.append(raw)
                heads.append(b'%b"parameters":{"binary_data_size":%d}}' % (opening, len(raw)))
            else:
                heads.append(b'%b"data":%b}' % (opening, _encode(elements(array, f"output {name!r}"))))
        named = b'"id":%b,' % _encode(request.id) if request.id else b""
        text = b'%b%b"outputs":[%b]}' % (self._begin, named, b",".join(heads))
        if not raws:
            return text, None
        return b"".join((text, *raws)), len(text)

    def form(self, request: InferRequest, rows: int) -> Form | None:
        """What answers like this one have in common; None where they have too little of it.

        These are answers without an id whose outputs are all numbers of fixed shapes, as bytes.
        """
        if request.id:
            return None
        key = (request.wanted, rows)
        try:
            return self._forms[key]
        except KeyError:
            found = self._made_form(request.wanted, rows)
            if len(self._forms) < KNOWN_HEADERS:
                self._forms[key] = found
            return found

    def _made_form(self, wanted: Wanted, rows: int) -> Form | None:
        heads, total = [], 0
        for name, binary, classes in wanted:
            head, size = self._heads[name], self._outputs[name].row_bytes
            if head is None or size is None or classes or not binary or sys.byteorder != "little":
                return None
            heads.append(b'%b%d%b"parameters":{"binary_data_size":%d}}' % (head[0], rows, head[1], rows * size))
            total += rows * size
        text = b'%b"outputs":[%b]}' % (self._begin, b",".join(heads))
        return Form(text, [name for name, _, _ in wanted], total)

    def _described(self, name: str, column: Column, first: int, end: int, classes: int) -> tuple[bytes, Any]:
        where = f"output {name!r}"
        datatype, array = tensor_of(take_rows(column, slice(first, end)), self._outputs[name], where)
        if classes:
            datatype, array = "BYTES", best_classes(array, classes, where)
        opening = b'{"name":%b,"datatype":"%b","shape":%b,' % (
            _encode(name), datatype.encode(), _encode([int(axis) for axis in array.shape]),
        )  # fmt: skip
        return opening, array


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
