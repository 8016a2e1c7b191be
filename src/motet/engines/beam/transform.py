"""A graph as a transform of Beam's."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import ListCoder, WindowedValueCoder, registry
from apache_beam.pvalue import DoOutputsTuple, PCollection
from apache_beam.transforms.resources import AcceleratorHint
from apache_beam.typehints import typehints

from motet.engines.beam.hints import hints_of
from motet.engines.beam.play import FAILURES, PlayRows
from motet.engines.beam.rows import Kept
from motet.engines.beam.stages import TRAVELLING, BringTogether, PlayStage, StagePlace, table_jobs
from motet.engines.beam.types import field_type, fields_of, row_type
from motet.engines.beam.workers import watch_workers
from motet.engines.job import Job
from motet.engines.layout import FAILED
from motet.engines.stages import LEFT, Stage, stages_of
from motet.engines.tables import failures_schema, table_job
from motet.errors import InputError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.graph.graph import GraphSpec

__all__ = ["PlayGraph"]

_runs: WeakKeyDictionary[beam.Pipeline, str] = WeakKeyDictionary()
"""What tells the run of a pipeline from those of others."""


class PlayedRows(NamedTuple):
    """Answers, and what is said of rows that failed."""

    answers: PCollection[Any]
    failures: PCollection[Any]


class PlayGraph(beam.PTransform):  # type: ignore[misc]
    """Plays a graph over a PCollection; see `motet.Graph.as_ptransform`.

    Args:
        checked: the graph.
        keep, drop: which columns are written beside the outputs.
        schema: of the tables that come, where that is known.
        batch_rows: how many rows are played together at most; None goes by their size.
        goes_on: whether to go on where a model fails on everything.
        ship: whether the files of local models go with the pipeline.
        models: tells of other models while the pipeline goes on; see `refreshed`.
        one_stage: whether the graph is not cut into stages.
        graph: as it was declared.
    """

    def __init__(
        self,
        checked: CheckedGraph,
        *,
        keep: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        schema: pa.Schema | None = None,
        batch_rows: int | None = None,
        goes_on: bool = False,
        ship: bool = False,
        models: PCollection[Any] | None = None,
        one_stage: bool = False,
        graph: GraphSpec | None = None,
    ) -> None:
        super().__init__(f"Play {checked.graph.name}")
        self._schema, self._models, self._accelerator = schema, models, ""
        self._job = table_job(checked, schema, keep, drop, batch_rows=batch_rows, goes_on=goes_on, ship=ship)
        declared = self._job.checked.graph if ship else graph
        self._graph = None if models is None else declared
        self._kept = Kept.by(checked, keep, drop)
        taken = schema is not None and any(name.startswith(LEFT) for name in schema.names)
        self._stages = stages_of(self._job.checked, one=one_stage or taken)
        self._jobs = [self._job] if len(self._stages) == 1 else list(self._stage_jobs())

    @property
    def answers_schema(self) -> pa.Schema:
        """Names and types of the answers, where the schema of what comes was given."""
        self._known()
        return self._job.answers_schema

    @property
    def failures_schema(self) -> pa.Schema:
        """Names and types of what is said of rows that failed, where the schema of what comes was given."""
        return failures_schema(self._known())

    def expand(self, rows: PCollection[Any]) -> DoOutputsTuple | PlayedRows:
        """The answers, and what is said of rows that failed."""
        watch_workers()
        run = _runs.setdefault(rows.pipeline, uuid.uuid4().hex)
        answers, failures = self._types(rows.element_type)
        coder = ListCoder(WindowedValueCoder(registry.get_coder(rows.element_type)))
        failed: list[PCollection[Any]] = []
        given, count, typed = rows, len(self._stages), self._schema is not None
        for number, (stage, job) in enumerate(zip(self._stages, self._jobs, strict=True)):
            if number:
                shuffle = BringTogether() if stage.grouped else beam.Reshuffle()
                given = given | f"To stage {number + 1}" >> shuffle
                given.element_type = TRAVELLING
            after = None if number + 1 == count else self._stages[number + 1]
            if count == 1:
                play = PlayRows(job, self._kept, run, typed=typed, graph=self._graph)
            else:
                place = StagePlace(number, count, stage, after, coder)
                play = PlayStage(job, self._kept, run, typed=typed, graph=self._graph, place=place)
            found = self._played(given, play, "Play" if not number else f"Play stage {number + 1}", stage)
            found.failures.element_type = failures
            found.answers.element_type = answers if after is None else TRAVELLING
            given = found.answers
            failed.append(found.failures)
        if count == 1:
            return found
        told = tuple(failed) | "Failures" >> beam.Flatten()
        told.element_type = failures
        return PlayedRows(given, told)

    def _played(self, rows: PCollection[Any], play: PlayRows, label: str, stage: Stage) -> DoOutputsTuple:
        told = {} if self._models is None else {"told": beam.pvalue.AsList(self._models)}
        step = beam.ParDo(play, **told).with_outputs(FAILURES, main="answers")
        return rows | label >> step.with_resource_hints(**self._hints(rows.pipeline, stage))

    def _hints(self, pipeline: beam.Pipeline, stage: Stage) -> Mapping[str, str]:
        """The hints of a stage; of an accelerator what is said around it says more."""
        hints = hints_of(stage.need)
        if "accelerator" in hints and self._accelerator:
            hints["accelerator"] = self._accelerator
        elif any(AcceleratorHint.urn in each.resource_hints for each in pipeline.transforms_stack):
            hints.pop("accelerator", None)
        return hints

    def with_resource_hints(self, **hints: Any) -> PlayGraph:
        """Say more of what workers must have; an accelerator is for those stages alone that ask for one, where any does."""
        if any(stage.need.accelerator for stage in self._stages):
            self._accelerator = hints.pop("accelerator", self._accelerator)
        found: PlayGraph = super().with_resource_hints(**hints)
        return found

    def _stage_jobs(self) -> Iterator[Job]:
        if self._schema is None:
            return (self._job.stage(stage.checked) for stage in self._stages)
        return table_jobs(self._job, self._stages)

    def _known(self) -> pa.Schema:
        if self._schema is None:
            hint = "give it: graph.as_ptransform(schema=pyarrow.parquet.read_schema(path))"
            raise InputError("the schema of the rows is not known before they come", where=self.label, hint=hint)
        return self._schema

    def _types(self, kind: Any) -> tuple[Any, Any]:
        """The types of answers and failures, of what comes."""
        if _is_pair(kind):
            key, row = kind.tuple_types
            answers, failures = self._types(row)
            return typehints.Tuple[key, answers], typehints.Tuple[key, failures]
        fields = fields_of(kind)
        if fields is None:
            return typehints.Any, typehints.Any
        checked, kept = self._job.checked, self._kept
        inputs, stored = checked.graph.inputs, checked.graph.stored
        for name, each in inputs.items():
            if not each.has_default and not {name, stored[name]} & set(fields):
                hint = f"graph {checked.graph.name!r} takes {name}: {each.type}"
                raise UnknownNameError("field", stored[name], list(fields), where=self.label, hint=hint)
        kept.check(list(fields), self.label)
        outputs = {name: field_type(each) for name, each in checked.signature.outputs.items()}
        answers = row_type({**{name: fields[name] for name in kept.of(list(fields), checked)}, **outputs})
        return answers, row_type({"row": kind, **dict.fromkeys(FAILED, str)})


def _is_pair(kind: Any) -> bool:
    """Whether elements are keys and values, and no named tuples."""
    return isinstance(kind, typehints.TupleConstraint) and len(kind.tuple_types) == 2
