"""group_by makes one row a key, with list columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motet.errors import InputError, UnknownNameError
from motet.io import groups, open_source, to_column
from motet.types import ColumnType

SORTED = pa.table({"user": ["a", "a", "b", "c", "c", "c"], "x": [1, 2, 3, 4, 5, 6]})
WANTED = [{"user": "a", "x": [1, 2]}, {"user": "b", "x": [3]}, {"user": "c", "x": [4, 5, 6]}]


def rows(source: Any, size: int = 2, **options: Any) -> list[dict]:
    return [row for batch in source.batches(size, **options) for row in batch.to_pylist()]


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [3, 0, 4, 2, 1, 5]])
def test_rows_of_a_key_become_one(order: list[int], tmp_path: Path) -> None:
    table = SORTED.take(order)
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    for what in (table, tmp_path / "x.parquet", iter(table.to_batches(2))):
        source = open_source(what, group_by="user")
        assert source.schema.field("x").type == pa.list_(pa.int64())
        assert rows(source) == WANTED
    source = open_source(table, group_by="user")
    assert rows(source, columns=["x"], skip=1) == [{"x": [3]}, {"x": [4, 5, 6]}]
    assert [row["user"] for batch in source.batches_at([0, 2], 5) for row in batch.to_pylist()] == ["a", "c"]
    assert source.fingerprint() != open_source(table).fingerprint()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=30), st.integers(1, 7), st.booleans())
def test_groups_are_what_a_dictionary_makes(keys: list[tuple[int, int]], size: int, ordered: bool) -> None:
    keys = sorted(keys) if ordered else keys
    table = pa.table({"k": [k for k, _ in keys], "x": range(len(keys)), "l": [v for _, v in keys]}, schema=_SCHEMA)
    old = groups._READ_ROWS
    groups._READ_ROWS = 4
    try:
        got = rows(open_source(table, group_by=["k", "l"]), size)
    finally:
        groups._READ_ROWS = old
    wanted: dict[tuple[int, int], list[int]] = {}
    for position, key in enumerate(keys):
        wanted.setdefault(key, []).append(position)
    assert [((row["k"], row["l"]), row["x"]) for row in got] == sorted(wanted.items())


_SCHEMA = pa.schema([("k", pa.int64()), ("x", pa.int64()), ("l", pa.int64())])


def test_a_group_of_images_is_one_ragged_row() -> None:
    images = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
    table = SORTED.set_column(1, "image", pa.array([image.tobytes() for image in images]))
    (batch,) = open_source(table, group_by="user").batches(10)
    column, bad = to_column(batch["image"], ColumnType.parse("uint8[?,2,2]"))
    assert bad == {}
    np.testing.assert_array_equal(column[2], images[3:])


def test_what_does_not_fit_into_memory_must_be_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "_READ_ROWS", 2)
    monkeypatch.setattr(groups, "GROUP_MEMORY_BYTES", 60)
    assert rows(open_source(SORTED, group_by="user")) == WANTED
    with pytest.raises(InputError) as caught:
        rows(open_source(SORTED.take([3, 0, 4, 2, 1, 5]), group_by="user"))
    assert "is not known to be sorted by user, and is larger than 0 MiB" in str(caught.value)
    assert "hint: sort it by the keys first" in str(caught.value)
    monkeypatch.setattr(groups, "GROUP_MEMORY_BYTES", 30)
    with pytest.raises(InputError, match="one group holds more than 0 MiB"):
        rows(open_source(SORTED, group_by="user"))


def test_keys_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown column 'usr'; did you mean 'user'"):
        open_source(SORTED, group_by="usr")
    with pytest.raises(InputError, match="key 'user' is null in a row"):
        open_source(pa.table({"user": ["a", None], "x": [1, 2]}), group_by="user")
    (tmp_path / "x.csv").write_text("user,x\na,1\nb\n")
    with pytest.raises(InputError, match="row 1 cannot be read, and its group is not known: line 3: has 1 fields"):
        open_source(tmp_path / "x.csv", group_by="user")


def test_keys_without_an_order_are_refused() -> None:
    values = {"x": [1.0, 2.0, 3.0]}
    with pytest.raises(InputError, match="key 'k' is NaN in a row"):
        open_source({"k": np.array([1.0, np.nan, 1.0]), **values}, group_by="k").batches(2)
    with pytest.raises(InputError, match=r"key 'k' is list<item: int64>, which has no order"):
        open_source(pa.table({"k": [[1], [1], [2]], **values}), group_by="k")
