"""What the workers of an engine are given: one graph over rows of one schema, as data alone.

A job holds no model, lock or open file: it pickles, is small, and says before anything runs which columns go in and out.
Its models are those that the graph had when it was made: a worker that finds others under the same names refuses to play.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from motet.engines.batch_rows import BatchRows
from motet.engines.layout import FAILURES, RunLayout
from motet.engines.player import BatchPlayer
from motet.engines.shipping import local_models, shipped
from motet.engines.undeclared import Undeclared
from motet.errors import InputError
from motet.graph.check import CheckedGraph
from motet.io import arrow_type
from motet.io.fitted import decoded_schema
from motet.runtime.executor import Executor
from motet.runtime.host import Host
from motet.runtime.isolate import Tolerance
from motet.runtime.resolve import ModelResolver, model_key
from motet.runtime.sizes import RememberedSizes
from motet.runtime.trial import Trials

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """A graph over rows of one schema; made by `Job.of`.

    Attributes:
        checked: the graph; its folder is absolute.
        layout: which columns go in and out.
        kinds: the types of outputs that nobody declared, by name.
        versions: of the models, by the graphs they stand in and their names.
        sizes: how many rows calls of models have, by `ModelRuntime.key`, where that was known.
        batch_rows: how many rows a batch should have; it may have any number.
        goes_on: whether to go on where a model fails on everything, with a failure for each row.
        digest: what tells it from other jobs; that of `over` begins with the job's own and `/`, that of `anew` with it and `~`.
    """

    checked: CheckedGraph
    layout: RunLayout
    kinds: Mapping[str, Any]
    versions: Mapping[str, str]
    sizes: Mapping[str, int]
    batch_rows: int
    goes_on: bool
    digest: str

    @classmethod
    def of(
        cls,
        checked: CheckedGraph,
        schema: pa.Schema,
        *,
        keep: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        row_ids: str | None = None,
        batch_rows: int | None = None,
        num_rows: int | None = None,
        goes_on: bool = False,
        ship: bool = False,
        sample: pa.RecordBatch | None = None,
        holds: Callable[[pa.Field], bool] = lambda field: True,
        where: str = "the rows",
    ) -> Job:
        """A job over rows of a schema.

        Args:
            checked: the graph.
            schema: of the rows.
            keep, drop, row_ids, holds, where: as for `RunLayout.of`.
            batch_rows: how many rows a batch should have; None goes by their size.
            num_rows: rows that there are, where that is known.
            goes_on: whether to go on where a model fails on everything.
            ship: whether the files of models at local paths go with the job, to workers that do not have them.
            sample: some of the rows, which are played here to learn the types of outputs that nobody declared. Without such
                outputs it is not looked at.

        Raises:
            InputError: when the columns do not fit, or nobody declared the type of an output and there is no sample; or when
                models are too large to be shipped.
            ModelLoadError: when a model is not there.
        """
        checked = shipped(_absolute(checked)) if ship else _absolute(checked)
        layout = RunLayout.of(checked, decoded_schema(schema), keep, drop, where, holds, row_ids)
        return cls._made(checked, layout, batch_rows, num_rows, sample, goes_on=goes_on).declared()

    @classmethod
    def of_values(
        cls, checked: CheckedGraph, *, batch_rows: int | None = None, goes_on: bool = False, ship: bool = False
    ) -> Job:
        """A job over rows that are Python's: its workers `answer` what is bound already. `over` gives one for record batches.

        Args:
            checked, batch_rows, goes_on, ship: as for `of`.

        Raises:
            ModelLoadError: when a model is not there.
            InputError: when `batch_rows` is no such number.
        """
        checked = shipped(_absolute(checked)) if ship else _absolute(checked)
        layout = RunLayout.of(checked, _taken(checked), (), (), "the rows")
        return cls._made(checked, layout, batch_rows, None, None, goes_on=goes_on)

    @classmethod
    def _made(
        cls,
        checked: CheckedGraph,
        layout: RunLayout,
        batch_rows: int | None,
        num_rows: int | None,
        sample: pa.RecordBatch | None,
        *,
        goes_on: bool,
    ) -> Job:
        if batch_rows is not None and (not isinstance(batch_rows, int) or batch_rows < 1):
            raise InputError(f"batch_rows must be a whole number of at least 1; got {batch_rows!r}")
        host = Host(ModelResolver(), trials=Trials(), run=Tolerance(unlimited=goes_on))
        with closing(Executor(checked, host)) as executor:
            versions = host.resolver.versions(checked)
            sizes = _sizes_of(checked, host.resolver)
            host.expect(sizes)
            kinds = {} if sample is None or not layout.undeclared else _learned(layout, executor, sample)
            sizes |= {
                model.key: model.size.best for model in host.known if model.size.settled and not model.batch_invariant
            }
            rows = BatchRows(executor, num_rows, 1, batch_rows, None, models=bool(versions)).by_size()
        made = cls(checked, layout, kinds, versions, sizes, rows, goes_on, "")
        return replace(made, digest=_digest(made))

    def over(
        self,
        schema: pa.Schema,
        *,
        keep: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        row_ids: str | None = None,
    ) -> Job:
        """The same graph with the same models over rows of another schema.

        Raises:
            InputError: as for `of`.
        """
        layout = RunLayout.of(self.checked, decoded_schema(schema), keep, drop, "the rows", row_ids=row_ids)
        digest = f"{self.digest}/{hashlib.sha256(pickle.dumps(layout)).hexdigest()[:32]}"
        return replace(self, layout=layout, digest=digest).declared()

    def stage(
        self,
        checked: CheckedGraph,
        schema: pa.Schema | None = None,
        keep: Sequence[str] = (),
        row_ids: str | None = None,
    ) -> Job:
        """A part of the graph with the same models over rows of another schema; without one, over Python's, as `of_values`.

        Raises:
            InputError: as for `of`.
        """
        values, schema = schema is None, _taken(checked) if schema is None else schema
        layout = RunLayout.of(checked, schema, keep, (), "the rows of a stage", row_ids=row_ids)
        inside = {*checked.graph.models, *checked.graphs}
        versions = {name: each for name, each in self.versions.items() if name.partition("/")[0] in inside}
        kinds = {name: each for name, each in self.kinds.items() if name in layout.undeclared}
        made = replace(self, checked=checked, layout=layout, versions=versions, kinds=kinds, digest="")
        made = replace(made, digest=_digest(made))
        return made if values else made.declared()

    def anew(self, checked: CheckedGraph) -> Job:
        """The same job with the models that a graph has now; itself where they are the same.

        Raises:
            InputError: when the graph takes or gives other types with them.
            ModelLoadError: when a model is not there.
        """
        own, others = self.checked.signature, checked.signature
        if (own.inputs, own.outputs) != (others.inputs, others.outputs):
            what = f"with its models of now it is {others}; it was {own} when the job was made"
            raise InputError(
                what, where=f"graph {checked.graph.name!r}", hint="make the job anew with the other models"
            )
        checked, resolver = _absolute(checked), ModelResolver()
        versions = resolver.versions(checked)
        told = repr((sorted(versions.items()), sorted(_uris(checked))))
        if told == repr((sorted(self.versions.items()), sorted(_uris(self.checked)))):
            return self
        digest = f"{self.digest}~{hashlib.sha256(told.encode()).hexdigest()[:32]}"
        return replace(self, checked=checked, versions=versions, sizes=_sizes_of(checked, resolver), digest=digest)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a worker is given, in this order."""
        return self.layout.read

    @cached_property
    def read_schema(self) -> pa.Schema:
        """Names and types of these columns."""
        return pa.schema([self.layout.source.field(name) for name in self.columns])

    @cached_property
    def answers_schema(self) -> pa.Schema:
        """Names and types of what is answered: kept columns and outputs.

        Raises:
            InputError: when nobody has declared the type of an output, and none was learned.
        """
        for name, node in _nodes_of(self.layout, self.checked).items():
            if name not in self.kinds:
                what = f"nobody says of which type the output {name!r} is, and it must be known before rows are played"
                hint = f"declare it at the node {node!r}: outputs: TYPE, such as float32, or outputs: {{NAME: TYPE}}"
                raise InputError(what, where=f"graph {self.checked.graph.name!r}", hint=hint)
        return self.layout.known(kinds=self.kinds)

    def declared(self) -> Job:
        """This job, of which `answers_schema` is known.

        Raises:
            InputError: when it is not.
        """
        _ = self.answers_schema
        return self

    @property
    def failures_schema(self) -> pa.Schema:
        """Names and types of what is said of rows that failed."""
        return FAILURES

    @property
    def local_models(self) -> dict[str, str]:
        """The models that lie on disks of this machine and do not go with the job: by name their URIs."""
        return {name: model.uri for name, model in local_models(self.checked)}

    def undeclared(self) -> Undeclared:
        """Holds outputs that nobody declared to the types that they have in this job."""
        return Undeclared(_nodes_of(self.layout, self.checked), self.kinds)

    def player(self, elsewhere: Callable[[], Any] = lambda: None) -> BatchPlayer:
        """What plays it in this process, its models not loaded yet; see `BatchPlayer`."""
        tolerance = Tolerance(unlimited=self.goes_on)
        host = Host(ModelResolver(), self.sizes, trials=Trials(), run=tolerance)
        return BatchPlayer(self.layout, Executor(self.checked, host), tolerance, elsewhere)


def _absolute(checked: CheckedGraph) -> CheckedGraph:
    """The same graph, found from any working directory."""
    folder = checked.graph.folder
    graphs = {name: _absolute(each) for name, each in checked.graphs.items()}
    inner = {name: each.graph for name, each in graphs.items()}
    folder = folder if "://" in folder else os.path.abspath(folder)
    return replace(checked, graph=checked.graph.changed(folder=folder, graphs=inner), graphs=graphs)


def _taken(checked: CheckedGraph) -> pa.Schema:
    """What a graph takes, as columns are stored."""
    types = checked.graph.stored_types
    return pa.schema([(name, arrow_type(kind) or pa.null()) for name, kind in types.items()])


def _uris(checked: CheckedGraph, path: str = "") -> Iterator[tuple[str, str]]:
    """Where models are, by the graphs they stand in and their names."""
    yield from ((f"{path}{name}", model.uri) for name, model in checked.graph.models.items())
    for name, inner in checked.graphs.items():
        yield from _uris(inner, f"{path}{name}/")


def _sizes_of(checked: CheckedGraph, resolver: ModelResolver) -> dict[str, int]:
    """How many rows the calls of a graph's models have, as far as that was found on this machine."""
    remembered, folder = RememberedSizes(), checked.graph.folder
    keys = [model_key(model, resolver.locate(model, folder)) for model in checked.graph.models.values()]
    found = {key: size for key in keys if (size := remembered.get(key))}
    for inner in checked.graphs.values():
        found |= _sizes_of(inner, resolver)
    return found


def _nodes_of(layout: RunLayout, checked: CheckedGraph) -> dict[str, str]:
    """By output that nobody declared the node that gives it."""
    return {name: checked.canonical[checked.graph.outputs[name]].partition(".")[0] for name in layout.undeclared}


def _learned(layout: RunLayout, executor: Executor, sample: pa.RecordBatch) -> dict[str, Any]:
    """The types of outputs that nobody declared, by the answers of a few rows."""
    found, ids = Undeclared(_nodes_of(layout, executor.checked)), np.arange(len(sample))
    player = BatchPlayer(layout, executor, Tolerance(unlimited=True), lambda: None)
    played = player.play(layout.bind(sample, ids)[0])
    if len(played.outputs):
        found.learn(layout.unbind(played, sample, ids))
    found.give_up()
    return found.kinds


def _digest(job: Job) -> str:
    """Of what the job holds; by chance where it holds functions of the program itself, which may be defined anew."""
    with suppress(AttributeError, TypeError, pickle.PicklingError):  # functions that only cloudpickle takes
        content = pickle.dumps(job)
        if b"__main__" not in content:
            return hashlib.sha256(content).hexdigest()[:32]
    return uuid.uuid4().hex
