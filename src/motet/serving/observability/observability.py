"""All that is seen of a server, as its process wires it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from motet.errors import MotetError
from motet.graph.check import CheckedGraph
from motet.serving.config.observability import ObservabilityConfig
from motet.serving.observability.access_log import Access, access_log
from motet.serving.observability.counters import Counters, Kind
from motet.serving.observability.drift_of_graphs import DriftOfGraphs
from motet.serving.observability.errors import ERRORS, Errors
from motet.serving.observability.graph_hook import GraphHook
from motet.serving.observability.incidents import say_stall
from motet.serving.observability.metrics import CallerMetrics, CodeMetrics
from motet.serving.observability.places import Lender, PlacesBoard, pool_status
from motet.serving.observability.publisher import CountedEntry, Publisher, Traffic, open_files
from motet.serving.observability.replicas import ReplicaBoard, hosted
from motet.serving.observability.status import Status, statistics
from motet.serving.observability.totals import Totals
from motet.serving.observability.tracing import Tracing
from motet.system.incidents import INCIDENTS, KINDS, Outage
from motet.system.line_writer import LineWriter

__all__ = ["Observability", "Watched"]

_LOG = logging.getLogger("motet.serving")
Watched = tuple[Kind, str, Mapping[str, str], float]
"""A number that somebody else keeps: what kind it is, the name of its metric, its labels, and how much it is."""
PUBLISH_S = 0.5
"""How often this process copies what its nodes and models have counted to where other processes see it."""
DRIFT_TICKS = 20
"""Of so many times that this process copies numbers, once is said what has drifted."""
FRESH_S = 0.25
"""How old may be what is shown of replicas."""
CLOSE_S = 3.0
"""How long a log or traces that are given up may take to be finished, each."""


class Observability:
    """What is seen of a server, in one of its processes. Used in the thread of its event loop.

    Args:
        config: what is written down beside the metrics.
        folder: what the processes of the server share; each has files in it.
        served: what is served, each once.
        traffic: the connections over HTTP; None where there are none yet.
        lender: has the places and the pool of the process; None where there is none yet.

    Attributes:
        access: takes `Access` entries; None where there is no access log.
        tracing: makes spans; None where there is none.
        drift: of the graphs that are watched for it; None where none is.

    Raises:
        GraphError: when a log cannot be written.
        MissingExtraError: when tracing is configured and not installed.
    """

    def __init__(
        self,
        config: ObservabilityConfig,
        folder: str | Path,
        served: Callable[[], Iterable[CountedEntry]] = tuple,
        traffic: Callable[[], Traffic | None] = lambda: None,
        lender: Callable[[], Lender | None] = lambda: None,
    ) -> None:
        place = Path(folder)
        self._totals = Totals(place)
        self._totals.merge()
        self._cells = Counters(place)
        self._errors = Errors(place / f"{self._cells.id}{ERRORS}")
        self._publisher = Publisher(self._cells, served, traffic)
        self._status = Status(self._totals)
        self._served, self._board = served, ReplicaBoard(place, self._cells)
        self._lender, self._lent = lender, PlacesBoard(place, self._cells)
        self._looking: asyncio.Task[None] | None = None
        self._counting: asyncio.Task[None] | None = None
        self._closed, self._looked = False, 0.0
        self._blind = Outage(_LOG, "metrics")
        self._incidents = {each: self._cells.at("counter", "motet_incidents", incident=each) for each in KINDS}
        INCIDENTS.counters.append(self._count_incident)
        self._due: float | None = None
        self._files = [self._cells.at("gauge", f"process_{name}_fds") for name in ("open", "max")]
        self._listeners: dict[str, GraphHook] = {}
        self._callers: dict[str, CallerMetrics] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._grpc = CodeMetrics(self._cells, "motet_grpc_responses")
        self._grpc_bytes = [self._cells.at("counter", f"motet_grpc_{name}_bytes") for name in ("received", "sent")]
        self._config, self._ending, self._dropped = ObservabilityConfig(), list[threading.Thread](), 0
        self._watched: list[Callable[[], Iterable[Watched]]] = []
        self.access: LineWriter | None = None
        self.tracing: Tracing | None = None
        self.drift: DriftOfGraphs | None = None
        self._checked: dict[str, CheckedGraph] = {}
        self.take(config)

    def take(self, config: ObservabilityConfig) -> None:
        """Take over another configuration; threads finish what there was.

        Raises:
            GraphError: when a log cannot be written; what there was stays.
            MissingExtraError: when tracing is configured and not installed; what there was stays.
        """
        before, access, tracing = self._config, self.access, self.tracing
        if config.access_log != before.access_log:
            access = None if config.access_log is None else access_log(config.access_log)
        try:
            if config.trace != before.trace:
                tracing = None if config.trace is None else Tracing(config.trace)
            drift = self.drift if config.drift == before.drift else self._made_drift(config)
        except MotetError:
            if access is not None and access is not self.access:
                access.close()
            raise
        old = [each for each in (self.access, self.tracing) if each is not None and each not in (access, tracing)]
        if self.access is not access:
            self._dropped += self._num_dropped
        if drift is not self.drift and self.drift is not None:
            self.drift.close()
        self._config, self.access, self.tracing, self.drift = config, access, tracing, drift
        self._hand_drift()
        self._ending = [each for each in self._ending if each.is_alive()]
        for each in old:
            self._ending.append(threading.Thread(target=each.close, daemon=True))
            self._ending[-1].start()

    def _made_drift(self, config: ObservabilityConfig) -> DriftOfGraphs | None:
        if config.drift is None:
            return None
        found = DriftOfGraphs(config.drift, self._cells)
        for name, checked in self._checked.items():
            found.watch(name, checked)
        return found

    def check_drift(self, graphs: Sequence[str]) -> None:
        """See that references are of graphs that exist.

        Raises:
            UnknownNameError: when one is not.
        """
        if self.drift is not None:
            self.drift.check(graphs)

    def loaded(self, name: str, checked: CheckedGraph) -> None:
        """A graph was loaded, or loaded anew: it is watched for drift, where it has a reference.

        Raises:
            InputError: when its reference does not fit it; says what differs.
        """
        if self.drift is not None:
            self.drift.watch(name, checked)
        self._checked[name] = checked
        self._hand_drift()

    def _hand_drift(self) -> None:
        """Have listeners count what is watched now."""
        for name, each in self._listeners.items():
            each.drift = None if self.drift is None else self.drift.of(name)

    def listener(self, name: str) -> GraphHook:
        """Who is told what the batcher of a graph or model does."""
        found = self._listeners.get(name)
        if found is None:
            found = self._listeners[name] = GraphHook(self, name, self._cells, self._errors)
            found.drift = None if self.drift is None else self.drift.of(name)
        return found

    def watch(self, read: Callable[[], Iterable[Watched]]) -> None:
        """Show numbers that somebody else keeps in this process, as `read` gives them whenever numbers are copied."""
        self._watched.append(read)

    def start(self) -> None:
        """Begin to copy and to remember; needs a running event loop."""
        self._tick(asyncio.get_running_loop(), 0)

    async def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """What `/metrics` answers, and its content type. The text of many graphs takes milliseconds: a thread makes it.

        Args:
            accept: the header of that name: OpenMetrics where it asks for it.
        """
        from motet.serving.observability.exposition import expose

        self._publish()
        if self.drift is None:
            return await asyncio.to_thread(expose, self._totals.read(), accept)
        await self.drift.count()
        numbers = self._totals.read()
        return await asyncio.to_thread(expose, numbers, accept, self.drift.metrics(numbers))

    def status(self) -> dict[str, Any]:
        """Rates, latencies and errors; see `Status.snapshot`."""
        self._publish()
        found = self._status.snapshot()
        return found if self.drift is None else {**found, "drift": self.drift.snapshot(self._totals.read())}

    async def now(self) -> dict[str, Any]:
        """What `status` says, and what of every process: `replicas` (see `replicas.py`), `places` and `pool` (`places.py`)."""
        if time.monotonic() - self._looked > FRESH_S:
            await self._look()
        if self.drift is not None:
            await self.drift.count()
        more = await asyncio.to_thread(self._everywhere)
        return {**self.status(), **more}

    def _everywhere(self) -> dict[str, Any]:
        lender = self._lender()
        pool = None if lender is None or lender.pool is None else pool_status(lender.pool)
        return {"replicas": self._board.everywhere(), "places": self._lent.everywhere(), "pool": pool}

    async def _look(self) -> None:
        try:
            found = await asyncio.to_thread(self._board.look, hosted(self._served()))
            files = await asyncio.to_thread(open_files)
        except OSError:
            return  # as in `_tick`, which says so
        lender = self._lender()
        lent = None if lender is None else await asyncio.to_thread(self._lent.look, lender)
        if not self._closed:
            self._looked = time.monotonic()
            self._board.count(found)
            for place, number in zip(self._files, files, strict=True):
                self._cells.values[place] = number
            if lender is not None and lent is not None:
                self._lent.count(*lent, None if lender.pool is None else lender.pool.capacity)

    def statistics(self, name: str) -> dict[str, Any]:
        """Triton's statistics of what is served under this name (`RepositoryEntry.name`); see `status.statistics`."""
        return statistics(self._totals.read(), name)

    def grpc_answered(self, code: str, received_bytes: int, sent_bytes: int) -> None:
        """A call over gRPC has ended."""
        self._grpc.answered(code)
        received, sent = self._grpc_bytes
        self._cells.values[received] += received_bytes
        self._cells.values[sent] += sent_bytes

    def caller_answered(self, klass: str, status: int, seconds: float) -> None:
        """A request of a caller of this class is over, with this status of HTTP; the class is empty without a credential."""
        found = self._callers.get(klass)
        if found is None:
            found = self._callers[klass] = CallerMetrics(self._cells, klass)
        found.answered(status, seconds)

    def process_replaced(self, reason: str) -> None:
        """This process takes the place of one that has `ended`, or that `hung` and was killed, which the parent has said."""
        self._cells.values[self._cells.at("counter", "motet_process_restarts", reason=reason)] += 1
        INCIDENTS.count("process_hung" if reason == "hung" else "process_lost")
        INCIDENTS.count("process_back")

    def _count_incident(self, kind: str) -> None:
        """In any thread, but one at a time; nobody else writes these numbers."""
        self._cells.values[self._incidents[kind]] += 1

    def error(self, graph: str, error: MotetError, id: str = "", rows: int = 0) -> None:
        """Show an error that did not come from a batcher, for example of a graph that could not be loaded."""
        self._errors.add(graph, "", type(error).__name__, str(error), id, rows)

    def wrote(self, entry: Access) -> None:
        """A request is over: write its line, where there is an access log."""
        if self.access is not None:
            self.access.put(entry)

    def close(self) -> None:
        """Write what waits, for some seconds at most, and end; what was counted stays for the other processes."""
        if self._timer is not None:
            self._timer.cancel()
        INCIDENTS.tell_rest(now=True)
        with contextlib.suppress(ValueError):  # a copy of the process has none
            INCIDENTS.counters.remove(self._count_incident)
        if self.drift is not None:
            self.drift.close()
        self._publish()
        self._closed = True
        self._board.close()
        self._lent.close()
        self.take(ObservabilityConfig())
        for each in self._ending:
            each.join(CLOSE_S)
        self._totals.close()
        self._cells.close()

    def _publish(self) -> None:
        self._publisher.publish()
        for read in self._watched:
            for kind, name, labels, value in read():
                self._cells.values[self._cells.at(kind, name, 1, **labels)] = value
        if self.access is not None or self._dropped:
            place = self._cells.at("counter", "motet_log_lines_dropped", log="access")
            self._cells.values[place] = self._dropped + self._num_dropped

    @property
    def _num_dropped(self) -> int:
        return 0 if self.access is None else self.access.num_dropped

    def _tick(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self._timer = loop.call_later(PUBLISH_S, self._tick, loop, count + 1)
        self._look_around()
        try:
            self._publish()
            if count % 2 == 0:
                numbers = self._status.sample()
                if self.drift is not None:
                    self.drift.note(numbers, say=count % DRIFT_TICKS == 0)
        except OSError as error:  # no file can be opened any more, or the folder is gone: it is tried again
            self._blind.out("metrics are not kept up to date now: %s", error)
            return
        if self.drift is not None and (self._counting is None or self._counting.done()):
            self._counting = loop.create_task(self.drift.count())
        if count % 2 == 0:  # the totals were read too
            self._blind.back("metrics are kept up to date again")
            if self._looking is None or self._looking.done():
                self._looking = loop.create_task(self._look())

    def _look_around(self) -> None:
        """Say what has been going on since the last time."""
        now, due = time.monotonic(), self._due
        lender = self._lender()
        if due is not None and lender is not None and not lender.busy:
            say_stall(_LOG, now - due)
        self._due = now + PUBLISH_S
        INCIDENTS.tell_rest()
        for each in self._listeners.values():
            each.overflow.look()
