"""Columns as tensors and back; numpy is the oracle."""

from typing import Any

import numpy as np
import pytest
import tritonclient.utils as stock
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from motet.batch import Ragged, objects
from motet.errors import InputError
from motet.oip.classes import best_classes
from motet.oip.tensors import (
    DATATYPES,
    datatype_of,
    decode_bytes,
    encode_bytes,
    from_elements,
    from_raw,
    tensor_of,
    tensor_shape,
    to_raw,
)
from motet.types import DTYPES, ColumnType

NUMBERS = {name: dtype for name, dtype in DATATYPES.items() if name != "BYTES"}


def dense(column: Any) -> Any:
    return column.dense() if isinstance(column, Ragged) else column


@given(st.data(), st.sampled_from(sorted(NUMBERS)), arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
def test_numbers_are_the_same_after_a_way_there_and_back(data: Any, datatype: Any, shape: Any) -> None:
    array = data.draw(arrays.arrays(NUMBERS[datatype], shape))
    axes = data.draw(st.tuples(*(st.sampled_from([None, axis]) for axis in shape[1:])))
    kind = ColumnType(NUMBERS[datatype], axes)
    assert tensor_of(array, kind, "x")[0] == datatype == datatype_of(kind)
    back = from_raw(to_raw(array), datatype, shape, kind, "x")
    assert isinstance(back, Ragged) == kind.varies
    if shape[0]:
        np.testing.assert_array_equal(tensor_of(back, kind, "x")[1], array)
        np.testing.assert_array_equal(dense(from_elements(array.ravel().tolist(), datatype, shape, kind, "x")), array)
    else:
        assert len(back) == 0


@given(st.lists(st.text(), min_size=1))
def test_texts_are_written_as_the_stock_client_does_and_read_back(texts: Any) -> None:
    raw = to_raw(objects(texts))
    assert raw == stock.serialize_byte_tensor(objects(texts)).item()
    assert from_raw(raw, "BYTES", [len(texts)], ColumnType("string"), "x").tolist() == texts


@given(st.lists(st.binary()))
def test_bytes_are_the_same_after_a_way_there_and_back(values: Any) -> None:
    assert decode_bytes(encode_bytes(values), len(values), "x") == values


@given(st.binary(max_size=40), st.integers(0, 5))
def test_bytes_that_are_no_elements_are_refused(raw: Any, count: Any) -> None:
    try:
        values = decode_bytes(raw, count, "x")
    except InputError:
        return
    assert (len(values), encode_bytes(values)) == (count, raw)


def test_the_order_of_bytes_is_little_endian() -> None:
    array = np.array([1, 258], ">u2")
    assert to_raw(array) == b"\x01\x00\x02\x01"
    assert tensor_of(array, ColumnType("uint16"), "x")[0] == "UINT16"


def test_every_dtype_has_a_datatype() -> None:
    assert {datatype_of(ColumnType(dtype)) for dtype in DTYPES} == set(DATATYPES)
    assert tensor_shape(ColumnType("float32", (None, 3))) == [-1, -1, 3]


def test_what_has_no_datatype_is_said() -> None:
    with pytest.raises(InputError, match="x: there is no datatype for complex128"):
        tensor_of(np.zeros(1, complex), ColumnType("any"), "x")
    with pytest.raises(InputError, match="x: row 1 of string is null, and BYTES has texts and bytes only"):
        tensor_of(objects(["a", None]), ColumnType("string"), "x")


def test_the_best_classes_come_first_and_equal_ones_in_their_order() -> None:
    scores = np.array([[0.25, 0.5, 0.25], [0, 0, 1]], np.float32)
    assert best_classes(scores, 2, "y").tolist() == [["0.500000:1", "0.250000:0"], ["1.000000:2", "0.000000:0"]]
    assert best_classes(np.array([[1, 5]]), 9, "y").tolist() == [["5:1", "1:0"]]
