"""What fits a column type, what does not, and what is said about it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from motet.batch import Ragged, column_type
from motet.errors import InputError, TypeMismatchError
from motet.io.arrow import arrow_type, check_fits, from_column, natural_kind, to_column
from motet.types import ColumnType

IMAGES = np.arange(3 * 784, dtype=np.int64).astype(np.uint8).reshape(3, 28, 28)
IMAGE = ColumnType.parse("uint8[28,28]")


def kind(text: str) -> ColumnType:
    return ColumnType.parse(text)


def flat(values: np.ndarray) -> list:
    return [row.reshape(-1).tolist() for row in values]


STORED = {
    "binary": lambda rows: pa.array([row.tobytes() for row in rows], pa.binary()),
    "large_binary": lambda rows: pa.array([row.tobytes() for row in rows], pa.large_binary()),
    "binary_view": lambda rows: pa.array([row.tobytes() for row in rows], pa.binary_view()),
    "fixed_size_binary": lambda rows: pa.array([row.tobytes() for row in rows], pa.binary(784)),
    "list": lambda rows: pa.array(flat(rows), pa.list_(pa.uint8())),
    "large_list": lambda rows: pa.array(flat(rows), pa.large_list(pa.uint8())),
    "list_view": lambda rows: pa.array(flat(rows), pa.list_view(pa.uint8())),
    "fixed_size_list": lambda rows: pa.array(flat(rows), pa.list_(pa.uint8(), 784)),
    "nested": lambda rows: pa.array(rows.tolist(), pa.list_(pa.list_(pa.uint8()))),
    "nested_fixed": lambda rows: pa.array(rows.tolist(), pa.list_(pa.list_(pa.uint8(), 28), 28)),
    "list_of_binary": lambda rows: pa.array([[line.tobytes() for line in row] for row in rows], pa.list_(pa.binary())),
    "tensor": lambda rows: from_column(rows),
    "dictionary": lambda rows: pa.array([row.tobytes() for row in rows], pa.binary()).dictionary_encode(),
}


@pytest.mark.parametrize("name", sorted(STORED))
def test_every_way_to_store_an_array_gives_the_same_column(name: str) -> None:
    array = STORED[name](IMAGES)
    check_fits(array.type, IMAGE, "image")
    column, bad = to_column(array, IMAGE)
    assert bad == {}
    assert column.dtype == np.uint8
    np.testing.assert_array_equal(column, IMAGES)


@pytest.mark.parametrize("name", sorted(STORED))
@pytest.mark.parametrize(("start", "length"), [(1, 2), (2, 1), (1, 0), (0, 2)])
def test_slices_and_chunks_give_their_own_rows(name: str, start: int, length: int) -> None:
    array = STORED[name](IMAGES).slice(start, length)
    np.testing.assert_array_equal(to_column(array, IMAGE)[0], IMAGES[start : start + length])
    chunked = pa.chunked_array([array, STORED[name](IMAGES)], array.type)
    np.testing.assert_array_equal(
        to_column(chunked, IMAGE)[0], np.concatenate([IMAGES[start : start + length], IMAGES])
    )


@pytest.mark.parametrize("name", sorted(STORED))
def test_a_null_row_is_bad_and_its_neighbours_are_not(name: str) -> None:
    array = STORED[name](IMAGES)
    with_null = pa.concat_arrays([array.slice(0, 2), pa.nulls(1, array.type), array.slice(2)]).slice(1)
    column, bad = to_column(with_null, IMAGE)
    assert bad == {1: "is null"}
    np.testing.assert_array_equal(column, IMAGES[1:])
    column, bad = to_column(with_null, IMAGE, default=0)
    assert bad == {}
    np.testing.assert_array_equal(column, np.stack([IMAGES[1], np.zeros((28, 28)), IMAGES[2]]))


def test_plain_binary_is_a_view() -> None:
    array = STORED["binary"](IMAGES)
    column, _ = to_column(array, IMAGE)
    assert column.ctypes.data == array.buffers()[2].address
    assert not column.flags.writeable


def test_numbers_that_are_not_aligned_are_copied() -> None:
    rows = np.arange(6, dtype=np.float64).reshape(3, 2)
    array = pa.array([b"odd", *(row.tobytes() for row in rows)], pa.binary()).slice(1)
    column, bad = to_column(array, kind("float64[2]"))
    assert bad == {}
    assert column.flags.aligned
    np.testing.assert_array_equal(column, rows)


def test_a_row_of_a_wrong_size_says_what_it_has() -> None:
    rows = [row.tobytes() for row in IMAGES]
    column, bad = to_column(pa.array([rows[0], rows[1][:-1], rows[2]]), IMAGE)
    assert bad == {1: "has 783 bytes, uint8[28,28] needs 784"}
    np.testing.assert_array_equal(column, IMAGES[[0, 2]])


def test_a_row_of_a_wrong_size_does_not_set_the_others_off_their_alignment() -> None:
    rows = [b"\0" * 8, b"\1" * 7, np.array([1.5, 2.5], "<f4").tobytes()]
    column, bad = to_column(pa.array(rows), kind("float32[2]"))
    assert bad == {1: "has 7 bytes, float32[2] needs 8"}
    np.testing.assert_array_equal(column, [[0, 0], [1.5, 2.5]])


@pytest.mark.parametrize(
    ("rows", "wanted", "message"),
    [
        ([[1.0], [1.0, 2.0]], "float32[2]", "is float32[2]; got shape [1]"),
        ([[1.0] * 5, [1.0] * 4], "float32[2,2]", "has 5 values, float32[2,2] needs 4"),
        ([[1.0] * 5, [1.0] * 6], "float32[?,2]", "has 5 values, float32[?,2] needs a multiple of 2"),
        ([[None, 1.0], [1.0, 2.0]], "float32[2]", "holds a null"),
    ],
)
def test_a_list_that_does_not_fit_says_why(rows: list, wanted: str, message: str) -> None:
    column, bad = to_column(pa.array(rows, pa.list_(pa.float32())), kind(wanted))
    assert bad == {0: message}
    assert len(column) == 1


@pytest.mark.parametrize(
    ("row", "wanted", "message"),
    [
        (
            [[1, 2], [3]],
            "int64[?,?]",
            "is not rectangular: its lists differ in length, int64[?,?] needs one shape in a row",
        ),
        ([[1, 2], [3, 4], [5, 6]], "int64[2,2]", "is int64[2,2]; got shape [3, 2]"),
        ([[1, 2, 3]], "int64[?,2]", "is int64[?,2]; got shape [1, 3]"),
        ([[1, None]], "int64[?,?]", "holds a null"),
        ([[1], None], "int64[?,?]", "holds a null"),
    ],
)
def test_a_nested_list_that_does_not_fit_says_why(row: list, wanted: str, message: str) -> None:
    column, bad = to_column(pa.array([row, [[1, 2], [3, 4]]], pa.list_(pa.list_(pa.int64()))), kind(wanted))
    assert bad == {0: message}
    assert [np.asarray(good).tolist() for good in column] == [[[1, 2], [3, 4]]]


def test_values_under_a_null_list_are_not_counted() -> None:
    values = pa.array(range(6), pa.uint8())
    array = pa.ListArray.from_arrays(pa.array([0, 2, 4, 6], pa.int32()), values, mask=pa.array([False, True, False]))
    column, bad = to_column(array, kind("uint8[2]"))
    assert bad == {1: "is null"}
    np.testing.assert_array_equal(column, [[0, 1], [4, 5]])


@pytest.mark.parametrize(
    ("stored", "wanted", "fits"),
    [
        (pa.int8(), "int32", True),
        (pa.uint8(), "float32", True),
        (pa.int32(), "float64", True),
        (pa.float32(), "float64", True),
        (pa.bool_(), "int8", True),
        (pa.int64(), "float64", True),
        (pa.float64(), "int8", True),
        (pa.float64(), "float32", False),
        (pa.int32(), "uint32", True),
        (pa.decimal128(9, 2), "float64", True),
        (pa.decimal128(9, 2), "bool", False),
        (pa.int8(), "bool", False),
        (pa.string(), "float32", False),
        (pa.string(), "bytes", False),
        (pa.binary(), "string", False),
        (pa.large_string(), "string", True),
        (pa.string_view(), "string", True),
        (pa.dictionary(pa.int32(), pa.string()), "string", True),
        (pa.binary(4), "bytes", True),
        (pa.binary(784), "uint8[28,28]", True),
        (pa.binary(783), "uint8[28,28]", False),
        (pa.binary(784), "uint8[?,28]", True),
        (pa.binary(783), "uint8[?,28]", False),
        (pa.binary(), "uint8[?,?]", True),
        (pa.string(), "uint8[28,28]", False),
        (pa.list_(pa.float64()), "float32[3]", False),
        (pa.list_(pa.uint8(), 3), "uint8[4]", False),
        (pa.list_(pa.list_(pa.uint8())), "uint8[4]", False),
        (pa.list_(pa.string()), "string[?]", True),
        (pa.fixed_shape_tensor(pa.uint8(), [2, 3]), "uint8[2,3]", True),
        (pa.fixed_shape_tensor(pa.uint8(), [2, 3]), "uint8[3,2]", False),
        (pa.fixed_shape_tensor(pa.uint8(), [2, 3]), "uint8[?,3]", True),
        (pa.fixed_shape_tensor(pa.uint8(), [2, 3], permutation=[1, 0]), "uint8[3,2]", True),
        (pa.timestamp("s"), "int64", False),
        (pa.timestamp("s"), "any", True),
        (pa.null(), "float32[3]", True),
    ],
)
def test_what_fits_is_told_from_the_types(stored: pa.DataType, wanted: str, fits: bool) -> None:
    if fits:
        check_fits(stored, kind(wanted), "x")
        assert len(to_column(pa.nulls(0, stored), kind(wanted))[0]) == 0
        return
    with pytest.raises(TypeMismatchError) as caught:
        check_fits(stored, kind(wanted), "x")
    assert str(caught.value).startswith(f"column 'x': is stored as {stored}, the graph wants {wanted}")
    with pytest.raises(TypeMismatchError):
        to_column(pa.nulls(0, stored), kind(wanted))


def test_a_tensor_with_a_permutation_shows_its_logical_shape() -> None:
    stored = np.arange(12, dtype=np.int32).reshape(2, 2, 3)
    data_type = pa.fixed_shape_tensor(pa.int32(), [2, 3], permutation=[1, 0])
    array = pa.ExtensionArray.from_storage(data_type, from_column(stored).storage)
    column, bad = to_column(array, kind("int32[3,2]"))
    assert bad == {}
    np.testing.assert_array_equal(column, stored.transpose(0, 2, 1))


def test_binary_with_one_axis_that_varies_gives_its_shape() -> None:
    column, bad = to_column(pa.array([b"abcdef", b"", b"xyz", b"1"]), kind("uint8[?,3]"))
    assert bad == {3: "has 1 bytes, uint8[?,3] needs a multiple of 3"}
    assert column.shapes.tolist() == [[2, 3], [0, 3], [1, 3]]
    assert bytes(column[2]) == b"xyz"


def test_a_group_of_binary_rows_is_one_row_of_many_arrays() -> None:
    array = pa.array([[b"abcd", b"efgh"], [b"ijkl"], [b"bad"], []])
    column, bad = to_column(array, kind("uint8[?,2,2]"))
    assert bad == {2: "has 3 bytes, uint8[?,2,2] needs 4"}
    assert column.shapes.tolist() == [[2, 2, 2], [1, 2, 2], [0, 2, 2]]
    assert bytes(column[0].reshape(-1)) == b"abcdefgh"


@pytest.mark.parametrize(
    ("array", "wanted", "column", "bad"),
    [
        (pa.array([1, 2**53 + 1, None, 2**53]), "float64", [1, 2**53], {1: "is float64; got 9007199254740993, which it cannot hold exactly", 2: "is null"}),
        (pa.array([1.0, 2.5, None, 4.0, float("nan")]), "int64", [1, 4], {1: "is int64; got 2.5, which is not whole", 2: "is null", 4: "is null"}),
        (pa.array([1, 300, 3], pa.int16()), "uint8", [1, 3], {1: "is uint8; got 300, which is out of its range"}),
        (pa.array([Decimal("1.00"), Decimal("1.10"), None]), "int64", [1], {1: "is int64; got 1.10, which is not whole", 2: "is null"}),
        (pa.array([Decimal("1.10"), None]), "float64", [1.1], {1: "is null"}),
        (pa.array([[1.0, 2.0], None, [1.5, 2.0], [float("nan"), 1.0], [3.0, 4.0]]), "int64[2]", [[1, 2], [3, 4]], {1: "is null", 2: "is int64[2]; got 1.5, which is not whole", 3: "holds a null"}),
        (pa.array([[1, 2**60], [2**53 + 1, 1], []]), "float64[?]", [[1, 2**60], []], {1: "is float64[?]; got 9007199254740993, which it cannot hold exactly"}),
        (pa.array([1, 300, 3]).dictionary_encode(), "uint8", [1, 3], {1: "is uint8; got 300, which is out of its range"}),
    ],
)  # fmt: skip
def test_numbers_are_taken_row_by_row_where_nothing_is_lost(array: Any, wanted: str, column: Any, bad: Any) -> None:
    check_fits(array.type, kind(wanted), "x")
    found, reasons = to_column(array, kind(wanted))
    assert found.dtype == kind(wanted).numpy_dtype
    assert [np.asarray(row).tolist() for row in found] == column
    assert reasons == bad
    shifted, reasons = to_column(pa.concat_arrays([array[:1], array])[1:], kind(wanted))
    assert [np.asarray(row).tolist() for row in shifted] == column
    assert reasons == bad


def test_nan_among_whole_numbers_takes_the_default() -> None:
    column, bad = to_column(pa.array([1.0, float("nan"), None, 2.5]), kind("int64"), default=7)
    assert (column.tolist(), bad) == ([1, 7, 7], {3: "is int64; got 2.5, which is not whole"})


@pytest.mark.parametrize("default", [None, "x", {"a": 1}])
def test_anything_may_be_null_where_there_is_a_default(default: Any) -> None:
    for array in (pa.array([1, None]), pa.array([1.5, None]), pa.array(["a", None]), pa.array([True, None])):
        column, bad = to_column(array, kind("any"), default=default, nullable=True)
        assert (column.tolist(), column.dtype, bad) == ([array[0].as_py(), default], object, {})
    column, bad = to_column(pa.array([[1, 2], None, [3]]), kind("any"), default=default, nullable=True)
    assert ([row if row is default else row.tolist() for row in column], bad) == ([[1, 2], default, [3]], {})


@pytest.mark.parametrize(
    ("stored", "wanted", "hint"),
    [
        (
            pa.float64(),
            "float32",
            "declare float64, and convert it in the graph, for example with motet.ops.columns.cast",
        ),
        (pa.int64(), "string", "declare int64, and convert"),
        (pa.string(), "int64", "declare string, and convert"),
        (pa.date32(), "string", "declare any, which takes it as it is, and convert"),
        (pa.timestamp("us", "UTC"), "float64", "declare any, which takes it as it is, and convert"),
        (pa.decimal128(9, 2), "string", "declare any, which takes it as it is, and convert"),
        (pa.float64(), "float32[3]", "a stored column fits dtype"),
    ],
)
def test_a_type_that_is_refused_says_which_would_do(stored: Any, wanted: str, hint: str) -> None:
    with pytest.raises(TypeMismatchError) as caught:
        check_fits(stored, kind(wanted), "x")
    assert caught.value.hint.startswith(hint)


def test_nulls_take_the_default() -> None:
    assert to_column(pa.array([1, None, 3], pa.int32()), kind("int32"), default=7)[0].tolist() == [1, 7, 3]
    assert to_column(pa.array(["a", None]), kind("string"), default="z")[0].tolist() == ["a", "z"]
    rows = pa.array([[1.0, 2.0], None, [3.0]], pa.list_(pa.float32()))
    column, bad = to_column(rows, kind("float32[2]"), default=0)
    assert bad == {2: "is float32[2]; got shape [1]"}
    np.testing.assert_array_equal(column, [[1, 2], [0, 0]])
    ragged, bad = to_column(rows, kind("float32[?]"), default=[9.0])
    assert [row.tolist() for row in ragged] == [[1, 2], [9], [3]]
    assert bad == {}


def test_nulls_may_stay() -> None:
    assert to_column(pa.array(["a", None]), kind("string"), nullable=True)[0].tolist() == ["a", None]
    column, bad = to_column(pa.array([None, 1.0], pa.float32()), kind("float32"), nullable=True)
    assert bad == {}
    assert column.dtype == np.float32
    np.testing.assert_array_equal(column, [np.nan, 1])
    assert to_column(pa.array([None, 1]), kind("int64"), nullable=True)[1] == {0: "is null"}


def test_a_column_of_nothing_but_nulls_fits_anything() -> None:
    column, bad = to_column(pa.nulls(2), kind("float32[3]"))
    assert bad == {0: "is null", 1: "is null"}
    assert column.shape == (0, 3)
    assert to_column(pa.nulls(2), kind("string"), default="x")[0].tolist() == ["x", "x"]


@pytest.mark.parametrize(("wanted", "default"), [("float32[2]", [1, 2, 3]), ("int8", "one"), ("float32[?]", 1.0)])
def test_a_default_that_does_not_fit_is_refused(wanted: str, default: object) -> None:
    with pytest.raises(InputError) as caught:
        to_column(pa.nulls(1), kind(wanted), default=default, name="x")
    assert str(caught.value).startswith(f"column 'x': the default {default!r} is no {wanted}")


def test_any_takes_what_the_type_naturally_is() -> None:
    assert to_column(pa.array([1, 2], pa.int16()), kind("any"))[0].dtype == np.int16
    assert to_column(pa.array(["a"]), kind("any"))[0].tolist() == ["a"]
    assert isinstance(to_column(pa.array([[1], [2, 3]]), kind("any"))[0], Ragged)
    assert to_column(pa.array([{"a": 1}]), kind("any"))[0].tolist() == [{"a": 1}]
    assert str(natural_kind(pa.list_(pa.list_(pa.float32())))) == "float32[?,?]"


def test_the_stored_type_is_known_before_rows_flow() -> None:
    for text, stored in [
        ("float32", pa.float32()),
        ("bool", pa.bool_()),
        ("string", pa.string()),
        ("bytes", pa.binary()),
        ("uint8[2,3]", pa.fixed_shape_tensor(pa.uint8(), [2, 3])),
        ("float32[?]", pa.list_(pa.float32())),
        ("float32[?,80]", pa.list_(pa.list_(pa.float32()))),
        ("string[2]", pa.list_(pa.string())),
        ("float32[0]", pa.list_(pa.float32())),
    ]:
        assert arrow_type(kind(text)) == stored
    assert arrow_type(kind("any")) is None


def test_a_dense_column_may_be_stored_where_rows_may_vary() -> None:
    array = from_column(np.ones((2, 3), np.float32), kind("float32[?]"))
    assert array.to_pylist() == [[1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize(
    ("column", "wanted", "message"),
    [
        (np.zeros(2, np.float64), "float32", "column 'x': holds float64, declared is float32"),
        (np.zeros((2, 3), np.float32), "float32[4]", "column 'x': holds float32[3], declared is float32[4]"),
        (Ragged.from_rows([[1], [2, 3]], np.int64), "int64[2]", "column 'x': holds int64[?], declared is int64[2]"),
        (np.array(["a", 1], object), "string", "column 'x': holds something that is no string: "),
        (np.array([object()], object), "any", "column 'x': holds values that cannot be stored: "),
        (np.array([1, "a"], object), "any", "column 'x': holds values that cannot be stored: "),
    ],
)
def test_values_of_another_type_are_refused(column: np.ndarray, wanted: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        from_column(column, kind(wanted), name="x")
    assert str(caught.value).startswith(message)


def test_objects_with_nulls_are_stored_as_nulls() -> None:
    assert from_column(np.array(["a", None], object), kind("string")).to_pylist() == ["a", None]
    assert from_column(np.array([None, None], object), kind("bytes")).type == pa.binary()
    assert str(column_type(to_column(from_column(np.array([b"x"], object)), kind("bytes"))[0])) == "bytes"
