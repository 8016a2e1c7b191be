"""The condition language of a route's `when`: a safe expression over columns.

The grammar is a part of Python's, read with `ast` and compiled to functions of whole columns; nothing of it is ever
evaluated as code.

    amount > 1000 and country in ("de", "fr")        18 <= age < 65        not isnull(coupon) or startswith(sku, "X-")

Names are columns (`node.output` too). There are numbers, texts, true, false; comparisons, also chained; and, or, not;
+ - * / // % and unary -; in and not in lists of constants; and the functions of `FUNCTIONS`. A null text compares as
false; `isnull` tells.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from motet.batch import Array, Column, Ragged
from motet.errors import GraphError, TypeMismatchError, UnknownNameError
from motet.types import ColumnType

__all__ = ["FUNCTIONS", "Condition"]

MAX_LENGTH = 4096
MAX_DEPTH = 64

Value = Any
Evaluate = Callable[[Mapping[str, Column], int], Value]

NUMBER, TEXT, TRUTH, ARRAY, ANYTHING = "number", "text", "truth value", "array", "anything"
"""What a part of an expression is, as far as types are checked."""


@dataclass(frozen=True)
class _Function:
    takes: tuple[str, ...]
    gives: str
    call: Callable[..., Value]


def _texts(function: Callable[..., Any]) -> Callable[..., Array]:
    """A function of one text, and perhaps a constant, over a column of texts; a null gives false, or stays null."""

    def apply(column: Array, *rest: Any) -> Array:
        values = [None if value is None else function(value, *rest) for value in np.atleast_1d(column).tolist()]
        if all(isinstance(value, bool) or value is None for value in values):
            return np.array([bool(value) for value in values], dtype=bool)
        return np.array(values, dtype=object)

    return apply


def _is_null(column: Array) -> Array:
    if column.dtype == object:
        return np.array([value is None for value in column.tolist()], dtype=bool)
    return np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), dtype=bool)


def _lengths(column: Column) -> Array:
    if isinstance(column, np.ndarray) and column.ndim > 1:
        return np.full(len(column), column.shape[1], dtype=np.int64)
    return np.array([0 if row is None else len(row) for row in column], dtype=np.int64)


def _reduce(reduction: Callable[[Array], Any]) -> Callable[[Column], Array]:
    """A reduction of each row's array to one value; of no values to 0 or false."""

    def apply(column: Column) -> Array:
        return np.array([reduction(np.asarray(row)) if np.size(row) else 0 for row in column])

    return apply


FUNCTIONS: dict[str, _Function] = {
    "abs": _Function((NUMBER,), NUMBER, np.abs),
    "min": _Function((NUMBER, NUMBER), NUMBER, np.minimum),
    "max": _Function((NUMBER, NUMBER), NUMBER, np.maximum),
    "len": _Function((ANYTHING,), NUMBER, _lengths),
    "lower": _Function((TEXT,), TEXT, _texts(str.lower)),
    "upper": _Function((TEXT,), TEXT, _texts(str.upper)),
    "startswith": _Function((TEXT, TEXT), TRUTH, _texts(lambda text, part: text.startswith(part))),
    "endswith": _Function((TEXT, TEXT), TRUTH, _texts(lambda text, part: text.endswith(part))),
    "contains": _Function((TEXT, TEXT), TRUTH, _texts(lambda text, part: part in text)),
    "isnull": _Function((ANYTHING,), TRUTH, _is_null),
    "max_of": _Function((ARRAY,), NUMBER, _reduce(np.max)),
    "min_of": _Function((ARRAY,), NUMBER, _reduce(np.min)),
    "sum_of": _Function((ARRAY,), NUMBER, _reduce(np.sum)),
    "mean_of": _Function((ARRAY,), NUMBER, _reduce(np.mean)),
    "any_of": _Function((ARRAY,), TRUTH, _reduce(np.any)),
    "all_of": _Function((ARRAY,), TRUTH, _reduce(np.all)),
}
"""The functions of the language by name."""

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.true_divide, ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
}  # fmt: skip
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """A condition over columns.

    Attributes:
        text: the expression.
        columns: the columns it names, in order and once.
    """

    text: str
    columns: tuple[str, ...] = field(compare=False)
    _tree: ast.expr = field(compare=False, repr=False)
    _evaluate: Evaluate = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str, where: str = "") -> Condition:
        """Read an expression.

        Raises:
            GraphError: when it is none, or uses what is not allowed; shows where in the text.
        """
        if not isinstance(text, str) or len(text) > MAX_LENGTH:
            raise GraphError(f"a condition is a text of at most {MAX_LENGTH} characters", where=where)
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            spot = (getattr(error, "offset", None) or 1) - 1
            raise _at(text.strip(), spot, f"no expression: {getattr(error, 'msg', error)}", where) from None
        compiler = _Compiler(text.strip(), where)
        evaluate = compiler.compile(tree, 0)
        return cls(text, tuple(dict.fromkeys(compiler.columns)), tree, evaluate)

    def __str__(self) -> str:
        return self.text

    def check(self, types: Mapping[str, ColumnType], where: str = "") -> None:
        """Check the expression against the types of its columns.

        Raises:
            UnknownNameError: when it names a column that is not there.
            TypeMismatchError: when types do not fit, or the result is not true or false.
        """
        found = _Checker(self.text.strip(), types, where).kind(self._tree)
        if found not in (TRUTH, ANYTHING):
            raise TypeMismatchError(
                f"{self.text!r} is a {found}, not true or false", where=where, hint="compare it: amount > 1000"
            )

    def evaluate(self, columns: Mapping[str, Column], rows: int) -> Array:
        """For each row whether the condition holds.

        Args:
            columns: at least those that it names, each of `rows` rows.
            rows: how many rows there are.

        Returns:
            true or false, shape `[rows]`.
        """
        with np.errstate(all="ignore"):
            result = self._evaluate(columns, rows)
        if isinstance(result, Ragged) or np.ndim(result) > 1:
            raise GraphError(f"{self.text!r} gives an array a row, not true or false", hint="reduce it: any_of(column)")
        return np.broadcast_to(np.asarray(result).astype(bool), (rows,)).copy()


def _at(text: str, spot: int, what: str, where: str, hint: str = "") -> GraphError:
    line = text.replace("\n", " ")
    return GraphError(f"{what}\n    {line}\n    {' ' * max(0, min(spot, len(line)))}^", where=where, hint=hint)


def _name(node: ast.expr) -> str | None:
    """The column that a name or a dotted name stands for."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = _name(node.value)
        return None if inner is None else f"{inner}.{node.attr}"
    return None


_CONSTANTS = {"true": True, "false": False}


class _Compiler:
    """Turns an expression into functions of whole columns, and refuses what is not of the language."""

    def __init__(self, text: str, where: str) -> None:
        self._text, self._where = text, where
        self.columns: list[str] = []

    def compile(self, node: ast.expr, depth: int) -> Evaluate:
        """A function of columns for a part of the expression."""
        if depth > MAX_DEPTH:
            raise self._refused(node, f"nested more than {MAX_DEPTH} deep")
        match node:
            case ast.Constant(value=value):
                return self._constant(node, value)
            case ast.Name(id=name) if name in _CONSTANTS:
                truth = _CONSTANTS[name]
                return lambda columns, rows: truth
            case ast.Name() | ast.Attribute():
                return self._column(node)
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                part = self.compile(inner, depth + 1)
                return lambda columns, rows: np.logical_not(_truth(part(columns, rows)))
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                part = self.compile(inner, depth + 1)
                return lambda columns, rows: np.negative(part(columns, rows))
            case ast.BoolOp(op=op, values=values):
                return self._boolean(isinstance(op, ast.And), [self.compile(each, depth + 1) for each in values])
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                one, other, function = (
                    self.compile(left, depth + 1),
                    self.compile(right, depth + 1),
                    _ARITHMETIC[type(op)],
                )
                return lambda columns, rows: function(one(columns, rows), other(columns, rows))
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                return self._compare(left, ops, comparators, depth)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self._call(node, name, args, depth)
        raise self._refused(node, "this is not part of the condition language")

    def _constant(self, node: ast.expr, value: object) -> Evaluate:
        if value is not None and not isinstance(value, (str, bool, int, float)):
            raise self._refused(node, f"a constant is a number, a text, true or false; got {type(value).__name__}")
        if isinstance(value, int) and abs(value) >= 1 << 63:
            raise self._refused(node, "the number does not fit into 64 bits")
        return lambda columns, rows: value

    def _column(self, node: ast.expr) -> Evaluate:
        name = _name(node)
        if name is None:
            raise self._refused(node, "an attribute of something that is no column")
        self.columns.append(name)
        return lambda columns, rows: columns[name]

    @staticmethod
    def _boolean(both: bool, parts: Sequence[Evaluate]) -> Evaluate:
        join = np.logical_and if both else np.logical_or

        def evaluate(columns: Mapping[str, Column], rows: int) -> Value:
            result = _truth(parts[0](columns, rows))
            for part in parts[1:]:
                result = join(result, _truth(part(columns, rows)))
            return result

        return evaluate

    def _compare(
        self, left: ast.expr, ops: Sequence[ast.cmpop], comparators: Sequence[ast.expr], depth: int
    ) -> Evaluate:
        parts = [self.compile(left, depth + 1)]
        pairs: list[Callable[[Any, Any], Any]] = []
        for op, right in zip(ops, comparators, strict=True):
            if isinstance(op, (ast.In, ast.NotIn)):
                parts.append(self._constants(right))
                pairs.append(_contained if isinstance(op, ast.In) else _not_contained)
            elif type(op) in _COMPARISONS:
                parts.append(self.compile(right, depth + 1))
                pairs.append(_comparison(_COMPARISONS[type(op)]))
            else:
                raise self._refused(right, "is and is not are not part of the condition language; use isnull(column)")

        def evaluate(columns: Mapping[str, Column], rows: int) -> Value:
            values = [part(columns, rows) for part in parts]
            result: Value = pairs[0](values[0], values[1])
            for place, pair in enumerate(pairs[1:], start=1):
                result = np.logical_and(result, pair(values[place], values[place + 1]))
            return result

        return evaluate

    def _constants(self, node: ast.expr) -> Evaluate:
        if not isinstance(node, (ast.Tuple, ast.List)) or not all(isinstance(each, ast.Constant) for each in node.elts):
            raise self._refused(node, "behind in stands a list of constants", 'write country in ("de", "fr")')
        values = frozenset(each.value for each in node.elts if isinstance(each, ast.Constant))
        return lambda columns, rows: values

    def _call(self, node: ast.expr, name: str, args: Sequence[ast.expr], depth: int) -> Evaluate:
        function = FUNCTIONS.get(name)
        if function is None:
            raise self._refused(node, str(UnknownNameError("function", name, list(FUNCTIONS))))
        if len(args) != len(function.takes):
            raise self._refused(node, f"{name} takes {len(function.takes)} arguments; got {len(args)}")
        if name in ("startswith", "endswith", "contains") and not isinstance(args[1], ast.Constant):
            raise self._refused(args[1], f"the second argument of {name} is a text in quotes")
        parts = [self.compile(each, depth + 1) for each in args]
        return lambda columns, rows: function.call(*(part(columns, rows) for part in parts))

    def _refused(self, node: ast.expr, what: str, hint: str = "") -> GraphError:
        return _at(self._text, node.col_offset, what, self._where, hint)


def _truth(value: Value) -> Value:
    """A value as truth values; a null text is false."""
    return np.asarray(value).astype(bool)


def _comparison(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def apply(one: Any, other: Any) -> Any:
        if not any(isinstance(each, np.ndarray) and each.dtype == object for each in (one, other)):
            return compare(one, other)
        ones, others = np.broadcast_arrays(np.asarray(one, dtype=object), np.asarray(other, dtype=object))
        pairs = zip(ones.ravel().tolist(), others.ravel().tolist(), strict=True)
        return np.array([a is not None and b is not None and bool(compare(a, b)) for a, b in pairs], dtype=bool)

    return apply


def _contained(column: Any, values: frozenset[Any]) -> Any:
    if not isinstance(column, np.ndarray):
        return column in values
    return np.array([value is not None and value in values for value in column.tolist()], dtype=bool)


def _not_contained(column: Any, values: frozenset[Any]) -> Any:
    if not isinstance(column, np.ndarray):
        return column not in values
    return np.array([value is not None and value not in values for value in column.tolist()], dtype=bool)


class _Checker:
    """Says what each part of an expression is, and refuses what does not fit."""

    def __init__(self, text: str, types: Mapping[str, ColumnType], where: str) -> None:
        self._text, self._types, self._where = text, types, where

    def kind(self, node: ast.expr) -> str:
        """What a part of the expression is."""
        match node:
            case ast.Constant(value=value):
                return _constant_kind(value)
            case ast.Name(id=name) if name in _CONSTANTS:
                return TRUTH
            case ast.Name() | ast.Attribute():
                return self._column(node)
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                self._want(inner, TRUTH, "not")
                return TRUTH
            case ast.UnaryOp(operand=inner):
                self._want(inner, NUMBER, "-")
                return NUMBER
            case ast.BoolOp(op=op, values=values):
                for each in values:
                    self._want(each, TRUTH, "and" if isinstance(op, ast.And) else "or")
                return TRUTH
            case ast.BinOp(left=left, right=right):
                self._want(left, NUMBER, "arithmetic")
                self._want(right, NUMBER, "arithmetic")
                return NUMBER
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                return self._compare([left, *comparators], ops)
            case ast.Call(func=ast.Name(id=name), args=args):
                for argument, wanted in zip(args, FUNCTIONS[name].takes, strict=True):
                    self._want(argument, wanted, name)
                return FUNCTIONS[name].gives
        raise AssertionError(f"a part of a condition that was compiled is not checked: {ast.dump(node)}")

    def _column(self, node: ast.expr) -> str:
        name = _name(node)
        assert name is not None
        if name not in self._types:
            raise UnknownNameError("column", name, list(self._types), where=self._where)
        kind = self._types[name]
        if kind.dtype == "any":
            return ANYTHING
        if kind.shape:
            return ARRAY
        return {"string": TEXT, "bytes": TEXT, "bool": TRUTH}.get(kind.dtype, NUMBER)

    def _want(self, node: ast.expr, wanted: str, what: str) -> None:
        got = self.kind(node)
        if ANYTHING in (wanted, got) or got == wanted or (wanted == NUMBER and got == TRUTH):
            return
        hint = "reduce it first: max_of, min_of, sum_of, mean_of, any_of, all_of" if got == ARRAY else ""
        raise self._mismatch(node, f"{what} needs a {wanted}; got a {got}", hint)

    def _compare(self, parts: Sequence[ast.expr], ops: Sequence[ast.cmpop]) -> str:
        for left, op, right in zip(parts, ops, parts[1:], strict=False):
            one = self.kind(left)
            if one == ARRAY:
                self._want(left, NUMBER, "a comparison")
            others = [_constant_kind(each.value) for each in right.elts if isinstance(each, ast.Constant)] if isinstance(
                right, (ast.Tuple, ast.List)
            ) and isinstance(op, (ast.In, ast.NotIn)) else [self.kind(right)]  # fmt: skip
            for other in others:
                groups = {NUMBER if kind == TRUTH else kind for kind in (one, other)} - {ANYTHING}
                if len(groups) > 1:
                    raise self._mismatch(right, f"a {one} cannot be compared with a {other}")
        return TRUTH

    def _mismatch(self, node: ast.expr, what: str, hint: str = "") -> TypeMismatchError:
        error = _at(self._text, node.col_offset, what, self._where, hint)
        return TypeMismatchError(error.what, where=error.where, hint=error.hint)


def _constant_kind(value: object) -> str:
    if value is None:
        return ANYTHING
    return TRUTH if isinstance(value, bool) else TEXT if isinstance(value, str) else NUMBER
