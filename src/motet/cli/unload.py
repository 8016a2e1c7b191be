"""`motet unload`: have a running server take a graph off line."""

from __future__ import annotations

import click

from motet.cli.exits import FAILED, OK, WRONG, Command
from motet.cli.talk import key_option, repository, server_argument

__all__ = ["command"]


@click.command(
    "unload",
    cls=Command,
    short_help="Have a running server take a graph off line.",
    exits={
        OK: "it is off line, and its memory is given back",
        FAILED: "the server cannot be reached, or it failed",
        WRONG: "nothing is served under that name, or the caller may not",
    },
)
@server_argument
@click.argument("name")
@key_option
def command(server: str, name: str, key: str | None) -> None:
    """Have SERVER take the graph NAME off line, once the requests that it accepted are answered.

    Models that other graphs have too stay.

    SERVER is named as for motet status: one that you run here by its port.
    """
    repository(server, name, "unload", key)
    click.echo(f"{name} is off line")
