"""What files of ONNX say of their classes, in their metadata: exporters have no one name or form for them."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from motet.types import ColumnType, label_text

__all__ = ["KEYS", "labels_of"]

KEYS = ("classes", "labels", "class_names", "names", "id2label")
"""Keys of metadata under which classes stand; `names` is that of Ultralytics, `id2label` that of transformers."""
_MOST_CHARACTERS = 1 << 22


def labels_of(metadata: Mapping[str, str], outputs: Mapping[str, ColumnType]) -> dict[str, tuple[str, ...]]:
    """The classes of outputs that have a score for each: numbers whose last axis is as long as there are classes.

    Args:
        metadata: texts by key, as the file has them: a list or an object of places, as JSON or as Python writes it, or names
            behind commas or a line each. What is none of these is no list of classes.
        outputs: types by name.
    """
    found = next(filter(None, (_classes(metadata[key]) for key in KEYS if key in metadata)), ())
    if not found:
        return {}
    scored = {name: kind for name, kind in outputs.items() if kind.dtype.startswith("float") and kind.shape}
    return {name: found for name, kind in scored.items() if kind.shape[-1] == len(found)}


def _classes(text: str) -> tuple[str, ...]:
    """The names that a text has; none where it is no list of different ones."""
    value = _value(text) if len(text) <= _MOST_CHARACTERS else None
    if isinstance(value, dict):
        by_place = {str(place): each for place, each in value.items()}
        value = [by_place.get(str(place)) for place in range(len(by_place))]
    if not isinstance(value, list | tuple) or not all(isinstance(each, str | int | float) for each in value):
        return ()
    names = tuple(map(label_text, value))
    return names if len(set(names)) == len(names) > 1 else ()


def _value(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    parts = text.strip().split("\n" if "\n" in text.strip() else ",")
    return [each.strip() for each in parts] if len(parts) > 1 and all(each.strip() for each in parts) else None
