"""Which column goes to which input of a model or graph: by name where names are its inputs', else by place, never by both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from motet.errors import GraphError, UnknownNameError
from motet.graph.graph import GraphSpec
from motet.graph.node import Inputs, Member, Node

__all__ = ["bound"]


def bound(graph: GraphSpec, takes: Callable[[str], Sequence[str]], ordered: Callable[[str], bool]) -> GraphSpec:
    """The graph, each of whose members that takes columns by name says so.

    Columns in a list go by name where the name of each is one of the member's inputs; else they go in order. A node
    that names no columns takes those that are called as the member's inputs. The name of a column is that of the
    graph's input, or the one it is stored under; of a node's column what stands behind the dot.

    Args:
        graph: the graph.
        takes: the names of what a model or graph takes.
        ordered: whether columns in a list go to it in order whatever they are called, as to functions.

    Raises:
        GraphError: when some of the names are inputs of the member and others are not, or a column is not there.
    """
    nodes: dict[str, Node] = {}
    for name, node in graph.nodes.items():
        nodes[name] = node.bound(partial(_bind, graph, node, takes, ordered))
    if all(nodes[name] is node for name, node in graph.nodes.items()):
        return graph
    return graph.changed(nodes=nodes)


def _bind(
    graph: GraphSpec,
    node: Node,
    takes: Callable[[str], Sequence[str]],
    ordered: Callable[[str], bool],
    member: Member,
    inputs: Inputs,
) -> Inputs:
    """What a member is given, by name where it goes by name."""
    if inputs.names or (inputs.columns and ordered(member.uses)):
        return inputs
    where = node.where if len(node.members) == 1 else f"{node.where}, member {member.name!r}"
    try:
        wanted = takes(member.uses)
    except GraphError as error:
        raise error.located(where) from None
    if not inputs.columns:
        known = [name for name in (*graph.inputs, *graph.nodes) if name != node.name]
        return Inputs(tuple(_called(graph, name, known, member.uses, where) for name in wanted), tuple(wanted))
    if len(inputs.columns) != len(wanted):
        return inputs  # in order; a wrong number of them is found where types are checked
    found = [next((name for name in _names(graph, column) if name in wanted), None) for column in inputs.columns]
    names = [name for name in found if name is not None]
    if len(set(names)) == len(wanted):
        return Inputs(inputs.columns, tuple(names))
    if not names:
        return inputs
    raise _mixed(member, wanted, inputs.columns, found, where)


def _mixed(
    member: Member, wanted: Sequence[str], columns: Sequence[str], found: Sequence[str | None], where: str
) -> GraphError:
    named = [column for column, name in zip(columns, found, strict=True) if name is not None]
    others = [column for column, name in zip(columns, found, strict=True) if name is None]
    free = [name for name in wanted if name not in found]
    what = f"{', '.join(named)} {'is' if len(named) == 1 else 'are'} called as inputs of {member.uses!r}"
    what += f", {', '.join(others)} {'is' if len(others) == 1 else 'are'} not" if others else " that are given twice"
    pairs = [
        f"{name or (free.pop(0) if free else '...')}: {column}" for name, column in zip(found, columns, strict=True)
    ]
    hint = f"say which goes where, for example inputs: {{{', '.join(pairs)}}}"
    return GraphError(f"{what}; it takes {', '.join(wanted)}", where=where, hint=hint)


def _names(graph: GraphSpec, column: str) -> tuple[str | None, ...]:
    """What a column is called, first what is meant first."""
    if column in graph.inputs:
        return (column, graph.inputs[column].column)
    return (column.rpartition(".")[2],)


def _called(graph: GraphSpec, name: str, known: Sequence[str], uses: str, where: str) -> str:
    """The column of the graph that is called like an input of a member."""
    if name in known:
        return name
    stored = next((each for each, made in graph.inputs.items() if made.column == name), None)
    if stored is None:
        hint = f"the node names no inputs, so {uses!r} takes the columns that are called as its own; name them: inputs: [...]"
        raise UnknownNameError("column", name, known, where=where, hint=hint)
    return stored
