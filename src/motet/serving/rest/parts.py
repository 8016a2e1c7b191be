"""What the application asks the other parts of a server for; each has a default that is right without them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from motet.serving.repository.entry import Numbers

if TYPE_CHECKING:
    from motet.serving.experiments.experiments import Experiments

__all__ = ["AppParts", "Metrics", "Status"]

Status = Callable[[], Awaitable[Mapping[str, Any]]]
"""The numbers of the page; `motet.serving.observability.status` says what they are."""
Metrics = Callable[[str], Awaitable[tuple[bytes, str]]]
"""From the Accept of a request to the text of the metrics and its media type."""


@dataclass(frozen=True)
class AppParts:
    """How the application is set up.

    Attributes:
        secured: ways to say who asks that the API's description names: `key` (X-API-Key), `bearer`.
        required: whether one of them is needed.
        status: the numbers of the page; None where nobody counts.
        metrics: for Prometheus; None where nobody counts.
        numbers: statistics of a served graph; None for zeros.
        samples: a folder of pictures that the page offers to try; empty for none.
        experiments: takes feedback, and decides; None where no experiments are kept.
    """

    secured: tuple[str, ...] = ()
    required: bool = False
    status: Status | None = None
    metrics: Metrics | None = None
    numbers: Numbers | None = None
    samples: str = ""
    experiments: Experiments | None = None
