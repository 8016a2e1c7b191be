"""Bulk runs over many models by key: rows of a model together within a batch, the answers in the order of the source."""

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression

import motet as mt
from helpers import keyed
from motet.errors import RunError


@pytest.fixture(autouse=True)
def log() -> Any:
    keyed.LOG.clear()
    return keyed.LOG


def written(tmp_path: Path, keys: Any) -> Any:
    path = tmp_path / "rows.parquet"
    rows = keyed.rows(keys)
    pq.write_table(pa.table({name: pa.array(column) for name, column in rows.items()}), path)
    return str(path)


def test_answers_come_in_the_order_of_the_source(tmp_path: Path) -> None:
    keys = np.random.default_rng(0).integers(0, 30, 5_000)
    report = keyed.graph(30, 4).run(written(tmp_path, keys), tmp_path / "out.parquet", batch_rows=700)
    out = pq.read_table(tmp_path / "out.parquet")
    assert (out["y"].to_numpy() == np.arange(5_000, dtype=np.float32) + keys).all()
    assert report.answered == 5_000
    assert {model.name for model in report.models} == {f"m{place}" for place in range(30)}
    assert sum(model.rows for model in report.models) == 5_000


def test_each_model_is_loaded_at_most_once_a_batch(tmp_path: Path) -> None:
    keys = np.random.default_rng(0).integers(0, 30, 4_000)
    keyed.graph(30, 4).run(written(tmp_path, keys), tmp_path / "out.parquet", batch_rows=1_000, workers=1)
    loads = keyed.loads()
    assert len(loads) <= 4 * 30 - 3 * 4 + 4  # what is loaded when a batch ends is played first in the next one


def test_batches_are_large_where_models_come_and_go(tmp_path: Path) -> None:
    keys = np.random.default_rng(0).integers(0, 30, 20_000)
    report = keyed.graph(30, 4).run(written(tmp_path, keys), tmp_path / "out.parquet")
    assert report.batch_rows == 10_000
    assert len(keyed.loads()) <= 2 * 30


def test_rows_of_a_model_that_cannot_be_loaded_are_failures(tmp_path: Path) -> None:
    keys = np.arange(1_000) % 5
    report = keyed.graph(5, 2, broken=[3]).run(written(tmp_path, keys), tmp_path / "out.parquet")
    assert (report.answered, report.failed) == (800, 200)
    failed = pq.read_table(tmp_path / "out.parquet.failed.parquet")
    assert failed["row"].to_pylist() == list(range(3, 1_000, 5))
    assert set(failed["model"].to_pylist()) == {"m3"}
    assert failed["message"][0].as_py().startswith("the model of k '3': model 'm3' cannot be loaded")


def test_a_run_that_stopped_goes_on(tmp_path: Path) -> None:
    keys = np.random.default_rng(0).integers(0, 10, 3_000)
    source, out = written(tmp_path, keys), tmp_path / "out.parquet"
    graph = keyed.graph(10, 2)

    def stop(done: Any, total: Any, failed: Any) -> None:
        if done >= 1_000:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, RunError)):
        graph.run(source, out, batch_rows=500, progress=stop)
    graph.run(source, out, batch_rows=500, resume=True)
    assert (pq.read_table(out)["y"].to_numpy() == np.arange(3_000, dtype=np.float32) + keys).all()


def test_a_run_gives_way_to_live_work_that_shares_its_pool(tmp_path: Path) -> None:
    import threading

    from motet.runtime.resources.need import Need
    from motet.runtime.resources.pool import Pool

    keys = np.random.default_rng(0).integers(0, 3, 2_000)
    source, out, folder = written(tmp_path, keys), tmp_path / "out.parquet", tmp_path / "pool"
    pool = Pool(folder=folder)
    live = pool.borrow(Need(cpu=pool.capacity.cpu))
    run = threading.Thread(target=lambda: keyed.graph(3, 2).run(source, out, batch_rows=500, pool=str(folder)))
    run.start()
    while not pool.waiting():
        pass
    assert not [name for what, name in keyed.LOG if what == "call"]
    live.release()
    run.join(60)
    assert pq.read_table(out).num_rows == 2_000
    assert pool.used().cpu == 0


def test_estimators_which_the_interpreters_lock_keeps_apart_are_called_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).normal(size=(1200, 3))
    keys = np.array([str(row % 12) for row in range(len(x))])
    for key in range(12):
        joblib.dump(LogisticRegression().fit(x[key::12], x[key::12, 0] > 0), tmp_path / f"{key}.joblib")
    each = mt.Model(str(tmp_path / "{key}.joblib"))
    features, kind = mt.input("f", "float64[3]"), mt.input("k", "string")
    graph = mt.Graph("g", {"p": mt.route({"*": each}, features, key=kind, stack=False).probabilities})
    asked, own = [], LogisticRegression.predict_proba
    monkeypatch.setattr(
        LogisticRegression, "predict_proba", lambda self, rows: asked.append(len(rows)) or own(self, rows)
    )
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "cache"))
    answers = graph.run({"f": x, "k": keys}, workers=2)
    assert sum(asked) == len(x)
    assert len(asked) <= 4 + 12  # the first four rows tell what a call costs
    wanted = [own(joblib.load(tmp_path / f"{key}.joblib"), x[row : row + 1])[0] for row, key in enumerate(keys)]
    np.testing.assert_allclose(answers["p"].combine_chunks().to_numpy_ndarray(), wanted, rtol=1e-12)
