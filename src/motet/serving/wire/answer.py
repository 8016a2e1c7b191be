"""Answers to inference requests.

Most answers differ from the one before in their elements only. What stays the same, the JSON between the elements, is a
form: made once for each number of rows, kept with what the outputs looked like, and used while they look the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from motet.batch import Array, Column, take_rows
from motet.errors import InputError
from motet.oip.classes import best_classes
from motet.oip.tensors import tensor_of, to_raw
from motet.serving.wire.envelope import Wanted
from motet.serving.wire.tensors import to_json
from motet.types import ColumnType

__all__ = ["Answers"]

_FORMS = 64
"""Numbers of rows for which a form is kept."""


class _Form:
    """The JSON of answers with the same outputs and number of rows, without an id.

    Attributes:
        texts: the pieces between the elements that are in JSON.
        tensors: name, dtype and shape of a row of each output, and whether it is in bytes.
        binary: whether all are in bytes, so that there is one text.
    """

    __slots__ = ("binary", "tensors", "texts")

    def __init__(self, texts: list[bytes], tensors: list[tuple[str, np.dtype[Any], tuple[int, ...], bool]]) -> None:
        self.texts, self.tensors, self.binary = texts, tensors, len(texts) == 1


class Answers:
    """Writes answers that have the same outputs in the same form.

    Args:
        name: of the model.
        version: of the model.
        kinds: the types of its outputs by name.
        outputs: those that are wanted.
    """

    def __init__(self, name: str, version: str, kinds: Mapping[str, ColumnType], outputs: tuple[Wanted, ...]) -> None:
        self.outputs = outputs
        self._first = b'"model_name":%b,"model_version":%b,"outputs":[' % (orjson.dumps(name), orjson.dumps(version))
        self._kinds = kinds
        self._any_binary = any(each.binary for each in outputs)
        self._forms: dict[int, _Form] = {}

    def write(self, id: str, columns: Mapping[str, Column], first: int, end: int) -> tuple[bytes, int | None]:
        """The body for the rows from `first` to `end`, and the length of its JSON where bytes follow it.

        Raises:
            InputError: when an output is no tensor, or has no JSON.
        """
        start = b'{"id":%b,' % orjson.dumps(id) if id else b"{"
        form = self._forms.get(end - first)
        if form is None:
            return self._write(start, columns, first, end)
        elements = []
        for name, dtype, shape, _ in form.tensors:
            column = columns[name]
            if type(column) is not np.ndarray or column.dtype != dtype or column.shape[1:] != shape:
                return self._write(start, columns, first, end)
            elements.append(column[first:end])
        if form.binary:
            text = start + form.texts[0]
            return text + b"".join([each.tobytes() for each in elements]), len(text)
        return self._mixed(start, form, elements)

    def _mixed(self, start: bytes, form: _Form, elements: list[Array]) -> tuple[bytes, int | None]:
        """An answer some of whose elements are in JSON."""
        texts, raw = [start], []
        between = iter(form.texts)
        texts.append(next(between))
        for (name, _, _, binary), values in zip(form.tensors, elements, strict=True):
            if binary:
                raw.append(values.tobytes())
            else:
                texts += (to_json(values, f"output {name!r}"), next(between))
        text = b"".join(texts)
        return (text + b"".join(raw), len(text)) if self._any_binary else (text, None)

    def _write(self, start: bytes, columns: Mapping[str, Column], first: int, end: int) -> tuple[bytes, int | None]:
        """An answer for which there is no form; one is made where its outputs are numbers."""
        texts, raw, tensors = [self._first], [], []
        gaps = 0
        shown = bytearray(start)
        for place, (name, binary, classes) in enumerate(self.outputs):
            datatype, array = self._tensor(columns[name], name, classes, first, end)
            head = b'%b{"name":%b,"datatype":"%b","shape":%b,' % (
                b"," if place else b"", orjson.dumps(name), datatype.encode(), orjson.dumps(array.shape),
            )  # fmt: skip
            ...
