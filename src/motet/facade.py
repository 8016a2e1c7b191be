"""What users hold: a graph that can be called, run, explained, drawn and saved. Thin; imports what it needs when called."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

import motet.nodes  # noqa: F401  (the kinds register themselves)
from motet.errors import Failure, InputError
from motet.graph import graph as data
from motet.graph.build import PendingMember, Ref, Uses
from motet.graph.check import CheckedGraph, check
from motet.graph.places import folder_of
from motet.runtime.session import CallSession
from motet.threads import close_garbage

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from typing import IO

    from motet.batch import Batch
    from motet.engines.beam.handler import GraphHandler
    from motet.engines.beam.transform import PlayGraph
    from motet.engines.local.estimate import Estimate
    from motet.engines.local.options import RunOptions
    from motet.engines.local.report import RunReport
    from motet.engines.ray.play import PlayedDataset
    from motet.engines.spark.frames import PlayedFrames
    from motet.planning.capacity.plan import CapacityOptions
    from motet.planning.capacity.result import CapacityPlan
    from motet.planning.drift.reference import DriftReference
    from motet.planning.drift.report import DriftOptions, DriftReport
    from motet.planning.evaluate import EvaluateOptions
    from motet.planning.evaluation import Evaluation
    from motet.planning.experiments.from_file import ExperimentOptions
    from motet.planning.experiments.report import ExperimentReport
    from motet.planning.tune import TuneOptions
    from motet.planning.tuning import Tuning
    from motet.runtime.executor import Executor
    from motet.runtime.explanation import Explanation
    from motet.runtime.resolve import ModelResolver
    from motet.runtime.text_stream import AsyncTextStream, TextStream
    from motet.serving.config.server import ServeOptions
    from motet.serving.process.background import BackgroundServer

__all__ = ["Graph", "load", "member"]

SHADOWS_S = 2.0
"""How long a graph that is closed waits for members that do not count."""


@cache
def _shared_resolver() -> ModelResolver:
    """The one resolver of the process: each model file is looked at once."""
    from motet.runtime.resolve import ModelResolver

    return ModelResolver()


@cache
def _calling() -> tuple[Any, Any]:
    """The modules that calls need, imported by the first one: when the interpreter ends, none can be."""
    from motet.runtime import bind, call

    return bind, call


def _executor(checked: CheckedGraph) -> Executor:
    from motet.runtime.executor import Executor
    from motet.runtime.host import Host

    return Executor(checked, Host(_shared_resolver()))


class Graph(data.GraphSpec):
    """Models that play together: checked when it is built, then called, run in bulk, explained, drawn and saved.

    Args:
        name: its name.
        outputs: output names and the columns they show: what `motet.map`, `motet.ensemble` and the others returned, or
            one of its columns (`top.index`).

    Raises:
        GraphError: for the first mistake found; says what, where, what was got, and how to mend it.
    """

    def __init__(self, name: str, outputs: Mapping[str, Any], **parts: Unpack[data.GraphParts]) -> None:
        folder = parts.get("folder", "")
        parts["folder"] = folder if "://" in folder else os.path.abspath(folder)
        super().__init__(name, outputs, **parts)
        self._open(check(self.changed(), _shared_resolver()))

    def _open(self, checked: CheckedGraph) -> None:
        """Be ready to be called as what was found when it was checked."""
        self.checked = checked
        self._session = CallSession(partial(_executor, checked))
        weakref.finalize(self, close_garbage, self._session.close).atexit = False

    def __getstate__(self) -> dict[str, Any]:
        return {name: part for name, part in super().__getstate__().items() if name != "_session"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(state)
        self._open(self.checked)

    def __deepcopy__(self, memo: Any) -> Self:
        return copy(self)  # what it says never changes, so that copies share it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the models that calls have loaded; those that another graph uses too stay there for it.

        Calls that are under way in other threads end as they would have. The graph may be called again, and then loads its
        models anew. `with graph:` closes it at the end; a graph that is dropped closes itself. Calls of shadows (members with a
        weight of 0) that are under way are waited for, two seconds at most.
        """
        self._session.close(SHADOWS_S)

    @property
    def executor(self) -> Executor:
        """What plays this graph when it is called; its models stay loaded until the graph is closed, or gone."""
        return self._session.executor

    @overload
    def __call__(
        self, columns: Any, *, failures: Literal["raise"] = "raise", timeout: float | None = None
    ) -> dict[str, Any]: ...

    @overload
    def __call__(
        self, columns: Any, *, failures: Literal["return"], timeout: float | None = None
    ) -> tuple[dict[str, Any], list[Failure]]: ...

    def __call__(
        self, columns: Any, *, failures: Literal["raise", "return"] = "raise", timeout: float | None = None
    ) -> Any:
        """Play columns here and now.

        Args:
            columns: by the names of the inputs, arrays (or lists) whose first axis is the row; or a frame of pandas,
                polars, DuckDB or Arrow, of which columns that are no inputs are left alone.
            failures: `raise`, or `return` to get `(answers, failures)`.
            timeout: the seconds that it may take; None for any number. A call with a timeout is played in another thread, in
                the caller's context; one that is late stops before its next node or call of a model.

        Returns:
            Arrays by the names of the outputs, whose first axis is the row; lists of arrays where rows differ in shape. They
            are the caller's: none shares memory with an input or another output, and all can be written.

        Raises:
            RowErrors: when rows failed; carries the answers of the others.
            InputError: when the columns are not those of the graph.
            DeadlineError: when it takes longer than `timeout`.
        """
        if timeout is None:
            return self._answers(columns, failures)
        from motet.runtime.deadline import asked_in_time

        return asked_in_time(partial(self._answers, columns, failures), timeout)

    @overload
    async def acall(
        self, columns: Any, *, failures: Literal["raise"] = "raise", timeout: float | None = None
    ) -> dict[str, Any]: ...

    @overload
    async def acall(
        self, columns: Any, *, failures: Literal["return"], timeout: float | None = None
    ) -> tuple[dict[str, Any], list[Failure]]: ...

    async def acall(
        self, columns: Any, *, failures: Literal["raise", "return"] = "raise", timeout: float | None = None
    ) -> Any:
        """Play columns in another thread, while the event loop of asyncio goes on; arguments and answers are those of a call.

        The context variables are those of the task. When the task is cancelled the call stops before its next node or call
        of a model. At most `motet.runtime.deadline.MOST_CALLS` calls of a process are played so at the same time.

        Raises:
            RowErrors, InputError, DeadlineError: as a call does.
        """
        from motet.runtime.deadline import awaited

        return await awaited(partial(self._answers, columns, failures), timeout)

    def _answers(self, columns: Any, failures: str) -> Any:
        _, call = _calling()
        call.check_failures(failures)
        batch, bad = self._bound(columns)
        return self._session.lend(lambda executor: call.answer(executor, batch, bad, failures))

    @overload
    def predict(self, rows: Mapping[str, Any]) -> dict[str, Any]: ...

    @overload
    def predict(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]: ...

    def predict(self, rows: Any) -> Any:
        """Play rows as `/predict` of a server takes them, and give what it answers: rows in, rows out.

        Args:
            rows: each a mapping of inputs by name, as JSON has them (numbers, texts, nested lists, base64), or as Python has
                them (arrays, bytes, times); keys that are no inputs are passed over. Or one row.

        Returns:
            For each row what `json.dumps` can write: its outputs by name, lists for arrays, base64 for bytes, None for
            NaN and infinities; or `{"error": ...}`. Of one row its own answer.

        Raises:
            RowErrors: when the only row failed.
        """
        from motet.runtime.predict import predict

        return self._session.lend(lambda executor: predict(executor, rows))

    def stream(self, row: Mapping[str, Any], *, output: str | None = None, timeout: float | None = None) -> TextStream:
        """Play one row, and give its text piece by piece while a model writes it.

        Pieces come as soon as they are written where the output is the text of a model that tells them (of a language model,
        a route's arm, a cascade's last member), unchanged; any other text comes whole. They are the answer of `predict`, once
        they are put together.

        Args:
            row: as `predict` takes it.
            output: which text; `text`, or the only one, when not given.
            timeout: the seconds that all of it may take; None for any number.

        Returns:
            The pieces; `answer` has all outputs once the last one has come. Closing it ends the writing.

        Raises:
            InputError: when it is not said which of several texts. What is wrong with the row is raised by the first piece.
        """
        from motet.runtime.text_stream import TextStream

        return TextStream(self._session.lend, self.checked, row, output, timeout)

    def astream(
        self, row: Mapping[str, Any], *, output: str | None = None, timeout: float | None = None
    ) -> AsyncTextStream:
        """The same for `async for`, in a coroutine; see `stream`."""
        from motet.runtime.text_stream import AsyncTextStream

        return AsyncTextStream(self._session.lend, self.checked, row, output, timeout)

    def with_models(self, models: Mapping[str, Any] | None = None, /, **named: Any) -> Graph:
        """The same graph with other models in the place of some, for tests and comparisons.

        Args:
            models: what stands in, by the names of models, those of graphs inside as `GRAPH/MODEL`: a `motet.Model`; a URI;
                a fitted estimator; or a function of the model's inputs, arrays of a batch, that gives its outputs. A graph
                inside that has the same model under the same name gets the same. Of a model for each key (`{key}` in its
                URI) all are replaced.
            named: likewise.

        Returns:
            Another graph, checked; this one stays as it is.

        Raises:
            UnknownNameError: when the graph has no such model; lists those that it has.
            GraphError: when something cannot stand in, or the graph cannot be right with it.
            InputError: when what is given is no mapping.
        """
        from motet.graph.stand_in import with_stand_ins

        if not isinstance(models, Mapping | None):
            raise InputError(f"expected models by name; got {type(models).__name__}", where="with_models")
        return _opened(with_stand_ins(self, self.checked, {**(models or {}), **named}))

    def _bound(self, columns: Any) -> tuple[Batch, list[Failure]]:
        """The batch of what is given, and the rows that do not fit."""
        if hasattr(columns, "__arrow_c_stream__") or hasattr(columns, "with_format"):  # a frame, or a data set
            from motet.engines.layout import bind_frame

            return bind_frame(columns, self.checked)
        bind, _ = _calling()
        bound: tuple[Batch, list[Failure]] = bind.bind_columns(columns, self.checked)
        return bound

    @overload
    def run(
        self, source: Any, output: None = None, *, failures: Literal["raise"] = "raise", **options: Unpack[RunOptions]
    ) -> Any: ...

    @overload
    def run(
        self, source: Any, output: None = None, *, failures: Literal["return"], **options: Unpack[RunOptions]
    ) -> tuple[Any, list[Failure]]: ...

    @overload
    def run(
        self, source: Any, output: str | Path, *, dry_run: Literal[True], **options: Unpack[RunOptions]
    ) -> Estimate: ...

    @overload
    def run(
        self, source: Any, output: str | Path, *, dry_run: Literal[False] = False, **options: Unpack[RunOptions]
    ) -> RunReport: ...

    def run(self, source: Any, output: str | Path | None = None, **options: Any) -> Any:
        """Play a whole data set, on this machine unless another engine is named.

        Args:
            source: a frame (pandas, polars, DuckDB, `datasets`), a file (Parquet, Arrow, CSV, JSON Lines), a folder, a list of files, a
                pyarrow data set or table, or an iterable of batches or frames.
            output: the file to write; its suffix says the format. A folder (a path ending in `/`) keeps the parts. None
                gives the answers back, unless `into` names an output that is there.
            options: those of `motet run` by their names in Python (`batch_rows`, `overwrite`, `only_failed`, ...), which
                `motet.engines.local.options.BulkOptions` explains; `engine`, `local`, `beam`, `ray`, `spark` or one that is
                made, with its `engine_options`, a list as on the command line; and `progress`: True shows how far it is; or a
                function, called with the rows done, the rows there are, and those failed. Without an output: `failures`,
                `raise` or `return`, as in a call.

        Returns:
            The report of the run; with `dry_run` what it would do and take. Without an output the answers beside the columns
            that are kept, an Arrow table (`.to_pandas()` makes a frame, with the index that a pandas frame had).

        Raises:
            RunError: when the run could not go on.
            RowErrors: without an output, when rows failed; its `columns` is the table of the others.
        """
        from motet.system.progress import followed

        with followed(options.pop("progress", None)) as told:
            return self._run(source, output, {**options, "progress": told})

    def _run(self, source: Any, output: str | Path | None, options: dict[str, Any]) -> Any:
        from motet.engines.engine import find_engine

        engine = find_engine(options.pop("engine", "local"), options.pop("engine_options", ()))
        dry_run = options.pop("dry_run", False)
        output = options.get("into") if output is None else output
        if output is not None:
            return (engine.estimate if dry_run else engine.run)(self.checked, source, str(output), **options)
        if dry_run:
            raise InputError("dry_run is for runs that write a file", hint="name an output, such as answers.parquet")
        from motet.engines.collect import collect
        from motet.runtime.call import check_failures

        failures = options.pop("failures", "raise")
        check_failures(failures)
        return collect(engine, self.checked, source, failures, options)

    def evaluate(self, source: Any, *, label: str, **options: Unpack[EvaluateOptions]) -> Evaluation:
        """What the graph and each of its members are worth, on rows whose right answers are known.

        Every member of its cascades and ensembles answers each row once; all else is computed from these answers.

        Args:
            source: what `run` takes.
            label: the column of the right answers: names of classes, their places, or numbers.
            options: `metric`, one or several of `accuracy`, `f1`, `auc`, `log_loss`, `rmse`, `mae` and functions of labels and
                answers (`package.function`), the first of which members are compared by (those that fit); `of`, the output, or
                another column, that labels are for; `by`, a column of the source or the graph whose values are segments; `by_unit`,
                a column whose values are drawn whole for intervals (rows are); `prices`, what a row costs by member or model
                (measured seconds); `limit`, rows that are read (all); `reading`, how the source is read, as `motet run` has it
                (`format`, ...).

        Returns:
            Metrics with intervals, confusions, calibration, agreement, costs and segments; `str`, `to_json()` and `html()`
            show them.

        Raises:
            InputError: when labels and answers cannot be compared.
            UnknownNameError: when a column or output does not exist.
        """
        from motet.planning.evaluate import evaluate

        return evaluate(self.checked, _shared_resolver(), source, label, **options)

    def teach(
        self, source: Any, output: str | Path | None = None, *, of: str | None = None, **options: Unpack[RunOptions]
    ) -> Any:
        """Write what the graph says of every class, for a student to learn from: its answers, and its scores as the column `soft`.

        Args:
            source, output, options: as for `run`, which it is: `keep=["image"]` keeps what the student takes, `engine` says what runs it.
            of: the output, or column, whose scores they are (the only output): scores, or what is made of them.

        Raises:
            InputError: when no column of scores stands before it, or several do.
        """
        from motet.planning.teach import teacher_outputs

        return _opened(self.changed(outputs=teacher_outputs(self.checked, of))).run(source, output, **options)

    def tune(self, source: Any, *, label: str, **options: Unpack[TuneOptions]) -> Tuning:
        """The same graph with better settings: thresholds, order and members of cascades, weights, combiner and members of ensembles.

        Every member answers each row once; each setting is played from these answers. Settings are chosen by one half of the rows,
        and reported on the other.

        Args:
            source, label: as for `evaluate`.
            options: those of `evaluate`, of which the first metric is the one that counts; `at_least`, the metric to reach as
                cheaply as possible (`best`: as good as the best of the single members and the graph as it is); or
                `at_most_cost`, what a row may cost (seconds, or in prices). The best metric is looked for without them.

        Returns:
            What was chosen, how it does, and, as `tuned`, the graph.

        Raises:
            InputError: when there is nothing to choose, or labels and answers cannot be compared.
        """
        from dataclasses import replace

        from motet.planning.tune import tune

        found = tune(self, self.checked, _shared_resolver(), source, label, **options)
        return replace(found, tuned=_opened(self.changed(nodes={**self.nodes, **found.nodes})))

    def drift_reference(
        self, source: Any, *, limit: int | None = None, reading: Mapping[str, Any] | None = None
    ) -> DriftReference:
        """How rows are spread, to see later whether others are: inputs, answers, and how far members agree, as counts in bins.

        Every row is played once. `evaluate` and `tune` write a reference of their rows as well.

        Args:
            source: what `run` takes.
            limit: rows that are read (all).
            reading: how it is read, as `motet run` has it (`format`, ...).

        Returns:
            The reference; `write(path)` keeps it.

        Raises:
            InputError: when there are no rows.
        """
        from motet.planning.drift.report import make_reference

        return make_reference(self.checked, _shared_resolver(), source, limit=limit, reading=reading)

    def drift(self, source: Any, reference: DriftReference | str, **options: Unpack[DriftOptions]) -> DriftReport:
        """How far rows, or answers, have drifted from a reference, and whether that is more than chance.

        Args:
            source: what `run` takes, or what it wrote.
            reference: what `drift_reference` gives, or its file.
            options: `at_most`, the population stability index above which a column is said to have drifted (0.2); `play`,
                whether the rows are played (where none of the graph's outputs is among the columns); `limit`, rows that are
                read (all); `reading`, how the source is read.

        Returns:
            Distances by column; `str`, `to_json()` and `html()` show them, `drifted` has the names of what has drifted.

        Raises:
            InputError: when the reference is none, or is of another graph, or there are no rows.
        """
        from motet.planning.drift.report import drift_report

        return drift_report(self.checked, _shared_resolver(), source, reference, **options)

    def plan(self, source: Any = None, **options: Unpack[CapacityOptions]) -> CapacityPlan:
        """What machines it should run on: one pool of machines of one shape, or for each stage its own.

        Args:
            source: rows to measure, what `run` takes; None with a `profile`.
            options: `machines`, a catalogue or its file (an example); `rows`, how many there are (those of the source); and one of
                `rows_per_hour`, `deadline` (seconds, or `2h`) and `budget`; `profile`, what was measured before, or its file;
                `seconds`, how long measuring takes about (10); `reading`, how the source is read, as `motet run` has it.

        Returns:
            What rows take, pools and costs, and, as `applied`, the graph with hints; `str`, `to_json()` and `html()` show it.

        Raises:
            InputError: when goals exclude each other, no machine has room for a stage, or a model is paid.
        """
        from dataclasses import replace

        from motet.planning.capacity.applied import hinted
        from motet.planning.capacity.plan import plan_capacity

        found = plan_capacity(self.checked, source, **options)
        return replace(found, applied=_opened(self.changed(models=hinted(self, found.hints))))

    def experiment(self, source: Any, **options: Unpack[ExperimentOptions]) -> ExperimentReport:
        """What an experiment of the graph comes to: a route by weighted split with a `metric`.

        Its intervals hold at all looks together: it may be asked every day, and the first time that it decides counts.

        Args:
            source: what `run` takes: its answers, or its input, with what came of each row.
            options: `label`, the column of outcomes, true or false or numbers (the metric's name); `node`, which experiment (the
                only one); `unit`, the column that the split goes by (as the graph calls it); `arm`, the column of arms (the output
                of `node.member`, else computed from the unit); `time`, `seconds` and `failed`, columns of when each row was
                answered, how long that took, and whether it failed; `since`, `"7d"`, a date or time, or seconds since 1970;
                `alpha`, the share of experiments without a difference in which one may be found (0.05); `reading`, as for
                `evaluate`.

        Returns:
            Each arm, its difference from the control, the check of the split, guardrails, segments, and a decision; `str`,
            `to_json()` and `html()` show them.

        Raises:
            InputError: when the graph has no experiment, or the source does not say what is needed.
            UnknownNameError: when a column or the node does not exist.
        """
        from motet.planning.experiments.from_file import report_on_file

        return report_on_file(self.checked, source, **options)

    @overload
    def serve(self, *, block: Literal[True] = True, **options: Unpack[ServeOptions]) -> None: ...

    @overload
    def serve(self, *, block: Literal[False], **options: Unpack[ServeOptions]) -> BackgroundServer: ...

    def serve(self, *, block: bool = True, **options: Any) -> BackgroundServer | None:
        """Put the graph on line, as `motet serve` does.

        Args:
            block: serve here until a signal ends it (outside the main thread: as long as the program runs); False serves
                in a thread of its own, also where an event loop runs, and touches no signal handlers.
            options: those of `motet.serving.config.server.ServeConfig`: `host` (127.0.0.1), `port` (8000; 0 takes a free one),
                `grpc_port` (none), `limits`, ..., each as a file has it; what is not given is as the graph's `serve` says.

        Returns:
            With `block=False` the server, ready: `url`, `port`, `close()`; a context manager that closes it.

        Raises:
            InputError: when the port cannot be had, or an option is unknown.
            GraphError: when `serve` is wrong.
            ModelLoadError: with `block=False`, when a model cannot be loaded.
        """
        import importlib

        if block:
            importlib.import_module("motet.serving.process.background").serve_here(self, options)
            return None
        server: BackgroundServer = importlib.import_module("motet.serving").start(self, **options)
        return server

    def as_ptransform(
        self,
        *,
        keep: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        schema: Any = None,
        batch_rows: int | None = None,
        goes_on: bool = False,
        ship: bool = False,
        models: Any = None,
        one_stage: bool = False,
    ) -> PlayGraph:
        """This graph as a transform of Apache Beam: `played = rows | graph.as_ptransform()`, then `played.answers`, `played.failures`.

        Rows are dicts, named tuples, `beam.Row`s, or Arrow tables and record batches of them, also behind a key. An answer is
        of the same kind, with windows, time and key of its row: the columns that are kept, and the outputs. A row that fails is
        a row of `failures`: `row` (as it came), `node`, `model`, `version`, `error` and `message`.

        Args:
            keep: the columns to write beside the outputs; None is all but arrays and bytes that the graph takes.
            drop: columns to leave out.
            schema: of the tables that come, an Arrow schema; then `answers_schema` and `failures_schema` of the transform are known,
                and what does not fit is refused here.
            batch_rows: how many rows are played together at most; None goes by their size.
            goes_on: go on, with a failure for each row, where a model fails on everything, instead of ending the job with its error.
            ship: have the files of models at local paths go with the pipeline, to workers that do not have them.
            models: a PCollection whose elements, of which the last counts, tell of other models while the pipeline goes on: by names of
                models their URIs, or a `ModelMetadata`. Whatever comes has the aliases of stores looked at again; what comes
                to a worker after it is answered by what they mean then.
            one_stage: do not cut the graph where its nodes ask for different memory or accelerators, or keys choose from more models
                than may be loaded.

        Raises:
            MissingExtraError: when Beam is not installed.
            InputError: when an argument cannot be, or the columns do not fit.
            ModelLoadError: when a model is not there.
        """
        from motet.engines.splits.engine import imported

        imported("apache_beam", "beam")
        from motet.engines.beam.transform import PlayGraph

        return PlayGraph(
            self.checked, keep=keep, drop=drop, schema=schema, batch_rows=batch_rows, goes_on=goes_on, ship=ship,
            models=models, one_stage=one_stage, graph=self.changed(),
        )  # fmt: skip

    def as_model_handler(
        self, *, batch_rows: int | None = None, goes_on: bool = False, ship: bool = False
    ) -> GraphHandler:
        """This graph as a model handler of Apache Beam, for `RunInference` and what takes such a one (`KeyedModelHandler`).

        Examples are rows as `as_ptransform` takes them, but for tables. The `inference` of a result has the outputs; of a row that
        failed `row`, `node`, `model`, `version`, `error` and `message`. What `model_metadata_pcoll` or `watch_model_pattern` of
        `RunInference` names is the file of the graph's model, where it has one; a file inside a store says that its aliases are
        looked at again.

        Args:
            batch_rows, goes_on, ship: as for `as_ptransform`.

        Raises:
            MissingExtraError: when Beam is not installed.
            InputError: when an argument cannot be.
            ModelLoadError: when a model is not there.
        """
        from motet.engines.splits.engine import imported

        imported("apache_beam", "beam")
        from motet.engines.beam.handler import GraphHandler

        return GraphHandler(self.checked, self.changed(), batch_rows=batch_rows, goes_on=goes_on, ship=ship)

    def on_spark(
        self,
        frame: Any,
        *,
        keep: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        row_ids: str | None = None,
        batch_rows: int | None = None,
        goes_on: bool = False,
        ship: bool = False,
    ) -> PlayedFrames:
        """This graph over a data frame of Spark: `played = graph.on_spark(frame)`, then `played.answers`, `played.failures`, two frames.

        Nothing runs before an action on one of them, and what is run then is kept for the other, until `played.unpersist()`, the end
        of a `with` block, or nobody holds them. Frames of streams are taken, too.

        Args:
            frame: a `pyspark.sql.DataFrame`.
            keep: the columns to write beside the outputs; None is all but arrays and bytes that the graph takes.
            drop: columns to leave out.
            row_ids: a column of answers and failures that says which row it is, as `monotonically_increasing_id` numbers them.
            batch_rows: how many rows are played together at most; None goes by their size. Batches have no more rows than
                `spark.sql.execution.arrow.maxRecordsPerBatch`.
            goes_on: go on, with a failure for each row, where a model fails on everything, instead of ending the job with its error.
            ship: have the files of models at local paths go with the job, to workers that do not have them.

        Raises:
            MissingExtraError: when Spark is not installed.
            InputError: when an argument cannot be, or the columns do not fit.
            ModelLoadError: when a model is not there.
        """
        from motet.engines.splits.engine import imported

        imported("pyspark", "spark")
        from motet.engines.spark.frames import play_frame

        return play_frame(
            self.checked,
            frame,
            keep=keep,
            drop=drop,
            row_ids=row_ids,
            batch_rows=batch_rows,
            goes_on=goes_on,
            ship=ship,
        )

    def on_ray(
        self,
        rows: Any,
        *,
        keep: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        schema: Any = None,
        batch_rows: int | None = None,
        goes_on: bool = False,
        ship: bool = False,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        concurrency: int | None = None,
    ) -> PlayedDataset:
        """This graph over a data set of Ray: `played = graph.on_ray(rows)`, then `played.answers`, `played.failures`, two data sets.

        Both are computed once, when one of them is first asked for, in tasks of Ray, whose processes keep the models that they have
        loaded. `motet.ray.Play` plays in actors, as part of a pipeline.

        Args:
            rows: a `ray.data.Dataset`.
            keep: the columns to write beside the outputs; None is all but arrays and bytes that the graph takes.
            drop: columns to leave out.
            schema: of the rows, an Arrow schema; None asks the data set, which may read some of it.
            batch_rows: how many rows are played together at most; None goes by their size.
            goes_on: go on, with a failure for each row, where a model fails on everything, instead of ending with its error.
            ship: have the files of models at local paths go along, to nodes that do not have them.
            num_cpus, num_gpus: what a task has to itself, a part of one or whole ones; None goes by what the models ask for.
            concurrency: how many tasks go on at the same time at most.

        Raises:
            MissingExtraError: when Ray is not installed.
            InputError: when an argument cannot be, no node has room for a task, or the columns do not fit.
            ModelLoadError: when a model is not there.
        """
        from motet.engines.ray.play import play_dataset

        return play_dataset(
            self.checked, rows, keep=keep, drop=drop, schema=schema, batch_rows=batch_rows, goes_on=goes_on, ship=ship,
            num_cpus=num_cpus, num_gpus=num_gpus, concurrency=concurrency,
        )  # fmt: skip

    def explain(self, columns: Any, row: int = 0) -> Explanation:
        """Say how the answer of one row came about: which members ran, their versions, their scores, and their times.

        Args:
            columns: as in a call.
            row: which of their rows, from 0.

        Raises:
            InputError: when there is no such row, or it does not fit.
        """
        from motet.runtime.call import explain

        batch, bad = self._bound(columns)
        for failure in bad:
            if failure.row == row:
                raise InputError(str(failure))
        places = [place for place, each in enumerate(batch.ids) if each == row]
        if not places:
            raise InputError(f"there is no row {row}; there are {len(batch)}")
        return self._session.lend(lambda executor: explain(executor, batch.take(places)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the graph to a YAML file.

        Args:
            path: the file, or a URL that fsspec opens (`s3://bucket/graph.yaml`). Models that lie in the same place are named
                relative to it, others as they are.

        Raises:
            GraphError: when a function cannot be imported by name, or a URL does not take the file.
        """
        from motet.models.fetch import resolve
        from motet.models.graph_files import write_text

        target = resolve(os.fspath(path), None)
        write_text(target, self._text(folder_of(target)))

    def to_yaml(self) -> str:
        """The text of the graph's file, in its folder: `motet.load(io.StringIO(text), folder=graph.folder)` reads it."""
        return self._text(self.folder)

    def text_in(self, folder: str) -> str:
        """The text of the graph's file in a folder, relative to which its models are named."""
        return self._text(folder)

    def _text(self, folder: str) -> str:
        from motet.graph.yaml import dump_graph
        from motet.models.graph_files import placed

        return dump_graph(placed(self, folder if "://" in folder else os.path.realpath(folder)))

    def _parts(self) -> tuple[Any, ...]:
        from motet.models.graph_files import placed

        return placed(self, None)._parts()  # the same models are the same, wherever the file is that names them

    def anew(self, **parts: Unpack[data.GraphParts]) -> Graph:
        """The same graph, but for these of its parts, checked again: its models of stores are those that their aliases mean now."""
        own: Any = {name: getattr(self, name) for name in data.GraphParts.__annotations__}
        return Graph(self.name, self.outputs, **{**own, **parts})

    def draw(self, format: Literal["text", "mermaid", "svg"] = "text") -> str:
        """Draw the graph: a tree for a terminal, a Mermaid diagram, or an SVG image."""
        from motet.graph.draw import draw

        return draw(self.checked, format)

    def _repr_svg_(self) -> str:
        """The drawing, which a notebook shows."""
        return self.draw("svg")


def _opened(graph: data.GraphSpec) -> Graph:
    """A graph that is data, checked and callable, and so are those inside it."""
    if isinstance(graph, Graph):
        return graph
    made = Graph.__new__(Graph)
    graphs = {name: _opened(each) for name, each in graph.graphs.items()}
    data.GraphSpec.__setstate__(made, data.GraphSpec.__getstate__(graph.changed(graphs=graphs)))
    made._open(check(made.changed(), _shared_resolver()))
    return made


def member(
    uses: Uses, inputs: Sequence[Ref] | Mapping[str, Ref] | None = None, output: str | None = None
) -> PendingMember:
    """A member of a node with inputs of its own.

    Args:
        uses: the model or graph.
        inputs: the columns it takes, by position or by name; what the node takes when not given.
        output: the one of its outputs that counts, where it has several.
    """
    return PendingMember(uses, inputs, output)


def load(
    source: str | os.PathLike[str] | IO[str] | IO[bytes] | Traversable, *, folder: str | os.PathLike[str] | None = None
) -> Graph:
    """Read a graph from a YAML file.

    A file can name any importable function, so loading one is as trusting as running code.

    Args:
        source: a path; a URL that fsspec opens (`s3://bucket/graph.yaml`, `memory://...`, `file://...`); an open file, also
            `io.StringIO(text)`; or a resource of a package, `importlib.resources.files("package") / "graph.yaml"`, in a zip
            file too.
        folder: what relative names in it (models, graphs, labels) are relative to, a path or a URL; the file's own folder when
            not given, the working directory where it has none.

    Raises:
        GraphError: for the first mistake in it; says what, where, what was got, and how to mend it.
    """
    from motet.graph.yaml import load_graph
    from motet.models.fetch import resolve
    from motet.models.graph_files import opened

    name, read, has_folder = opened(source)
    place = None if folder is None and has_folder else resolve(os.fspath(folder or ""), None)
    return load_graph(name, Graph, folder=place, read_text=read)
