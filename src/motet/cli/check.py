"""`motet check`: find the mistakes of a graph before a model is loaded for use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from motet.cli.exits import Command, load_graph

if TYPE_CHECKING:
    from motet.graph.check import CheckedGraph

__all__ = ["command"]


@click.command("check", cls=Command)
@click.argument("graph", metavar="GRAPH.yaml")
def command(graph: str) -> None:
    """Check a graph: names, types, cycles, model files.

    Prints a summary and exits with 0, or says what is wrong, where, and how to mend it, and exits with 2.
    """
    click.echo("\n".join(summary(load_graph(graph).checked)))


def summary(checked: CheckedGraph) -> list[str]:
    """What a graph takes, gives and consists of, a line each."""
    from motet.engines.support import lacking
    from motet.graph.check import unused

    graph = checked.graph
    lines = [f"{graph.name}: no mistakes"]
    lines += _section("inputs", {name: str(each.type) for name, each in graph.inputs.items()})
    lines += _section("models", {name: f"{graph.models[name].uri} {each}" for name, each in checked.signatures.items()})
    lines += _section("graphs", {name: str(each.signature) for name, each in checked.graphs.items()})
    lines += _section("nodes", {name: _node(checked, name) for name in checked.order})
    lines += _section("outputs", {name: str(kind) for name, kind in checked.signature.outputs.items()})
    for what, names in unused(checked).items():
        lines.append(f"warning: no output needs the {what} {', '.join(names)}")
    lines += [f"note: {text}" for text in lacking(graph, "local")]
    return lines


def _section(title: str, parts: dict[str, str]) -> list[str]:
    width = max((len(name) for name in parts), default=0)
    return [title, *(f"  {name.ljust(width)}  {text}" for name, text in parts.items())] if parts else []


def _node(checked: CheckedGraph, name: str) -> str:
    node = checked.graph.nodes[name]
    of_node = [full for full in checked.columns if full == name or full.startswith(f"{name}.")]
    columns = [f"{full}: {checked.columns[full]}" for full in of_node if full.count(".") < 2]
    return f"{node.kind} ({', '.join(node.references())}) -> {', '.join(columns)}"
