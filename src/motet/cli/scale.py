"""`motet scale`: have a running server keep another number of replicas of a model."""

from __future__ import annotations

import click

from motet.cli.exits import FAILED, OK, WRONG, Command
from motet.cli.talk import key_option, repository, server_argument

__all__ = ["command"]


@click.command(
    "scale",
    cls=Command,
    short_help="Have a running server keep another number of replicas of a model.",
    exits={
        OK: "the server has begun to",
        FAILED: "the server cannot be reached, or it failed",
        WRONG: "nothing is served under that name, it cannot have so many, or the caller may not",
    },
)
@server_argument
@click.argument("model")
@click.argument("replicas", type=click.IntRange(0, 256))
@key_option
def command(server: str, model: str, replicas: int, key: str | None) -> None:
    """Have SERVER keep REPLICAS copies of MODEL, in each of its processes.

    MODEL is a model's name, or GRAPH.MODEL. New replicas answer when they are ready; those that go finish their calls
    first. With 0 the memory is given back, and the next call starts one. motet status shows them.

    SERVER is named as for motet status: one that you run here by its port.
    """
    repository(server, model, "scale", key, {"replicas": replicas})
    click.echo(f"{model} is to have {replicas} replica{'' if replicas == 1 else 's'}")
