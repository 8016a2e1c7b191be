"""The expressions of a route's `when`: a small, safe language over columns, row by row.

    amount > 1000 and country in ['NL', 'DE']
    0.4 < top.score <= 0.6 or isnull(note)
    max_of(scores) < 0.9 and len(text) % 2 == 0

It is a part of Python's syntax: names of columns (`node.output` too; `column('odd name')` where a name is no word),
numbers, strings, `true`, `false`, `null`, comparisons, `and`, `or`, `not`, `+ - * / // %`, `in` a list, and the
functions of `condition_values.FUNCTIONS`. Nothing else is accepted, so a condition can only look at columns.

A null (a missing string; a division by zero; a whole number beyond 64 bits; the mean of nothing) makes what is computed
from it null, compares as false with everything, and counts as false; `isnull(x)` and `x == null` tell. NaN behaves as in
Python, and is also null for these two. Numbers are computed as 64-bit integers or in the precision of the column.

A condition is parsed once, into closures over whole columns. Each operation has one rule about the kinds it takes
(`number`, `string`, ...), asked with the declared types when a graph is checked, and with the values when rows flow.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

import numpy as np

from motet.batch import Column
from motet.errors import GraphError, InputError, TypeMismatchError, UnknownNameError, known_names
from motet.graph.condition_values import (
    BOOL,
    FUNCTIONS,
    NULL,
    NUMBER,
    STRING,
    Columns,
    Mask,
    Unfit,
    Value,
    arithmetic,
    compare,
    every,
    is_member,
    kind_of,
    load,
    negate,
    null_through,
    rule_compare,
    rule_in,
    rule_isnull,
    rule_plain,
    rule_result,
    some,
    truth,
)
from motet.types import ColumnType

__all__ = ["Condition"]

MAX_CHARACTERS = 4096
MAX_DEPTH = 64

_CONSTANTS = {"true": True, "false": False, "null": None}


_Kinds = Callable[[Mapping[str, str]], str]
_Run = Callable[[Columns], Value]


@dataclass(frozen=True, slots=True)
class _Step:
    """A compiled part: what kind it has for columns of given kinds, and how to compute it; `constant` where it is one."""

    spot: ast.AST
    kind: _Kinds
    run: _Run
    constant: bool = False


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
    _step: _Step = field(compare=False, repr=False)

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
                "a condition is empty", where=where, hint=f"write one, for example 'amount > 1000'; {_allowed()}"
            )
        compiler = _Compiler(source, where)
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
        return f"{error.what}\n{_pointed(self._source, error.spot or self._step.spot)}"


def _pointed(source: str, spot: ast.AST | tuple[int, int]) -> str:
    """The expression, and a line of carets under the part; of a long one, what is near."""
    if isinstance(spot, ast.AST):
        encoded = source.encode()
        first = len(encoded[: getattr(spot, "col_offset", 0)].decode())
        end = len(encoded[: getattr(spot, "end_col_offset", len(encoded))].decode())
    else:
        first, end = spot
    start = max(0, first - 60)
    shown = ("…" if start else "") + source[start : start + 120] + ("…" if start + 120 < len(source) else "")
    margin = first - start + (1 if start else 0)
    return f"  {shown}\n  {' ' * margin}{'^' * max(1, min(end - first, 120 - (first - start)))}"


def _allowed() -> str:
    return (
        "a condition has names of columns, numbers, strings, true, false, null, comparisons, and, or, not, "
        f"+ - * / // %, in [..], and the functions {', '.join(FUNCTIONS)}"
    )


# Compiling: from Python's syntax tree to steps.


_SYMBOLS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Is: "==", ast.IsNot: "!=",
}  # fmt: skip
_REFUSED: dict[type[ast.AST], tuple[str, str]] = {
    ast.BitAnd: ("&", "write and"),
    ast.BitOr: ("|", "write or"),
    ast.BitXor: ("^", "write a != b"),
    ast.Invert: ("~", "write not"),
    ast.Pow: ("**", "write x * x"),
    ast.Lambda: ("a lambda", ""),
    ast.IfExp: ("if .. else", "write and, or and not"),
    ast.Subscript: ("an index", "max_of, min_of, sum_of, mean_of, any_of and all_of look at a row's array"),
    ast.JoinedStr: ("an f-string", ""),
    ast.NamedExpr: (":=", "write == to compare"),
    ast.List: ("a list alone", "write x in [1, 2]"),
    ast.Tuple: ("a tuple alone", "write x in (1, 2)"),
}


class _Compiler:
    """Turns one expression into a step, collecting the columns it names."""

    def __init__(self, source: str, where: str) -> None:
        self.source, self.where = source, where
        self.columns: dict[str, None] = {}
        self._depth = 0

    def compile(self) -> _Step:
        """The whole expression."""
        try:
            tree = ast.parse(self.source, mode="eval")
        except SyntaxError as error:
            first = max(0, (error.offset or 1) - 1)
            self._fail((first, max(first + 1, (error.end_offset or 0) - 1)), f"this is no expression: {error.msg}")
        except (RecursionError, MemoryError, ValueError) as error:
            self._fail((0, 1), f"this cannot be read: {error or 'it is nested too deeply'}")
        return self._step(tree.body)

    def _fail(self, spot: ast.AST | tuple[int, int], what: str, hint: str = "") -> NoReturn:
        raise GraphError(f"{what}\n{_pointed(self.source, spot)}", where=self.where, hint=hint or _allowed())

    def _step(self, node: ast.expr) -> _Step:
        compilers: dict[type[ast.AST], Callable[[Any], _Step]] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.UnaryOp: self._unary,
            ast.BinOp: self._binary,
            ast.BoolOp: self._boolean,
            ast.Compare: self._comparison,
            ast.Call: self._call,
        }
        if type(node) not in compilers:
            self._refuse(node, node)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(node, f"the condition is nested more than {MAX_DEPTH} deep")
        step = compilers[type(node)](node)
        self._depth -= 1
        return step

    def _refuse(self, node: ast.AST, spot: ast.AST) -> NoReturn:
        name, hint = _REFUSED.get(type(node), (f"this ({type(node).__name__})", ""))
        self._fail(spot, f"a condition has no place for {name}", hint)

    def _literal(self, node: ast.expr) -> Any:
        """The value of a constant: a bool, a number, a string or None."""
        if isinstance(node, ast.Name) and node.id in _CONSTANTS:
            return _CONSTANTS[node.id]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            number = self._literal(node.operand)
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                return -number if isinstance(node.op, ast.USub) else number
        value = node.value if isinstance(node, ast.Constant) else ...
        if not isinstance(value, (bool, int, float, str, type(None))):
            self._fail(node, "a constant is a number, a string, true, false or null")
        if isinstance(value, (int, float)) and not abs(value) < (2**63 if isinstance(value, int) else math.inf):
            self._fail(node, "this number is too large", "whole numbers have 64 bits")
        return value

    def _constant(self, node: ast.expr) -> _Step:
        return _constant_step(node, self._literal(node))

    def _name(self, node: ast.Name) -> _Step:
        return self._constant(node) if node.id in _CONSTANTS else self._column(node, node.id)

    def _attribute(self, node: ast.Attribute) -> _Step:
        parts, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            self._fail(node, "a dot only stands in the name of a column", "write node.output")
        return self._column(node, ".".join([inner.id, *reversed(parts)]))

    def _column(self, node: ast.expr, name: str) -> _Step:
        self.columns.setdefault(name)
        return _Step(node, operator.itemgetter(name), partial(_load_at, node, name))

    def _unary(self, node: ast.UnaryOp) -> _Step:
        if isinstance(node.op, ast.Invert):
            self._refuse(node.op, node)
        operand = self._step(node.operand)
        if isinstance(node.op, ast.Not):
            return self._operation(node, partial(rule_plain, "not", ((BOOL,),), BOOL), negate, [operand])
        symbol = "-" if isinstance(node.op, ast.USub) else "+"
        rule = partial(rule_plain, symbol, ((NUMBER,),), NUMBER)
        work = partial(arithmetic, symbol, Value(NUMBER, 0))
        return self._operation(node, rule, null_through(NUMBER, work), [operand])

    def _binary(self, node: ast.BinOp) -> _Step:
        symbol = _SYMBOLS.get(type(node.op))
        if symbol is None:
            self._refuse(node.op, node)
        operands = [self._step(node.left), self._step(node.right)]
        if symbol in ("/", "//", "%") and operands[1].constant and operands[1].run({}).data == 0:
            self._fail(node, f"{symbol} divides by zero")
        rule = partial(rule_plain, symbol, ((NUMBER,),), NUMBER)
        return self._operation(node, rule, null_through(NUMBER, partial(arithmetic, symbol)), operands)

    def _boolean(self, node: ast.BoolOp) -> _Step:
        name, work = ("and", every) if isinstance(node.op, ast.And) else ("or", some)
        return self._operation(node, partial(rule_plain, name, ((BOOL,),), BOOL), work, map(self._step, node.values))

    def _comparison(self, node: ast.Compare) -> _Step:
        if any(isinstance(op, (ast.In, ast.NotIn)) for op in node.ops):
            return self._membership(node)
        operands = [self._step(each) for each in (node.left, *node.comparators)]
        for op, operand in zip(node.ops, operands[1:], strict=True):
            if isinstance(op, (ast.Is, ast.IsNot)) and not (operand.constant and operand.kind({}) == NULL):
                self._fail(node, "is only stands before null", "write == to compare")
        symbols = tuple(_SYMBOLS[type(op)] for op in node.ops)
        return self._operation(node, partial(rule_compare, symbols), partial(compare, symbols), operands)

    def _membership(self, node: ast.Compare) -> _Step:
        (op, *others), (container, *_) = node.ops, node.comparators
        if others:
            self._fail(node, "in stands alone", "write a < b and b in [1, 2]")
        if not isinstance(container, (ast.List, ast.Tuple, ast.Set)) or not container.elts:
            self._fail(
                container,
                "in needs a list of constants",
                "write x in ['a', 'b']; contains(x, 'a') looks inside a string",
            )
        members = tuple(self._literal(each) for each in container.elts)
        kinds = {_kind_of_constant(member) for member in members}
        if len(kinds) > 1 or not kinds <= {NUMBER, STRING}:
            self._fail(container, "the constants of a list are all numbers or all strings")
        work = partial(is_member, members, negated=isinstance(op, ast.NotIn))
        return self._operation(node, partial(rule_in, kinds.pop()), work, [self._step(node.left)])

    def _call(self, node: ast.Call) -> _Step:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if node.keywords or any(isinstance(each, ast.Starred) for each in node.args):
            self._fail(node, "functions take plain arguments")
        if name == "column" and len(node.args) == 1 and isinstance(named := self._literal(node.args[0]), str):
            return self._column(node, named)
        if name not in FUNCTIONS:
            what = (
                f"unknown function {name!r}; {known_names(name, tuple(FUNCTIONS), 20)}"
                if name
                else "only functions are called"
            )
            self._fail(node.func, what)
        function = FUNCTIONS[name]
        most = function.most or function.least
        if not function.least <= len(node.args) <= most:
            wanted = str(most) if most == function.least else f"{function.least} to {most}"
            hint = f"{name}_of(x) looks at a row's array" if name in ("min", "max") else ""
            self._fail(node, f"{name} takes {wanted} argument{'s' if most > 1 else ''}, got {len(node.args)}", hint)
        rule = rule_isnull if name == "isnull" else partial(rule_plain, name, function.wanted, function.gives)
        work = function.work if name == "isnull" else null_through(function.gives, function.work)
        return self._operation(node, rule, work, map(self._step, node.args))

    def _operation(
        self, node: ast.expr, rule: Callable[..., str], work: Callable[..., Value], operands: Iterable[_Step]
    ) -> _Step:
        step = _operation_step(node, rule, work, tuple(operands))
        if not step.constant:
            return step
        try:
            with np.errstate(all="ignore"):
                value = step.run({})
        except Unfit as error:
            self._fail(error.spot or node, error.what, error.hint)
        if value.valid is not None and not np.all(value.valid):
            self._fail(node, "this number is too large", "whole numbers have 64 bits")
        return _constant_step(
            node, value.data.item() if isinstance(value.data, (np.generic, np.ndarray)) else value.data
        )


def _kind_of_constant(value: Any) -> str:
    if value is None:
        return NULL
    return BOOL if isinstance(value, bool) else STRING if isinstance(value, str) else NUMBER


def _constant_step(node: ast.expr, value: Any) -> _Step:
    held = Value(_kind_of_constant(value), value)
    return _Step(node, lambda kinds: held.kind, lambda columns: held, constant=True)


def _load_at(node: ast.expr, name: str, columns: Columns) -> Value:
    try:
        return load(name, columns)
    except Unfit as error:
        error.spot = node
        raise


def _operation_step(
    node: ast.expr, rule: Callable[..., str], work: Callable[..., Value], operands: tuple[_Step, ...]
) -> _Step:
    runs = tuple(operand.run for operand in operands)

    def ruled(kinds: Iterable[str]) -> str:
        try:
            return rule(*kinds)
        except Unfit as error:
            error.spot = error.spot or (node if error.part is None else operands[error.part].spot)
            raise

    def kind(kinds: Mapping[str, str]) -> str:
        return ruled([operand.kind(kinds) for operand in operands])

    def run(columns: Columns) -> Value:
        values = [each(columns) for each in runs]
        ruled([value.kind for value in values])
        return work(*values)

    return _Step(node, kind, run, all(operand.constant for operand in operands))
