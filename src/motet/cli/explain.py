"""`motet explain`: say how the answer of one row came about."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import click

from motet.cli.exits import EXITS, FAILED, OK, ROWS_FAILED, WRONG, Command, load_graph
from motet.cli.run import source_options

if TYPE_CHECKING:
    from motet.batch import Batch
    from motet.errors import Failure
    from motet.graph.check import CheckedGraph
    from motet.runtime.call import Explanation
    from motet.runtime.executor import Call

__all__ = ["command"]

TOP = 3
"""Places of an array of scores that are shown."""
SHORT = 6
"""An array of up to this many values is shown whole."""
LONG = 10_000
"""An array of more values is not written out as JSON."""


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
@click.argument("graph", metavar="GRAPH.yaml")
@click.option("--input", "input_", metavar="PATH", multiple=True, required=True, help="As for motet run.")
@source_options
@click.option("--row", type=click.IntRange(0), metavar="N", required=True, help="The row, from 0.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def command(
    ctx: click.Context, /, graph: str, input_: tuple[str, ...], row: int, as_json: bool, **reading: Any
) -> None:
    """Say how the answer of one row came about: which members ran, their versions, scores and times.

    Of many scores the largest are shown, with their places. Where a row is taken apart, the first piece is shown.
    """
    from motet.runtime.call import explain

    found = load_graph(graph)
    batch, failures = _read(found.checked, input_[0] if len(input_) == 1 else list(input_), row, reading)
    told = explain(found.executor, batch) if len(batch) else None
    failures = [*failures, *(told.failures if told else ())]
    if as_json:
        click.echo(json.dumps(_as_json(row, told, failures), indent=2))
    else:
        click.echo("\n".join(_as_text(row, told, failures)))
    if failures:
        ctx.exit(ROWS_FAILED)


def _read(checked: CheckedGraph, source: Any, row: int, reading: dict[str, Any]) -> tuple[Batch, list[Failure]]:
    """The row as the graph is given it, or why it cannot be."""
    import numpy as np

    from motet.engines.local.layout import Layout
    from motet.errors import InputError
    from motet.io import open_source

    types = checked.graph.stored_types
    opened = open_source(source, wanted=types, **reading)
    if opened.num_rows is not None and row >= opened.num_rows:
        raise InputError(f"there is no row {row}; {opened.description} has {opened.num_rows} rows", where="--row")
    layout = Layout.of(checked, opened.schema, (), (), opened.description)
    read = next(opened.batches_at(np.array([row]), 1, layout.read))
    batch, failures, _ = layout.bind(read, np.array([row]))
    return batch, failures


def _as_text(row: int, told: Explanation | None, failures: list[Failure]) -> list[str]:
    lines = [f"row {row}"]
    for failure in failures:
        lines.append(f"failed in node {failure.node}{f' in {failure.model}' if failure.model else ''}")
        lines.append(f"  {failure.error}: {failure.message}")
    if told is None:
        return lines
    lines += [f"  {name} = {show(value)}" for name, value in told.outputs.items()]
    chosen = {name: value for name, value in told.columns.items() if name.endswith((".member", ".confidence"))}
    lines += ["", "calls, in order"] if told.calls else []
    for call in told.calls:
        lines += _call_as_text(call)
    lines += ["", "which answered"] if chosen else []
    return lines + [f"  {name} = {show(value)}" for name, value in chosen.items()]


def _call_as_text(call: Call) -> list[str]:
    version = f" {call.version}" if call.version else ""
    rows = "1 row" if call.rows == 1 else f"{call.rows} rows, of which the first is shown"
    lines = [f"  {call.node}: {call.uses}{version}, {call.seconds * 1e3:.3f} ms, {rows}"]
    lines += [f"      {name} = {show(column[0])}" for name, column in call.outputs.items() if len(column)]
    return lines + [f"      failed: {fault.error}: {fault.message}" for fault in call.faults]


def show(value: Any) -> str:
    """A value in short: of many scores the largest, with their places; of other arrays type and shape."""
    import numpy as np

    if isinstance(value, str):
        return repr(value) if len(value) <= 200 else repr(value[:197] + "...")
    array = np.asarray(value)
    if array.dtype == object or array.ndim == 0:
        return f"{value:.6g}" if isinstance(value, (float, np.floating)) else str(value)[:200]
    if array.size <= SHORT:
        return np.array2string(array, precision=4, separator=", ")
    if array.ndim == 1 and array.dtype.kind == "f":
        best = np.argsort(-array, kind="stable")[:TOP]
        return f"{array.dtype}[{array.size}], largest " + ", ".join(f"{place}: {array[place]:.4g}" for place in best)
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def _as_json(row: int, told: Explanation | None, failures: list[Failure]) -> dict[str, Any]:
    from dataclasses import asdict

    calls = [
        {
            "node": call.node,
            "uses": call.uses,
            "version": call.version,
            "rows": call.rows,
            "seconds": call.seconds,
            "outputs": {name: plain(column[0]) for name, column in call.outputs.items() if len(column)},
            "faults": [f"{fault.error}: {fault.message}" for fault in call.faults],
        }
        for call in (told.calls if told else ())
    ]
    return {
        "row": row,
        "outputs": {name: plain(value) for name, value in told.outputs.items()} if told else {},
        "members": {n: plain(v) for n, v in told.columns.items() if n.endswith(".member")} if told else {},
        "calls": calls,
        "failures": [asdict(failure) for failure in failures],
    }


def plain(value: Any) -> Any:
    """A value as JSON has it: bytes as base64, what is no number as null, an array of very many values by its type."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if getattr(value, "size", 0) > LONG:
        return show(value)
    return plain(value.tolist()) if hasattr(value, "tolist") else value
