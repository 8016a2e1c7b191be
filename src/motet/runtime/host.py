"""The host: holds the loaded models of a process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, NoReturn

from motet.graph.model import Model
from motet.graph.pool import Places
from motet.locks import QuietLock
from motet.runtime.isolate import Tolerance
from motet.runtime.model_runtime import ModelRuntime, ModelStats
from motet.runtime.residency.cache import ResidencyCache
from motet.runtime.residency.policy import ResidencyGroup
from motet.runtime.resolve import ModelResolver, ResolvedModel, changed_since, is_remote, model_key
from motet.runtime.resources.memory import file_bytes
from motet.runtime.sizes import BatchSize
from motet.runtime.trial import Trials

__all__ = ["Host", "LazyKey", "ModelRuntime", "ModelStats"]


class LazyKey(NamedTuple):
    """What a model that shares places with others is known by: what its graph says of it, its folder, version and files."""

    model: Model
    folder: str
    version: str
    digest: str

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name


class Host:
    """Holds the loaded models of a process; each is loaded once, when it is first needed.

    Models that share places with others (`max_loaded`, `pool`) are `lazy`: they come and go as rows need them, through
    `residency`. What they did and learned stays known while they are not loaded.

    Args:
        resolver: finds models; None makes one.
        sizes: how many rows the calls of models have, by `ModelRuntime.key`, where that is known.
        places: what all models share that are here, and stay not for good; None lets each stay that no graph says it of.
        trials: what its models may try before they answer rows; see `ModelRuntime`.
        run: the bulk run that all rows that are played belong to; see `Tolerance`.

    Attributes:
        dropped: called with each lazy model that was let go, in any thread.
    """

    def __init__(
        self,
        resolver: ModelResolver | None = None,
        sizes: Mapping[str, int] | None = None,
        places: Places | None = None,
        trials: Trials | None = None,
        *,
        run: Tolerance | None = None,
    ) -> None:
        self.places, self._trials, self.run = places, trials, run
        self.residency: ResidencyCache[ModelRuntime] = ResidencyCache(self._load_lazy, self._let_go, memory=_memory)
        self.dropped: list[Callable[[ModelRuntime], None]] = []
        self._lazy: set[LazyKey] = set()
        self._known: dict[LazyKey, ModelRuntime] = {}
        self._groups: dict[str, ResidencyGroup] = {}
        self.resolver = resolver or ModelResolver()
        self._sizes = dict(sizes or {})
        self._lock = QuietLock()
        self._models: dict[tuple[Model, str], list[ModelRuntime]] = {}
        self._loading: dict[tuple[Model, str], threading.Lock] = {}
        self._needs: dict[tuple[Model, str], frozenset[str] | None] = {}

    def __reduce__(self) -> NoReturn:
        raise TypeError("a host holds loaded models, which stay where they are; copy or send the graph, and call that")

    def model(self, model: Model, folder: str) -> ModelRuntime:
        """A loaded model; one whose file has changed is loaded beside what was loaded before.

        Raises:
            ModelLoadError: when it cannot be loaded.
        """
        key = (model, folder)
        located = self.resolver.locate(model, folder)
        with self._lock:
            if (known := self._known_as(key, located)) is not None:
                return known
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:  # of this model alone, so that several load at the same time
            if (known := self._known_as(key, located)) is not None:
                return known
            signature = self.resolver.signature(model, folder, located)
            found = ModelRuntime(model, located, signature, None, self.resolver.addresses(model, folder, located))
            if self.run is not None:
                found.in_one_run(self.run)
            found.trials = self._trials
            if found.key in self._sizes and not found.size.settled:
                found.size = BatchSize(self._sizes[found.key], found.size.limit)
            with self._lock:
                self._models.setdefault(key, []).append(found)
                self._loading.pop(key, None)
                found.need(self._needs.get(key))
            return found

    def _known_as(self, key: tuple[Model, str], located: ResolvedModel) -> ModelRuntime | None:
        """What was loaded of the same version and files."""
        wanted = located.version, located.digest
        loaded = self._models.get(key, [])
        return next((each for each in loaded if (each.located.version, each.located.digest) == wanted), None)

    def need(self, model: Model, folder: str, outputs: Iterable[str] | None) -> None:
        """Have outputs of a model computed, beside those that others need; None is all of them. Others may be left out."""
        key = (model, folder)
        with self._lock:
            before = self._needs.get(key, frozenset())
            now = None if outputs is None or before is None else before | frozenset(outputs)
            self._needs[key] = now
            for known in self._models.get(key, []) if now != before else ():
                known.need(now)

    def share(self, models: Iterable[tuple[Model, str]], places: Places, name: str) -> None:
        """Have models share places, from now on loaded when rows come for them. Where all have a place they stay as they are.

        Args:
            models: each with the folder of its graph.
            places: how many may be loaded, and what they may take.
            name: what shares the places, for messages; what had this name before is replaced.
        """
        here = [(model, folder) for model, folder in models if not is_remote(self.resolver.locate(model, folder))]
        if places.hold(len(here)):
            return
        with self._lock:
            group = self._groups.setdefault(name, ResidencyGroup(name))
        group.max_loaded, group.memory_bytes = places.max_loaded, places.memory_bytes
        group.max_wait_s = places.max_swap_wait_ms / 1000
        for model, folder in here:
            key = self._lazy_key(model, folder)
            self._lazy.add(key)
            size = file_bytes(self.resolver.locate(model, folder).source.location)
            self.residency.add(key, group, resident=model.resident, memory_bytes=size)

    def lazy_key(self, model: Model, folder: str) -> LazyKey | None:
        """What a model is known by that shares places; None for one that stays."""
        if not self._lazy:
            return None
        key = self._lazy_key(model, folder)
        return key if key in self._lazy else None

    def _lazy_key(self, model: Model, folder: str) -> LazyKey:
        located = self.resolver.locate(model, folder)
        return LazyKey(model, folder, model_key(model, located), located.digest)

    def _load_lazy(self, key: LazyKey) -> ModelRuntime:
        if self._lazy_key(key.model, key.folder) != key:
            raise changed_since(self.resolver.locate(key.model, key.folder).source, key.version.partition(":")[0])
        found = self.model(key.model, key.folder)
        known = self._known.get(key)
        if known is not None and known is not found:
            known.stats.loads += 1
            found.stats, found.size, found.health = known.stats, known.size, known.health
        self._known[key] = found
        return found

    def _let_go(self, hosted: ModelRuntime) -> None:
        self.drop(hosted)
        for dropped in self.dropped:
            dropped(hosted)

    def keep_lazy(self, keys: Iterable[LazyKey]) -> None:
        """Forget all lazy models but these, and give their memory back."""
        kept = set(keys)
        self.residency.retain(kept)
        for key in [key for key in self._lazy if key not in kept]:
            self._lazy.discard(key)
            self._known.pop(key, None)

    @property
    def known(self) -> list[ModelRuntime]:
        """The models that are loaded, and lazy ones that were."""
        loaded = self.models
        return loaded + [model for model in list(self._known.values()) if model not in loaded]

    def expect(self, sizes: Mapping[str, int]) -> None:
        """Say how many rows the calls of models have that are loaded from now on."""
        with self._lock:
            self._sizes |= sizes

    @property
    def models(self) -> list[ModelRuntime]:
        """The models that are loaded."""
        return [model for models in list(self._models.values()) for model in models]

    def drop(self, hosted: ModelRuntime) -> None:
        """Give one model's memory back; it is loaded again when it is asked for again."""
        with self._lock:
            for key, models in list(self._models.items()):
                if hosted in models:
                    models.remove(hosted)
                    if not models:
                        del self._models[key]
        hosted.close()

    def close(self) -> None:
        """Give all models' memory back; the host may be used again, and loads them again."""
        self.residency.close()
        with self._lock:
            models, self._models = self.models, {}
        for model in models:
            model.close()


def _memory(hosted: ModelRuntime) -> int:
    """What the processes of a model take; 0 where it has none, or they do not say."""
    return sum(each.memory_bytes for each in hosted.replicas.status())
