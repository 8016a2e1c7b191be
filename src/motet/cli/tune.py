"""`motet tune`: choose thresholds, orders, weights and members by labelled rows, and write the graph with them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from motet.cli.completion import GRAPH_FILE
from motet.cli.evaluate import label_options, split_options
from motet.cli.exits import EXITS, FAILED, OK, WRONG, Command, load_graph
from motet.cli.shown import json_option

if TYPE_CHECKING:
    from motet.facade import Graph
    from motet.planning.tuning import Tuning

__all__ = ["command"]


def _at_least(ctx: click.Context, param: click.Parameter, value: str | None) -> float | str | None:
    if value is None or value == "best":
        return value
    try:
        return float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a number nor best") from None


@click.command(
    "tune",
    cls=Command,
    short_help="Choose thresholds, weights and members.",
    exits={OK: "the tuned graph is written", FAILED: EXITS[FAILED], WRONG: EXITS[WRONG]},
)
@click.argument("graph", metavar="GRAPH.yaml", type=GRAPH_FILE)
@label_options
@click.option("--metric", metavar="NAME", help="As for motet evaluate.  [default: accuracy, or rmse of numbers]")
@click.option(
    "--at-least",
    callback=_at_least,
    metavar="X|best",
    help="The metric to reach as cheaply as possible; best: of members and graph.",
)
@click.option(
    "--at-most-cost", type=click.FloatRange(0), metavar="X", help="What a row may cost: seconds, or in prices."
)
@click.option("-o", "--output", metavar="TUNED.yaml", required=True, type=click.Path(), help="The graph file to write.")
@click.option("--html", metavar="FILE", type=click.Path(), help="Write a page, which needs no other file.")
@click.option("--overwrite", is_flag=True, help="Write over a file that is there.")
@json_option
def command(
    graph: str,
    input_: tuple[str, ...],
    label: str,
    output: str,
    overwrite: bool,
    html: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Choose thresholds, order and members of cascades, and weights, combiner and members of ensembles, by labelled rows.

    Every member answers each row once; every setting is played from these answers. One half of the rows chooses, the
    other half says what it came to. Prints settings from the cheapest to the best, and writes the graph with the chosen one.
    """
    from motet.errors import OutputExistsError
    from motet.system.whole_files import write_whole

    if os.path.exists(output) and not overwrite:
        raise OutputExistsError(f"{output!r} is there", where="--output", hint="name another file, or say --overwrite")
    found = load_graph(graph)
    source, chosen = split_options(input_, options)
    done = found.tune(source, label=label, **chosen)
    write_whole(output, _text(graph, found, done, output).encode())
    if html is not None:
        write_whole(html, done.html().encode())
    click.echo(done.to_json() if as_json else str(done))


def _text(path: str, graph: Graph, done: Tuning, output: str) -> str:
    """The text of the tuned graph: the file's own with other settings, where it lies in the same folder; else written anew."""
    from motet.errors import GraphError
    from motet.graph.graph import GraphSpec
    from motet.graph.yaml import load_graph as read
    from motet.planning.tuned_file import MARK, with_settings

    said = done.comment.removeprefix(MARK.removeprefix("# "))
    here, there = (os.path.realpath(os.path.dirname(each) or ".") for each in (path, output))
    if here == there:
        text = Path(path).read_text(encoding="utf-8")
        try:
            changed = with_settings(text, done.changes, said)
            texts = {os.fspath(path): changed}
            made = read(path, GraphSpec, read_text=lambda n: texts.get(n) or Path(n).read_text(encoding="utf-8"))
        except GraphError:
            made = None
        if made is not None and made.changed(folder=graph.folder) == graph.changed(nodes=done.tuned.nodes):
            return changed
    return f"{MARK}{said}\n{done.tuned.text_in(there)}"
