"""Whether rows may be written into a table that is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from motet.databases.layout import TableLayout
from motet.errors import InputError

__all__ = ["check_matches", "sole_key"]


def check_matches(
    there: TableLayout | None,
    rows: TableLayout,
    where: str,
    same: Callable[[pa.DataType, pa.DataType], bool] = lambda a, b: a == b,
    *,
    more: bool = False,
) -> None:
    """See that rows may be written into a table.

    Args:
        there: the table's; None where there is no table yet, which may be whatever they are.
        rows: theirs.
        where: the table, for messages.
        more: whether the table may have columns that the rows have not.
        same: whether a type of the table is that of a column of rows.

    Raises:
        InputError: when its ids, columns, the length of a vector or the metric are others.
    """
    if there is None:
        return
    hint = "write to another table, or make the columns what they were"
    if rows.id != there.id:
        raise InputError(f"its ids are in {there.id!r}, those of the rows in {rows.id!r}", where=where, hint=hint)
    for name, length in rows.vectors.items():
        if name in there.vectors and there.vectors[name] != length:
            what = f"vectors {name!r} have {there.vectors[name]} numbers in the table, and {length} in the rows"
            raise InputError(what, where=where, hint=hint)
    for name in [*rows.schema.names, *(() if more else there.schema.names)]:
        if name not in there.schema.names or name not in rows.schema.names:
            other = "table" if name not in there.schema.names else "rows"
            columns = ", ".join((there if other == "table" else rows).schema.names)
            raise InputError(f"column {name!r} is not in the {other}, which has {columns}", where=where, hint=hint)
    for name in rows.schema.names:
        kind, wanted = there.schema.field(name).type, rows.schema.field(name).type
        if not same(kind, wanted):
            raise InputError(
                f"column {name!r} is {kind} in the table, and {wanted} in the rows", where=where, hint=hint
            )
    if None not in (rows.metric, there.metric) and rows.metric != there.metric:
        what = f"its vectors are compared by {there.metric}, and metric={rows.metric} is asked for"
        raise InputError(what, where=where, hint="leave metric= out, or write to another table")


def sole_key(keys: Sequence[str], where: str) -> str:
    """The column of the ids of a table.

    Args:
        keys: the columns of its primary key.
        where: the table, for messages.

    Raises:
        InputError: when these are none, or several.
    """
    if len(keys) != 1:
        hint = "make the column of the ids its primary key"
        raise InputError("the table has no primary key of one column", where=where, hint=hint)
    return keys[0]
