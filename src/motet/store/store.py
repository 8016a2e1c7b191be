"""The store itself."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from motet.errors import InputError, NotPublishedError, StoreError, known_names
from motet.graph.function import as_functions
from motet.models.cache import FileCache, cache_bound, cache_root
from motet.models.digest import digest
from motet.models.registry import find_handler
from motet.store.aliases import Aliases, Move
from motet.store.parts import Files, as_json, code_of, files_of, signature_of, written
from motet.store.storage import Storage, open_storage
from motet.store.sweep import DEFAULT_AGE_S, Leftover, sweep
from motet.store.version import ABANDONED, ALIAS, NAME, Reference, StoredFile, Version
from motet.types import Signature

__all__ = ["DEFAULT_URL", "Store", "default_store"]

DEFAULT_URL = "store"
NUMBERS = 1000
"""Numbers that a publisher tries before it gives up: so many others publish the same model at the same time."""


def default_store() -> str:
    """The store where none is named: `$MOTET_STORE`, else the folder `store`."""
    return os.environ.get("MOTET_STORE") or DEFAULT_URL


class Store:
    """Versions of models, by name.

    Args:
        url: a folder, or what fsspec opens and can make files only where there are none: `s3://bucket/models`,
            `gs://...`, `memory://...`; None is `$MOTET_STORE`, else the folder `store`. A folder is made when
            something is published.
        options: of the file system, for example `{"endpoint_url": ...}` for S3.
        cache_dir: where versions are kept that come from elsewhere; None is the cache of model files.

    Raises:
        InputError: when it is no address.
        MissingExtraError: when the package for it is not installed.
    """

    def __init__(
        self,
        url: str | os.PathLike[str] | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self._storage: Storage = open_storage(
            os.fspath(url) if url is not None else default_store(), dict(options or {})
        )
        self._cache_dir = cache_dir

    @property
    def url(self) -> str:
        """Its address; an absolute path for a folder."""
        return self._storage.url

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def publish(
        self,
        name: str,
        files: Files,
        *,
        signature: Signature | None = None,
        before: Any = None,
        after: Any = None,
        metrics: Mapping[str, Any] | None = None,
        lineage: Mapping[str, Any] | None = None,
        aliases: Sequence[str] = ("latest",),
        handler: str = "",
    ) -> Version:
        """Publish a model as its next version. Until it is there whole nobody sees anything of it.

        The same content again is the version that has it already: nothing is published, the aliases are pointed at it.

        Args:
            name: of the model.
            files: its file; a folder, which is published whole; or several files by their names in the version, the model's own first. What
                belongs to a file by its format (the weights beside an ONNX file) is taken along.
            signature: what it takes and gives; read from the model where that is not given and its format says it.
            before, after: a function, or several in a row, around the model wherever it is used from the store; importable.
                With keywords `{"map": FUNCTION, "with": {...}}`.
            metrics: what was measured, by name; JSON.
            lineage: where it comes from, for example the run and digests of data and code; JSON.
            aliases: those that point at it from then on.
            handler: the scheme of what loads it, where its suffix does not say.

        Raises:
            InputError: when a name is none, a file is missing, or what is said of it is no JSON.
            ModelLoadError: when it is no model.
            StoreError: when the store cannot be reached.
        """
        self._check_name(name)
        for alias in aliases:
            _check_alias(alias)
        local = files_of(files, handler)
        own = next(iter(local))
        loader = find_handler(f"{handler}:{own}" if handler else own)[0].name
        said = signature or signature_of(name, local[own], handler)
        version = Version(
            name=name,
            number=0,
            files=[StoredFile(path, source.stat().st_size, digest(source)) for path, source in local.items()],
            handler=loader,
            inputs={each: str(kind) for each, kind in said.inputs.items()},
            outputs={each: str(kind) for each, kind in said.outputs.items()},
            before=written(before, "before"),
            after=written(after, "after"),
            code=code_of([*as_functions(before), *as_functions(after)]),
            metrics=as_json(metrics or {}, "metrics"),
            lineage=as_json(lineage or {}, "lineage"),
            published_at=time.time(),
        )
        version = msgspec.structs.replace(version, digest=version.content_digest())
        known = self._same(version)
        published = known or self._publish(version, local)
        for alias in aliases:
            self._point(published, alias, forward=known is None)
        return published

    def names(self) -> list[str]:
        """The models that have a version."""
        return [
            name for name in self._storage.names("") if NAME.fullmatch(name) and next(self._newest_first(name), None)
        ]

    def versions(self, name: str) -> list[Version]:
        """The versions of a model, oldest first.

        Raises:
            NotPublishedError: when it has none.
        """
        found = self._versions(name)
        if not found:
            raise self._no_model(name)
        return found

    def aliases(self, name: str) -> dict[str, int]:
        """The aliases of a model, and the numbers of the versions they point at."""
        moves = Aliases(self._storage, name)
        return {alias: number for alias in moves.names() if (number := moves.get(alias))}

    def history(self, name: str, alias: str) -> list[Move]:
        """Where an alias pointed, oldest first, the last one being where it points."""
        return [move for _, move in Aliases(self._storage, name).history(alias)]

    def number(self, reference: str | Reference) -> int | None:
        """The number of the version that is referred to; 0 where its alias was withdrawn, None where there is none.

        Reads one small file.

        Raises:
            InputError: when it is no reference.
            StoreError: when the store cannot be reached.
        """
        asked = reference if isinstance(reference, Reference) else Reference.parse(reference, f"store {self.url}")
        return asked.number if asked.number is not None else Aliases(self._storage, asked.name).get(asked.alias)

    def resolve(self, reference: str | Reference) -> Version:
        """The version that is referred to: `NAME` (its latest), `NAME@ALIAS` or `NAME@NUMBER`.

        Raises:
            InputError: when it is no reference.
            NotPublishedError: when there is no such version; says what there is.
            StoreError: when the store cannot be reached.
        """
        asked = reference if isinstance(reference, Reference) else Reference.parse(reference, f"store {self.url}")
        number = self.number(asked)
        found = self._read(asked.name, number) if number else None
        if found is not None:
            return found
        numbers = [version.number for version in self._versions(asked.name)]
        if not numbers:
            raise self._no_model(asked.name)
        aliases = self.aliases(asked.name)
        if not number:
            known = known_names(asked.alias, list(aliases))
            what = f"model {asked.name!r} has no alias {asked.alias!r}; {known}"
        else:
            what = f"model {asked.name!r} has no version {number}; it has {', '.join(map(str, numbers))}"
        raise NotPublishedError(what, where=f"store {self.url}")

    def fetch(self, version: Version) -> Path:
        """The local file of a version: in the store itself where that is a folder, else in the cache. Its content is checked.

        Raises:
            StoreError: when it cannot be fetched, or is not what was published.
        """
        own = version.files[0].path
        here = self._storage.local(f"{version.folder}/files/{own}")
        if here is not None:
            folder = here.parents[len(Path(own).parts) - 1]
            for file in version.files:
                self._check(version, file, folder / file.path)
            return here
        cache = FileCache(cache_root(self._cache_dir), cache_bound())
        key = f"{self.url}/{version.folder}"
        with cache.locked(key):
            return cache.find(key, version.digest) or cache.add(key, version.digest, partial(self._copy, version))

    def promote(self, name: str, version: int | str, alias: str = "champion") -> Version:
        """Point an alias at a version: a number, or where another alias points.

        Raises:
            NotPublishedError: when there is no such version.
        """
        _check_alias(alias)
        found = self.resolve(f"{name}@{version}")
        self._point(found, alias)
        return found

    def rollback(self, name: str, alias: str = "champion") -> Version:
        """Point an alias where it pointed before; again, where it pointed before that.

        Raises:
            NotPublishedError: when there is nothing before.
        """
        moves = Aliases(self._storage, name)
        if moves.get(alias) is None:
            return self.resolve(f"{name}@{alias}")
        number = moves.back(alias, lambda earlier: self._read(name, earlier) is not None)
        found = None if number is None else self._read(name, number)
        if found is None:
            what = f"alias {alias!r} of model {name!r} has not pointed at another version"
            raise NotPublishedError(what, where=f"store {self.url}")
        return found

    def withdraw(self, name: str, alias: str = "champion") -> None:
        """Let an alias point at nothing, so that who refers to it goes on without; `rollback` takes it back.

        Raises:
            NotPublishedError: when it points at nothing already.
        """
        self.resolve(f"{name}@{alias}")
        Aliases(self._storage, name).move(alias, lambda now: 0 if now else None)

    def remove(self, name: str, number: int, *, force: bool = False) -> None:
        """Remove a version. Its number is not given again.

        Args:
            name: of the model.
            number: of the version.
            force: also where an alias points at it, which then points at nothing.

        Raises:
            NotPublishedError: when there is no such version.
            InputError: when an alias points at it.
        """
        version = self.resolve(f"{name}@{number}")
        pointing = [alias for alias, at in self.aliases(name).items() if at == number]
        if pointing and not force:
            hint = "promote another version first, or remove it with force"
            raise InputError(f"{version} is what {', '.join(pointing)} points at", where=f"store {self.url}", hint=hint)
        self._storage.create(f"{version.folder}/removed.json", msgspec.json.encode({"at": time.time()}))
        self._storage.remove(f"{version.folder}/manifest.json")
        self._storage.remove(f"{version.folder}/files")

    def gc(self, older_than_s: float = DEFAULT_AGE_S, *, dry_run: bool = False) -> list[Leftover]:
        """Remove what publishers that died have left behind; see `motet.store.sweep`."""
        return sweep(self._storage, older_than_s, dry_run=dry_run)

    # The rest.

    def _publish(self, version: Version, local: Mapping[str, Path]) -> Version:
        """Take the next number, copy the files, and write the manifest last."""
        taken = [int(each) for each in self._storage.names(version.name) if each.isdecimal()]
        first = max(taken, default=0) + 1
        claim = msgspec.json.encode({"host": socket.gethostname(), "pid": os.getpid(), "at": time.time()})
        for number in range(first, first + NUMBERS):
            if self._storage.create(f"{version.name}/{number}/claim.json", claim):
                break
        else:
            what = f"{NUMBERS} numbers of {version.name!r} are taken by others"
            raise StoreError(what, where=f"store {self.url}", hint="try again")
        made = msgspec.structs.replace(version, number=number)
        for path, source in local.items():
            self._storage.put(f"{made.folder}/files/{path}", source)
        if not self._storage.create(f"{made.folder}/manifest.json", msgspec.json.format(msgspec.json.encode(made))):
            what = f"what was copied of {made} was swept away as left behind before it was whole"
            raise StoreError(what, where=f"store {self.url}", hint="publish it again; sweep what is older")
        return made

    def _point(self, version: Version, alias: str, *, forward: bool = False) -> None:
        """Point an alias at a version; forward, `latest` stays where a publisher that was faster has put a later one."""

        def choose(now: int | None) -> int | None:
            if now == version.number or (forward and alias == "latest" and now is not None and now > version.number):
                return None
            return version.number

        Aliases(self._storage, version.name).move(alias, choose)

    def _same(self, version: Version) -> Version | None:
        """The newest version with the same content."""
        return next((known for known in self._newest_first(version.name) if known.digest == version.digest), None)

    def _versions(self, name: str) -> list[Version]:
        return [*self._newest_first(name)][::-1]

    def _newest_first(self, name: str) -> Iterator[Version]:
        for number in sorted((int(each) for each in self._storage.names(name) if each.isdecimal()), reverse=True):
            if (version := self._read(name, number)) is not None:
                yield version

    def _read(self, name: str, number: int) -> Version | None:
        path = f"{name}/{number}/manifest.json"
        data = self._storage.read(path)
        return None if data in (None, ABANDONED) else Version.read(data, f"store {self.url}: {path}")

    def _copy(self, version: Version, folder: Path) -> list[str]:
        for file in version.files:
            (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
            self._storage.get(f"{version.folder}/files/{file.path}", folder / file.path)
            self._check(version, file, folder / file.path)
        return [file.path for file in version.files]

    def _check(self, version: Version, file: StoredFile, path: Path) -> None:
        try:
            right = path.stat().st_size == file.size_bytes and digest(path) == file.sha256
        except FileNotFoundError:
            right = False
        if not right:
            hint = "publish the model again, and remove this version"
            raise StoreError(f"file {file.path!r} of {version} is not what was published", where=str(path), hint=hint)

    def _check_name(self, name: str) -> None:
        if not NAME.fullmatch(name) or name.isdecimal():
            hint = "use letters, digits and . _ -, 128 at most, and not only digits"
            raise InputError(f"{name!r} is no name for a model", where=f"store {self.url}", hint=hint)

    def _no_model(self, name: str) -> NotPublishedError:
        known = known_names(name, self.names())
        return NotPublishedError(f"the store has no model {name!r}; {known}", where=f"store {self.url}")


def _check_alias(alias: str) -> None:
    if not ALIAS.fullmatch(alias):
        raise InputError(
            f"{alias!r} is no name for an alias", hint="use letters, digits and . _ -, and not only digits"
        )
