"""Which rows a run plays: skip, sample, shard and limit, whatever the format, the batches and the workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import motet as mt
from helpers import functions
from motet.engines.local import pending
from motet.engines.local.selection import CHUNK, RowShard, Sample, Selection
from motet.errors import InputError, ResumeError, RowErrors

ROWS = 137


def graph() -> mt.Graph:
    return mt.Graph("g", {"y": mt.map(functions.scale, mt.input("x", "float64"), by=2.0)})


def write(folder: Path, kind: str) -> Any:
    table = pa.table({"x": np.arange(ROWS, dtype=np.float64)})
    path = folder / f"in.{kind}"
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=10)
    elif kind == "csv":
        pa.csv.write_csv(table, path)
    elif kind == "parts":
        path.mkdir()
        for start in range(0, ROWS, 20):
            pa.csv.write_csv(table.slice(start, 20), path / f"{start:03d}.csv")
    else:
        return table.to_pydict()
    return path


def played(source: Any, folder: Path, **options: Any) -> list[int]:
    """The rows that were played, by their ids; sees that each has its own answer."""
    options = {"batch_rows": 7, "workers": 2, "row_ids": "row", "overwrite": True, **options}
    report = graph().run(source, folder / "out.parquet", **options)
    found = pq.read_table(folder / "out.parquet")
    assert found.column_names == ["row", "x", "y"]
    assert found["row"].to_pylist() == found["x"].to_pylist()
    assert found["y"].to_pylist() == [2.0 * row for row in found["row"].to_pylist()]
    assert report.rows == found.num_rows
    rows: list[int] = found["row"].to_pylist()
    return rows


@pytest.mark.parametrize("kind", ["parquet", "csv", "parts", "dict"])
def test_shards_are_together_all_rows(tmp_path: Path, kind: str) -> None:
    source = write(tmp_path, kind)
    for count in (1, 3, 8, ROWS + 5):
        shards = [played(source, tmp_path, shard=f"{index}/{count}") for index in range(count)]
        assert [row for shard in shards for row in shard] == list(range(ROWS))
        assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize("kind", ["parquet", "csv", "parts", "dict"])
def test_skip_and_limit_are_a_stretch(tmp_path: Path, kind: str) -> None:
    source = write(tmp_path, kind)
    assert played(source, tmp_path, skip=0) == list(range(ROWS))
    assert played(source, tmp_path, skip=30) == list(range(30, ROWS))
    assert played(source, tmp_path, skip=30, limit=10) == list(range(30, 40))
    assert played(source, tmp_path, skip=ROWS - 1) == [ROWS - 1]
    assert played(source, tmp_path, skip=ROWS) == played(source, tmp_path, skip=10 * ROWS) == []


@pytest.mark.parametrize("kind", ["parquet", "csv", "parts", "dict"])
def test_samples_do_not_depend_on_batches_workers_shards_and_formats(tmp_path: Path, kind: str) -> None:
    source, first = write(tmp_path, kind), write(tmp_path, "dict")
    for sample in ("30%", 41):
        rows = played(first, tmp_path, sample=sample, seed=5)
        assert rows == sorted(set(rows))
        assert rows != played(source, tmp_path, sample=sample, seed=6)
        for options in ({"batch_rows": 1}, {"batch_rows": 50, "workers": 1}, {"batch_rows": 1000}):
            assert played(source, tmp_path, sample=sample, seed=5, **options) == rows
        shards = [played(source, tmp_path, sample=sample, seed=5, shard=f"{index}/4") for index in range(4)]
        assert [row for shard in shards for row in shard] == rows
        assert played(source, tmp_path, sample=sample, seed=5, limit=11) == rows[:11]
        later = played(source, tmp_path, sample=sample, seed=5, skip=60)
        assert later == [row for row in rows if row >= 60] or isinstance(sample, int)
    assert len(played(source, tmp_path, sample=41)) == 41
    assert played(source, tmp_path, sample=10 * ROWS) == played(source, tmp_path, sample="100%") == list(range(ROWS))


def test_a_sample_is_even() -> None:
    """Of a million rows a part has as many as it says, within five standard deviations, in every tenth of them."""
    ids = np.arange(1_000_000)
    for part in (0.001, 0.1, 0.5):
        for seed in (0, 1, 2**63):
            taken = Sample(part=part, seed=seed).has(ids).reshape(10, -1).sum(axis=1)
            assert np.abs(taken - part * 100_000).max() < 5 * np.sqrt(100_000 * part * (1 - part))
    best = Sample(rows=1000).best(0, 3 * CHUNK + 5)
    assert len(np.unique(best)) == 1000
    assert np.abs(best.mean() - 1.5 * CHUNK) < 0.1 * CHUNK


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(0, 300), skip=st.integers(0, 320), shards=st.integers(1, 7), limit=st.none() | st.integers(1, 50),
    sample=st.none() | st.integers(1, 320) | st.integers(1, 100).map(lambda part: f"{part}%"), seed=st.integers(0, 2**64),
    failed=st.none() | st.sets(st.integers(0, 319)),
)  # fmt: skip
def test_shards_are_together_what_is_chosen(
    rows: int, skip: int, shards: int, limit: int | None, sample: Any, seed: int, failed: set[int] | None
) -> None:
    chance = None if sample is None else Sample.parse(sample, seed)
    wanted = None if failed is None else np.array(sorted(each for each in failed if each < rows), np.int64)

    def ids(selection: Selection) -> list[int]:
        chosen = selection.of(rows, wanted)
        assert chosen.total is not None
        found: list[int] = chosen.at(np.arange(chosen.total)).tolist()
        return found

    whole = ids(Selection(skip, chance))
    assert [row for index in range(shards) for row in ids(Selection(skip, chance, RowShard(index, shards)))] == whole
    assert ids(Selection(skip, chance, None, limit)) == whole[:limit]
    assert set(whole) <= set(range(min(skip, rows), rows)) & (failed if failed is not None else set(range(rows)))
    if chance is not None and chance.rows is not None and failed is None:
        assert len(whole) == min(chance.rows, max(0, rows - skip))


def test_samples_of_unlike_parts_are_told_apart() -> None:
    parts = [Selection(sample=Sample.parse(text, 0)).said() for text in ("0.0000001%", "0.0000002%", "1%")]
    assert len({said["sample"] for said in parts}) == 3
    assert parts[2] == Selection(sample=Sample.parse("1.0%", 0)).said()


def test_what_cannot_be_chosen_is_refused(tmp_path: Path) -> None:
    for options, message in [
        ({"shard": "4/4"}, r"'4/4' is no shard\n.*from 0"),
        ({"shard": "1"}, "is no shard"),
        ({"shard": "0/0"}, "is no shard"),
        ({"sample": "0"}, "is no sample"),
        ({"sample": "101%"}, "is no sample"),
        ({"sample": "0.5"}, "is no sample"),
        ({"sample": "some"}, "is no sample"),
        ({"skip": -1}, "skip must be a whole number"),
        ({"seed": 3}, "seed is for a sample"),
        ({"any_input": True}, "any_input is for only_failed"),
        ({"row_ids": "x"}, "a column of the source that is kept called 'x'"),
        ({"row_ids": "y"}, "an? output of the graph called 'y'"),
    ]:
        with pytest.raises(InputError, match=message):
            graph().run({"x": [1.0]}, tmp_path / "out.parquet", **options)  # type: ignore[arg-type]


def test_an_iterator_has_samples_of_a_part_but_no_shards(tmp_path: Path) -> None:
    batches = [{"x": np.arange(start, start + 10, dtype=np.float64)} for start in range(0, ROWS - 7, 10)]
    rows = played({"x": np.arange(float(ROWS - 7))}, tmp_path, sample="30%")
    assert played(iter(batches), tmp_path, sample="30%") == rows
    assert played(iter(batches), tmp_path, skip=25, limit=50) == list(range(25, 75))
    for options in ({"shard": "0/2"}, {"sample": 5}):
        with pytest.raises(InputError, match=r"can be read once\n.*--sample 1%"):
            graph().run(iter(batches), tmp_path / "other.parquet", **options)


class Stopped(BaseException):
    """What stops a run from outside."""


@pytest.mark.parametrize("options", [{"shard": "1/3"}, {"sample": "50%"}, {"sample": 60}, {"skip": 40, "limit": 50}])
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_choice_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], kind: str
) -> None:
    monkeypatch.setattr(pending, "COMMIT_SECONDS", 0.0)
    source = write(tmp_path, kind)
    graph().run(source, tmp_path / "whole.parquet", batch_rows=7, row_ids="row", **options)

    def stop(done: int, total: int | None, failed: int) -> None:
        if done >= 21:
            raise Stopped

    with pytest.raises(Stopped):
        graph().run(source, tmp_path / "out.parquet", batch_rows=7, workers=1, progress=stop, row_ids="row", **options)
    with pytest.raises(ResumeError, match="the choice of rows changed"):
        graph().run(source, tmp_path / "out.parquet", resume=True, row_ids="row", **{**options, "skip": 1})
    with pytest.raises(ResumeError, match="--row-ids changed"):
        graph().run(source, tmp_path / "out.parquet", resume=True, **options)
    report = graph().run(source, tmp_path / "out.parquet", resume=True, row_ids="row", **options)
    assert report.resumed_rows == 21
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_ids_are_positions_in_the_source_where_rows_fail_too(tmp_path: Path) -> None:
    what = mt.Graph("g", {"y": mt.map(functions.refuse_negative, mt.input("x", "float32"))})
    x = np.arange(40, dtype=np.float32)
    x[[3, 25, 39]] = -1
    frame = pd.DataFrame({"x": x, "name": [f"n{row}" for row in range(40)]})
    report = what.run(frame, tmp_path / "out.csv", row_ids="row", skip=10, batch_rows=4)
    found = pd.read_csv(tmp_path / "out.csv")
    assert found["row"].tolist() == [row for row in range(10, 40) if row not in (25, 39)]
    assert found["name"].tolist() == [f"n{row}" for row in found["row"]]
    assert pq.read_table(report.failed_output)["row"].to_pylist() == [25, 39]


def test_without_an_output_the_rows_that_were_answered_are_told_by_their_ids() -> None:
    what = mt.Graph("g", {"y": mt.map(functions.refuse_negative, mt.input("x", "float32"))})
    x = np.arange(40, dtype=np.float32)
    x[[3, 25]] = -1
    with pytest.raises(RowErrors) as caught:
        what.run({"x": x}, skip=20, limit=10)
    assert caught.value.ids == [20, 21, 22, 23, 24, 26, 27, 28, 29]
    assert caught.value.columns["y"].to_pylist() == caught.value.ids
    assert what.run({"x": x}, skip=30, row_ids="id")["id"].to_pylist() == list(range(30, 40))
    assert what.run({"x": x}, skip=30).column_names == ["x", "y"]


def test_groups_have_ids_and_shards(tmp_path: Path) -> None:
    mean = mt.map(lambda x: np.array([each.mean() for each in x]), mt.input("x", "float64[?]"), outputs="float64")
    source = {"k": np.repeat(np.arange(10), 3), "x": np.arange(30.0)}
    shards = [
        mt.Graph("g", {"m": mean}).run(source, group_by="k", keep=["k"], shard=f"{index}/3", row_ids="row")
        for index in range(3)
    ]
    whole = pa.concat_tables(shards)
    assert whole["row"].to_pylist() == whole["k"].to_pylist() == list(range(10))
    assert whole["m"].to_pylist() == [3.0 * row + 1 for row in range(10)]


def test_a_part_of_few_rows_is_gone_on_with_behind_its_last_batch(tmp_path: Path) -> None:
    def stop(done: int, total: int | None, failed: int) -> None:
        raise KeyboardInterrupt

    graph = mt.Graph("g", {"y": mt.map(lambda x: x + 1, mt.input("x", "int64"), outputs="int64")})
    table, output = pa.table({"x": range(40)}), str(tmp_path / "o.parquet")
    chosen: dict[str, Any] = {"sample": "30%", "row_ids": "row", "batch_rows": 20}
    rows = graph.run(table, **chosen)["row"].to_pylist()
    assert 0 < len(rows) < 20
    with pytest.raises(KeyboardInterrupt):
        graph.run(table, output, progress=stop, **chosen)
    report = graph.run(table, output, resume=True, **chosen)
    assert (report.rows, report.resumed_rows) == (len(rows), len(rows))
    assert pq.read_table(output)["row"].to_pylist() == rows
