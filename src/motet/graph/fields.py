"""Reading mappings that people wrote: unknown keys, wrong kinds and missing values are errors that say where."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from motet.errors import GraphError, UnknownNameError, cut
from motet.graph.forms import NAME, UNITS, Form, named, resolved
from motet.system.secrets import without_passwords
from motet.types import DTYPES, ColumnType

__all__ = [
    "TYPE", "Fields", "check_name", "from_environment", "of_kind", "plain", "read_bytes", "read_type", "show", "text_of", "write_bytes",
]  # fmt: skip

T = TypeVar("T")
_LOOKED_THROUGH = 4096
"""Characters of a value in which passwords are looked for; messages have fewer."""
_MISSING = object()
_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
}
_OF_JSON = {"string": str, "integer": int, "number": float, "boolean": bool, "object": dict, "array": list}
_AXES = r"\[\s*(\?|[0-9]+)\s*(,\s*(\?|[0-9]+)\s*)*\]"
TYPE = named(
    "type",
    {
        "type": "string",
        "pattern": rf"^\s*(any|({'|'.join(each for each in DTYPES if each != 'any')})\s*({_AXES})?)\s*$",
        "description": "A column type, `dtype[shape]`: `float32[10]`, `uint8[28,28,?]`, `string`.",
    },
)
"""The form of column types."""


class Fields:
    """A mapping of a graph file, read key by key.

    Args:
        value: what was found in the file.
        where: its place, for messages, for example `nodes.vote`.
        keys: the keys that may be there, or the form of the mapping.
    """

    def __init__(self, value: object, where: str, keys: Sequence[str] | Form, what: str = "key") -> None:
        if isinstance(keys, Mapping):
            self._needed: Sequence[str] = keys.get("required", ())
            self._forms: Mapping[str, Form] = keys["properties"]
            keys = keys["properties"]
        if not isinstance(value, Mapping):
            raise GraphError(f"expected a mapping with some of {', '.join(keys)}; got {show(value)}", where=where)
        self.where, self._value = where, value
        for key in value:
            if key not in keys:
                raise UnknownNameError(what, str(key), list(keys), where=where)

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def take(self, key: str, kind: type[T] | tuple[type[T], ...], default: Any = _MISSING) -> Any:
        """The value of a key, which must be of this kind.

        Raises:
            GraphError: when the key is missing and has no default, or its value is of another kind.
        """
        if key not in self._value:
            if default is _MISSING:
                raise GraphError(f"{key!r} is missing", where=self.where)
            return default
        return of_kind(self._value[key], kind, f"{self.where}.{key}")

    def get(self, key: str) -> Any:
        """The value of a key, of the kind that the form says; where it is not there its default, None without one.

        Raises:
            GraphError: when it is needed and not there, or its value is of another kind.
        """
        form = self._forms[key]
        if key not in self._value:
            if key in self._needed:
                raise GraphError(f"{key!r} is missing", where=self.where)
            return form.get("default")
        value = self._value[key]
        said = (resolved(form) if "$ref" in form else form).get("type", ())
        if type(value) is _OF_JSON.get(said if type(said) is str else ""):
            return value
        kinds = tuple(_OF_JSON[each] for each in ([said] if isinstance(said, str) else said))
        return of_kind(value, kinds, f"{self.where}.{key}") if kinds else value

    def raw(self, key: str, default: Any = None) -> Any:
        """The value of a key as it was written."""
        return self._value.get(key, default)

    def place(self, key: str) -> str:
        """Where a key is, for messages."""
        return f"{self.where}.{key}"


def from_environment(text: str, where: str) -> str:
    """A text, or what the environment variable holds that `env:NAME` names.

    Raises:
        GraphError: when it is not set.
    """
    if not text.startswith("env:"):
        return text
    found = os.environ.get(text[4:])
    if not found:
        raise GraphError(f"the environment variable {text[4:]!r} is not set", where=where)
    return found


def of_kind(value: object, kind: type[Any] | tuple[type[Any], ...], where: str) -> Any:
    """`value`, which must be of this kind; whole numbers count as numbers, true and false do not."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, bool) and bool not in kinds:
        fits = False
    else:
        fits = isinstance(value, kinds) or (float in kinds and isinstance(value, int))
    if not fits:
        wanted = " or ".join(_KINDS.get(each, each.__name__) for each in kinds)
        raise GraphError(f"expected {wanted}; got {show(value)}", where=where)
    return value


def check_name(name: object, what: str, where: str) -> str:
    """`name`, which must be usable in references and files."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise GraphError(
            f"{name!r} cannot be the name of {what}",
            where=where,
            hint="a name begins with a letter or _ and goes on with letters, digits, _ and -",
        )
    return name


def read_type(value: object, where: str) -> ColumnType:
    """A column type as it was written."""
    if not isinstance(value, (str, ColumnType)):
        raise GraphError(f"expected a column type such as float32[10]; got {show(value)}", where=where)
    return ColumnType.parse(value, where)


def read_bytes(value: object, where: str) -> int:
    """A number of bytes: a whole number, or a number and a unit (`512MiB`, `2GB`)."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = re.fullmatch(r"\s*([0-9]{1,100}(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*", value) if isinstance(value, str) else None
    if match is None or match[2] not in UNITS:
        raise GraphError(
            f"{value!r} is no amount of memory", where=where, hint=f"write a number and a unit: {', '.join(UNITS)}"
        )
    return int(float(match[1]) * UNITS[match[2]])


def write_bytes(value: int) -> str | int:
    """The inverse of `read_bytes`, with the largest unit that fits."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if value and value % UNITS[unit] == 0:
            return f"{value // UNITS[unit]}{unit}"
    return value


def plain(value: Any) -> Any:
    """A value as a file would give it back, so that a graph means the same before and after: tuples become lists."""
    if type(value) in (tuple, list):
        return [plain(each) for each in value]
    if type(value) is dict:
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    return value


def text_of(value: object) -> str:
    """A key, a label or a name as a text: `true` for true, as files write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def show(value: object) -> str:
    """A value, short enough for a message, without the passwords of addresses."""
    return cut(without_passwords(repr(value)[:_LOOKED_THROUGH]))
