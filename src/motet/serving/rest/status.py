"""The numbers of the page, as everybody may see them."""

from __future__ import annotations

from typing import Any

__all__ = ["for_anybody"]

SHOWN = ("time", "graph", "node", "error", "rows")
"""What everybody may know of an error."""
HIDDEN = ("reason", "who", "of", "most_changed")
"""What may name files, addresses and commands of the server's machine."""


def for_anybody(found: Any) -> Any:
    """What is shown without what only administrators may see: rows, ids, files and addresses, which messages may hold."""
    if isinstance(found, list):
        return [for_anybody(each) for each in found]
    if not isinstance(found, dict):
        return found
    return {key: _shown(key, value) for key, value in found.items()}


def _shown(key: str, value: Any) -> Any:
    if key == "errors":
        return [{name: each[name] for name in SHOWN if name in each} for each in value]
    if key == "places":
        value = [{**each, "models": [{**model, "error": ""} for model in each["models"]]} for each in value]
    if key == "bars":  # names of bins are values of rows
        return [["", *each[1:]] for each in value]
    return "" if key in HIDDEN else for_anybody(value)
