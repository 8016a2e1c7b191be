"""The thread of one sink: takes what waits, makes records of it, writes them, and spools what cannot be written."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from motet.serving.config.sinks import SinkConfig
from motet.serving.sinks.convert import convert
from motet.serving.sinks.intake import Intake, tell
from motet.serving.sinks.items import Item, Marker
from motet.serving.sinks.records import Records
from motet.serving.sinks.rejected import put_aside
from motet.serving.sinks.spool import Spool, adopt, spool_bytes
from motet.serving.sinks.stats import SinkStats
from motet.serving.sinks.targets import RefusedError, Target, told
from motet.system.incidents import INCIDENTS, Outage

__all__ = ["SinkWriter"]

log = logging.getLogger("motet.serving.sinks")
FIRST_DELAY_S, LAST_DELAY_S = 0.05, 5.0
"""Between two tries of a target that fails: doubled from the first to the last."""
SAY_S = 10.0
"""Between two lines of the log about records that are lost."""
LINGER_S = 0.2
"""How long items wait to be turned into records, which take less memory."""
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


class SinkWriter:
    """Writes the records of one sink.

    Args:
        config: of the sink.
        target: where records go.
        folder: of the spool.
    """

    def __init__(self, config: SinkConfig, target: Target, folder: Path) -> None:
        self.config, self.target, self._folder = config, target, folder
        self.outage = Outage(log, "sink", config.name, sink=config.name)
        self._spooling = Outage(log, "spool", config.name, sink=config.name)
        self.stats = SinkStats()
        self.intake = Intake(config, self.stats)
        self._buffer = self.intake.buffer
        self._spool = Spool.new(folder, config.name)
        self._orphans: list[Spool] = []
        self._pending: list[_Pending] = []
        self._pending_since = 0.0
        self._thread = threading.Thread(target=self._run, name=f"motet-sink-{config.name}", daemon=True)
        self._ended: asyncio.Future[bool] | None = None
        self._rescue = threading.Lock()
        self._abandoned = False
        self._down = False
        self._behind = False  # the spool holds records that are no longer in memory
        self._delay_s, self._probe_at = FIRST_DELAY_S, 0.0
        self._end_by: float | None = None
        self._ending = threading.Event()
        self._number = 0
        self._said, self._say_at = 0, 0.0
        self._lost = False  # whether this turn lost records
        self._enough = min(config.batch_rows, max(1, config.buffer_rows // 2))
        self._ahead = config.durable and not target.is_log

    # In the thread of the event loop.

    def start(self) -> None:
        """Start the thread, once; what processes that died left behind is written first."""
        if self.intake.start():
            self._ended = self.intake.loop.create_future()
            self._thread.start()

    async def close(self, timeout_s: float) -> None:
        """Write what is held, as far as there is time; the rest goes to the spool."""
        if self._ended is None:
            self.target.close()
            return
        self._end_by = time.monotonic() + timeout_s * 0.8
        self._ending.set()
        self.intake.close()
        done, _ = await asyncio.wait([self._ended], timeout=timeout_s)
        await asyncio.to_thread(self._thread.join if done else self._abandon)
        self.intake.forget()

    def counts(self) -> Mapping[str, int]:
        """What became of records until now in this process, by the names of metrics; cheap."""
        stats = self.stats
        spooled = sum(max(0, each.end - each.done) for each in (self._spool, *self._orphans))
        return {
            "written": stats.written, "spooled": stats.spooled, "dropped": stats.dropped, "rejected": stats.rejected,
            "retried": stats.retried, "queued_rows": self._buffer.held_rows, "spool_bytes": spooled,
        }  # fmt: skip

    def say_lost(self, *, now: bool = False) -> None:
        """Log how many records were lost since that was last said: now, or once in ten seconds at most."""
        lost = self.stats.dropped
        if lost > self._said and (now or time.monotonic() >= self._say_at):
            what = "sink %s: %d records are lost, %d in all: its buffer or its spool is full or cannot be written"
            name, fresh = self.config.name, lost - self._said
            INCIDENTS.say(log, "sink_lost", what, name, fresh, lost, of=name, sink=name, records=fresh)
            self._said, self._say_at = lost, time.monotonic() + SAY_S

    # In the writer's thread.

    def _run(self) -> None:
        try:
            self._orphans = adopt(self._folder, self.config.name)
        except OSError:
            self._spooling.out("sink %s: the spools in %s cannot be read", self.config.name, self._folder)
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
        self.intake.soon(partial(tell, self._ended, True))

    def _turn(self) -> None:
        """Take, convert, write."""
        linger_s = 0.0 if self.config.durable else min(self.config.batch_s, LINGER_S)
        items = self._buffer.take(self._timeout(), linger_s, self._enough)
        markers = [item for item in items if isinstance(item, Marker) and not item.num_rows]
        self._lost = False
        taken = self._converted(items)
        if taken.num_rows:
            if not self._pending:
                self._pending_since = time.monotonic() - linger_s
            if self._ahead:
                self._write_ahead(taken)
            with self._rescue:
                self._pending.append(taken)
        if self._ahead:
            self.intake.confirm(markers, not self._lost)
        if self._pending and (self._due() or (self.config.durable and not self._ahead)):
            self._commit()
        if not self._ahead:
            self.intake.confirm(markers, not self._lost)
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
                time.sleep(0)  # gives the interpreter to the event loop now, not after its switch interval
        records += self._convert(chunk)
        return _Pending(records, rows, size)

    def _convert(self, items: Sequence[Item]) -> list[Records]:
        try:
            return convert(items)
        except Exception:  # noqa: BLE001 (one that is wrong costs no other)
            if len(items) == 1:
                text, name = "sink %s: what was answered cannot be kept", self.config.name
                INCIDENTS.say(log, "sink_rejected", text, name, of=name, exc_info=True, sink=name)
                self.stats.add("rejected", items[0].num_rows)
                return []
            return [records for item in items for records in self._convert([item])]

    def _write_ahead(self, taken: _Pending) -> None:
        """Put records into the spool before anybody is told that they are safe."""
        if self._abandoned or self._spooled(taken.records):
            return
        if not self._down and self._pending:
            self._commit()  # which empties the spool
            if self._spooled(taken.records):
                return
        self.stats.add("dropped", _count(taken.records))
        self._lost = True
        taken.records.clear()

    def _commit(self) -> None:
        """Write all that is pending, or leave it in the spool."""
        pending = self._pending
        batch = [records for each in pending for records in each.records]
        written = False
        if batch and not (self._down or (self._ahead and self._behind) or self._too_late()):
            self._number += 1
            name = self._spool.batch_name if self._ahead else f"{self._spool.token}-{self._number:012d}"
            written = self._try(batch, name, self.config.retry_s)
        with self._rescue:
            if self._abandoned:
                return
            self._pending = []
            if written and self._ahead:
                self._spool.advance(self._spool.end)
            elif not written and self._ahead:
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
            self._spooling.out(
                "sink %s: the spool %s cannot be written: %s", self.config.name, self._spool.path, told(error)
            )
            return False
        self._spooling.back("sink %s: the spool can be written again", self.config.name)
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
            (time.sleep if self._ending.is_set() else self._ending.wait)(delay)  # the end comes once, and is tried for
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
        self.outage.out("sink %s cannot be written, its records go to the spool: %s", self.config.name, told(error))
        self._down = True
        self._probe_at = time.monotonic() + self._delay_s
        self._delay_s = min(self._delay_s * 2, LAST_DELAY_S)

    def _works(self) -> None:
        self.outage.back("sink %s can be written again", self.config.name)
        self._down, self._delay_s, self._probe_at = False, FIRST_DELAY_S, 0.0

    def _backlogged(self) -> bool:
        return self._down or self._behind or bool(self._orphans)

    def _replay(self) -> None:
        """Write a few batches of what is in spools, the oldest first."""
        if self._pending:
            self._commit()  # they are in the spool, behind what is there already, and are written with it
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
        self.stats.add("rejected", _count(batch))
        name, path = self.config.name, self._folder / f"{self.config.name}.rejected.jsonl"
        text = "sink %s: %d records cannot be written, and are put aside in %s with the reason"
        INCIDENTS.say(log, "sink_rejected", text, name, _count(batch), path, of=name, sink=name, records=_count(batch))
        put_aside(path, batch, why, self.config.spool_bytes)

    def _release(self, pending: Sequence[_Pending], lost: str = "") -> None:
        """Give back the room of records that are no longer in memory."""
        if lost:
            self.stats.add(lost, sum(_count(each.records) for each in pending))
        self.intake.made_room(sum(each.num_rows for each in pending), sum(each.num_bytes for each in pending))

    def _abandon(self) -> None:
        """The thread hangs in a write: put what it holds, and what waits, into the spool."""
        log.warning("sink %s does not end; what it holds goes to the spool", self.config.name)
        with self._rescue:
            self._abandoned = True
            if not self._ahead:
                self._spill([records for each in self._pending for records in each.records])
            while items := self._buffer.take(0, 0, self.config.batch_rows):
                self._spill(self._converted(items).records)
            for spool in (*self._orphans, self._spool):
                spool.close()


def _count(batch: Sequence[Records]) -> int:
    return sum(map(len, batch))


def _halves(batch: Sequence[Records]) -> tuple[Sequence[Records], Sequence[Records]]:
    if len(batch) > 1:
        return batch[: len(batch) // 2], batch[len(batch) // 2 :]
    half = len(batch[0]) // 2
    return [batch[0].slice(0, half)], [batch[0].slice(half, len(batch[0]))]
