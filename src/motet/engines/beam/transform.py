"""A graph as a transform of Beam's."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import DoOutputsTuple, PCollection
from apache_beam.typehints import typehints

from motet.engines.beam.hints import hints_of
from motet.engines.beam.play import FAILURES, PlayRows
from motet.engines.beam.rows import Kept
from motet.engines.beam.types import field_type, fields_of, row_type
from motet.engines.beam.workers import watch_workers
from motet.engines.layout import FAILED
from motet.engines.needs import need_of
from motet.engines.tables import failures_schema, table_job
from motet.errors import InputError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.graph.graph import GraphSpec

__all__ = ["PlayGraph"]

_runs: WeakKeyDictionary[beam.Pipeline, str] = WeakKeyDictionary()
"""What tells the run of a pipeline from those of others."""


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
        graph: GraphSpec | None = None,
    ) -> None:
        super().__init__(f"Play {checked.graph.name}")
        if ship and models is not None:
            hint = "publish them to a store that the workers reach"
            raise InputError("models that come later cannot be shipped", where="ship", hint=hint)
        self._schema, self._models, self._graph = schema, models, None if models is None else graph
        self._job = table_job(checked, schema, keep, drop, batch_rows=batch_rows, goes_on=goes_on, ship=ship)
        self._kept = Kept(None if keep is None else tuple(keep), tuple(drop))
        self.with_resource_hints(**hints_of(need_of(self._job.checked)))

    @property
    def answers_schema(self) -> pa.Schema:
        """Names and types of the answers, where the schema of what comes was given."""
        self._known()
        return self._job.answers_schema

    @property
    def failures_schema(self) -> pa.Schema:
        """Names and types of what is said of rows that failed, where the schema of what comes was given."""
        return failures_schema(self._known())

    def expand(self, rows: PCollection[Any]) -> DoOutputsTuple:
        """The answers, and what is said of rows that failed."""
        watch_workers()
        run = _runs.setdefault(rows.pipeline, uuid.uuid4().hex)
        play = PlayRows(self._job, self._kept, run, typed=self._schema is not None, graph=self._graph)
        told = {} if self._models is None else {"told": beam.pvalue.AsList(self._models)}
        found = rows | "Play" >> beam.ParDo(play, **told).with_outputs(FAILURES, main="answers")
        answers, failures = self._types(rows.element_type)
        found.answers.element_type, found.failures.element_type = answers, failures
        return found

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
