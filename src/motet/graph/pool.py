"""What a graph or a server says of the places that its models share: `pool: {max_loaded: 8, memory: 4GiB}`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from motet.errors import GraphError
from motet.graph.forms import MAPPING, named
from motet.graph.model import Model
from motet.graph.node import Node
from motet.graph.section import Bytes, CheckedSection, KeyRule, between, section_form

__all__ = ["MAX_SWAP_WAIT_MS", "PLACES", "Places", "SwapBounds", "check_places"]

MAX_SWAP_WAIT_MS = 1000.0
"""How long rows whose model is not loaded may be passed over by rows of models that are, where nothing is said."""


@dataclass(frozen=True)
class SwapBounds(CheckedSection):
    """How many models may be loaded at the same time.

    Attributes:
        max_loaded: how many; None for any number.
        max_swap_wait_ms: how long rows whose model is not loaded may be passed over by rows of models that are; None for
            `MAX_SWAP_WAIT_MS`.
    """

    max_loaded: Annotated[int, between(1)] | None = None
    max_swap_wait_ms: Annotated[float, between(0, above=True)] | None = None


@dataclass(frozen=True)
class Places(CheckedSection):
    """How many models may be loaded at the same time, and what they may take.

    Attributes:
        max_loaded: how many; None for any number.
        memory_bytes: how much memory they may take together; 0 for any.
        max_swap_wait_ms: how long rows whose model is not loaded may be passed over by rows of models that are.
    """

    max_loaded: Annotated[int, between(1)] | None = None
    memory_bytes: Annotated[Bytes, KeyRule("memory")] = 0
    max_swap_wait_ms: Annotated[float, between(0, above=True)] = MAX_SWAP_WAIT_MS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_loaded is None and not self.memory_bytes:
            raise GraphError("neither max_loaded nor memory is given", hint="write pool: {max_loaded: 8}")

    def hold(self, num_models: int) -> bool:
        """Whether all of so many models may be loaded at the same time, so that none comes and goes."""
        return not self.memory_bytes and num_models <= (self.max_loaded or 0)


PLACES = named(
    "pool",
    lambda: {
        **section_form(Places),
        **MAPPING,
        "anyOf": [{"required": ["max_loaded"]}, {"required": ["memory"]}],
    },
)


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
