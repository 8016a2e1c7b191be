"""Graph files: YAML to graph and back, without loss.

A YAML file can name any importable function, so loading one is as trusting as running code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from motet.errors import GraphError, MotetError, UnknownNameError
from motet.graph.defaults import checked_default
from motet.graph.fields import Fields, read_type, show
from motet.graph.graph import NO_DEFAULT, Graph, Input
from motet.graph.model import read_model, write_model
from motet.graph.node import KINDS, Inputs, Node, read_inputs, write_inputs

__all__ = ["VERSION", "dump_graph", "graph_mapping", "load_graph", "read_graph"]

VERSION = 1
"""The version of the language."""

G = TypeVar("G", bound=Graph)
_KEYS = ("motet", "name", "inputs", "models", "graphs", "nodes", "outputs")
_BASE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc,valid-type]
    """A safe loader that refuses a key that is there twice, and does not read on, off, yes and no as true and false."""


def _mapping(loader: Any, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
    seen: dict[Hashable, int] = {}
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise GraphError(f"{key!r} cannot be a key", where=f"line {key_node.start_mark.line + 1}")
        if key in seen and key_node.tag != "tag:yaml.org,2002:merge":
            raise GraphError(
                f"the key {key!r} is there twice", where=f"lines {seen[key]} and {key_node.start_mark.line + 1}"
            )
        seen[key] = key_node.start_mark.line + 1
    loader.flatten_mapping(node)
    found = {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True) for key, value in node.value
    }
    return {
        str(key).lower() if isinstance(key, bool) else key if isinstance(key, str) else str(key): value
        for key, value in found.items()
    }


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.yaml_implicit_resolvers = {
    letter: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
    ]
    for letter, resolvers in _BASE.yaml_implicit_resolvers.items()
}
for _letter in "tTfF":
    _Loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), [_letter]
    )


def load_graph(path: str | Path, make: Callable[..., G], *, read_text: Callable[[str], str] | None = None) -> G:
    """Read a graph file.

    Args:
        path: the file.
        make: the class of graph to make.
        read_text: how to read it; None reads a local file.

    Raises:
        GraphError: for the first mistake in it; says where.
    """
    name = str(path)
    try:
        text = read_text(name) if read_text else Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        near = sorted(each.name for each in Path(path).parent.glob("*.y*ml")) if Path(path).parent.is_dir() else []
        raise GraphError(
            f"there is no file {name!r}", hint=f"beside it are {', '.join(near)}" if near else ""
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise GraphError(f"{name!r} cannot be read: {error}") from error
    folder = name.rpartition("/")[0]
    try:
        return read_graph(parse(text), make, folder=folder, default_name=Path(name).stem, read_text=read_text)
    except MotetError as error:
        raise error.located(name) from error.__cause__


def parse(text: str) -> Any:
    """YAML text as plain values."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise GraphError(
            f"not YAML: {error.problem}", where=f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        ) from None
    except RecursionError:
        raise GraphError("not YAML: nested too deep") from None


def read_graph(
    value: object,
    make: Callable[..., G],
    *,
    folder: str = "",
    default_name: str = "graph",
    inner: str = "",
    shared: Mapping[str, Any] | None = None,
    read_text: Callable[[str], str] | None = None,
) -> G:
    """Make the graph that the values of a file describe.

    Args:
        value: what the file holds.
        make: the class of graph to make.
        folder: what relative URIs are relative to.
        default_name: its name where it does not say.
        inner: its place inside another graph, where it is in one.
        shared: the models of the graph around it, which it may use.
        read_text: how to read files it names.
    """
    fields = Fields(value, inner or "the file", _KEYS)
    if not inner and fields.raw("motet") != VERSION:
        raise GraphError(
            f"expected motet: {VERSION}, the version of the language; got {show(fields.raw('motet'))}",
            hint=f"begin the file with motet: {VERSION}",
        )
    prefix = f"{inner}." if inner else ""
    own = {
        name: read_model(name, each, f"{prefix}models.{name}") for name, each in fields.take("models", dict, {}).items()
    }
    nodes = {
        name: _read_node(name, each, f"{prefix}nodes.{name}") for name, each in fields.take("nodes", dict, {}).items()
    }
    graphs = {
        name: _read_inner(name, each, f"{prefix}graphs.{name}", make, folder, {**(shared or {}), **own}, read_text)
        for name, each in fields.take("graphs", dict, {}).items()
    }
    used = {member.uses for node in nodes.values() for member in node.members}
    models = {
        **{
            name: each
            for name, each in (shared or {}).items()
            if name in used and name not in own and name not in graphs
        },
        **own,
    }
    inputs = {name: _read_input(each, f"{prefix}inputs.{name}") for name, each in fields.take("inputs", dict).items()}
    outputs = fields.take("outputs", dict)
    for name, reference in outputs.items():
        if not isinstance(reference, str):
            raise GraphError(f"expected the name of a column; got {show(reference)}", where=f"{prefix}outputs.{name}")
    name = fields.take("name", str, default_name.replace(".", "_").replace(" ", "_"))
    return make(name, outputs, inputs=inputs, models=models, graphs=graphs, nodes=nodes, folder=folder)


def _read_inner(
    name: str,
    value: object,
    where: str,
    make: Callable[..., G],
    folder: str,
    shared: Mapping[str, Any],
    read_text: Callable[[str], str] | None,
) -> G:
    if isinstance(value, Mapping) and "file" in value:
        file = Fields(value, where, ("file",)).take("file", str)
        path = file if "://" in file or file.startswith("/") or not folder else f"{folder}/{file}"
        return load_graph(path, make, read_text=read_text)
    return read_graph(value, make, folder=folder, default_name=name, inner=where, shared=shared, read_text=read_text)


def _read_input(value: object, where: str) -> Input:
    if isinstance(value, str):
        return Input(read_type(value, where))
    fields = Fields(value, where, ("type", "default"))
    kind = read_type(fields.take("type", (str,)), fields.place("type"))
    return Input(kind, checked_default(fields.raw("default", NO_DEFAULT), kind, fields.place("default")))


def _read_node(name: str, value: object, where: str) -> Node:
    if not isinstance(value, Mapping):
        raise GraphError(f"expected a mapping with one of {', '.join(KINDS)}; got {show(value)}", where=where)
    kinds = [key for key in value if key in KINDS]
    if len(kinds) != 1:
        if not kinds and (unknown := [key for key in value if key != "inputs"]):
            raise UnknownNameError("kind of node", str(unknown[0]), list(KINDS), where=where)
        raise GraphError(
            f"a node has exactly one kind, one of {', '.join(KINDS)}; got {' and '.join(kinds) or 'none'}", where=where
        )
    cls = KINDS[kinds[0]]
    fields = Fields(value, where, (cls.kind, "inputs", *cls.keys))
    inputs = read_inputs(fields.raw("inputs", []), fields.place("inputs")) if "inputs" in fields else Inputs()
    return cls.read(name, fields.raw(cls.kind), inputs, fields)


def graph_mapping(graph: Graph, *, inner: bool = False) -> dict[str, Any]:
    """The values of the file that describes a graph; the inverse of `read_graph`.

    Raises:
        GraphError: when a function cannot be imported by name.
    """
    written: dict[str, Any] = {} if inner else {"motet": VERSION}
    written["name"] = graph.name
    written["inputs"] = {name: _write_input(each) for name, each in graph.inputs.items()}
    if graph.models:
        written["models"] = {name: write_model(each) for name, each in graph.models.items()}
    if graph.graphs:
        written["graphs"] = {name: graph_mapping(each, inner=True) for name, each in graph.graphs.items()}
    if graph.nodes:
        written["nodes"] = {name: _write_node(each) for name, each in graph.nodes.items()}
    written["outputs"] = dict(graph.outputs)
    return written


def _write_input(each: Input) -> Any:
    return {"type": str(each.type), "default": each.default} if each.has_default else str(each.type)


def _write_node(node: Node) -> dict[str, Any]:
    written = node.write()
    kind = {node.kind: written.pop(node.kind)}
    inputs = {"inputs": write_inputs(node.inputs)} if node.inputs.columns else {}
    return {**kind, **inputs, **written}


class _Dumper(yaml.SafeDumper):
    """Top-level parts in blocks, what is inside a part on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump_graph(graph: Graph) -> str:
    """The text of the file that describes a graph."""
    return dump(graph_mapping(graph))


def dump(written: Mapping[str, Any], indent: int = 0) -> str:
    """Values as YAML: sections as blocks, each part of a section on a line of its own."""
    lines: list[str] = []
    for key, value in written.items():
        if key in ("inputs", "models", "nodes", "graphs") and isinstance(value, Mapping) and value:
            lines.append(f"{key}:")
            for name, each in value.items():
                if key == "graphs":
                    lines += [f"  {_flow(name)}:", *(f"    {line}" for line in dump(each).splitlines())]
                else:
                    lines.append(f"  {_flow(name)}: {_flow(each)}")
        else:
            lines.append(f"{_flow(key)}: {_flow(value)}")
    return "\n".join(" " * indent + line for line in lines) + "\n"


def _flow(value: Any) -> str:
    """A value on one line; whatever YAML could read otherwise is quoted."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=1_000_000, allow_unicode=True
    )
    return text.removesuffix("...\n").strip()
