"""Models by key: one whose URI has `{key}` in it stands for a model a key, of each key that has one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from motet.errors import GraphError
from motet.graph.graph import GraphSpec
from motet.graph.model import Model

__all__ = ["KEY", "keyed_name", "with_keys"]

KEY = "{key}"


def with_keys(
    graph: GraphSpec, keys: Callable[[Model, str], Mapping[str, str]]
) -> tuple[GraphSpec, dict[str, tuple[str, ...]]]:
    """The graph with a model for each key instead of those whose URI has `{key}` in it, and their keys by model.

    Args:
        graph: the graph.
        keys: for a model and its folder the URI of each key that has one.

    Raises:
        GraphError: when there is none, or one is used by anything but a route by key.
    """
    stand = {name: model for name, model in graph.models.items() if KEY in model.uri}
    if not stand:
        return graph, {}
    for name, model in stand.items():
        if model.uri.count(KEY) > 1 or model.uris:
            raise GraphError(
                f"{KEY} stands once in a model's URI, and in none of its uris; got {model.uri!r}",
                where=f"model {name!r}",
            )
    found = {name: keys(model, graph.folder) for name, model in stand.items()}
    models = {name: model for name, model in graph.models.items() if name not in found}
    for name, uris in found.items():
        model, where = graph.models[name], f"model {name!r}"
        if not uris:
            hint = "a model whose URI has {key} in it stands for one a key; each is looked for when the graph is built"
            raise GraphError(f"there is no model for any key ({model.uri})", where=where, hint=hint)
        if odd := [key for key in uris if "|" in key or key == "*"]:
            raise GraphError(
                f"{odd[0]!r} ({uris[odd[0]]}) cannot be a key of a route", where=where, hint="rename the file"
            )
        models |= {
            keyed_name(name, key): replace(model, uri=uri, name=keyed_name(name, key)) for key, uri in uris.items()
        }
    nodes = {}
    for name, node in graph.nodes.items():
        used = [member.uses for member in node.members if member.uses in found]
        keyed = {uses: {key: keyed_name(uses, key) for key in found[uses]} for uses in used}
        nodes[name] = node.keyed(keyed, {uses: graph.models[uses].uri for uses in used}) if used else node
    return graph.changed(models=models, nodes=nodes), {name: tuple(uris) for name, uris in found.items()}


def keyed_name(model: str, key: str) -> str:
    """What the model of a key is called in the graph."""
    return f"{model}.{key}"
