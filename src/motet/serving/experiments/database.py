"""The database of experiments: what was seen is read from it, and decisions stand there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motet.errors import GraphError, InputError
from motet.serving.experiments.decisions import Decision
from motet.serving.experiments.tables import EXPOSURES, OUTCOMES
from motet.serving.sinks.targets.engine import connected, database_url, sa

__all__ = ["Epoch", "ExperimentDatabase", "SeenRow", "begun"]

DECISIONS = "experiment_decisions"
CHUNK_ROWS = 20_000
_COLUMNS = (
    "id", "time", "graph", "node", "action", "arm", "weights", "steps", "step", "every_s", "units", "who", "why",
)  # fmt: skip
_TABLE = sa.Table(
    DECISIONS,
    sa.MetaData(),
    *(
        sa.Column(
            name,
            sa.Double() if name in ("time", "every_s") else sa.BigInteger() if name in ("step", "units") else sa.Text(),
            primary_key=name == "id",
        )
        for name in _COLUMNS
    ),
)
SeenRow = tuple[str, str, float, float | None, float | None, bool, str | None]
"""Unit, arm, time, outcome, seconds, whether it failed, and the segments as JSON."""


@dataclass(frozen=True)
class Epoch:
    """The exposures of an experiment as it was declared for some time.

    Attributes:
        name: `Experiment.epoch`; empty where nobody said.
        rows: how many.
        first, last: when they were, in seconds since 1970.
    """

    name: str
    rows: int
    first: float
    last: float


def begun(epochs: Sequence[Epoch], name: str) -> float:
    """From when on what does not say its epoch is of one, in seconds since 1970; 0 where no other was seen before it.

    Args:
        epochs: all that were seen.
        name: of the one, which may not have been seen yet.
    """
    others = [each for each in epochs if each.name not in ("", name)]
    first = next((each.first for each in epochs if each.name == name), None)
    if first is None:
        return max((each.last for each in others), default=0.0)
    return first if any(each.first < first for each in others) else 0.0


class ExperimentDatabase:
    """Reads what servers have kept, and takes decisions. Any thread; every call may wait for the database.

    Args:
        to: its URL.
        folder: where the path of a file begins.
        timeout_s: the longest that a statement may take.
        there: whether it must be there already.

    Raises:
        GraphError: when the URL is wrong.
        InputError: when it must be there and is not.
    """

    def __init__(self, to: str, folder: Path, timeout_s: float = 10.0, *, there: bool = False) -> None:
        url = database_url(to, folder, "experiments")
        if url.get_backend_name() == "sqlite":
            path = Path(str(url.database))
            if there and not path.is_file():
                raise InputError(
                    f"there is no database {path}", hint="name the one that the server writes: experiments.to"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = connected(url, timeout_s, "experiments")
        self._prepared = False

    def prepare(self) -> None:
        """Make the table of decisions, and what finds exposures by their time, where they are not there.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: when the database cannot be reached.
        """
        if self._prepared:
            return
        for last in (False, True):
            try:
                self._prepared = self._made()
                return
            except sa.exc.DBAPIError:  # another process may have made the same meanwhile
                if last:
                    raise

    def _made(self) -> bool:
        """Make what is missing; whether exposures and outcomes have tables already."""
        with self._engine.begin() as connection:
            _TABLE.create(connection, checkfirst=True)
            there = set(sa.inspect(connection).get_table_names()) & {EXPOSURES, OUTCOMES}
            for table in there:
                time = "time" if table == EXPOSURES else "exposed"
                text = f"CREATE INDEX IF NOT EXISTS {table}_by_time ON {table} (graph, node, {time})"
                connection.exec_driver_sql(text)
        return len(there) == 2

    def decide(self, decision: Decision) -> bool:
        """Write a decision down; false where the very same is there already."""
        self.prepare()
        values = {name: getattr(decision, name) for name in _COLUMNS}
        values |= {"weights": json.dumps(dict(decision.weights)), "steps": json.dumps(list(decision.steps))}
        try:
            with self._engine.begin() as connection:
                connection.execute(_TABLE.insert().values(**values))
        except sa.exc.IntegrityError:
            return False
        return True

    def decisions(self, graph: str = "") -> list[Decision]:
        """All decisions, the earliest first; of one graph where it is named."""
        if not self._has(DECISIONS):
            return []
        chosen = sa.select(_TABLE).order_by(_TABLE.c.time, _TABLE.c.id)
        with self._engine.connect() as connection:
            rows = connection.execute(chosen.where(_TABLE.c.graph == graph) if graph else chosen).all()
        return [_decision(dict(row._mapping)) for row in rows]

    def mark(self) -> object:
        """What differs when there are other decisions."""
        if not self._has(DECISIONS):
            return None
        counted = sa.select(sa.func.count(), sa.func.max(_TABLE.c.time)).select_from(_TABLE)
        with self._engine.connect() as connection:
            return tuple(connection.execute(counted).one())

    def epochs(self, graph: str, node: str, since: float = 0.0) -> list[Epoch]:
        """How an experiment was declared over time, the earliest first; of exposures from `since` on."""
        if not self._has(EXPOSURES) or not self._knows_epochs():
            return []
        given = {"graph": graph, "node": node, "since": since}
        with self._engine.connect() as connection:
            return [Epoch(*row) for row in connection.execute(sa.text(_EPOCHS), given)]

    def seen(
        self,
        graph: str,
        node: str,
        metric: str,
        since: float = 0.0,
        most: int | None = None,
        epoch: str | None = None,
        begun: float = 0.0,
    ) -> Iterator[Sequence[SeenRow]]:
        """The exposures of an experiment with their outcomes, some thousand at a time.

        Outcomes whose exposure was lost with a process that was killed stand for it, where all are asked for.

        Args:
            graph, node: the experiment.
            metric: whose outcomes are meant.
            since: exposures from then on, in seconds since 1970.
            most: only the last so many of them; None for all.
            epoch: only those of the experiment as it was declared then, or of which nobody said that; None for all.
            begun: where an epoch is given: those of which nobody said it, from then on.
        """
        if not self._has(EXPOSURES):
            return
        given: dict[str, Any] = {"graph": graph, "node": node, "metric": metric, "since": since}
        within = epoch is not None and self._knows_epochs()
        outcomes = self._has(OUTCOMES)
        value, joined = ("o.value", _JOIN) if outcomes else ("NULL", "")
        text = _SEEN.format(value=value, join=joined)
        if within:
            text, given = f"{text} {_WITHIN}", {**given, "epoch": epoch, "begun": begun}
        if most is not None:
            yield from self._rows(f"{text} ORDER BY e.time DESC LIMIT :most", {**given, "most": most})
            return
        yield from self._rows(text, given)
        if outcomes:
            earliest = max(since, begun) if within else since
            yield from self._rows(_LONE, {"graph": graph, "node": node, "metric": metric, "since": earliest})

    def _knows_epochs(self) -> bool:
        """Whether exposures say of which epoch they are; those of earlier versions do not."""
        with self._engine.connect() as connection:
            return any(each["name"] == "epoch" for each in sa.inspect(connection).get_columns(EXPOSURES))

    def _rows(self, text: str, given: dict[str, Any]) -> Iterator[Sequence[SeenRow]]:
        with self._engine.connect() as connection:
            streamed = connection.execution_options(stream_results=True, max_row_buffer=CHUNK_ROWS)
            result = streamed.execute(sa.text(text), given)
            while rows := result.fetchmany(CHUNK_ROWS):
                yield [tuple(row) for row in rows]

    def _has(self, table: str) -> bool:
        with self._engine.connect() as connection:
            return sa.inspect(connection).has_table(table)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


_JOIN = f"LEFT JOIN {OUTCOMES} o ON o.id = e.id || ':' || :metric"
_SEEN = (
    f"SELECT e.unit, e.arm, e.time, {{value}}, e.seconds, e.failed, e.segments FROM {EXPOSURES} e {{join}} "
    "WHERE e.graph = :graph AND e.node = :node AND e.time >= :since"
)
_WITHIN = "AND (e.epoch = :epoch OR (COALESCE(e.epoch, '') = '' AND e.time >= :begun))"
_EPOCHS = (
    f"SELECT COALESCE(epoch, ''), COUNT(*), MIN(time), MAX(time) FROM {EXPOSURES} "
    "WHERE graph = :graph AND node = :node AND time >= :since GROUP BY COALESCE(epoch, '') ORDER BY 3"
)
_LONE = (
    f"SELECT o.unit, o.arm, o.exposed, o.value, NULL, false, NULL FROM {OUTCOMES} o WHERE o.graph = :graph "
    "AND o.node = :node AND o.metric = :metric AND o.exposed >= :since "
    f"AND NOT EXISTS (SELECT 1 FROM {EXPOSURES} e WHERE e.id = o.exposure)"
)


def _decision(row: dict[str, Any]) -> Decision:
    try:
        weights, steps = json.loads(row["weights"]), tuple(json.loads(row["steps"]))
    except (TypeError, ValueError) as error:
        raise GraphError(f"the decision {row['id']} cannot be read: {error}", where=DECISIONS) from None
    return Decision(**{**row, "weights": weights, "steps": steps})
