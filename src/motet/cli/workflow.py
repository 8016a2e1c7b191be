"""`motet workflow`: run workflows, and see what became of them."""

from __future__ import annotations

import click

from motet.cli.exits import LazyGroup

__all__ = ["command"]

_HOMES = {
    "run": "workflow_run:command",
    "list": "workflow_show:list_runs",
    "show": "workflow_show:show",
    "logs": "workflow_show:logs",
    "graph": "workflow_show:graph",
    "ui": "workflow_ui:command",
    "compare": "workflow_compare:command",
    "step": "workflow_step:command",
}


@click.group("workflow", cls=LazyGroup, homes=_HOMES, short_help="Run workflows, and see what became of them.")
def command() -> None:
    """Run workflows, and see what became of them.

    RUN is the id of a run, the beginning of one, or last.
    """
