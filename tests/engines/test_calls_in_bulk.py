"""How many rows the calls of a run have, and that no row is asked of a model twice to find that out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.ensemble import RandomForestClassifier

import motet as mt
from motet.runtime.sizes import START
from motet.testing.fakes import Counting, Failing, calls, fake

ROWS = np.random.default_rng(0).random((3000, 4))


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("forest") / "forest.joblib"
    joblib.dump(RandomForestClassifier(8, random_state=0).fit(ROWS[:200], ROWS[:200, 0] > 0.5), path)
    return path


def graph(model: mt.Model) -> mt.Graph:
    return mt.Graph("g", {"y": mt.model(model, mt.input("x", "float64[4]")).output})


def counting(**settings: Any) -> mt.Graph:
    return graph(fake(Counting, "counting", "float64[4]", log="counting", settings=settings))


def trees(path: Path, **settings: Any) -> mt.Graph:
    seen = mt.model(mt.Model(str(path), **settings), mt.input("x", "float64[4]"))
    return mt.Graph("trees", {"p": seen.probabilities})


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("limit", [1, 3, 17, 700, 3000])
def test_each_row_is_asked_of_a_python_model_once(tmp_path: Path, limit: int, workers: int) -> None:
    for _ in range(2):  # cold, and with what the first run has found
        calls.clear()
        counting().run({"x": ROWS}, tmp_path / "out.parquet", limit=limit, workers=workers, overwrite=True)
        assert sum(calls["counting"]) == limit
        assert pq.read_table(tmp_path / "out.parquet")["y"].combine_chunks().to_numpy_ndarray().tolist() == (
            ROWS[:limit].tolist()
        )


@pytest.mark.parametrize(("rows", "limit"), [(1000, 3000), (700, 3000), (64, 100), (4096, 3000)])
def test_calls_have_the_rows_that_the_graph_says(tmp_path: Path, rows: int, limit: int) -> None:
    counting(batch={"rows": rows}).run({"x": ROWS}, tmp_path / "out.parquet", limit=limit, batch_rows=3000, workers=1)
    whole, rest = divmod(limit, rows)
    assert calls["counting"] == [rows] * whole + [rest] * bool(rest)


def test_calls_have_no_more_rows_than_the_graph_says(tmp_path: Path) -> None:
    counting(batch={"max_rows": 50}).run({"x": ROWS}, tmp_path / "out.parquet")
    assert max(calls["counting"]) == 50
    assert sum(calls["counting"]) == 3000


def test_large_batches_make_large_calls(forest: Path, tmp_path: Path) -> None:
    report = trees(forest, batch={"max_rows": 8192}).run({"x": ROWS}, tmp_path / "out.parquet", batch_rows=20_000)
    assert (report.batch_rows, report.models[0].calls) == (20_000, 1)


def test_a_forest_is_called_with_many_rows_cold_and_warm(
    forest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "cache"))
    wanted = joblib.load(forest).predict_proba(ROWS)
    for _ in range(2):
        report = trees(forest).run({"x": ROWS}, tmp_path / "out.parquet", batch_rows=3000, overwrite=True)
        assert report.models[0].calls <= 3
        found = pq.read_table(tmp_path / "out.parquet")["p"].combine_chunks().to_numpy_ndarray()
        np.testing.assert_array_equal(found, wanted)


def test_what_an_earlier_version_has_found_does_not_count(
    forest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "cache"))
    trees(forest).run({"x": ROWS}, tmp_path / "out.parquet", batch_rows=3000)
    file = tmp_path / "cache" / "batch-sizes.json"
    keys = list(json.loads(file.read_text())["found"])
    file.write_text(json.dumps(dict.fromkeys(keys, 2)))  # as it was written before
    report = trees(forest).run({"x": ROWS}, tmp_path / "out.parquet", batch_rows=3000, overwrite=True)
    assert report.models[0].calls <= 3


def test_a_row_that_the_first_calls_fail_on_is_the_only_one_that_fails(tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows[[2, 40], 0] = 7.0
    broken = graph(fake(Failing, "picky", "float64[4]", bad=[7.0]))
    report = broken.run({"x": rows}, tmp_path / "out.parquet")
    assert (report.answered, report.failed) == (2998, 2)
    assert pq.read_table(report.failed_output)["row"].to_pylist() == [2, 40]


def test_a_single_batch_is_one_call_of_few_rows(tmp_path: Path) -> None:
    counting(batch={"rows": START}).run({"x": ROWS}, tmp_path / "out.parquet", limit=20, batch_rows=20)
    assert calls["counting"] == [20]
