"""What is kept of the JSON of requests: clients send the same one again and again, apart from its id."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from motet.errors import InputError
from motet.serving.wire.answer import AnswerWriter
from motet.serving.wire.envelope import EnvelopeTensor

__all__ = ["CUT", "ID", "MAX_BYTES", "Dense", "EnvelopePlan", "Frame", "Other", "cut", "keep", "may_name_id", "text_of"]

KEPT = 64
"""Plans, and sets of wanted outputs, that are kept of each model."""
MAX_BYTES = 4096
"""JSON longer than this is read anew each time."""
CUT = b"\0"
"""Stands for elements that were cut out of JSON, in which it cannot be."""
_DATA = b'"data":'
_MOST_TENSORS = 16
"""Tensors of a request whose JSON is kept: the end of each is looked for in all that follows."""
ID = re.compile(rb'\{"id": ?"([^"\\\x00-\x1f]{1,256})", ?(?=")')
"""Where the clients put an id; the rest of the JSON is the same for all of them."""


class Dense(NamedTuple):
    """A tensor whose bytes are the column."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int


class Other(NamedTuple):
    """A tensor that must be looked at: its bytes, or its elements in the JSON."""

    tensor: EnvelopeTensor
    start: int
    end: int


class EnvelopePlan(NamedTuple):
    """What the JSON before bytes means. Places are counted from the first byte after it."""

    dense: list[Dense]
    others: list[Other]
    missing: list[str]
    rows: int
    size: int
    id: str
    parameters: Mapping[str, Any]
    answers: AnswerWriter

    def wrong_size(self, got: int) -> InputError:
        """What to say of another number of bytes than the tensors have."""
        if got > self.size:
            return InputError(f"the inputs have {self.size} bytes together; {got - self.size} bytes are left over")
        return InputError(f"the inputs have {self.size} bytes together; got {got}")


class Frame(NamedTuple):
    """What the JSON around the elements of tensors means: each with its dtype, None where the elements must be looked at."""

    tensors: list[tuple[EnvelopeTensor, np.dtype[Any] | None]]
    rows: int
    missing: list[str]
    id: str
    parameters: Mapping[str, Any]
    answers: AnswerWriter


def cut(body: bytes, begin: int) -> tuple[bytes, list[bytes]]:
    """The JSON around the elements of tensors, `CUT` where they were, and the elements of each.

    Where they end is guessed, by the next brace: what is cut out need not be JSON, and then it is not what the rest says.

    Args:
        body: of a request.
        begin: where it begins.

    Returns:
        Both are empty where there are no elements, or the JSON around them is too long to be kept, or too many tensors.
    """
    around: list[bytes] = []
    texts: list[bytes] = []
    left = len(body) - begin
    while (start := body.find(_DATA, begin) + len(_DATA)) >= len(_DATA):
        end = body.rfind(b"]", start, body.find(b"}", start)) + 1
        if not end or len(texts) == _MOST_TENSORS:
            return b"", []
        around.append(body[begin:start])
        texts.append(body[start:end])
        left -= end - start
        begin = end
    if not texts or left >= MAX_BYTES:
        return b"", []
    around.append(body[begin:])
    return CUT.join(around), texts


def keep(kept: dict[Any, Any], key: object, value: object) -> None:
    """Keep a value; the one that was kept first makes room. Several threads may do so at once."""
    if len(kept) >= KEPT:
        kept.pop(list(kept)[0], None)  # noqa: RUF015 - a copy, because others may change it meanwhile
    kept[key] = value


def may_name_id(rest: bytes) -> bool:
    """Whether the JSON behind an id may have another, which counts instead; with a backslash its key may be written otherwise."""
    return b'"id"' in rest or b"\\" in rest


def text_of(raw: bytes) -> str | None:
    """The text in UTF-8; None where it is none, or not the same in JSON."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None
