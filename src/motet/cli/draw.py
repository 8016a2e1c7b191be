"""`motet draw`: show a graph as a tree for a terminal, as a Mermaid diagram, or as an SVG image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

import click

from motet.cli.completion import GRAPH_FILE
from motet.cli.exits import EXITS, OK, WRONG, Command, load_graph
from motet.cli.stages import ENGINE, stages_on

if TYPE_CHECKING:
    from motet.graph.check import CheckedGraph

__all__ = ["command"]

Form = Literal["text", "mermaid", "svg"]
_FORMS: dict[str, Form] = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid", ".txt": "text", "": "text"}


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
    help="A tree for a terminal, a Mermaid flowchart, or an image.  [default: what FILE ends in, .svg, .mmd or .txt; else text]",
)
@ENGINE
@click.option("-o", "output", metavar="FILE", type=click.Path(), help="File or URL to write, instead of the terminal.")
@click.pass_context
def command(ctx: click.Context, /, graph: str, format_: Form | None, engine: str | None, output: str | None) -> None:
    """Show a graph: its inputs, every node with its members and the types of its columns, its outputs."""
    format_ = format_ or _form_of(output)
    if engine is not None and format_ == "svg":
        raise click.UsageError("stages are shown as text or Mermaid", ctx)
    found = load_graph(graph)
    drawing = found.draw(format_)
    if engine is not None:
        drawing += "\n" + "\n".join(_stages(found.checked, engine, format_))
    if output is None:
        click.echo(drawing)
        return
    from motet.io.target import write_file

    write_file(output, f"{drawing.removesuffix(chr(10))}\n".encode())


def _form_of(output: str | None) -> Form:
    """What a file is to be, by its suffix.

    Raises:
        InputError: when that is none of those that can be drawn.
    """
    from motet.errors import InputError

    suffix = PurePosixPath(output or "").suffix.lower()
    if suffix not in _FORMS:
        what = f"cannot tell by its suffix how '{output}' is to be drawn; known: {', '.join(filter(None, _FORMS))}"
        raise InputError(what, where="-o", hint="give it one of these, or say --format")
    return _FORMS[suffix]


def _stages(checked: CheckedGraph, engine: str, form: str) -> Iterator[str]:
    """The stages of an engine: lines, or boxes around nodes."""
    if form == "text":
        yield f"stages on {engine}"
    for place, (stage, text) in enumerate(stages_on(checked, engine), 1):
        if form == "text":
            yield f"  {place}  {text}"
            continue
        from motet.graph.draw.mermaid import box_around

        yield from box_around(
            f"stage {place} on {engine}: {text.partition(': ')[2]}", f"stage_{place}", stage.checked.order
        )
