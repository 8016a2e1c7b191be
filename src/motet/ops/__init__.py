"""Ready-made functions for map nodes; each works on a whole batch and treats every row alone.

    boxes     forms, non-maximum suppression, back from a frame, drawing
    columns   cast, stack, concat, pick, where, reshape, pad, constant
    crops     several crops of a picture, and their answers put together
    image     decode, encode, resize, crop, scale, normalise, axes and colours
    linalg    similarity, distance and length of vectors; distances, kernels, neighbours of all vectors of a row
    ranking   candidates, a list of them a row: best first, top k, several lists as one
    scores    softmax, top1, topk, labels, and how sure a row is
    text      cases, Unicode, cutting, joining, matching, hashing

A function takes columns in order, then keywords, and returns one array or a named tuple of arrays. A column whose rows
differ in shape comes as a `Ragged` or a list of arrays, and goes as a `Ragged`. Each says what types it gives for
what types it takes, so a graph that uses it is checked before rows flow.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motet.ops import boxes, columns, crops, image, linalg, ranking, scores, text

__all__ = ["boxes", "columns", "crops", "image", "linalg", "ranking", "scores", "text"]


if not TYPE_CHECKING:  # which would make every name one that is there

    def __getattr__(name: str) -> ModuleType:
        if name in __all__:
            return import_module(f"motet.ops.{name}")
        raise AttributeError(f"module 'motet.ops' has no attribute {name!r}; known: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
