"""`motet schema`: the JSON Schema that editors complete and check files by."""

from __future__ import annotations

from importlib import resources
from typing import Literal

import click

from motet.cli.exits import EXITS, OK, Command

__all__ = ["command"]


@click.command(
    "schema",
    cls=Command,
    short_help="Print the JSON Schema of graph files or serve.yaml, for editors.",
    exits={OK: EXITS[OK]},
)
@click.argument("file", type=click.Choice(["graph", "serve"]))
def command(file: Literal["graph", "serve"]) -> None:
    """Print the JSON Schema of graph files, or of serve.yaml, for editors and other tools.

    An editor with the YAML language server completes and checks a graph file that begins with this line:

    \b
        # yaml-language-server: $schema=graph.json
    """
    click.echo((resources.files("motet") / "schemas" / f"{file}.json").read_text(encoding="utf-8"), nl=False)
