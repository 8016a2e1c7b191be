"""A graph over a data frame of Spark: answers and failures, two frames that are computed once."""

from __future__ import annotations

import logging
import sys
import uuid
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Self

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql.types import LongType, StringType, StructField, StructType

from motet.engines.job import Job
from motet.engines.layout import FAILED
from motet.engines.needs import need_of
from motet.engines.spark.play import ENDED, FAILED_ROW, PlayPartition, answer_names
from motet.engines.spark.resources import profile_of
from motet.engines.spark.types import arrow_schema, spark_field
from motet.engines.splits.staged import pickled
from motet.engines.tables import check_chosen
from motet.errors import InputError
from motet.graph.check import CheckedGraph

__all__ = ["PlayedFrames", "play_frame"]

_LOG = logging.getLogger("motet.engines")
ROW = "row"
"""The column of failures that has the row as it came."""
_PART = (
    f"CASE WHEN {ENDED} IS NOT NULL THEN raise_error({ENDED}) WHEN spark_partition_id() < 0 THEN NULL "
    f"ELSE {FAILED_ROW} IS {{}} END"
)
"""Tells answers from failures, and raises the error that ended it all. That a partition's number is asked for, which Spark takes for
chance, keeps it from looking at other conditions first, by which the row that has the error might be passed over."""


class PlayedFrames:
    """A graph over a data frame: answers, and what is said of rows that failed. Made by `motet.Graph.on_spark`.

    Both are parts of one frame, which holds what became of each row and is kept (in memory, and on disk where that is full) by the
    first action on either, so that the other computes nothing again. It is let go by `unpersist`, at the end of a `with` block, or
    when nobody holds the two frames any more. The frames of a stream keep nothing: see `foreach_batch`.

    Attributes:
        answers: a data frame of the rows that did not fail: the columns that are kept, and the outputs.
        failures: a data frame of the others: `row` (the columns that were read, as they came), `node`, `model`, `version`, `error`
            and `message`.
    """

    def __init__(self, played: Any, names: Sequence[str], said: Sequence[str]) -> None:
        self._played, self._names, self._said = played, names, said
        kept = None if played.isStreaming else _Kept(played)
        self._kept = kept
        answers = played.where(_PART.format("NULL")).select(*played.columns[: len(names)]).toDF(*names)
        failures = played.where(_PART.format("NOT NULL")).selectExpr(f"{FAILED_ROW}.*").toDF(*said)
        answers._motet_kept = failures._motet_kept = kept
        self.answers, self.failures = answers, failures

    def foreach_batch(self, function: Callable[[PlayedFrames, int], object]) -> Any:
        """A writer of a stream that hands on each of its batches, computed once: set where its checkpoint is, and `start()` it.

        Args:
            function: is given the answers and failures of a batch, and the batch's number. After a restart it may be given the last
                batch again, under the same number.

        Raises:
            InputError: when the frame is no stream.
        """
        if not self._played.isStreaming:
            raise InputError("foreach_batch is for streams", where="on_spark", hint="use answers and failures")
        names, said = self._names, self._said

        def play(batch: Any, number: int) -> None:
            with PlayedFrames(batch, names, said) as played:
                function(played, number)

        return self._played.writeStream.foreachBatch(play)

    def unpersist(self) -> None:
        """Let go of what is kept; used again, the frames are computed again."""
        if self._kept is not None:
            self._kept.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unpersist()


def play_frame(
    checked: CheckedGraph,
    frame: Any,
    *,
    keep: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    row_ids: str | None = None,
    **options: Any,
) -> PlayedFrames:
    """A graph over a data frame; see `motet.Graph.on_spark`. `options` are those of `Job.of`."""
    _check(frame, keep, drop, row_ids)
    session, schema = frame.sparkSession, frame.schema
    source = arrow_schema(schema, session.conf)
    job = Job.of(checked, source, keep=keep, drop=drop, row_ids=row_ids, where="the data frame", **options)
    names = job.answers_schema.names
    _check_case(names, session)
    places = [source.get_field_index(name) for name in job.columns]
    given = frame.toDF(*(f"c{place}" for place in range(len(schema)))).select(*(f"c{place}" for place in places))
    profile = profile_of(session.conf.get, need_of(checked))
    play = PlayPartition(pickled(job), uuid.uuid4().hex, tuple(sys.path))
    ids = [] if row_ids is None else [StructField(row_ids, LongType())]
    said = [*ids, StructField(ROW, StructType([schema[place] for place in places]))]
    said += [StructField(name, StringType()) for name in FAILED]
    fields = [*ids, *(schema[source.get_field_index(name)] for name in job.layout.kept)]
    fields += [spark_field(field.name, field.type) for field in job.answers_schema][len(fields) :]
    fields = [
        StructField(name, field.dataType, True, field.metadata)
        for name, field in zip(answer_names(job), fields, strict=True)
    ]
    kinds = StructType([*fields, StructField(FAILED_ROW, StructType(said)), StructField(ENDED, StringType())])
    return PlayedFrames(given.mapInArrow(play, kinds, profile=profile), names, [field.name for field in said])


def _check(frame: Any, keep: Any, drop: Any, row_ids: Any) -> None:
    """See that arguments are what they must be.

    Raises:
        InputError: when one is not.
    """
    if not isinstance(frame, DataFrame):
        hint = "spark.createDataFrame(...) makes one, and .to_spark() of pandas on Spark"
        raise InputError(f"expected a data frame of Spark; got {type(frame).__name__}", where="on_spark", hint=hint)
    check_chosen(keep, drop)
    if row_ids is None:
        return
    if not isinstance(row_ids, str) or not row_ids:
        raise InputError(f"row_ids must be the name of a column; got {row_ids!r}", where="on_spark")
    if frame.isStreaming:
        hint = "have the source give each row a key, and keep it"
        raise InputError("rows of a stream have no ids", where="on_spark: row_ids", hint=hint)
    if (own := row_ids.lower()) in (ROW, *FAILED):  # by itself Spark does not tell them from each other
        raise InputError(f"failures have a column {own!r} of their own", where="on_spark: row_ids", hint="give another")


def _check_case(names: Sequence[str], session: Any) -> None:
    """See that Spark tells the columns of answers from each other.

    Raises:
        InputError: naming two that it does not.
    """
    if session.conf.get("spark.sql.caseSensitive") == "true":
        return
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(name.lower(), name)
        if other != name:
            what = f"Spark does not tell the columns {other!r} and {name!r} of the answers from each other"
            hint = f"leave one out with drop=[{other!r}], rename it, or set spark.sql.caseSensitive"
            raise InputError(what, where="on_spark", hint=hint)


class _Kept:
    """A frame that is kept until this is closed, or nobody holds it any more."""

    def __init__(self, frame: Any) -> None:
        _begin_closing()
        self._frame = frame.persist(StorageLevel.MEMORY_AND_DISK)
        self._garbage = weakref.finalize(self, _garbage.put, frame)
        self._garbage.atexit = False

    def close(self) -> None:
        """Let it go."""
        if self._garbage.detach():
            _let_go(self._frame)


def _let_go(frame: Any) -> None:
    if not _is_over(frame.sparkSession):
        frame.unpersist()


def _is_over(session: Any) -> bool:
    context = getattr(session, "_sc", None)  # Spark Connect has none
    return bool(session.is_stopped if context is None else context._jsc is None)


_garbage: SimpleQueue[Any] = SimpleQueue()
"""Frames that nobody holds. Whoever finds that out may be talking to Spark right then, so another thread lets them go."""


@cache
def _begin_closing() -> None:
    Thread(target=_close_garbage, name="motet-unpersist", daemon=True).start()


def _close_garbage() -> None:
    while True:
        frame = _garbage.get()
        try:
            _let_go(frame)
        except Exception:  # noqa: BLE001 (nobody called it)
            _LOG.exception("a frame could not be let go")
