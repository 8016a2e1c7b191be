"""What a run is: graph, models, input and options. A run goes on only over the same ones."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from types import CodeType
from typing import Any

from motet.errors import ResumeError
from motet.graph.check import CheckedGraph
from motet.graph.function import Function
from motet.graph.graph import GraphSpec
from motet.graph.identity import code_identity
from motet.graph.node import NO_ANSWER, Node

__all__ = ["Manifest", "changes", "graph_digest"]


@dataclass(frozen=True)
class Manifest:
    """What fixes the result of a run.

    Attributes:
        graph: digest of the graph and of the functions it names.
        models: versions of the models, by the graphs they stand in and their names.
        source: fingerprint of the input.
        batch_rows: rows of a batch: batch boundaries are multiples of it.
        rows: which rows are played, by the names of the options.
        kept: the source's columns that are written.
        row_ids: the column of the ids of rows; None for none.
        output: the format that is written.
        sizes: rows a call has, of the models whose answers depend on what shares the call.
        split_bytes: what a part of the input has at most that a worker reads by itself; None where one process reads all.
        stages: into how many the graph is cut.
        pin: see `Stream.pin`.
    """

    graph: str
    models: Mapping[str, str]
    source: str
    batch_rows: int
    rows: Mapping[str, Any]
    kept: tuple[str, ...]
    row_ids: str | None
    output: str
    sizes: Mapping[str, int]
    split_bytes: int | None = None
    stages: int = 1
    pin: str = ""

    def to_json(self) -> str:
        """The manifest as a file holds it."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """The inverse of `to_json`."""
        values = json.loads(text)
        return cls(**{**values, "kept": tuple(values["kept"])})

    def check_same(self, earlier: Manifest, where: str) -> None:
        """Refuse to go on over something else.

        Raises:
            ResumeError: names what changed.
        """
        for name, what in _CHECKED.items():
            then, now = getattr(earlier, name), getattr(self, name)
            if then != now:
                raise ResumeError(
                    f"{what} changed since the run stopped: {_difference(then, now)}",
                    where=where,
                    hint="begin anew with --overwrite, or put back what it was",
                )


_CHECKED = {
    "graph": "the graph, or a function it names,",
    "models": "a model",
    "source": "the input",
    "rows": "the choice of rows",
    "kept": "the columns that are kept",
    "row_ids": "--row-ids",
    "output": "the format of the output",
    "split_bytes": "how the engine cuts the input",
    "stages": "into how many stages the engine cuts the graph (--one-stage)",
}


def _difference(then: Any, now: Any) -> str:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        return ", ".join(changes(then, now))
    return f"was {then}, is {now}"


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs: `NAME was ..., is ...`."""
    changed = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return [f"{name} was {then.get(name, 'not there')}, is {now.get(name, 'not there')}" for name in changed]


def graph_digest(checked: CheckedGraph) -> str:
    """Digest of what a graph says and of the functions it names; models are told apart by their own digests."""
    hashed = hashlib.sha256()
    for part in _parts(checked.graph):
        hashed.update(repr(part).encode())
        hashed.update(b"\0")
    return hashed.hexdigest()[:32]


def _parts(graph: GraphSpec) -> Iterator[Any]:
    yield graph.name
    yield sorted((name, str(each)) for name, each in graph.inputs.items())
    yield sorted(graph.outputs.items())
    for name in sorted(graph.models):
        model = graph.models[name]
        yield name, [str(getattr(model, each.name)) for each in fields(model)]
        for function in (*model.before, *model.after):
            yield _source(function)
    for name in sorted(graph.nodes):
        yield from _node_parts(graph.nodes[name])
    for name in sorted(graph.graphs):
        yield name
        yield from _parts(graph.graphs[name])


def _node_parts(node: Node) -> Iterator[Any]:
    told = [each.name for each in fields(node) if not each.metadata.get(NO_ANSWER)]
    values = [getattr(node, name) for name in told]  # and nothing that was found out about it since
    yield type(node).__name__, [str(value) for value in values]
    yield [(value.keywords, value.outputs) for value in values if isinstance(value, Function)]
    for value in values:
        if isinstance(value, Function):
            yield _source(value)


def _source(function: Function) -> object:
    """What tells a function from another of the same name: its compiled code, None for one that has none."""
    found = function.resolve()
    code = getattr(inspect.unwrap(found), "__code__", None) or getattr(type(found).__call__, "__code__", None)
    return code_identity(code) if isinstance(code, CodeType) else None
