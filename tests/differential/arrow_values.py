"""Every Arrow type with values at its edges, and what becomes of a column of it that is only kept, by pyarrow itself.

`VALUES` has an array for each type, by name; nothing of Motet makes them or what is expected of them.
`kept_table()` gives the table of docs/values.md: one dict for each type with the keys `type`, `parquet`, `arrow`, `csv`
and `jsonl`. The first two say the type that is in the file; the others show the text of the first value; each says
`refused` where the format cannot hold the type, so that a run ends before its first row, and `left out` for lists, structs
and maps that are not written where nobody named them with `--keep`.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

__all__ = ["VALUES", "csv_rows", "json_rows", "kept_table", "parquet_type", "plain"]

_TEXTS = ["", "a", 'say "hi", ok', "line\nend", "naïve ✓", "00123", "1.10", "TRUE", "\t", "NaN"]
_BYTES = [b"", b"\x00\xff", b"abc", b"\n,\"'", "ü".encode()]
_OLD, _LATE = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)


def _whole(bits: int, signed: bool) -> list[int]:
    low = -(1 << (bits - 1)) if signed else 0
    return [1, 0, low, low + (1 << bits) - 1]


def _numbers() -> Iterator[tuple[str, pa.Array]]:
    for signed, bits in product((True, False), (8, 16, 32, 64)):
        data_type = getattr(pa, f"{'' if signed else 'u'}int{bits}")()
        yield str(data_type), pa.array([*_whole(bits, signed), None], data_type)
    for width in (16, 32, 64):
        edges = np.array([0.1, -0.0, 1.5, 65504.0, np.nan, np.inf, -np.inf], f"float{width}")
        yield f"float{width}", pa.array([*edges, None], getattr(pa, f"float{width}")())
    yield "bool", pa.array([True, False, None])
    yield "null", pa.nulls(3)


def _times() -> Iterator[tuple[str, pa.Array]]:
    for unit, zone in product(("s", "ms", "us", "ns"), (None, "UTC", "Europe/Berlin", "+05:30", "America/New_York")):
        data_type = pa.timestamp(unit, zone)
        far = [] if unit == "ns" else [_OLD, _LATE]  # out of the range of nanoseconds: before 1677, after 2262
        known = pa.array([*far, datetime(2024, 7, 1, 12), None], pa.timestamp(unit)).cast(data_type)
        counts = pa.array(
            [1, -1, -(2**63) + 1 if unit == "ns" else 253402300800 * (1 if unit == "s" else 1000)], pa.int64()
        )
        yield str(data_type), pa.concat_arrays([counts.cast(data_type), known])
    for unit in ("s", "ms", "us", "ns"):
        yield f"duration[{unit}]", pa.array([1, 0, -1, 90_061, -(2**62), None], pa.int64()).cast(pa.duration(unit))
    for data_type in (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")):
        per_day = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}[data_type.unit]
        stored = pa.int32() if data_type.bit_width == 32 else pa.int64()
        yield str(data_type), pa.array([1, 0, per_day - 1, None], stored).cast(data_type)
    days = pa.array([3_000_000, 0, -800_000, 19_000, None], pa.int32())
    yield "date32", days.cast(pa.date32())
    yield "date64", days.cast(pa.date32()).cast(pa.date64())
    yield "interval", pa.array([(1, 2, 3), (-1, 0, 0), None], pa.month_day_nano_interval())


def _decimals() -> Iterator[tuple[str, pa.Array]]:
    for bits, digits in ((32, 9), (64, 18), (128, 38), (256, 76)):
        make = getattr(pa, f"decimal{bits}", None)
        if make is not None:
            most = "9" * (digits - 2) + ".99"
            edges = [Decimal(text) for text in ("1.10", "0.00", most, f"-{most}")]
            yield f"decimal{bits}", pa.array([*edges, None], make(digits, 2))


def _texts() -> Iterator[tuple[str, pa.Array]]:
    for data_type in (pa.string(), pa.large_string(), pa.string_view()):
        yield str(data_type), pa.array([*_TEXTS[1:], "", None], data_type)
    for data_type in (pa.binary(), pa.large_binary(), pa.binary_view()):
        yield str(data_type), pa.array([*_BYTES[1:], b"", None], data_type)
    yield "fixed_size_binary", pa.array([b"\x00\xffab", b"abcd", None], pa.binary(4))


def _encoded() -> Iterator[tuple[str, pa.Array]]:
    many = [f"category {place}" for place in range(120)]
    yield "dictionary<int8>", pa.array([*many, None], pa.dictionary(pa.int8(), pa.string()))
    yield (
        "dictionary<uint32, ordered>",
        pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.uint32()), pa.array([7, 8], pa.int64()), ordered=True),
    )
    yield "run_end_encoded", pc.run_end_encode(pa.array(["a", "a", None, "b"]))


def _nested() -> Iterator[tuple[str, pa.Array]]:
    words = pa.dictionary(pa.int8(), pa.string())
    for data_type in (
        pa.list_(pa.int8()),
        pa.large_list(pa.int8()),
        pa.list_view(pa.int8()),
        pa.large_list_view(pa.int8()),
    ):
        yield str(data_type).partition("<")[0], pa.array([[1, None], [], [2, 3, 4], None], data_type)
    yield "fixed_size_list", pa.array([[1.5, None], [2.0, 3.0], None], pa.list_(pa.float64(), 2))
    yield (
        "fixed_size_list of lists",
        pa.array([[["a", "b"], None], None, [["c", None], ["d", "e"]]], pa.list_(pa.list_(pa.string(), 2), 2)),
    )
    yield "list of dictionaries", pa.array([["a", "b"], ["a", None], None], pa.list_(words))
    yield "list of times", pa.array([[datetime(2024, 1, 1), None], None], pa.list_(pa.timestamp("ns")))
    inner = [("w", words), ("t", pa.timestamp("ns", "UTC")), ("b", pa.binary()), ("d", pa.decimal128(5, 2))]
    yield (
        "struct",
        pa.array([{"w": "a", "t": 1, "b": b"\xff", "d": Decimal("1.10")}, {"w": None}, None], pa.struct(inner)),
    )
    yield "map", pa.array([[("a", [1]), ("b", [])], [], None], pa.map_(pa.string(), pa.list_(pa.int8())))
    yield (
        "map of dates",
        pa.array([[(date(2024, 1, 1), Decimal("0.50"))], None], pa.map_(pa.date32(), pa.decimal128(4, 2))),
    )
    tensors = pa.array([[1, 2, 3, 4, 5, 6], None, [7, 8, 9, 10, 11, 12]], pa.list_(pa.float32(), 6))
    for name, order in (("tensor", None), ("tensor, permuted", [1, 0])):
        data_type = pa.fixed_shape_tensor(pa.float32(), [2, 3], permutation=order)
        yield name, pa.ExtensionArray.from_storage(data_type, tensors)
    yield (
        "union",
        pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])], ["n", "t"]),
    )


def _extensions() -> Iterator[tuple[str, pa.Array]]:
    if hasattr(pa, "uuid"):
        yield "uuid", pa.array([bytes(range(16)), None], pa.uuid())
    if hasattr(pa, "json_"):
        yield "json", pa.array(['{"a": [1, 2]}', "1.10", None], pa.json_())
    if hasattr(pa, "bool8"):
        yield "bool8", pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0, None], pa.int8()))
    if hasattr(pa, "opaque"):
        opaque = pa.opaque(pa.binary(), "geometry", "postgis")
        yield "opaque", pa.ExtensionArray.from_storage(opaque, pa.array([b"\x01", None], pa.binary()))


VALUES: dict[str, pa.Array] = dict(
    each for make in (_numbers, _times, _decimals, _texts, _encoded, _nested, _extensions) for each in make()
)
"""Arrays of every type, each with a null and values at the edges of what it holds."""


def plain(data_type: Any) -> pa.DataType:
    """The type without dictionaries, run-ends and views, said again for the tests."""
    text = str(data_type)
    if pa.types.is_dictionary(data_type) or pa.types.is_run_end_encoded(data_type):
        return data_type.value_type
    if text in ("string_view", "binary_view"):
        return pa.string() if text == "string_view" else pa.binary()
    if pa.types.is_list_view(data_type) or pa.types.is_large_list_view(data_type):
        return (pa.list_ if pa.types.is_list_view(data_type) else pa.large_list)(data_type.value_type)
    if pa.types.is_list(data_type):
        return pa.list_(plain(data_type.value_type))
    if pa.types.is_struct(data_type):
        return pa.struct([(field.name, plain(field.type)) for field in data_type])
    return data_type


def parquet_type(data_type: pa.DataType) -> pa.DataType | None:
    """The type that pyarrow reads back from a Parquet file that it wrote itself; None where it writes none."""
    out = pa.BufferOutputStream()
    try:
        pq.write_table(pa.table({"x": pa.nulls(0, data_type)}), out)
    except (pa.ArrowException, OSError):
        return None
    return pq.read_schema(pa.BufferReader(out.getvalue())).field("x").type


def _text(value: Any, data_type: Any) -> Any:
    """The text of a value that holds no others; numbers, booleans and strings as they are."""
    if value is None or pa.types.is_null(data_type):
        return None
    name = getattr(data_type, "extension_name", "")
    if name == "arrow.uuid":
        return str(value)
    if name:
        return _text(value, pa.bool_() if name == "arrow.bool8" else data_type.storage_type)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if pa.types.is_integer(data_type) or isinstance(value, (bool, float, str)):
        return value
    return pa.scalar(value, data_type).cast(pa.string()).as_py()


def _duration(units: int, per_second: int) -> str:
    """ISO 8601, as the standard library's arithmetic says it."""
    sign, days, rest = "-" if units < 0 else "", *divmod(abs(units), 86_400 * per_second)
    seconds = Decimal(rest) / per_second
    amount = f"{seconds.normalize():f}" if rest % per_second else str(rest // per_second)
    time = f"T{amount}S" if rest or not days else ""
    return f"{sign}P{f'{days}D' if days else ''}{time}"


def _values(array: pa.Array) -> list[Any]:
    """The rows as JSON has them."""
    data_type: Any = plain(array.type)
    if pa.types.is_duration(data_type):
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[data_type.unit]
        return [None if unit is None else _duration(unit, per_second) for unit in array.cast(pa.int64()).to_pylist()]
    if pa.types.is_temporal(data_type) and not pa.types.is_nested(data_type):  # Python's have no nanoseconds
        return array.cast(pa.string()).to_pylist()
    if isinstance(data_type, pa.FixedShapeTensorType):
        rows = array.storage.to_pylist()
        order = data_type.permutation or [0, 1]
        return [None if row is None else np.reshape(row, data_type.shape).transpose(order).tolist() for row in rows]
    return [_nested_value(value, data_type) for value in array.to_pylist()]


def _nested_value(value: Any, data_type: Any) -> Any:
    if value is None:
        return None
    if pa.types.is_map(data_type):
        return [[_nested_value(k, data_type.key_type), _nested_value(v, data_type.item_type)] for k, v in value]
    if pa.types.is_struct(data_type):
        return {field.name: _nested_value(value[field.name], field.type) for field in data_type}
    if pa.types.is_nested(data_type):
        return [_nested_value(each, data_type.value_type) for each in value]
    if pa.types.is_timestamp(data_type) and not isinstance(value, datetime):
        value = value.to_pydatetime()  # pandas, for nanoseconds
    return _text(value, data_type)


def json_rows(array: pa.Array) -> list[Any] | None:
    """The values that a line of JSON has for each row; None where a line holds no such column."""
    if pa.types.is_interval(array.type) or pa.types.is_union(array.type):
        return None
    found = _values(array)
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in found]


def csv_rows(array: pa.Array) -> list[dict[str, Any]] | None:
    """The fields of each row by what is appended to the column's name; None where a line holds no such column."""
    data_type: Any = plain(array.type)
    shape: Sequence[int] = ()
    if isinstance(data_type, pa.FixedShapeTensorType):
        shape = np.transpose(np.empty(data_type.shape), data_type.permutation or [0, 1]).shape
    while pa.types.is_fixed_size_list(data_type):
        shape, data_type = (*shape, data_type.list_size), data_type.value_type
    if pa.types.is_interval(data_type) or (pa.types.is_nested(data_type) and not shape):
        return None
    return [
        {"".join(f".{at}" for at in place): _at(value, place) for place in np.ndindex(*shape)}
        for value in _values(array)
    ]


def _at(value: Any, place: Sequence[int]) -> Any:
    for at in place:
        value = None if value is None else value[at]
    return value


def kept_table() -> list[dict[str, str]]:
    """The rows of the table of docs/values.md: see the module."""
    return [_row(name, array) for name, array in VALUES.items()]


def _row(name: str, array: pa.Array) -> dict[str, str]:
    parquet, fields, values = parquet_type(plain(array.type)), csv_rows(array), json_rows(array)
    nested = pa.types.is_nested(plain(array.type))
    if fields and pa.types.is_floating(array.type):
        fields = [{"": array[0].cast(pa.string()).as_py()}]
    lost = "left out" if nested else "refused"
    return {
        "type": name,
        "parquet": lost if parquet is None else str(parquet),
        "arrow": str(plain(array.type)),
        "csv": lost if fields is None else ", ".join(f"`{'p' * bool(at)}{at}{': ' * bool(at)}{_shown(value)}`" for at, value in fields[0].items()),
        "jsonl": lost if values is None else f"`{json.dumps(values[0], ensure_ascii=False)}`",
    }  # fmt: skip


def _shown(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
