"""`motet store`: look at versions of models, publish them, and say which one is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from motet.cli.completion import STORED_MODEL
from motet.cli.exits import FAILED, WRONG, Command, CommandGroup
from motet.cli.shown import date, json_option, print_json, print_table

if TYPE_CHECKING:
    from motet.store.store import Store
    from motet.store.version import Version

__all__ = ["command"]

_EXITS = {0: "done", FAILED: "the store cannot be reached, or has no such version", WRONG: "wrong arguments"}


_place = click.option(
    "--store",
    "url",
    metavar="URL",
    envvar="MOTET_STORE",
    default="store",
    show_envvar=True,
    show_default=True,
    help="The store: a folder, or s3://bucket/path and the like.",
)


@click.group(
    "store", cls=CommandGroup, exits=_EXITS, short_help="Versions of models: list, publish, promote, roll back."
)
def command() -> None:
    """Look at a store of models, publish into it, and point aliases at versions.

    Graphs name models of a store as store:NAME@ALIAS. A server that plays them takes over what an alias is pointed at
    within a second, without losing a request.
    """


def _command(name: str, help: str) -> Callable[[Callable[..., None]], click.Command]:
    return command.command(name, cls=Command, short_help=help, exits=_EXITS)


@_command("ls", "List models, or the versions of one.")
@click.argument("name", required=False, type=STORED_MODEL)
@_place
@json_option
def list_versions(name: str | None, url: str, as_json: bool) -> None:
    """List the models of the store with their aliases; or the versions of NAME with their metrics."""
    store = _store(url)
    if name is None:
        models = {each: store.aliases(each) for each in store.names()}
        if as_json:
            print_json(models)
            return
        rows = [
            (each, str(len(store.versions(each))), ", ".join(f"{alias}={n}" for alias, n in aliases.items()))
            for each, aliases in models.items()
        ]
        if not rows:
            click.echo(f"the store {url} has no models", err=True)
            return
        print_table(("NAME", "VERSIONS", "ALIASES"), rows)
        return
    versions, aliases = store.versions(name), store.aliases(name)
    if as_json:
        print_json([_said(version, aliases) for version in versions])
        return
    told = [
        (
            str(version),
            ",".join(alias for alias, number in aliases.items() if number == version.number),
            date(version.published_at, to_the_second=True),
            f"{version.size_bytes:,}",
            version.digest[:12],
            _metrics(version),
        )
        for version in versions
    ]
    print_table(("VERSION", "ALIASES", "PUBLISHED", "BYTES", "DIGEST", "METRICS"), told)


@_command("show", "Show all that is known of a version.")
@click.argument("reference", metavar="NAME[@VERSION]", type=STORED_MODEL)
@_place
@json_option
def show(reference: str, url: str, as_json: bool) -> None:
    """Show a version: files, signature, functions around it, metrics, and where it comes from."""
    store = _store(url)
    version = store.resolve(reference)
    said = _said(version, store.aliases(version.name))
    if as_json:
        print_json(said)
        return
    for key, value in said.items():
        if isinstance(value, (dict, list)) and value:
            click.echo(f"{key}:")
            for line in value.items() if isinstance(value, dict) else enumerate(value):
                click.echo(f"  {line[0]}: {line[1]}" if isinstance(value, dict) else f"  {_item(line[1])}")
        elif value not in ({}, [], ""):
            click.echo(f"{key}: {value}")


@_command("publish", "Publish a model as its next version.")
@click.argument("name", type=STORED_MODEL)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option("--alias", "aliases", metavar="ALIAS", multiple=True, default=("latest",), show_default=True)
@click.option(
    "--metric", "metrics", metavar="NAME=NUMBER", multiple=True, help="What was measured of it; as often as needed."
)
@click.option("--lineage", metavar="NAME=TEXT", multiple=True, help="Where it comes from; as often as needed.")
@click.option("--handler", default="", help="What loads it, where its suffix does not say: sklearn, xgboost, ...")
@_place
def publish(
    name: str, files: Sequence[str], aliases: Sequence[str], metrics: Sequence[str], lineage: Sequence[str], handler: str,
    url: str,
) -> None:  # fmt: skip
    """Publish the model in FILE, with the files that belong to it behind it, and print its version.

    The same content again is the version that has it already.
    """
    from pathlib import Path

    given = files[0] if len(files) == 1 else {Path(file).name: file for file in files}
    measured = {key: _number(key, value) for key, value in _pairs(metrics, "--metric")}
    version = _store(url).publish(
        name,
        given,
        aliases=tuple(aliases),
        metrics=measured,
        lineage=dict(_pairs(lineage, "--lineage")),
        handler=handler,
    )
    click.echo(str(version))


@_command("import", "Import the versions of an MLflow registry.")
@click.argument("registry", metavar="mlflow:REGISTRY")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--dry-run", is_flag=True, help="Say what would be imported, and publish nothing.")
@_place
@json_option
def import_versions(registry: str, names: tuple[str, ...], dry_run: bool, url: str, as_json: bool) -> None:
    """Publish the versions of a registry of MLflow with their aliases, stages, metrics and tags.

    REGISTRY is the folder of a file store (mlruns), or sqlite:///FILE.db; MLflow need not be installed. Models of onnx, sklearn,
    xgboost, lightgbm, catboost, pytorch, keras, tensorflow and sentence_transformers are imported, others are named, with
    exit code 1. What was imported before is found again.
    """
    from dataclasses import asdict

    from motet.store.mlflow import import_registry

    found = []
    for each in import_registry(_store(url), registry, names, dry_run=dry_run):
        found.append(each)
        if not as_json:
            aliases = f" ({', '.join(each.aliases)})" if each.aliases else ""
            told = f"{each.version}{aliases}" if each.version else f"refused: {each.reason}"
            click.echo(f"{each.name} {each.number}  {told}{f'; {each.note}' if each.note else ''}")
    if as_json:
        print_json([asdict(each) for each in found])
    if any(each.reason for each in found):
        raise SystemExit(FAILED)


@_command("promote", "Point an alias at a version.")
@click.argument("reference", metavar="NAME@VERSION", type=STORED_MODEL)
@click.option("--alias", default="champion", show_default=True)
@_place
def promote(reference: str, alias: str, url: str) -> None:
    """Point an alias at a version: a number, or where another alias points."""
    name, _, which = reference.partition("@")
    click.echo(f"{_store(url).promote(name, which or 'latest', alias)} is {alias}")


@_command("rollback", "Point an alias where it pointed before.")
@click.argument("name", type=STORED_MODEL)
@click.option("--alias", default="champion", show_default=True)
@_place
def rollback(name: str, alias: str, url: str) -> None:
    """Point an alias where it pointed before; again, where it pointed before that."""
    click.echo(f"{_store(url).rollback(name, alias)} is {alias}")


@_command("withdraw", "Let an alias point at nothing.")
@click.argument("name", type=STORED_MODEL)
@click.option("--alias", default="champion", show_default=True)
@_place
def withdraw(name: str, alias: str, url: str) -> None:
    """Let an alias point at nothing; ensembles that take what is available go on without the model."""
    _store(url).withdraw(name, alias)
    click.echo(f"{name}@{alias} is withdrawn")


@_command("rm", "Remove a version.")
@click.argument("reference", metavar="NAME@NUMBER", type=STORED_MODEL)
@click.option("--force", is_flag=True, help="Also where an alias points at it.")
@_place
def remove(reference: str, force: bool, url: str) -> None:
    """Remove a version. Its number is not given again."""
    name, _, number = reference.partition("@")
    if not number.isdecimal():
        raise click.UsageError(f"write NAME@NUMBER; got {reference!r}")
    _store(url).remove(name, int(number), force=force)
    click.echo(f"removed {reference}")


@_command("gc", "Remove what publishers that died have left behind.")
@click.option("--older-than", metavar="AGE", default="24h", show_default=True, help="Younger ones may be on their way.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@_place
def collect(older_than: str, dry_run: bool, url: str) -> None:
    """Remove the files of versions that were begun and never published."""
    from motet.serving.admission.keys import age_s

    for name, number in _store(url).gc(age_s(older_than), dry_run=dry_run):
        click.echo(f"{'would remove' if dry_run else 'removed'} {name}@{number}, which was never published")


def _store(url: str) -> Store:
    from motet.store.store import Store

    return Store(url)


def _said(version: Version, aliases: dict[str, int]) -> dict[str, Any]:
    import msgspec

    said: dict[str, Any] = msgspec.to_builtins(version)
    said["aliases"] = [alias for alias, number in aliases.items() if number == version.number]
    said["published_at"] = date(version.published_at, to_the_second=True)
    return said


def _item(value: Any) -> str:
    return ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else str(value)


def _metrics(version: Version) -> str:
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in version.metrics.items()
    )


def _pairs(given: Sequence[str], option: str) -> list[tuple[str, str]]:
    found = []
    for each in given:
        name, mark, value = each.partition("=")
        if not mark or not name:
            raise click.UsageError(f"write {option} NAME=VALUE; got {each!r}")
        found.append((name, value))
    return found


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise click.UsageError(f"--metric {name} must be a number; got {value!r}") from None
