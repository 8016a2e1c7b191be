"""Answers to inference requests: JSON, and the bytes of the outputs behind it where they are wanted so.

Most answers differ from the one before in their elements only. Where all outputs are numbers of fixed shapes, sent as
bytes, everything else is one text, which is made once for each number of rows: a form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from motet.batch import Array, Column, take_rows
from motet.errors import InputError
from motet.oip.classes import best_classes
from motet.oip.tensors import datatype_of, tensor_of, to_raw
from motet.serving.wire.envelope import Wanted
from motet.serving.wire.tensors import to_json
from motet.types import ColumnType

__all__ = ["AnswerWriter", "Form"]

_FORMS = 64
"""Numbers of rows for which a form is kept."""
_Dense = tuple[bytes, bytes, np.dtype[Any]]
"""What stands before and behind the number of rows in an output's JSON, and the dtype on the wire."""


class Form:
    """Answers that have the same outputs and number of rows, all of them bytes, and no id.

    Args:
        text: the JSON.
        outputs: names and dtypes of the outputs whose bytes follow it.
        size: how many bytes these are together.
    """

    __slots__ = ("_head", "_outputs", "_text", "text")

    def __init__(self, text: bytes, outputs: list[tuple[str, np.dtype[Any]]], size: int) -> None:
        self.text, self._outputs = text, outputs
        self._head = (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n"
            b"inference-header-content-length: %d\r\n" % (len(text) + size, len(text))
        )
        self._text = b"\r\n" + text

    def answer(self, columns: Mapping[str, Any], first: int, end: int, more: bytes) -> bytes:
        """A whole answer over HTTP/1.1, on a connection that stays.

        Args:
            columns: the outputs of a whole batch by name.
            first, end: where the rows of the answer are in them.
            more: further fields of the head, each with the end of its line.
        """
        return b"".join([self._head, more, self._text, *self.elements(columns, first, end)])

    def begin(self, more: bytes) -> bytes:
        """All of an answer but the elements."""
        return b"%b%b%b" % (self._head, more, self._text)

    def elements(self, columns: Mapping[str, Any], first: int, end: int) -> list[bytes]:
        """The bytes of each output."""
        return [_bytes(columns[name][first:end], dtype) for name, dtype in self._outputs]


class AnswerWriter:
    """Writes the answers that have the same outputs.

    Args:
        name: of the model.
        version: of the model.
        kinds: the types of all its outputs by name.
        outputs: those that are wanted.
    """

    def __init__(self, name: str, version: str, kinds: Mapping[str, ColumnType], outputs: tuple[Wanted, ...]) -> None:
        self.outputs, self._kinds = outputs, kinds
        self._begin = b'"model_name":%b,"model_version":%b,"outputs":[' % (orjson.dumps(name), orjson.dumps(version))
        self._dense = {each.name: _dense(each.name, kinds[each.name]) for each in outputs if not each.classes}
        self._any_binary = any(each.binary for each in outputs)
        self._forms: dict[int, Form] = {}
        self._has_form = all(each.binary and self._dense.get(each.name) for each in outputs)
        self._texts: dict[str, tuple[Array, list[bytes]]] = {}
        self._one = self._around_one() if outputs and all(map(self._is_number, outputs)) else None

    def form(self, rows: int) -> Form | None:
        """What answers of that many rows have in common; None where that is too little."""
        form = self._forms.get(rows)
        if form is None and self._has_form:
            if len(self._forms) >= _FORMS:
                self._forms.pop(list(self._forms)[0], None)  # noqa: RUF015 - a copy: several threads may write answers
            form = self._forms[rows] = self._made_form(rows)
        return form

    def write(
        self, id: str, columns: Mapping[str, Column], first: int, end: int, feedback_id: str = ""
    ) -> tuple[bytes, int | None]:
        """The body for the rows from `first` to `end`, and the length of its JSON where bytes follow it.

        Args:
            id: the caller's name of the request.
            columns: the outputs of a whole batch by name.
            first, end: where the rows of the answer are in them.
            feedback_id: what feedback names the answer by, a parameter of it; empty for none.

        Raises:
            InputError: when an output is no tensor, or has no JSON.
        """
        form = self.form(end - first)
        start = b'{"id":%b,' % orjson.dumps(id) if id else b"{"
        if feedback_id:
            start += b'"parameters":{"feedback_id":%b},' % orjson.dumps(feedback_id)
        if form is not None:
            text = start + form.text[1:]
            return b"".join([text, *form.elements(columns, first, end)]), len(text)
        if self._one is not None and end - first == 1 and (one := self._of_one(start, columns, first)) is not None:
            return one, None
        heads, raws = [], []
        for wanted in self.outputs:
            head, tensor = self._tensor(wanted, columns[wanted.name], first, end)
            where = f"output {wanted.name!r}"
            if wanted.binary:
                raw = _raw(tensor, where)
                raws.append(raw)
                heads.append(b'%b"parameters":{"binary_data_size":%d}}' % (head, len(raw)))
            else:
                heads.append(b'%b"data":%b}' % (head, to_json(tensor, where)))
        text = b"%b%b%b]}" % (start, self._begin, b",".join(heads))
        return (b"".join([text, *raws]), len(text)) if self._any_binary else (text, None)

    def _is_number(self, wanted: Wanted) -> bool:
        """Whether an output is one number a row, in JSON."""
        kind = self._kinds[wanted.name]
        return not wanted.binary and not wanted.classes and kind.shape == () and not kind.is_object

    def _around_one(self) -> list[bytes]:
        """What stands before each number, where there is one row."""
        found = []
        for place, wanted in enumerate(self.outputs):
            dense = self._dense[wanted.name]
            assert dense is not None
            found.append(b'%b%b1%b"data":[' % (b"]}," if place else self._begin, dense[0], dense[1]))
        return found

    def _of_one(self, start: bytes, columns: Mapping[str, Column], row: int) -> bytes | None:
        """The body for one row; None where a number has no JSON."""
        parts = [start]
        for wanted, before in zip(self.outputs, self._one or (), strict=True):
            texts = self._numbers(wanted.name, columns[wanted.name])
            if texts is None:
                return None
            parts += (before, texts[row])
        parts.append(b"]}]}")
        return b"".join(parts)

    def _numbers(self, name: str, column: Column) -> list[bytes] | None:
        """The numbers of a whole batch as JSON: the requests that share it are answered one after another."""
        last = self._texts.get(name)
        if last is None or last[0] is not column:
            if not isinstance(column, np.ndarray) or column.dtype == object:
                return None
            text = orjson.dumps(column.tolist())
            if column.dtype.kind == "f" and b"null" in text:
                return None
            last = self._texts[name] = (column, text[1:-1].split(b","))
        return last[1]

    def _tensor(self, wanted: Wanted, column: Column, first: int, end: int) -> tuple[bytes, Array]:
        """The elements of an output, and the JSON before them."""
        name, _, classes = wanted
        dense = self._dense.get(name)
        if dense is not None and isinstance(column, np.ndarray):
            return b"%b%d%b" % (dense[0], end - first, dense[1]), column[first:end]
        where = f"output {name!r}"
        datatype, tensor = tensor_of(take_rows(column, slice(first, end)), self._kinds[name], where)
        if classes:
            datatype, tensor = "BYTES", best_classes(tensor, classes, where)
        shape = orjson.dumps([int(axis) for axis in tensor.shape])
        return b'{"name":%b,"datatype":"%b","shape":%b,' % (orjson.dumps(name), datatype.encode(), shape), tensor

    def _made_form(self, rows: int) -> Form:
        heads, outputs, total = [], [], 0
        for name, _, _ in self.outputs:
            dense = self._dense[name]
            assert dense is not None
            size = rows * (self._kinds[name].row_bytes or 0)
            heads.append(b'%b%d%b"parameters":{"binary_data_size":%d}}' % (dense[0], rows, dense[1], size))
            outputs.append((name, dense[2]))
            total += size
        return Form(b"{%b%b]}" % (self._begin, b",".join(heads)), outputs, total)


def _dense(name: str, kind: ColumnType) -> _Dense | None:
    """The JSON of an output that is numbers of a fixed shape; None for others."""
    if kind.row_bytes is None:
        return None
    axes = b"".join(b",%d" % axis for axis in kind.shape if axis is not None)
    before = b'{"name":%b,"datatype":"%b","shape":[' % (orjson.dumps(name), datatype_of(kind).encode())
    return before, b"%b]," % axes, kind.numpy_dtype.newbyteorder("<")


def _bytes(tensor: Array, dtype: np.dtype[Any]) -> bytes:
    return tensor.tobytes() if tensor.dtype == dtype else tensor.astype(dtype).tobytes()


def _raw(tensor: Array, where: str) -> bytes:
    try:
        return to_raw(tensor)
    except UnicodeError as error:
        raise InputError(f"holds a text that has no UTF-8: {error}", where=where) from None
