"""Experiments of running servers: reports on what they keep, and `motet experiment promote`, `stop` and `ramp`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from motet.cli.completion import GRAPH_FILE
from motet.cli.exits import FAILED, OK, WRONG, Command
from motet.cli.shown import date, json_option, print_json
from motet.cli.talk import ServerAccess, access_options, ask

if TYPE_CHECKING:
    from motet.facade import Graph
    from motet.planning.experiments.report import ExperimentReport

__all__ = ["decided_on", "kept_report", "promote", "ramp", "server_option", "show_live", "stop"]

REPORT_TIMEOUT_S = 60.0
_EXITS = {
    OK: "it is decided, and the server plays so",
    FAILED: "the server cannot be reached, or it failed",
    WRONG: "there is no such experiment or arm, or the caller may not",
}
server_option = click.option(
    "--server", metavar="SERVER", default="", help="The server.  [default: yours that serves GRAPH]"
)
_node = click.option("--node", metavar="NODE", default="", help="Which experiment.  [default: the only one]")
_write = click.option(
    "--write",
    metavar="GRAPH.yaml",
    type=GRAPH_FILE,
    help="Write the new split into this file, too; all else of it stays.",
)


@click.command("promote", cls=Command, short_help="Give everything to one arm.", exits=_EXITS)
@click.argument("graph")
@click.argument("arm")
@_node
@_write
@server_option
@access_options
@json_option
def promote(
    graph: str, arm: str, node: str, write: str | None, server: str, access: ServerAccess, as_json: bool
) -> None:
    """Have the experiment of GRAPH give everything to ARM.

    All processes of the server, and all servers that share its database, follow within seconds, also after a restart.
    """
    decided_on(graph, {"action": "promote", "arm": arm, "node": node}, write, server, access, as_json=as_json)


@click.command("stop", cls=Command, short_help="Give everything back to the control.", exits=_EXITS)
@click.argument("graph")
@_node
@_write
@server_option
@access_options
@json_option
def stop(graph: str, node: str, write: str | None, server: str, access: ServerAccess, as_json: bool) -> None:
    """Have the experiment of GRAPH give everything back to its control."""
    decided_on(graph, {"action": "stop", "node": node}, write, server, access, as_json=as_json)


@click.command("ramp", cls=Command, short_help="Give an arm more and more, while guardrails hold.", exits=_EXITS)
@click.argument("graph")
@click.argument("arm")
@click.argument("steps", default="1,5,25,50,100")
@click.option("--every", metavar="TIME", default="1h", show_default=True, help="How long a step lasts at least.")
@click.option("--units", metavar="N", type=click.IntRange(0), default=100, show_default=True,
              help="How many units the arm has had in a step before the next.")  # fmt: skip
@_node
@server_option
@access_options
@json_option
def ramp(
    graph: str,
    arm: str,
    steps: str,
    every: str,
    units: int,
    node: str,
    server: str,
    access: ServerAccess,
    as_json: bool,
) -> None:
    """Have the experiment of GRAPH give ARM more and more: STEPS percent, 1,5,25,50,100 where nothing is said.

    A step is followed by the next one when it has lasted long enough, the arm has met enough units, and no guardrail is broken.
    A guardrail that breaks gives everything back to the control.
    """
    from motet.errors import InputError
    from motet.workflow.options import read_duration_s

    try:
        percent = [float(each) for each in steps.split(",")]
    except ValueError:
        raise InputError(f"STEPS are percent; got {steps!r}", hint="write 1,5,25,50,100") from None
    body = {"action": "ramp", "arm": arm, "node": node, "steps": percent, "units": units}
    decided_on(graph, {**body, "every_s": read_duration_s(every, "--every")}, None, server, access, as_json=as_json)


def decided_on(
    graph: str, body: Mapping[str, Any], write: str | None, server: str, access: ServerAccess, *, as_json: bool
) -> None:
    """Have a server decide, say what it did, and write the split into a file where one is named."""
    said = {key: value for key, value in body.items() if value != ""}
    text = None if write is None else _readable(write)
    done = ask(server or graph, f"/experiments/{quote(graph, safe='')}", access, body=said)
    if write is not None and text is not None:
        _write_split(write, text, done)
    if as_json:
        print_json(done)
        return
    click.echo(
        f"{done['graph']}.{done['node']}: {', '.join(f'{arm} {share:.4g}' for arm, share in done['shares'].items())}"
    )
    if done["steps"]:
        steps = ", ".join(f"{each:g} %" for each in done["steps"])
        click.echo(f"{done['arm']} gets {steps}; a step lasts {done['every_s']:g} s and {done['units']} units at least")
    if write is not None:
        click.echo(f"{write} is written")


def _readable(path: str) -> str:
    """A graph file, before anything is decided."""
    from pathlib import Path

    from motet.errors import InputError

    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path!r} cannot be read: {error}", where="--write") from None


def _write_split(path: str, text: str, done: Mapping[str, Any]) -> None:
    from datetime import UTC, datetime

    from motet.planning.tuned_file import with_settings
    from motet.system.whole_files import write_whole

    day = datetime.fromtimestamp(done["time"], UTC).date()
    split = {arm: int(share) if share == int(share) else share for arm, share in done["shares"].items()}
    comment = f" {done['action']} on {day}"
    *inside, node = done["node"].split(".")
    changes, mark = {node: {"split": split}}, "# Split by motet experiment"
    changed = with_settings(text, changes, comment, mark=mark, inside=inside)
    write_whole(path, changed.encode())


def kept_report(graph: Graph, to: str, options: Mapping[str, Any], input_: Sequence[str]) -> ExperimentReport:
    """What an experiment came to, of the database that servers keep it in.

    Raises:
        InputError: when options of files are given, or there is no such database or experiment.
    """
    import time
    from pathlib import Path

    from motet.errors import InputError
    from motet.graph.fields import from_environment
    from motet.planning.experiments.experiment import experiment_of
    from motet.planning.experiments.since import read_since
    from motet.serving.experiments.database import ExperimentDatabase
    from motet.serving.experiments.decisions import with_periods
    from motet.serving.experiments.guardian import report_now

    if input_:
        raise InputError("--input and --from are two sources", hint="leave one out")
    _no_others(options, "--from")
    experiment = experiment_of(graph.checked, options.get("node"))
    since = options.get("since")
    database = ExperimentDatabase(from_environment(to, "--from"), Path.cwd(), there=True)
    try:
        mine = [each for each in database.decisions(experiment.graph) if each.node == experiment.node]
        moment = 0.0 if since is None else read_since(since, time.time())
        return report_now(database, with_periods(experiment, mine), moment, every=options["all"])
    finally:
        database.close()


def show_live(
    graph: str, options: Mapping[str, Any], server: str, access: ServerAccess, *, html: str | None, as_json: bool
) -> None:
    """Say what the experiments of a running server came to so far.

    Raises:
        InputError: when options of files are given, or it has no such experiment.
        RequestError: when it cannot be reached.
    """
    from urllib.parse import urlencode

    from motet.errors import InputError

    if html is not None:
        raise InputError("--html needs --input or --from", hint="the page of the server shows the experiment")
    _no_others(options, "a server")
    said = {key: options[key] for key in ("node", "since") if options.get(key) is not None}
    asked = urlencode({**said, "all": "true"} if options["all"] else said)
    path = f"/experiments/{quote(graph, safe='')}" + (f"?{asked}" if asked else "")
    found = ask(server or graph, path, access, timeout_s=REPORT_TIMEOUT_S)["experiments"]
    if as_json:
        print_json([{**each["report"], "last_decision": each["decision"]} for each in found])
        return
    click.echo("\n\n".join(each["text"] + _last(each["decision"]) for each in found))


def _last(decision: Mapping[str, Any] | None) -> str:
    if decision is None:
        return ""
    why = f": {decision['why']}" if decision["why"] else ""
    shares = ", ".join(f"{arm} {share:.4g}" for arm, share in decision["shares"].items())
    return f"\nLast decision: {decision['action']} at {date(decision['time'])} by {decision['who'] or 'nobody'}{why}; {shares}"


def _no_others(options: Mapping[str, Any], source: str) -> None:
    """See that no options are given that only files have."""
    from motet.errors import InputError

    for name in ("label", "unit", "arm", "time", "seconds", "failed"):
        if options.get(name) is not None:
            raise InputError(f"--{name} is for --input; {source} knows it")
    for name, value in options["reading"].items():
        if value is not None:
            raise InputError(f"--{name} says how --input is read, and there is none", hint="leave it out")
