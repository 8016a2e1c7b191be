"""The JSON Schemas of graph files and configurations of servers, from what readers go by and the docstrings of what they make.

graph(), serve() ──► what generate.py writes to src/motet/schemas/, and editors read
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import motet as mt
from motet import ops
from motet.graph.capacity import Batching, Resources
from motet.graph.experiment import ExperimentMetric
from motet.graph.forms import Form, named_forms
from motet.graph.input import Input
from motet.graph.node import KINDS, Member
from motet.graph.pool import Places
from motet.graph.replicas import Replicas
from motet.graph.section import Section, keys_of, section_form
from motet.graph.yaml import GRAPH, node_form
from motet.models import registry
from motet.serving.config.server import ServeConfig

_ITEM = re.compile(r"    (\*{0,2}[\w, .*]+): (.*)")
_TOLD: Mapping[str, tuple[Any, Mapping[str, str]]] = {
    "model": (mt.Model, {"with": "options"}),
    "batch": (Batching, {}),
    "pool": (Places, {"memory": "memory_bytes"}),
    "resources": (Resources, {"memory": "memory_bytes"}),
    "replicas": (Replicas, {}),
    "input": (Input, {}),
    "member": (Member, {}),
    "node.map": (mt.map, {"map": "function"}),
    "node.model": (mt.model, {"model": "uses"}),
    "node.ensemble": (mt.ensemble, {"ensemble": "members", "members": "as_available"}),
    "node.route": (mt.route, {"route": "members"}),
    "node.cascade": (mt.cascade, {"cascade": "members"}),
    "node.shard": (mt.shard, {"shard": "uses"}),
}
"""Whose docstring says what the keys of a form are, and what it calls those that have another name."""


_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


def graph() -> dict[str, Any]:
    """The schema of graph files."""
    forms = {**named_forms(), **{f"node.{name}": node_form(cls) for name, cls in KINDS.items()}}
    forms["node"] = {"type": "object", "anyOf": [{"$ref": f"#/$defs/node.{name}"} for name in KINDS]}
    forms["path"] = {**forms["path"], "anyOf": [_known(_ops()), {}]}
    forms["uri"] = {**forms["uri"], "description": _kinds_of_models()}
    made = {name: _described(form, _told_of(name)) for name, form in sorted(forms.items())}
    sections = dict(_sections(ServeConfig))
    return {
        "$schema": _SCHEMA,
        "title": "A graph of Motet",
        **_described(GRAPH, _told_of("graph")),
        "$defs": {**made, "serve": sections.pop("ServeConfig"), **sections, **dict(_sections(ExperimentMetric))},
    }


def serve() -> dict[str, Any]:
    """The schema of `serve.yaml`."""
    sections = dict(_sections(ServeConfig))
    whole = sections.pop("ServeConfig")
    return {
        "$schema": _SCHEMA,
        "title": "A server of Motet",
        **whole,
        "$defs": {"bytes": named_forms()["bytes"], **sections},
    }


def _sections(cls: type[Section]) -> Iterator[tuple[str, Form]]:
    """The forms of a section and of those inside it, by the names of their classes."""
    said = told(cls)
    yield cls.__name__, _described(section_form(cls), {key: said[each.field] for key, each in keys_of(cls).items()})
    for each in keys_of(cls).values():
        if each.kind.section is not None:
            yield from _sections(each.kind.section)


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
    if "properties" in form:
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
