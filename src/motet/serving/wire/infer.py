"""Inference requests of one served model: from bodies to columns, and from columns to answers.

A client that sends bytes sends the same JSON before them every time, apart from the id. What it means, its plan, is kept
by its bytes, so that most requests are read by one look into a table and a view of their bytes. So is the frame of
tensors in JSON, all but their elements.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from motet.batch import Column, objects
from motet.errors import InputError, TooLargeError, known_names
from motet.graph.input import Input
from motet.oip.tensors import datatype_of, from_raw, is_base64, num_elements, of_base64, with_texts
from motet.runtime.given import absent_inputs, fill_defaults
from motet.serving.wire.answer import AnswerWriter, Form
from motet.serving.wire.envelope import EnvelopeTensor, Wanted, read_envelope
from motet.serving.wire.plan import (
    CUT,
    ID,
    MAX_BYTES,
    Dense,
    EnvelopePlan,
    Frame,
    Other,
    cut,
    keep,
    may_name_id,
    text_of,
)  # fmt: skip
from motet.serving.wire.template import MAX_MOULD_BYTES, RequestTemplate
from motet.serving.wire.tensors import MAX_AXES, are_texts, from_json, packed
from motet.types import ColumnType

__all__ = ["InferCodec", "InferRequest"]

_TEXTS = ("string", "bytes")
_TRUTHS = ("BOOL", "BYTES")
"""Datatypes among whose elements true and false may be, or the letters of them."""
_T, _F = b"tf"
"""As numbers, which are looked for in bytes several times as fast as bytes are."""


class InferRequest:
    """What a request says.

    Attributes:
        columns: the model's inputs by name, held as their types want them; numbers may be read-only.
        rows: how many.
        id: the caller's name for it, empty where there is none.
        parameters: of the request, as they were sent; must not be changed.
        wanted: the outputs, and in which form each.
        answers: writes the answer.
        timed: whether the parameters say of a timeout or a priority.
    """

    __slots__ = ("answers", "columns", "id", "parameters", "rows", "timed", "wanted")

    def __init__(
        self, columns: dict[str, Column], rows: int, id: str, parameters: Mapping[str, Any], answers: AnswerWriter
    ) -> None:
        self.columns, self.rows, self.id, self.parameters, self.answers = columns, rows, id, parameters, answers
        self.timed = bool(parameters) and _says_times(parameters)
        self.wanted = answers.outputs


def _says_times(parameters: Mapping[str, Any]) -> bool:
    return "timeout" in parameters or "priority" in parameters


class InferCodec:
    """Reads the requests and writes the answers of one served model.

    Args:
        name: that it is served under.
        version: of the model.
        inputs: by name; one with a default may be missing.
        outputs: their types by name.
        max_rows: of one request.
    """

    def __init__(
        self, name: str, version: str, inputs: Mapping[str, Input], outputs: Mapping[str, ColumnType], max_rows: int
    ) -> None:
        self._name, self._version = name, version
        self._inputs, self._outputs, self._max_rows = inputs, outputs, max_rows
        self._dtypes = {each: _plain_dtype(declared.type) for each, declared in inputs.items()}
        self._all_binary = tuple(Wanted(each, True, 0) for each in outputs)
        self._plans: dict[bytes, EnvelopePlan] = {}
        self._frames: dict[bytes, Frame] = {}
        self._seen: dict[bytes, None] = {}
        self._answers: dict[tuple[Wanted, ...], AnswerWriter] = {}

    def read(self, body: bytes, header_length: int | None = None) -> InferRequest:
        """What a body says.

        Args:
            body: of the request. Columns may be views of it.
            header_length: bytes of the JSON that the tensors' bytes follow; None where all is JSON; 0 where the body is
                the elements of the only input and nothing else (one BYTES element without its length), and all outputs
                are wanted in bytes.

        Raises:
            InputError: when it is no request to this model; says which input, what was expected and what was got.
            TooLargeError: when there are too many rows.
        """
        if header_length is None:
            return self._read_json(body)
        if header_length == 0:
            return self._read_raw(body)
        head = body[:header_length]
        plan = self._plans.get(head)
        if len(head) != header_length:
            raise InputError(f"the JSON should have {header_length} bytes; the body has {len(body)}")
        if plan is not None:
            identity = plan.id
        else:
            plan, identity = self._plan_of(head)
        dense, others, missing, rows, size, _, parameters, answers = plan
        if len(body) != header_length + size:
            raise plan.wrong_size(len(body) - header_length)
        columns: dict[str, Column] = {}
        for name, dtype, shape, start in dense:
            column = np.ndarray(shape, dtype, body, header_length + start)
            columns[name] = column if column.flags.aligned else column.copy()
        for tensor, start, end in others:
            raw = memoryview(body)[header_length + start : header_length + end]
            columns[tensor.name] = self._column(tensor, raw)
        if missing:
            fill_defaults(columns, missing, self._inputs, rows)
        return InferRequest(columns, rows, identity, parameters, answers)

    def write(
        self, request: InferRequest, columns: Mapping[str, Column], first: int, end: int, feedback_id: str = ""
    ) -> tuple[bytes, int | None]:
        """The answer to a request: the rows from `first` to `end` of a whole batch's outputs, with what feedback names it by.

        Returns:
            The body, and the length of its JSON where bytes follow it; None where all is JSON.

        Raises:
            InputError: when an output cannot be sent: rows that differ in shape, a null, bytes that are not UTF-8 in
                JSON.
        """
        return request.answers.write(request.id, columns, first, end, feedback_id)

    def form(self, request: InferRequest, rows: int) -> Form | None:
        """What answers to requests like this one have in common; None where that is too little: use `write`."""
        return None if request.id else request.answers.form(rows)

    def template(self, head: bytes) -> RequestTemplate | None:
        """What requests with this JSON have in common, where such a request was read; None where that is too little.

        That is enough where all inputs are given as bytes that are their columns, all outputs are wanted as bytes, and
        there is neither an id nor a time.
        """
        plan = self._plans.get(head)
        if plan is None or plan.others or plan.missing or plan.id or not plan.rows:
            return None
        form = plan.answers.form(plan.rows)
        if form is None or len(head) + plan.size > MAX_MOULD_BYTES or _says_times(plan.parameters):
            return None
        return RequestTemplate(head, plan.dense, plan.size, plan.rows, form)

    def _read_json(self, body: bytes) -> InferRequest:
        match = ID.match(body)
        if match is None and body[:1] == b'"':  # no object: what is kept begins so where an id was before it
            return self._read_any_json(body)
        begin = match.end() if match is not None else 0
        around, texts = cut(body, begin)
        frame = self._frames.get(around)
        if frame is None:
            if around in self._seen:
                self._framed(around)
            elif around:
                keep(self._seen, around, None)
            return self._read_any_json(body)
        tensors, rows, missing, own, parameters, answers = frame
        identity = own if match is None else text_of(match[1])
        if identity is None or len(texts) != len(tensors):
            return self._read_any_json(body)
        given = []
        for (tensor, _), text in zip(tensors, texts, strict=True):
            if (_T in text or _F in text) and tensor.datatype not in _TRUTHS:  # true or false, which are no numbers
                return self._read_any_json(body)
            try:
                given.append(orjson.loads(text))
            except orjson.JSONDecodeError:  # the elements end elsewhere, or there is NaN among them
                return self._read_any_json(body)
        columns: dict[str, Column] = {}
        for (tensor, dtype), elements in zip(tensors, given, strict=True):
            name, datatype, shape = tensor[:3]
            if dtype is None:
                columns[name] = self._column(tensor._replace(data=elements), None)
                continue
            raw = packed(elements, datatype, shape, f"input {name!r}")
            if raw is None:
                return self._read_any_json(body)
            columns[name] = np.ndarray(shape, dtype, raw)
        if missing:
            fill_defaults(columns, missing, self._inputs, rows)
        return InferRequest(columns, rows, identity, parameters, answers)

    def _framed(self, around: bytes) -> None:
        """Keep what the JSON around elements means, where what was cut out of it is the elements of all its tensors, in their order.

        What the elements are makes no difference to it, so any will do to find that out.

        Args:
            around: see `cut`; without its beginning where that is the id.
        """
        opening = b"{" if around[:1] == b'"' else b""
        if opening and may_name_id(around):
            return
        first, *others = around.split(CUT)
        text = b"%b%b" % (opening, first) + b"".join(b'["%d"]%b' % each for each in enumerate(others))
        try:
            envelope = read_envelope(text, self._outputs)
            rows, missing = self._checked(envelope.tensors)
        except (InputError, TooLargeError):
            return
        if [each.data for each in envelope.tensors] == [[str(place)] for place in range(len(others))]:
            tensors = [(each, self._dtypes[each.name] if self._is_plain(each) else None) for each in envelope.tensors]
            answers = self._answers_of(envelope.outputs)
            keep(self._frames, around, Frame(tensors, rows, missing, envelope.id, envelope.parameters, answers))

    def _read_any_json(self, body: bytes) -> InferRequest:
        envelope = read_envelope(body, self._outputs)
        for tensor in envelope.tensors:
            if tensor.size is not None:
                raise InputError(
                    "has 'binary_data_size', and the request has no Inference-Header-Content-Length",
                    where=f"input {tensor.name!r}",
                    hint="say how many bytes of the body are JSON",
                )
        rows, missing = self._checked(envelope.tensors)
        columns = {tensor.name: self._column(tensor, None) for tensor in envelope.tensors}
        if missing:
            fill_defaults(columns, missing, self._inputs, rows)
        return InferRequest(columns, rows, envelope.id, envelope.parameters, self._answers_of(envelope.outputs))

    def _read_raw(self, body: bytes) -> InferRequest:
        """A body that is the elements of the only input that must be given."""
        needed = [name for name, each in self._inputs.items() if not each.has_default] or list(self._inputs)
        if len(needed) != 1:
            raise InputError(
                f"a body without JSON is for models with one input; {self._name!r} takes {', '.join(needed)}",
                hint="put the JSON before the elements, and its length into Inference-Header-Content-Length",
            )
        kind, where = self._inputs[needed[0]].type, f"input {needed[0]!r}"
        rows = _rows_of(body, kind, where)
        if rows > self._max_rows:
            raise self._too_many(rows, where)
        raw = len(body).to_bytes(4, "little") + body if kind.dtype in _TEXTS else body
        shape = (rows, *kind.least_shape)
        columns = {needed[0]: from_raw(raw, datatype_of(kind), shape, kind, where)}
        fill_defaults(columns, absent_inputs(columns, self._inputs, repr(self._name)), self._inputs, rows)
        return InferRequest(columns, rows, "", {}, self._answers_of(self._all_binary))

    def _plan_of(self, head: bytes) -> tuple[EnvelopePlan, str]:
        """The plan of a JSON that is not known to the byte, and its id."""
        match = ID.match(head)
        if match is not None:
            plan, identity = self._plans.get(head[match.end() :]), text_of(match[1])
            if plan is not None and identity is not None:
                return plan, identity
        plan = self._planned(head, match)
        return plan, plan.id

    def _planned(self, head: bytes, match: re.Match[bytes] | None) -> EnvelopePlan:
        """The plan of a JSON that has none yet; kept where all tensors are bytes."""
        envelope = read_envelope(head, self._outputs, "the JSON before the tensors")
        rows, missing = self._checked(envelope.tensors)
        dense: list[Dense] = []
        others: list[Other] = []
        start = 0
        for tensor in envelope.tensors:
            end = start + (tensor.size or 0)
            dtype = self._dtypes[tensor.name]
            if dtype is not None and self._is_plain(tensor) and tensor.size == _size(tensor, dtype):
                dense.append(Dense(tensor.name, dtype, tensor.shape, start))
            else:
                others.append(Other(tensor, start, end))
            start = end
        plan = EnvelopePlan(
            dense, others, missing, rows, start, envelope.id, envelope.parameters, self._answers_of(envelope.outputs)
        )
        key = head if match is None else head[match.end() :]
        only_bytes = all(tensor.size is not None for tensor in envelope.tensors)
        if only_bytes and len(key) <= MAX_BYTES and (match is None or not may_name_id(key)):
            keep(self._plans, key, plan)
        return plan

    def _is_plain(self, tensor: EnvelopeTensor) -> bool:
        """Whether a tensor is of the datatype and shape of its input."""
        kind = self._inputs[tensor.name].type
        return tensor.shape[1:] == kind.shape and tensor.datatype == datatype_of(kind)

    def _checked(self, tensors: list[EnvelopeTensor]) -> tuple[int, list[str]]:
        """The number of rows, and the inputs for which defaults stand in."""
        rows, given = -1, set()
        for name, _, shape, *_ in tensors:
            where = f"input {name!r}"
            if name not in self._inputs:
                raise InputError(f"unknown input {name!r}; {known_names(name, list(self._inputs))}")
            if name in given:
                raise InputError(f"{where} is given twice")
            given.add(name)
            if len(shape) > MAX_AXES:
                raise InputError(f"shape has {len(shape)} axes; {MAX_AXES} at most", where=where)
            num_elements(shape, where)
            if shape[0] > self._max_rows:
                raise self._too_many(shape[0], where)
            if rows not in (-1, shape[0]):
                raise InputError(
                    f"inputs differ in their number of rows: {where} has {shape[0]}, those before it {rows}"
                )
            rows = shape[0]
        missing = absent_inputs(given, self._inputs, repr(self._name))
        if rows < 0:
            raise InputError("no input is given, so there is no number of rows", hint="give at least one input")
        return rows, missing

    def _column(self, tensor: EnvelopeTensor, raw: memoryview | None) -> Column:
        """The column of a tensor; `raw` is for tensors that came as bytes."""
        name, datatype, shape, data, size, content_type = tensor
        declared, where = self._inputs[name], f"input {name!r}"

        def read(kind: ColumnType, default: Any) -> Column:
            if size is not None and raw is not None:
                return from_raw(raw, datatype, shape, kind, where, default)
            return from_json(data, datatype, shape, kind, where, default)

        kind, dtype = declared.type, self._dtypes[name]
        if is_base64(datatype, content_type, kind):
            return of_base64(read, shape, kind, where, declared.default)
        plain = size is None and self._is_plain(tensor)
        if plain and kind.dtype == "string" and are_texts(data, shape):
            return objects(data).reshape(shape)
        elements = packed(data, datatype, shape, where) if plain and dtype is not None else None
        if elements is not None:
            return np.ndarray(shape, dtype, elements)
        column = read(kind, declared.default)
        return with_texts(column) if kind.dtype == "any" and raw is not None else column

    def _answers_of(self, outputs: tuple[Wanted, ...]) -> AnswerWriter:
        answers = self._answers.get(outputs)
        if answers is None:
            answers = AnswerWriter(self._name, self._version, self._outputs, outputs)
            keep(self._answers, outputs, answers)
        return answers

    def _too_many(self, rows: int, where: str) -> TooLargeError:
        return TooLargeError(
            f"{rows} rows; a request may have {self._max_rows}", where=where, hint="send several requests"
        )


def _plain_dtype(kind: ColumnType) -> np.dtype[Any] | None:
    """The dtype on the wire where any bytes are such numbers; None where they must be looked at."""
    return None if kind.row_bytes is None or kind.dtype == "bool" else kind.numpy_dtype.newbyteorder("<")


def _rows_of(body: bytes, kind: ColumnType, where: str) -> int:
    """How many rows a body has that is nothing but elements."""
    if kind.dtype in _TEXTS and not kind.shape:
        return 1
    if not kind.row_bytes:
        raise InputError(
            f"is {kind}, so its rows do not follow from its bytes",
            where=where,
            hint="put the JSON before the elements, and its length into Inference-Header-Content-Length",
        )
    rows, over = divmod(len(body), kind.row_bytes)
    if over:
        raise InputError(
            f"a row of {kind} has {kind.row_bytes} bytes; got {len(body)}, which is no multiple", where=where
        )
    return rows


def _size(tensor: EnvelopeTensor, dtype: np.dtype[Any]) -> int:
    return math.prod(tensor.shape) * dtype.itemsize
