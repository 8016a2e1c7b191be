"""route: rows through one member, by key, by condition or by weighted split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from motet.batch import Array, Column, Indices, objects, take_rows
from motet.errors import GraphError, TypeMismatchError
from motet.graph.build import Handle, PartNames, Ref, Uses, as_members, inputs_of
from motet.graph.condition import Condition
from motet.graph.fields import Fields, show
from motet.graph.forms import NUMBER, TEXT, TRUTH, by_name, least
from motet.graph.keyed import KEY
from motet.graph.members import INPUTS, MEMBERS, check_member, read_members, write_members
from motet.graph.node import NO_ANSWER, Answer, Fault, Inputs, Member, NodeOutputs, Scope, kind
from motet.graph.player import Player
from motet.graph.pool import SwapBounds
from motet.graph.section import section_form
from motet.nodes.members import (
    STRING,
    UNION,
    MembersNode,
    agreed,
    checked_combine,
    counted,
    member_outputs,
    read_combine,
    taken,
)
from motet.nodes.merge import merge
from motet.nodes.route_checks import (
    check_experiment,
    check_keys,
    check_patterns,
    check_way,
    conditions_of,
    key_text,
    number_keys,
    patterns,
    split_of,
)
from motet.nodes.split import choose_arms, is_missing_key
from motet.types import ColumnType

if TYPE_CHECKING:
    from motet.graph.experiment import ExperimentMetric

__all__ = ["Route", "route"]


@kind
@dataclass(frozen=True)
class Route(MembersNode):
    """Rows through one member each; the others do not run for them.

    Attributes:
        players: the members. By key an arm's name is the keys it takes, separated by `|`; `*` takes every other one.
        key: the column whose value chooses the arm.
        split: how much each arm counts in a weighted split.
        by: the column that the split goes by.
        salt: names the split, so that splits of the same column in other places are independent.
        metric: what the arms of the split are compared by, which makes it an experiment; it changes no answer.
        when: for each arm but `otherwise`, the condition for it; the first that holds wins.
        otherwise: the arm for rows that no condition holds for.
        missing: the arm for rows without a key; without it they fail.
        output: the one output that counts, under this name.
        max_loaded: how many of its models may be loaded at the same time; None loads all, and they stay.
        max_swap_wait_ms: how long rows whose model is not loaded may be passed over by rows of models that are.
        combine: `union` where the classes of members differ: a score for each class that any of them knows, 0 where one
            does not; None for members that have the same.
        stack: whether models that differ in their weights alone may be played as one call.
        sought: the URIs that models of other keys would have, with `{key}` in them; only found when a graph is checked.
    """

    key: str | None = None
    split: Mapping[str, float] = field(default_factory=dict)
    by: str | None = None
    salt: str | None = ""
    when: Mapping[str, Condition] = field(default_factory=dict)
    otherwise: str | None = None
    missing: str | None = None
    output: str | None = None
    max_loaded: int | None = None
    max_swap_wait_ms: float | None = None
    combine: str | None = None
    stack: bool = True
    sought: tuple[str, ...] = field(default=(), compare=False)
    metric: ExperimentMetric | None = field(default=None, metadata={NO_ANSWER: True})

    kind = "route"
    keys = {
        "route": MEMBERS,
        "inputs": INPUTS,
        "key": TEXT,
        "split": by_name(least(NUMBER, 0)),
        "by": TEXT,
        "salt": TEXT,
        "metric": {
            "$ref": "#/$defs/ExperimentMetric",
            "description": "What the arms of a split are compared by, which makes it an experiment.",
        },
        "when": by_name(TEXT),
        "otherwise": TEXT,
        "missing": TEXT,
        "output": TEXT,
        **section_form(SwapBounds)["properties"],
        "combine": UNION,
        "stack": {**TRUTH, "default": True},
    }

    def keyed(self, models: Mapping[str, Mapping[str, str]], uris: Mapping[str, str]) -> Route:
        """The route with an arm for each key that has a model; keys that other arms take are theirs."""
        if self.key is None:
            return super().keyed(models, uris)  # type: ignore[return-value]
        named = {key for arm in self.players if not self._is_any(arm, models) for key in patterns(arm.name)}
        arms: list[Member] = []
        for arm in self.players:
            if arm.uses not in models:
                arms.append(arm)
                continue
            if arm.name == self.missing:
                what = f"missing names {arm.name!r}, which is a model for each key; a row without a key has none"
                raise GraphError(what, where=self.where, hint="name another arm, or leave missing out")
            known = models[arm.uses]
            keys = [key for key in known if key not in named] if self._is_any(arm, models) else patterns(arm.name)
            if unknown := [key for key in keys if key not in known]:
                what = f"there is no model {uris[arm.uses].replace(KEY, unknown[0])} for the key {unknown[0]!r}"
                raise GraphError(what, where=self.where)
            arms += [replace(arm, name=key, uses=known[key]) for key in keys]
            named.update(keys)
        if not arms:
            raise GraphError("there are no members", where=self.where)
        return replace(self, players=tuple(arms), sought=tuple(uris.values()))

    @staticmethod
    def _is_any(arm: Member, models: Mapping[str, Any]) -> bool:
        """Whether an arm takes every key that has a model."""
        return arm.uses in models and arm.name in ("*", KEY)

    def more_references(self) -> Iterable[str]:
        """The columns that choose."""
        chosen = [column for column in (self.key, self.by) if column is not None]
        told = self.metric.segments if self.metric else ()
        return [*chosen, *(column for condition in self.when.values() for column in condition.columns), *told]

    def infer(self, types: Mapping[str, ColumnType], scope: Scope) -> NodeOutputs:
        """The arms' common outputs, and `node.member`."""
        for column in (self.key, self.by):
            if column is not None and types[column].shape:
                raise TypeMismatchError(f"a key is one value a row; {column!r} is {types[column]}", where=self.where)
        for column in self.metric.segments if self.metric else ():
            if types[column].shape:
                what = f"a segment is one value a row; {column!r} is {types[column]}"
                raise TypeMismatchError(what, where=f"{self.where}: metric.segments")
        if self.key is not None and not self.sought:
            check_keys(self.players, types[self.key], self.where)
        for arm, condition in self.when.items():
            condition.check(types, f"{self.where}: when.{arm}")
        found = member_outputs(self.players, self.inputs, self.output, types, scope, self.where)
        outputs, classes = agreed(found, self.combine, self.where)
        return NodeOutputs(
            {f"{self.name}.{name}": kind for name, kind in outputs.items()},
            {f"{self.name}.member": STRING},
            places=classes.places,
            warnings=classes.warnings,
        )

    async def play(self, columns: Mapping[str, Column], rows: int, player: Player) -> Answer:
        """Call each model once, on the rows of all arms that stand for it."""
        chosen, faults = self._choose(columns, rows, player)
        together = await player.together(columns, chosen) if self.stack and rows > 1 else []
        left = chosen
        for share, _ in together:
            left = left.copy() if left is chosen else left
            left[share] = -1
        shares = self._shares(left) if rows else [(0, np.empty(0, dtype=np.int64))]
        calls = [self._call(place, columns, share, chosen, player) for place, share in shares]
        uses = [self.players[place].uses for place, _ in shares]
        answers = await player.gather(calls, uses, [len(share) for _, share in shares])
        parts = [
            (share, self._answer(place, answer, chosen[share], player))
            for (place, share), answer in zip(shares, answers, strict=True)
        ]
        parts += [
            (share, self._answer(int(chosen[share[0]]), answer, chosen[share], player)) for share, answer in together
        ]
        return merge(parts, rows, faults)

    def _shares(self, chosen: Indices) -> list[tuple[int, Indices]]:
        """The rows of each call, and the first of the arms that it is for."""
        if len(chosen) == 1:
            return [(int(chosen[0]), np.zeros(1, dtype=np.int64))] if chosen[0] >= 0 else []
        calls = self._calls[chosen]
        order = np.argsort(calls, kind="stable")
        places, starts = np.unique(calls[order], return_index=True)
        cut = np.split(order, starts[1:])
        return [(int(place), share) for place, share in zip(places, cut, strict=True) if place >= 0]

    @cached_property
    def _calls(self) -> Array:
        """For each arm the first one that is called alike; -1 for none, which stands last. Small numbers sort faster."""
        first: dict[tuple[Any, ...], int] = {}
        same = [first.setdefault((arm.uses, arm.inputs, arm.output), place) for place, arm in enumerate(self.players)]
        return np.array([*same, -1], dtype=np.int16 if len(same) < 2**15 else np.int64)

    @cached_property
    def _names(self) -> Array:
        return objects([arm.name for arm in self.players])

    async def _call(
        self, place: int, columns: Mapping[str, Column], share: Indices, chosen: Indices, player: Player
    ) -> Answer:
        """Call a model; its rows are taken only when its turn comes, so that one call's copies are held at a time."""
        uses, names = self.players[place].uses, [self.players[each].name for each in np.unique(chosen[share])]
        inputs = taken(self.players[place], self.inputs, columns, share, len(chosen))
        return await player.call(uses, inputs, len(share), share, "|".join(names) or self.players[place].name)

    def _answer(self, place: int, answer: Answer, chosen: Indices, player: Player) -> Answer:
        """A call's answer under the node's names; `chosen` is the arm of each of its rows."""
        found = counted(self.players[place], answer, self.output, self.where, player.places)
        columns: dict[str, Column] = {f"{self.name}.{name}": column for name, column in found.items()}
        answered = chosen if answer.kept is None else chosen[answer.kept]
        columns[f"{self.name}.member"] = self._names[answered]
        faults = answer.faults
        if self.key is not None and any(fault.error == "ModelLoadError" for fault in faults):
            faults = tuple(self._named(fault, self.players[chosen[fault.position]]) for fault in faults)
        return Answer(columns, faults, answer.kept)

    def _named(self, fault: Fault, arm: Member) -> Fault:
        """A fault that says for which key the model is that cannot be loaded."""
        if fault.error != "ModelLoadError":
            return fault
        return replace(fault, message=f"the model of {self.key} {arm.name!r}: {fault.message}")

    def _choose(self, columns: Mapping[str, Column], rows: int, player: Player) -> tuple[Indices, list[Fault]]:
        """The place of each row's arm, -1 where it has none, and why."""
        if self.when:
            return self._by_condition(columns, rows, player)
        keys = columns[self.key or self.by or ""]
        assert isinstance(keys, np.ndarray)
        names = [arm.name for arm in self.players]
        if self.split:
            chosen = choose_arms(keys, {name: self.split.get(name, 0.0) for name in names}, self.salt or "")
        else:
            chosen = self._by_key(keys)
        absent = np.flatnonzero(chosen == -1)
        if self.missing is not None:
            chosen[absent] = names.index(self.missing)
            absent = absent[:0]
        faults = [Fault(int(row), "InputError", self._no_key(self.key or self.by)) for row in absent]
        for row in np.flatnonzero(chosen == -2):
            chosen[row] = -1
            faults.append(
                Fault(
                    int(row),
                    "InputError",
                    self._no_member(number_keys(keys[row : row + 1]).tolist()[0]),
                )
            )
        return chosen, faults

    def _no_member(self, key: Any) -> str:
        if self.sought:
            return f"there is no model {' or '.join(uri.replace(KEY, key_text(key)) for uri in self.sought)}"
        return f"no member takes the key {show(key)}; they take {', '.join(arm.name for arm in self.players[:20])}"

    def _no_key(self, column: str | None) -> str:
        return f"the key {column!r} is missing; write missing: ARM in {self.where} to say which member takes such rows"

    def uses_of(self, keys: Array) -> set[str]:
        """The models and graphs that rows with these keys lead to; only for a route by key."""
        return {self.players[place].uses for place in set(self._by_key(keys).tolist()) if place >= 0}

    def calls_of(self, keys: Array) -> Indices:
        """For rows with these keys which call they are of: the first arm of those that are called alike; -1 for none."""
        return self._calls[np.maximum(self._by_key(keys), -1)].astype(np.int64)

    @cached_property
    def _table(self) -> dict[str, int]:
        """The place of the arm of each key, `*` for every other."""
        return {key: place for place, arm in enumerate(self.players) for key in patterns(arm.name)}

    def _by_key(self, keys: Array) -> Indices:
        if keys.dtype != object:  # texts are made of each number once
            numbers, which = np.unique(keys, return_inverse=True)
            return self._places(number_keys(numbers))[which.reshape(-1)]
        return self._places(keys)

    def _places(self, keys: Array) -> Indices:
        """The place of each key's arm: -1 where it is missing, -2 where no arm takes it."""
        table = self._table
        other = table.get("*", -2)
        listed = keys.tolist()
        if set(map(type, listed)) <= {str, NoneType}:
            texts = listed
        else:
            texts = [None if is_missing_key(key) else key_text(key) for key in listed]
        places = {text: (other if text == "*" else table.get(text, other)) if text else -1 for text in set(texts)}
        return np.fromiter(map(places.__getitem__, texts), np.int64, len(texts))

    def _by_condition(self, columns: Mapping[str, Column], rows: int, player: Player) -> tuple[Indices, list[Fault]]:
        names = [arm.name for arm in self.players]

        def choose(first: int, end: int) -> Indices:
            part = {name: take_rows(columns[name], slice(first, end)) for name in wanted}
            chosen = np.full(end - first, names.index(self.otherwise or names[-1]), dtype=np.int64)
            left = np.ones(end - first, dtype=bool)
            for arm, condition in self.when.items():
                holds = condition.evaluate(part, end - first) & left
                chosen[holds] = names.index(arm)
                left &= ~holds
            return chosen

        wanted = list(dict.fromkeys(name for condition in self.when.values() for name in condition.columns))
        segments, faults = player.isolate(choose, rows, "when")
        chosen = np.full(rows, -1, dtype=np.int64)
        for first, end, found in segments:
            chosen[first:end] = found
        return chosen, faults

    @classmethod
    def read(cls, name: str, value: object, inputs: Inputs, fields: Fields) -> Route:
        """`{route: {ARM: MODEL, ...}, inputs: [...]}` with `key`, with `split` and `by`, or with `when` and `otherwise`."""
        arms = read_members(value, fields.place("route"), names="key" not in fields)
        said = {key: fields.get(key) for key in ("key", "by", "salt", "otherwise", "missing", "output")}
        said |= {key: fields.get(key) or {} for key in ("split", "when")}
        bounds = {key: fields.raw(key) for key in ("max_loaded", "max_swap_wait_ms") if key in fields}
        said |= vars(SwapBounds.read(bounds, fields.where))
        said["metric"] = _metric(fields.raw("metric"), fields.place("metric")) if "metric" in fields else None
        said["stack"] = fields.get("stack")
        return _checked(cls(name, inputs, arms, combine=read_combine(fields), **said), fields.where)

    def write(self) -> dict[str, Any]:
        """The inverse of `read`."""
        written: dict[str, Any] = {"route": write_members(self.players)}
        if self.split:
            written |= {"split": dict(self.split), "by": self.by}
            written |= {"salt": self.salt} if self.salt else {}
            written |= {"metric": self.metric.written()} if self.metric else {}
        if self.when:
            written["when"] = {arm: condition.text for arm, condition in self.when.items()}
        for key in ("key", "otherwise", "missing", "output", "max_loaded", "max_swap_wait_ms", "combine"):
            if getattr(self, key) is not None:
                written[key] = getattr(self, key)
        if not self.stack:
            written["stack"] = False
        return written


def _metric(value: object, where: str) -> ExperimentMetric:
    from motet.graph.experiment import ExperimentMetric  # which routes without a metric do without

    return ExperimentMetric.read(value, where)


def _checked(said: Route, where: str) -> Route:
    """A route as it was said, its weights as numbers and its conditions read; what was not said is None, or empty."""
    way = check_way(
        {"key": said.key, "split": said.split, "when": said.when},
        {"by": said.by, "salt": said.salt, "metric": said.metric, "otherwise": said.otherwise, "missing": said.missing},
        where,
    )
    if said.max_swap_wait_ms is not None and said.max_loaded is None:
        raise GraphError("max_swap_wait_ms has no meaning without max_loaded", where=where)
    if said.missing is not None:
        check_member(said.missing, said.players, f"{where}.missing")
    if way == "key":
        check_patterns(said.players, where)
    when = conditions_of(said.when, said.otherwise, said.players, where) if said.when else {}
    split = split_of(said.split, said.players, where) if said.split else {}
    if said.metric is not None:
        check_experiment(said.metric, said.players, where)
    return replace(said, split=split, when=when, salt=said.salt or "")


def route(
    members: Mapping[str, Uses],
    *inputs: Ref,
    key: Ref | None = None,
    split: Mapping[str, float] | None = None,
    by: Ref | None = None,
    salt: str | None = None,
    metric: str | Mapping[str, Any] | ExperimentMetric | None = None,
    when: Mapping[str, str] | None = None,
    otherwise: str | None = None,
    using: Sequence[Ref] = (),
    missing: str | None = None,
    output: str | None = None,
    max_loaded: int | None = None,
    max_swap_wait_ms: float | None = None,
    combine: str | None = None,
    stack: bool = True,
    name: str | None = None,
) -> Handle:
    """Send each row through one member.

    Args:
        members: models or graphs by name. By key the name is the keys it takes, separated by `|`; `*` takes every other;
            a model with `{key}` in its URI, as `*` or `{key}`, every key that has a file.
        inputs: the columns that members take, unless they say otherwise (`motet.member`).
        key: the column whose value chooses the member.
        split: how much each member counts in a weighted split; the same value of `by` always meets the same one.
        by: the column that the split goes by, for example the user.
        salt: names the split: two splits with the same salt and weights choose alike.
        metric: what the arms of the split are compared by, which makes it an experiment: a name, or a mapping as a graph file
            has it (`{"name": "clicked", "effect": 0.02}`). It changes no answer.
        when: for each member but `otherwise`, the condition for it (`"amount > 1000"`); the first that holds wins. The
            names in it are those of the graph's columns.
        otherwise: the member for rows that no condition holds for.
        using: the columns that the conditions, or the metric's segments, name; needed for those that nothing else in the graph takes.
        missing: the member for rows without a key; without it they fail.
        output: the one output that counts, under this name.
        max_loaded: how many of the members' models may be loaded at the same time; the others are loaded when rows come
            for them, in the place of those that fewest rows come for. None loads all, and they stay.
        max_swap_wait_ms: how long rows whose model is not loaded may be passed over by rows of models that are; 1000 when
            not given.
        combine: `union` for members whose classes differ: a score for each class that any of them knows, 0 where one does
            not. Without it they must be the same, in whatever order.
        stack: whether models that differ in their weights alone may be played as one call, which is quicker where many of them
            have a few rows each.
        name: the node's name; `route` and a number when not given.

    Returns:
        The node; its columns are its attributes, and `member` says which one answered each row.
    """
    chosen, needs = as_members(members, "route()")
    said = {"max_loaded": max_loaded, "max_swap_wait_ms": max_swap_wait_ms}
    bounds = SwapBounds.read({key: value for key, value in said.items() if value is not None}, "route()")
    columns = inputs_of([*(column for column in (key, by) if column is not None), *using], "route()")

    def make(name: str, names: PartNames) -> Route:
        where = f"node {name!r}"
        conditions: Mapping[str, Any] = when or {}  # texts, until they are read
        said = Route(
            name, names.inputs(inputs), names.members(chosen, where, plain=key is None),
            None if key is None else names.ref(key), split or {}, None if by is None else names.ref(by), salt, conditions,
            otherwise, missing, output, bounds.max_loaded, bounds.max_swap_wait_ms, checked_combine(combine, f"{where}: combine"),
            stack, metric=None if metric is None else _metric(metric, f"{where}: metric"),
        )  # fmt: skip
        return _checked(said, where)

    return Handle("route", name, make, [*inputs_of(inputs, "route()"), *columns, *needs])
