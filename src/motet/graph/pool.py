"""What a graph or a server says of the places that its models share: `pool: {max_loaded: 8, memory: 4GiB}`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from motet.errors import GraphError
from motet.graph.capacity import placed
from motet.graph.fields import Fields, read_bytes, write_bytes
from motet.graph.forms import BYTES, NUMBER, WHOLE, least, record
from motet.graph.model import Model
from motet.graph.node import Node

__all__ = [
    "MAX_LOADED",
    "MAX_SWAP_WAIT",
    "MAX_SWAP_WAIT_MS",
    "PLACES",
    "Places",
    "check_places",
    "read_max_loaded",
    "read_places",
    "read_swap_wait",
    "write_places",
]

MAX_SWAP_WAIT_MS = 1000.0
"""How long rows whose model is not loaded may be passed over by rows of models that are, where nothing is said."""
MAX_LOADED = least(WHOLE, 1)
MAX_SWAP_WAIT = {**NUMBER, "exclusiveMinimum": 0}
PLACES = {
    **record({"max_loaded": MAX_LOADED, "memory": BYTES, "max_swap_wait_ms": MAX_SWAP_WAIT}),
    "anyOf": [{"required": ["max_loaded"]}, {"required": ["memory"]}],
}


@dataclass(frozen=True)
class Places:
    """How many models may be loaded at the same time, and what they may take.

    Attributes:
        max_loaded: how many; None for any number.
        memory_bytes: how much memory they may take together; 0 for any.
        max_swap_wait_ms: how long rows whose model is not loaded may be passed over by rows of models that are.
    """

    max_loaded: int | None = None
    memory_bytes: int = 0
    max_swap_wait_ms: float = MAX_SWAP_WAIT_MS

    def __post_init__(self) -> None:
        if self.max_loaded is None and not self.memory_bytes:
            raise GraphError("neither max_loaded nor memory is given", where="pool", hint="write pool: {max_loaded: 8}")


def read_places(value: object, where: str) -> Places:
    """Places as a file says them: `{max_loaded: N, memory: BYTES, max_swap_wait_ms: MS}`.

    Raises:
        GraphError: when a key is unknown, or a value cannot be.
    """
    given = Fields(value, where, PLACES)
    max_loaded = read_max_loaded(given)
    memory_bytes = read_bytes(given.raw("memory", 0), given.place("memory"))
    wait_ms = read_swap_wait(given) or MAX_SWAP_WAIT_MS
    return placed(where, lambda: Places(max_loaded, memory_bytes, wait_ms))


def read_max_loaded(given: Fields) -> int | None:
    """The key `max_loaded`: how many models may be loaded at the same time; None where it is not there."""
    found: int | None = given.take("max_loaded", int, None)
    if found is not None and found < 1:
        raise GraphError(f"at least 1 model must be loaded to answer; got {found}", where=given.place("max_loaded"))
    return found


def read_swap_wait(given: Fields) -> float | None:
    """The key `max_swap_wait_ms`, in milliseconds; None where it is not there."""
    found = given.take("max_swap_wait_ms", float, None)
    if found is not None and not 0 < found < float("inf"):
        raise GraphError(f"must be more than 0; got {found}", where=given.place("max_swap_wait_ms"))
    return None if found is None else float(found)


def write_places(places: Places) -> dict[str, Any]:
    """The inverse of `read_places`; what has its default is left out."""
    written = {each.name: getattr(places, each.name) for each in fields(places)}
    found = {name: value for name, value in written.items() if value != getattr(Places, name)}
    if "memory_bytes" in found:
        found["memory"] = write_bytes(found.pop("memory_bytes"))
    return found


def check_places(models: Mapping[str, Model], nodes: Mapping[str, Node], pool: Places | None) -> None:
    """See that models that stay leave a place to those that come and go.

    Args:
        models: of a graph, by name.
        nodes: of the graph, by name.
        pool: what it says of its places.

    Raises:
        GraphError: when they do not.
    """
    for node in nodes.values():
        uses = {member.uses: models[member.uses] for member in node.members if member.uses in models}
        _check_room(uses, getattr(node, "max_loaded", None), node.where)
    if pool is not None:
        _check_room(models, pool.max_loaded, "pool")


def _check_room(models: Mapping[str, Model], max_loaded: int | None, where: str) -> None:
    residents = [repr(name) for name, model in models.items() if model.resident]
    if max_loaded is not None and max_loaded <= len(residents) < len(models):
        raise GraphError(
            f"{max_loaded} models may be loaded at the same time, and {', '.join(residents)} are resident: "
            "no place is left for the others",
            where=where,
            hint=f"write max_loaded: {len(residents) + 1} or more",
        )
