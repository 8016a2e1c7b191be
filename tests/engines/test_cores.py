"""How many batches of a task are played at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.util import assert_that, equal_to

import motet as mt
from helpers.split_engines import Here
from motet.engines import tables
from motet.engines.batch_worker import BatchWorker
from motet.engines.cores import share_of_cores
from motet.engines.job import Job
from motet.engines.stages import stages_of

meeting = threading.Barrier(2)


@mt.returns("int64")
def meet(n: np.ndarray) -> np.ndarray:
    """What it is given, once another call is under way."""
    meeting.wait(30)
    return n


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.engines.cores.num_cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_tasks_of_a_process_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    with share_of_cores() as one, share_of_cores() as two, share_of_cores() as three:
        assert (one, two, three) == (4, 2, 1)
    for said, cores in (("1", 1), ("3", 3), ("16", 4), ("many", 4), ("0", 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", said)
        with share_of_cores() as found:
            assert found == cores


def test_a_process_that_is_forked_plays_none_of_its_parents_tasks() -> None:
    with share_of_cores(), ProcessPoolExecutor(1, get_context("fork")) as forked:
        assert forked.submit(_cores).result(30) == 4


def _cores() -> int:
    with share_of_cores() as found:
        return found


def test_batches_of_a_split_are_played_at_the_same_time(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": range(40)}), tmp_path / "in.parquet")
    played = mt.Graph("g", outputs={"y": mt.map(meet, mt.input("n", "int64"))})
    played.run(tmp_path / "in.parquet", tmp_path / "out.parquet", engine=Here(), batch_rows=10)
    assert pq.read_table(tmp_path / "out.parquet")["y"].to_pylist() == list(range(40))


def test_batches_of_each_stage_are_played_at_the_same_time(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": range(40)}), tmp_path / "in.parquet")
    column = mt.input("n", "int64")
    for memory in ("1GiB", "2GiB"):
        twice = mt.Model(
            "python:helpers.counted_models:Times", f"of{memory}", inputs={"x": "int64"}, outputs={"y": "int64"},
            options={"by": 2}, resources={"memory": memory},
        )  # fmt: skip
        column = mt.map(meet, mt.model(twice, column).y)
    played = mt.Graph("g", outputs={"y": column})
    assert len(stages_of(played.checked)) == 2
    played.run(tmp_path / "in.parquet", tmp_path / "out.parquet", engine=Here(), batch_rows=10)
    assert pq.read_table(tmp_path / "out.parquet")["y"].to_pylist() == list(range(0, 160, 4))


def test_batches_of_a_table_are_played_at_the_same_time() -> None:
    play = mt.Graph("g", outputs={"y": mt.map(meet, mt.input("n", "int64"))}).as_ptransform(batch_rows=10)
    with beam.Pipeline() as pipeline:
        answers = (pipeline | beam.Create([pa.table({"n": range(40)})]) | play).answers
        found = answers | beam.Map(lambda table: table["y"].to_pylist())
        assert_that(found, equal_to([list(range(40))]))


def test_batches_of_a_table_in_an_actor_of_ray_are_played_at_the_same_time() -> None:
    play = mt.ray.Play(mt.Graph("g", outputs={"y": mt.map(meet, mt.input("n", "int64"))}), batch_rows=10)
    found = play(pa.table({"n": range(40)}))
    assert (found["n"].to_pylist(), found["y"].to_pylist()) == (list(range(40)), list(range(40)))


def test_batches_of_a_table_are_played_one_after_another_where_models_share_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once: list[int] = []

    def beside(call: Any, parts: Any, most: int) -> list[Any]:
        at_once.append(most)
        return [call(part) for part in parts]

    monkeypatch.setattr(tables, "side_by_side", beside)
    rows = pa.record_batch({"key": ["1", "2"] * 20, "n": range(40)})
    twice = {
        str(by): mt.Model(
            "python:helpers.counted_models:Times", f"by{by}", inputs={"x": "int64"}, outputs={"y": "int64"}, options={"by": by}
        )
        for by in (1, 2)
    }  # fmt: skip
    for places, wanted in ((1, 1), (None, 4)):
        routed = mt.route(twice, mt.input("n", "int64"), key=mt.input("key", "string"), max_loaded=places)
        job = Job.of(mt.Graph("g", outputs={"y": routed.y}).checked, rows.schema, batch_rows=10)
        answers, failures = tables.play_table(BatchWorker(job), rows)
        assert (at_once.pop(), failures) == (wanted, [])
        found = pa.Table.from_batches(answers)["y"].to_pylist()
        assert found == [n * int(key) for n, key in zip(range(40), ["1", "2"] * 20, strict=True)]
