"""Requests that are played as one batch: their rows put together, and which of them are still of use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from motet.batch import Batch, Indices, concat_columns
from motet.runtime.stats import GraphState
from motet.serving.batching.request import Request

__all__ = ["InFlight"]

_IDS = np.arange(4096)


class InFlight:
    """Requests that are being played together, and what reads and answers them at one go where something does.

    Args:
        requests: those of the batch, at least one.
        rows: how many they have in all.
        started: when it began, on the clock of the event loop.
        counts: of the graph.
    """

    __slots__ = ("_counts", "_incomplete", "batch_codec", "requests", "rows", "started")

    def __init__(self, requests: Sequence[Request], rows: int, started: float, counts: GraphState) -> None:
        self.requests, self.rows, self.started = requests, rows, started
        self._counts, self._incomplete = counts, counts.incomplete
        codec = requests[0].batch_codec
        alike = codec is not None and all(request.batch_codec is codec for request in requests)
        self.batch_codec = codec if alike else None

    @property
    def complete(self) -> bool:
        """Whether no batch of the graph did without one of its members since it began."""
        return self._counts.incomplete == self._incomplete

    def batch(self) -> Batch:
        """The rows of all requests, one after the other, numbered from 0."""
        requests, rows = self.requests, self.rows
        if self.batch_codec is not None:
            columns = self.batch_codec.columns(requests)
        elif len(requests) == 1:
            columns = dict(requests[0].columns)
        else:
            names = requests[0].columns
            columns = {name: concat_columns([request.columns[name] for request in requests]) for name in names}
        return Batch.of(columns, _IDS[:rows] if rows <= len(_IDS) else np.arange(rows))

    def useful(self, ids: Indices) -> Indices | None:
        """The places of the rows that somebody still waits for, of rows with these numbers; None for all."""
        gone = [place for place, request in enumerate(self.requests) if request.settled or request.cancelled]
        if not gone:
            return None
        ends = np.cumsum([request.rows for request in self.requests])
        of_request = np.searchsorted(ends, ids, side="right")
        return np.flatnonzero(~np.isin(of_request, gone))
