"""What the keys of JSON Lines are, by all lines: nobody can know it from the first.

A key whose values all are whole numbers of 64 bits, floats, bools or texts, and are written as these are, is a column of
that type. Numbers that are written otherwise (`1.10`, `1e5`, `1` beside `1.5`), values of several kinds, lists and
objects are kept as the JSON they are (see `jsontext.py`).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec
import pyarrow as pa

from motet.errors import InputError
from motet.io.jsontext import JSON, JSON_NUMBER

__all__ = ["Keys", "Row"]

Row = Mapping[str, Any]
"""A line's values as they are written, by key."""
MAX_KEYS = 10_000
"""The most keys that the lines of a file may have together."""
_WHOLE, _LARGE, _FLOAT, _WRITTEN, _BOOL, _TEXT, _OTHER = (1 << bit for bit in range(7))
_NUMBER = _WHOLE | _FLOAT | _WRITTEN
_OF_TYPE = {float: _FLOAT, bool: _BOOL, str: _TEXT, type(None): 0}
_PLAIN = {0: pa.string(), _FLOAT: pa.float64(), _BOOL: pa.bool_(), _TEXT: pa.string()}
_EXACT = 1 << 53
_AS_TEXT = -1
_DIGITS = re.compile(rb"-?[0-9]{1,4000}")
_decoder, _encoder = msgspec.json.Decoder(), msgspec.json.Encoder()


class Keys:
    """The keys of some files, in the order of their first appearance, and what they hold.

    Args:
        declared: how many axes the values of keys have whose type is known. Their lists may be flat or nested.
    """

    def __init__(self, declared: Mapping[str, int]) -> None:
        self._axes = dict(declared)
        self._depths: dict[str, Counter[int]] = {name: Counter() for name, axes in declared.items() if axes > 1}
        self._kinds: dict[str, int] = {}

    def add(self, rows: Sequence[Row], where: str) -> None:
        """Learn from some lines.

        Raises:
            InputError: when there are too many keys.
        """
        for name in dict.fromkeys(chain.from_iterable(rows)):
            kind = self._kinds.setdefault(name, 0)
            if name in self._depths:
                self._depths[name].update(_depth(bytes(row[name])) for row in rows if name in row)
            elif name not in self._axes and not kind & _OTHER:
                self._kinds[name] = kind | _kind(_raws(rows, name))
        if len(self._kinds) > MAX_KEYS:
            raise InputError(f"has lines of more than {MAX_KEYS:,} different keys together", where=where)

    def join(self, other: Keys) -> None:
        """Learn what another file has."""
        for name, kind in other._kinds.items():
            self._kinds[name] = self._kinds.get(name, 0) | kind
        for name, depths in other._depths.items():
            self._depths[name].update(depths)

    def fields(self) -> list[pa.Field]:
        """Columns for what is not declared; declared keys come as null, in their place."""
        found = [(name, kind, name in self._axes) for name, kind in self._kinds.items()]
        return [pa.field(name, pa.null()) if known else _field(name, kind) for name, kind, known in found]

    def is_text(self, name: str) -> bool:
        """Whether most values of a declared key with several axes are texts, and no lists."""
        counts = self._depths.get(name, Counter())
        return counts[_AS_TEXT] > counts.total() // 2

    def depth(self, name: str) -> int:
        """How many lists stand in one another in a declared key, as most of its values have it."""
        axes = self._axes[name]
        counts = {depth: count for depth, count in self._depths.get(name, {}).items() if 0 < depth <= axes}
        return max(counts, key=lambda depth: (counts[depth], depth)) if counts else axes


def _field(name: str, kind: int) -> pa.Field:
    if kind in _PLAIN:
        return pa.field(name, _PLAIN[kind])
    if not kind & ~(_WHOLE | _LARGE):
        return pa.field(name, pa.int64())
    return pa.field(name, pa.string(), metadata=JSON if kind & ~_NUMBER else JSON_NUMBER)


def _raws(rows: Sequence[Row], name: str) -> list[Any]:
    try:
        return list(map(itemgetter(name), rows))
    except KeyError:
        return [row[name] for row in rows if name in row]


def _depth(raw: bytes) -> int:
    """How many lists stand in one another, 0 where an empty one leaves it open; -1 for a text."""
    bare = raw[:64].translate(None, b" \t\r\n")
    if bare.startswith(b'"'):
        return _AS_TEXT
    inner = bare.lstrip(b"[")
    return 0 if inner.startswith(b"]") else len(bare) - len(inner)


def _kind(raws: list[Any]) -> int:
    """The kinds of some values together."""
    first = bytes(memoryview(raws[0])[:1])
    if first in b"[{":
        return _OTHER
    text = b"[" + b",".join(raws) + b"]"
    try:
        values = _decoder.decode(text)
    except msgspec.DecodeError:  # NaN and the like
        return _together(_kind_of(bytes(raw)) for raw in raws)
    types = set(map(type, values))
    if not types & {int, float}:
        return _together(_OF_TYPE.get(each, _OTHER) for each in types)
    written = _encoder.encode(values)
    if written == text:
        return _together(_OF_TYPE.get(each, _OTHER) for each in types - {int}) | _whole(values, types)
    return _together(_kind_of(bytes(raw)) for raw in raws)


def _together(kinds: Iterable[int]) -> int:
    found = 0
    for kind in kinds:
        found |= kind
    return found


def _whole(values: list[Any], types: set[type]) -> int:
    """The kind of the whole numbers among some values."""
    if int not in types:
        return 0
    numbers = values if types == {int} else [value for value in values if type(value) is int]
    return _kind_of_whole(min(numbers)) | _kind_of_whole(max(numbers))


def _kind_of_whole(value: int) -> int:
    if -_EXACT <= value <= _EXACT:
        return _WHOLE
    return _LARGE if -(1 << 63) <= value < 1 << 63 else _OTHER


def _kind_of(raw: bytes) -> int:
    """The kind of one value."""
    first = raw[:1]
    if first == b'"':
        return _TEXT
    if raw in (b"true", b"false", b"null"):
        return 0 if raw == b"null" else _BOOL
    if first in b"[{":
        return _OTHER
    if _DIGITS.fullmatch(raw) and raw != b"-0":
        return _kind_of_whole(int(raw))
    value = float(raw)
    if _encoder.encode(value) == raw:
        return _FLOAT
    if math.isfinite(value):
        return _WRITTEN if Decimal(raw.decode()) == Decimal(repr(value)) else _OTHER
    return _WRITTEN if raw in (b"NaN", b"Infinity", b"-Infinity") else _OTHER
