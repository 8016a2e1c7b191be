"""What a graph does in a pipeline it does on a runner of its own too, and a worker or a program that is killed there costs nothing.

The runner in this process is in test_beam.py; all of Motet's own engine for Beam in test_split_engines.py, on Prism too,
and here on Flink.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.coders import FloatCoder
from apache_beam.io.parquetio import ReadFromParquetBatched, WriteToParquetBatched
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_stream import TestStream as Stream
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.periodicsequence import PeriodicImpulse
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from apache_beam.utils.timestamp import Timestamp
from click.testing import CliRunner

import motet as mt
from helpers import functions, killers
from motet.cli import cli
from motet.engines.engine import find_engine
from motet.nodes import map_, model
from motet.testing import engines
from motet.testing.fakes import Affine, Failing, Scores, fake

pytestmark = pytest.mark.timeout(600)  # processes begin, and import Beam

Visit = NamedTuple("Visit", [("id", int), ("x", float)])  # noqa: UP014 (Beam reads types, no texts)
ROWS: list[dict[str, Any]] = [{"id": row, "x": float(row % 17 - 2)} for row in range(60)]
GOOD = [row for row in ROWS if row["x"] >= 0]
BAD = [row for row in ROWS if row["x"] < 0]


def graph() -> mt.Graph:
    """Twice what is not negative, and scores of it; what is negative fails."""
    x = map_(functions.refuse_negative, mt.input("x", "float32"), name="checked")
    scores = model(fake(Scores, "scores", "float32", "float32[3]", output="p"), x)
    return mt.Graph("visits", {"y": model(fake(Affine, "twice", scale=2.0), x).output, "p": scores.p})


@pytest.fixture(params=["prism", "flink"])
def runner(request: pytest.FixtureRequest) -> Any:
    """Beam's options for pipelines on a runner of its own, with workers in this process."""
    return request.getfixturevalue(request.param)


def test_rows_are_answered_as_a_call_answers_them_and_counted(runner: list[str]) -> None:
    called = graph()({"x": [row["x"] for row in GOOD]})
    wanted = [
        (row["id"], y, tuple(p)) for row, y, p in zip(GOOD, called["y"].tolist(), called["p"].tolist(), strict=True)
    ]
    pipeline = beam.Pipeline(options=PipelineOptions(runner))
    rows = pipeline | beam.Create(ROWS) | beam.Reshuffle()
    dicts = rows | "dicts" >> graph().as_ptransform(batch_rows=7)
    assert_that(
        dicts.answers | "of dicts" >> beam.Map(lambda row: (row["id"], row["y"], tuple(row["p"]))), equal_to(wanted)
    )
    told = dicts.failures | beam.Map(lambda failure: (failure["row"]["id"], failure["node"], failure["error"]))
    assert_that(told, equal_to([(row["id"], "checked", "ValueError") for row in BAD]), label="failures")
    keyed = rows | beam.Map(lambda row: (f"k{row['id']}", Visit(**row))).with_output_types(tuple[str, Visit])
    typed = keyed | "typed" >> graph().as_ptransform(batch_rows=7)
    grouped = typed.answers | beam.GroupByKey() | beam.MapTuple(lambda key, rows: (key, [row.y for row in rows]))
    assert_that(grouped, equal_to([(f"k{key}", [y]) for key, y, _ in wanted]), label="grouped")
    inferred = keyed | RunInference(KeyedModelHandler(graph().as_model_handler(batch_rows=7)))
    said = inferred | beam.MapTuple(lambda key, each: (key, getattr(each.inference, "y", None)))
    assert_that(said, equal_to([(f"k{r['id']}", 2 * r["x"] if r["x"] >= 0 else None) for r in ROWS]), label="inferred")
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query(beam.metrics.MetricsFilter().with_namespace("motet.visits"))["counters"]
    counted = {each.key.metric.name: each.committed for each in found if "dicts" in each.key.step}
    assert (counted["rows"], counted["failures"]) == (len(ROWS), len(BAD))


def test_tables_of_files_go_through(runner: list[str], tmp_path: Path) -> None:
    table = pa.table({"id": range(60), "x": pa.array([row["x"] for row in ROWS], pa.float32())})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=11)
    transform = graph().as_ptransform(schema=table.schema)
    with beam.Pipeline(options=PipelineOptions(runner)) as pipeline:
        played = pipeline | ReadFromParquetBatched(str(tmp_path / "in.parquet")) | transform
        played.answers | WriteToParquetBatched(str(tmp_path / "out"), transform.answers_schema)
        played.failures | "Failures" >> WriteToParquetBatched(str(tmp_path / "failed"), transform.failures_schema)
    written = pa.concat_tables(pq.read_table(path) for path in tmp_path.glob("out*")).sort_by("id")
    assert [(row["id"], row["y"]) for row in written.to_pylist()] == [(row["id"], 2 * row["x"]) for row in GOOD]
    told = pa.concat_tables(pq.read_table(path) for path in tmp_path.glob("failed*")).to_pylist()
    assert sorted(row["row"]["id"] for row in told) == [row["id"] for row in BAD]


class WithWindow(beam.DoFn):
    """What an element is, when, and the beginning of its window."""

    def process(self, element: Any, window: Any = beam.DoFn.WindowParam, time: Any = beam.DoFn.TimestampParam) -> Any:
        yield element.get("y", "failed"), int(time), int(window.start)


def test_a_stream_keeps_its_windows_and_times(runner: list[str]) -> None:
    timed = [TimestampedValue(float(x), at) for x, at in ((1, 1), (-1, 3), (2, 7), (3, 12), (-2, 14), (4, 21))]
    stream = Stream(FloatCoder()).advance_watermark_to(0).add_elements(timed[:3]).advance_watermark_to(10)
    stream = (
        stream.add_elements(timed[3:5]).advance_watermark_to(20).add_elements(timed[5:]).advance_watermark_to_infinity()
    )
    with beam.Pipeline(options=PipelineOptions([*runner, "--streaming"])) as pipeline:
        numbers = pipeline | stream.with_output_types(float) | beam.WindowInto(FixedWindows(10))
        played = numbers | beam.Map(lambda x: {"x": x}) | graph().as_ptransform(batch_rows=2)
        seen = played.answers | "seen" >> beam.ParDo(WithWindow())
        assert_that(seen, equal_to([(2.0, 1, 0), (4.0, 7, 0), (6.0, 12, 10), (8.0, 21, 20)]))
        told = played.failures | "told" >> beam.ParDo(WithWindow())
        assert_that(told, equal_to([("failed", 3, 0), ("failed", 14, 10)]), label="failures")
        sums = played.answers | beam.Map(lambda row: ("all", float(row["y"]))) | beam.CombinePerKey(sum)
        assert_that(sums, equal_to([("all", 6.0), ("all", 6.0), ("all", 8.0)]), label="sums")


def test_a_source_without_bounds_streams_through(runner: list[str]) -> None:
    start = Timestamp(1000)
    with beam.Pipeline(options=PipelineOptions([*runner, "--streaming"])) as pipeline:
        times = pipeline | PeriodicImpulse(start, start + 8, 1)
        rows = times | beam.Map(lambda time: {"x": float(time) - 1002})
        played = rows | graph().as_ptransform(batch_rows=3)
        assert not played.answers.is_bounded
        assert_that(played.answers | "y" >> beam.Map(lambda row: row["y"]), equal_to([0.0, 2.0, 4.0, 6.0, 8.0, 10.0]))
        told = played.failures | "x" >> beam.Map(lambda failure: failure["row"]["x"])
        assert_that(told, equal_to([-2.0, -1.0]), label="failures")


def test_a_model_that_fails_on_everything_ends_the_pipeline_with_its_own_error(runner: list[str]) -> None:
    broken = mt.Graph("g", {"y": model(fake(Failing, "broken"), mt.input("x", "float32"), name="asked")})
    said = "node 'asked': model 'broken' failed on each of the .*ValueError: cannot take"
    with pytest.raises(RuntimeError, match=said), beam.Pipeline(options=PipelineOptions(runner)) as pipeline:
        _ = pipeline | beam.Create(ROWS) | broken.as_ptransform()


@pytest.mark.parametrize(
    "check", [engines.every_output_is_that_of_the_engine_local, engines.a_broken_model_ends_the_run_with_its_own_error]
)
def test_whole_jobs_on_flink_pass_the_suite_of_engines(check: Any, flink: list[str], tmp_path: Path) -> None:
    check(find_engine("beam", flink), tmp_path)


@pytest.fixture(params=["processes", "prism", "flink"])
def killable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Beam's options for workers in processes of their own."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    if request.param == "processes":
        return ["--direct_running_mode", "multi_processing"]
    return [*request.getfixturevalue(request.param), *request.getfixturevalue("worker_pool")]


def killed(tmp_path: Path, who: str) -> list[str]:
    """The arguments of a run over 240 rows in 6 splits, in the middle of which somebody is killed."""
    pq.write_table(pa.table({"n": range(240)}), tmp_path / "in.parquet", row_group_size=40)
    (tmp_path / "pid").write_text(who)
    node = {"map": "helpers.killers.kill_once", "inputs": ["n"], "with": {"pid_file": f"{tmp_path}/pid"}}
    text = {"motet": 1, "name": "g", "inputs": {"n": "int64"}, "nodes": {"k": node}, "outputs": {"same": "k"}}
    (tmp_path / "g.yaml").write_text(json.dumps(text))
    return ["run", f"{tmp_path}/g.yaml", "--input", f"{tmp_path}/in.parquet", "--output", f"{tmp_path}/parts/"]


def check_resumed(tmp_path: Path, line: list[str], options: list[str]) -> None:
    """A run goes on, and every row is there once."""
    assert not (tmp_path / "pid").exists(), "nobody was killed"
    resumed = CliRunner().invoke(cli, [*line, "--resume", "--engine", "beam", "--", "--split-bytes", "1", *options])
    assert resumed.exit_code == 0, resumed.output
    assert pq.read_table(tmp_path / "parts").to_pydict() == {"n": list(range(240)), "same": list(range(240))}


def test_a_lost_worker_ends_the_run_with_an_error_and_resume_goes_on(killable: list[str], tmp_path: Path) -> None:
    line = killed(tmp_path, "")
    lost = CliRunner().invoke(cli, [*line, "--engine", "beam", "--", "--split-bytes", "1", *killable])
    assert (lost.exit_code, "Traceback" in lost.output) == (1, False), lost.output
    assert re.search("a worker process of Beam is lost|SDK worker disconnected|client cancelled", lost.output), (
        lost.output
    )
    assert "--resume goes on with what is finished" in lost.output
    check_resumed(tmp_path, line, killable)


def test_a_task_manager_of_flink_that_is_killed_costs_nothing(
    flink_cluster: tuple[list[str], int], worker_pool: list[str], tmp_path: Path
) -> None:
    options, tasks = flink_cluster
    line = killed(tmp_path, str(tasks))
    done = CliRunner().invoke(cli, [*line, "--engine", "beam", "--", "--split-bytes", "1", *options, *worker_pool])
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "pid").exists(), "nobody was killed"
    assert pq.read_table(tmp_path / "parts").to_pydict() == {"n": list(range(240)), "same": list(range(240))}


@pytest.mark.parametrize("on", ["in this process", "prism", "flink"])
def test_a_program_that_is_killed_is_resumed(
    on: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    names = () if on == "in this process" else (on, "worker_pool")
    options = [option for name in names for option in request.getfixturevalue(name)]
    line = killed(tmp_path, "")
    code = f"""
        import os
        from pathlib import Path
        from motet.cli import main
        Path({f"{tmp_path}/pid"!r}).write_text(str(os.getpid()))
        main()
    """
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(code),
        *line,
        "--engine",
        "beam",
        "--",
        "--split-bytes",
        "1",
        *options,
    ]
    done = subprocess.run(command, capture_output=True, timeout=500)
    assert done.returncode == -signal.SIGKILL, done.stderr
    check_resumed(tmp_path, line, options)


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_a_lost_worker_ends_a_pipeline(how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    (tmp_path / "pid").write_text("")
    n = mt.input("n", "int64")
    same = map_(killers.kill_once, n, pid_file=f"{tmp_path}/pid") if how == "killed" else map_(killers.end, n)
    options = PipelineOptions(["--direct_running_mode=multi_processing", "--direct_num_workers=2"])
    with (
        pytest.raises(RuntimeError, match="a worker process of Beam is lost"),
        beam.Pipeline(options=options) as pipeline,
    ):
        _ = pipeline | beam.Create([{"n": n} for n in range(60)]) | mt.Graph("g", {"same": same}).as_ptransform()
