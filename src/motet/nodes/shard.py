"""shard: rows apart into pieces, each through a model, and together again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from motet.batch import Column, Indices, column_type, concat_columns, take_columns, take_rows
from motet.errors import AnswerError, GraphError, TypeMismatchError
from motet.graph.build import Handle, PartNames, Ref, Uses, inputs_of
from motet.graph.fields import Fields, of_kind, show
from motet.graph.forms import TEXT, WHOLE, either, least, list_of, one_of
from motet.graph.function import ONE_FUNCTION, Function, read_functions, write_functions
from motet.graph.members import BY_POSITION
from motet.graph.node import Answer, Fault, Inputs, Member, Node, NodeOutputs, Scope, kind
from motet.graph.player import Player
from motet.nodes.contract import as_given, conform, whole
from motet.nodes.gate import gate_of
from motet.nodes.merge import kept_rows
from motet.nodes.owned import own_result
from motet.nodes.partial import may_be_missing
from motet.nodes.partial import spread as missing_filled
from motet.nodes.spread import SPREADS, Spread
from motet.types import ANY, ColumnType

__all__ = ["Shard", "shard"]

_FUNCTION = either(ONE_FUNCTION, {**list_of(ONE_FUNCTION), "minItems": 1, "maxItems": 1})


@kind
@dataclass(frozen=True)
class Shard(Node):
    """Rows apart into pieces (any number, also none), each through a model or graph, and together again.

    Attributes:
        uses: the model or graph that answers a piece.
        apart: `apart(*columns) -> (pieces, counts)`: pieces are one column, or columns by name, of all rows' pieces one
            after another; counts says how many each row has, shape `[rows]`.
        together: `together(*piece_outputs, counts, *together_inputs)` -> one column of rows, or columns by name.
        together_inputs: columns of the row that `together` is given behind the counts.
        require: how many pieces of a row must be answered, or all where it has fewer; those that are not are missing to `together`,
            NaN or None. None for all.
        spread: how pieces are given to the model's replicas, by what a piece is: `hash` or `rendezvous`; None lets the
            balancer choose.
    """

    uses: str
    apart: Function
    together: Function
    spread: str | None = None
    together_inputs: tuple[str, ...] = ()
    require: int | None = None

    kind = "shard"
    keys = {
        "shard": TEXT,
        "inputs": BY_POSITION,
        "apart": _FUNCTION,
        "together": _FUNCTION,
        "together_inputs": list_of(TEXT),
        "require": least(WHOLE, 0),
        "spread": one_of(SPREADS),
    }
    required = ("apart", "together")

    @property
    def members(self) -> tuple[Member, ...]:
        """The one member."""
        return (Member(self.uses, self.uses),)

    def references(self) -> tuple[str, ...]:
        """The columns that are taken apart, and those that what puts them together is given."""
        return tuple(dict.fromkeys([*self.inputs.columns, *self.together_inputs]))

    def infer(self, types: Mapping[str, ColumnType], scope: Scope) -> NodeOutputs:
        """What `together` declares."""
        if self.spread and scope.is_graph(self.uses):
            hint = "say balance: hash at the models inside, or name a model"
            what = f"spread says which replica of a model answers a piece; {self.uses!r} is a graph"
            raise GraphError(what, where=self.where, hint=hint)
        pieces = self.apart.infer(self.inputs.values(types), f"{self.where}: apart")
        inner: Inputs | None = None
        kinds = {"piece": pieces} if isinstance(pieces, ColumnType) else dict(pieces)
        if not isinstance(pieces, ColumnType):
            inner = Inputs(tuple(pieces), tuple(pieces))
        elif pieces != ANY:
            inner = Inputs(("piece",))
        answers = scope.call(self.uses, inner, kinds, f"{self.where}: pieces")
        self._check_missing(answers)
        rows = [types[reference] for reference in self.together_inputs]
        outputs = self.together.infer([*answers.values(), ColumnType("int64"), *rows], f"{self.where}: together")
        if isinstance(outputs, ColumnType):
            return NodeOutputs({self.name: outputs}, open=outputs == ANY)
        return NodeOutputs({f"{self.name}.{name}": kind for name, kind in outputs.items()})

    def _check_missing(self, answers: Mapping[str, ColumnType]) -> None:
        """Refuse answers that cannot be missing where some may be."""
        for name, given in answers.items() if self.require is not None else ():
            if not may_be_missing(given):
                what = f"with require, what a piece gives may be missing, which {name!r} of {self.uses!r} cannot be: it is {given}"
                raise TypeMismatchError(
                    what, where=self.where, hint="have the model give floats, texts or bytes of one shape"
                )

    async def play(self, columns: Mapping[str, Column], rows: int, player: Player) -> Answer:
        """Take the rows apart, answer the pieces, put the answers together."""
        pieces, counts, faults = self._apart(self.inputs.values(columns), rows, player)
        alive = kept_rows(faults, rows)
        if not len(alive):
            return Answer({}, tuple(faults), alive)
        of_row = np.repeat(alive, counts)
        inputs: Any = pieces if "" not in pieces else [pieces[""]]
        spread = None if self.spread is None else Spread(self.spread, list(pieces.values()), len(of_row))
        answer = await player.call(self.uses, inputs, len(of_row), of_row, "", spread)
        if not answer.columns and len(of_row):  # none was answered; rows that have no pieces may still be
            nothing = take_columns(inputs, slice(0, 0))
            answer.columns = (await player.call(self.uses, nothing, 0, of_row[:0], "", None)).columns
        if self.require is None:
            columns_, counts, more = _without_failed(answer, counts, alive)
        else:
            columns_, counts, more = _with_missing(answer, counts, alive, self.require)
        faults += more
        alive = kept_rows(faults, rows)
        beside = [take_rows(columns[reference], alive) for reference in self.together_inputs]
        found, more = self._together(columns_, counts, beside, player)
        faults += [fault.at(int(alive[fault.position])) for fault in more]
        faults.sort(key=lambda fault: fault.position)
        named = {f"{self.name}.{name}" if name else self.name: column for name, column in found.items()}
        return Answer(named, tuple(faults), kept_rows(faults, rows) if faults else None)

    def _apart(
        self, columns: Sequence[Column], rows: int, player: Player
    ) -> tuple[dict[str, Column], Indices, list[Fault]]:
        function, where = self.apart.resolve(), f"{self.apart}: pieces"
        gate = gate_of(function)

        def run(first: int, end: int) -> tuple[dict[str, Column], Indices]:
            def split(*columns: Any, **options: Any) -> tuple[Any, Indices]:
                held = [function(*columns, **options)]
                counts = _counts(held[0], end - first, self.apart)
                held[0] = held[0][0]
                if own_result(held, columns, int(counts.sum())):  # as many pieces as that, and not as many as rows
                    gate.keep_apart()
                return held[0], counts

            taken = [as_given(take_rows(column, slice(first, end))) for column in columns]
            pieces, counts = gate(split, taken, self.apart.keywords, rows=end - first)
            return whole(conform(pieces, int(counts.sum()), self.apart.declared, where)), counts

        segments, faults = player.isolate(run, rows, str(self.apart))
        if not segments:
            return {}, np.zeros(0, dtype=np.int64), list(faults)
        counts = np.concatenate([found[1] for _, _, found in segments])
        names = segments[0][2][0]
        filled = [found[0] for _, _, found in segments if found[1].sum()] or [segments[0][2][0]]
        return {name: concat_columns([found[name] for found in filled]) for name in names}, counts, list(faults)

    def _together(
        self, columns: Sequence[Column], counts: Indices, beside: Sequence[Column], player: Player
    ) -> tuple[dict[str, Column], list[Fault]]:
        function = self.together.resolve()
        ends = np.concatenate([[0], np.cumsum(counts)])

        def run(first: int, end: int) -> dict[str, Column]:
            chosen = slice(int(ends[first]), int(ends[end]))
            rows = [as_given(take_rows(column, slice(first, end))) for column in beside]
            taken = [*(as_given(take_rows(column, chosen)) for column in columns), counts[first:end], *rows]
            result = gate_of(function)(function, taken, self.together.keywords, rows=end - first)
            return whole(conform(result, end - first, self.together.declared, str(self.together)))

        segments, faults = player.isolate(run, len(counts), str(self.together))
        names = segments[0][2] if segments else ()
        return {name: concat_columns([found[name] for _, _, found in segments]) for name in names}, faults

    @classmethod
    def read(cls, name: str, value: object, inputs: Inputs, fields: Fields) -> Shard:
        """`{shard: NAME, apart: PATH, together: PATH, inputs: [...]}`."""
        if inputs.names:
            raise GraphError("a shard takes its inputs by position", where=fields.where, hint="write inputs: [a, b]")
        functions = {}
        for key in ("apart", "together"):
            found = read_functions(fields.raw(key), fields.place(key))
            if len(found) != 1:
                raise GraphError(f"a shard needs one function {key!r}; got {len(found)}", where=fields.where)
            functions[key] = found[0]
        spread = _spread(fields.get("spread"), fields.place("spread"))
        return cls(
            name, inputs, of_kind(value, str, fields.place("shard")), functions["apart"], functions["together"], spread,
            tuple(of_kind(each, str, fields.place("together_inputs")) for each in fields.get("together_inputs") or ()),
            _require(fields.get("require"), fields.place("require")),
        )  # fmt: skip

    def write(self) -> dict[str, Any]:
        """The inverse of `read`."""
        written: dict[str, Any] = {"shard": self.uses}
        for key in ("apart", "together"):
            written[key] = write_functions([getattr(self, key)], self.where)
        more = {"together_inputs": list(self.together_inputs) or None, "require": self.require, "spread": self.spread}
        return written | {key: value for key, value in more.items() if value is not None}


def _spread(value: str | None, where: str) -> str | None:
    if value is not None and value not in SPREADS:
        raise GraphError(f"unknown spread {value!r}; known: {', '.join(SPREADS)}", where=where)
    return value


def _require(value: int | None, where: str) -> int | None:
    if value is not None and (type(value) is not int or value < 0):
        raise GraphError(f"require must be a whole number of at least 0, that of pieces; got {value!r}", where=where)
    return value


def _counts(result: Any, rows: int, apart: Function) -> Indices:
    """How many pieces each row has, of what `apart` returned, checked."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise AnswerError(f"{apart} must return (pieces, counts); got {type(result).__name__}")
    counts = np.asarray(result[1])
    if counts.shape != (rows,):
        raise AnswerError(f"{apart} must return one count for each of the {rows} rows; got shape {list(counts.shape)}")
    if rows and (counts.dtype.kind not in "iu" or (counts < 0).any()):
        raise AnswerError(
            f"{apart} must return counts that are whole numbers of at least 0; got {show(counts.tolist())}"
        )
    return counts.astype(np.int64)


def _without_failed(answer: Answer, counts: Indices, alive: Indices) -> tuple[list[Column], Indices, list[Fault]]:
    """The pieces' answers of the rows none of whose pieces failed."""
    if answer.kept is None:
        return list(answer.columns.values()), counts, []
    row_of = np.repeat(np.arange(len(counts)), counts)
    first = np.concatenate([[0], np.cumsum(counts)])
    faults: dict[int, Fault] = {}
    for fault in answer.faults:
        row = int(row_of[fault.position])
        message = f"piece {fault.position - first[row]} of {counts[row]}: {fault.message}"
        faults.setdefault(row, replace(fault, position=int(alive[row]), message=message))
    good = ~np.isin(row_of[answer.kept], list(faults))
    kept = np.flatnonzero(good)
    left = np.setdiff1d(np.arange(len(counts)), list(faults))
    return [take_rows(column, kept) for column in answer.columns.values()], counts[left], list(faults.values())


def _with_missing(
    answer: Answer, counts: Indices, alive: Indices, require: int
) -> tuple[list[Column], Indices, list[Fault]]:
    """The pieces' answers of the rows that have enough of them, with NaN or None for those that failed."""
    if answer.kept is None:
        return list(answer.columns.values()), counts, []
    row_of = np.repeat(np.arange(len(counts)), counts)
    answered = np.bincount(row_of[answer.kept], minlength=len(counts))
    enough = answered >= np.minimum(require, counts)
    faults: dict[int, Fault] = {}
    for fault in answer.faults:
        row = int(row_of[fault.position])
        if not enough[row]:
            message = f"{answered[row]} of {counts[row]} pieces were answered, {require} are required: {fault.message}"
            faults.setdefault(row, replace(fault, position=int(alive[row]), message=message))
    kinds = {name: _missing_as(column) for name, column in answer.columns.items()}
    whole_ = missing_filled(answer.columns, answer, len(row_of), kinds)
    left = np.flatnonzero(enough[row_of])
    return [take_rows(column, left) for column in whole_.values()], counts[enough], list(faults.values())


def _missing_as(column: Column) -> ColumnType:
    """The type of a column that is to have missing values: objects, where nothing else is declared and it has none."""
    kind = column_type(column)
    return kind if may_be_missing(kind) else ANY


def shard(
    uses: Uses,
    *inputs: Ref,
    apart: Callable[..., Any] | str,
    together: Callable[..., Any] | str,
    together_inputs: Sequence[Ref] = (),
    require: int | None = None,
    spread: str | None = None,
    name: str | None = None,
) -> Handle:
    """Take rows apart into pieces, send each through a model or graph, and put the answers together.

    Args:
        uses: the model or graph that answers a piece.
        inputs: the columns that are taken apart.
        apart: `apart(*columns) -> (pieces, counts)`, on whole columns: pieces are one column, or columns by the names of
            the member's inputs, of all rows' pieces one after another; counts says how many each row has.
        together: `together(*piece_outputs, counts, *together_inputs)` -> one column of rows, or columns by name.
        together_inputs: columns of the row that `together` is given behind the counts.
        require: how many pieces of a row must be answered, or all where it has fewer; those that are not are NaN or None to
            `together`. All of them when not given.
        spread: how pieces are given to the model's replicas: `hash` of what a piece is, modulo their number, or `rendezvous`,
            by which few pieces move when replicas come and go; None lets the balancer choose.
        name: the node's name; `shard` and a number when not given.

    Returns:
        The node; its columns are its attributes.
    """
    functions = Function.of(apart), Function.of(together)
    if not isinstance(together_inputs, (list, tuple)):
        what = f"together_inputs must be a list of columns; got {together_inputs!r}"
        raise GraphError(what, where="shard()", hint="write together_inputs=[column]")

    def make(name: str, names: PartNames) -> Shard:
        where = f"node {name!r}"
        return Shard(
            name, names.inputs(inputs), names.uses(uses), *functions, _spread(spread, f"{where}: spread"),
            tuple(names.ref(each) for each in together_inputs), _require(require, f"{where}: require"),
        )  # fmt: skip

    return Handle("shard", name, make, inputs_of([*inputs, *together_inputs], "shard()"))
