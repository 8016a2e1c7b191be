"""route: rows through one member, by key, by condition or by weighted split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import numpy as np

from motet.batch import Array, Column, Indices, objects, take_rows
from motet.errors import GraphError, TypeMismatchError
from motet.graph.build import Handle, Names, Ref, Uses, as_members, inputs_of
from motet.graph.condition import Condition
from motet.graph.fields import Fields, of_kind, show
from motet.graph.node import (
    Answer,
    Fault,
    Inputs,
    Member,
    Node,
    NodeOutputs,
    Player,
    Scope,
    check_member,
    kind,
    read_members,
    write_members,
)  # fmt: skip
from motet.nodes.members import STRING, agreed, member_outputs, picks
from motet.nodes.merge import merge
from motet.nodes.split import choose_arms, is_missing
from motet.types import ColumnType

__all__ = ["Route", "route"]


@kind
@dataclass(frozen=True)
class Route(Node):
    """Rows through one member each; the others do not run for them.

    Attributes:
        arms: the members. By key an arm's name is the keys it takes, separated by `|`; `*` takes every other one.
        key: the column whose value chooses the arm.
        split: how much each arm counts in a weighted split.
        by: the column that the split goes by.
        salt: names the split, so that splits of the same column in other places are independent.
        when: for each arm but `otherwise`, the condition for it; the first that holds wins.
        otherwise: the arm for rows that no condition holds for.
        missing: the arm for rows without a key; without it they fail.
        output: the one output that counts, under this name.
    """

    arms: tuple[Member, ...]
    key: str | None = None
    split: Mapping[str, float] = field(default_factory=dict)
    by: str | None = None
    salt: str = ""
    when: Mapping[str, Condition] = field(default_factory=dict)
    otherwise: str | None = None
    missing: str | None = None
    output: str | None = None

    kind = "route"
    keys = ("key", "split", "by", "salt", "when", "otherwise", "missing", "output")

    @property
    def members(self) -> tuple[Member, ...]:
        """The arms."""
        return self.arms

    def more_references(self) -> Iterable[str]:
        """The columns that choose."""
        chosen = [column for column in (self.key, self.by) if column is not None]
        return [*chosen, *(column for condition in self.when.values() for column in condition.columns)]

    def infer(self, types: Mapping[str, ColumnType], scope: Scope) -> NodeOutputs:
        """The arms' common outputs, and `node.member`."""
        for column in (self.key, self.by):
            if column is not None and types[column].shape:
                raise TypeMismatchError(f"a key is one value a row; {column!r} is {types[column]}", where=self.where)
        for arm, condition in self.when.items():
            condition.check(types, f"{self.where}: when.{arm}")
        outputs = agreed(member_outputs(self.arms, self.inputs, self.output, types, scope, self.where), self.where)
        return NodeOutputs(
            {f"{self.name}.{name}": kind for name, kind in outputs.items()}, {f"{self.name}.member": STRING}
        )

    async def play(self, columns: Mapping[str, Column], rows: int, player: Player) -> Answer:
        """Call each arm on its own rows."""
        chosen, faults = self._choose(columns, rows, player)
        places = [place for place in range(len(self.arms)) if (chosen == place).any()] or ([0] if not rows else [])
        shares = [np.flatnonzero(chosen == place) for place in places]
        calls = [self._call(place, columns, share, rows, player) for place, share in zip(places, shares, strict=True)]
        answers = await player.gather(calls)
        parts = [
            (share, self._answer(self.arms[place], answer))
            for place, share, answer in zip(places, shares, answers, strict=True)
        ]
        return merge(parts, rows, faults)

    async def _call(
        self, place: int, columns: Mapping[str, Column], share: Indices, rows: int, player: Player
    ) -> Answer:
        """Call an arm; its rows are taken only when its turn comes, so that one arm's copies are held at a time."""
        arm = self.arms[place]
        return await player.call(arm.uses, self._inputs(place, columns, share, rows), len(share), share, arm.name)

    def _inputs(self, place: int, columns: Mapping[str, Column], share: Indices, rows: int) -> Any:
        inputs = (self.arms[place].inputs or self.inputs).pick(columns)
        if len(share) == rows:
            return inputs
        if isinstance(inputs, dict):
            return {name: take_rows(column, share) for name, column in inputs.items()}
        return [take_rows(column, share) for column in inputs]

    def _answer(self, arm: Member, answer: Answer) -> Answer:
        chosen = picks(arm, list(answer.columns), self.output, self.where)
        columns: dict[str, Column] = {f"{self.name}.{name}": answer.columns[inner] for name, inner in chosen.items()}
        rows = len(next(iter(answer.columns.values())))
        columns[f"{self.name}.member"] = objects([arm.name] * rows)
        return Answer(columns, answer.faults, answer.kept)

    def _choose(self, columns: Mapping[str, Column], rows: int, player: Player) -> tuple[Indices, list[Fault]]:
        """The place of each row's arm, -1 where it has none, and why."""
        if self.when:
            return self._by_condition(columns, rows, player)
        keys = columns[self.key or self.by or ""]
        assert isinstance(keys, np.ndarray)
        names = [arm.name for arm in self.arms]
        if self.split:
            chosen = choose_arms(keys, {name: self.split.get(name, 0.0) for name in names}, self.salt)
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
                    f"no member takes the key {show(keys[row])}; they take {', '.join(names[:20])}",
                )
            )
        return chosen, faults

    def _no_key(self, column: str | None) -> str:
        return f"the key {column!r} is missing; write missing: ARM in {self.where} to say which member takes such rows"

    def _by_key(self, keys: Array) -> Indices:
        table: dict[str, int] = {}
        for place, arm in enumerate(self.arms):
            table |= dict.fromkeys(_patterns(arm.name), place)
        other = table.pop("*", -2)
        listed = keys.tolist()
        if set(map(type, listed)) <= {str, NoneType}:
            texts = listed
        else:
            texts = [None if is_missing(key) else _key_text(key) for key in listed]
        places = {text: table.get(text, other) if text else -1 for text in set(texts)}
        return np.fromiter(map(places.__getitem__, texts), np.int64, len(texts))

    def _by_condition(self, columns: Mapping[str, Column], rows: int, player: Player) -> tuple[Indices, list[Fault]]:
        names = [arm.name for arm in self.arms]

        def choose(first: int, end: int) -> Indices:
            part = {name: take_rows(columns[name], slice(first, end)) for name in needed}
            chosen = np.full(end - first, names.index(self.otherwise or names[-1]), dtype=np.int64)
            left = np.ones(end - first, dtype=bool)
            for arm, condition in self.when.items():
                holds = condition.evaluate(part, end - first) & left
                chosen[holds] = names.index(arm)
                left &= ~holds
            return chosen

        needed = list(dict.fromkeys(name for condition in self.when.values() for name in condition.columns))
        segments, faults = player.isolate(choose, rows, "when")
        chosen = np.full(rows, -1, dtype=np.int64)
        for first, end, found in segments:
            chosen[first:end] = found
        return chosen, faults

    @classmethod
    def read(cls, name: str, value: object, inputs: Inputs, fields: Fields) -> Route:
        """`{route: {ARM: MODEL, ...}, inputs: [...]}` with `key`, with `split` and `by`, or with `when` and `otherwise`."""
        return _checked(
            cls,
            name,
            inputs,
            read_members(value, fields.place("route"), names="key" not in fields),
            key=fields.take("key", str, None),
            split=fields.take("split", dict, {}),
            by=fields.take("by", str, None),
            salt=fields.take("salt", str, None),
            when=fields.take("when", dict, {}),
            otherwise=fields.take("otherwise", str, None),
            missing=fields.take("missing", str, None),
            output=fields.take("output", str, None),
            where=fields.where,
        )

    def write(self) -> dict[str, Any]:
        """The inverse of `read`."""
        written: dict[str, Any] = {"route": write_members(self.arms)}
        if self.split:
            written |= {"split": dict(self.split), "by": self.by}
            written |= {"salt": self.salt} if self.salt else {}
        if self.when:
            written["when"] = {arm: condition.text for arm, condition in self.when.items()}
        for key in ("key", "otherwise", "missing", "output"):
            if getattr(self, key) is not None:
                written[key] = getattr(self, key)
        return written


def _patterns(name: str) -> list[str]:
    return [part.strip() for part in name.split("|")]


def _key_text(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, bytes):
        return key.decode(errors="replace")
    return str(int(key)) if isinstance(key, float) and key.is_integer() else str(key)


def _checked(
    cls: type[Route],
    name: str,
    inputs: Inputs,
    arms: tuple[Member, ...],
    *,
    key: str | None,
    split: Mapping[str, Any],
    by: str | None,
    salt: str | None,
    when: Mapping[str, Any],
    otherwise: str | None,
    missing: str | None,
    output: str | None,
    where: str,
) -> Route:
    ways = [way for way, given in (("key", key), ("split", split), ("when", when)) if given]
    if len(ways) != 1:
        raise GraphError(
            f"a route goes by exactly one of key, split and when; got {' and '.join(ways) or 'none of them'}",
            where=where,
            hint="write key: COLUMN, or split: {ARM: WEIGHT} with by: COLUMN, or when: {ARM: CONDITION} with otherwise: ARM",
        )
    allowed = {"key": ("missing",), "split": ("by", "salt", "missing"), "when": ("otherwise",)}[ways[0]]
    given = {"by": by, "salt": salt, "otherwise": otherwise, "missing": missing}
    for option, setting in given.items():
        if setting is not None and option not in allowed:
            raise GraphError(f"{option!r} has no meaning in a route by {ways[0]}", where=where)
    if missing is not None:
        check_member(missing, arms, "member", f"{where}.missing")
    if ways == ["key"]:
        _check_patterns(arms, where)
    if ways == ["split"] and by is None:
        raise GraphError(
            "a split needs the column it goes by", where=where, hint="write by: COLUMN, for example the user"
        )
    conditions = _conditions(when, otherwise, arms, where) if when else {}
    return cls(
        name,
        inputs,
        arms,
        key,
        _split(split, arms, where) if split else {},
        by,
        salt or "",
        conditions,
        otherwise,
        missing,
        output,
    )


def _check_patterns(arms: Sequence[Member], where: str) -> None:
    seen: dict[str, str] = {}
    for arm in arms:
        for pattern in _patterns(arm.name):
            if not pattern:
                raise GraphError(
                    f"the keys {arm.name!r} name an empty one", where=where, hint="use missing: for rows without a key"
                )
            if pattern in seen:
                raise GraphError(
                    f"the key {pattern!r} is taken by both {seen[pattern]!r} and {arm.name!r}", where=where
                )
            seen[pattern] = arm.name


def _split(value: Mapping[str, Any], arms: Sequence[Member], where: str) -> dict[str, float]:
    split = {
        check_member(arm, arms, "member", f"{where}.split"): float(of_kind(weight, float, f"{where}.split.{arm}"))
        for arm, weight in value.items()
    }
    if absent := [arm.name for arm in arms if arm.name not in split]:
        raise GraphError(
            f"no weight is given for {', '.join(absent)}",
            where=f"{where}.split",
            hint="write 0 for an arm that takes no rows",
        )
    if not all(np.isfinite(weight) and weight >= 0 for weight in split.values()) or not any(split.values()):
        raise GraphError(f"weights must be at least 0, and one more than 0; got {split}", where=f"{where}.split")
    return split


def _conditions(
    value: Mapping[str, Any], otherwise: str | None, arms: Sequence[Member], where: str
) -> dict[str, Condition]:
    if otherwise is None:
        raise GraphError(
            "a route by conditions must say who takes the other rows", where=where, hint="write otherwise: ARM"
        )
    check_member(otherwise, arms, "member", f"{where}.otherwise")
    conditions: dict[str, Condition] = {}
    for arm, text in value.items():
        check_member(arm, arms, "member", f"{where}.when")
        conditions[arm] = (
            text
            if isinstance(text, Condition)
            else Condition.parse(of_kind(text, str, f"{where}.when.{arm}"), f"{where}.when.{arm}")
        )
    if unreached := [arm.name for arm in arms if arm.name not in conditions and arm.name != otherwise]:
        raise GraphError(f"no condition leads to {', '.join(unreached)}", where=f"{where}.when")
    return conditions


def route(
    members: Mapping[str, Uses],
    *inputs: Ref,
    key: Ref | None = None,
    split: Mapping[str, float] | None = None,
    by: Ref | None = None,
    salt: str | None = None,
    when: Mapping[str, str] | None = None,
    otherwise: str | None = None,
    using: Sequence[Ref] = (),
    missing: str | None = None,
    output: str | None = None,
    name: str | None = None,
) -> Handle:
    """Send each row through one member.

    Args:
        members: models or graphs by name. By key the name is the keys it takes, separated by `|`; `*` takes every other.
        inputs: the columns that members take, unless they say otherwise (`motet.member`).
        key: the column whose value chooses the member.
        split: how much each member counts in a weighted split; the same value of `by` always meets the same one.
        by: the column that the split goes by, for example the user.
        salt: names the split: two splits with the same salt and weights choose alike.
        when: for each member but `otherwise`, the condition for it (`"amount > 1000"`); the first that holds wins. The
            names in it are those of the graph's columns.
        otherwise: the member for rows that no condition holds for.
        using: the columns that the conditions name; needed for those that nothing else in the graph takes.
        missing: the member for rows without a key; without it they fail.
        output: the one output that counts, under this name.
        name: the node's name; `route` and a number when not given.

    Returns:
        The node; its columns are its attributes, and `member` says which one answered each row.
    """
    chosen, needs = as_members(members, "route()")
    columns = inputs_of([*(column for column in (key, by) if column is not None), *using], "route()")

    def make(name: str, names: Names) -> Route:
        where = f"node {name!r}"
        return _checked(
            Route, name, names.inputs(inputs), names.members(chosen, where, plain=key is None),
            key=None if key is None else names.ref(key), split=split or {}, by=None if by is None else names.ref(by), salt=salt,
            when=when or {}, otherwise=otherwise, missing=missing, output=output, where=where,
        )  # fmt: skip

    return Handle("route", name, make, [*inputs_of(inputs, "route()"), *columns, *needs])
