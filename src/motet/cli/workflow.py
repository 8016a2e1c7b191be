"""`motet workflow`: run workflows, and see what became of them."""

from __future__ import annotations

import click

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


class _Lazy(click.Group):
    """Commands that are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_HOMES)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _HOMES:
            return None
        import importlib

        module, _, attribute = _HOMES[name].partition(":")
        found: click.Command = getattr(importlib.import_module(f"motet.cli.{module}"), attribute)
        return found


@click.group("workflow", cls=_Lazy, short_help="Run workflows, and see what became of them.")
def command() -> None:
    """Run workflows, and see what became of them.

    RUN is the id of a run, the beginning of one, or last.
    """
