"""`motet check`: find the mistakes of a graph before a model is loaded for use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from motet.cli.completion import GRAPH_FILE
from motet.cli.exits import FAILED, WRONG, Command, load_graph
from motet.cli.stages import ENGINE, stages_on

if TYPE_CHECKING:
    from motet.graph.check import CheckedGraph
    from motet.graph.graph import GraphSpec
    from motet.graph.input import Input
    from motet.runtime.resolve import ModelResolver

__all__ = ["command", "summary"]


@click.command(
    "check",
    cls=Command,
    short_help="Check a graph: names, types, cycles, models.",
    exits={
        0: "no mistakes; there may be warnings",
        FAILED: "golden rows are answered otherwise",
        WRONG: "a mistake: what, where, and how to mend it",
    },
)
@click.argument("graph", metavar="GRAPH.yaml", type=GRAPH_FILE)
@click.option(
    "--golden",
    metavar="ROWS.jsonl",
    type=click.Path(),
    help="Play these rows, and compare the answers with those written there.",
)
@click.option(
    "--tolerance", type=click.FloatRange(0), metavar="X", help="How far floats may be apart.  [default: 1e-05]"
)
@click.option(
    "--update", is_flag=True, help="Write the answers into the golden rows where they differ, or are not there."
)
@ENGINE
@click.pass_context
def command(
    ctx: click.Context, /, graph: str, golden: str | None, tolerance: float | None, update: bool, engine: str | None
) -> None:
    """Check a graph: names, types, cycles, model files.

    Prints what the graph takes, gives and consists of, and warns of parts that no output needs. No model is loaded for
    use, unless golden rows are played: lines such as {"inputs": {"x": 1}, "outputs": {"y": 2.0}}, or with "error": a part
    of the message, or true, in the place of "outputs".
    """
    found = load_graph(graph)
    if golden is None:
        if update or tolerance is not None:
            raise click.UsageError("--update and --tolerance are for golden rows: give --golden", ctx)
        resolver = found.executor.host.resolver
        click.echo("\n".join([*summary(found.checked, resolver, engine), *_settled(found, found.checked, resolver)]))
        return
    if engine is not None:
        raise click.UsageError("--engine shows stages, and golden rows are played here: leave one of them out", ctx)
    from motet.testing.golden import TOLERANCE, play_golden

    played = play_golden(found, golden, tolerance=TOLERANCE if tolerance is None else tolerance, update=update)
    if update:
        click.echo(f"{golden}: {played.rows} golden rows, {played.changed} written")
    elif played.differences:
        click.echo(f"{played}\n{golden}: {played.rows} golden rows, {len(played.differences)} differences")
        ctx.exit(FAILED)
    else:
        click.echo(f"{golden}: {played.rows} golden rows, all answered as written")


def summary(checked: CheckedGraph, resolver: ModelResolver, engine: str | None = None) -> list[str]:
    """What a graph takes, gives and consists of, a line each."""
    from motet.cli.stacked import stack_notes
    from motet.engines.support import lacking

    graph = checked.graph
    lines = [f"{graph.name}: no mistakes"]
    lines += _section("inputs", {name: _input(each) for name, each in graph.inputs.items()})
    lines += _section("models", dict(_models(checked, resolver, "")))
    lines += _section("nodes, in order", dict(_nodes(checked, "")))
    outputs = checked.signature.outputs
    lines += _section("outputs", {name: f"{outputs[name]} from {column}" for name, column in graph.outputs.items()})
    if engine is not None:
        stages = enumerate(stages_on(checked, engine), 1)
        lines += _section(f"stages on {engine}", {str(place): text for place, (_, text) in stages})
    lines += _warnings(checked, "")
    if checked.left_out:
        lines.append(f"note: left out until a store has them: {', '.join(checked.left_out)}")
    notes = [
        *dict.fromkeys(_notes(checked, resolver)),
        *stack_notes(checked, resolver),
        *lacking(graph, engine or "local"),
    ]
    return lines + [f"note: {text}" for text in notes]


def _section(title: str, parts: Mapping[str, str]) -> list[str]:
    width = max((len(name) for name in parts), default=0)
    indented = {name: text.replace("\n", "\n" + " " * (width + 4)) for name, text in parts.items()}
    return [title, *(f"  {name.ljust(width)}  {text}" for name, text in indented.items())] if parts else []


def _input(each: Input) -> str:
    text = f"{each.type}, by default {each.default!r}" if each.has_default else str(each.type)
    return text if each.column is None else f"{text}, of the column {each.column!r}"


def _models(checked: CheckedGraph, resolver: ModelResolver, path: str) -> Iterator[tuple[str, str]]:
    """Every model with its handler, version and signature; those of graphs inside behind the graph's name."""
    graph = checked.graph
    of_key = {f"{name}.{key}": (name, keys) for name, keys in checked.keys.items() for key in keys}
    for name, model in graph.models.items():
        if name in of_key:
            stands, keys = of_key[name]
            if name != f"{stands}.{keys[0]}":
                continue
        located = resolver.locate(model, graph.folder)
        version = f", version {located.version}" if located.version else ""
        more = f" and {len(keys) - 1} more keys ({_some(keys[1:])})" if name in of_key and len(keys) > 1 else ""
        yield f"{path}{name}", f"{located.handler.name}{version}, {model.uri}{more}\n{checked.signatures[name]}"
    for name, inner in checked.graphs.items():
        for full, text in _models(inner, resolver, f"{path}{name}/"):
            if not _is_shared(checked, inner, full.removeprefix(f"{path}{name}/")):
                yield full, text


def _notes(checked: CheckedGraph, resolver: ModelResolver) -> Iterator[str]:
    """What the handlers have to say of models."""
    for name, model in checked.graph.models.items():
        located = resolver.locate(model, checked.graph.folder)
        for text in getattr(located.handler, "notes", lambda source: [])(located.source):
            yield f"model {name!r}: {text}"
    for inner in checked.graphs.values():
        yield from _notes(inner, resolver)


def _settled(declared: GraphSpec, checked: CheckedGraph, resolver: ModelResolver, path: str = "") -> Iterator[str]:
    """What was found of models whose precision was to be chosen, a line each."""
    for name, model in declared.models.items():
        if model.options.get("precision") == "auto" and name in checked.graph.models:
            from motet.runtime.precision.settle import told

            current = checked.graph.models[name]
            located = resolver.locate(current, checked.graph.folder)
            yield from (f"note: model {path}{name!r}: {text}" for text in told(current.options, located.digest))
    for name, inner in checked.graphs.items():
        if name in declared.graphs:
            yield from _settled(declared.graphs[name], inner, resolver, f"{path}{name}/")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _is_shared(checked: CheckedGraph, inner: CheckedGraph, name: str) -> bool:
    """Whether a graph inside has a model of the graph around it."""
    outer = checked.graph.models.get(name)
    return outer is not None and checked.graph.folder == inner.graph.folder and outer == inner.graph.models.get(name)


def _nodes(checked: CheckedGraph, path: str) -> Iterator[tuple[str, str]]:
    """Every node that plays, in order; those of a graph inside before the first node that calls it."""
    seen: set[str] = set()
    for name in checked.order:
        for member in checked.graph.nodes[name].members:
            if member.uses in checked.graphs and member.uses not in seen:
                seen.add(member.uses)
                yield from _nodes(checked.graphs[member.uses], f"{path}{member.uses}/")
        yield f"{path}{name}", _node(checked, name)


def _node(checked: CheckedGraph, name: str) -> str:
    from motet.graph.draw.parts import columns_of

    node = checked.graph.nodes[name]
    given = ", ".join(f"{full}: {kind}" for full, kind in columns_of(checked, name).items())
    return f"{node.kind} ({', '.join(node.references())}) -> {given}"


def _warnings(checked: CheckedGraph, path: str) -> Iterator[str]:
    from motet.graph.check import unused

    for warning in checked.warnings:
        yield f"warning: {path}{warning}" if path else f"warning: {warning}"
    for what, names in unused(checked).items():
        yield f"warning: no output needs the {what} {', '.join(path + name for name in names)}"
    for name, inner in checked.graphs.items():
        yield from _warnings(inner, f"{path}{name}/")
