"""How rows are put together for a call of a model, and what one replica takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from motet.errors import GraphError
from motet.graph.fields import of_kind
from motet.graph.forms import MAPPING, NUMBER, TEXT, named
from motet.graph.function import Function, importable_path
from motet.graph.section import Bytes, CheckedSection, Converter, KeyRule, between, section_form

__all__ = ["BATCH", "LENGTH", "RESOURCES", "Batching", "Resources"]

LENGTH = "length"
"""The cost of a row that is the number of elements, or of letters, of what differs in length from row to row."""


def _pad(value: Any, where: str, folder: str) -> float | Mapping[str, float]:
    for each in value.values() if isinstance(value, Mapping) else (value,):
        if isinstance(each, bool) or not isinstance(each, (int, float)):
            raise GraphError(f"pad must be a number, or one by input; got {value!r}", where=where)
    return {str(name): float(each) for name, each in value.items()} if isinstance(value, Mapping) else float(value)


def _cost(value: Any, where: str, folder: str) -> str | Function:
    if callable(value) or isinstance(value, Function):
        return Function.of(value)
    said = of_kind(value, str, where)
    return Function(said) if "." in said else said


def _write_cost(cost: str | Function) -> str:
    return cost if isinstance(cost, str) else importable_path(cost, "batch.cost")


_PAD = Converter(_pad, {"type": ["number", "object"], "additionalProperties": NUMBER})
_COST = Converter(_cost, {**TEXT, "minLength": 1}, write=_write_cost)


@dataclass(frozen=True)
class Batching(CheckedSection):
    """How rows are put together for one call.

    Attributes:
        max_rows: the most rows a call may have; None sets no bound.
        max_wait_ms: how long a live server may hold rows back to fill a call; has no meaning in bulk.
        pad: what rows that differ in shape are padded with to be called together, or that by input; None calls rows of equal
            shape together. What comes back for padding is cut off.
        rows: how many rows a call has, where there are as many; None lets the runtime find the best number.
        max_cost: the most that the rows of a call may cost together: as many times the dearest as there are rows, where rows are
            padded, else their sum. A row that costs more is called alone. None sets no bound.
        cost: what a row costs: `length`, an input of the model that holds numbers, or a function (`package.module.name`) of
            inputs, which gives a number a row. Rows that cost about as much are called together. None is `length` where
            there is `max_cost`.
    """

    max_rows: Annotated[int, between(1)] | None = None
    max_wait_ms: Annotated[float, between(0)] = 0.0
    pad: Annotated[float | Mapping[str, float] | None, _PAD] = None
    rows: Annotated[int, between(1)] | None = None
    max_cost: Annotated[float, between(0, above=True)] | None = None
    cost: Annotated[str | Function | None, _COST] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rows and self.max_rows and self.rows > self.max_rows:
            raise GraphError(f"rows is {self.rows}, more than max_rows, which is {self.max_rows}")


@dataclass(frozen=True)
class Resources(CheckedSection):
    """What one replica needs.

    Attributes:
        cpu: cores; a model's calls may use that many threads.
        memory_bytes: memory; 0 says nothing.
        accelerator: accelerators, or a part of one.
    """

    cpu: Annotated[float, between(0, above=True)] = 1.0
    memory_bytes: Annotated[Bytes, KeyRule("memory")] = 0
    accelerator: Annotated[float, between(0)] = 0.0


BATCH = named("batch", lambda: {**section_form(Batching), **MAPPING})
RESOURCES = named("resources", lambda: {**section_form(Resources), **MAPPING})
