"""A job travels as data, and workers in any process give what a call of the graph gives."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import onnx
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

import motet as mt
from helpers import functions, onnxes
from motet.engines import shipping
from motet.engines.batch_worker import MOST, BatchWorker
from motet.engines.job import Job
from motet.errors import InputError, ModelFailedError, ModelLoadError
from motet.graph.snapshot import packed
from motet.nodes import cascade, ensemble, map_, model, route, shard
from motet.runtime.resources.memory import file_bytes
from motet.testing import conformance
from motet.testing.fakes import Affine, Counting, Failing, Scores, calls, fake

ROWS = 300


def every_kind() -> mt.Graph:
    x, user = mt.input("x", "float32"), mt.input("user", "string")
    one, two = (fake(Scores, f"s{n}", "float32", "float32[3]", output="p", seed=n, sharpness=0.2) for n in (1, 2))
    checked = map_(conformance._refuse_nine, x, name="checked")
    inner = mt.Graph("inner", {"p": ensemble([one, two], mt.input("x", "float32"), combine="max").p})
    arms = {"a": fake(Affine, "a"), "b": fake(Failing, "b", bad=[5.0], scale=2.0)}
    sure = cascade([one, inner], checked, confidence=0.7)
    digits = shard(fake(Affine, "digit", scale=3.0), checked, apart=conformance._digits, together=conformance._sums)
    outputs = {
        "vote": ensemble([one, two], checked, weights=[1, 3]).p,
        "step": sure.member,
        "split": route(arms, checked, split={"a": 1, "b": 2}, by=user, name="split").output,
        "digits": digits,
        "alone": model(arms["a"], x).output,
    }
    return mt.Graph("all", outputs)


def rows(count: int = ROWS) -> pa.Table:
    numbers = np.random.default_rng(0).integers(-20, 20, count).astype(np.float32)
    stored = pa.array(numbers, mask=numbers == -13)
    names = [f"user-{row % 37}" for row in range(count)]
    return pa.table({"x": stored, "user": names, "day": pa.array(range(count), pa.date32())})


def played(worker: BatchWorker, table: pa.Table, batch_rows: int) -> tuple[pa.Table, list[dict[str, Any]]]:
    answers, failures, start = [], [], 0
    for batch in table.combine_chunks().to_batches(max_chunksize=batch_rows):
        good, bad = worker.play(batch, np.arange(start, start + len(batch)))
        answers.append(good)
        failures += bad.to_pylist()
        start += len(batch)
    return pa.Table.from_batches(answers, worker.job.answers_schema), failures


def as_dicts(failures: Any) -> list[dict[str, Any]]:
    return [{name: getattr(each, name) for name in each.__dataclass_fields__} for each in failures]


@pytest.mark.parametrize("batch_rows", [1, 7, 128, ROWS])
def test_a_worker_gives_what_a_call_and_a_run_give(batch_rows: int) -> None:
    graph, table = every_kind(), rows()
    worker = BatchWorker(pickle.loads(pickle.dumps(Job.of(graph.checked, table.schema))))
    answers, failures = played(worker, table, batch_rows)
    called, refused = graph(table, failures="return")
    bulk, failed = graph.run(table, failures="return")
    assert answers.schema == worker.job.answers_schema
    assert answers.column_names == bulk.column_names
    assert answers.equals(bulk)
    for name, column in called.items():
        assert answers[name].to_pylist() == column.tolist()
    wanted = [row for row, x in enumerate(table["x"].to_pylist()) if x is None or x == 9]
    assert set(wanted) < {failure["row"] for failure in failures}
    assert {failure["node"] for failure in failures} == {"input", "checked", "split"}
    assert failures == as_dicts(refused) == as_dicts(failed)


SPAWNED = """
import pickle, sys, numpy as np, pyarrow as pa
from motet.engines import shipping
from motet.engines.batch_worker import BatchWorker
job, batch = pickle.load(open(sys.argv[1], "rb"))
worker = BatchWorker.shared(job)
assert worker is BatchWorker.shared(pickle.loads(pickle.dumps(job)))
pickle.dump(worker.play(batch, np.arange(len(batch))), open(sys.argv[2], "wb"))
"""


def test_a_job_is_played_in_another_process_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxes.classifier(tmp_path / "models" / "a.onnx")
    monkeypatch.chdir(tmp_path)
    x = mt.input("x", "float32[4]", default=[0, 0, 0, 0])
    graph = mt.Graph(
        "g", {"p": mt.model(mt.Model("models/a.onnx"), x), "score": mt.input("score", "float64", default=1.5)}
    )
    table = pa.table({"x": [[float(row), 1.0, 2.0, 3.0] for row in range(20)], "name": [str(row) for row in range(20)]})
    table = table.set_column(0, "x", table["x"].cast(pa.list_(pa.float32(), 4)))
    job = Job.of(graph.checked, table.schema)
    assert job.columns == ("x", "name")
    assert job.local_models == {"a": "models/a.onnx"}
    assert len(pickle.dumps(job)) < 8_000
    assert pickle.loads(cloudpickle.dumps(job)).digest == job.digest
    (tmp_path / "given").write_bytes(pickle.dumps((job, table.combine_chunks().to_batches()[0])))
    (tmp_path / "elsewhere").mkdir()
    run = [sys.executable, "-c", SPAWNED, str(tmp_path / "given"), str(tmp_path / "told")]
    subprocess.run(run, check=True, cwd=tmp_path / "elsewhere")
    answers, failures = pickle.loads((tmp_path / "told").read_bytes())
    assert pa.Table.from_batches([answers]).equals(graph.run(table))
    assert not len(failures)
    onnxes.classifier(tmp_path / "models" / "a.onnx", seed=1)
    with pytest.raises(ModelLoadError, match=r"model 'a': here it is version .*; the job was made with version"):
        BatchWorker(job).load()


def test_a_model_that_is_not_there_is_told_with_its_own_hint(tmp_path: Path) -> None:
    """Only local ones can be shipped."""
    x = mt.input("x", "float32[4]")
    models = [onnxes.classifier(tmp_path / "here" / "a.onnx"), tmp_path / "store" / "b.onnx"]
    onnxes.classifier(models[1])
    uris = [str(models[0]), models[1].as_uri()]
    graph = mt.Graph("g", {uri[-6]: mt.model(mt.Model(uri), x) for uri in uris})
    job = Job.of(graph.checked, pa.schema([("x", pa.list_(pa.float32(), 4))]))
    for path, hints in zip(reversed(models), (False, True), strict=True):
        path.unlink()
        with pytest.raises(ModelLoadError, match=path.name) as told:
            BatchWorker(job).load()
        assert ("--ship" in told.value.hint) is hints


def with_files_beside(path: Path) -> Path:
    """A model whose weights lie in a file of their own."""
    model = onnx.load(onnxes.classifier(path, hidden=64))
    path.unlink()
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_the_files_of_local_models_go_with_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parted = onnxes.classifier(tmp_path / "m" / "a.onnx"), with_files_beside(tmp_path / "n" / "b.onnx")
    x = mt.input("x", "float32[4]")
    estimator = mt.Model(LogisticRegression().fit(np.eye(4), [0, 1, 0, 1]), "fitted")
    inner = mt.Graph("inner", {"p": mt.model(mt.Model(str(parted)), x)})
    fitted = mt.model(estimator, mt.input("z", "float64[4]"), name="fitted")
    graph = mt.Graph("g", {"a": mt.model(mt.Model(str(whole)), x), "b": mt.model(inner, x), "c": fitted.label})
    rows = np.eye(4, dtype=np.float32)
    table = pa.table(
        {
            name: pa.FixedShapeTensorArray.from_numpy_ndarray(rows.astype(kind))
            for name, kind in (("x", "f4"), ("z", "f8"))
        }
    )
    wanted = graph.run(table)
    assert set(Job.of(graph.checked, table.schema).local_models) == {"a", "inner/b"}
    job = Job.of(graph.checked, table.schema, ship=True)
    assert job.local_models == {}
    shutil.rmtree(tmp_path / "m")
    shutil.rmtree(tmp_path / "n")
    (tmp_path / "given").write_bytes(pickle.dumps((job, table.combine_chunks().to_batches()[0])))
    subprocess.run([sys.executable, "-c", SPAWNED, str(tmp_path / "given"), str(tmp_path / "told")], check=True)
    answers, failures = pickle.loads((tmp_path / "told").read_bytes())
    assert pa.Table.from_batches([answers]).equals(wanted)
    assert not len(failures)
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(job))))  # as engines do that hand it on
    assert pa.Table.from_batches([BatchWorker(again).play(table.to_batches()[0], np.arange(4))[0]]).equals(wanted)
    onnxes.classifier(whole)
    onnxes.classifier(parted)
    monkeypatch.setattr(shipping, "SHIPPED_BYTES", 1000)
    with pytest.raises(InputError, match="its models hold 0 MiB; 0 MiB can be shipped"):
        Job.of(graph.checked, table.schema, ship=True)


def test_what_links_in_the_folder_of_a_model_lead_to_goes_with_it(tmp_path: Path) -> None:
    for each in ("m/variables", "far/below"):
        (tmp_path / each).mkdir(parents=True)
    (tmp_path / "m" / "saved_model.pb").write_text("1")
    (tmp_path / "far" / "below" / "words").write_text("23")
    (tmp_path / "m" / "assets").symlink_to("../far")
    folder = packed("keras", str(tmp_path / "m"), [str(tmp_path / "m")]).removeprefix("keras:")
    assert Path(folder, "assets", "below", "words").read_text() == "23"
    assert file_bytes(str(tmp_path / "m")) == file_bytes(folder) == 3


def test_functions_of_the_program_itself_travel_by_cloudpickle() -> None:
    graph = mt.Graph("g", {"y": mt.map(lambda x: x + 1, mt.input("x", "int64"), outputs="int64")})
    batch = pa.record_batch({"x": [1, 2, 3]})
    jobs = [Job.of(graph.checked, batch.schema) for _ in range(2)]
    assert jobs[0].digest != jobs[1].digest  # nothing tells whether two such functions are the same
    answers, _ = BatchWorker(pickle.loads(cloudpickle.dumps(jobs[0]))).play(batch, np.arange(3))
    assert answers.to_pydict() == {"x": [1, 2, 3], "y": [2, 3, 4]}


def test_functions_that_the_program_defines_anew_are_played_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, program = pa.record_batch({"x": [1, 2, 3]}), {"__name__": "__main__"}
    for factor in (10, 100):  # as a cell of a notebook that is run again
        exec(f"def scaled(x): return x * {factor}", program)
        monkeypatch.setattr(sys.modules["__main__"], "scaled", program["scaled"], raising=False)
        graph = mt.Graph("g", {"y": mt.map(program["scaled"], mt.input("x", "int64"), outputs="int64")})
        answers, _ = BatchWorker.shared(Job.of(graph.checked, batch.schema)).play(batch, np.arange(3))
        assert answers["y"].to_pylist() == [factor, 2 * factor, 3 * factor]


def test_outputs_that_nobody_declared_have_one_type_for_all_workers() -> None:
    graph = mt.Graph("g", {"y": mt.map(functions.undeclared, mt.input("x", "any"))})
    batch = pa.record_batch({"x": pa.array([1, 2, 3])})
    with pytest.raises(InputError, match="the output 'y'") as refused:
        Job.of(graph.checked, batch.schema, drop=["x"])
    assert "outputs: TYPE" in refused.value.hint
    job = Job.of(graph.checked, batch.schema, drop=["x"], sample=batch)
    assert job.answers_schema == pa.schema({"y": pa.int64()})
    worker = BatchWorker(pickle.loads(pickle.dumps(job)))
    other = pa.record_batch({"x": pa.array([5, 6], pa.int32())})
    answers, failures = worker.play(other, np.array([7, 9]))
    assert answers.schema == job.answers_schema
    assert answers.to_pydict() == {"y": [10, 12]}
    assert not len(failures)
    assert worker.play(batch.slice(0, 0), np.arange(0))[0].schema == job.answers_schema


def test_what_a_later_row_gives_is_held_to_the_type_of_the_sample() -> None:
    graph = mt.Graph("g", {"y": mt.map(functions.undeclared, mt.input("x", "any"), name="twice")})
    sample = pa.record_batch({"x": pa.array(["1"])})
    worker = BatchWorker(Job.of(graph.checked, sample.schema, sample=sample))
    assert worker.job.answers_schema.field("y").type == pa.string()
    answers, failures = worker.play(pa.record_batch({"x": ["a", None, "b"]}), np.arange(3))
    assert answers["y"].to_pylist() == ["aa", "bb"]
    assert [(each["row"], each["node"]) for each in failures.to_pylist()] == [(1, "input")]


def test_a_model_that_fails_on_everything_ends_a_worker_with_its_own_error() -> None:
    graph = mt.Graph("g", {"y": model(fake(Failing, "broken"), mt.input("x", "float32"), name="asked")})
    batch = pa.record_batch({"x": pa.array(np.arange(40, dtype=np.float32))})
    with pytest.raises(ModelFailedError, match="model 'broken' failed on each of the .* ValueError: cannot take 15"):
        BatchWorker(Job.of(graph.checked, batch.schema)).play(batch, np.arange(40))
    worker = BatchWorker(Job.of(graph.checked, batch.schema, goes_on=True))
    answers, failures = worker.play(batch, np.arange(40))
    assert not len(answers)
    assert failures["row"].to_pylist() == list(range(40))


def test_rows_of_elsewhere_are_tried_before_a_worker_ends() -> None:
    graph = mt.Graph("g", {"y": model(fake(Failing, "m", bad=list(range(40))), mt.input("x", "float32"))})
    batch = pa.record_batch({"x": pa.array(np.arange(40, dtype=np.float32))})
    there = pa.record_batch({"x": pa.array([99.0], pa.float32())})
    worker = BatchWorker(Job.of(graph.checked, batch.schema), lambda: (there, np.array([1000])))
    answers, failures = worker.play(batch, np.arange(40))
    assert not len(answers)
    assert len(failures) == 40


def test_what_a_batch_alone_encodes_is_read_as_the_schema_says() -> None:
    graph = mt.Graph("g", {"y": mt.input("x", "string")})
    job = Job.of(
        graph.checked, pa.schema({"x": pa.dictionary(pa.int32(), pa.string()), "n": pa.int64()}), row_ids="row"
    )
    worker = BatchWorker(job)
    for texts in (["a", "b", "a"], ["c", "a", "c"]):
        batch = pa.record_batch({"x": pa.array(texts).dictionary_encode(), "n": pa.array([1, 2, 3], pa.int8())})
        answers, _ = worker.play(batch, np.array([4, 6, 8]))
        assert answers.schema == job.answers_schema
        assert answers.to_pydict() == {"row": [4, 6, 8], "x": texts, "n": [1, 2, 3], "y": texts}
    with pytest.raises(InputError, match="column 'n' is string here"):
        worker.play(pa.record_batch({"x": ["a"], "n": ["b"]}), np.arange(1))


def test_threads_share_a_worker_whose_models_are_loaded_once_and_go_when_it_is_dropped() -> None:
    calls.clear()
    graph = mt.Graph("g", {"y": model(fake(Counting, "m", log="shared", scale=2.0), mt.input("x", "float32"))})
    batch = pa.record_batch({"x": pa.array(np.arange(9, dtype=np.float32))})
    job = Job.of(graph.checked, batch.schema, drop=["x"])
    found: list[Any] = []

    def work() -> None:
        worker = BatchWorker.shared(job)
        found.append((worker, worker.play(batch, np.arange(9))[0].to_pydict()))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(worker) for worker, _ in found}) == 1
    assert all(answers == {"y": [2.0 * row for row in range(9)]} for _, answers in found)
    worker = found[0][0]
    player = worker._session.executor
    assert player.executor.host.models
    found.clear()
    del worker
    for place in range(MOST):
        BatchWorker.shared(Job.of(graph.checked, batch.schema, row_ids=f"row{place}"))
    gc.collect()
    assert not player.executor.host.models


def test_a_forked_process_plays_with_models_of_its_own() -> None:
    graph = mt.Graph("g", {"y": model(fake(Affine, "m", scale=2.0), mt.input("x", "float32"))})
    batch = pa.record_batch({"x": pa.array([1.0, 2.0], pa.float32())})
    job = Job.of(graph.checked, batch.schema)
    before = BatchWorker.shared(job)
    wanted, _ = before.play(batch, np.arange(2))
    own = before._session.executor
    pid = os.fork()
    if not pid:
        status = 1
        try:
            worker = BatchWorker.shared(job)
            answers, _ = worker.play(batch, np.arange(2))
            status = 0 if answers.equals(wanted) and worker._session.executor is not own else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
