"""`motet explain`: say how the answer of one row came about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from motet.cli.completion import GRAPH_FILE
from motet.cli.exits import EXITS, FAILED, OK, ROWS_FAILED, WRONG, Command, load_graph
from motet.cli.run import input_option, source_options
from motet.cli.shown import json_option, print_json

if TYPE_CHECKING:
    from motet.batch import Batch
    from motet.errors import Failure
    from motet.graph.check import CheckedGraph

__all__ = ["command"]


@click.command(
    "explain",
    cls=Command,
    short_help="Say how the answer of one row came about.",
    exits={
        OK: "the row was answered",
        FAILED: EXITS[FAILED],
        WRONG: "a wrong graph or wrong arguments; there is no such row",
        ROWS_FAILED: "the row fails: in which node, and why",
    },
)
@click.argument("graph", metavar="GRAPH.yaml", type=GRAPH_FILE)
@input_option
@source_options
@click.option("--row", type=click.IntRange(0), metavar="N", required=True, help="The row, from 0.")
@json_option
@click.pass_context
def command(
    ctx: click.Context, /, graph: str, input_: tuple[str, ...], row: int, as_json: bool, **reading: Any
) -> None:
    """Say how the answer of one row came about: which members ran, their versions, scores and times.

    Of many scores the largest are shown, with their places. Where a row is taken apart, the first piece is shown.
    """
    from motet.runtime import explanation
    from motet.runtime.call import explain

    found = load_graph(graph)
    batch, failures = _read(found.checked, input_[0] if len(input_) == 1 else list(input_), row, reading)
    told = explain(found.executor, batch) if len(batch) else None
    failures = [*failures, *(told.failures if told else ())]
    if as_json:
        print_json(explanation.as_json(row, told, failures))
    else:
        click.echo("\n".join(explanation.as_text(row, told, failures)))
    if failures:
        ctx.exit(ROWS_FAILED)


def _read(checked: CheckedGraph, source: Any, row: int, reading: dict[str, Any]) -> tuple[Batch, list[Failure]]:
    """The row as the graph is given it, or why it cannot be."""
    import numpy as np

    from motet.engines.layout import RunLayout
    from motet.errors import InputError
    from motet.io import open_source

    types = checked.graph.stored_types
    opened = open_source(source, wanted=types, **reading)
    if opened.num_rows is not None and row >= opened.num_rows:
        raise InputError(f"there is no row {row}; {opened.description} has {opened.num_rows} rows", where="--row")
    layout = RunLayout.of(checked, opened.schema, (), (), opened.description)
    read = next(opened.batches_at(np.array([row]), 1, layout.read))
    batch, failures, _ = layout.bind(read, np.array([row]))
    return batch, failures
