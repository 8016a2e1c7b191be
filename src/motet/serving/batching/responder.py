"""Giving requests their answers: each is called back exactly once, whatever goes wrong."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from motet.batch import Column
from motet.errors import CancelledError, DeadlineError, ModelError, MotetError
from motet.runtime.executor import Call, Played
from motet.serving.batching.hooks import AnswerHook, PlayHook
from motet.serving.batching.in_flight import InFlight
from motet.serving.batching.request import BatchCodec, Reply, Request
from motet.serving.batching.response_cache import ResponseCache
from motet.tracebacks import summary

__all__ = ["Responder"]

_LOG = logging.getLogger("motet.serving")


class Responder:
    """Gives the requests of one batcher their answers.

    Args:
        name: of the graph, for messages.
        listener: is told what happens; None for nobody.

    Attributes:
        listener: as given; may be set.
        hook: keeps its answers; None where nobody does.
        cache: answers that are given again; None where there is none.
    """

    def __init__(self, name: str, listener: PlayHook | None = None) -> None:
        self._name, self.listener = name, listener
        self.hook: AnswerHook | None = None
        self.cache: ResponseCache | None = None

    def answer(self, playing: InFlight, played: Played, compute_s: float, calls: Sequence[Sequence[Call]] = ()) -> None:
        """Give each request its own rows."""
        requests, started = playing.requests, playing.started
        if self.listener is not None:
            try:
                self.listener.played(requests, played, started, compute_s)
            except Exception:  # noqa: BLE001 (requests are answered whether or not they are counted)
                _LOG.exception("what counts the requests of %s failed", self._name)
        columns, rows, first = self._completed(requests, played, calls), playing.rows, 0
        if len(played.outputs.ids) != rows:
            self._answer_some(playing, played, columns, compute_s, calls)
            return
        special = self.hook is not None or self.cache is not None
        if playing.batch_codec is not None and not special:
            self._answer_alike(playing.batch_codec, requests, columns)
            return
        for request in requests:
            end = first + request.rows
            if not request.settled:
                request.settled = True
                queued = started - request.arrived
                reply = Reply(columns, first, end, None, (), rows, queued, compute_s, calls)
                try:
                    if special:
                        self._give(request, reply, playing)
                    else:
                        request.answered(reply)
                except Exception as error:  # noqa: BLE001 (the others are answered in any case)
                    self._not_taken(request, error)
            first = end

    def _answer_some(
        self,
        playing: InFlight,
        played: Played,
        columns: Mapping[str, Column],
        compute_s: float,
        calls: Sequence[Sequence[Call]],
    ) -> None:
        """The same where rows have failed, or were left out."""
        ids, started, first = played.outputs.ids, playing.started, 0
        for request in playing.requests:
            end = first + request.rows
            low, high = np.searchsorted(ids, [first, end])
            failures = [replace(f, row=f.row - first) for f in played.failures if first <= f.row < end]
            if request.cancelled and not request.settled:  # some of its rows may have been left out
                self.refuse(request, CancelledError("the caller is gone"))
            elif not request.settled:
                request.settled = True
                kept = None if high - low == request.rows else ids[low:high] - first
                queued = started - request.arrived
                reply = Reply(columns, int(low), int(high), kept, failures, playing.rows, queued, compute_s, calls)
                try:
                    self._give(request, reply, playing)
                except Exception as error:  # noqa: BLE001 (the others are answered in any case)
                    self._not_taken(request, error)
            first = end

    def answer_again(self, request: Request, digest: str) -> bool:
        """Give a request the answer that the cache has; whether it has one. Else it is kept when there is one.

        Args:
            request: the request.
            digest: of what is asked.
        """
        cache = self.cache
        if cache is None or request.is_alone:
            return False
        request.kept_as = cache.key(self._name, digest, request.columns, request.rows)
        known = cache.get(request.kept_as)
        if known is None:
            return False
        request.settled = True
        request.arrived = time.monotonic()
        reply = Reply(known, 0, request.rows, None, (), request.rows, 0.0, 0.0)
        if self.listener is not None:
            self.listener.cached(request)
        if self.hook is not None:
            self.hook.answer(request, reply)
        else:
            request.answered(reply)
        return True

    def _completed(
        self, requests: Sequence[Request], played: Played, calls: Sequence[Sequence[Call]]
    ) -> Mapping[str, Column]:
        if self.hook is not None:
            try:
                return self.hook.completed(requests, played, calls)
            except Exception:  # noqa: BLE001 (what cannot be kept is answered all the same)
                _LOG.exception("what keeps the answers of %s failed", self._name)
        return played.outputs.columns

    def _answer_alike(self, codec: BatchCodec, requests: Sequence[Request], columns: Mapping[str, Column]) -> None:
        try:
            codec.answer(requests, columns)
        except Exception as error:  # noqa: BLE001 (those that were not answered are told)
            for request in requests:
                if not request.settled:
                    request.settled = True
                    self._not_taken(request, error)

    def _not_taken(self, request: Request, error: Exception) -> None:
        """A request could not take its answer, which is a mistake of its protocol's; it is told that there is none."""
        _LOG.error("a request for %s could not take its answer", self._name, exc_info=error)
        with contextlib.suppress(Exception):
            request.failed(ModelError(summary(error), where=self._name))

    def _give(self, request: Request, reply: Reply, playing: InFlight) -> None:
        """Hand an answer on, to be kept, and to be given again if no member was done without."""
        if self.cache is not None and request.kept_as and playing.complete:
            self.cache.keep(request.kept_as, reply)
        if self.hook is not None:
            self.hook.answer(request, reply)
        else:
            request.answered(reply)

    def refuse(self, request: Request, error: MotetError) -> None:
        """Tell a request that there is no answer, and why."""
        request.settled = True
        try:
            if self.listener is not None:
                self.listener.refused(request, error)
            if self.hook is not None:
                self.hook.refused(request, error)
            request.failed(error)
        except Exception as mistake:  # noqa: BLE001 (the others are answered in any case)
            self._not_taken(request, mistake)

    def useless(self, request: Request, now: float) -> bool:
        """Whether nobody waits for the answer any more; says so where it has not been said."""
        if request.settled:
            return True
        if request.cancelled:
            self.refuse(request, CancelledError("the caller is gone"))
            return True
        if request.deadline is not None and now >= request.deadline:
            waited = max(0.0, now - request.arrived)  # the loop's clock stands still within a tick
            self.refuse(
                request, DeadlineError(f"not answered in time: the request waited {waited:.3f} s", where=self._name)
            )
            return True
        return False
