"""`motet status`: say what a running server serves, how it does, and what its replicas are doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from motet.cli.exits import FAILED, OK, WRONG, Command
from motet.cli.shown import print_json
from motet.cli.talk import ServerAccess, access_options, ask

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["command"]

PLAIN_WIDTH = 120
"""Letters of a line where there is no terminal to ask."""
_GOOD = {"READY": "green", "STARTING": "yellow", "LOADING": "yellow", "SUSPECT": "yellow", "BACKOFF": "yellow"}


@click.command(
    "status",
    cls=Command,
    short_help="Say what a running server serves, and what its replicas are doing.",
    exits={
        OK: "the server is ready",
        FAILED: "it is not, or it cannot be reached",
        WRONG: "the URL is none, several servers are meant, or the caller may not ask",
    },
)
@click.argument("server", metavar="[SERVER]", default="")
@click.option("--json", "as_json", is_flag=True, help="Print /status.json, for programs.")
@access_options
@click.pass_context
def command(ctx: click.Context, /, server: str, as_json: bool, access: ServerAccess) -> None:
    """Say what SERVER serves, how fast it answers, and what the replicas of its models are doing.

    SERVER is a URL, or, for one that you run on this machine, its port, the name of a graph that it serves, or the path of
    its socket; left out it is the only one that you run here.
    """
    from motet.errors import InputError

    found = ask(server, "/status.json", access)
    if not isinstance(found, dict) or "states" not in found:
        raise InputError("what answers there is no server of Motet: it has no states of graphs", where=server)
    if as_json:
        print_json(found)
    else:
        from rich.console import Console

        console = Console()
        console = console if console.is_terminal else Console(width=PLAIN_WIDTH)
        console.print(_graphs(found))
        if found.get("replicas"):
            console.print(_replicas(found["replicas"]))
        for each in found.get("errors", [])[:3]:
            named = " ".join(each[key] for key in ("graph", "node", "error") if each.get(key))
            message = f": {each['message']}" if "message" in each else ""  # which only administrators are told
            click.echo(f"last errors: {named}{message}")
        ready, processes = "ready" if found["ready"] else "not ready", found.get("processes", 1)
        click.echo(f"{ready}, {processes} process{'' if processes == 1 else 'es'}")
    if not found["ready"]:
        ctx.exit(FAILED)


def _graphs(found: dict[str, Any]) -> Table:
    table = _table("graph", "state", "requests/s", "rows/s", "p50", "p99", "waiting", "failed")
    graphs = found["graphs"]
    for name, state in found["states"].items():
        if "." in name or (name not in graphs and state["state"] == "READY"):
            continue  # a model, which has its own table
        graph = graphs.get(name, {})
        table.add_row(
            name,
            _state(state["state"], state["reason"]),
            _number(graph.get("requests_per_s")),
            _number(graph.get("rows_per_s")),
            _seconds(graph.get("p50_s")),
            _seconds(graph.get("p99_s")),
            _number(graph.get("queued_rows")),
            _number(graph.get("failed_rows")),
        )
    return table


def _replicas(replicas: list[dict[str, Any]]) -> Table:
    several = len({each["process"] for each in replicas}) > 1
    heads = ["model", "replica", "kind", "state", "pid", "in flight", "calls", "restarts", "memory"]
    table = _table(*(["process", *heads] if several else heads))
    for each in replicas:
        row = [
            each["model"],
            each["name"],
            each["kind"],
            _state(each["state"], each["reason"] if each["state"] != "READY" else ""),
            str(each["pid"] or "–"),
            _number(each["in_flight"]) if each["kind"] != "thread" else "–",
            _number(each["calls"]) if each["kind"] != "thread" else "–",
            _number(each["restarts"]),
            f"{each['memory_bytes'] / 2**20:,.0f} MiB" if each["memory_bytes"] else "–",
        ]
        table.add_row(*([str(each["process"]), *row] if several else row))
    return table


def _table(*heads: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place < 2 or head in ("state", "kind") else "right")
    return table


def _state(state: str, reason: str) -> Any:
    from rich.text import Text

    return Text(state.lower() + (f": {reason}" if reason else ""), style=_GOOD.get(state, "red"))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"
