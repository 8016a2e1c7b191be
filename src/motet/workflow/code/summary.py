"""Values in short, as people are told of them."""

from __future__ import annotations

import re
import reprlib
from typing import Any

__all__ = ["in_unicode", "short", "told_of"]

LONGEST_TOLD = 60
_SECRET = re.compile("key|secret|token|passw|credential", re.IGNORECASE)
_ADDRESS = re.compile(" at 0x[0-9a-f]+")
_PLAIN = (str, int, float, bool, type(None), list, tuple, dict, set, frozenset)
_REPR = reprlib.Repr()
_REPR.maxlist = _REPR.maxtuple = _REPR.maxset = _REPR.maxfrozenset = _REPR.maxdict = 8
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 2 * LONGEST_TOLD


def short(value: Any) -> str:
    """A value in at most 60 characters."""
    if isinstance(value, (list, tuple, set, frozenset, dict)) and len(value) > 8:
        return f"{type(value).__name__} of {len(value)}"
    text = _ADDRESS.sub("", _REPR.repr(value)) if isinstance(value, _PLAIN) else _named(value)
    return text if len(text) <= LONGEST_TOLD else text[: LONGEST_TOLD - 1] + "…"


def in_unicode(text: str) -> str:
    """A text that can be written anywhere: what is no Unicode, as in names of files, is told by its number."""
    return text.encode(errors="backslashreplace").decode()


def told_of(name: str, value: Any) -> str:
    """What is told of the value of a name in a project's code; nothing of what may be a secret."""
    return "" if _SECRET.search(name) else short(value)


def _named(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and hasattr(value, "dtype"):
        return f"{value.dtype}[{','.join(map(str, shape))}]"
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else _ADDRESS.sub("", repr(value))
