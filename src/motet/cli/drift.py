"""`motet drift`: whether rows and answers are spread as they were when the graph was tuned or evaluated."""

from __future__ import annotations

from typing import Any

import click

from motet.cli.completion import GRAPH_FILE
from motet.cli.evaluate import split_options
from motet.cli.exits import BEYOND, EXITS, FAILED, OK, WRONG, Command, CommandGroup, load_graph
from motet.cli.run import input_option, limit_option, source_options
from motet.cli.shown import html_option, json_option, print_report

__all__ = ["command"]

_EXITS = {OK: "done", FAILED: EXITS[FAILED], WRONG: EXITS[WRONG]}


@click.group("drift", cls=CommandGroup, exits=_EXITS, short_help="See whether data and answers have changed.")
def command() -> None:
    """See whether what a graph is given, and what it answers, has changed since it was tuned or evaluated.

    A reference holds how rows were spread, as counts; motet evaluate and motet tune write one too, with --reference.
    """


@command.command("reference", cls=Command, exits=_EXITS, short_help="Write how rows are spread now.")
@click.argument("graph", metavar="GRAPH.yaml", type=GRAPH_FILE)
@input_option
@click.option("-o", "--output", metavar="REF.json", required=True, type=click.Path(), help="The file to write.")
@source_options
@limit_option
def reference(graph: str, input_: tuple[str, ...], output: str, **options: Any) -> None:
    """Play rows, and write how they and their answers are spread: counts between quantiles, or by value.

    No row is kept. Numbers of arrays are their mean and spread, free texts their length, scores the class and its
    confidence; members of cascades and ensembles are counted by whether they agree.
    """
    found = load_graph(graph)
    source, chosen = split_options(input_, options)
    done = found.drift_reference(source, **chosen)
    done.write(output)
    click.echo(f"{len(done.columns)} columns of {done.rows:,} rows are in {output}")


@command.command(
    "report",
    cls=Command,
    exits={**_EXITS, BEYOND: "something has drifted by more than --at-most, where that is given"},
    short_help="Compare rows or answers with a reference.",
)
@click.argument("graph", metavar="GRAPH.yaml", type=GRAPH_FILE)
@input_option
@click.option("--reference", metavar="REF.json", required=True, type=click.Path(), help="What to compare with.")
@click.option(
    "--at-most",
    type=click.FloatRange(0),
    metavar="X",
    help="The population stability index that is no drift yet; beyond it the exit code is 4.  [default: 0.2, and 0]",
)
@click.option(
    "--play/--no-play",
    default=None,
    help="Whether to play the rows.  [default: where they have no answers of the graph]",
)
@html_option
@source_options
@limit_option
@json_option
@click.pass_context
def report(
    ctx: click.Context,
    /,
    graph: str,
    input_: tuple[str, ...],
    reference: str,
    at_most: float | None,
    html: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Say how far rows have drifted from a reference: those that the graph takes, or those that motet run or a sink wrote.

    A column has drifted where its index is more than the bound, and more than chance would bring in one of a hundred
    reports without drift, all columns together.
    """
    found = load_graph(graph)
    source, chosen = split_options(input_, options)
    if at_most is not None:
        chosen["at_most"] = at_most
    done = found.drift(source, reference, **chosen)
    print_report(done, html, as_json=as_json)
    if at_most is not None and done.drifted:
        ctx.exit(BEYOND)
