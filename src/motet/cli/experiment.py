"""`motet experiment`: what the arms of a split come to, and what they get from now on."""

from __future__ import annotations

from typing import Any

import click

from motet.cli.completion import GRAPH_FILE
from motet.cli.evaluate import split_options
from motet.cli.exits import EXITS, FAILED, OK, WRONG, Command, CommandGroup, load_graph
from motet.cli.experiment_live import kept_report, promote, ramp, server_option, show_live, stop
from motet.cli.run import source_options
from motet.cli.shown import html_option, json_option, print_report
from motet.cli.talk import ServerAccess, access_options

__all__ = ["command"]

_EXITS = {OK: "done", FAILED: EXITS[FAILED], WRONG: EXITS[WRONG]}


@click.group("experiment", cls=CommandGroup, exits=_EXITS, short_help="What the arms of a split come to.")
def command() -> None:
    """Look at experiments: routes by weighted split whose arms are compared by a metric."""


@command.command("report", cls=Command, short_help="Say whether an arm is better.", exits=_EXITS)
@click.argument("graph", metavar="GRAPH", type=GRAPH_FILE)
@click.option(
    "--input",
    "input_",
    metavar="PATH",
    multiple=True,
    help="Answers of motet run, or its input, with what came of them.",
)
@click.option(
    "--from", "from_", metavar="URL", help="The database that servers keep the experiment in: sqlite:///FILE."
)
@server_option
@click.option(
    "--label", metavar="COLUMN", help="What came of each row: true or false, or a number.  [default: the metric's name]"
)
@click.option("--node", metavar="NODE", help="Which experiment.  [default: the only one]")
@click.option("--unit", metavar="COLUMN", help="What the split goes by.  [default: as the graph calls it]")
@click.option(
    "--arm",
    metavar="COLUMN",
    help="The arm of each row.  [default: the output of NODE.member, else computed from the unit]",
)
@click.option("--time", metavar="COLUMN", help="When each row was answered.  [default: rows are in order]")
@click.option("--seconds", metavar="COLUMN", help="How long each answer took.")
@click.option("--failed", metavar="COLUMN", help="True where there was no answer.")
@click.option("--since", metavar="WHEN", help="Only rows since then: 7d, 12h, 2026-05-04; needs --time.")
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="Also what servers kept while arms, weights or the metric were declared otherwise.",
)
@source_options
@html_option
@access_options
@json_option
def report(
    graph: str,
    input_: tuple[str, ...],
    from_: str | None,
    server: str,
    every: bool,
    html: str | None,
    access: ServerAccess,
    as_json: bool,
    **options: Any,
) -> None:
    """Say what each arm of an experiment comes to, and whether to keep the control or to promote another arm.

    Its intervals hold at all looks together, so it may be asked every day. With --input or --from GRAPH is the graph's file;
    without them a running server is asked, and GRAPH is the name of the graph.
    """
    source, chosen = split_options(input_, options)
    if not input_ and from_ is None:
        show_live(graph, {**chosen, "all": every}, server, access, html=html, as_json=as_json)
        return
    if server:
        from motet.errors import InputError

        raise InputError("--server is not asked where --input or --from is given", hint="leave one out")
    found = load_graph(graph)
    if from_ is not None:
        done = kept_report(found, from_, {**chosen, "all": every}, input_)
    else:
        if every:
            from motet.errors import InputError

            raise InputError("--all is for what servers keep; a file says all that it has", hint="leave it out")
        done = found.experiment(source, **chosen)
    print_report(done, html, as_json=as_json)


for each in (promote, stop, ramp):
    command.add_command(each)
