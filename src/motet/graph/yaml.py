"""Graph files: YAML to graph and back, without loss.

A YAML file can name any importable function, so loading one is as trusting as running code.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import yaml

from motet.errors import GraphError, MotetError, UnknownNameError
from motet.graph.defaults import checked_default
from motet.graph.fields import TYPE, Fields, read_type, show
from motet.graph.forms import MAPPING, NAME, TEXT, Form, by_name, either, named, record
from motet.graph.graph import GraphSpec
from motet.graph.input import Input
from motet.graph.label_files import with_labels
from motet.graph.members import read_inputs, write_inputs
from motet.graph.model import MODEL, read_model, write_model
from motet.graph.node import KINDS, Inputs, Node
from motet.graph.places import folder_of, joined
from motet.graph.pool import PLACES, Places
from motet.reading import NO_DEFAULT
from motet.tracebacks import written as escaped

__all__ = ["GRAPH", "VERSION", "dump_graph", "graph_mapping", "load_graph", "node_form", "read_graph"]

VERSION = 1
"""The version of the language."""

G = TypeVar("G", bound=GraphSpec)
T = TypeVar("T")
_INPUT_KEYS = record({"type": TYPE, "default": {}, "column": TEXT}, ["type"])
_INPUT = named("input", either(TYPE, _INPUT_KEYS))
_INNER_FILE = record({"file": {**TEXT, "description": "The file of the graph."}}, ["file"])
_GRAPH = {
    "motet": {"const": VERSION, "description": "The version of the language."},
    "name": {
        **TEXT,
        "pattern": f"^{NAME.pattern}$",
        "description": "Its name; that of the file where it is not given.",
    },
    "inputs": {**by_name(_INPUT, plain=True), "description": "The columns that come in, and their types."},
    "models": {**by_name(MODEL, plain=True), "description": "What is loaded once and called on batches."},
    "graphs": {**by_name({"$ref": "#/$defs/graph"}, plain=True), "description": "Graphs that nodes use as models."},
    "nodes": {**by_name({"$ref": "#/$defs/node"}, plain=True), "description": "What rows go through."},
    "outputs": {
        **by_name(TEXT, plain=True),
        "minProperties": 1,
        "description": "What comes out: names, and their columns.",
    },
    "pool": {**PLACES, "description": "The places that all its models share."},
    "serve": {**MAPPING, "allOf": [{"$ref": "#/$defs/serve"}], "description": "How a server that serves it is set up."},
}
_NEEDED = ("inputs", "outputs")
_INNER = record(_GRAPH, _NEEDED)
GRAPH = record(_GRAPH, ("motet", *_NEEDED))
named("graph", either(_INNER_FILE, _INNER))
_BASE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_INT = re.compile(r"^[-+]?(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(
    r"^[-+]?(?:(?:\.[0-9]+|(?:0|[1-9][0-9]*)\.[0-9]*)(?:[eE][-+]?[0-9]+)?|(?:0|[1-9][0-9]*)[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))$"
    r"|^\.(?:nan|NaN|NAN)$"
)
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_SCALARS = (("bool", _BOOL, "tTfF"), ("int", _INT, "-+0123456789"), ("float", _FLOAT, "-+0123456789."))


class _Loader(_BASE):  # type: ignore[misc,valid-type]
    """A safe loader for YAML 1.2: on, off, yes, no, 007, 12:30 and dates are texts, 1e-3 is a number; keys are texts."""


def _mapping(loader: Any, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
    seen: dict[str, int] = {}
    for key_node, _ in node.value:
        if key_node.tag == _MERGE:
            continue
        key, line = _key(key_node), key_node.start_mark.line + 1
        if key in seen:
            where = f"line {line}" if line == seen[key] else f"lines {seen[key]} and {line}"
            raise GraphError(f"the key {key!r} is there twice", where=where)
        seen[key] = line
    loader.flatten_mapping(node)
    return {_key(key): loader.construct_object(value, deep=True) for key, value in node.value}


def _key(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise GraphError("a key must be a text", where=f"line {node.start_mark.line + 1}")
    return str(node.value).lower() if node.tag == "tag:yaml.org,2002:bool" else str(node.value)


_MERGE = "tag:yaml.org,2002:merge"
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag in (_MERGE, "tag:yaml.org,2002:null")]
    for letter, resolvers in _BASE.yaml_implicit_resolvers.items()
}
for _name, _pattern, _letters in _SCALARS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, list(_letters))


def load_graph(
    path: str | Path,
    make: Callable[..., G],
    *,
    folder: str | None = None,
    read_text: Callable[[str], str] | None = None,
    inside: tuple[str, ...] = (),
) -> G:
    """Read a graph file.

    Args:
        path: the file.
        make: the class of graph to make.
        folder: what the names in it are relative to; None is the file's own.
        read_text: how to read it; None reads a local file.
        inside: the files that it is named in, the outermost first.

    Raises:
        GraphError: for the first mistake in it; says where.
    """
    name = str(path)
    files = (*inside, posixpath.normpath(name))
    if files[-1] in inside:
        loop = " -> ".join(files[inside.index(files[-1]) :])
        raise GraphError(f"files contain each other in a cycle: {loop}", hint="a graph cannot contain itself")
    read = read_text or _read
    try:
        text = read(name)
    except FileNotFoundError:
        near = sorted(each.name for each in Path(path).parent.glob("*.y*ml")) if Path(path).parent.is_dir() else []
        raise GraphError(
            f"there is no file {name!r}", hint=f"beside it are {', '.join(near)}" if near else ""
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise GraphError(f"{name!r} cannot be read: {error}") from error
    place = folder_of(name) if folder is None else folder
    stem = PurePosixPath(name.partition("::")[0]).stem or "graph"
    try:
        value = with_labels(parse(text), lambda file: read(joined(place, file)))
        return _GraphReader(make, place, read_text, files).read(value, stem)
    except MotetError as error:
        raise (error.located(name) if name else error) from error.__cause__


def _read(name: str) -> str:
    return Path(name).read_text(encoding="utf-8")


def parse(text: str) -> Any:
    """YAML text as plain values."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        if mark and _is_tab(text, mark):
            raise GraphError(
                "not YAML: a tab", where=where, hint="indent with spaces; YAML takes no tabs for it"
            ) from None
        raise GraphError(f"not YAML: {error.problem}", where=where) from None
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, GraphError):
            raise
        raise GraphError(f"not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise GraphError("not YAML: nested too deep") from None


def _is_tab(text: str, mark: yaml.Mark) -> bool:
    """Whether a tab stands where YAML could not go on."""
    line = text.split("\n")[mark.line : mark.line + 1]
    return bool(line) and line[0][mark.column : mark.column + 1] == "\t"


def read_graph(value: object, make: Callable[..., G], *, folder: str = "") -> G:
    """Make the graph that the values of a file describe.

    Args:
        value: what the file holds.
        make: the class of graph to make.
        folder: what relative URIs are relative to.
    """
    return _GraphReader(make, folder).read(value, "graph")


@dataclass(frozen=True)
class _GraphReader(Generic[G]):
    """Makes graphs of what a file holds.

    Attributes:
        make: the class of graph to make.
        folder: what relative URIs are relative to.
        read_text: how to read files it names.
        inside: the files that it is in.
    """

    make: Callable[..., G]
    folder: str
    read_text: Callable[[str], str] | None = None
    inside: tuple[str, ...] = ()

    def read(
        self, value: object, default_name: str, inner: str = "", shared: Mapping[str, Any] = MappingProxyType({})
    ) -> G:
        """Make a graph of values.

        Args:
            value: what the file holds of it.
            default_name: its name where it does not say.
            inner: its place inside another graph, where it is in one.
            shared: the models of the graph around it, which it may use.
        """
        fields = Fields(value, inner or "the file", _INNER)
        if not inner and (fields.raw("motet") != VERSION or type(fields.raw("motet")) is not int):
            raise GraphError(
                f"expected motet: {VERSION}, the version of the language; got {show(fields.raw('motet'))}",
                hint=f"begin the file with motet: {VERSION}",
            )
        prefix = f"{inner}." if inner else ""

        def each(section: str, read: Callable[[str, object, str], T]) -> dict[str, T]:
            said = fields.get(section) or {}
            return {name: read(name, value, f"{prefix}{section}.{name}") for name, value in said.items()}

        own, nodes = each("models", read_model), each("nodes", _read_node)
        graphs = each("graphs", partial(self._inner, {**shared, **own}))
        used = {member.uses for node in nodes.values() for member in node.members}
        taken = {name: each for name, each in shared.items() if name in used and name not in own and name not in graphs}
        inputs, outputs = each("inputs", _read_input), each("outputs", _read_output)
        name = fields.get("name") if "name" in fields else default_name.replace(".", "_").replace(" ", "_")
        pool = Places.read(fields.get("pool"), f"{prefix}pool") if "pool" in fields else None
        return self.make(
            name, outputs, inputs=inputs, models={**taken, **own}, graphs=graphs, nodes=nodes, folder=self.folder,
            serving=fields.get("serve") or {}, pool=pool,
        )  # fmt: skip

    def _inner(self, shared: Mapping[str, Any], name: str, value: object, where: str) -> G:
        """A graph inside, which may be in a file of its own."""
        if isinstance(value, Mapping) and "file" in value:
            file = joined(self.folder, Fields(value, where, _INNER_FILE).get("file"))
            return load_graph(file, self.make, read_text=self.read_text, inside=self.inside)
        return self.read(value, name, where, shared)


def _read_output(name: str, value: object, where: str) -> str:
    if not isinstance(value, str):
        raise GraphError(f"expected the name of a column; got {show(value)}", where=where)
    return value


def _read_input(name: str, value: object, where: str) -> Input:
    if isinstance(value, str):
        return Input(read_type(value, where))
    fields = Fields(value, where, _INPUT_KEYS)
    kind = read_type(fields.get("type"), fields.place("type"))
    default = checked_default(fields.raw("default", NO_DEFAULT), kind, fields.place("default"))
    return Input(kind, default, fields.get("column"))


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
    fields = Fields(value, where, node_form(cls))
    inputs = read_inputs(fields.raw("inputs", []), fields.place("inputs")) if "inputs" in fields else Inputs()
    return cls.read(name, fields.raw(cls.kind), inputs, fields)


@cache
def node_form(cls: type[Node]) -> Form:
    """What a graph file says of a node of this kind."""
    return record(cls.keys, (cls.kind, *cls.required))


def graph_mapping(graph: GraphSpec, *, inner: bool = False) -> dict[str, Any]:
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
    if graph.pool is not None:
        written["pool"] = graph.pool.written()
    if graph.serving and not inner:
        written["serve"] = dict(graph.serving)
    return written


def _write_input(each: Input) -> Any:
    written = {"type": str(each.type)}
    written |= {"default": each.default} if each.has_default else {}
    written |= {"column": each.column} if each.column is not None else {}
    return written if len(written) > 1 else str(each.type)


def _write_node(node: Node) -> dict[str, Any]:
    written = node.write()
    kind = {node.kind: written.pop(node.kind)}
    inputs = {"inputs": write_inputs(node.inputs)} if node.inputs.columns else {}
    return {**kind, **inputs, **written}


class _Dumper(yaml.SafeDumper):
    """Top-level parts in blocks, what is inside a part on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_BREAKS = re.compile("[\\n\\r\\x0b\\x0c\\x1c-\\x1e\\x85\\u2028\\u2029]")


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    """Texts stay on one line: those with line breaks are written with escapes."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style='"' if _BREAKS.search(data) else None)


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def dump_graph(graph: GraphSpec) -> str:
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
                    lines.append(f"  {_flow(name)}: {_flow(_writable(each, f'{key}.{name}'))}")
        else:
            lines.append(f"{_flow(key)}: {_flow(_writable(value, key))}")
    return "\n".join(" " * indent + line for line in lines) + "\n"


def _writable(value: Any, where: str) -> Any:
    """A value that a file gives back as it was.

    Raises:
        GraphError: when there is something in it that YAML does not hold.
    """
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise GraphError(f"a key of a file is a text; got {key!r}", where=where, hint="use texts as keys")
        return {key: _writable(each, f"{where}.{key}") for key, each in value.items()}
    if isinstance(value, list):
        return [_writable(each, f"{where}[{place}]") for place, each in enumerate(value)]
    if isinstance(value, str) and value != escaped(value):
        raise GraphError(f"a file cannot hold the lone surrogate in {show(value)}", where=where)
    if value is None or type(value) in (str, bytes, bool, int, float):
        return value
    raise GraphError(
        f"a file cannot hold {show(value)} ({type(value).__name__})",
        where=where,
        hint="use texts, numbers, true, false, null, lists and mappings; load larger things inside the function",
    )


def _flow(value: Any) -> str:
    """A value on one line; whatever YAML could read otherwise is quoted."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=1_000_000, allow_unicode=True
    )
    return text.removesuffix("...\n").strip()
