"""`motet workflow compare`: two runs side by side."""

from __future__ import annotations

import click

from motet.cli.exits import EXITS, OK, WRONG, Command
from motet.cli.shown import json_option, print_json

__all__ = ["command"]


@click.command(
    "compare",
    cls=Command,
    short_help="Show two runs side by side.",
    exits={OK: EXITS[OK], WRONG: "there is no such run"},
)
@click.argument("run")
@click.argument("other", metavar="RUN")
@json_option
def command(run: str, other: str, as_json: bool) -> None:
    """Show two runs side by side: parameters, metrics, steps with their results, and what has changed in code and inputs.

    A star marks what differs. Of metrics the last value is shown, with the least, the largest and the number of points.
    """
    from motet.workflow.comparison import compare

    found = compare(run, other)
    print_json(found.to_json()) if as_json else click.echo(str(found))
