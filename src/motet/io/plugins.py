"""Formats that other packages add, by the entry point groups `motet.sources` and `motet.sinks`.

An entry point is named for a suffix without its dot (`avro`), a URL scheme (`mongodb`) or a format's name. A source's
is called as `make(what, types=...)` and gives a `Source`; a sink's as `make(path, schema)` and gives a `Writer`. They
are looked up only for what is not built in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from motet.io.files import suffix_of
from motet.io.places import split_url

__all__ = ["find_plugin"]


def find_plugin(group: str, what: str, format: str | None) -> Callable[..., Any] | None:
    """What an installed package gives for a format, else for a suffix or a scheme; None where none does."""
    from importlib.metadata import entry_points

    names = [format] if format is not None else [suffix_of(what).lstrip("."), split_url(what)[0]]
    for name in names:
        found = list(entry_points(group=group, name=name)) if name else []
        if found:
            return cast("Callable[..., Any]", found[0].load())
    return None
