"""Labels that stand in a file of their own beside the graph's file: `labels: labels.txt`, a name a line, or `labels: labels.json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from motet.errors import GraphError

__all__ = ["with_labels"]

_LABEL = "motet.ops.scores.label"


def with_labels(value: Any, read: Callable[[str], str], where: str = "") -> Any:
    """What a graph file says, with the lists that its label files hold in place of their names.

    Such a name may be the `labels` of a model, and those that `motet.ops.scores.label` is given.

    Args:
        value: what was read from the file.
        read: gives the text of a file by its name, as it stands in the graph's file.
        where: the place of `value`, for messages.

    Raises:
        GraphError: when a file cannot be read, a line of it is empty, or JSON holds something else.
    """
    if isinstance(value, list):
        return [with_labels(each, read, f"{where}[{place}]") for place, each in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    found = {key: with_labels(each, read, f"{where}.{key}" if where else key) for key, each in value.items()}
    given = found.get("with") if found.get("map") == _LABEL else found if _is_model(where) else None
    if isinstance(given, dict) and isinstance(given.get("labels"), str):
        given["labels"] = _lines(given["labels"], read, f"{where}.labels" if given is found else f"{where}.with.labels")
    return found


def _is_model(where: str) -> bool:
    """Whether this is a model: `models.NAME`, of the graph or of one inside it."""
    *outer, holder, _ = ["", "", *where.split(".")]
    return holder == "models" and (not any(outer) or outer[-2] == "graphs")


def _lines(name: str, read: Callable[[str], str], where: str) -> list[str]:
    try:
        text = read(name)
    except (OSError, UnicodeDecodeError) as error:
        raise GraphError(
            f"the labels in {name!r} cannot be read: {getattr(error, 'strerror', None) or error}",
            where=where,
            hint="name a file beside the graph's, with a label a line, or write labels: [...]",
        ) from error
    if name.endswith(".json"):
        return _of_json(text, name, where)
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise GraphError(f"line {number} of {name!r} is empty; each line is a label", where=where)
    return lines


def _of_json(text: str, name: str, where: str) -> list[str]:
    """The labels of a file of JSON: a list of them, or an object with one for each of the places 0, 1, 2, ..."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise GraphError(f"{name!r} is no JSON: {error}", where=where) from error
    if isinstance(found, dict) and {str(place) for place in range(len(found))} == found.keys():
        found = [found[str(place)] for place in range(len(found))]
    if isinstance(found, list) and found and all(isinstance(each, str) for each in found):
        return found
    hint = 'write ["cat", "dog"] or {"0": "cat", "1": "dog"}'
    raise GraphError(
        f"{name!r} is no list of labels, nor an object with one for each of 0, 1, 2, ...", where=where, hint=hint
    )
