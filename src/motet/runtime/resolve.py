"""From what a graph says of a model to the file and the handler: used to check graphs, and to load models."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TypeVar

from motet.errors import ModelLoadError
from motet.graph.model import Model
from motet.models.handler import Handler, ModelSource
from motet.models.locate import locate
from motet.types import Signature

__all__ = ["Located", "ModelResolver"]

T = TypeVar("T")


@dataclass(frozen=True)
class Located:
    """A model's handler and where it found the model.

    Attributes:
        handler: how the model's framework loads and calls it.
        source: what the handler needs to know.
        version: the declared version, else the first 12 letters of the file's digest, empty for models without a file.
        state: the size and the time of change of the file; when they change it is looked at again.
    """

    handler: Handler
    source: ModelSource
    version: str
    state: tuple[int, int] | None = None


class ModelResolver:
    """Finds models and reads their signatures; each model once."""

    LIMIT = 4096
    """Models remembered; beyond it the oldest are forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._located: dict[tuple[str, str], tuple[Model, Located]] = {}
        self._signatures: dict[tuple[str, str], tuple[Model, Signature, Located]] = {}

    def locate(self, model: Model, folder: str) -> Located:
        """Find a model's handler and file.

        Raises:
            MotetError: when the URI names no known handler, or the file is not there.
        """
        key = (model.name, folder)
        with self._lock:
            known = self._located.get(key)
        if known and known[0] == model and known[1].state == _state(known[1].source.location):
            return known[1]
        found = locate(model.uri, base=folder or None, allow_unpickle=model.unpickle)
        handler, location = found.handler, found.location
        named = getattr(handler, "version", None)
        version = model.version or found.digest[:12] or (named(location) if named is not None else "")
        source = ModelSource(
            model.name,
            location,
            model.options,
            model.inputs,
            model.outputs,
            max(1, round(model.resources.cpu)),
            model.device,
        )
        located = Located(handler, source, version, _state(location))
        self._remember(self._located, key, (model, located))
        return located

    def signature(self, model: Model, folder: str) -> Signature:
        """What a model itself takes and gives.

        Raises:
            MotetError: when there is no such model, or its signature cannot be known.
        """
        key = (model.name, folder)
        located = self.locate(model, folder)
        with self._lock:
            known = self._signatures.get(key)
        if known and known[0] == model and known[2] is located:
            return known[1]
        signature = located.handler.signature(located.source)
        if model.batch.max_rows and signature.fixed_rows and signature.fixed_rows > model.batch.max_rows:
            raise ModelLoadError(f"every call has {signature.fixed_rows} rows, max_rows allows {model.batch.max_rows}")
        self._remember(self._signatures, key, (model, signature, located))
        return signature

    def _remember(self, table: dict[tuple[str, str], T], key: tuple[str, str], value: T) -> None:
        with self._lock:
            table[key] = value
            while len(table) > self.LIMIT:
                table.pop(next(iter(table)))


def _state(location: str) -> tuple[int, int] | None:
    try:
        found = os.stat(location)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns
