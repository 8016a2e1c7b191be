"""Functions over text: strings, one a row.

`lower`, `strip`, `normalise`, `truncate`, `replace` and `join` give strings, `chunk` lists of them; `length`, `byte_length` and
`contains` measure and look; `hash_bucket` and `ngrams` turn text into numbers for models, the same on every machine.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Literal

import numpy as np

from motet.batch import Array, Ragged, objects
from motet.errors import InputError
from motet.ops import _kinds
from motet.types import ColumnType, returns

__all__ = [
    "byte_length",
    "chunk",
    "contains",
    "hash_bucket",
    "join",
    "length",
    "lower",
    "ngrams",
    "normalise",
    "replace",
    "strip",
    "truncate",
    "upper",
]


Form = Literal["NFC", "NFD", "NFKC", "NFKD"]

_FORMS = ("NFC", "NFD", "NFKC", "NFKD")
_KINDS = ("char", "word")


def _each(function: str, text: Array, change: Callable[[str], Any]) -> list[Any]:
    """Apply to each string; a value that is none is an InputError."""
    for value in text:
        if not isinstance(value, str):
            raise InputError(f"a row is {type(value).__name__}, not a string", where=f"motet.ops.text.{function}")
    return [change(value) for value in text]


def _gives(function: str, dtype: str, *text: ColumnType) -> ColumnType:
    _kinds.text(function, *text)
    return ColumnType(dtype)


@returns(lambda text: _gives("lower", "string", text))
def lower(text: Array) -> Array:
    """Small letters, as `str.lower`.

    >>> lower(np.array(["AbC"], dtype=object)).tolist()
    ['abc']
    """
    return objects(_each("lower", text, str.lower))


@returns(lambda text: _gives("upper", "string", text))
def upper(text: Array) -> Array:
    """Capital letters, as `str.upper`.

    >>> upper(np.array(["AbC"], dtype=object)).tolist()
    ['ABC']
    """
    return objects(_each("upper", text, str.upper))


@returns(lambda text, characters=None: _gives("strip", "string", text))
def strip(text: Array, *, characters: str | None = None) -> Array:
    """Take characters away at both ends, as `str.strip`.

    Args:
        text: strings, shape `[rows]`.
        characters: which ones; None is white space.

    >>> strip(np.array(["  a b "], dtype=object)).tolist()
    ['a b']
    """
    return objects(_each("strip", text, lambda value: value.strip(characters)))


@returns(lambda text: _gives("length", "int64", text))
def length(text: Array) -> Array:
    """The number of characters (Unicode code points), int64.

    >>> length(np.array(["", "häh"], dtype=object)).tolist()
    [0, 3]
    """
    return np.array(_each("length", text, len), dtype=np.int64)


@returns(lambda text: _gives("byte_length", "int64", text))
def byte_length(text: Array) -> Array:
    """The number of bytes in UTF-8, int64; a lone surrogate counts as 3.

    >>> byte_length(np.array(["", "häh"], dtype=object)).tolist()
    [0, 4]
    """
    return np.array(_each("byte_length", text, lambda value: len(_utf8(value))), dtype=np.int64)


def _utf8(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


def _normalise_type(text: ColumnType, form: str = "NFC", whitespace: bool = True) -> ColumnType:
    if form not in _FORMS:
        raise ValueError(f"normalise knows no Unicode form {form!r}; known: {', '.join(_FORMS)}")
    return _gives("normalise", "string", text)


@returns(_normalise_type)
def normalise(text: Array, *, form: Form = "NFC", whitespace: bool = True) -> Array:
    """One spelling for what reads the same: a Unicode normal form, and single spaces.

    Args:
        text: strings, shape `[rows]`.
        form: `NFC`, `NFD`, `NFKC` or `NFKD`, see Unicode Standard Annex 15. The K forms also replace compatibility
            characters, such as full-width letters.
        whitespace: make each run of white space one space, and take it away at both ends.

    >>> normalise(np.array([" ｆｕｌｌ \\t width\\n"], dtype=object), form="NFKC").tolist()
    ['full width']
    """
    _normalise_type(ColumnType("string"), form)

    def normalised(value: str) -> str:
        value = unicodedata.normalize(form, value)
        return " ".join(value.split()) if whitespace else value

    return objects(_each("normalise", text, normalised))


def _truncate_type(text: ColumnType, to: int = 0, end: str = "") -> ColumnType:
    if to < len(end):
        raise ValueError(f"truncate needs to, at least the {len(end)} characters of end, got {to}")
    return _gives("truncate", "string", text)


@returns(_truncate_type)
def truncate(text: Array, *, to: int, end: str = "") -> Array:
    """Cut strings to at most `to` characters.

    Args:
        text: strings, shape `[rows]`.
        to: the greatest length, in characters, `end` included.
        end: what a string that was cut ends with.

    >>> truncate(np.array(["four", "seventh"], dtype=object), to=5, end="…").tolist()
    ['four', 'seve…']
    """
    _truncate_type(ColumnType("string"), to, end)
    kept = to - len(end)
    return objects(_each("truncate", text, lambda value: value if len(value) <= to else value[:kept] + end))


def _chunk_type(text: ColumnType, size: int = 0, overlap: int = 0, of: str = "word") -> ColumnType:
    if size < 1:
        raise ValueError(f"chunk needs size, at least 1, got {size}")
    if not 0 <= overlap < size:
        raise ValueError(f"chunk needs overlap from 0 to less than size, {size}, got {overlap}")
    if of not in _KINDS:
        raise ValueError(f"chunks are of {' or '.join(_KINDS)}, got {of!r}")
    _kinds.text("chunk", text)
    return ColumnType("string", (None,))


@returns(_chunk_type)
def chunk(text: Array, *, size: int, overlap: int = 0, of: str = "word") -> Ragged:
    """Cut strings into pieces that overlap, a list a row.

    Args:
        text: strings, shape `[rows]`.
        size: how many words or characters a piece has; the last one may have fewer.
        overlap: how many of them a piece shares with the one before.
        of: `word`, what white space parts, of which that between words is kept as it is; or `char`.

    Returns:
        `string[?]`; nothing of a string without words or characters.

    >>> chunk(np.array(["a b  c d", ""], dtype=object), size=3, overlap=1).rows()
    [array(['a b  c', 'c d'], dtype=object), array([], dtype=object)]
    """
    _chunk_type(ColumnType("string"), size, overlap, of)
    found = _each("chunk", text, lambda value: objects(_chunks(value, size, size - overlap, of)))
    return Ragged.from_rows(found, object, 1)


def _chunks(value: str, size: int, step: int, of: str) -> list[str]:
    ends = (
        [(at, at + 1) for at in range(len(value))] if of == "char" else [m.span() for m in re.finditer(r"\S+", value)]
    )
    last = max(0, len(ends) - size)  # where the piece begins that ends with the string
    starts = range(0, last + step, step) if ends else ()
    return [value[ends[start][0] : ends[min(start + size, len(ends)) - 1][1]] for start in starts]


def _join_type(*text: ColumnType, separator: str = " ") -> ColumnType:
    if not text:
        raise ValueError("join takes one column or more, got none")
    return _gives("join", "string", *text)


@returns(_join_type)
def join(*text: Array, separator: str = " ") -> Array:
    """The strings of several columns as one.

    >>> first, second = np.array(["a"], dtype=object), np.array(["b"], dtype=object)
    >>> join(first, second, separator="-").tolist()
    ['a-b']
    """
    columns = [_each("join", column, str) for column in text]
    return objects([separator.join(values) for values in zip(*columns, strict=True)])


def _contains_type(text: ColumnType, part: str = "", case: bool = True) -> ColumnType:
    if not part:
        raise ValueError("contains needs part, the string to look for")
    return _gives("contains", "bool", text)


@returns(_contains_type)
def contains(text: Array, *, part: str, case: bool = True) -> Array:
    """Whether strings have a part.

    Args:
        text: strings, shape `[rows]`.
        part: what to look for, as it stands (not a pattern).
        case: whether capitals matter.

    Returns:
        bool, shape `[rows]`.

    >>> contains(np.array(["Refund!", "thanks"], dtype=object), part="refund", case=False).tolist()
    [True, False]
    """
    wanted = part if case else part.casefold()
    return np.array(_each("contains", text, lambda value: wanted in (value if case else value.casefold())), dtype=bool)


def _replace_type(text: ColumnType, pattern: str = "", by: str = "") -> ColumnType:
    _compiled(pattern)
    return _gives("replace", "string", text)


@returns(_replace_type)
def replace(text: Array, *, pattern: str, by: str = "") -> Array:
    """Replace every match of a regular expression, as `re.sub`.

    Args:
        text: strings, shape `[rows]`.
        pattern: in the syntax of Python's `re`.
        by: what to put there; `\\\\1` is the first group.

    >>> replace(np.array(["tel. 12 34"], dtype=object), pattern="[0-9]", by="#").tolist()
    ['tel. ## ##']
    """
    compiled = _compiled(pattern)
    return objects(_each("replace", text, lambda value: compiled.sub(by, value)))


def _compiled(pattern: str) -> re.Pattern[str]:
    if not pattern:
        raise ValueError("replace needs pattern, a regular expression")
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error


def _bucket(value: str, buckets: int, salt: str) -> int:
    digest = blake2b(_utf8(value), digest_size=8, key=blake2b(_utf8(salt), digest_size=16).digest() if salt else b"")
    return int.from_bytes(digest.digest(), "little") % buckets


def _hash_bucket_type(text: ColumnType, buckets: int = 0, salt: str = "") -> ColumnType:
    if not 1 <= buckets <= 2**62:
        raise ValueError(f"hash_bucket needs buckets, a number of at least 1, got {buckets}")
    return _gives("hash_bucket", "int64", text)


@returns(_hash_bucket_type)
def hash_bucket(text: Array, *, buckets: int, salt: str = "") -> Array:
    """A number for each string, the same on every machine and in every version.

    The first 8 bytes of BLAKE2b (RFC 7693, digest of 8 bytes; keyed by the 16-byte digest of the salt, where there is
    one) of the UTF-8 bytes, least significant first, modulo `buckets`.

    Args:
        text: strings, shape `[rows]`.
        buckets: how many numbers there are, from 1.
        salt: another salt gives other numbers.

    Returns:
        int64 from 0 to `buckets - 1`, shape `[rows]`.

    >>> hash_bucket(np.array(["a", "b", "a"], dtype=object), buckets=1000).tolist()
    [928, 668, 928]
    """
    _hash_bucket_type(ColumnType("string"), buckets)
    return np.array(_each("hash_bucket", text, lambda value: _bucket(value, buckets, salt)), dtype=np.int64)


def _ngrams_type(text: ColumnType, dim: int = 0, sizes: Sequence[int] = (1, 2), of: str = "word") -> ColumnType:
    if dim < 1:
        raise ValueError(f"ngrams needs dim, the length of the vector, at least 1, got {dim}")
    if not sizes or min(sizes) < 1:
        raise ValueError(f"sizes are whole numbers of at least 1, got {list(sizes)}")
    if of not in _KINDS:
        raise ValueError(f"ngrams are of {' or '.join(_KINDS)}, got {of!r}")
    _kinds.text("ngrams", text)
    return ColumnType("float32", (dim,))


@returns(_ngrams_type)
def ngrams(text: Array, *, dim: int, sizes: Sequence[int] = (1, 2), of: str = "word") -> Array:
    """Count runs of words or characters into a vector of fixed length, each at its hash (feature hashing).

    A run of words is joined by one space; its place is `hash_bucket` of that string with `dim` buckets. Words are what
    white space parts.

    Args:
        text: strings, shape `[rows]`; lower them first where capitals do not matter.
        dim: the length of the vector.
        sizes: the lengths of runs that count.
        of: `word` or `char`.

    Returns:
        Counts, float32, shape `[rows, dim]`.

    >>> ngrams(np.array(["to be or not to be"], dtype=object), dim=64, sizes=[1]).max()
    np.float32(2.0)
    """
    _ngrams_type(ColumnType("string"), dim, sizes, of)
    counts = np.zeros((len(text), dim), dtype=np.float32)
    places: dict[str, int] = {}
    for row, runs in enumerate(_each("ngrams", text, lambda value: _runs(value, sizes, of))):
        for run in runs:
            place = places.get(run)
            if place is None:
                place = places[run] = _bucket(run, dim, "")
            counts[row, place] += 1
    return counts


def _runs(value: str, sizes: Sequence[int], of: str) -> list[str]:
    if of == "char":
        return [value[start : start + size] for size in sizes for start in range(len(value) - size + 1)]
    words = value.split()
    return [" ".join(words[start : start + size]) for size in sizes for start in range(len(words) - size + 1)]
