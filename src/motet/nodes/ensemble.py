"""ensemble: rows through all members, results combined."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from motet.batch import Column, objects, take_rows
from motet.errors import (
    DeadlineError,
    GraphError,
    ModelFailedError,
    ModelUnavailableError,
    MotetError,
    TypeMismatchError,
)
from motet.graph.build import Handle, PartNames, Ref, Uses, as_members, inputs_of
from motet.graph.fields import Fields, of_kind
from motet.graph.forms import TEXT, WHOLE, by_name, either, least, list_of, one_of, or_null
from motet.graph.function import FUNCTION, Function, read_functions, write_functions
from motet.graph.members import INPUTS, MEMBERS, read_members, write_members
from motet.graph.node import Answer, AtOnce, Inputs, Member, NodeOutputs, Scope, kind
from motet.graph.player import NodePlayer, Player, StraightPlayer
from motet.nodes.classes import aligned
from motet.nodes.combine import COMBINERS, Combiner, Custom, Stack, part_of
from motet.nodes.ensemble_checks import (
    AS_AVAILABLE,
    LONGEST_MS,
    WEIGHT,
    check_available,
    checked_require,
    checked_within_ms,
    combiner_named,
    read_as_available,
    weights_of,
)
from motet.nodes.members import STRING, MembersNode, counted, member_outputs, not_answered
from motet.nodes.merge import merge
from motet.nodes.partial import joined, may_be_missing, spread, too_few, without_rows
from motet.nodes.quick import Quick
from motet.nodes.temperature import TEMPERATURE, check_tempered, temperatures_of, tempered
from motet.types import ColumnType

__all__ = ["Ensemble", "ensemble"]


@kind
@dataclass(frozen=True)
class Ensemble(MembersNode):
    """Rows through all members, results combined.

    Attributes:
        players: the members.
        combine: the name of a combiner, or a function.
        weights: how much each member counts; one with 0 plays along without counting (a shadow).
        require: how many of the members that count must have answered a row; None for all.
        output: the one output that counts, under this name.
        as_available: whether members whose models a store does not have yet are left out.
        within_ms: how long members are waited for; None for as long as they take.
        temperature: by member how much flatter its probabilities are taken; 1 for those that are not there.
    """

    combine: str | Function = "weighted_average"
    weights: tuple[float, ...] = field(default=())
    require: int | None = None
    output: str | None = None
    as_available: bool = False
    within_ms: float | None = None
    temperature: Mapping[str, float] = field(default_factory=dict)

    kind = "ensemble"
    keys = {
        "ensemble": MEMBERS,
        "inputs": INPUTS,
        "combine": either(one_of(COMBINERS), {**TEXT, "pattern": r"\."}, FUNCTION, default="weighted_average"),
        "weights": or_null(either(list_of(WEIGHT), by_name(WEIGHT))),
        "require": least(WHOLE, 1),
        "output": TEXT,
        "members": one_of([AS_AVAILABLE]),
        "within_ms": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": LONGEST_MS},
        "temperature": TEMPERATURE,
    }

    def without(self, uses: Container[str]) -> Ensemble:
        """The ensemble of the other members, where it begins with those that are available; one has to count."""
        left = [place for place, member in enumerate(self.players) if member.uses not in uses]
        if not self.as_available or len(left) == len(self.players) or not any(self.weights[place] for place in left):
            return self
        others = self._of(left)
        require = None if self.require is None else min(self.require, sum(weight > 0 for weight in others.weights))
        return replace(others, require=require)

    def _of(self, places: Sequence[int]) -> Ensemble:
        """The ensemble of some members, with what is said of them alone."""
        players = tuple(self.players[place] for place in places)
        heat = {each.name: self.temperature[each.name] for each in players if each.name in self.temperature}
        return replace(self, players=players, weights=tuple(self.weights[place] for place in places), temperature=heat)

    @property
    def combiner(self) -> Combiner:
        """What makes one answer of several."""
        return Custom(self.combine) if isinstance(self.combine, Function) else COMBINERS[self.combine]

    def _counting(self) -> list[int]:
        return [place for place, weight in enumerate(self.weights) if weight > 0]

    def shadows(self, gives: Collection[str]) -> frozenset[str]:
        """The members that do not count, and whose own columns nobody needs."""
        return frozenset(member.name for member in self.players) - self.named(gives)

    def named(self, gives: Collection[str]) -> set[str]:
        """The members whose answers are a part of the node's: those that count, and those whose own columns somebody needs."""
        return {
            member.name
            for member, weight in zip(self.players, self.weights, strict=True)
            if weight or any(name.startswith(f"{self.name}.{member.name}.") for name in gives)
        }

    def beside(self, members: Collection[str]) -> Ensemble:
        """The ensemble of the members that are on the way of the answer."""
        return self._of([place for place, member in enumerate(self.players) if member.name not in members])

    def infer(self, types: Mapping[str, ColumnType], scope: Scope) -> NodeOutputs:
        """The combined outputs, `node.member`, and `node.MEMBER.output` for every member."""
        found = member_outputs(self.players, self.inputs, self.output, types, scope, self.where)
        if self.temperature:
            self._check_temperatures(found)
        counting = [self.players[place].name for place in self._counting()]
        classes = aligned({name: found[name] for name in counting}, self.combiner.classes, self.where)
        columns: dict[str, ColumnType] = {}
        for output in found[self.players[0].name]:
            kinds = [classes.kinds[name][output] for name in counting]
            if self.require is not None and len({kind.dtype for kind in kinds if kind.dtype != "any"}) > 1:
                what = f"with require, members give numbers of one width; got {', '.join(map(str, kinds))}"
                raise TypeMismatchError(what, where=self.where, hint="cast one of them with the model's after:")
            columns[f"{self.name}.{output}"] = self.combiner.infer(kinds, self.where)
        extra = {f"{self.name}.member": STRING}
        for member, outputs in found.items():
            extra |= {f"{self.name}.{member}.{output}": kind for output, kind in outputs.items()}
        return NodeOutputs(columns, extra, places=classes.places, warnings=classes.warnings)

    def _check_temperatures(self, found: Mapping[str, Mapping[str, ColumnType]]) -> None:
        """See that members that have one give probabilities alone."""
        for name, outputs in found.items():
            if name in self.temperature and len(outputs) > 1:
                what = f"a temperature is of one output; member {name!r} gives {', '.join(outputs)}"
                raise GraphError(what, where=f"{self.where}: temperature", hint="write output: NAME")
            if name in self.temperature:
                check_tempered(next(iter(outputs.values())), self.where)

    async def play(self, columns: Mapping[str, Column], rows: int, player: Player) -> Answer:
        """Call every member on every row, and combine what came back."""
        if self.within_ms is not None:
            made = {member: partial(self._call, member, columns, rows) for member in self.players}
            found = await player.in_time(made, rows, self.within_ms / 1e3)
            answers = [
                not_answered(member, answer, rows) if isinstance(answer, DeadlineError) else answer
                for member, answer in zip(self.players, found, strict=True)
            ]
            return self._answered(answers, rows, player)
        calls = [self._call(member, columns, rows, player) for member in self.players]
        return self._answered(await player.gather(calls, [member.uses for member in self.players]), rows, player)

    def straight(self, player: StraightPlayer) -> AtOnce | None:
        """Call every member on every row, and combine what came back; None where somebody may have to wait for them."""
        if self.within_ms is not None:
            return None
        models = [player.model(member.uses) for member in self.players]
        calls = [model for model in models if model is not None]
        if len(calls) < len(models):
            return None
        picked = [(call, (member.inputs or self.inputs).pick) for call, member in zip(calls, self.players, strict=True)]
        quick, uses = Quick(self, player.places, player.gives), [member.uses for member in self.players]

        def one(place: int, columns: Mapping[str, Column], rows: int) -> Answer:
            call, pick = picked[place]
            try:
                return call(pick(columns), rows)
            except (ModelUnavailableError, ModelFailedError) as error:
                return self._lost(self.players[place], error, rows)

        def play(columns: Mapping[str, Column], rows: int) -> Answer:
            answers = player.gather([partial(one, place, columns, rows) for place in range(len(picked))], uses)
            return (None if self.temperature else quick(answers)) or self._answered(answers, rows, player)

        return play

    def _answered(self, answers: Sequence[Answer], rows: int, player: NodePlayer) -> Answer:
        """Combine what the members gave.

        Raises:
            ModelFailedError: when too few are left beside those that fail on everything.
        """
        counting = self._counting()
        lost = [place for place in counting if rows and not answers[place].columns]
        lost = [place for place in lost if answers[place].faults[0].error == ModelFailedError.__name__]
        if lost and len(counting) - len(lost) < (self.require or len(counting)):
            fault, where = answers[lost[0]].faults[0], f"{self.where}, member {self.players[lost[0]].name!r}"
            hint = "mend it or what it is given, or require fewer members"
            raise ModelFailedError(fault.message, where=where, hint=hint) from fault.exception
        if not any(answer.columns for answer in answers):
            return self._nobody(answers, rows)
        if all(answer.kept is None for answer in answers):
            return self._combined(self._found(answers, player), rows, player)
        return self._partial(answers, rows, player)

    def _nobody(self, answers: Sequence[Answer], rows: int) -> Answer:
        """No member could be called, or was in time.

        Raises:
            ModelUnavailableError: when none could be called.
        """
        faults = too_few(self.players, answers, self._counting(), np.arange(rows), every=True)
        if not any(fault.error == "DeadlineError" for answer in answers for fault in answer.faults[:1]):
            raise ModelUnavailableError(answers[0].faults[0].message if rows else "no member can be called")
        return Answer({}, tuple(faults), np.arange(0))

    async def _call(self, member: Member, columns: Mapping[str, Column], rows: int, player: Player) -> Answer:
        """Call a member; one that cannot be called fails on every row, where the others may be enough."""
        inputs = (member.inputs or self.inputs).pick(columns)
        try:
            return await player.call(member.uses, inputs, rows, None, member.name)
        except (ModelUnavailableError, ModelFailedError) as error:
            return self._lost(member, error, rows)

    def _lost(self, member: Member, error: MotetError, rows: int) -> Answer:
        """The answer of a member that fails on every row; raises where all that count must answer."""
        if self.weights[self.players.index(member)] and self.require is None:
            raise error
        return not_answered(member, error, rows)

    def _found(self, answers: Sequence[Answer], player: NodePlayer) -> list[dict[str, Column]]:
        """For each member its outputs that count, under the node's names; without rows those of one that could not be called."""
        found = [
            self._tempered(member, counted(member, answer, self.output, self.where)) if answer.columns else {}
            for member, answer in zip(self.players, answers, strict=True)
        ]
        reached = next(filter(None, found))
        return [
            outputs or without_rows(reached, self._kinds(member, player))
            for member, outputs in zip(self.players, found, strict=True)
        ]

    def _tempered(self, member: Member, outputs: dict[str, Column]) -> dict[str, Column]:
        """A member's outputs as they are taken."""
        heat = self.temperature.get(member.name)
        return outputs if heat is None else {name: tempered(column, heat, member) for name, column in outputs.items()}

    def _kinds(self, member: Member, player: NodePlayer) -> dict[str, ColumnType]:
        """The types of a member's outputs that count, under the node's names."""
        own = f"{self.name}.{member.name}."
        return {name.removeprefix(own): kind for name, kind in player.types.items() if name.startswith(own)}

    def _never_missing(self, player: NodePlayer) -> dict[int, str]:
        """The places of the members whose answers somebody needs one by one, and an output of each that has no value for
        what is missing: a row that they did not answer has nothing true to give."""
        stacked = self._counting() if isinstance(self.combiner, Stack) else ()
        found: dict[int, str] = {}
        for place, member in enumerate(self.players):
            for output, type_ in self._kinds(member, player).items():
                own = f"{self.name}.{member.name}.{output}"
                asked = own in player.gives or (place in stacked and f"{self.name}.{output}" in player.gives)
                if asked and not may_be_missing(type_):
                    found.setdefault(place, f"{own} is {type_}")
        return found

    def _combined(
        self,
        found: Sequence[Mapping[str, Column]],
        rows: int,
        player: NodePlayer,
        present: Sequence[bool] = (),
    ) -> Answer:
        """Combine rows for which the same members answered; absent members' columns hold stand-ins."""
        counting = self._counting()
        took = [place for place in counting if not present or present[place]]
        used = counting if isinstance(self.combiner, Stack) else took
        places = [player.places.get(member.name, {}) for member in self.players]

        def combine(first: int, end: int) -> dict[str, Column]:
            chosen = slice(first, end)
            return {
                output: self.combiner.combine(
                    [
                        part_of(take_rows(found[place][output], chosen), self.weights[place], places[place].get(output))
                        for place in used
                    ]
                )
                for output in found[0]
            }

        segments, faults = player.isolate(combine, rows, str(self.combine))
        answer = joined(segments, faults, rows)
        columns: dict[str, Column] = {f"{self.name}.{output}": column for output, column in answer.columns.items()}
        kept = slice(None) if answer.kept is None else answer.kept
        named = self.named(player.gives)
        there = [member.name for place, member in enumerate(self.players) if not present or present[place]]
        who = ",".join(name for name in there if name in named)
        columns[f"{self.name}.member"] = objects([who] * (rows - len(answer.faults)))
        for member, outputs in zip(self.players, found, strict=True):
            columns |= {
                f"{self.name}.{member.name}.{output}": take_rows(column, kept) for output, column in outputs.items()
            }
        return Answer(columns, answer.faults, answer.kept)

    def _partial(self, answers: Sequence[Answer], rows: int, player: NodePlayer) -> Answer:
        """Some members failed on some rows: those with enough answers left are combined from what there is."""
        present = np.ones((rows, len(answers)), dtype=bool)
        for place, answer in enumerate(answers):
            present[[fault.position for fault in answer.faults], place] = False
        counting = self._counting()
        enough = present[:, counting].sum(axis=1) >= (len(counting) if self.require is None else self.require)
        faults = too_few(self.players, answers, counting, np.flatnonzero(~enough), every=self.within_ms is not None)
        if shown := self._never_missing(player):
            lacks = enough & ~present[:, list(shown)].all(axis=1)
            faults += too_few(self.players, answers, list(shown), np.flatnonzero(lacks), every=False, of=shown)
            enough &= ~lacks
        kept = np.flatnonzero(enough)
        if not present[kept].all():
            player.incomplete()
        there = zip(self.players, self._found(answers, player), answers, strict=True)
        found = [spread(outputs, answer, rows, self._kinds(member, player)) for member, outputs, answer in there]
        parts = []
        patterns, which = np.unique(present[kept], axis=0, return_inverse=True)
        for pattern in range(len(patterns)):
            positions = kept[which.reshape(-1) == pattern]
            some = [{output: take_rows(column, positions) for output, column in outputs.items()} for outputs in found]
            parts.append((positions, self._combined(some, len(positions), player, patterns[pattern].tolist())))
        return merge(parts, rows, faults)

    @classmethod
    def read(cls, name: str, value: object, inputs: Inputs, fields: Fields) -> Ensemble:
        """`{ensemble: [a, b], inputs: [...], combine: NAME, weights: [...], require: 2, within_ms: 40, output: NAME,
        members: as available}`."""
        members = read_members(value, fields.place("ensemble"))
        raw = fields.get("combine")
        combine: str | Function
        if isinstance(raw, Mapping) or (isinstance(raw, str) and "." in raw):
            combine = read_functions(raw, fields.place("combine"))[0]
        else:
            combine = combiner_named(of_kind(raw, str, fields.place("combine")), fields.place("combine"))
        weights = weights_of(fields.raw("weights"), members, combine, fields.place("weights"))
        require = checked_require(fields.get("require"), weights, fields.place("require"))
        output = fields.get("output")
        as_available = read_as_available(fields)
        check_available(as_available, combine, fields.place("members"))
        within_ms = checked_within_ms(fields.raw("within_ms"), fields.place("within_ms"))
        heat = temperatures_of(fields.raw("temperature", {}), members, fields.place("temperature"))
        return cls(name, inputs, members, combine, weights, require, output, as_available, within_ms, heat)

    def write(self) -> dict[str, Any]:
        """The inverse of `read`."""
        written: dict[str, Any] = {"ensemble": write_members(self.players)}
        written["combine"] = (
            write_functions([self.combine], self.where) if isinstance(self.combine, Function) else self.combine
        )
        if any(weight != 1 for weight in self.weights):
            written["weights"] = list(self.weights)
        more = {
            "require": self.require,
            "within_ms": self.within_ms,
            "output": self.output,
            "temperature": dict(self.temperature) or None,
        }
        more["members"] = AS_AVAILABLE if self.as_available else None
        return written | {key: value for key, value in more.items() if value is not None}


def ensemble(
    members: Sequence[Uses] | Mapping[str, Uses],
    *inputs: Ref,
    combine: str | Callable[..., Any] = "weighted_average",
    weights: Sequence[float] | Mapping[str, float] | None = None,
    require: int | None = None,
    within_ms: float | None = None,
    output: str | None = None,
    as_available: bool = False,
    temperature: Mapping[str, float] | None = None,
    name: str | None = None,
) -> Handle:
    """Send rows through all members and combine their answers.

    Args:
        members: models or graphs, in a list or by name; `motet.member` gives one inputs of its own.
        inputs: the columns that members take, unless they say otherwise.
        combine: `weighted_average`, `majority_vote`, `max`, `median`, `union`, `stack`, or a function of the members'
            columns in order that returns one column.
        weights: how much each member counts, in order or by name; 1 each when not given; a member with 0 does not count.
        require: how many members must have answered a row; all of them when not given. Which did is in `node.member`.
        within_ms: how many milliseconds members are waited for; one that is late has not answered. In a bulk run so many for
            each row of a batch. As long as they take when not given.
        output: the one output that counts, under this name.
        as_available: begin without members whose models a store does not have yet; a server takes them in when they are
            published. Which members answered is in `node.member`.
        temperature: by member how much flatter its probabilities are taken, above 0: above 1 a member that claims too much is less
            sure, below 1 more. Members that are not named are taken at their word.
        name: the node's name; `ensemble` and a number when not given.

    Returns:
        The node; its columns are its attributes: the combined outputs, `member`, and each member's own: `vote.cnn.scores`.
    """
    chosen, needs = as_members(members, "ensemble()")

    def make(name: str, names: PartNames) -> Ensemble:
        where = f"node {name!r}"
        players = names.members(chosen, where)
        how: str | Function = (
            combiner_named(combine, f"{where}: combine")
            if isinstance(combine, str) and "." not in combine
            else Function.of(combine)
        )
        given = weights_of(weights, players, how, f"{where}: weights")
        check_available(as_available, how, f"{where}: as_available")
        return Ensemble(
            name, names.inputs(inputs), players, how, given, checked_require(require, given, f"{where}: require"), output,
            as_available, checked_within_ms(within_ms, f"{where}: within_ms"),
            temperatures_of(temperature or {}, players, f"{where}: temperature"),
        )  # fmt: skip

    return Handle("ensemble", name, make, [*inputs_of(inputs, "ensemble()"), *needs])
