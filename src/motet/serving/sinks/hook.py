"""Between a batcher and the sinks: gives keys to requests, and sees the calls of their batches."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from motet.batch import Column
from motet.errors import MotetError
from motet.runtime.executor import Call, Played
from motet.serving.batching.hooks import FollowedRequests, give_later
from motet.serving.batching.request import Reply, Request
from motet.serving.sinks.items import AnsweredRequest
from motet.serving.sinks.sinks import Sinks

__all__ = ["SinkHook"]

log = logging.getLogger("motet.serving.sinks")


@dataclass(slots=True, eq=False)
class _Calls:
    """The calls of one batch, handed on as they are done; a trace for the executor."""

    sinks: Sinks
    graph: str
    keys: Sequence[str]
    requests: Sequence[str]
    row_counts: Sequence[int]
    calls: list[Call] = field(default_factory=list)
    late: list[Call] = field(default_factory=list)

    @property
    def afterwards(self) -> _Calls:
        """What takes calls that end when the batch has been answered: records that are not yet written have them, too."""
        return replace(self, calls=self.late)

    def append(self, call: Call, /) -> None:
        """Take a call, in any thread."""
        self.calls.append(call)
        self.sinks.member(self.graph, call, self.keys, self.requests, self.row_counts)


class SinkHook:
    """Keeps what one batcher answers. All but the traces it gives is for the thread of the event loop.

    Args:
        sinks: where to.
        graph: the graph's name.
    """

    def __init__(self, sinks: Sinks, graph: str) -> None:
        self._sinks, self._graph = sinks, graph
        self._loop = asyncio.get_running_loop()
        self._followed = FollowedRequests[tuple[_Calls, str]]()

    def trace(self, requests: Sequence[Request]) -> _Calls | None:
        """What is to be given every call of a batch that is about to be played; None where nobody looks on.

        Each request must be handed to `answer` or to `refused` afterwards; a batch that is played again is traced again.
        """
        if not self._sinks.wants_calls(self._graph):
            return None
        known = [self._followed.known(request) for request in requests]
        keys = [self._sinks.new_key() if each is None else each[1] for each in known]
        calls = _Calls(self._sinks, self._graph, keys, [r.id for r in requests], [r.rows for r in requests])
        self._followed.follow(requests, [(calls, key) for key in keys])
        return calls

    def completed(
        self, requests: Sequence[Request], played: Played, calls: Sequence[Sequence[Call]]
    ) -> Mapping[str, Column]:
        """See `AnswerHook.completed`: nothing else is needed."""
        return played.outputs.columns

    def refused(self, request: Request, error: MotetError) -> None:
        """A request is not answered, and nothing of it is kept by `join`."""
        self._followed.take(request)

    def answer(self, request: Request, reply: Reply) -> None:
        """Keep the answer to a request, and give it to the request: now, or when the sinks let it go."""
        try:
            wait = self._offer(request, reply)
        except Exception:  # what cannot be kept is answered all the same
            log.exception("graph %s: an answer is not kept", self._graph)
            wait = None
        give_later(wait, lambda: request.answered(reply))

    def _offer(self, request: Request, reply: Reply) -> Awaitable[object] | None:
        known, first = self._followed.take(request)
        late: Sequence[Call]
        if known is None:
            calls, late, key = None, (), self._sinks.new_key()
        else:
            trace, key = known
            calls, late = trace.calls, trace.late
        if reply.calls:  # played row by row, by itself
            explained = _Calls(self._sinks, self._graph, [key], [request.id], [request.rows])
            for row in reply.calls:
                for call in row:
                    explained.append(call)
            calls, first = explained.calls, 0
        arrived = time.time() - (self._loop.time() - request.arrived)
        answered = AnsweredRequest(
            request.id, request.identity.name, arrived, request.columns, request.rows, reply, key, calls, late, first
        )
        return self._sinks.offer(self._graph, answered, request.deadline)
