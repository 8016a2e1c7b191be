"""Inference requests that are read and answered together: those of one route that differ in the bytes of their tensors only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from motet.batch import Array, Column
from motet.serving.batching.request import Request
from motet.serving.wire.template import RequestTemplate

if TYPE_CHECKING:
    from motet.serving.http.infer import InferExchange, InferRoute

__all__ = ["InferBatchCodec"]


class InferBatchCodec:
    """Requests of one route that differ in the bytes of their tensors only.

    Args:
        route: where they came.
        template: what they have in common.
    """

    __slots__ = ("route", "template")

    def __init__(self, route: InferRoute, template: RequestTemplate) -> None:
        self.route, self.template = route, template

    def columns(self, requests: Sequence[Request], /) -> dict[str, Column]:
        """The inputs of all their rows."""
        exchanges = cast("Sequence[InferExchange]", requests)
        return self.template.columns([exchange.body for exchange in exchanges])

    def answer(self, requests: Sequence[Request], columns: Mapping[str, Column], /) -> None:
        """Answer each that is not settled."""
        front = self.route.front
        answers = self.template.answers(cast("Mapping[str, Array]", columns), len(requests), front.date)
        for exchange, data in zip(cast("Sequence[InferExchange]", requests), answers, strict=True):
            if not exchange.settled:
                exchange.settled = True
                front.statuses[200] += 1
                exchange.data = data
                if not exchange.cancelled:
                    exchange.origin.finished(exchange)
