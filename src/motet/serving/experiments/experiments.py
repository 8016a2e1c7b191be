"""The experiments of one process of a server: exposures and outcomes are kept, decisions are followed."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from motet.errors import GraphError, MotetError, NotReadyError
from motet.graph.check import CheckedGraph
from motet.planning.experiments.experiment import Experiment
from motet.serving.batching.hooks import AnswerHook
from motet.serving.config.experiments import ExperimentsConfig
from motet.serving.config.sinks import SinkConfig
from motet.serving.experiments.answer_ids import IdSigner, signing_key
from motet.serving.experiments.arms import ArmColumns, columns_of, played
from motet.serving.experiments.database import ExperimentDatabase
from motet.serving.experiments.decisions import Decision, latest, with_periods
from motet.serving.experiments.feedback import Feedback
from motet.serving.experiments.guardian import followed_up
from motet.serving.experiments.hook import ExperimentHook
from motet.serving.experiments.tables import (
    EXPOSURE_KINDS,
    EXPOSURES,
    OUTCOME_KINDS,
    OUTCOMES,
    Exposure,
    Outcome,
    item_of,
)
from motet.serving.observability.observability import Watched
from motet.serving.sinks.targets import told
from motet.serving.sinks.targets.sql import SqlTarget
from motet.serving.sinks.writer import SinkWriter
from motet.system.incidents import INCIDENTS, Outage
from motet.system.locks import lock_file

__all__ = ["Experiments"]

log = logging.getLogger("motet.serving.experiments")
P = ParamSpec("P")
T = TypeVar("T")
KEPT_S = 2.0
"""How long feedback waits for room, and to be on disk."""
BUFFER_ROWS = 50_000
FEEDBACK_ROWS = 20_000


class Experiments:
    """All experiments of a process. All but `played` is for the thread of the event loop.

    Args:
        config: where they are kept.
        folder: where relative paths begin; the spools, and the key, are in its folder `spool`.
        play_anew: has a graph played as `played` says now.

    Attributes:
        config: as given.
        database: what was kept, and decided.
        feedback: takes outcomes.

    Raises:
        MotetError: when the place cannot be used, or the key cannot be had.
    """

    def __init__(self, config: ExperimentsConfig, folder: Path, play_anew: Callable[[str], Awaitable[None]]) -> None:
        self.config, self._play_anew = config, play_anew
        root = folder.absolute()
        spool = root / "spool"
        signer = self._signer = IdSigner(signing_key(config.key, spool))
        self.database = ExperimentDatabase(config.to, root, config.timeout_s)
        self._exposures = _writer(config, "exposures", root, spool, durable=config.durable)
        self._outcomes = _writer(config, "outcomes", root, spool, durable=True)
        self.feedback = Feedback(signer, config.window_s, self._keep_outcomes)
        self._token, self._numbers = secrets.token_hex(6), itertools.count()
        self._exposed: Counter[tuple[str, str, str, bool]] = Counter()
        self._loaded: dict[str, tuple[ArmColumns, ...]] = {}  # of graphs that may not be served yet
        self._of_graph: dict[str, tuple[ArmColumns, ...]] = {}
        self._decisions: list[Decision] = []
        self._mark: object = None
        self._begun = False
        self._outage, self._unplayed = Outage(log, "decisions", "experiments"), Outage(log, "decisions", "graphs")
        self._unasked = Outage(log, "decisions", "requests")
        self._following = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._acting: set[asyncio.Future[None]] = set()
        self._spool = spool
        self._lock: int | None = None

    # What is played.

    def played(self, name: str, checked: CheckedGraph) -> CheckedGraph:
        """What is played of a graph: its splits as they were decided last. In the thread that loads.

        Raises:
            GraphError: when an output has the name of what answers carry.
        """
        if not self._begun:
            self._look()
            self._begun = True
        columns = columns_of(checked, self._splits(name))
        self._loaded[name] = columns
        return played(checked, columns)

    def hook(self, name: str, inner: AnswerHook | None) -> AnswerHook | None:
        """What keeps the answers of a graph that is about to be served; `inner` where it has no experiment."""
        columns = self._of_graph[name] = self._loaded.get(name, ())
        if not columns:
            return inner
        return ExperimentHook(name, columns, self._signer, self._new_key, self._keep_exposures, inner)

    async def open(self, name: str) -> None:
        """Be ready to keep what a graph answers.

        Raises:
            GraphError: when a table is there that does not fit.
        """
        if not self._loaded.get(name):
            return
        for writer, table, kinds in (
            (self._exposures, EXPOSURES, EXPOSURE_KINDS),
            (self._outcomes, OUTCOMES, OUTCOME_KINDS),
        ):
            try:
                await asyncio.wait_for(asyncio.to_thread(writer.target.prepare, table, kinds), self.config.timeout_s)
            except GraphError:
                raise
            except Exception as error:  # noqa: BLE001 (whatever a target raises: it is tried again later)
                text = "sink %s cannot be reached, its records go to the spool: %s"
                writer.outage.out(text, writer.config.name, told(error))
            writer.start()
        try:
            await asyncio.to_thread(self.database.prepare)
        except Exception as error:  # noqa: BLE001 (likewise)
            self._outage.out("decisions on experiments cannot be read, those that are known hold: %s", told(error))

    def experiments(self, graph: str) -> Sequence[Experiment]:
        """The experiments of a graph with their splits as they were over time; none where it has none."""
        mine = [each for each in self._decisions if each.graph == graph]
        return [
            with_periods(each.experiment, (one for one in mine if one.node == each.experiment.node))
            for each in self._of_graph.get(graph, ())
        ]

    @property
    def graphs(self) -> Sequence[str]:
        """The graphs that have experiments."""
        return [name for name, columns in self._of_graph.items() if columns]

    def decision(self, graph: str, node: str) -> Decision | None:
        """What was decided last of an experiment; None where nothing was."""
        return latest(self._decisions).get((graph, node))

    def _splits(self, graph: str) -> Mapping[str, Mapping[str, float]]:
        return {node: each.weights for (name, node), each in latest(self._decisions).items() if name == graph}

    # What is kept.

    def _new_key(self) -> str:
        return f"{self._token}-{next(self._numbers):x}"

    def _keep_exposures(self, rows: Sequence[Exposure]) -> Awaitable[object] | None:
        self._exposed.update((each.graph, each.node, each.arm, each.failed) for each in rows)
        return self._exposures.intake.offer(item_of(rows), None)

    async def _keep_outcomes(self, rows: Sequence[Outcome]) -> bool:
        safe = self._outcomes.intake.offer(item_of(rows), None)
        return safe is not None and await safe

    def numbers(self) -> Iterator[Watched]:
        """What is counted in this process, for metrics."""
        for (graph, node, arm, failed), count in self._exposed.items():
            labels = {"graph": graph, "node": node, "arm": arm}
            yield "counter", "motet_experiment_exposures", {**labels, "failed": str(failed).lower()}, count
        for (graph, node, arm), count in self.feedback.taken.items():
            yield "counter", "motet_experiment_outcomes", {"graph": graph, "node": node, "arm": arm}, count
        for (graph, reason), count in self.feedback.refused.items():
            yield "counter", "motet_feedback_refused", {"graph": graph, "reason": reason}, count
        for name, columns in self._of_graph.items():
            for each in columns:
                total = sum(each.split.values())
                for arm, weight in each.split.items():
                    labels = {"graph": name, "node": each.experiment.node, "arm": arm}
                    yield "latest", "motet_experiment_share", labels, weight / total

    def sink_counts(self) -> Mapping[str, Mapping[str, int]]:
        """What became of exposures and outcomes in this process, by the names of their sinks."""
        for writer in (self._exposures, self._outcomes):
            writer.say_lost()
        return {writer.config.name: writer.counts() for writer in (self._exposures, self._outcomes)}

    # What is decided.

    async def decide(self, decision: Decision) -> bool:
        """Take a decision, and follow it here at once; the other processes do within `poll_s`.

        Returns:
            False where another process has taken the very same before.

        Raises:
            NotReadyError: when the database cannot be written now.
        """
        taken = await self.ask(self.database.decide, decision)
        if taken:
            split = ", ".join(f"{arm} {weight:g}" for arm, weight in decision.weights.items())
            what = "experiment %s.%s: %s %s by %s: %s%s"
            about = (decision.graph, decision.node, decision.action, decision.arm, decision.who or "nobody")
            why = f" ({decision.why})" if decision.why else ""
            if decision.action == "rollback":
                INCIDENTS.say(log, "experiment_rolled_back", what, *about, split, why, of=decision.graph)
            else:
                log.info(what, *about, split, why)
        await self.follow()
        return taken

    async def ask(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do for a request, in a thread, what asks the database.

        Raises:
            NotReadyError: when it cannot be reached; only the log says why, which names hosts and users.
        """
        try:
            found = await asyncio.to_thread(act, *args, **kwargs)
        except MotetError:
            raise
        except Exception as error:
            self._unasked.out("the database of experiments cannot be reached for a request: %s", told(error))
            what, hint = "the database of experiments cannot be reached", "the log of the server says why"
            raise NotReadyError(what, hint=hint, retry_after_s=5) from error
        self._unasked.back("the database of experiments can be reached for requests again")
        return found

    async def follow(self) -> None:
        """Play what was decided meanwhile; when this returns, what is known to be decided is played."""
        async with self._following:
            await asyncio.to_thread(self._look)
            for name in list(self._of_graph):
                if self._is_stale(name):
                    try:
                        await self._play_anew(name)
                    except MotetError as error:
                        self._unplayed.out("graph %s goes on with the split that it has: %s", name, error)
                    else:
                        self._unplayed.back("graph %s is played with the split that was decided", name)

    def _is_stale(self, name: str) -> bool:
        """Whether a graph is played with other splits than were decided."""
        decided = self._splits(name)
        return any(
            set(split) == set(each.split) and dict(split) != dict(each.split)
            for each in self._of_graph[name]
            if (split := decided.get(each.experiment.node)) is not None
        )

    def _look(self) -> None:
        """Read the decisions where there are others. Where that fails those that are known stay."""
        try:
            mark = self.database.mark()
            found = self._decisions if mark == self._mark else self.database.decisions()
        except Exception as error:  # noqa: BLE001 (whatever a database raises: it is looked for again)
            self._outage.out("decisions on experiments cannot be read, those that are known hold: %s", told(error))
            return
        self._outage.back("decisions on experiments can be read again")
        self._mark, self._decisions = mark, found

    def start(self) -> None:
        """Begin to follow what is decided, and to look at ramps and guardrails."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(
                self._again(self.config.poll_s, self.follow, "decisions on experiments cannot be followed")
            ),
            loop.create_task(self._again(self.config.check_s, self.guard, "guardrails cannot be looked at")),
        ]

    async def _again(self, every_s: float, act: Callable[[], Awaitable[None]], failed: str) -> None:
        """Do something again and again; what takes long is done less often, so that it takes a twentieth of the time at most."""
        took_s = 0.0
        while True:
            await asyncio.sleep(max(every_s, 20 * took_s))
            if self.graphs:
                began = time.monotonic()
                try:
                    acting = asyncio.ensure_future(act())
                    self._acting.add(acting)
                    acting.add_done_callback(self._acting.discard)
                    await asyncio.shield(acting)  # a thread that asks the database does not end with the task
                except Exception:
                    log.exception(failed)
                took_s = time.monotonic() - began

    async def guard(self) -> None:
        """Have ramps go on, and guardrails hold; of the processes of a folder one does."""
        if not self._guards():
            return
        for graph in self.graphs:
            for experiment in self.experiments(graph):
                mine = [each for each in self._decisions if (each.graph, each.node) == (graph, experiment.node)]
                try:
                    found = await asyncio.to_thread(followed_up, self.database, experiment, mine)
                    if found is not None:
                        await self.decide(found)
                except Exception:  # the others are looked at all the same
                    if not self._outage.is_out:  # else it has been said that the database is away
                        log.exception("guardrails of experiment %s.%s cannot be looked at", graph, experiment.node)

    def _guards(self) -> bool:
        """Whether this is the process that looks at guardrails; another one takes its place when it ends."""
        if self._lock is None:
            self._spool.mkdir(parents=True, exist_ok=True)
            self._lock = lock_file(str(self._spool / "experiments.lock"))
        return self._lock is not None

    async def close(self, timeout_s: float) -> None:
        """Write what is held, as far as there is time; the rest goes to the spools."""
        for task in self._tasks:
            task.cancel()
        if self._acting:
            await asyncio.wait(self._acting, timeout=timeout_s)
        await asyncio.gather(self._exposures.close(timeout_s), self._outcomes.close(timeout_s))
        for writer in (self._exposures, self._outcomes):
            writer.say_lost(now=True)
        await asyncio.to_thread(self.database.close)
        if self._lock is not None:
            os.close(self._lock)


def _writer(config: ExperimentsConfig, table: str, root: Path, spool: Path, *, durable: bool) -> SinkWriter:
    sink = SinkConfig(
        config.to, f"experiment-{table}", "sql", table, durable=durable, full="block" if durable else "drop",
        block_s=KEPT_S, timeout_s=config.timeout_s, buffer_rows=FEEDBACK_ROWS if table == OUTCOMES else BUFFER_ROWS,
    )  # fmt: skip
    return SinkWriter(sink, SqlTarget(sink, root), spool)
