"""`motet call`: ask a running server about one row, and print its answer, whole or while it is written."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import click

from motet.cli.exits import FAILED, OK, WRONG, Command
from motet.cli.shown import print_json
from motet.cli.talk import ServerAccess, access_options, ask, opened, server_argument

__all__ = ["command"]

_VALUE = re.compile(r"([^\W\d]\w*)(:?=)(.*)", re.DOTALL)


@click.command(
    "call",
    cls=Command,
    short_help="Ask a running server about one row.",
    exits={
        OK: "the row was answered",
        FAILED: "the server cannot be reached, or it failed",
        WRONG: "nothing is served under that name, the row is wrong or fails, or the caller may not",
    },
)
@server_argument
@click.argument("name")
@click.argument("values", metavar="[COLUMN=TEXT | COLUMN:=JSON]...", nargs=-1)
@click.option("--stream", is_flag=True, help="Print a text piece by piece, while a model writes it.")
@click.option("--output", metavar="NAME", help="With --stream: which text.  [default: text, or the only one]")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0, 86400, min_open=True), metavar="SECONDS", default=60.0,
    show_default=True, help="How long the answer may take.",
)  # fmt: skip
@access_options
def command(
    server: str,
    name: str,
    values: tuple[str, ...],
    stream: bool,
    output: str | None,
    timeout_s: float,
    access: ServerAccess,
) -> None:
    """Ask SERVER what the graph NAME answers for one row, and print its outputs as JSON, or with --stream its text.

    A value is a text, or JSON behind `:=`: motet call 8000 answers question="Why?" heat:=0.5

    SERVER is named as for motet status: one that you run here by its port.
    """
    from urllib.parse import quote

    if output is not None and not stream:
        raise click.UsageError("--output is of --stream alone")
    path, body = f"/predict/{quote(name, safe='')}?timeout={round(timeout_s * 1e6)}", {"rows": [_row(values)]}
    if not stream:
        print_json(_answered(ask(server, path, access, body=body, timeout_s=timeout_s + 1), name))
        return
    chosen = output or _text_of(ask(server, f"/v2/models/{quote(name, safe='')}", access), name)
    for piece in _pieces(server, path, access, {**body, "stream": True}, (chosen, name, timeout_s)):
        click.echo(piece, nl=False)
    click.echo()


def _row(values: tuple[str, ...]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for each in values:
        if (match := _VALUE.fullmatch(each)) is None:
            raise click.UsageError(f"{each!r} is no value; write COLUMN=TEXT or COLUMN:=JSON")
        column, sign, text = match.groups()
        if column in row:
            raise click.UsageError(f"there are two values of {column!r}")
        try:
            row[column] = text if sign == "=" else json.loads(text)
        except ValueError as error:
            raise click.UsageError(
                f"the value of {column!r} is no JSON: {error}; write {column}=TEXT for a text"
            ) from None
    return row


def _answered(said: Any, name: str) -> dict[str, Any]:
    """The answer of the only row.

    Raises:
        InputError: when it failed.
    """
    from motet.errors import InputError

    rows = said.get("rows") if isinstance(said, dict) else None
    if not isinstance(rows, list) or len(rows) != 1 or not isinstance(rows[0], dict):
        raise InputError("what answers there is no server of Motet: it has not one row", where=name)
    row: dict[str, Any] = rows[0]
    if set(row) == {"error"}:
        raise InputError(str(row["error"]), where=name)
    return row


def _text_of(info: Any, name: str) -> str:
    """The output that is streamed where nobody says which."""
    from motet.client.streams import text_of
    from motet.oip.info import ModelInfo

    return text_of(ModelInfo.read(json.dumps(info).encode(), name), name)


def _pieces(
    server: str, path: str, access: ServerAccess, body: dict[str, Any], asked: tuple[str, str, float]
) -> Iterator[str]:
    """The pieces of a text, by the output, the graph and the seconds that it may take."""
    from motet.client.events import PieceEvents
    from motet.errors import DeadlineError

    events, end = PieceEvents(*asked), time.monotonic() + asked[2]
    with opened(server, path, access, body=body, timeout_s=asked[2] + 1) as answer:
        while events.answer is None and (part := answer.read1()):
            if time.monotonic() > end:
                raise DeadlineError(f"no answer within {asked[2]:g} s", where=asked[1], hint="give a longer --timeout")
            yield from events.take(part)
    events.end()
