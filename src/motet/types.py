"""Column types: `dtype[shape]`, as graphs write them.

`uint8[28,28]` is 28 by 28 bytes a row, `float32[?,80]` has a first axis that varies from row to row, `float32` is one
number, `string` and `bytes` are scalars, `any` is checked when rows flow. The row axis is never written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from motet.errors import GraphError, known_names

__all__ = [
    "ANY",
    "DTYPES",
    "ColumnType",
    "Outputs",
    "Signature",
    "declared_outputs",
    "fixed_outputs",
    "is_keeping_labels",
    "keeps_labels",
    "label_text",
    "labels_keyword",
    "returns",
    "takes_labels",
]

DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "string", "bytes", "any",
)  # fmt: skip
_NUMPY_DTYPES = {name: np.dtype(object if name in ("string", "bytes", "any") else name) for name in DTYPES}
_SYNONYMS = {
    "double": "float64", "float": "float64", "number": "float64", "single": "float32", "half": "float16", "int": "int64",
    "integer": "int64", "long": "int64", "short": "int16", "byte": "uint8", "boolean": "bool", "str": "string",
    "text": "string", "utf8": "string", "binary": "bytes", "object": "any",
}  # fmt: skip
"""What others call these dtypes."""
_TYPE = re.compile(r"\s*([a-z]+[0-9]*)\s*(?:\[([^\[\]]*)\])?\s*")


@dataclass(frozen=True, slots=True)
class ColumnType:
    """The type of a column.

    Attributes:
        dtype: one of `DTYPES`.
        shape: the axes of one row; None is an axis that varies from row to row.
        labels: what the places of the last axis stand for, the classes of a classifier, where that is known; two types
            are equal whatever theirs are.
    """

    dtype: str
    shape: tuple[int | None, ...] = ()
    labels: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, text: str | ColumnType, where: str = "") -> ColumnType:
        """Read `dtype[shape]`.

        Raises:
            GraphError: when the text is no type; says what is wrong with it.
        """
        if isinstance(text, ColumnType):
            return text
        match = _TYPE.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise GraphError(
                f"{text!r} is no column type",
                where=where,
                hint="write dtype[shape], for example uint8[28,28], float32[?] or string",
            )
        dtype, axes = match.groups()
        if dtype not in DTYPES:
            raise GraphError(
                f"unknown dtype {dtype!r} in {text!r}; {known_names(dtype, DTYPES, 20, _SYNONYMS)}", where=where
            )
        shape = () if axes is None else tuple(_axis(axis.strip(), text, where) for axis in axes.split(","))
        if dtype == "any" and shape:
            raise GraphError(f"{text!r} gives a shape to any", where=where, hint="write any alone")
        return cls(dtype, shape)

    def __str__(self) -> str:
        if not self.shape:
            return self.dtype
        return f"{self.dtype}[{','.join('?' if axis is None else str(axis) for axis in self.shape)}]"

    @property
    def varies(self) -> bool:
        """Whether rows may differ in shape."""
        return None in self.shape

    @property
    def is_object(self) -> bool:
        """Whether values are Python objects: strings, bytes, or anything."""
        return self.dtype in ("string", "bytes", "any")

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype that holds such a column; `object` for strings and bytes."""
        return _NUMPY_DTYPES[self.dtype]

    @property
    def row_bytes(self) -> int | None:
        """Bytes a row, None where that varies."""
        if self.is_object or self.varies:
            return None
        return math.prod(self.least_shape) * self.numpy_dtype.itemsize

    @property
    def least_shape(self) -> tuple[int, ...]:
        """The axes of one row, of length 0 where they vary."""
        return tuple(axis or 0 for axis in self.shape)

    def has_shape(self, shape: Sequence[int | None]) -> bool:
        """Whether a row of this shape is of this type's."""
        return len(shape) == len(self.shape) and all(
            want is None or want == got for want, got in zip(self.shape, shape, strict=True)
        )

    def with_dtype(self, dtype: str) -> ColumnType:
        """The same shape and labels with another dtype."""
        return ColumnType(dtype, self.shape, self.labels)

    def with_labels(self, labels: tuple[str, ...]) -> ColumnType:
        """The same type with these labels."""
        return self if labels == self.labels else ColumnType(self.dtype, self.shape, labels)

    def accepts(self, other: ColumnType) -> bool:
        """Whether a column of type `other` may be given where this type is wanted."""
        if "any" in (self.dtype, other.dtype):
            return True
        return self.dtype == other.dtype and self.has_shape(other.shape)


ANY = ColumnType("any")


def _axis(text: str, whole: str, where: str) -> int | None:
    if text == "?":
        return None
    if text.isdecimal():
        return int(text)
    raise GraphError(f"{text!r} is no axis in {whole!r}", where=where, hint="an axis is a whole number or ?")


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives: columns by name, in order.

    Attributes:
        inputs: what it takes.
        outputs: what it gives; the types of those that have labels carry them, as texts.
        fixed_rows: the number of rows that every call must have, None where any number will do.
        labels: for outputs with a score for each class the classes in the order of the last axis, as the model has them.
    """

    inputs: Mapping[str, ColumnType]
    outputs: Mapping[str, ColumnType]
    fixed_rows: int | None = field(default=None)
    labels: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.labels:
            texts = {name: tuple(map(label_text, labels)) for name, labels in self.labels.items()}
            typed = {name: kind.with_labels(texts.get(name, kind.labels)) for name, kind in self.outputs.items()}
            object.__setattr__(self, "outputs", typed)

    def __str__(self) -> str:
        inputs = ", ".join(f"{name}: {kind}" for name, kind in self.inputs.items())
        outputs = ", ".join(f"{name}: {kind}" for name, kind in self.outputs.items())
        return f"({inputs}) -> ({outputs})"


def label_text(label: Any) -> str:
    """A class as graphs write it, by which classes are compared: `true` for true, `3` for 3 and for 3.0."""
    plain = label.item() if isinstance(label, np.generic) else label
    if isinstance(plain, bool):
        return "true" if plain else "false"
    return str(int(plain)) if isinstance(plain, float) and plain.is_integer() else str(plain)


Outputs = ColumnType | Mapping[str, ColumnType]
"""What a function gives: one column, or columns by name."""

_F = TypeVar("_F", bound=Callable[..., Any])
_ATTRIBUTE = "__motet_returns__"
_LABELS = "__motet_keeps_labels__"
_TAKES = "__motet_takes_labels__"


def returns(
    outputs: str | Mapping[str, str] | Callable[..., str | ColumnType | Mapping[str, Any]],
) -> Callable[[_F], _F]:
    """Declare what a map function returns, so that graphs are checked before rows flow.

    Args:
        outputs: a type (`"float32[10]"`) for a function that returns one array; a mapping of names to types for one
            that returns a dict or a named tuple of arrays; or, where types follow the inputs, a function that takes
            the `ColumnType` of each input in order, and the keywords of `with`, and returns either. It must not do
            anything else: it runs when a graph is built. It may raise `ValueError` for inputs that do not fit.
    """

    def mark(function: _F) -> _F:
        setattr(function, _ATTRIBUTE, outputs)
        return function

    return mark


def keeps_labels(function: _F) -> _F:
    """Say that what a function returns has the labels of its first input: the places of the last axis stay where they are."""
    setattr(function, _LABELS, True)
    return function


def is_keeping_labels(function: Callable[..., Any]) -> bool:
    """Whether a function says that it keeps labels; see `keeps_labels`."""
    return bool(getattr(function, _LABELS, False))


def takes_labels(keyword: str) -> Callable[[_F], _F]:
    """Say that a keyword of a function is, where a graph does not give it, the labels of the last input that has some."""

    def mark(function: _F) -> _F:
        setattr(function, _TAKES, keyword)
        return function

    return mark


def labels_keyword(function: Callable[..., Any]) -> str:
    """The keyword that `takes_labels` has named; empty for none."""
    return str(getattr(function, _TAKES, ""))


def declared_outputs(
    function: Callable[..., Any], inputs: tuple[ColumnType, ...], keywords: Mapping[str, Any]
) -> Outputs | None:
    """What `function` gives for inputs of these types, None where it does not say.

    Raises:
        ValueError: when the function refuses the types.
    """
    outputs = getattr(function, _ATTRIBUTE, None)
    if outputs is None:
        return None
    found = _parsed(outputs(*inputs, **keywords) if callable(outputs) else outputs)
    labels = inputs[0].labels if inputs and is_keeping_labels(function) else ()
    if isinstance(found, ColumnType):
        return found.with_labels(labels)
    return {name: kind.with_labels(labels) for name, kind in found.items()}


def fixed_outputs(function: Callable[..., Any]) -> Outputs | None:
    """What `function` gives whatever its inputs are, None where it does not say."""
    outputs = getattr(function, _ATTRIBUTE, None)
    return None if outputs is None or callable(outputs) else _parsed(outputs)


def _parsed(outputs: Any) -> Outputs:
    if isinstance(outputs, Mapping):
        return {name: ColumnType.parse(kind) for name, kind in outputs.items()}
    return ColumnType.parse(outputs)
