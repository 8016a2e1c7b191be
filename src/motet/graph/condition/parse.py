"""Reading a condition: from Python's syntax tree to steps over whole columns."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, NoReturn

import numpy as np

from motet.errors import GraphError, known_names
from motet.graph.condition.functions import FUNCTIONS
from motet.graph.condition.kinds import (
    BOOL,
    NULL,
    NUMBER,
    STRING,
    Unfit,
    rule_compare,
    rule_in,
    rule_isnull,
    rule_plain,
)
from motet.graph.condition.values import (
    Columns,
    ConditionValue,
    arithmetic,
    compare,
    every,
    is_member,
    load,
    negate,
    null_through,
    some,
)

__all__ = ["CompiledTerm", "Compiler", "allowed", "pointed"]

MAX_DEPTH = 64

_CONSTANTS = {"true": True, "false": False, "null": None}
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

_Kinds = Callable[[Mapping[str, str]], str]
_Run = Callable[[Columns], ConditionValue]


class CompiledTerm(NamedTuple):
    """A compiled part: what kind it has for columns of given kinds, and how to compute it; `constant` where it is one."""

    spot: ast.AST
    kind: _Kinds
    run: _Run
    constant: bool = False


class Compiler:
    """Turns one expression into a step, collecting the columns it names."""

    def __init__(self, source: str, where: str) -> None:
        self.source, self.where = source, where
        self.columns: dict[str, None] = {}
        self._depth = 0

    def compile(self) -> CompiledTerm:
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
        raise GraphError(f"{what}\n{pointed(self.source, spot)}", where=self.where, hint=hint or allowed())

    def _step(self, node: ast.expr) -> CompiledTerm:
        compilers: dict[type[ast.AST], Callable[[Any], CompiledTerm]] = {
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
        if isinstance(value, float) and not abs(value) < math.inf:
            self._fail(node, "this number is too large")
        return value

    def _constant(self, node: ast.expr) -> CompiledTerm:
        return _constant_step(node, self._literal(node))

    def _name(self, node: ast.Name) -> CompiledTerm:
        return self._constant(node) if node.id in _CONSTANTS else self._column(node, node.id)

    def _attribute(self, node: ast.Attribute) -> CompiledTerm:
        parts, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            self._fail(node, "a dot only stands in the name of a column", "write node.output")
        return self._column(node, ".".join([inner.id, *reversed(parts)]))

    def _column(self, node: ast.expr, name: str) -> CompiledTerm:
        self.columns.setdefault(name)
        return CompiledTerm(node, operator.itemgetter(name), partial(_load_at, node, name))

    def _unary(self, node: ast.UnaryOp) -> CompiledTerm:
        if isinstance(node.op, ast.Invert):
            self._refuse(node.op, node)
        operand = self._step(node.operand)
        if isinstance(node.op, ast.Not):
            return self._operation(node, partial(rule_plain, "not", ((BOOL,),), BOOL), negate, [operand])
        symbol = "-" if isinstance(node.op, ast.USub) else "+"
        rule = partial(rule_plain, symbol, ((NUMBER,),), NUMBER)
        work = partial(arithmetic, symbol, ConditionValue(NUMBER, 0))
        return self._operation(node, rule, null_through(NUMBER, work), [operand])

    def _binary(self, node: ast.BinOp) -> CompiledTerm:
        symbol = _SYMBOLS.get(type(node.op))
        if symbol is None:
            self._refuse(node.op, node)
        operands = [self._step(node.left), self._step(node.right)]
        if symbol in ("/", "//", "%") and operands[1].constant and operands[1].run({}).data == 0:
            self._fail(node, f"{symbol} divides by zero")
        rule = partial(rule_plain, symbol, ((NUMBER,),), NUMBER)
        return self._operation(node, rule, null_through(NUMBER, partial(arithmetic, symbol)), operands)

    def _boolean(self, node: ast.BoolOp) -> CompiledTerm:
        name, work = ("and", every) if isinstance(node.op, ast.And) else ("or", some)
        return self._operation(node, partial(rule_plain, name, ((BOOL,),), BOOL), work, map(self._step, node.values))

    def _comparison(self, node: ast.Compare) -> CompiledTerm:
        if any(isinstance(op, (ast.In, ast.NotIn)) for op in node.ops):
            return self._membership(node)
        operands = [self._step(each) for each in (node.left, *node.comparators)]
        for op, operand in zip(node.ops, operands[1:], strict=True):
            if isinstance(op, (ast.Is, ast.IsNot)) and not (operand.constant and operand.kind({}) == NULL):
                self._fail(node, "is only stands before null", "write == to compare")
        symbols = tuple(_SYMBOLS[type(op)] for op in node.ops)
        return self._operation(node, partial(rule_compare, symbols), partial(compare, symbols), operands)

    def _membership(self, node: ast.Compare) -> CompiledTerm:
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

    def _call(self, node: ast.Call) -> CompiledTerm:
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
        self,
        node: ast.expr,
        rule: Callable[..., str],
        work: Callable[..., ConditionValue],
        operands: Iterable[CompiledTerm],
    ) -> CompiledTerm:
        step = _operation_step(node, rule, work, tuple(operands))
        if not step.constant:
            return step
        try:
            with np.errstate(all="ignore"):
                value = step.run({})
        except Unfit as error:
            self._fail(error.spot or node, error.what, error.hint)
        return _constant_step(
            node, value.data.item() if isinstance(value.data, (np.generic, np.ndarray)) else value.data
        )


def _kind_of_constant(value: Any) -> str:
    if value is None:
        return NULL
    return BOOL if isinstance(value, bool) else STRING if isinstance(value, str) else NUMBER


def _constant_step(node: ast.expr, value: Any) -> CompiledTerm:
    held = ConditionValue(_kind_of_constant(value), value)
    return CompiledTerm(node, lambda kinds: held.kind, lambda columns: held, constant=True)


def _load_at(node: ast.expr, name: str, columns: Columns) -> ConditionValue:
    try:
        return load(name, columns)
    except Unfit as error:
        error.spot = node
        raise


def _operation_step(
    node: ast.expr, rule: Callable[..., str], work: Callable[..., ConditionValue], operands: tuple[CompiledTerm, ...]
) -> CompiledTerm:
    runs = tuple(operand.run for operand in operands)

    def ruled(kinds: Iterable[str]) -> str:
        try:
            return rule(*kinds)
        except Unfit as error:
            error.spot = error.spot or (node if error.part is None else operands[error.part].spot)
            raise

    def kind(kinds: Mapping[str, str]) -> str:
        return ruled([operand.kind(kinds) for operand in operands])

    def run(columns: Columns) -> ConditionValue:
        values = [each(columns) for each in runs]
        ruled([value.kind for value in values])
        return work(*values)

    return CompiledTerm(node, kind, run, all(operand.constant for operand in operands))


def pointed(source: str, spot: ast.AST | tuple[int, int]) -> str:
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


def allowed() -> str:
    """What the language has, for hints."""
    return (
        "a condition has names of columns, numbers, strings, true, false, null, comparisons, and, or, not, "
        f"+ - * / // %, in [..], and the functions {', '.join(FUNCTIONS)}"
    )
