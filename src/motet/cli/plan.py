"""`motet plan`: say what a graph's rows take, and what machines it should run on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from motet.cli.completion import GRAPH_FILE
from motet.cli.edited import check_absent, edited_text
from motet.cli.evaluate import split_options
from motet.cli.exits import EXITS, FAILED, OK, WRONG, Command, load_graph
from motet.cli.run import source_options
from motet.cli.shown import html_option, json_option

if TYPE_CHECKING:
    from motet.planning.capacity.result import CapacityPlan

__all__ = ["command"]

MARK = "# Planned by motet plan"


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
@click.option(
    "--apply",
    metavar="OUT.yaml",
    type=click.Path(),
    help="Write the graph with hints: resources and replicas.",
)
@click.option("--overwrite", is_flag=True, help="Write over a graph that is there.")
@click.option("--engine", metavar="NAME", help="Print what to submit to: beam, ray, spark, kubernetes.")
@html_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    graph: str,
    input_: tuple[str, ...],
    save_profile: str | None,
    apply: str | None,
    overwrite: bool,
    engine: str | None,
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
    if apply is not None:
        check_absent(apply, "--apply", overwrite=overwrite)
    if engine is not None:
        _check_engine(engine)
    found = load_graph(graph)
    source, chosen = split_options(input_, options)
    done = found.plan(source or None, **chosen)
    for path, text in ((save_profile, done.profile.to_json), (html, done.html)):
        if path is not None:
            write_whole(path, text().encode())
    if apply is not None:
        write_whole(apply, _applied(graph, done, apply).encode())
    submit = {} if engine is None else {"submit": done.submitted(engine, apply or graph, input_)}
    click.echo(done.to_json(**submit) if as_json else str(done))
    if engine is not None and not as_json:
        click.echo("\n".join(["", *_said(engine, done, apply), *submit["submit"]]))
    if not done.is_met:
        ctx.exit(FAILED)


def _check_engine(engine: str) -> None:
    """See that an engine can be submitted to, before anything is measured.

    Raises:
        UnknownNameError: when it cannot.
    """
    from motet.errors import UnknownNameError
    from motet.planning.capacity.submit import SUBMITTED

    if engine not in SUBMITTED:
        raise UnknownNameError("engine", engine, list(SUBMITTED), where="--engine")


def _said(engine: str, done: CapacityPlan, apply: str | None) -> list[str]:
    """What stands above the commands."""
    without = apply is None and done.hints
    return [f"# to {engine}" + (", of the graph with the hints above: --apply OUT.yaml writes it" if without else "")]


def _applied(path: str, done: CapacityPlan, output: str) -> str:
    """The text of the graph with hints."""
    from motet.planning.tuned_file import with_settings

    return edited_text(
        path, done.applied, output,
        lambda text: with_settings(text, done.hints, done.comment, section="models", mark=MARK), f"{MARK}{done.comment}",
    )  # fmt: skip
