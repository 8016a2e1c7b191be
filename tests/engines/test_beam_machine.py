"""Models that the worker processes of Beam on one machine share: loaded once, also where the process that has one is killed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.ml.inference.base import RunInference
from apache_beam.options.pipeline_options import PipelineOptions

import motet as mt
from helpers import killers
from motet.nodes import map_

pytestmark = pytest.mark.timeout(600)  # processes begin, and import Beam
WORKERS = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


def tripled(folder: Path, x: Any) -> Any:
    """Three times a column; each loading is a line of `folder/log`, and `folder/pid` names the process that has it."""
    folder.mkdir(exist_ok=True)
    model = mt.Model(
        "python:helpers.counted_models:Times",
        "times",
        inputs={"x": "int64"},
        outputs={"y": "int64"},
        options={"by": 3, "log": str(folder / "log"), "pid_file": str(folder / "pid")},
        placement="machine",
    )
    return mt.model(model, x)


def loads(folder: Path) -> int:
    return len((folder / "log").read_text().splitlines())


def test_a_machine_loads_a_model_once_and_again_only_when_it_was_killed(tmp_path: Path) -> None:
    n, killed, handled = mt.input("n", "int64"), tmp_path / "killed", tmp_path / "handled"
    killing = mt.Graph("g", {"y": tripled(killed, map_(killers.kill_once, n, pid_file=str(killed / "pid")))})
    calm = mt.Graph("h", {"y": tripled(handled, n)})
    with beam.Pipeline(options=PipelineOptions(WORKERS)) as pipeline:
        rows = pipeline | beam.Create([{"n": n} for n in range(100)]) | beam.Reshuffle()
        answers = (rows | killing.as_ptransform(batch_rows=10)).answers | beam.Map(lambda row: row["y"])
        inferred = rows | RunInference(calm.as_model_handler()) | "y" >> beam.Map(lambda found: found.inference["y"])
        for name, numbers in (("answers", answers), ("inferred", inferred)):
            numbers | f"{name} as text" >> beam.Map(str) | f"write {name}" >> beam.io.WriteToText(str(tmp_path / name))
    for name in ("answers", "inferred"):
        written = [int(line) for path in tmp_path.glob(f"{name}-*") for line in path.read_text().splitlines()]
        assert sorted(written) == [3 * n for n in range(100)]
    assert (killed / "pid-taken").exists()
    assert (loads(killed), loads(handled)) == (2, 1)


def test_a_run_does_so_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": range(4000)}), tmp_path / "in.parquet", row_group_size=500)
    graph = mt.Graph("g", {"y": tripled(tmp_path / "run", mt.input("n", "int64"))})
    options = [*WORKERS, "--split-bytes", "4KiB"]
    graph.run(tmp_path / "in.parquet", tmp_path / "out.parquet", engine="beam", engine_options=options)
    assert pq.read_table(tmp_path / "out.parquet")["y"].to_pylist() == [3 * n for n in range(4000)]
    assert loads(tmp_path / "run") == 1
