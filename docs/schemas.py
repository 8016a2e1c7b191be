"""The JSON Schemas of graph files and configurations of servers, from what readers go by and the docstrings of what they make.

graph(), serve() ──► what generate.py writes to src/motet/schemas/, and editors read
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import motet as mt
from motet import ops
from motet.graph.capacity import Batching, Resources
from motet.graph.forms import (
    BYTES,
    FORMS,
    NUMBER,
    TEXT,
    TRUTH,
    WHOLE,
    Form,
    by_name,
    either,
    list_of,
    one_of,
    or_null,
    record,
)
from motet.graph.input import Input
from motet.graph.node import KINDS, Member
from motet.graph.pool import Places
from motet.graph.replicas import Replicas
from motet.graph.yaml import GRAPH, node_form
from motet.models import registry

_ITEM = re.compile(r"    (\*{0,2}[\w, .*]+): (.*)")
_TOLD: Mapping[str, tuple[Any, Mapping[str, str]]] = {
    "model": (mt.Model, {"with": "options"}),
    "batch": (Batching, {}),
    "resources": (Resources, {"memory": "memory_bytes"}),
    "replicas": (Replicas, {}),
    "input": (Input, {}),
    "member": (Member, {}),
    "graph": (Places, {"memory": "memory_bytes"}),
    "node.map": (mt.map, {"map": "function"}),
    "node.model": (mt.model, {"model": "uses"}),
    "node.ensemble": (mt.ensemble, {"ensemble": "members", "members": "as_available"}),
    "node.route": (mt.route, {"route": "members"}),
    "node.cascade": (mt.cascade, {"cascade": "members"}),
    "node.shard": (mt.shard, {"shard": "uses"}),
}
"""Whose docstring says what the keys of a form are, and what it calls those that have another name."""


Section = tuple[str, str, Any, Mapping[str, str]]
"""A part of a server's configuration: its place, what is said of it, its class, and its defaults as text."""
_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


def graph(sections: Sequence[Section]) -> dict[str, Any]:
    """The schema of graph files, whose key `serve` has these sections."""
    forms = {**FORMS, **{f"node.{name}": node_form(cls) for name, cls in KINDS.items()}}
    forms["serve"] = _serve(sections)
    forms["node"] = {"type": "object", "anyOf": [{"$ref": f"#/$defs/node.{name}"} for name in KINDS]}
    forms["path"] = {**FORMS["path"], "anyOf": [_known(_ops()), {}]}
    forms["uri"] = {**FORMS["uri"], "description": _kinds_of_models()}
    made = {name: _described(form, _told_of(name)) for name, form in sorted(forms.items())}
    return {
        "$schema": _SCHEMA,
        "title": "A graph of Motet",
        **_described(GRAPH, _told_of("graph")),
        "$defs": made,
    }


def serve(sections: Sequence[Section]) -> dict[str, Any]:
    """The schema of `serve.yaml`."""
    bounds = {"bytes": FORMS["bytes"]}
    return {"$schema": _SCHEMA, "title": "A server of Motet", **_serve(sections), "$defs": bounds}


_ALSO: Mapping[str, Callable[[Form], Form]] = {
    "admission": or_null,
    "sinks": lambda form: either(form, TEXT, list_of(either(form, TEXT)), {"type": "null"}),
    "cache": lambda form: either(form, BYTES, {"type": "null"}),
    "observability": or_null,
    "observability.access_log": lambda form: either(form, TEXT, {"enum": [False, None]}),
    "observability.trace": lambda form: either(form, {"type": ["boolean", "null"]}),
    "grpc": or_null,
}
"""What else may stand for a part of the configuration."""


def _serve(sections: Sequence[Section]) -> Form:
    """The form of a server's configuration: what its dataclasses hold, under the keys that files use."""
    forms = {place: _of_class(cls) for place, _, cls, _ in sections}
    for place, said, _, _ in reversed(sections):
        outer, _, key = place.rpartition(".")
        if key == "NAME":
            place, form = outer, by_name(forms[place])
            outer, _, key = place.rpartition(".")
        elif place:
            form = _ALSO.get(place, lambda form: form)(forms[place])
        else:
            continue
        told_of = " ".join([forms[outer]["properties"][key]["description"], *([said] if said else [])])
        forms[outer]["properties"][key] = {"description": told_of, **form}
    return forms[""]


_WRITTEN = {"rates": "rate", "klass": "class"}
"""Keys of a configuration whose attribute has another name."""
_JSON = {"str": TEXT, "int": WHOLE, "float": NUMBER, "bool": TRUTH, "tuple[str, ...]": list_of(TEXT)}


def _of_class(cls: Any) -> dict[str, Any]:
    said = told(cls)
    keys: dict[str, Form] = {}
    needed = []
    for each in dataclasses.fields(cls):
        form = BYTES if each.name.endswith("_bytes") else _form_of(str(each.type))
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            needed.append(each.name)
        default = (
            {"default": each.default} if type(each.default) in (str, int, float, bool) and each.default != "" else {}
        )
        keys[_WRITTEN.get(each.name, each.name)] = {
            "description": _sentence(said.get(each.name, "")),
            **form,
            **default,
        }
    if cls.__name__ == "ServeConfig":
        del keys["folder"]  # which says where the file is
    return dict(record(keys, needed))


def _form_of(kind: str) -> Form:
    """The form of a field of a dataclass; of one that is no plain value nothing is said."""
    if kind.startswith("Literal["):
        return one_of(ast.literal_eval(f"({kind[8:-1]},)"))
    return _JSON.get(kind.removesuffix(" | None"), {})


def written(schema: Mapping[str, Any]) -> str:
    """A schema as the text of its file."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def told(thing: Any) -> dict[str, str]:
    """What a docstring says of each of its arguments or attributes, on one line."""
    parts = re.split(r"(?:Attributes|Args):\n", inspect.getdoc(thing) or "")
    found: dict[str, str] = {}
    names: Sequence[str] = ()
    for line in parts[-1].partition("\n\n")[0].split("\n") if len(parts) > 1 else ():
        match = _ITEM.fullmatch(line)
        if match is not None and not line.startswith("     "):
            names = match[1].split(", ")
            found |= dict.fromkeys(names, match[2])
        else:
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def _told_of(name: str) -> dict[str, str]:
    """What is said of the keys of a form."""
    if name not in _TOLD:
        return {}
    thing, names = _TOLD[name]
    found = told(thing)
    return {**found, **{key: found[name] for key, name in names.items()}}


def _described(form: Any, said: Mapping[str, str]) -> Any:
    """A form whose keys say what they are."""
    if isinstance(form, (list, tuple)):
        return [_described(each, said) for each in form]
    if not isinstance(form, Mapping):
        return form
    made = {key: _described(value, said) for key, value in form.items()}
    if form.get("type") == "object" and "properties" in form:
        made["properties"] = {
            key: {**({"description": _sentence(said[key])} if key in said else {}), **value}
            for key, value in made["properties"].items()
        }
    return made


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if text[:1] != "`" else text


def _known(said: Mapping[str, str]) -> Form:
    """Texts that editors offer, each with what it is."""
    return {"enum": list(said), "enumDescriptions": list(said.values())}


def _summary(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ")


def _ops() -> dict[str, str]:
    modules = {name: getattr(ops, name) for name in ops.__all__}
    return {
        f"motet.ops.{name}.{function}": _summary(getattr(module, function))
        for name, module in modules.items()
        for function in module.__all__
        if inspect.isfunction(getattr(module, function))
    }


def _kinds_of_models() -> str:
    """What the URI of a model is, with the kinds of models that there are."""
    handlers = {name: registry.handler_by_name(name) for name in registry._CLASSES}
    kinds = [f"`{name}:`{''.join(f' {suffix}' for suffix in each.suffixes)}" for name, each in handlers.items()]
    return f"{_sentence(told(mt.Model)['uri'])} Kinds, by scheme or suffix: {', '.join(kinds)}."
