"""`motet load`, `unload` and `scale`: what a running server is to serve from now on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from motet.cli.exits import FAILED, OK, WRONG, Command
from motet.cli.talk import ServerAccess, access_options, repository, server_argument

__all__ = ["load", "scale", "unload"]

_NOT_SERVED = "nothing is served under that name, or the caller may not"


def _command(
    short_help: str, ok: str, failed: str = "the server cannot be reached, or it failed", wrong: str = _NOT_SERVED
) -> Callable[[Callable[..., Any]], click.Command]:
    """A command of the function's name, and how it ends."""
    return click.command(cls=Command, short_help=short_help, exits={OK: ok, FAILED: failed, WRONG: wrong})


@_command(
    "Have a running server load a graph, or load it anew.",
    "it is ready",
    "it cannot be loaded, and what there was goes on; or the server cannot be reached",
)
@server_argument
@click.argument("name")
@access_options
def load(server: str, name: str, access: ServerAccess) -> None:
    """Have SERVER load the graph NAME, anew from its file where it is loaded.

    Models whose files changed are loaded beside those that answer. Requests go to the new ones when all are ready; the
    old ones finish what they began. Where one does not get ready everything stays as it is. Replicas that were given up
    are tried again.

    SERVER is named as for motet status: one that you run here by its port.
    """
    repository(server, name, "load", access)
    click.echo(f"{name} is ready")


@_command("Have a running server take a graph off line.", "it is off line, and its memory is given back")
@server_argument
@click.argument("name")
@access_options
def unload(server: str, name: str, access: ServerAccess) -> None:
    """Have SERVER take the graph NAME off line, once the requests that it accepted are answered.

    Models that other graphs have too stay.

    SERVER is named as for motet status: one that you run here by its port.
    """
    repository(server, name, "unload", access)
    click.echo(f"{name} is off line")


@_command(
    "Have a running server keep another number of replicas of a model.",
    "the server has begun to",
    wrong="nothing is served under that name, it cannot have so many, or the caller may not",
)
@server_argument
@click.argument("model")
@click.argument("replicas", type=click.IntRange(0, 256))
@access_options
def scale(server: str, model: str, replicas: int, access: ServerAccess) -> None:
    """Have SERVER keep REPLICAS copies of MODEL, in each of its processes.

    MODEL is a model's name, or GRAPH.MODEL. New replicas answer when they are ready; those that go finish their calls
    first. With 0 the memory is given back, and the next call starts one. motet status shows them.

    SERVER is named as for motet status: one that you run here by its port.
    """
    repository(server, model, "scale", access, {"replicas": replicas})
    click.echo(f"{model} is to have {replicas} replica{'' if replicas == 1 else 's'}")
