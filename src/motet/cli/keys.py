"""`motet keys`: make, list and revoke the API keys of a server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from motet.cli.exits import FAILED, WRONG, Command, CommandGroup
from motet.cli.shown import date, print_table

if TYPE_CHECKING:
    from motet.serving.admission.keys import KeyStore

__all__ = ["command"]

_EXITS = {0: "done", FAILED: "the file cannot be written", WRONG: "a wrong name, duration or file, or no such key"}


_file = click.option(
    "--keys",
    "path",
    metavar="FILE",
    type=click.Path(),
    default="keys.jsonl",
    envvar="MOTET_KEYS",
    show_envvar=True,
    show_default=True,
    help="The file of keys, as admission.keys of the server names it.",
)


@click.group("keys", cls=CommandGroup, exits=_EXITS, short_help="Make, list and revoke API keys.")
def command() -> None:
    """Make, list and revoke the API keys of a server.

    A running server that reads the same file sees changes within a second.
    """


@command.command("add", cls=Command, short_help="Make a key, and print it once.", exits=_EXITS)
@click.argument("name")
@click.option("--class", "klass", default="known", show_default=True, help="The class whose limits hold for it.")
@click.option("--expires", metavar="AGE", help="When it ceases to hold: 90d, 12h, 30m, 2w.  [default: never]")
@_file
def add(name: str, klass: str, expires: str | None, path: str) -> None:
    """Make a key for NAME, and print it.

    Only its hash is kept: a key that is lost cannot be found again, only be revoked. A name may have several keys, so
    that an old one can be revoked when the new one is in use; limits hold for all of them together.
    """
    from motet.serving.admission.keys import age_s

    key, record = _store(path).add(name, klass, None if expires is None else age_s(expires))
    click.echo(key)
    until = "" if record.expires is None else f", until {date(record.expires)}"
    click.echo(f"key {record.id} of {name}, class {klass}{until}; it is shown this once", err=True)


@command.command("list", cls=Command, short_help="List keys, without their secrets.", exits=_EXITS)
@_file
def list_keys(path: str) -> None:
    """List all keys, the oldest first: id, name, class, state, when made, when it ceases to hold."""
    now = time.time()
    rows = []
    for each in _store(path).records():
        expires = "never" if each.expires is None else date(each.expires)
        rows.append((each.id, each.name, each.klass, each.state(now), date(each.created), expires))
    print_table(("ID", "NAME", "CLASS", "STATE", "CREATED", "EXPIRES"), rows)


@command.command("revoke", cls=Command, short_help="Revoke a key, or all keys of a name.", exits=_EXITS)
@click.argument("who", metavar="ID|NAME")
@_file
def revoke(who: str, path: str) -> None:
    """Revoke the key with this id, else all keys of this name."""
    for record in _store(path).revoke(who):
        click.echo(f"revoked {record.id} of {record.name}")


def _store(path: str) -> KeyStore:
    from motet.serving.admission.keys import KeyStore

    return KeyStore(path)
