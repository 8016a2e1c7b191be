"""From a model's URI to its handler and its local files, in one call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from motet.models.digest import digest_all
from motet.models.fetch import Companions, local_path
from motet.models.folders import folder_rule
from motet.models.handler import Handler
from motet.models.registry import find_handler

__all__ = ["PINNED", "STORE", "LocatedModel", "locate", "runs_code"]

STORE, PINNED = "store:", "stored:"
"""What the URI of a model of a store begins with, and that of one pinned to a version: no handler's names."""


@dataclass(frozen=True)
class LocatedModel:
    """A model found: what loads it, and where it is here.

    Attributes:
        handler: what loads it.
        location: a local path, or for handlers without files the part of the URI behind the scheme.
    """

    handler: Handler
    location: str

    @cached_property
    def files(self) -> list[str]:
        """The local files of the model, its own first; empty for handlers without files."""
        if not self.handler.has_file:
            return []
        rule = folder_rule(self.handler)
        if rule is not None:
            return [os.path.join(rule.folder(self.location), name) for name in rule.local(rule.folder(self.location))]
        companions = _companions(self.handler)
        folder = os.path.dirname(self.location)
        others = [] if companions is None or os.path.isdir(self.location) else companions(self.location)
        return [self.location, *(os.path.join(folder, other) for other in others)]

    @property
    def runs_code(self) -> bool:
        """Whether loading it can run code that its files carry."""
        rule = folder_rule(self.handler)
        return rule.carries_code(self.files) if rule is not None else runs_code(self.handler, self.location)

    @property
    def digest(self) -> str:
        """The SHA-256 of the model's files, 64 hex digits; empty for handlers without files."""
        files = self.files
        return digest_all(files) if files else ""


def locate(
    uri: str,
    *,
    base: str | Path | None,
    allow_unpickle: bool = False,
    storage: Mapping[str, Any] | None = None,
) -> LocatedModel:
    """Find the handler of a URI and make the model's files local.

    Args:
        uri: as `registry.find_handler` takes it.
        base: the folder of the graph file, local or remote; None is the current folder.
        allow_unpickle: whether remote files that run code when they are loaded may be loaded.
        storage: options of the remote file system.

    Raises:
        UnknownNameError: when no handler has the scheme or suffix.
        ModelLoadError: when the file is missing, cannot be fetched, or may not run code.
    """
    handler, location = find_handler(uri)
    if not handler.has_file:
        absolute = getattr(handler, "absolute", None)
        return LocatedModel(handler, location if absolute is None or not base else absolute(location, str(base)))
    installed = getattr(handler, "installed", None)
    if installed is not None:
        location = installed(location, str(base or ""))
    path = local_path(
        location,
        base=base,
        allow_unpickle=allow_unpickle,
        runs_code=runs_code(handler, location),
        storage=storage,
        companions=_companions(handler),
        rule=folder_rule(handler),
    )
    return LocatedModel(handler, path)


def runs_code(handler: Handler, location: str) -> bool:
    """Whether loading this file can run code that it carries.

    A handler that does so for some of its suffixes only names the others in `safe_suffixes`.
    """
    safe: tuple[str, ...] = getattr(handler, "safe_suffixes", ())
    return handler.runs_code and not location.lower().endswith(safe)


def _companions(handler: Handler) -> Companions | None:
    """A handler whose models may have several files has `companions(path) -> relative paths`."""
    found: Companions | None = getattr(handler, "companions", None)
    return found
