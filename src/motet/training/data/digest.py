"""Digests of functions: what tells whether a cache that one filled still holds."""

from __future__ import annotations

import functools
import hashlib
import inspect
import pickle
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any

from motet.errors import InputError
from motet.graph.identity import code_identity

__all__ = ["function_digest"]


def function_digest(function: Callable[..., Any], keywords: Mapping[str, Any] | None = None) -> str:
    """A digest of a function: its code, defaults, closure values, keywords, and the file that it is written in.

    With the whole file, a change in a helper beside the function counts. A helper in another file does not; name such
    a change with `key=` of `Dataset.cache`.

    Raises:
        InputError: when a value that the function holds cannot be digested.
    """
    digest = hashlib.sha256()
    for part in _parts(function):
        digest.update(part)
    digest.update(_value(dict(sorted((keywords or {}).items())), function))
    return digest.hexdigest()


def _parts(function: Callable[..., Any]) -> list[bytes]:
    if isinstance(function, functools.partial):
        held = (function.args, dict(sorted(function.keywords.items())))
        return [b"partial", *_parts(function.func), _value(held, function)]
    plain = inspect.unwrap(function)
    code = getattr(plain, "__code__", None)
    if not isinstance(code, CodeType):
        return [b"object", _value(function, function), _file(type(function))]
    held = tuple(cell.cell_contents for cell in plain.__closure__ or ())
    names = f"{plain.__module__}.{plain.__qualname__}".encode()
    return [
        names,
        repr(code_identity(code)).encode(),
        _value((plain.__defaults__, plain.__kwdefaults__, held), function),
        _file(plain),
    ]


def _value(value: object, function: object) -> bytes:
    try:
        return hashlib.sha256(pickle.dumps(value, protocol=5)).digest()
    except Exception as error:  # noqa: BLE001  pickling a user's value may raise anything
        raise InputError(
            f"holds a value that cannot be digested: {error}",
            where=str(getattr(function, "__qualname__", function)),
            hint="give the cache a key of its own: cache(..., key='v1')",
        ) from None


def _file(thing: Any) -> bytes:
    try:
        path = inspect.getsourcefile(thing)
        with open(path or "", "rb") as file:
            return hashlib.sha256(file.read()).digest()
    except (OSError, TypeError):
        return b""
