"""All sinks of a server."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from motet.errors import GraphError, UnknownNameError
from motet.runtime.executor import Call
from motet.serving.config.sinks import SinkConfig
from motet.serving.sinks.items import AnsweredRequest, AnswerItem, MemberAnswered, loose_bytes, owned
from motet.serving.sinks.layout import RecordLayout, layout_of
from motet.serving.sinks.stats import SinkStats
from motet.serving.sinks.targets import open_target, told
from motet.serving.sinks.writer import SinkWriter
from motet.types import Signature

__all__ = ["Sinks"]

log = logging.getLogger("motet.serving.sinks")
ITEM_BYTES = 700
"""What an item takes beside its columns."""
SPOOL = "spool"
"""The folder of the spools, in the configuration's."""


class Sinks:
    """Keeps answers in all places that a server is told to. Everything but `member` happens in the event loop's thread.

    What was accepted is written at least once, and stands in a database once: a record has an id, made of the request's key
    and the row (and the node and the member). A place that cannot be written is tried again, then its records go to a spool
    on the local disk, which is read when the place can be written again, and when a server starts. What only memory holds
    is lost when the process is killed, `batch_s` of answers at most, unless the sink is `durable`: then `offer` gives
    something to wait for, which is done when the records are on disk.

    Args:
        config: the sinks.
        folder: where relative paths begin; the spools are in its folder `spool`.

    Raises:
        GraphError: when a place cannot be used.
        MissingExtraError: when a package is not installed.
    """

    def __init__(self, config: Sequence[SinkConfig], *, folder: str | Path = ".") -> None:
        root = Path(folder).absolute()
        self._writers = [SinkWriter(each, open_target(each, root), root / SPOOL) for each in config]
        self._routes: dict[str, list[tuple[SinkWriter, RecordLayout]]] = {}
        self._token = secrets.token_hex(6)
        self._numbers = itertools.count()

    def check(self, graphs: Iterable[str]) -> None:
        """See that the sinks speak of graphs that exist.

        Raises:
            UnknownNameError: when one does not.
        """
        known = list(graphs)
        for writer in self._writers:
            for name in writer.config.graphs:
                if name not in known:
                    raise UnknownNameError("graph", name, known, where=f"sink {writer.config.name}: graphs")

    async def open(self, graph: str, signature: Signature, version: str = "") -> None:
        """Keep what a graph answers from now on; called again when the graph has changed.

        A place that cannot be reached now is no error: its records go to the spool until it can.

        Args:
            graph: its name.
            signature: its inputs and outputs.
            version: the versions of its models, for the record.

        Raises:
            GraphError: when a table is there that does not fit, or a column is to be kept that the graph does not have.
        """
        routes = []
        for writer in self._writers:
            config = writer.config
            if config.graphs and graph not in config.graphs:
                continue
            layout = layout_of(config, graph, signature, version)
            preparing = asyncio.to_thread(writer.target.prepare, layout.table, layout.kinds)
            try:
                await asyncio.wait_for(preparing, config.timeout_s)
            except GraphError:
                raise
            except Exception as error:  # noqa: BLE001 (whatever a target raises: it is tried again later)
                text = "sink %s cannot be reached, its records go to the spool: %s"
                writer.outage.out(text, config.name, told(error))
            writer.start()
            routes.append((writer, layout))
        self._routes[graph] = routes

    def wants(self, graph: str) -> bool:
        """Whether a sink keeps what this graph answers."""
        return bool(self._routes.get(graph))

    def wants_calls(self, graph: str) -> bool:
        """Whether a sink is to know what the members of this graph answer."""
        return any(layout.stack or layout.members for _, layout in self._routes.get(graph, ()))

    def new_key(self) -> str:
        """A key that no other request has, in any process."""
        return f"{self._token}-{next(self._numbers):x}"

    def offer(self, graph: str, answered: AnsweredRequest, deadline: float | None = None) -> Awaitable[object] | None:
        """Keep the answer to a request. Only references to arrays are taken, which must not be changed afterwards.

        Args:
            graph: which graph answered.
            answered: the request.
            deadline: when nobody waits for the answer any more, on the clock of the event loop.

        Returns:
            None when there is nothing to wait for; else what is done when the records are safe (`durable`) or there is room
            for them (`block`), or `block_s` or the deadline is over.
        """
        routes = self._routes.get(graph)
        if not routes:
            return None
        key = answered.key or answered.request or self.new_key()
        waits: list[asyncio.Future[bool]] = []
        for writer, layout in routes:
            if writer.config.sample < 1 and not _sampled(key, writer.config.sample):
                continue
            if layout.stack:
                wait = writer.intake.room(deadline)
            else:
                wait = writer.intake.offer(_item(layout, key, answered), deadline)
            if wait is not None:
                waits.append(wait)
        if not waits:
            return None
        return waits[0] if len(waits) == 1 else asyncio.gather(*waits)

    def member(
        self, graph: str, call: Call, keys: Sequence[str], requests: Sequence[str], row_counts: Sequence[int]
    ) -> None:
        """Keep what a member answered to the requests of a batch, for `stack`; any thread may call it.

        Args:
            graph: which graph the member is of.
            call: who answered, and what.
            keys: of the requests, see `AnsweredRequest`.
            requests: the callers' names for them.
            row_counts: the rows of each.
        """
        for writer, layout in self._routes.get(graph, ()):
            if not layout.stack:
                continue
            wanted = [each if _sampled(each, writer.config.sample) else "" for each in keys]
            rows = len(next(iter(call.outputs.values()), ()))
            if rows and any(wanted):
                size = ITEM_BYTES + sum(loose_bytes(column, 0, rows) for column in call.outputs.values())
                writer.intake.put(MemberAnswered(layout, wanted, requests, row_counts, call, time.time(), rows, size))

    async def close(self, timeout_s: float = 10.0) -> None:
        """Write what is held, as far as there is time; the rest goes to the spools."""
        await asyncio.gather(*(writer.close(timeout_s) for writer in self._writers))
        for writer in self._writers:
            writer.say_lost(now=True)

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """What became of the records of each sink in this process, by its name; what was lost since is logged, now and then."""
        for writer in self._writers:
            writer.say_lost()
        return {writer.config.name: writer.counts() for writer in self._writers}

    @property
    def stats(self) -> Mapping[str, SinkStats]:
        """What became of the records of each sink, by its name, in this process."""
        return {writer.config.name: writer.stats for writer in self._writers}


def _item(layout: RecordLayout, key: str, answered: AnsweredRequest) -> AnswerItem:
    """What waits of a request; on the response path, so little is done."""
    rows, reply = answered.num_rows, answered.reply
    inputs = {each.name: owned(answered.columns[each.name]) for each in layout.inputs}
    size = ITEM_BYTES + rows * layout.row_bytes
    for name in layout.loose_inputs:
        size += loose_bytes(inputs[name], 0, rows)
    for name in layout.loose_outputs:
        size += loose_bytes(reply.columns[name], reply.first, reply.end)
    if not layout.all_outputs:
        reply = replace(reply, columns={each.name: reply.columns[each.name] for each in layout.outputs})
    kept = AnsweredRequest(
        answered.request, answered.identity, answered.time, inputs, rows, reply, key, answered.calls, answered.late,
        answered.call_first,
    )  # fmt: skip
    return AnswerItem(layout, kept, rows, size)


def _sampled(key: str, share: float) -> bool:
    """Whether a request is kept: by a hash of its key, so that all sinks and processes say the same."""
    if share >= 1 or not key:
        return bool(key)
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) < share * 2**64
