"""Models in the place of a graph's own, for tests: functions that take and give what those do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from motet.errors import GraphError, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.graph.fields import show
from motet.graph.graph import GraphSpec
from motet.graph.model import Model
from motet.graph.snapshot import STAND_IN, is_model
from motet.types import Signature

__all__ = ["StandIn", "with_stand_ins"]


class StandIn:
    """A function as a model.

    Args:
        function: takes a model's inputs, by name where its parameters are called so, else in order.
        names: of the inputs.
    """

    def __init__(self, function: Callable[..., Any], names: Sequence[str]) -> None:
        self._function, self._names = function, names
        self._by_name = _is_by_name(function, names)

    def __call__(self, *columns: Any) -> Any:
        """Answer a batch."""
        if self._by_name:
            return self._function(**dict(zip(self._names, columns, strict=True)))
        return self._function(*columns)


def with_stand_ins(graph: GraphSpec, checked: CheckedGraph, given: Mapping[str, Any]) -> GraphSpec:
    """A graph with other models in the place of some, as data.

    Args:
        graph: the graph.
        checked: what was found out about it.
        given: what stands in, by the names of models, those of graphs inside as `GRAPH/MODEL`; see `Graph.with_models`.

    Raises:
        UnknownNameError: when there is no such model.
        GraphError: when something cannot stand in.
    """
    inside: dict[str, dict[str, Any]] = {}
    for name, inner in graph.graphs.items():
        inside[name] = {each: given[each] for each in given if _is_same(graph, inner, each)}
    own: dict[str, Any] = {}
    for name, each in given.items():
        if not isinstance(name, str):
            raise UnknownNameError("model", str(name), list(_names(graph)), where=f"graph {graph.name!r}")
        outer, mark, rest = name.partition("/")
        if mark and outer in inside:
            inside[outer][rest] = each
        elif name in graph.models:
            keys = checked.keys.get(name)
            own |= {name: each} if keys is None else {f"{name}.{key}": each for key in keys}
        else:
            raise UnknownNameError("model", name, list(_names(graph)), where=f"graph {graph.name!r}")
    base = graph if all(name in graph.models for name in own) else checked.graph  # which has a model for each key
    made = {name: _stand_in(each, base.models[name], checked.signatures.get(name)) for name, each in own.items()}
    graphs = {
        name: with_stand_ins(inner, checked.graphs[name], inside[name]) if inside[name] else inner
        for name, inner in graph.graphs.items()
    }
    return base.changed(models={**base.models, **made}, graphs=graphs)


def _names(graph: GraphSpec, path: str = "") -> Iterator[str]:
    """The models of a graph, and those of the graphs inside it as `GRAPH/MODEL`."""
    yield from (f"{path}{name}" for name in graph.models)
    for name, inner in graph.graphs.items():
        yield from _names(inner, f"{path}{name}/")


def _is_same(graph: GraphSpec, inner: GraphSpec, name: str) -> bool:
    """Whether a graph inside has the model that the graph around it has under this name."""
    if name not in graph.models or name not in inner.models:
        return False
    return graph.folder == inner.folder and graph.models[name] == inner.models[name]


def _stand_in(given: Any, model: Model, signature: Signature | None) -> Model:
    """What stands in for a model, which takes and gives this; None where that is not known."""
    where = f"stand-in for model {model.name!r}"
    if isinstance(given, Model):
        return given.named(model.name)
    if isinstance(given, str):
        return replace(model, uri=given, version="")
    is_graph = isinstance(given, GraphSpec)
    if is_model(given) and not is_graph:
        own = Model(given)
        return replace(
            own, name=model.name, before=model.before, after=model.after, batch=model.batch, labels=model.labels
        )
    if is_graph or not callable(given):
        hint = "motet.testing.constant(...) gives every row the same answer"
        hint = "give a function that calls it" if is_graph else hint
        raise GraphError(
            f"expected a Model, a URI, an estimator or a function; got {show(given)}", where=where, hint=hint
        )
    if signature is None:
        raise GraphError(
            "what the model takes and gives is not known, since no store has it",
            where=where,
            hint="give a motet.Model with inputs and outputs",
        )
    _check_call(given, list(signature.inputs), where)
    return Model(
        STAND_IN,
        model.name,
        inputs=signature.inputs,
        outputs=signature.outputs,
        before=model.before,
        after=model.after,
        batch=model.batch,
        labels=model.labels,
        options={"function": given, "names": list(signature.inputs)},
        version="stand-in",
    )


def _parameters(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # of functions in C
        return None


def _is_by_name(function: Callable[..., Any], names: Sequence[str]) -> bool:
    """Whether a function's parameters are called as the inputs are."""
    signature = _parameters(function)
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return signature is not None and {n for n, each in signature.parameters.items() if each.kind in kinds} == set(names)


def _check_call(function: Callable[..., Any], names: Sequence[str], where: str) -> None:
    signature = _parameters(function)
    if signature is None or _is_by_name(function, names):
        return
    try:
        signature.bind(*names)
    except TypeError as error:
        raise GraphError(f"the function cannot be called with {', '.join(names)}: {error}", where=where) from None
