"""`motet load`: have a running server load a graph, or load it anew."""

from __future__ import annotations

import click

from motet.cli.exits import FAILED, OK, WRONG, Command
from motet.cli.talk import key_option, repository, server_argument

__all__ = ["command"]


@click.command(
    "load",
    cls=Command,
    short_help="Have a running server load a graph, or load it anew.",
    exits={
        OK: "it is ready",
        FAILED: "it cannot be loaded, and what there was goes on; or the server cannot be reached",
        WRONG: "nothing is served under that name, or the caller may not",
    },
)
@server_argument
@click.argument("name")
@key_option
def command(server: str, name: str, key: str | None) -> None:
    """Have SERVER load the graph NAME, anew from its file where it is loaded.

    Models whose files changed are loaded beside those that answer. Requests go to the new ones when all are ready; the
    old ones finish what they began. Where one does not get ready everything stays as it is. Replicas that were given up
    are tried again.

    SERVER is named as for motet status: one that you run here by its port.
    """
    repository(server, name, "load", key)
    click.echo(f"{name} is ready")
