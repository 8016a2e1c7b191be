"""Forms and files as rows.

A form's fields are the inputs. A field that came several times is several rows; one that came once holds for all of them.
A file goes where its field says, or, under any other name, where only one input can take a file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from motet.errors import InputError, known_names
from motet.graph.fields import show
from motet.graph.input import Input
from motet.pictures import is_picture, read_picture
from motet.runtime.rows import Unread
from motet.serving.rest.respond import MediaTypeError
from motet.serving.wire.envelope import read_json
from motet.types import ColumnType

__all__ = ["form_rows", "raw_row", "takes_files"]

Inputs = Mapping[str, Input]
Part = str | bytes
MOST_FIELDS = 1000


def takes_files(kind: ColumnType) -> bool:
    """Whether an input of this type can be a file."""
    return is_picture(kind) or (kind.dtype == "bytes" and not kind.shape)


async def form_rows(request: Request, inputs: Inputs, max_rows: int, max_bytes: int) -> list[dict[str, Any]]:
    """The rows of a form, `multipart/form-data` or URL-encoded.

    Raises:
        InputError: when it is no form, or does not fit the inputs.
    """
    parts: dict[str, list[Part]] = {}
    try:
        async with request.form(max_files=max_rows, max_fields=MOST_FIELDS, max_part_size=max_bytes) as form:
            for name, value in form.multi_items():
                part = await value.read() if isinstance(value, UploadFile) else value
                parts.setdefault(_input_of(name, isinstance(part, bytes), inputs), []).append(part)
    except HTTPException as error:
        raise InputError(f"the form is damaged: {error.detail}") from None
    rows = max((len(each) for each in parts.values()), default=0)
    for name, each in parts.items():
        if len(each) not in (1, rows):
            raise InputError(
                f"field {name!r} came {len(each)} times, others {rows} times; give it once, or for each row"
            )
    return await asyncio.to_thread(_rows, parts, inputs, rows)


def _rows(parts: Mapping[str, Sequence[Part]], inputs: Inputs, rows: int) -> list[dict[str, Any]]:
    values = {name: [_value(part, inputs[name].type) for part in each] for name, each in parts.items()}
    return [{name: each[row if len(each) > 1 else 0] for name, each in values.items()} for row in range(rows)]


async def raw_row(body: bytes, inputs: Inputs, others: Mapping[str, str]) -> dict[str, Any]:
    """The row of a body that is one file, for the only input that can be one; the others are texts.

    Raises:
        MediaTypeError: when no input can be a file, or several can.
    """
    name = _only(inputs)
    if name is None:
        takes = ", ".join(f"{each}: {given.type}" for each, given in inputs.items())
        raise MediaTypeError(f"one file does not say which input it is; the graph takes {takes}", hint="send a form")
    texts = {each: _value(text, inputs[each].type) for each, text in others.items() if each in inputs}
    return {**texts, name: await asyncio.to_thread(_value, body, inputs[name].type)}


def _only(inputs: Inputs) -> str | None:
    files = [name for name, each in inputs.items() if takes_files(each.type)]
    return files[0] if len(files) == 1 else None


def _input_of(name: str, is_file: bool, inputs: Inputs) -> str:
    if name in inputs:
        return name
    only = _only(inputs) if is_file else None
    if only is None:
        hint = "" if name.isprintable() else "a file that is the whole body needs a header Content-Type: image/png"
        raise InputError(f"unknown input {show(name)}; {known_names(name, list(inputs))}", where="the form", hint=hint)
    return only


def _value(part: Part, kind: ColumnType) -> Any:
    """What a field holds: a file's pixels or bytes, a text, or JSON; or why it cannot be read, which fails its row alone."""
    if is_picture(kind) and isinstance(part, bytes):
        try:
            return read_picture(part, kind)
        except InputError as error:
            return Unread(error.what)
    if kind.dtype == "bytes":
        return part if isinstance(part, bytes) else part.encode()
    if isinstance(part, bytes):
        try:
            part = part.decode()
        except UnicodeDecodeError as error:
            return Unread(f"is {kind}; got a file that is no text: {error.reason}")
    if kind.dtype in ("string", "any") and not kind.shape:
        return part
    if is_picture(kind) and part[:1] not in ("[", ""):
        return part  # base64, or an address that holds an image
    if not part:
        return None  # a field that nobody filled in, as an empty one of CSV
    try:
        return read_json(part.encode(), "it")
    except InputError as error:
        return Unread(f"is {kind}, to be given as JSON; {error.what}")
