"""Graphs over data frames of Spark, in executors of their own; the rows that Spark itself has are what is right."""

from __future__ import annotations

import gc
import operator
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers.until import until
from motet.batch import Array
from motet.engines.engine import find_engine
from motet.engines.spark.java import begin_java, told_by_java
from motet.errors import InputError, RunError, UnknownNameError
from motet.testing.fakes import Affine, fake
from motet.types import returns

ROWS, PARTS = 40, 4
pytestmark = pytest.mark.timeout(600)


@returns("float32[2]")
def pair(n: Array, calls: str = "") -> Array:
    """A number and its half; one that ends in 3 fails."""
    if calls:
        told(calls, len(n))
    if (n % 10 == 3).any():
        raise ValueError("three")
    return np.stack([n, n / 2], 1).astype(np.float32)


@returns("uint8")
def small(n: Array) -> Array:
    return (200 + n % 50).astype(np.uint8)


@returns("uint64")
def large(n: Array) -> Array:
    return n.astype(np.uint64) + np.uint64(2**63)


@returns("int16[2,3]")
def grid(n: Array) -> Array:
    return (n[:, None, None] + np.arange(6).reshape(2, 3)).astype(np.int16)


@returns("string")
def text(n: Array) -> Array:
    return np.array([f"é{each}" for each in n], object)


@returns("int64")
def broken(n: Array, calls: str) -> Array:
    told(calls, len(n))
    raise RuntimeError("the model is broken")


@returns("int64")
def killing(n: Array, marker: str) -> Array:
    """The numbers; the first process that has 25 among them kills its executor, before it answers."""
    if (n == 25).any():
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return n
        status = Path(f"/proc/{os.getppid()}/status").read_text()
        os.kill(int(status.partition("PPid:")[2].split()[0]), signal.SIGKILL)
        signal.pause()
    return n


def told(path: str, number: int) -> None:
    """Add a line to a file."""
    with open(path, "a") as file:
        file.write(f"{number}\n")


def lines(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def graph(**outputs: Any) -> mt.Graph:
    return mt.Graph("g", outputs=outputs)


def halves(calls: Path | None = None) -> mt.Graph:
    return graph(half=mt.map(pair, N, name="halved", calls=str(calls or "")))


def persisted(spark: Any) -> int:
    return len(spark.sparkContext._jsc.getPersistentRDDs())


N = mt.input("id", "int64")
FAILED = [n for n in range(ROWS) if n % 10 == 3]
TYPES = """
    SELECT id, CAST(id AS DECIMAL(20, 4)) exact, TIMESTAMP'2024-01-01 00:00:00' + make_interval(0, 0, 0, 0, 0, 0, id) zoned,
    TIMESTAMP_NTZ'2024-03-31 02:30:00' plain, array(1, NULL) list, map('a', id) map, DATE'1960-02-03' day, X'00FF' bytes,
    named_struct('x', id, 'y', array(named_struct('z', TIMESTAMP'2024-01-01 00:00:00'))) nested, NULL nothing,
    INTERVAL '1' DAY span, parse_json('{"a": 1}') variant, CAST(1 AS TINYINT) `dotted.name`, CASE WHEN id % 2 = 0 THEN 'x' END half_null
    FROM range(0, 40, 1, 4)
"""


def test_columns_that_are_kept_and_outputs_are_of_sparks_types(spark_session: Any) -> None:
    frame = spark_session.sql(TYPES)
    made = graph(
        pair=mt.map(pair, N, name="halved"), small=mt.map(small, N), large=mt.map(large, N), grid=mt.map(grid, N), text=mt.map(text, N)
    )  # fmt: skip
    stored = {row.id: row for row in frame.collect()}
    with made.on_spark(frame, row_ids="nr") as played:
        kinds = dict(played.answers.dtypes)
        outputs = {
            "pair": "array<float>",
            "small": "smallint",
            "large": "decimal(20,0)",
            "grid": "array<array<smallint>>",
        }
        assert kinds == {"nr": "bigint", **dict(frame.dtypes), **outputs, "text": "string"}
        answers, failures = played.answers.collect(), played.failures.collect()
    ids = frame.selectExpr("id", "monotonically_increasing_id() nr").collect()
    assert sorted((row.id, row.nr) for row in answers) == [tuple(row) for row in ids if row.id not in FAILED]
    assert sorted((row.row.id, row.nr) for row in failures) == [tuple(row) for row in ids if row.id in FAILED]
    for row in answers:
        assert str([row[name] for name in frame.columns]) == str(list(stored[row.id]))
        grid_of_row = [[row.id, row.id + 1, row.id + 2], [row.id + 3, row.id + 4, row.id + 5]]
        assert (row.pair, row.small, row.grid) == ([row.id, row.id / 2], 200 + row.id, grid_of_row)
        assert (row.large, row.text) == (Decimal(2**63 + row.id), f"é{row.id}")
    for row in failures:
        assert str(list(row.row)) == str(list(stored[row.row.id]))
        assert (row.node, row.error, row.message.partition(" (")[0]) == ("halved", "ValueError", "three")
    first = answers[0]
    assert (first.exact, first.day, first.plain) == (Decimal("0.0000"), date(1960, 2, 3), datetime(2024, 3, 31, 2, 30))


def test_what_both_frames_need_is_computed_once_and_let_go(spark_session: Any, tmp_path: Path) -> None:
    frame, calls = spark_session.range(0, ROWS, 1, PARTS), tmp_path / "calls"
    good = graph(y=mt.map(pair, N, calls=str(calls)))
    before = persisted(spark_session)
    with good.on_spark(frame) as played:
        assert lines(calls) == [], "nothing runs before somebody asks"
        assert played.answers.where("y[0] > 30").count() == 8
        once = lines(calls)
        played.failures.write.json(f"{tmp_path}/failed")
        played.answers.write.parquet(f"{tmp_path}/answers")
        assert lines(calls) == once
        assert persisted(spark_session) == before + 1
    assert persisted(spark_session) == before
    assert sorted(pq.read_table(tmp_path / "answers")["id"].to_pylist()) == [n for n in range(ROWS) if n not in FAILED]
    assert good.on_spark(frame, keep=[]).answers.columns == ["y"]
    gc.collect()
    until(lambda: persisted(spark_session) == before)


def test_batches_have_no_more_rows_than_spark_says(spark_session: Any, tmp_path: Path) -> None:
    frame = spark_session.range(0, ROWS, 1, 1)
    spark_session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "6")
    try:
        for most, batch_rows in ((6, None), (6, 100), (4, 4)):
            calls = tmp_path / f"{most}-{batch_rows}"
            with graph(y=mt.map(small, N), z=mt.map(counted, N, calls=str(calls))).on_spark(
                frame, batch_rows=batch_rows
            ) as played:
                assert [row.id for row in played.answers.collect()] == list(range(ROWS))
            assert (max(lines(calls)), sum(lines(calls))) == (most, ROWS)
    finally:
        spark_session.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")


@returns("int64")
def counted(n: Array, calls: str) -> Array:
    told(calls, len(n))
    return n


def test_a_broken_model_ends_every_action_with_its_own_error_and_is_not_tried_again(
    spark_session: Any, tmp_path: Path
) -> None:
    frame, calls = spark_session.range(0, ROWS, 1, 1), tmp_path / "calls"
    actions: list[Callable[[Any], Any]] = [
        lambda played: played.answers.where("y > 3").count(),
        lambda played: played.answers.where("y IS NOT NULL").collect(),
        lambda played: played.answers.groupBy("y").count().where("y = 1").collect(),
        lambda played: played.failures.where("node = 'z'").count(),
        lambda played: played.answers.write.parquet(f"{tmp_path}/out"),
    ]
    once: list[int] = []
    with graph(y=mt.map(broken, N, name="z", calls=str(calls))).on_spark(frame) as played:
        for action in actions:
            with pytest.raises(
                Exception, match="ModelFailedError: node 'z': .*RuntimeError: the model is broken"
            ) as caught:
                action(played)
            assert "Traceback" not in str(caught.value)
            assert "\tat " not in str(caught.value)
            once = once or lines(calls)
            assert lines(calls) == once
    with graph(y=mt.map(broken, N, calls=str(calls))).on_spark(frame, goes_on=True) as played:
        assert (played.answers.count(), played.failures.count()) == (0, ROWS)


def test_what_cannot_be_is_refused_before_anything_runs(spark_session: Any) -> None:
    frame = spark_session.range(3).selectExpr("id", "id AS Half", "INTERVAL '1' MONTH months", "1 AS id2")
    good = halves()
    for match, error, options in (
        ("Spark does not tell the columns 'Half' and 'half'", InputError, {"drop": ["months"]}),
        ("column 'months' is interval month, which Spark does not hand to Python", InputError, {"drop": ["Half"]}),
        ("keep must be a list of names; got 'id'", InputError, {"keep": "id"}),
        ("unknown column 'ids'", UnknownNameError, {"keep": ["ids"]}),
        ("failures have a column 'row' of their own", InputError, {"row_ids": "row", "keep": []}),
        ("failures have a column 'error' of their own", InputError, {"row_ids": "Error", "keep": []}),
        ("row_ids must be the name of a column; got 3", InputError, {"row_ids": 3}),
        ("batch_rows must be a whole number of at least 1; got 0", InputError, {"batch_rows": 0, "keep": []}),
    ):  # fmt: skip
        with pytest.raises(error, match=match):
            good.on_spark(frame, **options)
    with pytest.raises(InputError, match="expected a data frame of Spark; got Table"):
        good.on_spark(pa.table({"id": [1]}))
    with pytest.raises(UnknownNameError, match="unknown column 'id'"):
        good.on_spark(frame.select("id2"))
    with pytest.raises(InputError, match="nobody says of which type the output 'y' is"):
        graph(y=mt.map(str, N)).on_spark(frame, keep=[])
    with pytest.raises(InputError, match="foreach_batch is for streams"):
        good.on_spark(frame, keep=[]).foreach_batch(print)


def test_java_that_is_missing_too_old_or_does_not_begin_is_told_of(
    spark_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyspark import SparkConf, SparkContext

    with pytest.raises(RunError, match="^engine spark: no.such.Class$"), told_by_java():
        spark_session._jvm.java.lang.Class.forName("no.such.Class")
    with pytest.raises(RunError, match="^engine spark: the cluster does not answer, or has ended"), told_by_java():
        spark_session._jvm.java.util.Objects.requireNonNull(None, "SparkContext has been shutdown")
    (tmp_path / "g.yaml").write_text("{motet: 1, name: g, inputs: {n: int64}, outputs: {y: n}}")
    pq.write_table(pa.table({"n": [1]}), tmp_path / "in.parquet")
    command = f"-m motet.cli run {tmp_path}/g.yaml --input {tmp_path}/in.parquet --output {tmp_path}/out.parquet --engine spark"
    ended = subprocess.run(
        [sys.executable, *command.split(), "--", "--conf", "spark.executor.memory=-1"], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert "error: engine spark: Executor memory must be a positive number\n" in ended.stderr
    assert "\tat " not in ended.stderr
    memory = SparkConf(loadDefaults=False)
    monkeypatch.setattr(SparkContext, "_gateway", None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(
        InputError, match=f"needs Java 17 or newer, and {tmp_path}/bin/java cannot be run: No such file"
    ):
        begin_java(memory, quiet=True)
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    for version in ("1.8.0_412", "11.0.2"):
        program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2019-01-15' >&2\n")
        program.chmod(0o755)
        with pytest.raises(InputError, match=f'{program} is openjdk version "{version}"'):
            begin_java(memory, quiet=True)


def test_a_session_keeps_nothing_of_jobs_that_are_over(spark_session: Any) -> None:
    from pyspark.accumulators import _accumulatorRegistry

    engine: Any = find_engine("spark")
    before = set(_accumulatorRegistry)
    assert sorted(engine.map(operator.neg, [1, 2, 3])) == [-3, -2, -1]
    assert set(_accumulatorRegistry) == before


def test_names_zones_and_frames_of_any_kind_are_taken(spark_session: Any) -> None:
    rows, made = spark_session.range(0, 6, 1, 2), graph(y=mt.map(small, N))
    named = rows.selectExpr("id", "1 `a b`", "2 `x``y`", "3 `p.q`", "named_struct('i.j', 4) `s.t`", "5 `ID`")
    first = made.on_spark(named, drop=["ID"]).answers.first()
    assert first.asDict(recursive=True) == {"id": 0, "a b": 1, "x`y": 2, "p.q": 3, "s.t": {"i.j": 4}, "y": 200}
    twice = rows.crossJoin(spark_session.range(1).selectExpr("id k", "1 x", "2 x"))
    assert made.on_spark(twice, keep=["k"]).answers.columns == ["k", "y"]
    with pytest.raises(InputError, match="there are 2 columns 'x'"):
        made.on_spark(twice)
    empty = made.on_spark(rows.where("id < 0"))
    assert (empty.answers.collect(), empty.failures.count()) == ([], 0)
    spark_session.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        zoned = rows.selectExpr("id", "TIMESTAMP'2024-07-01 12:00:00' zoned")
        played = made.on_spark(zoned)
        spark_session.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
        assert played.answers.select("id", "zoned").collect() == zoned.collect()
    finally:
        spark_session.conf.unset("spark.sql.session.timeZone")
    halved = made.on_spark(rows.selectExpr("id / 2 id"))
    assert [row.message for row in halved.failures.select("message").collect()] == [
        f"column 'id' is int64; got {n}, which is not whole" for n in (0.5, 1.5, 2.5)
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--master", "nonsense"], "argument --master: must be spark://HOST:PORT, .*; got 'nonsense'"),
        (["--master", "local[x]"], "argument --master: must be spark://HOST:PORT, .*; got 'local\\[x\\]'"),
        (["--conf", "spark.master=here"], "argument --conf: must be spark://HOST:PORT, .*; got 'here'"),
        (["--conf", "executor.memory=1g"], "argument --conf: must be a setting of Spark, spark.NAME=VALUE; got 'exec"),
        (["--conf", "spark.executor.memory"], "argument --conf: must be KEY=VALUE; got 'spark.executor.memory'"),
    ],
)
def test_masters_and_settings_that_cannot_be_are_refused(arguments: list[str], said: str) -> None:
    pytest.importorskip("pyspark")
    with pytest.raises(InputError, match=f"^engine spark: {said}"):
        find_engine("spark", arguments)
    find_engine("spark", ["--master", "local-cluster[2,1,1024]", "--conf", "spark.master=k8s://https://here:6443"])


def test_streams_are_played_and_go_on_where_they_stopped(spark_session: Any, tmp_path: Path) -> None:
    source, answers = tmp_path / "in", tmp_path / "answers"
    source.mkdir()

    def play(first: int) -> None:
        pq.write_table(pa.table({"id": range(first, first + ROWS)}), source / f"{first}.parquet")
        stream = spark_session.readStream.schema("id long").parquet(str(source))
        query = (
            halves().on_spark(stream).answers.writeStream.option("checkpointLocation", f"{tmp_path}/checkpoint")
            .trigger(availableNow=True).start(str(answers), format="parquet")
        )  # fmt: skip
        query.awaitTermination()

    play(0)
    play(ROWS)
    found = sorted(row.id for row in spark_session.read.parquet(str(answers)).collect())
    assert found == [n for n in range(2 * ROWS) if n % 10 != 3]
    stream = spark_session.readStream.schema("id long").parquet(str(source))
    with pytest.raises(InputError, match="rows of a stream have no ids"):
        halves().on_spark(stream, row_ids="nr")


def test_both_parts_of_a_stream_are_written_batch_by_batch_and_computed_once(
    spark_session: Any, tmp_path: Path
) -> None:
    source, calls = tmp_path / "in", tmp_path / "calls"
    source.mkdir()
    pq.write_table(pa.table({"id": range(ROWS)}), source / "0.parquet")

    def write(played: Any, number: int) -> None:
        assert number == 0
        played.answers.write.parquet(f"{tmp_path}/answers")
        once = lines(calls)
        played.failures.write.parquet(f"{tmp_path}/failures")
        assert lines(calls) == once

    stream = spark_session.readStream.schema("id long").parquet(str(source))
    before = persisted(spark_session)
    writer = halves(calls).on_spark(stream).foreach_batch(write).option("checkpointLocation", f"{tmp_path}/checkpoint")
    writer.trigger(availableNow=True).start().awaitTermination()
    assert sorted(pq.read_table(tmp_path / "answers")["id"].to_pylist()) == [n for n in range(ROWS) if n not in FAILED]
    failed = pq.read_table(tmp_path / "failures").to_pylist()
    assert sorted(each["row"]["id"] for each in failed) == FAILED
    assert persisted(spark_session) == before


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (
            {"cpu": 2, "memory": "10MiB"},
            "a task asks for 2 cores, and an executor has 1\n.*begin Spark with spark.executor.cores=2",
        ),
        ({"accelerator": 1}, "a task asks for 1 GPUs, and an executor has 0"),
        ({"memory": "10MiB"}, ""),
    ],
)
def test_what_executors_do_not_have_is_refused(resources: Any, said: str, spark_session: Any, tmp_path: Path) -> None:
    """Spark would wait for others, which nobody begins."""
    asks = fake(Affine, "twice", scale=2.0, settings={"resources": resources})
    made, frame = graph(y=mt.model(asks, mt.input("x", "float32"))), spark_session.sql("SELECT CAST(3 AS FLOAT) x")
    pq.write_table(pa.table({"x": np.array([3.0], np.float32)}), tmp_path / "in.parquet")
    for play in (
        lambda: made.on_spark(frame).answers.collect(),
        lambda: made.run(tmp_path / "in.parquet", tmp_path / "out.parquet", engine="spark"),
    ):
        with pytest.raises(InputError, match=f"^engine spark: {said}") if said else nullcontext():
            play()
    assert (tmp_path / "out.parquet").exists() == (not said)


def test_an_executor_that_is_killed_costs_no_row_and_doubles_none(spark_session: Any, tmp_path: Path) -> None:
    frame = spark_session.range(0, ROWS, 1, PARTS)
    with graph(y=mt.map(killing, N, marker=f"{tmp_path}/killed")).on_spark(frame) as played:
        assert sorted((row.id, row.y) for row in played.answers.collect()) == [(n, n) for n in range(ROWS)]
        assert played.failures.count() == 0
    assert (tmp_path / "killed").exists()
    pq.write_table(pa.table({"id": range(ROWS)}), tmp_path / "in.parquet", row_group_size=10)
    report = graph(y=mt.map(killing, N, marker=f"{tmp_path}/killed again")).run(
        tmp_path / "in.parquet", f"{tmp_path}/out.parquet", engine="spark", engine_options=["--split-bytes", "1"]
    )
    assert (report.rows, report.answered, (tmp_path / "killed again").exists()) == (ROWS, ROWS, True)
    assert pq.read_table(tmp_path / "out.parquet").to_pydict() == {"id": list(range(ROWS)), "y": list(range(ROWS))}
