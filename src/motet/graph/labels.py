"""What a graph says of a model's classes, held against what the model's file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from motet.errors import GraphError
from motet.graph.model import Model
from motet.types import ColumnType

__all__ = ["labelled"]


def labelled(model: Model, outputs: Mapping[str, ColumnType]) -> Mapping[str, ColumnType]:
    """What a model gives to the outside, with the labels that the graph declares for it.

    Declared labels are those of each output that has as many places. They may name classes that are only numbers, from
    0, or false and true; others are the model's own, and must be said in the same order.

    Raises:
        GraphError: when they are not the model's classes, or no output has as many places.
    """
    if not model.labels:
        return outputs
    found = {name: _named(model, kind) if _fits(kind, len(model.labels)) else kind for name, kind in outputs.items()}
    shaped = [f"{name}: {kind}" for name, kind in outputs.items() if kind.shape]
    if shaped and not any(kind.labels == model.labels for kind in found.values()):
        raise GraphError(
            f"there are {len(model.labels)} labels; the model gives {', '.join(shaped)}",
            where=f"model {model.name!r}: labels",
            hint="write one for each place of its answer, in order",
        )
    return found


def _fits(kind: ColumnType, count: int) -> bool:
    return kind.dtype == "any" or (bool(kind.shape) and kind.shape[-1] in (None, count))


def _named(model: Model, kind: ColumnType) -> ColumnType:
    own = kind.labels
    if own and own != model.labels and (set(own) == set(model.labels) or not _only_numbers(own)):
        raise GraphError(
            f"[{', '.join(model.labels)}] are not the model's classes, which are [{', '.join(own)}]",
            where=f"model {model.name!r}: labels",
            hint="leave labels out: the model's file says them",
        )
    return kind.with_labels(model.labels)


def _only_numbers(labels: Sequence[str]) -> bool:
    return tuple(labels) in (tuple(map(str, range(len(labels)))), ("false", "true"))
