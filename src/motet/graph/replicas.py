"""What a graph says of the copies of a model: where they are, how many, and which of them answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from motet.errors import GraphError, UnknownNameError
from motet.graph.fields import of_kind, plain
from motet.graph.forms import MAPPING, NUMBER, WHOLE, either, least, named
from motet.graph.section import CheckedSection, Seconds, between, section_form

__all__ = [
    "BALANCES",
    "MOST_REPLICAS",
    "PLACEMENTS",
    "REPLICAS",
    "TIMEOUT_S",
    "Replicas",
    "read_replicas",
    "write_replicas",
]

PLACEMENTS = ("inline", "thread", "process", "machine")
BALANCES = ("least_loaded", "round_robin", "power_of_two", "hash")
MOST_REPLICAS = 256
"""Replicas that a model may have."""
LONGEST_TIMEOUT_S = 86_400.0


@dataclass(frozen=True)
class Replicas(CheckedSection):
    """How many replicas a model has.

    Attributes:
        min: the fewest; they are there from the start. 0 starts the first one with the first call.
        max: the most that it may be scaled to.
        hold_s: live, for how many seconds fewer must have been enough before there are fewer.
        idle_s: live, after how many seconds without rows there are none, where `min` is 0.
    """

    min: Annotated[int, between(0)] = 1
    max: Annotated[int, between(1, MOST_REPLICAS)] = 1
    hold_s: Seconds = 60.0
    idle_s: Seconds = 300.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min > self.max:
            raise GraphError(f"min is {self.min}, more than max, which is {self.max}")


REPLICAS = named(
    "replicas", lambda: either({**least(WHOLE, 1), "maximum": MOST_REPLICAS}, {**section_form(Replicas), **MAPPING})
)
TIMEOUT_S = {**NUMBER, "exclusiveMinimum": 0, "maximum": LONGEST_TIMEOUT_S}


def as_replicas(value: int | Mapping[str, float] | Replicas, where: str) -> int | Replicas:
    """A number, or a range.

    Raises:
        GraphError: when it is neither.
    """
    if isinstance(value, (Replicas, Mapping)):
        return Replicas.read(value, f"{where}: replicas")
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_REPLICAS:
        raise GraphError(
            f"replicas must be a whole number from 1 to {MOST_REPLICAS}; got {value!r}",
            where=where,
            hint="write {min: 0, max: 8} for a range",
        )
    return value


def as_warm_up(value: Any, where: str) -> bool | dict[str, Any] | None:
    """Whether a replica is tried with rows before it is called, or these rows by the names of the model's inputs.

    Raises:
        GraphError: when it is neither, or the inputs have different numbers of rows.
    """
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, Mapping) or not value:
        raise GraphError(f"warm_up must be true, false, or rows by input; got {value!r}", where=where)
    rows = {}
    for name, given in value.items():
        listed = given.tolist() if hasattr(given, "tolist") else given
        if not isinstance(listed, (list, tuple)) or not len(listed):
            raise GraphError(f"warm_up: {name} must be a list of rows; got {given!r}", where=where)
        rows[str(name)] = plain(list(listed))
    counts = {name: len(each) for name, each in rows.items()}
    if len(set(counts.values())) > 1:
        raise GraphError(f"the inputs of warm_up have different numbers of rows: {counts}", where=where)
    return rows


def check_placing(values: Mapping[str, Any], where: str) -> None:
    """See that what a model says of its copies goes together.

    Args:
        values: `placement`, `replicas`, `balance`, `balance_by`, `timeout_s`, `concurrent`, `paid` and `uris` of a model.
        where: the model.

    Raises:
        GraphError: when it does not.
    """
    placement, balance, by = values["placement"], values["balance"], values["balance_by"]
    if placement is not None and placement not in PLACEMENTS:
        raise GraphError(f"unknown placement {placement!r}; known: {', '.join(PLACEMENTS)}", where=where)
    if placement == "machine" and values["replicas"] != 1:
        hint = "leave replicas out, and say with resources: {cpu: ...} how many threads a call may use"
        raise GraphError("a model that the machine's processes share is there once", where=where, hint=hint)
    if balance not in BALANCES:
        raise UnknownNameError("balance", str(balance), BALANCES, where=where)
    if (balance == "hash") != bool(by):
        hint = "write balance: hash and balance_by: INPUT, an input of the model"
        raise GraphError("balance: hash and balance_by are given together or not at all", where=where, hint=hint)
    timeout_s = values["timeout_s"]
    if timeout_s is not None and (
        isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 < timeout_s <= LONGEST_TIMEOUT_S
    ):
        raise GraphError(
            f"timeout_s must be more than 0 and at most {LONGEST_TIMEOUT_S:g} seconds; got {timeout_s!r}", where=where
        )
    if values["paid"] not in (None, True, False):
        raise GraphError(f"paid must be true, false or not there; got {values['paid']!r}", where=where)
    concurrent = values["concurrent"]
    if concurrent is not None and (type(concurrent) is not int or concurrent < 1):
        raise GraphError(f"concurrent must be a whole number of at least 1; got {concurrent!r}", where=where)
    if twice := [uri for uri in values["uris"] if [values["uri"], *values["uris"]].count(uri) > 1]:
        raise GraphError(f"the address {twice[0]!r} is there twice", where=where)
    if values["uris"] and placement == "inline":
        raise GraphError("a model with uris cannot be inline: calls wait for another machine", where=where)


def read_replicas(value: object, where: str) -> int | Mapping[str, float]:
    """`replicas` as a graph file says it: a number, or `{min: ..., max: ...}`."""
    if isinstance(value, Mapping):
        return dict(value)
    number: int = of_kind(value, int, where)
    return number


def write_replicas(value: int | Replicas) -> int | dict[str, float]:
    """The inverse of `read_replicas`; times that have their defaults are left out."""
    if not isinstance(value, Replicas):
        return value
    return {"min": value.min, "max": value.max, **value.written()}
