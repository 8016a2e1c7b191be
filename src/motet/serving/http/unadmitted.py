"""A request that no visit was made for, for the access log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from motet.errors import MotetError

if TYPE_CHECKING:
    from motet.serving.http.exchange import Origin

__all__ = ["Unadmitted"]


@dataclass(frozen=True, slots=True)
class Unadmitted:
    """A request that is over, and of which nobody asked who it is of: it was refused before, or is of no graph.

    Attributes:
        origin: where it came from.
        asked: its method and address.
        status: of the answer.
        received_bytes, sent_bytes: of the bodies.
        seconds: that it took.
        error: why it was refused; None where it was answered.
    """

    origin: Origin
    asked: str
    status: int
    received_bytes: int
    sent_bytes: int
    seconds: float = 0.0
    error: MotetError | None = None
