"""Ways to have cases answered: each gives what became of the rows, by case."""

from __future__ import annotations

import math
import operator
import re
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import motet as mt
from helpers.engine_cases import Case, Outcome, Row
from helpers.engine_cases import cases as all_cases
from helpers.engine_features import SERVED, is_for
from helpers.engine_more_cases import cases as more_cases
from helpers.oip_server import OipServer
from motet.batch import Ragged
from motet.engines.splits.engine import SplitEngine
from motet.errors import ModelFailedError

Graphs = Mapping[str, mt.Graph]
SMALL = 7
"""Rows of a batch, and of a table."""


PLACE = "#row"
"""A column that is kept, which tells rows apart."""


def placed(case: Case) -> pa.Table:
    """The rows of a case, with their places in that column."""
    return case.rows.append_column(PLACE, pa.array(range(len(case.rows)), pa.int64()))


def plain(value: Any) -> Any:
    """A value as Python's own, arrays as lists."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def shaped(row: Row, graph: mt.Graph) -> Row:
    """A row whose tensors, which Arrow gives flat, have their shape."""
    kinds = graph.checked.signature.outputs
    flat = {name for name, kind in kinds.items() if len(kind.shape) > 1 and None not in kind.shape}
    return {
        name: np.reshape(np.array(value, object), kinds[name].shape).tolist() if name in flat else value
        for name, value in row.items()
    }


def _rows_of(column: Any) -> Sequence[Any]:
    return column.rows() if isinstance(column, Ragged) else list(column)


def called(cases: Sequence[Case], graphs: Graphs) -> dict[str, Outcome]:
    """By a call of all rows."""
    return {case.name: _called(case, graphs[case.name]) for case in cases}


def _called(case: Case, graph: mt.Graph) -> Outcome:
    columns = {name: case.rows[graph.stored[name]].to_pylist() for name in graph.inputs}
    try:
        answers, failed = graph(columns, failures="return")
    except ModelFailedError as error:
        return Outcome(error=str(error))
    failures = {each.row: (each.node, each.error, each.message) for each in failed}
    good = [row for row in range(len(case.rows)) if row not in failures]
    found = zip(*(_rows_of(column) for column in answers.values()), strict=True)
    return Outcome(
        {row: plain(dict(zip(answers, each, strict=True))) for row, each in zip(good, found, strict=True)}, failures
    )


def ran(engine: str | SplitEngine, case: Case, graph: mt.Graph, folder: Path) -> Outcome:
    """By a run over a source, in small batches."""
    folder.mkdir()
    output, failed = folder / "out.parquet", folder / "failed.parquet"
    try:
        graph.run(case.source(folder), output, engine=engine, failed=str(failed), row_ids="#row", batch_rows=SMALL)
    except ModelFailedError as error:
        assert not output.exists(), "an output was left"
        return Outcome(error=str(error))
    answers, kept = {}, {}
    for row in pq.read_table(output).to_pylist():
        place = row.pop("#row")
        answers[place] = shaped({name: row.pop(name) for name in graph.outputs}, graph)
        kept[place] = {name: row.get(name) for name in case.kept}
    told = pq.read_table(failed).to_pylist()
    return Outcome(answers, {each["row"]: (each["node"], each["error"], each["message"]) for each in told}, kept)


class Gathered(SplitEngine):
    """Has the splits of several runs mapped by one call of an engine: one job of a cluster for all of them.

    Args:
        engine: the engine.
    """

    split_bytes = 600

    def __init__(self, engine: SplitEngine) -> None:
        self.name, self._engine = engine.name, engine
        self._changed, self._waiting = threading.Condition(), 0
        self._calls: list[Callable[[], Any]] = []
        self._mapped = False

    def map(self, function: Any, items: Any) -> Iterator[Any]:
        """See `SplitEngine.map`; results are read where the function leaves them. Second stages are mapped each by itself."""
        if self._mapped:
            return self._engine.map(function, items)
        with self._changed:
            self._calls += [partial(function, item) for item in items]
            self._waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._mapped)
        return iter(())

    def run_all(self, runs: Sequence[Callable[[], Any]]) -> list[Any]:
        """What each run gives."""
        with self._engine.connected(), ThreadPoolExecutor(len(runs)) as pool:
            found = [pool.submit(run) for run in runs]
            for each in found:
                each.add_done_callback(self._changes)
            with self._changed:
                self._changed.wait_for(lambda: self._waiting + sum(each.done() for each in found) == len(found))
            try:
                deque(self._engine.map(operator.call, self._calls), maxlen=0)
            finally:
                with self._changed:
                    self._mapped = True
                    self._changed.notify_all()
            return [each.result() for each in found]

    def _changes(self, ended: Any) -> None:
        with self._changed:
            self._changed.notify_all()


def ran_together(engine: SplitEngine, cases: Sequence[Case], graphs: Graphs, folder: Path) -> dict[str, Outcome]:
    """By runs of which an engine plays all splits at the same time."""
    gathered = Gathered(engine)
    runs = [partial(ran, gathered, case, graphs[case.name], folder / case.name) for case in cases]
    return dict(zip([case.name for case in cases], gathered.run_all(runs), strict=True))


# Beam

IN_PIPELINES = ("as_ptransform", "as_ptransform, tables", "RunInference")
_seen: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)


def _see(key: tuple[str, str], value: Any) -> None:
    _seen[key].append(value)


def in_pipelines(
    cases: Sequence[Case], graphs: Graphs, options: Sequence[str] = (), ways: Sequence[str] = IN_PIPELINES
) -> dict[str, dict[str, Outcome]]:
    """By transforms and model handlers, all in one pipeline of a runner whose workers are in this process.

    What ends a pipeline has one of its own, each way.
    """
    good = [case for case in cases if not case.error]
    _seen.clear()
    _in_pipeline(good, graphs, options, ways)
    found = {way: {case.name: _PARTS[way][1](case, graphs[case.name]) for case in good} for way in ways}
    for case in cases:
        if case.error:
            for way, answers in found.items():
                try:
                    _in_pipeline([case], graphs, options, [way])
                    answers[case.name] = Outcome()
                except RuntimeError as error:
                    answers[case.name] = Outcome(error=str(error))
    return found


def _in_pipeline(cases: Sequence[Case], graphs: Graphs, options: Sequence[str], ways: Sequence[str]) -> None:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        for case in cases:
            for way in ways:
                for what, found in _PARTS[way][0](pipeline, case, graphs[case.name]).items():
                    _ = found | f"see {what} {case.name}" >> beam.Map(partial(_see, (case.name, what)))


def _dicts(pipeline: Any, case: Case, graph: mt.Graph) -> dict[str, Any]:
    import apache_beam as beam

    rows = pipeline | f"rows {case.name}" >> beam.Create(list(enumerate(case.rows.to_pylist())))
    played = rows | f"dicts {case.name}" >> graph.as_ptransform(keep=list(case.kept), batch_rows=SMALL)
    return {"dicts": played.answers, "dicts failed": played.failures}


def _tables(pipeline: Any, case: Case, graph: mt.Graph) -> dict[str, Any]:
    import apache_beam as beam

    rows = placed(case)
    cut = [(first, rows.slice(first, SMALL)) for first in range(0, len(rows), SMALL)]
    tables = pipeline | f"tables {case.name}" >> beam.Create(cut)
    transform = graph.as_ptransform(keep=[PLACE, *case.kept], schema=rows.schema, batch_rows=SMALL)
    played = tables | f"batched {case.name}" >> transform
    return {"tables": played.answers, "tables failed": played.failures}


def _inferred(pipeline: Any, case: Case, graph: mt.Graph) -> dict[str, Any]:
    import apache_beam as beam
    from apache_beam.ml.inference.base import KeyedModelHandler, RunInference

    rows = pipeline | f"given {case.name}" >> beam.Create(list(enumerate(case.rows.to_pylist())))
    handler = KeyedModelHandler(graph.as_model_handler(batch_rows=SMALL))
    return {"said": rows | f"said {case.name}" >> RunInference(handler)}


def told(failure: Row) -> tuple[str, str, str]:
    """What is said of a row that failed."""
    return failure["node"], failure["error"], failure["message"]


def _of_dicts(case: Case, graph: mt.Graph) -> Outcome:
    answers = {place: plain(row) for place, row in _seen[case.name, "dicts"]}
    kept = {place: {name: row[name] for name in case.kept} for place, row in _seen[case.name, "dicts"]}
    failures = {place: told(failure) for place, failure in _seen[case.name, "dicts failed"]}
    return Outcome(
        {place: {name: row[name] for name in graph.outputs} for place, row in answers.items()}, failures, kept
    )


def _of_inference(case: Case, graph: mt.Graph) -> Outcome:
    found = [(place, plain(result.inference)) for place, result in _seen[case.name, "said"]]
    return Outcome(
        {place: said for place, said in found if "message" not in said},
        {place: told(said) for place, said in found if "message" in said},
    )


def _of_tables(case: Case, graph: mt.Graph) -> Outcome:
    """Rows of tables, which may come in pieces, by the column that tells them apart."""
    failed = [row for _, table in _seen[case.name, "tables failed"] for row in table.to_pylist()]
    rows = [row for _, table in _seen[case.name, "tables"] for row in table.to_pylist()]
    return Outcome(
        {row[PLACE]: shaped({name: row[name] for name in graph.outputs}, graph) for row in rows},
        {failure["row"][PLACE]: told(failure) for failure in failed},
        {row[PLACE]: {name: row[name] for name in case.kept} for row in rows},
    )


_PARTS: dict[str, tuple[Any, Any]] = {
    "as_ptransform": (_dicts, _of_dicts), "as_ptransform, tables": (_tables, _of_tables), "RunInference": (_inferred, _of_inference),
}  # fmt: skip
"""What is added to a pipeline, and how what it said is read."""


# What is right


def check(case: Case, way: str, got: Outcome, reference: Outcome | None = None) -> None:
    """See that rows were answered, and failed, as plain Python says, and as another way does where that says more.

    Raises:
        AssertionError: when they were not.
    """
    if case.error:
        assert case.error in got.error, f"it ends with {got.error!r}"
        return
    assert not got.error, got.error
    rows = case.rows.to_pylist()
    assert len(got.answers) + len(got.failures) == len(rows), (
        f"{len(got.answers)} answers, {len(got.failures)} failures"
    )
    for place, row in enumerate(rows):
        right, failed = case.right(row), got.failures.get(place)
        if isinstance(right, tuple):
            assert failed is not None, f"{row} is answered by {got.answers[place]}"
            assert way in SERVED or failed[:2] == right, f"{row} fails with {failed}; right is {right}"
        else:
            assert failed is None, f"{row} fails with {failed}"
            found = {name: got.answers[place][name] for name in right}
            assert same(found, right, case.within), f"{row} is answered by {found}; right is {right}"
            if is_for(way, "columns that are kept: numbers and texts") and case.kept:
                kept = (got.kept or {})[place]
                stored = row if got.given is None else got.given[place]
                assert repr(kept) == repr({name: stored[name] for name in case.kept}), f"of {stored} is kept {kept}"
    if reference is not None:
        for place, answer in reference.answers.items():
            assert same(got.answers[place], answer, case.within), (
                f"{rows[place]}: {got.answers[place]}, elsewhere {answer}"
            )
        for place, (node, error, message) in reference.failures.items():
            said = got.failures[place]
            if way in SERVED:
                assert why(message) in why(said[2]), f"{rows[place]}: {said}, elsewhere {message}"
            else:
                assert (*said[:2], why(said[2])) == (node, error, why(message)), (
                    f"{rows[place]}: {said}, elsewhere {message}"
                )


def why(message: str) -> str:
    """A message without folders of files; what is an input where a graph is called is a column where that is stored."""
    return re.sub(r"\(/[^()]*/", "(", message.replace("column '", "input '"))


def same(got: Any, right: Any, within: float) -> bool:
    """Whether values are the same; numbers at most so far apart."""
    if isinstance(right, dict):
        return got.keys() == right.keys() and all(same(got[name], value, within) for name, value in right.items())
    if isinstance(right, list):
        return len(got) == len(right) and all(map(same, got, right, repeat(within)))
    if isinstance(right, float) and isinstance(got, float):
        return got == right or abs(got - right) <= within or (math.isnan(got) and math.isnan(right))
    return bool(got == right)


@dataclass
class Tried:
    """Cases with their graphs, and what a reference says of each."""

    cases: tuple[Case, ...]
    graphs: Graphs
    reference: Mapping[str, Outcome]

    def of(self, way: str) -> list[Case]:
        """Those that are for a way."""
        return [case for case in self.cases if case.is_for(way)]

    def check(self, way: str, found: Mapping[str, Outcome]) -> None:
        """See that all are right but for the gaps, and that these are gaps; all that are not are told."""
        wrong = []
        for case in self.of(way):
            try:
                check(case, way, found[case.name], self.reference[case.name])
                if case.is_gap(way):
                    wrong.append(f"{case.name}: is right, and said to be a gap")
            except AssertionError as error:
                if not case.is_gap(way):
                    wrong.append(f"{case.name}: {error}")
        assert not wrong, "\n".join(wrong)


def tried(folder: Path, server: OipServer) -> Tried:
    """Make all graphs, and have the reference, a call or a run on this machine, answer them."""
    found = (*all_cases(folder, server), *more_cases())
    graphs = {}
    for case in found:
        (folder / case.name).mkdir()
        graphs[case.name] = case.graph(folder / case.name)
    (folder / "reference").mkdir()
    run = {case.name: ran("local", case, graphs[case.name], folder / "reference" / case.name) for case in found}
    return Tried(found, graphs, run)
