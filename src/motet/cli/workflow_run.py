"""`motet workflow run`: run a workflow, once or again and again."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from motet.cli.exits import EXITS, FAILED, HUNG_UP, INTERRUPTED, OK, TERMINATED, WRONG, Command, say_error, say_finished

if TYPE_CHECKING:
    from motet.workflow.plan import Plan
    from motet.workflow.play.run import Run
    from motet.workflow.play.step_process import StepPlace
    from motet.workflow.triggers import Trigger

__all__ = ["command"]

_EXITS = {
    OK: "every step has its result",
    FAILED: "a step failed; --resume goes on with what is finished",
    WRONG: "a wrong workflow, parameter or argument",
    INTERRUPTED: EXITS[INTERRUPTED] + "; --resume goes on with what is finished",
    TERMINATED: "the same by SIGTERM",
    HUNG_UP: "the same by SIGHUP",
}


@click.command("run", cls=Command, short_help="Run a workflow.", exits=_EXITS)
@click.argument("workflow", metavar="FILE.py[:NAME]", type=click.Path(), required=False)
@click.argument("engine_options", nargs=-1, metavar="[-- ENGINE OPTIONS]")
@click.option("--set", "parameters", metavar="KEY=VALUE", multiple=True, help="A parameter of the workflow.")
@click.option(
    "--async/--sync", "asynchronous", default=True, help="Steps with as_ready(...): with each result, or once."
)
@click.option("--explain", is_flag=True, help="Say for each step why it ran or not, and what has changed.")
@click.option("--resume", metavar="RUN", help="Go on with a run that was stopped; finished steps are not run again.")
@click.option(
    "--resume-within",
    metavar="TIME",
    help="How long ago the run that is gone on with may have been stopped: 90s, 15m, 2h.  "
    "[default: 15m; with --resume no bound; with --every, --cron, --watch 0]",
)
@click.option("--fresh", is_flag=True, help="Begin anew, though the same run was killed before its end.")
@click.option("--again", metavar="STEP", multiple=True, help="Run this step whatever is kept of it.")
@click.option(
    "--cache", metavar="DIR", type=click.Path(), help="Where results are kept.  [default: $MOTET_WORKFLOW_CACHE]"
)
@click.option("--fail-fast", is_flag=True, help="End the run at the first failure.")
@click.option(
    "--threads", type=click.IntRange(1), metavar="N", help="Steps at the same time.  [default: cores, 4 or more]"
)
@click.option("--every", metavar="TIME", help="Run again every so often: 90s, 15m, 12h, 7d.")
@click.option("--cron", metavar="EXPR", help="Run at times: 'MINUTE HOUR DAY MONTH WEEKDAY'.")
@click.option("--watch", metavar="PATH", multiple=True, help="Run when a file or folder changes.")
@click.option(
    "--overlap",
    type=click.Choice(["allow", "forbid", "wait"]),
    help="While another run of the same workflow and parameters goes: run as well, leave this one out, or wait.  "
    "[default: allow; with --every, --cron, --watch forbid]",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where steps with processes of their own run: on this machine, or on a cluster of Ray.",
)
@click.option("--page", metavar="FILE.html", type=click.Path(), help="Write the page of the run.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    workflow: str | None,
    engine_options: tuple[str, ...],
    engine: str,
    parameters: tuple[str, ...],
    every: str | None,
    cron: str | None,
    watch: tuple[str, ...],
    explain: bool,
    page: str | None,
    quiet: bool,
    **settings: Any,
) -> None:
    """Run a workflow, once, or whenever --every, --cron or --watch say so.

    What is kept and has not changed is not done again. A run that was killed a short while ago is gone on with by the same
    command, which says so; each run of --every, --cron and --watch begins anew.
    """
    plan_of = _plans(workflow, parameters, settings["resume"])
    triggers = _triggers(every, cron, watch)
    if settings["resume"] and triggers:
        raise click.UsageError("--resume is for one run, not for --every, --cron or --watch", ctx)
    fresh = settings.pop("fresh")
    settings["resume"] = settings["resume"] or not fresh
    settings["place"] = _place(engine, engine_options)
    settings["overlap"] = settings["overlap"] or ("forbid" if triggers else "allow")
    if page is not None:
        from motet.io.target import target_of

        target_of(page).probe()
    if not triggers:
        run = _once(ctx, plan_of(), settings, explain, page, quiet)
        ctx.exit(OK if run.state == "done" else INTERRUPTED if run.state == "cancelled" else FAILED)
    from motet.workflow.triggers import repeat

    plan = plan_of()
    settings["resume_within"] = settings["resume_within"] or 0.0
    with _only_process(plan, f"{every} {cron} {watch}", settings["overlap"], quiet):
        repeat(triggers, lambda: _again(ctx, plan, settings, explain, page, quiet), threading.Event())


def _plans(workflow: str | None, parameters: tuple[str, ...], resume: str | None) -> Callable[[], Plan]:
    """What wires the workflow; a run that is resumed knows its file, not its parameters."""
    from motet.errors import InputError
    from motet.workflow.find import find_workflow, wired

    if workflow is None:
        hint = "write FILE.py[:NAME] and the --set of the run" if resume else "write FILE.py or FILE.py:NAME"
        raise InputError("no workflow is named", where="motet workflow run", hint=hint)
    found = find_workflow(workflow)[0]
    return lambda: wired(found, parameters)


def _place(engine: str, options: tuple[str, ...]) -> StepPlace | None:
    """Where steps with processes of their own run; None is this machine."""
    from motet.errors import InputError

    if engine == "local":
        if options:
            what = f"takes no options of its own; got {' '.join(options)}"
            raise InputError(what, where="engine local", hint="write --engine ray, or leave them out")
        return None
    from motet.ray import Steps

    return Steps(options)


def _triggers(every: str | None, cron: str | None, watch: tuple[str, ...]) -> list[Trigger]:
    from motet.errors import InputError
    from motet.workflow.options import read_duration_s

    found: list[Trigger] = []
    if every is not None or cron is not None or watch:
        from motet.workflow.cron import read_cron
        from motet.workflow.triggers import At, Every, FileWatch

        if every is not None:
            seconds = read_duration_s(every, "--every")
            if not seconds:
                raise InputError("a time of 0 has no end", where="--every")
            found.append(Every(seconds))
        if cron is not None:
            found.append(At(read_cron(cron)))
        if watch:
            found.append(FileWatch(watch))
    return found


def _only_process(plan: Plan, times: str, overlap: str, quiet: bool) -> AbstractContextManager[object]:
    """Be the only process that plays a schedule, unless runs may overlap."""
    from motet.workflow.memo.cache import home_folder
    from motet.workflow.play.overlap import schedule_lock
    from motet.workflow.play.start import plan_digest

    def say() -> None:
        if not quiet:
            click.echo("another process plays this schedule; this one goes on with it when that ends", err=True)

    if overlap == "allow":
        return nullcontext()
    name = f"{plan_digest(plan) or f'{plan.name} {plan.file}'} {times}"
    return schedule_lock(home_folder(), name, lambda: False, say)


def _again(
    ctx: click.Context, plan: Plan, settings: dict[str, Any], explain: bool, page: str | None, quiet: bool
) -> None:
    """A run among many: one that fails is told of, and the next one comes all the same."""
    from motet.errors import OverlapError

    try:
        _once(ctx, plan, settings, explain, page, quiet)
    except OverlapError as error:
        if not quiet:
            click.echo(f"left out: {error.what}", err=True)
    except BrokenPipeError:
        raise  # nobody reads what is said
    except Exception as error:  # noqa: BLE001 (the next run may go well)
        say_error(error)
    ctx.obj = None  # nothing runs that --resume could go on with


def _once(
    ctx: click.Context, plan: Plan, settings: dict[str, Any], explain: bool, page: str | None, quiet: bool
) -> Run:
    from motet.cli.workflow_progress import Progress
    from motet.workflow.play.turns import put_back

    ctx.obj = "; --resume goes on with what is finished"
    with put_back(()), Progress([each.id for each in plan.nodes], quiet, sys.stderr) as progress:
        run = plan.run(**settings, check=False, progress=progress, capture=True)
    ctx.obj = None
    if explain:
        _explain(run)
    if not quiet:
        say_finished(str(run))
    for step in run.steps:
        if step.state == "failed":
            click.echo(f"step {step.id} failed: {step.error}", err=True)
    if run.state != "done" and not quiet:
        click.echo(f"motet workflow logs {run.id} shows what steps printed; --resume {run.id} goes on", err=True)
    if page is not None:
        from motet.cli.workflow_show import write_page

        write_page(run.id, page)
    return run


def _explain(run: Run) -> None:
    longest = max((len(step.id) for step in run.steps), default=0)
    for step in run.steps:
        kept = step.node.step.policy is not None
        state = "miss" if kept and step.state == "done" else step.state
        lines = [step.why if kept or step.why else "not kept: @step without cache"]
        lines += step.changes[3:]
        if step.error:
            lines = [step.error, *(f"a miss: {line}" for line in lines if kept and step.why)]
        for number, line in enumerate(lines):
            click.echo(f"{'' if number else step.id:{longest}}  {'' if number else state:9}  {line}".rstrip())
