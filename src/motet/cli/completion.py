"""What a shell offers for arguments. Nothing else of Motet is imported for it: a shell asks at each press of the key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["GRAPH_FILE", "STORED_MODEL"]


class _GraphFile(click.types.StringParamType):
    """A file of YAML; while there are folders to go through, whatever the shell offers for files."""

    name = "graph"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The files of YAML that begin so."""
        from click.shell_completion import CompletionItem

        folder, slash, start = incomplete.rpartition("/")
        entries = [entry for entry in _entries(folder + slash) if entry.name.startswith(start)]
        if incomplete.startswith("~") or any(entry.is_dir() for entry in entries):
            return [CompletionItem(incomplete, type="file")]
        names = sorted(entry.name for entry in entries if entry.suffix in (".yaml", ".yml"))
        return [CompletionItem(folder + slash + name) for name in names]


class _StoredModel(click.types.StringParamType):
    """The name of a model in the store, or of a version of one; those of a folder are offered."""

    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The folders of the store that begin so, each a model."""
        from click.shell_completion import CompletionItem

        store = ctx.params.get("url") or os.environ.get("MOTET_STORE", "store")
        names = sorted(entry.name for entry in _entries(store.removeprefix("file://")) if entry.is_dir())
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _entries(folder: str) -> list[Path]:
    """What is in a folder, but for what is hidden."""
    try:
        return [entry for entry in Path(folder or ".").iterdir() if not entry.name.startswith(".")]
    except OSError:
        return []


GRAPH_FILE = _GraphFile()
STORED_MODEL = _StoredModel()
