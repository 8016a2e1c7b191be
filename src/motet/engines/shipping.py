"""Models that lie on disks of this machine: told of, or packed up for workers that do not reach them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from motet.errors import InputError
from motet.graph.check import CheckedGraph
from motet.graph.model import Model
from motet.graph.snapshot import packed, travels
from motet.models.locate import PINNED
from motet.models.registry import find_handler
from motet.runtime.resolve import ModelResolver
from motet.runtime.resources.memory import file_bytes

__all__ = ["SHIPPED_BYTES", "check_shipped", "local_files", "local_models", "shipped"]

SHIPPED_BYTES = 512 << 20
"""The most that models of a job hold which are shipped: each process of a worker gets them, through its engine."""


def local_models(checked: CheckedGraph, path: str = "") -> Iterator[tuple[str, Model]]:
    """The models that lie on disks of this machine and do not travel, by the graphs they stand in and their names."""
    for name, model in checked.graph.models.items():
        if _is_local(model, checked.graph.folder):
            yield f"{path}{name}", model
    for name, inner in checked.graphs.items():
        yield from local_models(inner, f"{path}{name}/")


def _is_local(model: Model, folder: str) -> bool:
    has_file = model.uri.startswith(PINNED) or find_handler(model.uri)[0].has_file
    return has_file and "://" not in model.uri and "://" not in folder and not travels(model.uri)


def shipped(checked: CheckedGraph) -> CheckedGraph:
    """The same graph, with whose pickle the files of its local models go.

    Raises:
        InputError: when these are more than `SHIPPED_BYTES`.
        ModelLoadError: when one is not there.
    """
    resolver = ModelResolver()
    check_shipped(checked, resolver)
    return _packed(checked, resolver)


def check_shipped(checked: CheckedGraph, resolver: ModelResolver) -> None:
    """See that the files of a graph's local models are not too many to be shipped.

    Raises:
        InputError, ModelLoadError: as for `shipped`.
    """
    total = sum(map(file_bytes, local_files(checked, resolver)))
    if total > SHIPPED_BYTES:
        what = f"its models hold {total >> 20} MiB; {SHIPPED_BYTES >> 20} MiB can be shipped"
        hint = "put them where the workers reach them: a store in a bucket, or a disk that all of them mount"
        raise InputError(what, where=f"graph {checked.graph.name!r}", hint=hint)


def local_files(checked: CheckedGraph, resolver: ModelResolver) -> set[str]:
    """The files of a graph's local models, those of graphs inside included.

    Raises:
        ModelLoadError, StoreError: when a model is not there.
    """
    folder = checked.graph.folder
    files = {
        file
        for model in checked.graph.models.values()
        if _is_local(model, folder)
        for file in resolver.locate(model, folder).files
    }
    return files.union(*(local_files(inner, resolver) for inner in checked.graphs.values()))


def _packed(checked: CheckedGraph, resolver: ModelResolver) -> CheckedGraph:
    folder = checked.graph.folder
    models = dict(checked.graph.models)
    for name, model in models.items():
        if _is_local(model, folder):
            found = resolver.locate(model, folder)
            uri = packed(found.handler.name, found.source.location, found.files)
            options = {
                key: value for key, value in model.options.items() if key != "quantized"
            }  # that file is what goes
            models[name] = replace(model, uri=uri, version=found.version, options=options)
    graphs = {name: _packed(inner, resolver) for name, inner in checked.graphs.items()}
    inside = {name: each.graph for name, each in graphs.items()}
    return replace(checked, graph=checked.graph.changed(models=models, graphs=inside), graphs=graphs)
