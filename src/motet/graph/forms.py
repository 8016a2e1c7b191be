"""What readers of graph files take, as JSON Schema: which keys there are, of which kind each is, and its default.

A reader goes by its form (`motet.graph.fields.Fields`), and docs/schemas.py makes of the same forms the schema that editors
complete and check graph files by.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

__all__ = [
    "BYTES", "LISTED", "MAPPING", "NAME", "NUMBER", "TEXT", "TRUTH", "UNITS", "WHOLE", "Form", "by_name", "either", "least",
    "list_of", "named", "named_forms", "one_of", "or_null", "record", "resolved",
]  # fmt: skip

Form: TypeAlias = Mapping[str, Any]
"""A JSON Schema, draft 2020-12."""

_NAMED: dict[str, Form | Callable[[], Form]] = {}

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
UNITS = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}

TEXT: Form = {"type": "string"}
WHOLE: Form = {"type": "integer"}
NUMBER: Form = {"type": "number"}
TRUTH: Form = {"type": "boolean"}
MAPPING: Form = {"type": "object"}
LISTED: Form = {"type": "array"}


def record(keys: Mapping[str, Form], needed: Sequence[str] = ()) -> Form:
    """A mapping with some of these keys and no others; those that are `needed` must be there."""
    more = {"required": list(needed)} if needed else {}
    return {"type": "object", "properties": dict(keys), **more, "additionalProperties": False}


def by_name(form: Form, *, plain: bool = False) -> Form:
    """A mapping from names to what has this form; `plain` names are those that references can use."""
    names = {"propertyNames": {"pattern": f"^{NAME.pattern}$"}} if plain else {}
    return {"type": "object", **names, "additionalProperties": form}


def list_of(form: Form) -> Form:
    """A list of what has this form."""
    return {"type": "array", "items": form}


def either(*forms: Form, **more: Any) -> Form:
    """What has one of these forms."""
    return {"anyOf": list(forms), **more}


def or_null(form: Form) -> Form:
    """What has this form, or null, which says nothing."""
    return either(form, {"type": "null"})


def one_of(values: Iterable[str], default: str | None = None) -> Form:
    """One of some texts."""
    return {"type": "string", "enum": list(values), **({} if default is None else {"default": default})}


def least(form: Form, bound: float) -> Form:
    """A number of at least so much."""
    return {**form, "minimum": bound}


def named(name: str, form: Form | Callable[[], Form]) -> Form:
    """Keep a form that several readers take, or that is worth a name; what stands for it in others.

    Args:
        name: of the form.
        form: itself, or what makes it when it is first asked for.
    """
    _NAMED[name] = form
    return {"$ref": f"#/$defs/{name}"}


def resolved(form: Form) -> Form:
    """The form itself, where one stands for it."""
    return _form(form["$ref"].rpartition("/")[2]) if "$ref" in form else form


def named_forms() -> dict[str, Form]:
    """All forms that have a name, by it."""
    return {name: _form(name) for name in _NAMED}


def _form(name: str) -> Form:
    found = _NAMED[name]
    if callable(found):
        found = _NAMED[name] = found()
    return found


BYTES = named(
    "bytes",
    {
        "description": "An amount of memory: bytes, or a number and a unit, as `512MiB`.",
        **either(least(WHOLE, 0), {"type": "string", "pattern": rf"^\s*[0-9]+(\.[0-9]+)?\s*({'|'.join(UNITS)})\s*$"}),
    },
)
