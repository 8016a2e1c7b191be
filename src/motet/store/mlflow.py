"""Registries of MLflow, imported without MLflow: versions, aliases and stages, with the metrics of the runs that they come from.

    mlflow:FOLDER                the folder of a file store (`mlruns`), or the one it is in
    mlflow:sqlite:///FILE.db     a database of SQLite

registry ──► versions, oldest first ──► the model's own file by its flavour ──► `Store.publish`, with lineage
                                             └──► or why it is refused

The form of both: https://mlflow.org/docs/latest/ml/model-registry/, https://mlflow.org/docs/latest/ml/model/#storage-format
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from motet.errors import InputError, MotetError, StoreError, UnknownNameError
from motet.models.mlflow_folder import MlflowFolder
from motet.store.mlflow_registry import SCHEME, RegisteredVersion, Registry, open_registry
from motet.store.store import Store
from motet.store.version import ALIAS, NAME

__all__ = ["ImportedVersion", "import_registry"]

_DELETED = "Deleted_Internal"
"""The stage of versions that were deleted, which every registry goes on to keep."""


@dataclass(frozen=True)
class ImportedVersion:
    """A version of a registry, and what became of it.

    Attributes:
        name, number: as the registry has it.
        version: what it is in the store, `NAME@NUMBER`; empty where it was refused.
        aliases: those that point at it now.
        reason: why it was refused.
        note: what to know of it.
    """

    name: str
    number: int
    version: str = ""
    aliases: tuple[str, ...] = ()
    reason: str = ""
    note: str = ""


def import_registry(
    store: Store, registry: str, names: Sequence[str] = (), *, dry_run: bool = False
) -> Iterator[ImportedVersion]:
    """Publish the versions of an MLflow registry. What was imported before is found again: nothing is published twice.

    Aliases point where they do there; a stage (`Production`) becomes an alias (`production`) of its newest version. Numbers are
    the store's own; `lineage` says what a version was there.

    Args:
        store: where to.
        registry: `mlflow:FOLDER` or `mlflow:sqlite:///FILE.db`.
        names: models to import; none means all.
        dry_run: look, and publish nothing.

    Raises:
        InputError: when it is no registry.
        UnknownNameError: when it has no model of a name.
    """
    opened = open_registry(registry)
    found = [each for each in opened.versions() if each.stage != _DELETED]
    known = list(dict.fromkeys(each.name for each in found))
    for name in names:
        if name not in known:
            raise UnknownNameError("model of the registry", name, known, where=registry)
    newest = {(each.name, each.stage): each.number for each in found}
    taken: dict[str, str] = {}
    for each in found:
        if names and each.name not in names:
            continue
        stages = [each.stage.lower()] if each.stage and newest[each.name, each.stage] == each.number else []
        own = {alias for other in found if other.name == each.name for alias in other.aliases}
        aliases = [*each.aliases, *(stage for stage in stages if stage not in own)]
        try:
            yield _import(store, opened, each, aliases, taken, registry, dry_run)
        except StoreError:
            raise
        except MotetError as error:
            yield ImportedVersion(each.name, each.number, reason=error.what)


def _import(
    store: Store,
    registry: Registry,
    each: RegisteredVersion,
    aliases: Sequence[str],
    taken: dict[str, str],
    where: str,
    dry_run: bool,
) -> ImportedVersion:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", each.name).strip("-._")[:128]
    if not NAME.fullmatch(name) or taken.setdefault(name, each.name) != each.name:
        raise InputError(f"{each.name!r} gives no name of its own in a store")
    if each.status not in ("READY", ""):
        raise InputError(f"it is {each.status} in the registry")
    with ExitStack() as stack:
        model = MlflowFolder(_local(each.source, registry, stack))
        files, handler = model.files()
        given = tuple(alias for alias in aliases if ALIAS.fullmatch(alias))
        note = "needs the code that was logged with it on PYTHONPATH" if model.needs_code else ""
        if dry_run:
            return ImportedVersion(each.name, each.number, f"{name}@?", given, note=note)
        said = {
            "registry": where.removeprefix(SCHEME), "name": each.name, "version": each.number, "run": each.run,
            "stage": each.stage, "description": each.description, "tags": dict(each.tags),
            "parameters": dict(each.parameters),
        }  # fmt: skip
        lineage = {"mlflow": {key: value for key, value in said.items() if value}}
        published = store.publish(name, files, handler=handler, metrics=each.metrics, lineage=lineage, aliases=())
    forward = ("latest",) if (store.number(f"{name}@latest") or 0) < published.number else ()
    for alias in (*forward, *given):
        store.promote(name, published.number, alias)
    return ImportedVersion(each.name, each.number, str(published), given, note=note)


def _local(source: str, registry: Registry, stack: ExitStack) -> Path:
    """The folder of a model on this machine; what lies elsewhere is copied for as long as the stack is open."""
    if source.startswith(("models:/", "runs:/")):
        source = registry.folder(source)
    scheme = urlsplit(source).scheme
    if scheme in ("", "file"):
        path = Path(unquote(urlsplit(source).path)) if scheme else registry.root / source
        moved = (registry.root.joinpath(*path.parts[place:]) for place in range(1, len(path.parts)))
        for each in (path, *moved):  # where the registry was moved, what it names may lie as before relative to it
            if (each / "MLmodel").is_file():
                return each
        raise InputError(f"its files are not at {source or 'a place that is known'}")
    if scheme in ("mlflow-artifacts", "dbfs", "models", "runs", "http", "https"):
        raise InputError(f"its files are behind a server of MLflow, at {source}")
    import fsspec

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="motet-import-")))
    try:
        files, place = fsspec.core.url_to_fs(source)
        files.get(f"{place.rstrip('/')}/", f"{folder}/", recursive=True)
    except Exception as error:
        raise InputError(f"its files cannot be fetched from {source}: {error}") from error
    return folder
