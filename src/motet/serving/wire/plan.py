"""What is kept of the JSON of requests: clients send the same one again and again, apart from its id."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from motet.errors import InputError
from motet.serving.wire.answer import AnswerWriter
from motet.serving.wire.envelope import EnvelopeTensor

__all__ = ["ID", "MAX_BYTES", "Dense", "EnvelopePlan", "Frame", "Other", "keep", "text_of"]

KEPT = 64
"""Plans, and sets of wanted outputs, that are kept of each model."""
MAX_BYTES = 4096
"""JSON longer than this is read anew each time."""
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
    """What the JSON around the elements of the only tensor means."""

    tensor: EnvelopeTensor
    dtype: np.dtype[Any]
    rows: int
    missing: list[str]
    id: str
    parameters: Mapping[str, Any]
    answers: AnswerWriter


def keep(kept: dict[Any, Any], key: object, value: object) -> None:
    """Keep a value; the one that was kept first makes room. Several threads may do so at once."""
    if len(kept) >= KEPT:
        kept.pop(list(kept)[0], None)  # noqa: RUF015 - a copy, because others may change it meanwhile
    kept[key] = value


def text_of(raw: bytes) -> str | None:
    """The text in UTF-8; None where it is none, or not the same in JSON."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None
