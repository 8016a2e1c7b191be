"""The expressions of a route's `when`: a small, safe language over columns, row by row.

    amount > 1000 and country in ['NL', 'DE']
    0.4 < top.score <= 0.6 or isnull(note)
    max_of(scores) < 0.9 and len(text) % 2 == 0

It is a part of Python's syntax: names of columns (`node.output` too; `column('odd name')` where a name is no word),
numbers, strings, `true`, `false`, `null`, comparisons, `and`, `or`, `not`, `+ - * / // %`, `in` a list, and the
functions of `FUNCTIONS`. Nothing else is accepted, so a condition can only look at columns.

A null (a missing string; a division by zero; the mean of nothing) makes what is computed
from it null, compares as false with everything, and counts as false; `isnull(x)` and `x == null` tell. NaN behaves as in
Python, and is also null for these two; among the values of an array it is not true. Whole numbers are computed and compared
exactly, whatever their size, others in the precision of the column.

A condition is parsed once, into closures over whole columns. Each operation has one rule about the kinds it takes
(`number`, `string`, ...), asked with the declared types when a graph is checked, and with the values when rows flow.

parse.py      from the text to closures
kinds.py      kinds, and the rules of operations
values.py     columns as values, and the work of operations
exact.py      numbers as Python computes them
functions.py  the functions, by name
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from motet.batch import Column
from motet.errors import GraphError, InputError, TypeMismatchError, UnknownNameError
from motet.graph.condition.kinds import Unfit, kind_of, rule_result
from motet.graph.condition.parse import CompiledTerm, Compiler, allowed, pointed
from motet.graph.condition.values import Mask, truth
from motet.types import ColumnType

__all__ = ["Condition"]

MAX_CHARACTERS = 4096


@dataclass(frozen=True)
class Condition:
    """A parsed condition; `Condition.parse` makes one.

    Attributes:
        text: what was written.
        columns: the columns it names, in order, each once.

    >>> condition = Condition.parse("amount > 1000 and country != 'NL'")
    >>> condition.columns
    ('amount', 'country')
    >>> columns = {"amount": np.array([10, 2000]), "country": np.array(["DE", "DE"], dtype=object)}
    >>> condition.evaluate(columns, rows=2).tolist()
    [False, True]
    """

    text: str
    columns: tuple[str, ...] = field(compare=False)
    _where: str = field(compare=False, repr=False)
    _source: str = field(compare=False, repr=False)
    _step: CompiledTerm = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str, where: str = "") -> Condition:
        """Read a condition.

        Args:
            text: the expression, up to 4,096 characters.
            where: what errors say about its place.

        Raises:
            GraphError: for what the language does not have; shows the spot.
        """
        if len(text) > MAX_CHARACTERS:
            raise GraphError(f"a condition has at most {MAX_CHARACTERS} characters, got {len(text)}", where=where)
        source = re.sub(r"\s", " ", text).strip()
        if not source:
            raise GraphError(
                "a condition is empty", where=where, hint=f"write one, for example 'amount > 1000'; {allowed()}"
            )
        compiler = Compiler(source, where)
        step = compiler.compile()
        return cls(text, tuple(compiler.columns), where, source, step)

    def __reduce__(self) -> tuple[Callable[[str, str], Condition], tuple[str, str]]:
        return Condition.parse, (self.text, self._where)

    def __str__(self) -> str:
        return self.text

    def check(self, types: Mapping[str, ColumnType], where: str = "") -> None:
        """Check that the condition fits columns of these types.

        Args:
            types: every column there is, by name.
            where: what errors say about its place; that of `parse` when not given.

        Raises:
            UnknownNameError: when it names a column that is not there.
            TypeMismatchError: when an operation does not take what it is given, or the whole is not true or false.
        """
        where = where or self._where
        for name in self.columns:
            if name not in types:
                raise UnknownNameError("column", name, types, where=where, hint=f"the condition is: {self.text}")
        try:
            rule_result(self._step.kind({name: kind_of(types[name]) for name in self.columns}))
        except Unfit as error:
            raise TypeMismatchError(self._point(error), where=where, hint=error.hint) from None

    def evaluate(self, columns: Mapping[str, Column], rows: int) -> Mask:
        """Whether the condition holds, for each row.

        Args:
            columns: those it names, at least, each of `rows` rows.
            rows: how many rows there are.

        Returns:
            A new array of bool, shape `[rows]`.

        Raises:
            InputError: when a column is not there, or has values that do not fit.
        """
        try:
            with np.errstate(all="ignore"):
                value = self._step.run(columns)
                rule_result(value.kind)
        except Unfit as error:
            raise InputError(self._point(error), where=self._where, hint=error.hint) from None
        result = np.empty(rows, dtype=bool)
        result[:] = truth(value)
        return result

    def _point(self, error: Unfit) -> str:
        return f"{error.what}\n{pointed(self._source, error.spot or self._step.spot)}"
