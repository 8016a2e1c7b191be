"""The host: holds the loaded models of a process."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from motet.graph.model import Model
from motet.runtime.hosted import HostedModel, ModelStats, model_key
from motet.runtime.resolve import ModelResolver
from motet.runtime.sizes import BatchSize

__all__ = ["Host", "HostedModel", "ModelStats", "model_key"]


class Host:
    """Holds the loaded models of a process; each is loaded once, when it is first needed.

    Args:
        resolver: finds models; None makes one.
        sizes: how many rows the calls of models have, by `HostedModel.key`, where that is known.
    """

    def __init__(self, resolver: ModelResolver | None = None, sizes: Mapping[str, int] | None = None) -> None:
        self.resolver = resolver or ModelResolver()
        self._sizes = dict(sizes or {})
        self._lock = threading.Lock()
        self._models: dict[tuple[str, str], list[HostedModel]] = {}
        self._loading: dict[tuple[str, str], threading.Lock] = {}

    def model(self, model: Model, folder: str) -> HostedModel:
        """A loaded model; one whose file has changed is loaded beside what was loaded before.

        Raises:
            ModelLoadError: when it cannot be loaded.
        """
        key = (model.name, folder)
        located = self.resolver.locate(model, folder)
        with self._lock:
            for known in self._models.get(key, []):
                if known.model == model and known.located.version == located.version:
                    return known
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:  # of this model alone, so that several load at the same time
            for known in self._models.get(key, []):
                if known.model == model and known.located.version == located.version:
                    return known
            signature = self.resolver.signature(model, folder)
            found = HostedModel(model, located, signature, None, self.resolver.addresses(model, folder))
            if found.key in self._sizes and not signature.fixed_rows:
                found.size = BatchSize(self._sizes[found.key], found.size.limit)
            with self._lock:
                self._models.setdefault(key, []).append(found)
            return found

    def expect(self, sizes: Mapping[str, int]) -> None:
        """Say how many rows the calls of models have that are loaded from now on."""
        with self._lock:
            self._sizes |= sizes

    @property
    def models(self) -> list[HostedModel]:
        """The models that are loaded."""
        return [model for models in list(self._models.values()) for model in models]

    def drop(self, hosted: HostedModel) -> None:
        """Give one model's memory back; it is loaded again when it is asked for again."""
        with self._lock:
            for models in self._models.values():
                if hosted in models:
                    models.remove(hosted)
        hosted.close()

    def close(self) -> None:
        """Give all models' memory back; the host may be used again, and loads them again."""
        with self._lock:
            models, self._models = self.models, {}
        for model in models:
            model.close()
