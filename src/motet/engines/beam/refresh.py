"""Other versions of a graph's models, while its pipeline goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from apache_beam.ml.inference.base import ModelMetadata

from motet.engines.job import Job
from motet.errors import InputError
from motet.graph.check import CheckedGraph, check
from motet.graph.graph import GraphSpec
from motet.graph.stand_in import with_stand_ins
from motet.locks import new_lock
from motet.models.locate import STORE
from motet.runtime.resolve import ModelResolver
from motet.runtime.stored import place_of
from motet.system.recent import LruCache

__all__ = ["refreshed", "refreshed_once"]

MOST = 16
"""Jobs of a process of which is remembered what they were told last."""


def refreshed_once(
    run: str, job: Job, graph: GraphSpec, told: Any, part: Callable[[CheckedGraph], CheckedGraph]
) -> Job:
    """As `refreshed`, for all threads of this process at once: what one of them was told last, another one is told in vain.

    Args:
        run: tells the pipeline from others.
        job, graph, told, part: as for `refreshed`.
    """
    key = f"{run}/{job.digest}"
    with _refreshing:
        last = _last.get(key)
        if last is None or last[0] != told:
            last = _last.put(key, (told, refreshed(job, graph, told, part)))
        return last[1]


def refreshed(
    job: Job, graph: GraphSpec, told: Any, part: Callable[[CheckedGraph], CheckedGraph] = lambda checked: checked
) -> Job:
    """A job with the models that its graph has now.

    Args:
        job: as it was made with the pipeline.
        graph: as it was declared: models of stores by their aliases, which are looked at again; where models are shipped, with these.
        told: what a side input says. By names of models the URIs of others; a `ModelMetadata`, which names one; the path of another
            file where the graph has one model. Anything else, and a path inside a store, says nothing but that it is time.
        part: what of the graph the job plays.

    Raises:
        InputError: when it names no model, or the graph's types are others with it.
        MotetError: when a model is not there.
    """
    given, resolver = _stand_ins(graph, told), ModelResolver()
    if given:
        graph = with_stand_ins(graph, check(graph, resolver), given)
    return job.anew(part(check(graph, resolver)))


def _stand_ins(graph: GraphSpec, told: Any) -> Mapping[str, Any]:
    if isinstance(told, Mapping):
        return told
    if isinstance(told, ModelMetadata):
        if told.model_name in graph.models:
            return {told.model_name: told.model_id}
        told = told.model_id
    if not isinstance(told, str) or not told or told.startswith(_stores(graph)):
        return {}
    if len(graph.models) != 1:
        hint = f"name it, as in {{{next(iter(graph.models), 'MODEL')!r}: {told!r}}}"
        raise InputError(
            f"{told} is a model, and the graph has {len(graph.models)}", where=f"graph {graph.name!r}", hint=hint
        )
    return dict.fromkeys(graph.models, told)


def _stores(graph: GraphSpec) -> tuple[str, ...]:
    """Where the stores are that the graph names."""
    own = {place_of(each.uri, graph.folder)[0] for each in graph.models.values() if each.uri.startswith(STORE)}
    return (*own, *(url for inner in graph.graphs.values() for url in _stores(inner)))


_refreshing = new_lock()
_last: LruCache[str, tuple[Any, Job]] = LruCache(MOST)
