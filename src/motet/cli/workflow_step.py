"""`motet workflow step`: run one step of a workflow, as the containers of a cluster do."""

from __future__ import annotations

import logging

import click

from motet.cli.exits import FAILED, WRONG, Command

__all__ = ["command"]


@click.command(
    "step",
    cls=Command,
    short_help="Run one step, as a container of a cluster does.",
    exits={0: "it ran, or was left out", FAILED: "the step failed", WRONG: "a wrong workflow, parameter or step"},
)
@click.argument("workflow", metavar="FILE.py[:NAME]", type=click.Path())
@click.argument("step")
@click.option("--run-id", "run", required=True, metavar="NAME", help="What steps of the same run have in common.")
@click.option("--inputs", default="", metavar="'STEP=ID ...'", help="Results to take.  [default: those of the run]")
@click.option("--output", metavar="FILE", type=click.Path(), help="Where to write the ID of the result.")
@click.option("--set", "parameters", metavar="KEY=VALUE", multiple=True, help="A parameter of the workflow.")
@click.option("--cache", metavar="DIR", type=click.Path(), help="Where results are.  [default: $MOTET_WORKFLOW_CACHE]")
def command(
    workflow: str, step: str, run: str, inputs: str, output: str | None, parameters: tuple[str, ...], cache: str | None
) -> None:
    """Run one step of a workflow, and leave its result where the steps that take it find it.

    What decides which step runs when is elsewhere: Argo, by what motet export kubernetes has written. Under torchrun
    every process runs the step, and the first one leaves the result.
    """
    from motet.io.target import write_file
    from motet.system.processes import torchrun_rank
    from motet.workflow.find import find_workflow, wired
    from motet.workflow.run_step import read_inputs, run_step

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    plan = wired(find_workflow(workflow)[0], parameters)
    name = run_step(plan, step, run=run, inputs=read_inputs(inputs), cache=cache, rank=torchrun_rank())
    if output is not None:
        write_file(output, name.encode())
    click.echo(name)
