"""`motet plan`: say what a graph's rows take, and what machines it should run on."""

from __future__ import annotations

from typing import Any

import click

from motet.cli.completion import GRAPH_FILE
from motet.cli.evaluate import split_options
from motet.cli.exits import EXITS, FAILED, OK, WRONG, Command, load_graph
from motet.cli.run import source_options
from motet.cli.shown import json_option

__all__ = ["command"]


@click.command(
    "plan",
    cls=Command,
    short_help="Say what machines a graph should run on.",
    exits={
        OK: "the plan reaches its goal",
        FAILED: "the goal cannot be reached; what can be is said",
        WRONG: EXITS[WRONG],
    },
)
@click.argument("graph", metavar="GRAPH.yaml", type=GRAPH_FILE)
@click.option(
    "--input", "input_", metavar="PATH", multiple=True, help="Rows to measure, as for motet run; a sample will do."
)
@source_options
@click.option(
    "--machines",
    metavar="FILE.yaml",
    type=click.Path(),
    help="What machines there are: name, cpu, memory, accelerator, price an hour.",
)
@click.option(
    "--rows", type=click.IntRange(1), metavar="N", help="How many rows there are.  [default: those of the input]"
)
@click.option("--rows-per-hour", type=click.FloatRange(0, min_open=True), metavar="N", help="So many come every hour.")
@click.option("--deadline", metavar="TIME", help="Until when all are to be answered: 90s, 30m, 2h, 1d.")
@click.option(
    "--budget", type=click.FloatRange(0, min_open=True), metavar="X", help="What all may cost, in what prices are in."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    default=10.0,
    show_default=True,
    help="What measuring takes about.",
)
@click.option(
    "--profile", metavar="FILE.json", type=click.Path(), help="Measure nothing: go by what was measured before."
)
@click.option("--save-profile", metavar="FILE.json", type=click.Path(), help="Keep what is measured.")
@click.option("--html", metavar="FILE", type=click.Path(), help="Write a page, which needs no other file.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    graph: str,
    input_: tuple[str, ...],
    save_profile: str | None,
    html: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Say what a graph's rows take, and what machines it should run on.

    Plays rows of the input for some seconds, and prints what they take in every node, the stages that engines cut the graph
    into, and what one pool of machines costs that can do everything, beside a pool for each stage that has just what it needs.
    """
    from motet.system.whole_files import write_whole

    if not input_ and options["profile"] is None:
        raise click.UsageError("Missing option '--input' or '--profile'.")
    if input_ and options["profile"] is not None:
        raise click.UsageError("--profile is in the place of --input: give one of them.")
    found = load_graph(graph)
    source, chosen = split_options(input_, options)
    done = found.plan(source or None, **chosen)
    for path, text in ((save_profile, done.profile.to_json), (html, done.html)):
        if path is not None:
            write_whole(path, text().encode())
    click.echo(done.to_json() if as_json else str(done))
    if not done.is_met:
        ctx.exit(FAILED)
