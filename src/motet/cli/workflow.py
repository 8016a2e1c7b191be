"""`motet workflow`: run the steps of workflows."""

from __future__ import annotations

import click

from motet.cli import workflow_step

__all__ = ["command"]


@click.group("workflow", short_help="Run steps of workflows.")
def command() -> None:
    """Run the steps of workflows."""


command.add_command(workflow_step.command)
