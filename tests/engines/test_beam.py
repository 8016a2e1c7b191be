"""A graph inside a pipeline of Beam gives each row what a call gives it, of the row's kind, in its windows, at its time."""

from __future__ import annotations

import datetime
import decimal
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Optional

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.parquetio import (
    ReadAllFromParquet,
    ReadFromParquet,
    ReadFromParquetBatched,
    WriteToParquet,
    WriteToParquetBatched,
)
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows, SlidingWindows, TimestampedValue
from apache_beam.utils.windowed_value import WindowedValue

import motet as mt
from helpers import functions
from motet.engines.beam.play import PlayRows
from motet.errors import InputError, MissingExtraError, UnknownNameError
from motet.nodes import cascade, ensemble, map_, model, route
from motet.testing.fakes import Affine, Failing, Scores, fake

FAILED = ["node", "model", "version", "error", "message"]


NOTE: Any = Optional[str]  # noqa: UP045 (Beam reads types, no texts)
Visit = NamedTuple("Visit", [("id", int), ("x", float), ("note", NOTE)])  # noqa: UP014 (likewise)
Other = NamedTuple("Other", [("z", int)])  # noqa: UP014


def graph() -> mt.Graph:
    """One output of each kind; refuses what is negative."""
    x = map_(functions.refuse_negative, mt.input("x", "float32"), name="checked")
    scores = model(fake(Scores, "scores", "float32", "float32[3]", output="p"), x)
    twice = model(fake(Affine, "twice", scale=2.0), x)
    return mt.Graph("visits", {"y": twice.output, "p": scores.p, "said": mt.input("note", "string", default=None)})


def every_kind() -> mt.Graph:
    x = mt.input("x", "float32")
    one, two = (fake(Scores, f"s{n}", "float32", "float32[3]", output="p", seed=n, sharpness=0.2) for n in (1, 2))
    arms = {"a": fake(Affine, "a"), "b": fake(Failing, "b", bad=[5.0], scale=2.0)}
    sure = cascade([one, two], x, confidence=0.7)
    outputs = {"vote": ensemble([one, two], x, weights=[1, 3]).p, "step": sure.member}
    return mt.Graph("all", {**outputs, "arm": route(arms, x, when={"b": "x > 3"}, otherwise="a", name="size").output})


def run(rows: Iterable[Any], *stages: Any, kind: Any = None, **options: Any) -> tuple[list[Any], list[Any]]:
    """The answers and failures of rows, through the runner in this process."""
    answers: list[Any] = []
    failures: list[Any] = []
    HELD.update({id(answers): answers, id(failures): failures})
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"], **options)) as pipeline:
        created = pipeline | beam.Create(list(rows))
        for stage in stages[:-1]:
            created = created | stage
        if kind is not None:
            created = created.with_output_types(kind)
        played = created | stages[-1]
        (
            played.answers
            | "answers" >> beam.Map(plain)
            | "kept" >> beam.combiners.ToList()
            | "to" >> beam.Map(partial(put_by, id(answers)))
        )
        (
            played.failures
            | "failures" >> beam.Map(plain)
            | "told" >> beam.combiners.ToList()
            | "in" >> beam.Map(partial(put_by, id(failures)))
        )
    return answers, failures


HELD: dict[int, list[Any]] = {}
"""What stages in this process have put by; cloudpickle names functions of modules, which then see this very dict."""


def put_by(place: int, found: list[Any]) -> None:
    HELD[place] += found


def plain(value: Any) -> Any:
    """A row as a dict, arrays as lists; tables as they are."""
    if type(value) is tuple and len(value) == 2:
        return value[0], plain(value[1])
    if isinstance(value, beam.Row) or hasattr(value, "_asdict"):
        value = {"": type(value).__name__.split("_")[0], **value._asdict()}
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def called(rows: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """By id what a call answers."""
    answers, failures = graph()({name: [row.get(name) for row in rows] for name in ("x", "note")}, failures="return")
    failed = {failure.row for failure in failures}
    good = [row for place, row in enumerate(rows) if place not in failed]
    return {
        row["id"]: {
            **row,
            **{name: column[place].tolist() if name == "p" else column[place] for name, column in answers.items()},
        }
        for place, row in enumerate(good)
    }


ROWS: list[dict[str, Any]] = [
    {"id": row, "x": float(row % 17 - 2), "note": None if row % 5 else f"n{row}"} for row in range(60)
]


@pytest.mark.parametrize("batch_rows", [1, 7, None])
def test_dicts_are_answered_as_a_call_answers_them(batch_rows: int | None) -> None:
    answers, failures = run(ROWS, graph().as_ptransform(batch_rows=batch_rows))
    assert {answer["id"]: answer for answer in answers} == called(ROWS)
    assert len(answers) + len(failures) == len(ROWS)
    assert sorted(failure["row"]["id"] for failure in failures) == [row["id"] for row in ROWS if row["x"] < 0]
    assert {(each["node"], each["error"], tuple(each)) for each in failures} == {
        ("checked", "ValueError", ("row", *FAILED))
    }


def test_what_is_kept_of_a_dict_is_the_very_value_and_each_row_has_its_own_keys() -> None:
    kept: dict[str, Any] = {
        "day": datetime.date(2026, 5, 1),
        "cost": decimal.Decimal("1.10"),
        "deep": {"a": [1, None]},
        "raw": b"\0",
    }
    rows: list[dict[str, Any]] = [{"x": 1, **kept}, {"x": np.float32(2), "other": 3}, {"x": decimal.Decimal("4")}]
    answers, failures = run(rows, graph().as_ptransform())
    assert [{name: value for name, value in each.items() if name not in ("p", "said")} for each in answers] == [
        {**rows[0], "y": 2.0}, {**rows[1], "y": 4.0}, {**rows[2], "y": 8.0},
    ]  # fmt: skip
    assert not failures


def test_a_bad_row_fails_alone_and_says_why() -> None:
    rows = [{"x": "three"}, {"x": 1.0}, {"note": "no x"}, {"x": None}, {"x": -1.0}, {"x": [1.0]}, {"x": 2.0, "note": 3}]
    answers, failures = run(rows, graph().as_ptransform())
    assert [answer["y"] for answer in answers] == [2.0]
    told = [(failure["row"], failure["node"], failure["message"].partition(" (")[0]) for failure in failures]
    assert sorted(told, key=str) == sorted(
        [
            ({"x": "three"}, "input", "input 'x' is float32; got 'three'"),
            ({"note": "no x"}, "input", "input 'x' is null"),
            ({"x": None}, "input", "input 'x' is null"),
            ({"x": -1.0}, "checked", "negative: -1"),
            ({"x": [1.0]}, "input", "input 'x' is float32; got [1.0]"),
            ({"x": 2.0, "note": 3}, "input", "input 'note' is string; got 3"),
        ],
        key=str,
    )


@pytest.mark.parametrize("kind", ["named tuples", "rows"])
def test_rows_with_a_schema_are_answered_by_rows_with_a_schema(kind: str) -> None:
    made: Any = [Visit(**row) for row in ROWS]
    transform = graph().as_ptransform()
    if kind == "rows":
        fields = [("id", int), ("x", float), ("note", NOTE)]
        answers, failures = run(
            ROWS,
            beam.Map(lambda row: beam.Row(**row)).with_output_types(
                beam.typehints.row_type.RowTypeConstraint.from_fields(fields)
            ),
            beam.Reshuffle(),
            transform,
        )
    else:
        answers, failures = run(made, beam.Map(lambda row: row).with_output_types(Visit), beam.Reshuffle(), transform)
    wanted = called(ROWS)
    assert {answer["id"]: {**answer, "": None} for answer in answers} == {
        key: {"": None, **row} for key, row in wanted.items()
    }
    assert sorted(failure["row"]["id"] for failure in failures) == [row["id"] for row in ROWS if row["x"] < 0]


def test_answers_of_typed_rows_have_a_schema_that_beam_encodes() -> None:
    with beam.Pipeline() as pipeline:
        rows = pipeline | beam.Create([Visit(1, 3.0, "a"), Visit(2, -3.0, None)]).with_output_types(Visit)
        played = rows | graph().as_ptransform()
        fields = dict(played.answers.element_type._fields)
        assert fields["id"] is int
        assert fields["y"] is np.float32
        assert list(fields) == ["id", "x", "note", "y", "p", "said"]
        shuffled = played.answers | beam.Reshuffle() | beam.Map(lambda row: (row.id, row.y, len(row.p), row.said))
        assert_that(shuffled, equal_to([(1, 6.0, 3, "a")]))
        told = played.failures | "shuffled" >> beam.Reshuffle() | "told" >> beam.Map(lambda row: (row.row.id, row.node))
        assert_that(told, equal_to([(2, "checked")]), label="failures")
        sql = played.answers | beam.GroupBy("note").aggregate_field("y", sum, "total") | "sum" >> beam.Map(tuple)
        assert_that(sql, equal_to([("a", 6.0)]), label="grouped")


def test_a_key_stays_with_its_row() -> None:
    answers, failures = run([(f"k{row['id']}", row) for row in ROWS], graph().as_ptransform(batch_rows=7))
    wanted = called(ROWS)
    assert dict(answers) == {f"k{key}": row for key, row in wanted.items()}
    assert {key for key, _ in failures} == {f"k{row['id']}" for row in ROWS if row["x"] < 0}
    assert all(key == f"k{failure['row']['id']}" for key, failure in failures)


def test_typed_rows_behind_keys_are_grouped_by_them() -> None:
    with beam.Pipeline() as pipeline:
        made = [(row["id"] % 2, Visit(**row)) for row in ROWS[:8]]
        rows = pipeline | beam.Create(made).with_output_types(tuple[int, Visit])
        played = rows | graph().as_ptransform()
        ids = (
            played.answers | beam.GroupByKey() | beam.MapTuple(lambda key, rows: (key, sorted(row.id for row in rows)))
        )
        assert_that(ids, equal_to([(0, [2, 4, 6]), (1, [3, 5, 7])]))
        told = (
            played.failures | "by key" >> beam.GroupByKey() | "of" >> beam.MapTuple(lambda key, rows: (key, len(rows)))
        )
        assert_that(told, equal_to([(0, 1), (1, 1)]), label="failures")


@pytest.mark.parametrize("given", ["tables", "record batches"])
@pytest.mark.parametrize("known", [True, False])
def test_tables_are_answered_by_tables_as_a_run_answers_them(given: str, known: bool) -> None:
    table = pa.table(
        {
            "id": pa.array(range(60), pa.int16()),
            "x": pa.array([row["x"] for row in ROWS], pa.float32()),
            "note": [row["note"] for row in ROWS],
        }
    )
    parts = [table.slice(0, 25), table.slice(25, 25), table.slice(50)]
    parts = parts if given == "tables" else [part.combine_chunks().to_batches()[0] for part in parts]
    transform = graph().as_ptransform(batch_rows=7, schema=table.schema if known else None)
    answers, failures = run(parts, transform)
    wanted, failed = graph().run(table, failures="return")
    assert {type(answer) for answer in (*answers, *failures)} == {type(parts[0])}
    whole = pa.concat_tables(pa.table(part) if given == "tables" else pa.Table.from_batches([part]) for part in answers)
    assert whole.sort_by("id").equals(wanted)
    told = [row for part in failures for row in part.to_pylist()]
    assert sorted((row["row"]["id"], row["node"], row["message"]) for row in told) == [
        (failure.row, failure.node, failure.message) for failure in failed
    ]
    if known:
        assert transform.answers_schema == wanted.schema
        assert transform.failures_schema == failures[0].schema


def test_graphs_of_every_kind_of_node_answer_the_same(tmp_path: Path) -> None:
    rows = [{"x": float(number)} for number in np.random.default_rng(0).integers(-9, 9, 100)]
    answers, failures = run(rows, every_kind().as_ptransform(batch_rows=9))
    wanted, failed = every_kind()({"x": [row["x"] for row in rows]}, failures="return")
    assert len(failures) == len(failed)
    assert {each["message"] for each in failures} == {each.message for each in failed}
    of_x = {x: place for place, x in enumerate(row["x"] for row in rows if row["x"] != 5)}
    for answer in answers:
        place = of_x[answer["x"]]
        assert answer == {
            "x": answer["x"],
            **{name: np.asarray(column[place]).tolist() for name, column in wanted.items()},
        }


def test_what_does_not_fit_is_refused_before_the_pipeline_runs() -> None:
    with pytest.raises(UnknownNameError, match="no column 'x'|column 'x'"):
        graph().as_ptransform(schema=pa.schema({"note": pa.string()}))
    with pytest.raises(InputError, match="both the source and the graph have a column 'y'"):
        graph().as_ptransform(schema=pa.schema({"x": pa.float32(), "y": pa.int64()}))
    with pytest.raises(InputError, match="schema of the rows is not known") as unknown:
        _ = graph().as_ptransform().answers_schema
    assert "schema=" in unknown.value.hint
    undeclared = mt.Graph("g", {"y": mt.map(functions.undeclared, mt.input("x", "any"))})
    with pytest.raises(InputError, match="nobody says of which type the output 'y' is"):
        undeclared.as_ptransform(schema=pa.schema({"x": pa.int64()}))

    makes: tuple[Any, ...] = graph().as_ptransform, graph().as_model_handler
    for wrong in (0, -3, 2.5, "7"):
        for make in makes:
            with pytest.raises(InputError, match="batch_rows must be a whole number of at least 1"):
                make(batch_rows=wrong)
    with pytest.raises(InputError, match="keep must be a list of names; got 'note'"):
        graph().as_ptransform(keep="note")
    with pytest.raises(InputError, match="drop must be a list of names; got 'note'"):
        graph().as_ptransform(drop="note")
    with pytest.raises(InputError, match="schema must be an Arrow schema; got dict"):
        graph().as_ptransform(schema={"x": "float32"})

    pipeline = beam.Pipeline()
    with pytest.raises(UnknownNameError, match="field 'x'"):
        pipeline | beam.Create([Other(1)]).with_output_types(Other) | graph().as_ptransform()
    rows = pipeline | "visits" >> beam.Create([Visit(1, 1.0, "")]).with_output_types(Visit)
    with pytest.raises(UnknownNameError, match="field 'note_'"):
        rows | "other" >> graph().as_ptransform(keep=["note_"])
    named: Any
    for named in ({"keep": ["note_"]}, {"drop": ["note_"]}):
        with pytest.raises(RuntimeError, match="UnknownNameError: the rows: unknown field 'note_'"):
            run([beam.Row(x=1.0, note="")], graph().as_ptransform(**named))
    assert run([{"x": 1.0}], graph().as_ptransform(keep=["note"]))[0][0].keys() == {"y", "p", "said"}


def test_what_brings_beam_is_said_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    for make in (graph().as_ptransform, graph().as_model_handler):
        with pytest.raises(MissingExtraError, match=r"needs apache-beam.*\n.*pip install 'motet\[beam\]'"):
            make()


def test_arrays_that_files_hold_flat_are_read_in_their_shape(tmp_path: Path) -> None:
    images = np.arange(48, dtype=np.uint8).reshape(4, 3, 4)
    pq.write_table(pa.table({"im": pa.FixedShapeTensorArray.from_numpy_ndarray(images)}), tmp_path / "in.parquet")
    same = mt.Graph("g", {"y": mt.map(lambda im: im, mt.input("im", "uint8[3,4]"), outputs="uint8[3,4]")})
    rows = [{"im": images[0]}, {"im": images[1].tolist()}, {"im": images[2].reshape(-1)}, {"im": images[3].tobytes()}]
    answers, failures = run([*rows, {"im": [1, 2]}, {"im": ["a"] * 12}], same.as_ptransform())
    assert [answer["y"] for answer in answers] == images.tolist()
    assert len(failures) == 2
    answers, failures = run([str(tmp_path / "in.parquet")], ReadAllFromParquet(), same.as_ptransform())
    assert sorted(answer["y"] for answer in answers) == images.tolist()
    assert not failures
    columns = mt.Graph("g", {"y": mt.map(lambda v: v, mt.input("v", "int64[3,1]"), outputs="int64[3,1]")})
    answers, failures = run([{"v": [[1], [2], [3]]}, {"v": [1, 2, 3]}, {"v": [[1], 2, 3]}], columns.as_ptransform())
    assert [answer["y"] for answer in answers] == [[[1], [2], [3]]] * 2
    assert len(failures) == 1


def test_outputs_that_nobody_declared_are_given_to_dicts_as_they_are() -> None:
    made = mt.Graph("g", {"y": mt.map(functions.undeclared, mt.input("x", "any"))})
    answers, failures = run([{"x": 1}, {"x": 2}], made.as_ptransform(drop=["x"]))
    assert (answers, failures) == ([{"y": 2}, {"y": 4}], [])


def test_elements_that_are_no_rows_end_the_pipeline() -> None:
    with pytest.raises(RuntimeError, match="expected rows; got int"):
        run([1, 2], graph().as_ptransform())
    with pytest.raises(RuntimeError, match="both the source and the graph have a column 'y'"):
        run([{"x": 1.0, "y": 2}], graph().as_ptransform())


def test_columns_that_tables_lack_end_the_pipeline_by_name() -> None:
    with pytest.raises(RuntimeError, match="the rows: unknown column 'x'; known: z\n  hint: graph 'all' takes x"):
        run([pa.table({"z": [1]})], every_kind().as_ptransform())


def test_a_model_that_fails_on_everything_ends_the_pipeline_with_its_own_error() -> None:
    broken = mt.Graph("g", {"y": model(fake(Failing, "broken"), mt.input("x", "float32"), name="asked")})
    rows = [{"x": float(row)} for row in range(40)]
    with pytest.raises(
        RuntimeError, match="node 'asked': model 'broken' failed on each of the .*ValueError: cannot take"
    ):
        run(rows, broken.as_ptransform())
    answers, failures = run(rows, broken.as_ptransform(goes_on=True))
    assert not answers
    assert len(failures) == 40


def test_a_model_handler_takes_rows_of_many_kinds_in_one_batch() -> None:
    handler = graph().as_model_handler()
    batch = [beam.Row(x=1.0), {"x": 2.0}, Visit(1, 3.0, "a"), {"x": -1.0}, beam.Row(x=4.0), {"x": 5.0}]
    found = [each.inference for each in handler.run_inference(batch, handler.load_model())]
    assert [found[place].y for place in (0, 2, 4)] == [2.0, 6.0, 8.0]
    assert [found[place]["y"] for place in (1, 5)] == [4.0, 10.0]
    assert found[3]["row"] == {"x": -1.0}


CAMERA = {"off": False}


@mt.returns("float32")
def seen(x: np.ndarray) -> np.ndarray:
    """The numbers, where the camera is on."""
    if CAMERA["off"]:
        raise RuntimeError("camera off")
    return x


@pytest.mark.parametrize("kind", ["transform", "handler"])
def test_what_one_pipeline_has_seen_in_a_process_says_nothing_of_the_next_one(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = mt.Graph("g", {"y": map_(seen, mt.input("x", "float32"))})
    rows = [{"x": float(row)} for row in range(40)]

    def play() -> None:
        step = played.as_ptransform() if kind == "transform" else RunInference(played.as_model_handler())
        with beam.Pipeline() as pipeline:
            _ = pipeline | beam.Create(rows) | step

    play()
    monkeypatch.setitem(CAMERA, "off", True)
    with pytest.raises(RuntimeError, match="RuntimeError: camera off"):
        play()
    monkeypatch.setitem(CAMERA, "off", False)
    play()


class WithWindow(beam.DoFn):
    """What an element is, where and when."""

    def process(
        self, element: Any, window: Any = beam.DoFn.WindowParam, timestamp: Any = beam.DoFn.TimestampParam
    ) -> Iterator[Any]:
        yield element.get("y", "failed"), int(timestamp), int(window.start), int(window.end)


@pytest.mark.parametrize("batch_rows", [1, 3, None])
@pytest.mark.parametrize(("streaming", "size", "period"), [(True, 10, 5), (False, 10, 5), (False, 6, 4)])
def test_windows_and_times_are_kept(batch_rows: int | None, streaming: bool, size: int, period: int) -> None:
    """Also where some elements are in one window, and others in two."""
    timed = [TimestampedValue({"x": float(x)}, at) for x, at in ((1, 1), (-1, 3), (2, 7), (3, 12), (-2, 14), (4, 21))]
    with beam.Pipeline(options=PipelineOptions(streaming=streaming, allow_unsafe_triggers=True)) as pipeline:
        if streaming:
            stream = test_stream.TestStream().advance_watermark_to(0).add_elements(timed[:3]).advance_watermark_to(10)
            stream = stream.add_elements(timed[3:5]).advance_watermark_to(20).add_elements(timed[5:])
            rows = pipeline | stream.advance_watermark_to_infinity()
        else:
            rows = pipeline | beam.Create([(each.value, each.timestamp) for each in timed])
            rows = rows | beam.MapTuple(lambda value, at: TimestampedValue(value, at))
        played = rows | beam.WindowInto(SlidingWindows(size, period)) | graph().as_ptransform(batch_rows=batch_rows)

        def windows(at: int) -> list[tuple[int, int]]:
            return [(start, start + size) for start in range(at - at % period, at - size, -period)]

        wanted = [
            (2.0 * each.value["x"], int(each.timestamp), *w)
            for each in timed
            if each.value["x"] > 0
            for w in windows(int(each.timestamp))
        ]
        assert_that(played.answers | "seen" >> beam.ParDo(WithWindow()), equal_to(wanted))
        failed = [("failed", at, *w) for at in (3, 14) for w in windows(at)]
        assert_that(played.failures | "told" >> beam.ParDo(WithWindow()), equal_to(failed), label="failures")
        fixed = played.answers | "fixed" >> beam.WindowInto(FixedWindows(10)) | beam.Map(lambda row: ("all", row["y"]))
        sums = fixed | beam.CombinePerKey(sum)
        total = [sum(y for y, at, *_ in wanted if at // 10 == tens) for tens in range(3)]
        assert_that(sums, equal_to([("all", each) for each in total]), label="sums")


def test_a_bundle_that_failed_leaves_nothing_to_the_next_one() -> None:
    transform = graph().as_ptransform()
    play = PlayRows(transform._job, transform._kept, "", typed=False)
    play.setup()
    for x in (1.0, 2.0):
        play.start_bundle()
        element = WindowedValue({"x": x}, 0, (None,))
        assert list(play.process(element.value, element)) == []
    assert [each.value["y"] for each in play.finish_bundle()] == [4.0]


def test_rows_of_several_kinds_are_answered_each_by_its_own() -> None:
    table = pa.table({"x": pa.array([3.0, 4.0], pa.float32())})
    answers, _ = run([{"x": 1.0}, ("k", {"x": 2.0}), table], beam.Reshuffle(), graph().as_ptransform())
    dicts = [answer for answer in answers if isinstance(answer, dict)]
    keyed = [answer for answer in answers if isinstance(answer, tuple)]
    tables = [answer for answer in answers if isinstance(answer, pa.Table)]
    assert [each["y"] for each in dicts] == [2.0]
    assert [(key, each["y"]) for key, each in keyed] == [("k", 4.0)]
    assert [each["y"].to_pylist() for each in tables] == [[6.0, 8.0]]


def test_metrics_count_rows_and_failures() -> None:
    pipeline = beam.Pipeline()
    _ = pipeline | beam.Create(ROWS) | graph().as_ptransform(batch_rows=7)
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query()
    counted = {
        each.key.metric.name: each.committed
        for each in found["counters"]
        if each.key.metric.namespace == "motet.visits"
    }
    failed = sum(row["x"] < 0 for row in ROWS)
    assert (counted["rows"], counted["failures"]) == (60, failed)
    assert counted["batches"] >= 9
    assert any(each.key.metric.name == "batch_milliseconds" for each in found["distributions"])


def test_workers_that_are_processes_play_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    options = PipelineOptions(["--direct_running_mode=multi_processing", "--direct_num_workers=2"])
    with beam.Pipeline(options=options) as pipeline:
        rows = pipeline | beam.Create(ROWS) | beam.Reshuffle()
        played = rows | graph().as_ptransform()
        lines = played.answers | beam.Map(lambda row: f"{row['id']} {row['y']}")
        lines | beam.io.WriteToText(str(tmp_path / "answers"), num_shards=1)
    written = sorted(line for path in tmp_path.glob("answers*") for line in path.read_text().splitlines())
    assert written == sorted(f"{row['id']} {2 * row['x']}" for row in ROWS if row["x"] >= 0)


def test_files_go_through_columns_at_once(tmp_path: Path) -> None:
    table = pa.table({"id": range(60), "x": pa.array([row["x"] for row in ROWS], pa.float32())})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=11)
    transform = graph().as_ptransform(schema=table.schema)
    with beam.Pipeline() as pipeline:
        played = pipeline | ReadFromParquetBatched(str(tmp_path / "in.parquet")) | transform
        played.answers | WriteToParquetBatched(str(tmp_path / "out"), transform.answers_schema)
        played.failures | "Failures" >> WriteToParquetBatched(str(tmp_path / "failed"), transform.failures_schema)
    wanted, failed = graph().run(table, failures="return")
    written = pa.concat_tables(pq.read_table(path) for path in tmp_path.glob("out*"))
    assert written.sort_by("id").equals(wanted)
    told = [row for path in tmp_path.glob("failed*") for row in pq.read_table(path).to_pylist()]
    assert sorted((row["row"]["id"], row["message"]) for row in told) == [(each.row, each.message) for each in failed]


def test_files_go_through_row_by_row(tmp_path: Path) -> None:
    table = pa.table({"id": range(60), "x": pa.array([row["x"] for row in ROWS], pa.float32())})
    pq.write_table(table, tmp_path / "in.parquet")
    schema = pa.schema({"id": pa.int64(), "y": pa.float32(), "p": pa.list_(pa.float32())})
    with beam.Pipeline() as pipeline:
        played = pipeline | ReadFromParquet(str(tmp_path / "in.parquet")) | graph().as_ptransform(keep=["id"])
        answers = played.answers | beam.Map(lambda row: {name: row[name] for name in ("id", "y", "p")})
        answers | WriteToParquet(str(tmp_path / "out"), schema)
    wanted = graph().run(table, failures="return")[0]
    written = pa.concat_tables(pq.read_table(path) for path in tmp_path.glob("out*")).sort_by("id")
    assert written["id"].equals(wanted["id"])
    assert written["y"].to_pylist() == wanted["y"].to_pylist()
    assert written["p"].to_pylist() == [list(row) for row in wanted["p"].to_pylist()]


@dataclass
class Call:
    id: int
    x: float


def test_what_a_job_holds_is_in_no_name_of_its_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, run = set[str](), beam.Pipeline.run

    def spied(pipeline: Any, *args: Any, **options: Any) -> Any:
        labels.update(pipeline.applied_labels)
        return run(pipeline, *args, **options)

    monkeypatch.setattr(beam.Pipeline, "run", spied)
    pq.write_table(pa.table({"x": [1.0, 2.0]}), tmp_path / "in.parquet")
    mt.Graph("g", {"y": mt.input("x", "float64")}).run(tmp_path / "in.parquet", tmp_path / "out.parquet", engine="beam")
    assert "Play splits" in labels
    assert not [label for label in labels if "SplitPlan" in label or len(label) > 100]


def test_data_classes_are_rows() -> None:
    answers, failures = run([Call(1, 2.0), Call(2, -2.0)], graph().as_ptransform())
    assert [(each["id"], each["y"]) for each in answers] == [(1, 4.0)]
    assert [each["row"] for each in failures] == [Call(2, -2.0)]


def test_a_graph_is_a_model_of_run_inference() -> None:
    examples = [(row["id"], {"x": row["x"], "note": row["note"]}) for row in ROWS]
    with beam.Pipeline() as pipeline:
        results = (
            pipeline | beam.Create(examples) | RunInference(KeyedModelHandler(graph().as_model_handler(batch_rows=7)))
        )
        told = results | beam.MapTuple(lambda key, each: (key, each.inference.get("y"), each.inference.get("node")))
        assert_that(
            told, equal_to([(r["id"], *((2 * r["x"], None) if r["x"] >= 0 else (None, "checked"))) for r in ROWS])
        )
