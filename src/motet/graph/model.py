"""What a graph says of a model: where it is, and how it is to be called."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, TypeVar

from motet.errors import GraphError
from motet.graph.capacity import BATCH, RESOURCES, Batching, Resources
from motet.graph.fields import TYPE, Fields, of_kind, plain, read_type, text_of
from motet.graph.forms import (
    LISTED,
    MAPPING,
    NAME,
    TEXT,
    TRUTH,
    WHOLE,
    by_name,
    either,
    least,
    list_of,
    named,
    one_of,
    record,
)  # fmt: skip
from motet.graph.function import FUNCTIONS, Function, as_functions, read_functions, write_functions
from motet.graph.identity import identity
from motet.graph.places import expanded
from motet.graph.replicas import (
    BALANCES,
    PLACEMENTS,
    REPLICAS,
    TIMEOUT_S,
    Replicas,
    as_replicas,
    as_warm_up,
    check_placing,
    read_replicas,
    write_replicas,
)  # fmt: skip
from motet.graph.snapshot import check_written, is_model, sent, snapshot
from motet.types import ColumnType

__all__ = ["MODEL", "Model", "Replicas", "read_model", "write_model"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Model:
    """A model: something loaded once and called on batches.

    Two are equal that differ in nothing, the order of their inputs and outputs included.

    Args:
        uri: where it is: a path (relative ones are relative to the graph's file), `SCHEME:path`, an fsspec URL, or
            `python:package.module:Name`; or a fitted estimator or a booster, as it is now. A graph with such a one cannot
            be saved.
        name: its name in the graph; the file's name without its suffix when not given.
        inputs, outputs: declared column types by name, in order; needed where the model has no signature of its own.
        before, after: a function, or several in a row, around it: columns to columns, as map nodes.
        batch: how rows are put together for a call: a `Batching`, or a mapping as in files (`{"rows": 4096}`).
        uris: addresses of more servers that have the model; each is a replica.
        replicas: how many copies are loaded, or `Replicas(min, max)` (in files `{min: ..., max: ...}`) between which it
            may be scaled.
        placement: `inline` (in the thread that asks), `thread`, `process` (each copy in a process of its own, for
            Python code that holds the interpreter's lock, and code that may crash), or `machine` (in one process that all
            processes of this machine share, for models of which each cannot have one); None lets the runtime choose
            between the first two.
        balance: which replica answers: `least_loaded`, `round_robin`, `power_of_two` or `hash`.
        balance_by: for `hash` the model's input whose values decide: the same value meets the same replica.
        warm_up: whether a replica answers a row of zeros before it is called, or the rows to answer, by input. None
            does so for replicas in processes.
        resident: whether it stays loaded once it is, where models share places (`max_loaded`, `pool`).
        timeout_s: how long a call may take before its replica is taken for stuck, in seconds; None is 60 for processes,
            and what the handler says for addresses. A call in this process cannot be stopped.
        concurrent: how many calls may run at the same time in a process; None for as many as there are. 1 for code that
            cannot bear more.
        paid: whether its calls cost money, or are noticed where it is: then no row is asked for twice but to find those at fault,
            none is made up, and nothing is asked only to see how long it takes. None is what the handler says.
        resources: what one replica needs: a `Resources`, or a mapping as in files (`{"cpu": 2, "memory": "1GiB"}`).
        labels: what the places of its answer stand for, in order; needed by the combiner `union`.
        options: keywords for the handler, or for a Python class or function.
        unpickle: allow a file that runs code when loaded to come from a remote URI.
        version: what to call this version in failures and explanations; the file's digest when not given.
        device: `cpu`, `cuda` or `cuda:N`.
    """

    uri: str
    name: str = ""
    inputs: Mapping[str, ColumnType] = field(default_factory=dict)
    outputs: Mapping[str, ColumnType] = field(default_factory=dict)
    before: tuple[Function, ...] = ()
    after: tuple[Function, ...] = ()
    batch: Batching = field(default_factory=Batching)
    replicas: int | Replicas = 1
    placement: str | None = None
    resources: Resources = field(default_factory=Resources)
    labels: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    unpickle: bool = False
    version: str = ""
    device: str = "cpu"
    uris: tuple[str, ...] = ()
    balance: str = "least_loaded"
    balance_by: str = ""
    warm_up: bool | Mapping[str, Any] | None = None
    timeout_s: float | None = None
    resident: bool = False
    concurrent: int | None = None
    paid: bool | None = None

    def __init__(
        self,
        uri: Any,
        name: str = "",
        *,
        inputs: Mapping[str, str | ColumnType] | None = None,
        outputs: Mapping[str, str | ColumnType] | None = None,
        before: Callable[..., Any] | str | Sequence[Any] | None = None,
        after: Callable[..., Any] | str | Sequence[Any] | None = None,
        batch: Batching | Mapping[str, Any] | None = None,
        replicas: int | Mapping[str, float] | Replicas = 1,
        placement: str | None = None,
        resources: Resources | Mapping[str, Any] | None = None,
        labels: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        unpickle: bool = False,
        version: str = "",
        device: str = "cpu",
        uris: Sequence[str] = (),
        balance: str = "least_loaded",
        balance_by: str = "",
        warm_up: bool | Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        resident: bool = False,
        concurrent: int | None = None,
        paid: bool | None = None,
    ) -> None:
        where = f"model {name or uri!r}" if isinstance(uri, str) else f"model {name or type(uri).__name__!r}"
        if is_model(uri):
            uri = snapshot(uri, where)
        if not isinstance(uri, str) or not uri:
            raise GraphError(f"a model needs a URI, or a fitted estimator; got {uri!r}", where=where)
        if isinstance(labels, str):
            raise GraphError(
                f"labels is a list; got {labels!r}",
                where=f"model {name!r}",
                hint="a graph file may name a file of labels; in Python read it: Path(...).read_text().splitlines()",
            )
        labels = tuple(text_of(label) for label in labels)
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise GraphError(f"the label {twice[0]!r} is there twice", where=where)
        values: dict[str, Any] = {
            "uri": uri, "name": name, "inputs": _types(inputs, f"{where}: inputs"), "outputs": _types(outputs, f"{where}: outputs"),
            "before": as_functions(before), "after": as_functions(after), "batch": Batching.read(batch, f"{where}: batch"),
            "replicas": as_replicas(replicas, where),
            "placement": placement,
            "resources": Resources.read(resources, f"{where}: resources"),
            "labels": labels, "options": plain(dict(options or {})),
            "unpickle": unpickle, "version": version, "device": device, "uris": tuple(uris), "balance": balance,
            "balance_by": balance_by, "warm_up": as_warm_up(warm_up, where),
            "timeout_s": float(timeout_s) if type(timeout_s) is int else timeout_s, "resident": resident, "concurrent": concurrent,
            "paid": paid,
        }  # fmt: skip
        check_placing(values, where)
        for key, value in values.items():
            object.__setattr__(self, key, value)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Model) and self._identity == other._identity)

    def __hash__(self) -> int:
        return self._hash

    def __copy__(self) -> Model:
        return self

    def __deepcopy__(self, memo: Any) -> Model:
        return self

    def __getstate__(self) -> dict[str, Any]:
        # What was cached holds in this process alone. An estimator travels as the bytes that it was written as.
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return {**values, "uri": sent(self.uri)}

    @cached_property
    def _identity(self) -> Hashable:
        return tuple(identity(getattr(self, each.name)) for each in dataclasses.fields(self))

    @cached_property
    def _hash(self) -> int:
        return hash(self._identity)

    def before_values(self, columns: Sequence[T] | Mapping[str, T]) -> list[T]:
        """What the first function before the model is given, in order, of columns by position or by its parameters."""
        if isinstance(columns, Mapping):
            return [columns[name] for name in self.before[0].parameters()]
        return list(columns)

    @property
    def has_process(self) -> bool:
        """Whether it is in a process of its own, or in one that all of the machine share."""
        return self.placement in ("process", "machine")

    @property
    def num_replicas(self) -> int:
        """How many replicas there are at first, those behind addresses left out."""
        return self.replicas.min if isinstance(self.replicas, Replicas) else self.replicas

    @property
    def max_replicas(self) -> int:
        """The most replicas that it may have, those behind addresses left out."""
        return self.replicas.max if isinstance(self.replicas, Replicas) else self.replicas

    @property
    def stem(self) -> str:
        """The default name: the file's name, the name in a store, or the last part of an import path; nothing that is secret."""
        if self.uri.startswith("store:"):
            stem = re.sub(r"[^A-Za-z0-9_-]", "_", self.uri.removeprefix("store:").rpartition("#")[2].partition("@")[0])
            return stem if NAME.fullmatch(stem) else f"model_{stem}"
        open_part = re.sub(r"//[^/\s]*@", "//", re.sub(r"\?[^#]*", "", self.uri))
        last = PurePosixPath(open_part.rpartition(":")[2]).name
        stem = last.split(".")[0] if "/" in self.uri or "." in last else last
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", stem)
        return stem if NAME.fullmatch(stem) else f"model_{stem}".rstrip("_")

    def named(self, name: str) -> Model:
        """The same model under this name."""
        return replace(self, name=name)


def _types(types: Mapping[str, str | ColumnType] | None, where: str) -> dict[str, ColumnType]:
    return {name: read_type(kind, f"{where}.{name}") for name, kind in (types or {}).items()}


_URI = named("uri", {**TEXT, "minLength": 1})
_MODEL = record(
    {
        "uri": _URI,
        "inputs": by_name(TYPE),
        "outputs": by_name(TYPE),
        "before": FUNCTIONS,
        "after": FUNCTIONS,
        "batch": BATCH,
        "replicas": REPLICAS,
        "placement": one_of(PLACEMENTS),
        "resources": RESOURCES,
        "labels": either({**LISTED, "uniqueItems": True}, TEXT),
        "with": MAPPING,
        "unpickle": one_of(("allow", "refuse"), "refuse"),
        "version": {"type": ["string", "integer", "number"]},
        "device": {**TEXT, "default": "cpu"},
        "uris": list_of(_URI),
        "balance": one_of(BALANCES, "least_loaded"),
        "balance_by": {**TEXT, "default": ""},
        "warm_up": {
            "type": ["boolean", "object"],
            "minProperties": 1,
            "additionalProperties": {**LISTED, "minItems": 1},
        },
        "timeout_s": TIMEOUT_S,
        "resident": {**TRUTH, "default": False},
        "concurrent": least(WHOLE, 1),
        "paid": TRUTH,
    }
)
MODEL = named(
    "model",
    either(
        _URI,
        {**_MODEL, "anyOf": [{"required": ["uri"]}, {"required": ["uris"], "properties": {"uris": {"minItems": 1}}}]},
    ),
)


_AS_WRITTEN = (
    "inputs", "outputs", "placement", "device", "balance", "balance_by", "warm_up", "timeout_s", "resident", "concurrent",
    "paid",
)  # fmt: skip
"""The keys that say what the model's argument of the same name is."""


def read_model(name: str, value: object, where: str) -> Model:
    """A model as a graph file says it: `{uri: ..., batch: {...}, ...}`, or the URI alone."""
    if isinstance(value, str):
        return Model(expanded(value, where), name)
    fields = Fields(value, where, _MODEL)
    unpickle = fields.get("unpickle")
    if unpickle not in ("allow", "refuse"):
        raise GraphError(f"expected allow or refuse; got {unpickle!r}", where=fields.place("unpickle"))
    place = fields.place("uris")
    uris = [expanded(of_kind(uri, str, place), place) for uri in fields.get("uris") or []]
    if "uri" not in fields and uris:
        uri, *uris = uris
    else:
        uri = expanded(fields.take("uri", str), fields.place("uri"))
    return Model(
        uri,
        name,
        uris=uris,
        before=read_functions(fields.raw("before"), fields.place("before")),
        after=read_functions(fields.raw("after"), fields.place("after")),
        batch=Batching.read(fields.get("batch") or {}, fields.place("batch")),
        replicas=read_replicas(fields.raw("replicas", 1), fields.place("replicas")),
        resources=Resources.read(fields.get("resources") or {}, fields.place("resources")),
        labels=fields.take("labels", list, []),
        options=fields.get("with"),
        unpickle=unpickle == "allow",
        version=str(fields.get("version") if "version" in fields else ""),
        **{key: fields.get(key) for key in _AS_WRITTEN},
    )


def write_model(model: Model) -> dict[str, Any]:
    """The inverse of `read_model`; what has its default is left out."""
    where = f"model {model.name!r}"
    check_written(model.uri, where)
    written: dict[str, Any] = {"uri": model.uri}
    for key in ("inputs", "outputs"):
        if types := getattr(model, key):
            written[key] = {name: str(kind) for name, kind in types.items()}
    for key in ("before", "after"):
        if functions := getattr(model, key):
            written[key] = write_functions(functions, where)
    for part in ("batch", "resources"):
        if said := getattr(model, part).written():
            written[part] = said
    plain = {
        "placement": None, "version": "", "device": "cpu", "balance": "least_loaded", "balance_by": "", "timeout_s": None,
        "warm_up": None, "resident": False, "concurrent": None, "paid": None,
    }  # fmt: skip
    written |= {key: getattr(model, key) for key, default in plain.items() if getattr(model, key) != default}
    if model.replicas != 1:
        written["replicas"] = write_replicas(model.replicas)
    if model.uris:
        written["uris"] = list(model.uris)
    if model.labels:
        written["labels"] = list(model.labels)
    if model.options:
        written["with"] = dict(model.options)
    if model.unpickle:
        written["unpickle"] = "allow"
    return written
