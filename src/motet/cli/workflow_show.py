"""`motet workflow list`, `show`, `logs`, `graph`: what became of runs."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from motet.cli.exits import EXITS, OK, WRONG, Command
from motet.cli.shown import date, json_option, print_json

if TYPE_CHECKING:
    from motet.workflow.record.metrics import RunMetrics
    from motet.workflow.record.runs import RunRow, StepRow

__all__ = ["graph", "list_runs", "logs", "show", "write_page"]

_EXITS = {OK: EXITS[OK], WRONG: "there is no such run or step"}


def _read(name: str) -> tuple[RunRow, list[StepRow], RunMetrics]:
    from motet.workflow.memo.cache import home_folder
    from motet.workflow.record.metrics import seen_run

    return seen_run(home_folder(), name)


@click.command("list", cls=Command, short_help="List the last runs.", exits={OK: EXITS[OK]})
@click.option("--workflow", default="", metavar="NAME", help="Only runs of this workflow.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, metavar="N", help="How many.")
@json_option
def list_runs(workflow: str, limit: int, as_json: bool) -> None:
    """List the last runs, the newest first."""
    from motet.workflow.memo.cache import home_folder
    from motet.workflow.record.runs import RunRecord

    with closing(RunRecord.of(home_folder())) as record:
        runs = [record.as_it_is(each) for each in record.runs(limit, workflow)]
    if as_json:
        print_json([asdict(each) for each in runs])
        return
    longest = max((len(each.id) for each in runs), default=0)
    for each in runs:
        when = date(each.started, to_the_second=True)
        click.echo(f"{each.id:{longest}}  {each.state:9}  {when}  {each.seconds:9.2f} s")
    if not runs:
        click.echo("no runs", err=True)


@click.command("show", cls=Command, short_help="Show the steps of a run.", exits=_EXITS)
@click.argument("run")
@json_option
def show(run: str, as_json: bool) -> None:
    """Show the steps of a run: what became of each, how long it took, why, and its metrics."""
    from motet.metrics_log import in_json

    found, steps, metrics = _read(run)
    if as_json:
        plain = {step: {name: asdict(series) for name, series in named.items()} for step, named in metrics.items()}
        said = {**asdict(found), "steps": [asdict(each) for each in steps], "metrics": plain}
        print_json(in_json(said))
        return
    click.echo(f"{found.id}: {found.state}, {found.seconds:.2f} s, {found.file}")
    for name, value in json.loads(found.parameters).items():
        click.echo(f"  {name}={value}")
    longest = max((len(each.id) for each in steps), default=0)
    for each in steps:
        took = f"{each.seconds:.2f} s" if each.started else ""
        size = f"{each.size_bytes:,} B {' '.join(each.formats)}".rstrip() if each.size_bytes else ""
        click.echo(f"{each.id:{longest}}  {each.state:9}  {took:>10}  {size:>16}  {each.why}".rstrip())
        if each.error:
            click.echo(f"{'':{longest}}  {each.error}")
        for series in metrics.get(each.id, {}).values():
            click.echo(f"{'':{longest}}  {series.name}: {series}")


@click.command("logs", cls=Command, short_help="Print what the steps of a run have printed.", exits=_EXITS)
@click.argument("run")
@click.argument("step", required=False)
def logs(run: str, step: str | None) -> None:
    """Print what the steps of a run, or one of them, have printed; of a long log its end."""
    from motet.errors import UnknownNameError
    from motet.workflow.memo.cache import home_folder
    from motet.workflow.record.logs import log_tail
    from motet.workflow.record.metrics import seen_steps

    found, steps = seen_steps(home_folder(), run)
    names = [each.id for each in steps]
    if step is not None and step not in names:
        raise UnknownNameError("step", step, names, where=f"run {found.id}")
    for name in [step] if step is not None else names:
        text = log_tail(home_folder() / "runs" / found.id / "logs", name)
        if text:
            if step is None:
                click.echo(f"== {name}")
            click.echo(text, nl=False)


@click.command("graph", cls=Command, short_help="Write the page of a run: its steps, drawn.", exits=_EXITS)
@click.argument("run")
@click.option("--output", "-o", metavar="FILE.html", type=click.Path(), help="Where to write it.  [default: RUN.html]")
def graph(run: str, output: str | None) -> None:
    """Write the page of a run: its steps and what they wait for, when they ran, and why. It needs nothing else."""
    click.echo(write_page(run, output))


def write_page(run: str, output: str | None) -> str:
    """Write the page of a run. Returns where it is."""
    from motet.io.target import write_file
    from motet.workflow.page import run_page

    found, steps, metrics = _read(run)
    path = output or f"{found.id}.html"
    write_file(path, run_page(found, steps, metrics).encode())
    return path
