"""How rows are put together for a call of a model, and what one replica takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from motet.errors import GraphError
from motet.graph.fields import Fields, read_bytes
from motet.graph.forms import BYTES, NUMBER, WHOLE, least, named, record, resolved

__all__ = [
    "BATCH",
    "RESOURCES",
    "Batching",
    "Resources",
    "placed",
    "read_batching",
    "read_resources",
]

T = TypeVar("T")
_ROWS = least(WHOLE, 1)
_AMOUNT = least(NUMBER, 0)
BATCH = named(
    "batch",
    record(
        {
            "max_rows": _ROWS,
            "max_wait_ms": {**_AMOUNT, "default": 0.0},
            "pad": {"type": ["number", "object"], "additionalProperties": NUMBER},
            "rows": _ROWS,
        }
    ),
)
RESOURCES = named(
    "resources",
    record(
        {
            "cpu": {**NUMBER, "exclusiveMinimum": 0, "default": 1.0},
            "memory": BYTES,
            "accelerator": {**_AMOUNT, "default": 0.0},
        }
    ),
)


def _as_floats(made: object, *names: str) -> None:
    for name in names:
        if getattr(made, name) is not None:
            object.__setattr__(made, name, float(getattr(made, name)))


def _as_pad(pad: Any) -> float | Mapping[str, float]:
    for value in pad.values() if isinstance(pad, Mapping) else (pad,):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise GraphError(f"pad must be a number, or one by input; got {pad!r}", where="batch")
    return {str(name): float(value) for name, value in pad.items()} if isinstance(pad, Mapping) else float(pad)


@dataclass(frozen=True)
class Batching:
    """How rows are put together for one call.

    Attributes:
        max_rows: the most rows a call may have; None sets no bound.
        max_wait_ms: how long a live server may hold rows back to fill a call; has no meaning in bulk.
        pad: what rows that differ in shape are padded with to be called together, or that by input; None calls rows of equal
            shape together. What comes back for padding is cut off.
        rows: how many rows a call has, where there are as many; None lets the runtime find the best number.
    """

    max_rows: int | None = None
    max_wait_ms: float = 0.0
    pad: float | Mapping[str, float] | None = None
    rows: int | None = None

    def __post_init__(self) -> None:
        for name in ("rows", "max_rows"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise GraphError(f"{name} must be at least 1; got {value}", where="batch")
        if self.rows and self.max_rows and self.rows > self.max_rows:
            raise GraphError(f"rows is {self.rows}, more than max_rows, which is {self.max_rows}", where="batch")
        if not self.max_wait_ms >= 0:
            raise GraphError(f"max_wait_ms must not be negative; got {self.max_wait_ms}", where="batch")
        _as_floats(self, "max_wait_ms")
        if self.pad is not None:
            object.__setattr__(self, "pad", _as_pad(self.pad))


@dataclass(frozen=True)
class Resources:
    """What one replica needs.

    Attributes:
        cpu: cores; a model's calls may use that many threads.
        memory_bytes: memory; 0 says nothing.
        accelerator: accelerators, or a part of one.
    """

    cpu: float = 1.0
    memory_bytes: int = 0
    accelerator: float = 0.0

    def __post_init__(self) -> None:
        if not self.cpu > 0:
            raise GraphError(f"cpu must be more than 0; got {self.cpu}", where="resources")
        for name in ("memory_bytes", "accelerator"):
            if not getattr(self, name) >= 0:
                raise GraphError(f"{name} must not be negative; got {getattr(self, name)}", where="resources")
        _as_floats(self, "cpu", "accelerator")


def read_batching(value: object, where: str) -> Batching:
    """Batching as a graph file says it: `{max_rows: ..., max_wait_ms: ..., pad: ..., rows: ...}`."""
    fields = Fields(value, where, resolved(BATCH))
    rows, max_rows, wait, pad = (fields.get(key) for key in ("rows", "max_rows", "max_wait_ms", "pad"))
    return placed(where, lambda: Batching(max_rows, float(wait), pad, rows))


def read_resources(value: object, where: str) -> Resources:
    """Resources as a graph file says them: `{cpu: ..., memory: ..., accelerator: ...}`."""
    fields = Fields(value, where, resolved(RESOURCES))
    cpu, accelerator = float(fields.get("cpu")), float(fields.get("accelerator"))
    memory_bytes = read_bytes(fields.raw("memory", 0), fields.place("memory"))
    return placed(where, lambda: Resources(cpu, memory_bytes, accelerator))


def placed(where: str, make: Callable[[], T]) -> T:
    """Make something; what is wrong with it is said to be there."""
    try:
        return make()
    except GraphError as error:
        raise GraphError(error.what, where=where, hint=error.hint) from None
