"""cascade: rows through one member after another until one is confident."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from motet.batch import Array, Column, Indices, objects, take_rows
from motet.errors import (
    GraphError,
    InputError,
    ModelFailedError,
    ModelUnavailableError,
    TypeMismatchError,
    UnknownNameError,
)
from motet.graph.build import Handle, PartNames, Ref, Uses, as_members, inputs_of
from motet.graph.fields import Fields, of_kind, show
from motet.graph.forms import NUMBER, TEXT, by_name, either, one_of, record
from motet.graph.members import INPUTS, MEMBERS, read_members, write_members
from motet.graph.node import Answer, Fault, Inputs, Member, NodeOutputs, Scope, kind
from motet.graph.player import Player
from motet.nodes.class_thresholds import BY_CLASS, ByClass, check_classes, class_thresholds_of, thresholds
from motet.nodes.members import (
    STRING,
    UNION,
    MembersNode,
    agreed,
    all_reasons,
    checked_combine,
    counted,
    member_outputs,
    not_answered,
    read_combine,
    taken,
)
from motet.nodes.merge import faults_at, merge
from motet.nodes.temperature import TEMPERATURE, check_tempered, temperatures_of, tempered
from motet.types import ColumnType

__all__ = ["Cascade", "cascade"]

SLACK = 1e-3
"""How far outside 0 to 1 a probability may be, for rounding."""

_SURE = {**NUMBER, "minimum": 0, "maximum": 1}
_UNTIL = record({"confidence": either(_SURE, by_name(_SURE)), "by_class": BY_CLASS}, ["confidence"])
_ON_ERROR = ("next", "fail")


@kind
@dataclass(frozen=True)
class Cascade(MembersNode):
    """Rows through one member after another until one is confident. The last member answers in any case.

    Attributes:
        players: the members, cheapest first.
        confidence: for each member but the last, how confident it must be for its answer to count, 0 to 1.
        of: the output whose largest value is the confidence; None where members give one output.
        output: the one output that counts, under this name.
        combine: `union` where the classes of members differ; see `Route`.
        on_error: what becomes of a row that a member fails on: `next` sends it on to the next one, `fail` fails it.
        temperature: by member how much flatter its probabilities are taken; 1 for those that are not there.
        by_class: by member and class how sure it must be where it says that one, instead of what `confidence` says.
    """

    confidence: tuple[float, ...]
    of: str | None = None
    output: str | None = None
    combine: str | None = None
    on_error: str = "next"
    temperature: Mapping[str, float] = field(default_factory=dict)
    by_class: ByClass = field(default_factory=dict)

    kind = "cascade"
    keys = {
        "cascade": MEMBERS,
        "inputs": INPUTS,
        "until": {**_UNTIL, "description": "When a member's answer is taken."},
        "of": TEXT,
        "output": TEXT,
        "combine": UNION,
        "on_error": one_of(_ON_ERROR, _ON_ERROR[0]),
        "temperature": TEMPERATURE,
    }
    required = ("until",)

    def infer(self, types: Mapping[str, ColumnType], scope: Scope) -> NodeOutputs:
        """The members' common outputs, `node.member` and `node.confidence`."""
        found = member_outputs(self.players, self.inputs, self.output, types, scope, self.where)
        outputs, classes = agreed(found, self.combine, self.where)
        of = self._of(outputs)
        if outputs[of].dtype not in ("float16", "float32", "float64", "any"):
            raise TypeMismatchError(
                f"the confidence is taken of {of!r}, which is {outputs[of]}, not probabilities", where=self.where
            )
        if self.of is None and of == "value":  # as every handler calls what regressors give
            what = f"{of!r} ({outputs[of]}) is what a regressor gives, which is no confidence"
            raise TypeMismatchError(what, where=self.where, hint=f"write of: {of} if it is a probability")
        if self.temperature:
            check_tempered(outputs[of], self.where)
        if self.by_class:
            check_classes(self.by_class, outputs[of], self.where)
        extra = {f"{self.name}.member": STRING, f"{self.name}.confidence": ColumnType("float64")}
        named = {f"{self.name}.{name}": kind for name, kind in outputs.items()}
        return NodeOutputs(named, extra, places=classes.places, warnings=classes.warnings)

    def _of(self, outputs: Mapping[str, Any]) -> str:
        if self.of is not None:
            if self.of not in outputs:
                raise UnknownNameError("output", self.of, list(outputs), where=f"{self.where}: of")
            return self.of
        if len(outputs) > 1:
            raise GraphError(
                f"members give several outputs ({', '.join(outputs)}), so the cascade must say whose largest value is the confidence",
                where=self.where,
                hint="write of: OUTPUT",
            )
        return next(iter(outputs))

    async def play(self, columns: Mapping[str, Column], rows: int, player: Player) -> Answer:
        """Call each member on the rows that no member before it was sure of, or that those before it failed on."""
        active: Indices = np.arange(rows)
        parts: list[tuple[Indices, Answer]] = []
        faults: list[Fault] = []
        reasons: dict[int, list[tuple[Member, Fault]]] = {}
        for step, member in enumerate(self.players):
            goes_on = self.on_error == "next" and step < len(self.players) - 1
            inputs = taken(member, self.inputs, columns, active, rows)
            try:
                answer = await player.call(member.uses, inputs, len(active), active, member.name)
            except (ModelUnavailableError, ModelFailedError) as error:
                if not goes_on and (isinstance(error, ModelFailedError) or not parts):
                    raise
                answer = not_answered(member, error, len(active))
            failed, unsure = faults_at(answer, active), active[:0]
            if answer.columns:
                held = active if answer.kept is None else active[answer.kept]
                part, unsure, unknown, wrong = self._judged(step, answer, held, player)
                parts.append(part)
                failed += unknown
                faults += wrong
            for fault in failed:
                reasons.setdefault(fault.position, []).append((member, fault))
            places = [fault.position for fault in failed]
            if goes_on:
                if answer.faults:
                    player.incomplete()
                active = np.sort(np.concatenate([unsure, np.array(places, dtype=np.int64)])) if failed else unsure
            else:
                active = unsure
                faults += [all_reasons(reasons[place]) for place in places]
            if not len(active):
                break
        return merge(parts, rows, faults)

    def _judged(
        self, step: int, answer: Answer, held: Indices, player: Player
    ) -> tuple[tuple[Indices, Answer], Indices, list[Fault], list[Fault]]:
        """What a member's answer is worth.

        Args:
            step: the member's place.
            answer: of at least one of its outputs.
            held: the places of its rows.
            player: of the node.

        Returns:
            The rows that it is sure of, with their places; the places of those that it is not; faults of rows whose confidence
            is NaN, on which it failed; and faults of rows whose confidence is no probability, which is the graph's mistake.
        """
        member = self.players[step]
        found = counted(member, answer, self.output, self.where, player.places)
        of = self._of(found)
        if member.name in self.temperature:
            found[of] = tempered(found[of], self.temperature[member.name], member)
        scores = found[of]
        confidence = _confidence(scores, len(held))
        unknown = np.isnan(confidence)
        wrong = ~unknown & ~((confidence >= -SLACK) & (confidence <= 1 + SLACK))
        last = step == len(self.players) - 1
        sure = ~(unknown | wrong)
        if not last:
            sure &= confidence >= self._wanted(step, member, scores, player.types[f"{self.name}.{of}"].labels)
        done = np.flatnonzero(sure)
        part = held[done], self._answer(found, confidence, member, done)
        faulty = [
            [_not_probabilities(int(held[place]), float(confidence[place]), member) for place in np.flatnonzero(some)]
            for some in (unknown, wrong)
        ]
        return part, held[~(sure | unknown | wrong)], faulty[0], faulty[1]

    def _wanted(self, step: int, member: Member, scores: Column, labels: Sequence[str]) -> Any:
        """How sure a member must be: one number, or one a row."""
        classes = self.by_class.get(member.name)
        if not classes:
            return _held_as(self.confidence[step], scores)
        if getattr(scores, "ndim", 0) != 2:
            raise InputError(
                f"thresholds of classes are of a score for each; {member.name!r} gives others", where=self.where
            )
        return thresholds(np.asarray(scores), classes, self.confidence[step], labels)

    def _answer(self, found: Mapping[str, Column], confidence: Array, member: Member, done: Indices) -> Answer:
        whole = len(done) == len(confidence)
        columns = {
            f"{self.name}.{name}": column if whole else take_rows(column, done) for name, column in found.items()
        }
        columns[f"{self.name}.member"] = objects([member.name] * len(done))
        columns[f"{self.name}.confidence"] = confidence[done]
        return Answer(columns)

    @classmethod
    def read(cls, name: str, value: object, inputs: Inputs, fields: Fields) -> Cascade:
        """`{cascade: [a, b], until: {confidence: 0.9}, of: OUTPUT, inputs: [...], on_error: next}`."""
        members = read_members(value, fields.place("cascade"))
        until = Fields(fields.get("until"), fields.place("until"), _UNTIL)
        confidence = _thresholds(
            until.raw("confidence"), [member.name for member in members], until.place("confidence")
        )
        of, output = fields.get("of"), fields.get("output")
        on_error = _on_error(fields.get("on_error"), fields.place("on_error"))
        heat = temperatures_of(fields.raw("temperature", {}), members, fields.place("temperature"))
        by_class = class_thresholds_of(
            until.raw("by_class", {}), [m.name for m in members[:-1]], until.place("by_class")
        )
        return cls(name, inputs, members, confidence, of, output, read_combine(fields), on_error, heat, by_class)

    def write(self) -> dict[str, Any]:
        """The inverse of `read`."""
        same = len(set(self.confidence)) == 1
        confidence = (
            self.confidence[0] if same else dict(zip((m.name for m in self.players), self.confidence, strict=False))
        )
        until = {
            "confidence": confidence,
            **({"by_class": {name: dict(each) for name, each in self.by_class.items()}} if self.by_class else {}),
        }
        written: dict[str, Any] = {"cascade": write_members(self.players), "until": until}
        on_error = None if self.on_error == "next" else self.on_error
        heat = dict(self.temperature) or None
        more = {
            "of": self.of,
            "output": self.output,
            "combine": self.combine,
            "on_error": on_error,
            "temperature": heat,
        }
        return written | {key: value for key, value in more.items() if value is not None}


def _confidence(column: Column, rows: int) -> Array:
    """The largest value of each row, NaN where one is NaN; a row without values is not confident at all."""
    if not rows:
        return np.zeros(0)
    if not isinstance(column, np.ndarray):
        return np.array([row.max() if row.size else 0.0 for row in column], dtype=np.float64)
    if column.ndim == 1:
        return column.astype(np.float64)
    flat = column.reshape(rows, -1)
    return _largest(flat).astype(np.float64) if flat.shape[1] else np.zeros(rows)


def _held_as(threshold: float, scores: Column) -> float:
    """A threshold in the precision of scores: 0.9 of float32 is at least 0.9."""
    return float(scores.dtype.type(threshold)) if scores.dtype.kind == "f" else threshold


def _largest(flat: Array) -> Array:
    """The largest value of each row; column by column where there are few, which is ten times as fast."""
    if flat.shape[1] > 64:
        return np.asarray(flat.max(axis=1))
    largest = flat[:, 0].copy()
    for place in range(1, flat.shape[1]):
        np.maximum(largest, flat[:, place], out=largest)
    return largest


def _not_probabilities(position: int, value: float, member: Member) -> Fault:
    message = f"confidence {value:g} of member {member.name!r} is no probability; put motet.ops.scores.softmax behind the model (after:)"
    return Fault(position, "InputError", message, member.uses)


def _on_error(value: object, where: str) -> str:
    if value not in _ON_ERROR:
        raise GraphError(f"on_error must be 'next' or 'fail'; got {show(value)}", where=where)
    return str(value)


def _thresholds(value: object, members: Sequence[str], where: str) -> tuple[float, ...]:
    if len(members) < 2:
        raise GraphError(f"a cascade needs at least two members; got {', '.join(members)}", where=where)
    if not isinstance(value, Mapping):
        value = dict.fromkeys(members[:-1], of_kind(value, float, where))
    for name, threshold in value.items():
        if name not in members[:-1]:
            raise UnknownNameError(
                "member to be confident",
                str(name),
                members[:-1],
                where=where,
                hint="the last member answers in any case",
            )
        if not 0 <= of_kind(threshold, float, f"{where}.{name}") <= 1:
            raise GraphError(f"a confidence is from 0 to 1; got {threshold!r}", where=where)
    if missing := [name for name in members[:-1] if name not in value]:
        raise GraphError(f"no confidence is given for {', '.join(missing)}", where=where)
    return tuple(float(value[name]) for name in members[:-1])


def cascade(
    members: Sequence[Uses] | Mapping[str, Uses],
    *inputs: Ref,
    confidence: float | Mapping[str, float],
    of: str | None = None,
    output: str | None = None,
    combine: str | None = None,
    on_error: str = "next",
    temperature: Mapping[str, float] | None = None,
    by_class: ByClass | None = None,
    name: str | None = None,
) -> Handle:
    """Send rows through one member after another until one is confident.

    Args:
        members: models or graphs, cheapest first, in a list or by name; the last one answers in any case.
        inputs: the columns that members take, unless they say otherwise (`motet.member`).
        confidence: how confident a member must be, 0 to 1; one number, or one for each member but the last, by name.
        of: the output whose largest value is the confidence; needed where members give several. Must be probabilities.
        output: the one output that counts, under this name.
        combine: `union` for members whose classes differ: a score for each class that any of them knows, 0 where one does
            not. Without it they must be the same, in whatever order.
        on_error: `next` sends a row that a member fails on to the next one; a row that the last one fails on, too, fails with
            the reasons of all. `fail` fails it at once.
        temperature: by member how much flatter its probabilities are taken, above 0: above 1 a member that claims too much is less
            sure, below 1 more. Members that are not named are taken at their word.
        by_class: by member, for single classes, how confident it must be where it says that one:
            `{"small": {"Shirt": 0.97}}`. Of classes without names it is their place, `"6"`.
        name: the node's name; `cascade` and a number when not given.

    Returns:
        The node; its columns are its attributes, and `member` and `confidence` for each row.
    """
    chosen, needs = as_members(members, "cascade()")

    def make(name: str, names: PartNames) -> Cascade:
        steps = names.members(chosen, f"node {name!r}")
        where = f"node {name!r}: confidence"
        sure = _thresholds(confidence, [m.name for m in steps], where)
        union = checked_combine(combine, f"node {name!r}: combine")
        way = _on_error(on_error, f"node {name!r}: on_error")
        heat = temperatures_of(temperature or {}, steps, f"node {name!r}: temperature")
        classes = class_thresholds_of(by_class or {}, [m.name for m in steps[:-1]], f"node {name!r}: by_class")
        return Cascade(name, names.inputs(inputs), steps, sure, of, output, union, way, heat, classes)

    return Handle("cascade", name, make, [*inputs_of(inputs, "cascade()"), *needs])
