"""Property tests: what is stored comes back, and batches are cut where they should be."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from motet.batch import Ragged
from motet.io.arrow import arrow_type, check_fits, from_column, to_column
from motet.io.marks import drop_rows
from motet.io.stream import rechunk
from motet.types import DTYPES, ColumnType

NUMBERS = [name for name in DTYPES if name not in ("string", "bytes", "any")]
VALUES = {"string": st.text(max_size=5), "bytes": st.binary(max_size=5)}


@st.composite
def dense_columns(draw: st.DrawFn) -> tuple[np.ndarray, ColumnType]:
    dtype = draw(st.sampled_from([name for name in DTYPES if name != "any"]))
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    rows = draw(st.integers(0, 6))
    if dtype in VALUES:
        column = draw(hnp.arrays(object, (rows, *shape), elements=VALUES[dtype], fill=st.nothing()))
    else:
        column = draw(hnp.arrays(np.dtype(dtype), (rows, *shape)))
    return column, ColumnType(dtype, shape)


@st.composite
def ragged_columns(draw: st.DrawFn) -> tuple[Ragged, ColumnType]:
    dtype = draw(st.sampled_from(NUMBERS))
    axes = tuple(draw(st.lists(st.one_of(st.none(), st.integers(1, 3)), min_size=1, max_size=3)))
    shapes = st.tuples(*(st.integers(0, 3) if axis is None else st.just(axis) for axis in axes))
    rows = [draw(hnp.arrays(np.dtype(dtype), draw(shapes))) for _ in range(draw(st.integers(0, 5)))]
    return Ragged.from_rows(rows, np.dtype(dtype), len(axes)), ColumnType(dtype, (None, *axes[1:]))


def same(got: np.ndarray, wanted: np.ndarray) -> None:
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    if wanted.dtype == object:
        assert got.tolist() == wanted.tolist()
    else:
        assert got.tobytes() == wanted.tobytes()


@settings(max_examples=200, deadline=None)
@given(dense_columns(), st.data())
def test_dense_columns_come_back(case: tuple[np.ndarray, ColumnType], data: st.DataObject) -> None:
    column, kind = case
    array = from_column(column, kind)
    assert array.type == arrow_type(kind)
    check_fits(array.type, kind, "x")
    start = data.draw(st.integers(0, len(column)))
    got, bad = to_column(array.slice(start), kind)
    assert bad == {}
    same(got, column[start:])  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(ragged_columns(), st.data())
def test_ragged_columns_come_back(case: tuple[Ragged, ColumnType], data: st.DataObject) -> None:
    column, kind = case
    array = from_column(column, kind)
    assert array.type == arrow_type(kind)
    start = data.draw(st.integers(0, len(column)))
    got, bad = to_column(array.slice(start), kind)
    assert bad == {}
    assert len(got) == len(column) - start
    for row, wanted in zip(got, column.rows()[start:], strict=True):
        # an empty outer axis leaves a list nothing to tell inner axes by
        same(row.reshape(wanted.shape) if wanted.size == 0 else row, wanted)


@settings(max_examples=100, deadline=None)
@given(dense_columns(), st.data())
def test_nulls_are_bad_wherever_they_stand(case: tuple[np.ndarray, ColumnType], data: st.DataObject) -> None:
    column, kind = case
    picked = data.draw(st.lists(st.one_of(st.none(), st.integers(0, max(0, len(column) - 1))), max_size=6))
    if not len(column):
        picked = [None for _ in picked]
    array = from_column(column, kind).take(pa.array(picked, pa.int64()))
    got, bad = to_column(array, kind)
    assert bad == {position: "is null" for position, index in enumerate(picked) if index is None}
    same(got, column[[index for index in picked if index is not None]])  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 7), max_size=12), st.integers(1, 9), st.integers(0, 20))
def test_batches_have_exactly_the_rows_asked_for(pieces: list[int], rows: int, skip: int) -> None:
    table = pa.table({"a": np.arange(sum(pieces)), "b": [str(row) for row in range(sum(pieces))]})
    ends = np.cumsum([0, *pieces])
    stream = (
        batch for start, stop in pairwise(ends.tolist()) for batch in table.slice(start, stop - start).to_batches()
    )
    batches = list(rechunk(drop_rows(stream, skip), rows))
    assert all(len(batch) == rows for batch in batches[:-1])
    assert all(0 < len(batch) <= rows for batch in batches[-1:])
    assert [value for batch in batches for value in batch["a"].to_pylist()] == list(range(skip, sum(pieces)))
