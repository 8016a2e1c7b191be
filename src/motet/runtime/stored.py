"""Models of a store: from `store:fashion@champion` to the version it means now, and to its file.

    store:NAME                  the latest version, in the store of `$MOTET_STORE`, else the folder `store` beside the graph
    store:NAME@ALIAS, @NUMBER   another one
    store:URL#NAME@ALIAS        in another store; a relative path is relative to the graph's folder

When a graph is checked each is pinned to the version that it means then, as `stored:URL#NAME@NUMBER`, and gets the
functions that were published with it. So a graph that is there does not change under those who use it; who wants the
next version builds the graph anew, as a server does that sees an alias move.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from dataclasses import replace

from motet.errors import ModelLoadError
from motet.graph.fields import read_type
from motet.graph.function import Function, read_functions
from motet.graph.keyed import KEY
from motet.graph.model import Model
from motet.models.locate import PINNED, STORE
from motet.store.parts import code_of
from motet.store.store import DEFAULT_URL, Store
from motet.store.version import Reference, Version
from motet.system.recent import LruCache

__all__ = ["StoredModels", "number_of", "place_of"]

KEPT = 1024
"""Versions whose manifests are remembered; they never change."""


def place_of(uri: str, folder: str) -> tuple[str, Reference]:
    """The store's address and the reference that a URI means.

    Args:
        uri: begins with `store:` or `stored:`.
        folder: what a relative path is relative to.

    Raises:
        InputError: when the reference is none.
    """
    url, mark, text = uri.partition(":")[2].rpartition("#")
    if not mark:
        url = os.environ.get("MOTET_STORE", "")
        if not url:
            url = _joined(folder, DEFAULT_URL)
    else:
        url = _joined(folder, url)
    return url, Reference.parse(text, uri)


def number_of(uri: str) -> int | None:
    """The number of the version that a model is pinned to; None where it is of no store."""
    return place_of(uri, "")[1].number if uri.startswith(PINNED) else None


class StoredModels:
    """Finds the versions of stores; any thread may ask."""

    def __init__(self) -> None:
        self._stores: LruCache[str, Store] = LruCache(KEPT)
        self._versions: LruCache[str, Version] = LruCache(KEPT)

    def number(self, model: Model, folder: str) -> int | None:
        """The number of the version that a model means now; 0 where its alias was withdrawn.

        None where there is none, or the model is of no store.

        Raises:
            StoreError: when the store cannot be reached.
        """
        if not model.uri.startswith(STORE):
            return None
        url, reference = place_of(model.uri, folder)
        return self._store(url).number(reference)

    def keys(self, model: Model, folder: str) -> dict[str, str]:
        """For each key, where `{key}` stands in the name of a model, the URI of the model that is published for it.

        Raises:
            StoreError: when the store cannot be reached.
        """
        return {key: model.uri.replace(KEY, key) for key in self.key_numbers(model, folder)}

    def key_numbers(self, model: Model, folder: str) -> dict[str, int]:
        """For each key that `keys` has, the number of the version that its model means now.

        Raises:
            StoreError: when the store cannot be reached.
        """
        before, _, after = model.uri.rpartition(":")[2].rpartition("#")[2].partition("@")[0].partition(KEY)
        store = self._store(place_of(model.uri.replace(KEY, "key"), folder)[0])
        found = {}
        for name in store.names():
            if name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after):
                key = name[len(before) : len(name) - len(after)]
                uri = model.uri.replace(KEY, key)
                if number := self.number(replace(model, uri=uri), folder):
                    found[key] = number
        return dict(sorted(found.items()))

    def version(self, uri: str, folder: str) -> Version:
        """The version that a URI means now.

        Raises:
            NotPublishedError: when there is no such version.
            StoreError: when the store cannot be reached.
        """
        return self._resolved(uri, folder)[1]

    def _resolved(self, uri: str, folder: str) -> tuple[Store, Version]:
        """The store of a URI, and the version there that it means now."""
        url, reference = place_of(uri, folder)
        store = self._store(url)
        return store, store.resolve(reference)

    def current(self, model: Model, folder: str) -> Model:
        """A model pinned to the version that it means now; one that is of no store as it is.

        Raises:
            NotPublishedError: when there is no such version.
            StoreError: when the store cannot be reached.
        """
        if not model.uri.startswith(STORE):
            return model
        store, version = self._resolved(model.uri, folder)
        uri = f"{PINNED}{store.url}#{version}"
        self._versions.put(uri, version)
        before, after = (
            read_functions(each or None, f"{version}: {name}")
            for name, each in (("before", version.before), ("after", version.after))
        )
        if "://" in store.url and not model.unpickle:
            _refuse_code([*before, *after], uri)
        _check_code([*before, *after], version, uri)
        return replace(
            model,
            uri=uri,
            inputs=dict(model.inputs) or {name: read_type(kind, str(version)) for name, kind in version.inputs.items()},
            outputs=dict(model.outputs)
            or {name: read_type(kind, str(version)) for name, kind in version.outputs.items()},
            before=(*model.before, *before),
            after=(*after, *model.after),
        )

    def file(self, uri: str) -> tuple[str, str, bool]:
        """The file of a pinned model.

        Returns:
            Its URI with the scheme of its handler, what to call its version, and whether it lies on this machine's disks.

        Raises:
            StoreError: when it cannot be fetched, or is not what was published.
        """
        url, reference = place_of(uri, "")
        store = self._store(url)
        version = self._versions.get(uri) or self._versions.put(uri, store.resolve(reference))
        path = store.fetch(version)
        return f"{version.handler}:{path}", f"{version}:{version.digest[:12]}", "://" not in store.url

    def _store(self, url: str) -> Store:
        return self._stores.get(url) or self._stores.put(url, Store(url))


def _refuse_code(functions: Sequence[Function], uri: str) -> None:
    """See that functions that a store elsewhere names are ours: it could name any that is installed here.

    Raises:
        ModelLoadError: when one is not.
    """
    for function in functions:
        ours = function.path.startswith("motet.ops.")  # so that nothing else is imported to find out
        if not ours or not getattr(function.resolve(), "__module__", "").startswith("motet.ops."):
            raise ModelLoadError(
                f"it is published with the function {function.path}; stores elsewhere may only name those of motet.ops",
                where=uri,
                hint="if you trust whoever can publish there, say `unpickle: allow` in the model's declaration",
            )


def _check_code(functions: Sequence[Function], version: Version, uri: str) -> None:
    """See that the functions around a model do what they did when it was published.

    Raises:
        ModelLoadError: when one has changed.
    """
    for path, digest in code_of(functions).items():
        known = version.code.get(path, digest)
        if known != digest and known.partition(":")[0] == digest.partition(":")[0]:
            raise ModelLoadError(
                f"the function {path} is not what it was when {version} was published with it",
                where=uri,
                hint="publish the model again with the function as it is now, or bring the earlier one back",
            )


def _joined(folder: str, url: str) -> str:
    if "://" in url or os.path.isabs(url):
        return url
    if "://" in folder:
        return f"{folder.rstrip('/')}/{posixpath.normpath(url)}"
    return os.path.abspath(os.path.join(folder, os.path.expanduser(url)))
