"""Kinds of values, and the rules of operations: a rule takes kinds and gives a kind, or raises `Unfit`."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from motet.types import ColumnType

NUMBER, BOOL, STRING, BYTES, NULL, ANY = "number", "bool", "string", "bytes", "null", "any"
NUMBERS, BOOLS, OBJECTS = "array of numbers", "array of bools", "array of strings"
ARRAYS = (NUMBERS, BOOLS, OBJECTS)
_NAMED = {NUMBER: "a number", BOOL: "a bool", STRING: "a string", BYTES: "bytes", NULL: "null", ANY: "of any type"}


class Unfit(Exception):
    """An operation does not take what it is given; `part` is which of its arguments, from 0, None for the whole."""

    def __init__(self, what: str, hint: str = "", part: int | None = None) -> None:
        self.what, self.hint, self.part = what, hint, part
        self.spot: ast.AST | None = None
        super().__init__(what)


def kind_of(kind: ColumnType) -> str:
    """The kind of a column of this type."""
    if kind.dtype == "any":
        return ANY
    if kind.is_object:
        return OBJECTS if kind.shape else kind.dtype
    scalar, array = (BOOL, BOOLS) if kind.dtype == "bool" else (NUMBER, NUMBERS)
    return array if kind.shape else scalar


def _named(kind: str) -> str:
    return _NAMED.get(kind, f"an {kind}")


def _need(kind: str, wanted: tuple[str, ...], what: str, part: int | None = None) -> None:
    if kind in (ANY, *wanted):
        return
    hint = ""
    if kind in ARRAYS and not set(wanted) & set(ARRAYS):
        hint = "max_of, min_of, sum_of, mean_of, any_of and all_of make one value of a row's array"
    elif kind == BOOL and wanted == (NUMBER,):
        hint = "a bool stands alone: write flag, or not flag"
    raise Unfit(f"{what} takes {' or '.join(_named(each) for each in wanted)}, got {_named(kind)}", hint, part)


def rule_result(kind: str) -> None:
    """The whole is true or false."""
    _need(kind, (BOOL,), "a condition is true or false: it")


def rule_plain(name: str, wanted: Sequence[tuple[str, ...]], gives: str, *kinds: str) -> str:
    """Arguments of these kinds, the last one repeated where there are more."""
    for part, kind in enumerate(kinds):
        _need(kind, wanted[min(part, len(wanted) - 1)], name, part)
    return gives


def rule_isnull(kind: str) -> str:
    """One value a row, of any kind."""
    if kind in ARRAYS:
        raise Unfit(f"isnull takes one value a row, got {_named(kind)}", "len(x) == 0 tells an empty array", 0)
    return BOOL


def rule_compare(symbols: Sequence[str], *kinds: str) -> str:
    """Values of one kind side by side; null only for equality."""
    for part, (symbol, left, right) in enumerate(zip(symbols, kinds[:-1], kinds[1:], strict=True)):
        equality = symbol in ("==", "!=")
        for kind, place in ((left, part), (right, part + 1)):
            if kind in ARRAYS:
                _need(kind, (NUMBER, STRING), symbol, place)
        if NULL in (left, right):
            if not equality:
                raise Unfit(f"{symbol} cannot compare with null", "write isnull(x), x == null or x != null")
            continue
        if ANY not in (left, right) and left != right:
            raise Unfit(f"{symbol} compares {_named(left)} with {_named(right)}", _compare_hint(left, right))
        if not equality and BOOL in (left, right):
            raise Unfit(f"{symbol} does not order bools", "use and, or, not, == and !=")
    return BOOL


def _compare_hint(left: str, right: str) -> str:
    if {left, right} == {STRING, NUMBER}:
        return "a string is written in quotes and a number without"
    return "a bool stands alone: write flag, or not flag" if BOOL in (left, right) else ""


def rule_in(wanted: str, kind: str) -> str:
    """A value of the kind of the list."""
    _need(kind, (wanted,), "in this list", 0)
    return BOOL
