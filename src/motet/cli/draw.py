"""`motet draw`: show a graph as a tree for a terminal, as a Mermaid diagram, or as an SVG image."""

from __future__ import annotations

from typing import Any

import click

from motet.cli.completion import GRAPH_FILE
from motet.cli.exits import EXITS, OK, WRONG, Command, load_graph

__all__ = ["command"]


@click.command(
    "draw",
    cls=Command,
    short_help="Show a graph as text, Mermaid or SVG.",
    exits={OK: EXITS[OK], WRONG: "a wrong graph, or a FILE that cannot be written"},
)
@click.argument("graph", metavar="GRAPH.yaml", type=GRAPH_FILE)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "mermaid", "svg"]),
    default="text",
    show_default=True,
    help="A tree for a terminal, a Mermaid flowchart, or an image.",
)
@click.option("-o", "output", metavar="FILE", type=click.Path(), help="File or URL to write, instead of the terminal.")
def command(graph: str, format_: Any, output: str | None) -> None:
    """Show a graph: its inputs, every node with its members and the types of its columns, its outputs."""
    drawing = load_graph(graph).draw(format_)
    if output is None:
        click.echo(drawing)
        return
    from motet.io.target import write_file

    write_file(output, f"{drawing.removesuffix(chr(10))}\n".encode())
