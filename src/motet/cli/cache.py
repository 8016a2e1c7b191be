"""`motet cache`: what workflows have kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from motet.cli.exits import EXITS, FAILED, OK, WRONG, Command
from motet.cli.shown import date, json_option, print_json

if TYPE_CHECKING:
    from motet.workflow.memo.cache import Cache
    from motet.workflow.memo.index import Index

__all__ = ["command"]

_CACHE = click.option("--cache", metavar="DIR", type=click.Path(), help="The folder.  [default: $MOTET_WORKFLOW_CACHE]")


@contextmanager
def _opened(folder: str | None) -> Iterator[tuple[Cache, Index]]:
    from motet.workflow.memo.cache import Cache, cache_folder
    from motet.workflow.memo.index import Index

    cache = Cache(cache_folder(folder))
    with Index.of(cache) as index:
        yield cache, index


@click.group("cache", short_help="Look at what workflows have kept, and clean up.")
def command() -> None:
    """Look at what workflows have kept, and clean up."""


@command.command("ls", cls=Command, short_help="List results that are kept.", exits={OK: EXITS[OK]})
@click.argument("step", default="")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, metavar="N", help="How many.")
@json_option
@_CACHE
def list_entries(step: str, limit: int, as_json: bool, cache: str | None) -> None:
    """List results that are kept, the newest first; with STEP only those of steps with that in their names."""
    with _opened(cache) as (found, index):
        index.sync()
        rows, (count, size) = index.rows(step, limit), index.totals()
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    for row in rows:
        told = f"{row.key[:12]}  {date(row.created)}  {row.seconds:9.2f} s  {row.size_bytes:>13,} B  {row.formats:8}  {row.step}"
        click.echo(f"{told}({row.arguments})"[:240])
    click.echo(f"{count:,} results, {size:,} bytes of files beside them, in {found.root}")


@command.command(
    "gc",
    cls=Command,
    short_help="Remove what was not used for long.",
    exits={OK: EXITS[OK], WRONG: "a wrong time or size"},
)
@click.option("--max-age", metavar="TIME", help="Remove what was not used for so long: 30d.")
@click.option("--max-size", metavar="SIZE", help="Remove the least recently used beyond a size: 20GiB.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@_CACHE
def collect(max_age: str | None, max_size: str | None, dry_run: bool, cache: str | None) -> None:
    """Remove results that were not used for long, and files that no result names any more.

    What was used in the last hour, is pinned, or belongs to a run that may have to go on, stays.
    """
    from motet.workflow.memo.cache import home_folder
    from motet.workflow.memo.gc import collect as collect_entries
    from motet.workflow.options import read_duration_s, read_memory_bytes
    from motet.workflow.play.journal import journals

    age_s = None if max_age is None else read_duration_s(max_age, "--max-age")
    size = None if max_size is None else read_memory_bytes(max_size, "--max-size")
    live = [kept for _, each in journals(home_folder()) for kept in each]
    with _opened(cache) as (found, index):
        told = collect_entries(found, index, max_age_s=age_s, max_bytes=size, live=live, dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    click.echo(f"{verb} {len(told.entries):,} results and {len(told.artifacts):,} files, {told.freed_bytes:,} bytes")
    spared = f"; {told.spared:,} stay because they are pinned or were used just now" if told.spared else ""
    click.echo(f"{told.left_entries:,} results stay, {told.left_bytes:,} bytes{spared}")


@command.command(
    "verify",
    cls=Command,
    short_help="Look at every result that is kept.",
    exits={OK: "all are as they were written", FAILED: "some are damaged; they would be made anew"},
)
@click.option("--remove", is_flag=True, help="Remove what is damaged.")
@_CACHE
@click.pass_context
def verify(ctx: click.Context, /, remove: bool, cache: str | None) -> None:
    """Look at every result that is kept: whether all of it is there, and as it was written."""
    from motet.workflow.memo.gc import verify as verify_entries

    with _opened(cache) as (found, index):
        wrong = verify_entries(found, index, remove=remove)
        count = index.totals()[0]
    for key, fault in wrong.items():
        click.echo(f"{key[:12]}: {fault}", err=True)
    click.echo(
        f"{count + (len(wrong) if remove else 0):,} results, {len(wrong):,} damaged{' and removed' if remove and wrong else ''}"
    )
    ctx.exit(FAILED if wrong else OK)
