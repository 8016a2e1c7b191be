"""The thread of one sink: takes what waits, makes records of it, writes them, and spools what cannot be written."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from motet.serving.sinks.buffer import Buffer
from motet.serving.sinks.config import SinkConfig
from motet.serving.sinks.convert import convert
from motet.serving.sinks.items import Item, Marker
from motet.serving.sinks.records import Records
from motet.serving.sinks.spool import Spool, adopt, spool_bytes
from motet.serving.sinks.stats import SinkStats
from motet.serving.sinks.targets import RefusedError, Target

__all__ = ["Writer"]

log = logging.getLogger("motet.serving.sinks")
FIRST_DELAY_S, LAST_DELAY_S = 0.05, 5.0
"""Between two tries of a target that fails: doubled from the first to the last."""
REPLAYED_BATCHES = 4
"""Batches out of spools that are written before new records have their turn."""
CHUNK_ROWS = 250
"""Rows that are turned into records at a time; between two of them other threads have their turn."""


@dataclass(slots=True)
class _Pending:
    """Records that are about to be written, and the room that they take."""

    records: list[Records]
    num_rows: int
    num_bytes: int


@dataclass(slots=True, eq=False)
class _Waiting:
    """An item that waits for room."""

    item: Item
    future: asyncio.Future[bool]
    timer: asyncio.TimerHandle


class Writer:
    """Writes the records of one sink.

    Args:
        config: of the sink.
        target: where records go.
        folder: of the spool.
    """

    def __init__(self, config: SinkConfig, target: Target, folder: Path) -> None:
        self.config, self.target, self._folder = config, target, folder
        self.stats = SinkStats()
        self._buffer = Buffer(config.buffer_rows, config.buffer_bytes)
        self._spool = Spool.new(folder, config.name)
        self._orphans: list[Spool] = []
        self._pending: list[_Pending] = []
        self._pending_since = 0.0
        self._acks: deque[tuple[Marker, asyncio.Future[bool]]] = deque()
        self._waiting: deque[_Waiting] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name=f"motet-sink-{config.name}", daemon=True)
        self._ended: asyncio.Future[bool] | None = None
        self._rescue = threading.Lock()
        self._abandoned = False
        self._down = False
        self._behind = False  # the spool holds records that are no longer in memory
        self._delay_s, self._probe_at = FIRST_DELAY_S, 0.0
        self._end_by: float | None = None
        self._number = 0
        self._lost = False  # whether this turn lost records
        self._enough = min(config.batch_rows, max(1, config.buffer_rows // 2))

    # In the thread of the event loop.

    def start(self) -> None:
        """Start the thread, once; what processes that died left behind is written first."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._ended = self._loop.create_future()
            self._thread.start()

    def offer(self, item: Item, deadline: float | None) -> asyncio.Future[bool] | None:
        """Take an item.

        Args:
            item: what is to be written.
            deadline: when nobody waits any more, on the clock of the event loop.

        Returns:
            None when there is nothing to wait for; else what becomes true when the item is safe, or false when it was
            dropped.
        """
        assert self._loop is not None
        if not self._waiting and self._buffer.put(item):
            return self.settled(deadline) if self.config.durable else None
        if self.config.full == "drop" or self._buffer.closed:
            self.stats.add("dropped", _rows(item))
            return None
        future: asyncio.Future[bool] = self._loop.create_future()
        waiting = _Waiting(item, future, self._loop.call_at(self._until(deadline), self._give_up, future))
        future.add_done_callback(lambda done: self._given_up(waiting) if done.cancelled() else None)
        self._waiting.append(waiting)
        self._loop.call_soon(self._admit)
        return future

    def put(self, item: Item) -> None:
        """Take an item that nobody can wait for; any thread may call it.

        Where others wait for room, it may go up to twice the bound: `room` lets the answer wait instead.
        """
        if not self._buffer.put(item, 2 if self.config.full == "block" else 1):
            self.stats.add("dropped", item.num_rows)

    def room(self, deadline: float | None) -> asyncio.Future[bool] | None:
        """What to wait for after `put`: that what was put is safe, or that there is room again."""
        if self.config.full == "block" and self._buffer.over:
            return self.offer(Marker(1), deadline)
        return self.settled(deadline) if self.config.durable else None

    def _until(self, deadline: float | None) -> float:
        """When nobody waits any more, on the clock of the event loop."""
        assert self._loop is not None
        longest = self._loop.time() + self.config.block_s
        return longest if deadline is None else min(deadline, longest)

    def settled(self, deadline: float | None = None) -> asyncio.Future[bool]:
        """What becomes true when all that was taken until now is safe; false where it is not in time."""
        assert self._loop is not None
        future: asyncio.Future[bool] = self._loop.create_future()
        marker = Marker()
        if not self._buffer.put(marker):
            future.set_result(False)
            return future
        self._acks.append((marker, future))
        timer = self._loop.call_at(self._until(deadline), _tell, future, False)
        future.add_done_callback(lambda _: timer.cancel())
        return future

    def _admit(self) -> None:
        """Let those in who wait for room, in their order."""
        while self._waiting:
            waiting = self._waiting[0]
            if waiting.future.done():
                self._waiting.popleft()
            elif self._buffer.put(waiting.item):
                self._waiting.popleft()
                waiting.timer.cancel()
                if self.config.durable:
                    self.settled().add_done_callback(partial(_hand_on, waiting.future))
                else:
                    waiting.future.set_result(True)
            elif self._buffer.closed:
                self._give_up(waiting.future)
            else:
                return

    def _give_up(self, future: asyncio.Future[bool]) -> None:
        """An item waited too long."""
        for waiting in self._waiting:
            if waiting.future is future and not future.done():
                self.stats.add("dropped", _rows(waiting.item))
                waiting.timer.cancel()
                future.set_result(False)

    def _given_up(self, waiting: _Waiting) -> None:
        if waiting in self._waiting:
            waiting.timer.cancel()
            self._waiting.remove(waiting)
            self.stats.add("dropped", _rows(waiting.item))

    def _ack(self, markers: Sequence[Marker], safe: bool) -> None:
        for marker in markers:
            while self._acks:
                known, future = self._acks.popleft()
                _tell(future, safe)
                if known is marker:
                    break

    async def close(self, timeout_s: float) -> None:
        """Write what is held, as far as there is time; the rest goes to the spool."""
        if self._loop is None or self._ended is None:
            return
        self._end_by = time.monotonic() + timeout_s * 0.8
        self._buffer.close()
        self._admit()
        done, _ = await asyncio.wait([self._ended], timeout=timeout_s)
        if not done:
            await asyncio.to_thread(self._abandon)
        while self._acks:
            _tell(self._acks.popleft()[1], False)

    def measured(self) -> SinkStats:
        """What became of records until now."""
        self.stats.queued = self._buffer.held_rows
        self.stats.spool_bytes = spool_bytes(self._folder, self.config.name)
        return self.stats

    # In the writer's thread.

    def _run(self) -> None:
        try:
            self._orphans = adopt(self._folder, self.config.name)
        except OSError:
            log.exception("sink %s: the spools in %s cannot be read", self.config.name, self._folder)
        while self._pending or not (self._buffer.closed and self._buffer.empty):
            try:
                self._turn()
            except Exception:  # the thread must go on
                log.exception("sink %s: records are lost", self.config.name)
                with self._rescue:
                    pending, self._pending = self._pending, []
                self._release(pending, "dropped")
            if self._abandoned:
                return
        self._end()

    def _end(self) -> None:
        with self._rescue:
            for spool in (*self._orphans, self._spool):
                spool.close()
        self.target.close()
        assert self._ended is not None
        self._soon(partial(_tell, self._ended, True))

    def _turn(self) -> None:
        """Take, convert, write."""
        config = self.config
        log_first = config.durable and not self.target.is_log
        linger_s = 0.0 if config.durable else config.batch_s
        items = self._buffer.take(self._timeout(), linger_s, self._enough)
        markers = [item for item in items if isinstance(item, Marker) and not item.num_rows]
        self._lost = False
        taken = self._converted(items)
        if taken.num_rows or taken.records:
            if not self._pending:
                self._pending_since = time.monotonic()
            if log_first:
                self._write_ahead(taken)
            with self._rescue:
                self._pending.append(taken)
        if log_first:
            self._confirm(markers)
        if self._pending and (not log_first or self._due()):
            self._commit(log_first)
        if not log_first:
            self._confirm(markers)
        if self._backlogged() and not self._buffer.closed and time.monotonic() >= self._probe_at:
            self._replay()

    def _timeout(self) -> float | None:
        """How long to wait for something to do."""
        now = time.monotonic()
        waits = []
        if self._pending:
            waits.append(self._pending_since + self.config.batch_s - now)
        if self._backlogged():
            waits.append(self._probe_at - now)
        return max(0.0, min(waits)) if waits else None

    def _due(self) -> bool:
        rows = sum(each.num_rows for each in self._pending)
        late = time.monotonic() >= self._pending_since + self.config.batch_s
        return rows >= self._enough or late or self._buffer.closed or self._buffer.over

    def _converted(self, items: Sequence[Item]) -> _Pending:
        rows, size = sum(item.num_rows for item in items), sum(item.num_bytes for item in items)
        records: list[Records] = []
        chunk: list[Item] = []
        waiting = 0
        for item in items:
            chunk.append(item)
            waiting += item.num_rows
            if waiting >= CHUNK_ROWS:
                records += self._convert(chunk)
                chunk, waiting = [], 0
                time.sleep(0)
        records += self._convert(chunk)
        return _Pending(records, rows, size)

    def _convert(self, items: Sequence[Item]) -> list[Records]:
        try:
            return convert(items)
        except Exception:  # one that is wrong costs no other
            if len(items) == 1:
                log.exception("sink %s: what was answered cannot be kept", self.config.name)
                self.stats.add("rejected", items[0].num_rows)
                return []
            return [records for item in items for records in self._convert([item])]

    def _write_ahead(self, taken: _Pending) -> None:
        """Put records into the spool before anybody is told that they are safe."""
        if self._abandoned or self._spooled(taken.records):
            return
        if not self._down and self._pending:
            self._commit(True)  # which empties the spool
            if self._spooled(taken.records):
                return
        self.stats.add("dropped", _count(taken.records))
        self._lost = True
        taken.records.clear()

    def _commit(self, ahead: bool) -> None:
        """Write all that is pending, or leave it in the spool."""
        pending = self._pending
        batch = [records for each in pending for records in each.records]
        written = False
        if batch and not (self._down or (ahead and self._behind) or self._too_late()):
            self._number += 1
            name = self._spool.batch_name if ahead else f"{self._spool.token}-{self._number:012d}"
            written = self._try(batch, name, self.config.retry_s)
        with self._rescue:
            if self._abandoned:
                return
            self._pending = []
            if written and ahead:
                self._spool.advance(self._spool.end)
            elif not written and ahead:
                self._behind = True
                self.stats.add("spooled", _count(batch))
            elif not written:
                self._spill(batch)
        self._release(pending)

    def _spill(self, batch: Sequence[Records]) -> None:
        """Put records that cannot be written into the spool; what does not fit is lost, and counted."""
        for records in batch:
            kept = self._spooled([records])
            self._behind = self._behind or kept
            self._lost = self._lost or not kept
            self.stats.add("spooled" if kept else "dropped", len(records))

    def _spooled(self, batch: Sequence[Records]) -> bool:
        if spool_bytes(self._folder, self.config.name) >= self.config.spool_bytes:
            return False
        try:
            self._spool.append(batch, sync=self.config.durable)
        except OSError as error:
            log.error("sink %s: the spool %s cannot be written: %s", self.config.name, self._spool.path, error)
            return False
        return True

    def _too_late(self) -> bool:
        """Whether there is no time left to write anything."""
        return self._end_by is not None and time.monotonic() > self._end_by

    def _try(self, batch: Sequence[Records], name: str, retry_s: float) -> bool:
        """Write records, again and again where that may help; whether they are no longer ours to care for."""
        end, delay = time.monotonic() + retry_s, FIRST_DELAY_S
        while True:
            try:
                self._write(batch, name)
            except Exception as error:  # noqa: BLE001 (whatever a target raises: it is tried again later)
                if time.monotonic() + delay > min(end, self._end_by or end):
                    self._fails(error)
                    return False
            else:
                self._works()
                return True
            self.stats.add("retried", 1)
            time.sleep(delay)
            delay = min(delay * 2, LAST_DELAY_S)

    def _write(self, batch: Sequence[Records], name: str) -> None:
        """Write records; those that are at fault are found by halving, and put aside."""
        try:
            self.target.write(batch, name)
        except RefusedError as error:
            rows = _count(batch)
            if rows == 1 or (error.whole and len(batch) == 1):
                self._reject(batch, str(error))
                return
            first, second = _halves(batch)
            self._write(first, f"{name}-0")
            self._write(second, f"{name}-1")
        else:
            self.stats.add("written", _count(batch))

    def _fails(self, error: Exception) -> None:
        if not self._down:
            log.warning("sink %s cannot be written, its records go to the spool: %s", self.config.name, error)
        self._down = True
        self._probe_at = time.monotonic() + self._delay_s
        self._delay_s = min(self._delay_s * 2, LAST_DELAY_S)

    def _works(self) -> None:
        if self._down:
            log.warning("sink %s can be written again", self.config.name)
        self._down, self._delay_s, self._probe_at = False, FIRST_DELAY_S, 0.0

    def _backlogged(self) -> bool:
        return self._down or self._behind or bool(self._orphans)

    def _replay(self) -> None:
        """Write a few batches of what is in spools, the oldest first."""
        if self._pending:
            self._commit(True)  # they are in the spool, behind what is there already, and are written with it
        for _ in range(REPLAYED_BATCHES):
            spool = self._orphans[0] if self._orphans else self._spool
            if not spool.backlog or (spool is self._spool and not self._behind):
                if self._orphans:
                    self._orphans.pop(0).close()
                    continue
                self._behind = False
                self._works()
                return
            batch, end, damaged = spool.read(self.config.batch_rows)
            self.stats.add("rejected", damaged)
            if batch and not self._try(batch, spool.batch_name, 0):
                return
            with self._rescue:
                if self._abandoned:
                    return
                spool.advance(end)

    def _reject(self, batch: Sequence[Records], why: str) -> None:
        """Put records that cannot be written where people find them, with the reason."""
        self.stats.add("rejected", _count(batch))
        log.error("sink %s: %d records cannot be written: %s", self.config.name, _count(batch), why)
        path = self._folder / f"{self.config.name}.rejected.jsonl"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                for records in batch:
                    for row in zip(*records.columns.values(), strict=True):
                        if file.tell() >= self.config.spool_bytes:
                            return
                        record = dict(zip(records.columns, row, strict=True))
                        line = {"error": why, "table": records.table, "record": record}
                        file.write(json.dumps(line, default=repr) + "\n")
        except OSError as error:
            log.error("sink %s: %s cannot be written: %s", self.config.name, path, error)

    def _release(self, pending: Sequence[_Pending], lost: str = "") -> None:
        rows, size = sum(each.num_rows for each in pending), sum(each.num_bytes for each in pending)
        if lost:
            self.stats.add(lost, sum(_count(each.records) for each in pending))
        self._buffer.settle(rows, size)
        if self._waiting:
            self._soon(self._admit)

    def _confirm(self, markers: Sequence[Marker]) -> None:
        if markers:
            self._soon(partial(self._ack, markers, not self._lost))

    def _soon(self, call: Callable[[], object]) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(call)

    def _abandon(self) -> None:
        """The thread hangs in a write: put what it holds, and what waits, into the spool."""
        log.warning("sink %s does not end; what it holds goes to the spool", self.config.name)
        with self._rescue:
            self._abandoned = True
            ahead = self.config.durable and not self.target.is_log
            if not ahead:
                self._spill([records for each in self._pending for records in each.records])
            while items := self._buffer.take(0, 0, self.config.batch_rows):
                self._spill(self._converted(items).records)
            for spool in (*self._orphans, self._spool):
                spool.close()


def _tell(future: asyncio.Future[bool], safe: bool) -> None:
    if not future.done():
        future.set_result(safe)


def _hand_on(future: asyncio.Future[bool], done: asyncio.Future[bool]) -> None:
    _tell(future, not done.cancelled() and done.result())


def _rows(item: Item) -> int:
    return 0 if isinstance(item, Marker) else item.num_rows


def _count(batch: Sequence[Records]) -> int:
    return sum(map(len, batch))


def _halves(batch: Sequence[Records]) -> tuple[Sequence[Records], Sequence[Records]]:
    if len(batch) > 1:
        return batch[: len(batch) // 2], batch[len(batch) // 2 :]
    half = len(batch[0]) // 2
    return [batch[0].slice(0, half)], [batch[0].slice(half, len(batch[0]))]
