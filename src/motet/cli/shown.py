"""How commands show what they found: as a table, as JSON for programs; and times."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import click

__all__ = ["date", "json_option", "print_json", "print_table"]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def print_json(found: Any) -> None:
    """Print something as JSON."""
    click.echo(json.dumps(found, indent=2))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below the names of their columns."""
    lines = [tuple(head), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def date(seconds: float, *, to_the_second: bool = False) -> str:
    """A time in seconds since 1970, as the clock of this place had it."""
    return time.strftime("%Y-%m-%d %H:%M:%S" if to_the_second else "%Y-%m-%d %H:%M", time.localtime(seconds))
