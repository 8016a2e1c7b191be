from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from motet.batch import Ragged, objects
from motet.errors import InputError
from motet.ops import columns
from motet.types import ColumnType, declared_outputs

WHOLE = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


def declared(function: Any, *kinds: Any, **keywords: Any) -> Any:
    return str(declared_outputs(function, tuple(ColumnType.parse(kind) for kind in kinds), keywords))


@given(st.floats(width=64), st.sampled_from(WHOLE))
def test_floats_become_whole_numbers_or_are_refused(value: Any, dtype: Any) -> None:
    limits = np.iinfo(dtype)
    if np.isfinite(value) and limits.min <= int(value) <= limits.max:
        assert columns.cast(np.array([value]), dtype=dtype).tolist() == [int(value)]
    else:
        with pytest.raises(InputError, match=f"has no place in {dtype}"):
            columns.cast(np.array([value]), dtype=dtype)


@given(st.sampled_from(WHOLE).flatmap(lambda dtype: hnp.arrays(dtype, 1)), st.sampled_from(WHOLE))
def test_whole_numbers_are_kept_or_refused(values: Any, dtype: Any) -> None:
    limits, value = np.iinfo(dtype), int(values[0])
    if limits.min <= value <= limits.max:
        assert columns.cast(values, dtype=dtype).tolist() == [value]
    else:
        with pytest.raises(InputError, match=f"{value} has no place in {dtype}"):
            columns.cast(values, dtype=dtype)


def test_strings_are_read_and_written_as_python_does() -> None:
    assert columns.cast(objects([" 3.5", "nan"]), dtype="float32").astype(str).tolist() == ["3.5", "nan"]
    assert columns.cast(objects(["-12"]), dtype="int8").tolist() == [-12]
    assert columns.cast(np.array([1.5, 2.0]), dtype="string").tolist() == ["1.5", "2.0"]
    assert columns.cast(np.array([[True]]), dtype="string").tolist() == [["True"]]
    assert columns.cast(columns.cast(objects(["é"]), dtype="bytes"), dtype="string").tolist() == ["é"]
    assert columns.cast(np.array([0, 3]), dtype="bool").tolist() == [False, True]


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        ("abc", "float32", "'abc' cannot be cast: could not convert"),
        ("1.5", "int64", "'1.5' cannot be cast: invalid literal"),
        ("300", "uint8", "300 has no place in uint8"),
        (b"\xff", "string", "cannot be cast: 'utf-8' codec"),
        (None, "string", "None cannot be cast: it is null"),
        (5, "bytes", "5 cannot be cast: bytes are made from strings"),
        ("true", "bool", "a bool is made from a number"),
    ],
)
def test_values_that_cannot_be_cast_are_shown(value: bytes | int | str | None, dtype: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        columns.cast(objects([value]), dtype=dtype)


def test_columns_are_put_together() -> None:
    assert columns.stack(np.array([1, 2]), np.array([0.5, 1.5])).tolist() == [[1, 0.5], [2, 1.5]]
    assert columns.concat(np.ones((1, 2, 3)), np.zeros((1, 2, 1)), axis=1).shape == (1, 2, 4)
    ragged = columns.concat([np.ones(2), np.ones(1)], np.zeros((2, 2)))
    assert [row.tolist() for row in ragged] == [[1, 1, 0, 0], [1, 0, 0]]
    assert declared(columns.concat, "float32[?,4]", "float64[2,4]") == "float64[?,4]"
    assert declared(columns.concat, "float32[?,4]", "float32[2,?]", axis=1) == "float32[2,?]"
    assert declared(columns.stack, "int32", "float32") == "float64[2]"


def test_pick_takes_out_of_rows_that_differ() -> None:
    rows = [np.array([1, 2]), np.array([3, 4, 5])]
    assert columns.pick(rows, index=-1).tolist() == [2, 5]
    assert declared(columns.pick, "float32[?,80]", index=0) == "float32[80]"
    with pytest.raises(InputError, match=r"2 is outside axis 0 of a row of shape \[2\]"):
        columns.pick(rows, index=2)
    with pytest.raises(ValueError, match=r"pick 3 is outside axis 0 of float32\[3\], of length 3"):
        declared(columns.pick, "float32[3]", index=3)


def test_constant_gives_every_row_the_value() -> None:
    column = np.zeros((3, 2))
    assert columns.constant(column, value="a").tolist() == ["a", "a", "a"]
    assert columns.constant(column, value=[1, 2], dtype="uint8").dtype == np.uint8
    assert declared(columns.constant, "string", value=True) == "bool"
    for value in (None, object(), b"x"):
        with pytest.raises(ValueError, match=r"constant (needs|holds)"):
            declared(columns.constant, "string", value=value)
    with pytest.raises(ValueError, match="300 has no place in uint8"):
        declared(columns.constant, "string", value=300, dtype="uint8")


def test_where_chooses_whole_rows() -> None:
    found = columns.where(np.array([True, False]), np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32))
    assert found.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert columns.where(np.array([False]), objects(["a"]), objects(["b"])).tolist() == ["b"]
    with pytest.raises(ValueError, match="where takes one bool a row as its first column, got int64"):
        declared(columns.where, "int64", "int64", "int64")
    with pytest.raises(InputError, match=r"differ in shape: \[1, 2\] and \[1\]"):
        columns.where(np.array([True]), np.ones((1, 2)), np.ones(1))


def test_reshape_counts_values() -> None:
    assert columns.reshape(Ragged.from_rows([np.ones((2, 3)), np.ones((3, 2))]), shape=[6]).shape == (2, 6)
    assert columns.reshape(np.ones((0, 4)), shape=[2, -1]).shape == (0, 2, 2)
    with pytest.raises(InputError, match=r"a row of shape \[2, 3\] has 6 values, which do not fit \[4\]"):
        columns.reshape([np.ones((2, 3))], shape=[4])
    with pytest.raises(ValueError, match=r"reshape cannot bring float32\[4\], 4 values, to \[3\]"):
        declared(columns.reshape, "float32[4]", shape=[3])
    with pytest.raises(ValueError, match="fixed shape where -1 is to be worked out"):
        declared(columns.reshape, "float32[?]", shape=[-1])


@given(st.lists(hnp.arrays(np.int64, st.integers(0, 6)), min_size=1, max_size=5), st.integers(0, 6))
def test_pad_adds_or_cuts_at_the_end(rows: Any, to: Any) -> None:
    found = columns.pad(rows, to=to, value=-1, truncate=True)
    assert found.tolist() == [[*row[:to].tolist(), *[-1] * (to - len(row))] for row in rows]


def test_pad_refuses_what_is_longer() -> None:
    assert columns.pad([np.ones((1, 2)), np.ones((2, 2))], to=3).shape == (2, 3, 2)
    assert declared(columns.pad, "float32[?,80]", to=100) == "float32[100,80]"
    with pytest.raises(InputError, match=r"a row of shape \[3\] is longer than \[2\]\n.*truncate=True"):
        columns.pad([np.ones(3)], to=2)
    with pytest.raises(ValueError, match=r"pad to \[2\] cannot hold float32\[3\]; truncate=True would cut it"):
        declared(columns.pad, "float32[3]", to=2)
    with pytest.raises(ValueError, match="behind the first of these, are fixed"):
        declared(columns.pad, "float32[?,?]", to=2)
    with pytest.raises(InputError, match="rows differ behind their first 1 axes"):
        columns.pad([np.ones((1, 2)), np.ones((1, 3))], to=2)


@pytest.mark.parametrize(
    ("function", "kinds", "keywords", "said"),
    [
        (columns.cast, ["int8"], {"dtype": "float"}, "no dtype 'float'; known: bool, int8"),
        (columns.cast, ["bytes"], {"dtype": "int8"}, "cast to int8 takes numbers or strings, got bytes"),
        (columns.stack, ["int8", "string"], {}, "stack takes columns of numbers, or all of one dtype"),
        (columns.stack, ["int8[2]", "int8[3]"], {}, "columns of one fixed shape"),
        (columns.concat, ["int8[2]"], {"axis": 1}, "as many axes, of which 1 is one"),
        (columns.concat, ["int8[2,3]", "int8[2,4]"], {}, "columns that differ only in axis 0"),
        (columns.pad, ["string"], {"to": 2}, "numbers, got string"),
    ],
)
def test_what_does_not_fit_is_refused_when_the_graph_is_built(
    function: Any, kinds: Any, keywords: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        declared(function, *kinds, **keywords)
