"""What a registry of MLflow holds, read from its folders or its database of SQLite."""

from __future__ import annotations

import math
import re
import sqlite3
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from motet.errors import InputError

__all__ = ["SCHEME", "RegisteredVersion", "Registry", "open_registry"]

SCHEME = "mlflow:"


@dataclass(frozen=True)
class RegisteredVersion:
    """A version as a registry has it.

    Attributes:
        name, number: of the model, and of its version.
        source: where its files are.
        stage: such as `Production`; empty for none.
        status: `READY` where it is whole.
        run: the number of the run that it comes from; empty where that is not said.
        description, tags: what was said of it.
        aliases: those that point at it.
        metrics, parameters: of its run, by name.
    """

    name: str
    number: int
    source: str
    stage: str
    status: str
    run: str
    description: str
    tags: Mapping[str, str]
    aliases: Sequence[str]
    metrics: Mapping[str, float]
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Registry(ABC):
    """Where a registry is kept: a folder or a file."""

    path: Path

    @property
    def root(self) -> Path:
        """The folder that it is in."""
        return self.path.absolute().parent

    @abstractmethod
    def versions(self) -> list[RegisteredVersion]:
        """All versions, by name and number. Raises InputError where they cannot be read."""

    @abstractmethod
    def folder(self, uri: str) -> str:
        """Where the files are of what is called `models:/m-ID` or `runs:/RUN/PATH`; empty where that is not known."""


def open_registry(registry: str) -> Registry:
    """The registry of an address, `mlflow:FOLDER` or `mlflow:sqlite:///FILE.db`.

    Raises:
        InputError: when there is none.
    """
    place = registry.removeprefix(SCHEME)
    hint = "write mlflow:FOLDER or mlflow:sqlite:///FILE.db"
    if not registry.startswith(SCHEME) or not place:
        raise InputError(f"{registry!r} is no registry", hint=hint)
    scheme = urlsplit(place).scheme
    if scheme == "sqlite":
        return _database(Path(unquote(place.removeprefix("sqlite://")[1:])), registry)
    if scheme not in ("", "file"):
        hint = "give the folder or the database of SQLite that the server keeps it in"
        raise InputError(f"a registry at {scheme}: is not read", where=registry, hint=hint)
    path = Path(unquote(urlsplit(place).path)) if scheme else Path(place)
    if path.is_file():
        return _database(path, registry)
    for folder in (path, path / "mlruns"):
        if (folder / "models").is_dir():
            return _FileRegistry(folder)
    raise InputError(f"there is no registry in {path}", where=registry, hint=hint)


def _database(path: Path, registry: str) -> Registry:
    if not path.is_file():
        raise InputError(
            f"there is no file {path}", where=registry, hint="three slashes before a relative path, four before another"
        )
    return _SqliteRegistry(path)


@dataclass(frozen=True)
class _FileRegistry(Registry):
    """A file store: folders, with YAML files in them."""

    def versions(self) -> list[RegisteredVersion]:
        found = []
        for model in sorted(each for each in (self.path / "models").iterdir() if (each / "meta.yaml").is_file()):
            about = _yaml(model / "meta.yaml")
            said = {**(about.get("aliases") or {}), **_texts(model / "aliases")}
            aliases = {str(alias): int(number) for alias, number in said.items() if str(number).isdecimal()}
            numbers = (each.parent.name.removeprefix("version-") for each in model.glob("version-*/meta.yaml"))
            for number in sorted(int(each) for each in numbers if each.isdecimal()):
                folder = model / f"version-{number}"
                try:
                    meta = {**_yaml(folder / "meta.yaml"), "version": number}
                except InputError:
                    meta = {"version": number, "status": "damaged"}
                tags = _texts(folder / "tags")
                name = str(about.get("name") or model.name)
                run = self._run(str(meta.get("run_id") or ""))
                found.append(
                    _registered(name, meta, tags, aliases, self._metrics(run), _texts(run / "params" if run else None))
                )
        return found

    def folder(self, uri: str) -> str:
        kind, _, rest = uri.partition(":/")
        if kind == "models":
            return next(map(str, self.path.glob(f"*/models/{Path(rest).name}/artifacts")), "")
        run, _, path = rest.partition("/")
        folder = self._run(run)
        place = str(_yaml(folder / "meta.yaml").get("artifact_uri") or "") if folder else ""
        return f"{place}/{path}" if place else ""

    def _run(self, run: str) -> Path | None:
        return next(self.path.glob(f"*/{run}"), None) if re.fullmatch(r"\w+", run) else None

    def _metrics(self, run: Path | None) -> dict[str, float]:
        """The last values: lines of `time value step`."""
        found = {}
        for name, text in _texts(run / "metrics" if run else None).items():
            with suppress(ValueError, IndexError):  # which is damaged
                found[name] = float(text.split("\n")[-1].split()[1])
        return found


@dataclass(frozen=True)
class _SqliteRegistry(Registry):
    """A database of SQLite."""

    def versions(self) -> list[RegisteredVersion]:
        aliases = self._by("registered_model_aliases", lambda row: (row["name"], row["alias"], int(row["version"])))
        tags = self._by("model_version_tags", lambda row: (_which(row), row["key"], row["value"]))
        metrics = self._by(
            "latest_metrics", lambda row: (row["run_uuid"], row["key"], math.nan if row["is_nan"] else row["value"])
        )
        parameters = self._by("params", lambda row: (row["run_uuid"], row["key"], row["value"]))
        found = []
        for row in sorted(self._rows("model_versions"), key=_which):
            name, run = row["name"], row.get("run_id") or ""
            found.append(_registered(name, row, tags[_which(row)], aliases[name], metrics[run], parameters[run]))
        return found

    def _by(
        self, table: str, split: Callable[[dict[str, Any]], tuple[Any, str, Any]]
    ) -> defaultdict[Any, dict[str, Any]]:
        """Named values by what they are of; nothing where an earlier MLflow has no such table."""
        found: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        for row in self._rows(table, missing=True):
            owner, name, value = split(row)
            found[owner][name] = value
        return found

    def folder(self, uri: str) -> str:
        kind, _, rest = uri.partition(":/")
        if kind == "models":
            found = (
                row["artifact_location"] for row in self._rows("logged_models", missing=True) if row["model_id"] == rest
            )
            return next(found, "")
        run, _, path = rest.partition("/")
        place = next((row["artifact_uri"] for row in self._rows("runs", missing=True) if row["run_uuid"] == run), "")
        return f"{place}/{path}" if place else ""

    def _rows(self, table: str, *, missing: bool = False) -> list[dict[str, Any]]:
        try:
            with closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)) as base:
                base.row_factory = sqlite3.Row
                return [dict(row) for row in base.execute(f"select * from {table}")]
        except sqlite3.Error as error:
            if missing and "no such table" in str(error):  # an earlier MLflow
                return []
            raise InputError(f"{self.path} is no registry of MLflow: {error}") from error


def _which(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["name"], int(row["version"])


def _registered(
    name: str,
    meta: Mapping[str, Any],
    tags: Mapping[str, str],
    aliases: Mapping[str, int],
    metrics: Mapping[str, float],
    parameters: Mapping[str, str],
) -> RegisteredVersion:
    number, stage = int(meta["version"]), str(meta.get("current_stage") or "")
    return RegisteredVersion(
        name,
        number,
        str(meta.get("storage_location") or meta.get("source") or ""),
        "" if stage in ("None", "Archived") else stage,
        str(meta.get("status") or ""),
        str(meta.get("run_id") or ""),
        str(meta.get("description") or ""),
        tags,
        sorted(alias for alias, at in aliases.items() if at == number),
        {key: value for key, value in metrics.items() if value - value == 0},  # what is finite can be JSON
        parameters,
    )


def _yaml(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        return dict(found)
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _texts(folder: Path | None) -> dict[str, str]:
    """The files in a folder and below by their paths, with what is in them."""
    if folder is None or not folder.is_dir():
        return {}
    files = [each for each in sorted(folder.rglob("*")) if each.is_file()]
    return {
        each.relative_to(folder).as_posix(): each.read_text(encoding="utf-8", errors="replace").strip()
        for each in files
    }
