"""How commands show what they found: as a table, as JSON for programs; and times."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, Protocol

import click

__all__ = ["date", "html_option", "json_option", "print_json", "print_report", "print_table"]


class Report(Protocol):
    """What commands print that look at rows."""

    def to_json(self) -> str:
        """As JSON."""
        ...

    def html(self) -> str:
        """As a page that needs no other file."""
        ...


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
html_option = click.option("--html", metavar="FILE", type=click.Path(), help="Write a page, which needs no other file.")


def print_report(report: Report, html: str | None, *, as_json: bool) -> None:
    """Write the page of a report, where one is wanted, and print the report: as JSON, or as text."""
    if html is not None:
        from motet.system.whole_files import write_whole

        write_whole(html, report.html().encode())
    click.echo(report.to_json() if as_json else str(report))


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
