"""A graph that is cut into stages answers in a pipeline as a call does, and its failures come from any of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_stream import TestStream as Stream
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.resources import AcceleratorHint, CpuCountHint, MinRamHint
from apache_beam.transforms.window import FixedWindows, SlidingWindows, TimestampedValue

import motet as mt
from helpers import functions
from motet.engines.stages import stages_of
from motet.errors import UnknownNameError
from motet.types import returns

GIB = 2**30
ROWS: list[dict[str, Any]] = [
    {"id": row, "x": float(row % 29), "key": f"k{row * 31 % 13}", "note": [row, None], "raw": bytes([row])}
    for row in range(90)
]
Visit = NamedTuple("Visit", [("id", int), ("x", float), ("key", str)])  # noqa: UP014 (Beam reads types, no texts)


@returns({"twice": "float64", "said": "string", "few": "int64[?]"})
def kinds(x: Any) -> Any:
    """A column that is missing now and then, and one whose rows differ in length."""
    said = [None if each % 4 == 0 else f"é{each:.0f}" for each in x]
    return {"twice": 2 * x, "said": np.array(said, object), "few": [list(range(int(each) % 3)) for each in x]}


@returns("float64")
def no_seven(x: Any) -> Any:
    if (x % 10 == 7).any():
        raise ValueError("seven")
    return x


@returns("string")
def key_of(x: Any) -> Any:
    return np.array([f"k{each % 13:.0f}" for each in x], object)


def times(name: str, by: float, log: str = "", **options: Any) -> mt.Model:
    given = {"by": by, "log": log} if log else {"by": by}
    uri = "python:helpers.counted_models:Times"
    return mt.Model(uri, name, inputs={"x": "float64"}, outputs={"y": "float64"}, options=given, **options)


def by_resources(folder: Path) -> mt.Graph:
    """Three stages: rows of which x is 7, 17, 27 fail in the first, and those whose tripled x ends in 7 in the last."""
    x = mt.input("x", "float64")
    made = mt.map(kinds, mt.map(no_seven, x, name="first"), name="kinds")
    small = mt.model(times("small", 1.5, resources={"memory": "1GiB"}), made.twice, name="small")
    large = mt.model(times("large", 1.0, resources={"accelerator": 1, "cpu": 2}), small.y, name="large")
    last = mt.map(no_seven, mt.model(times("other", 1.0, resources={"memory": "2GiB"}), large.y).y, name="last")
    raw = mt.map(num_bytes, mt.input("raw", "bytes", default=None), name="bytes")
    return mt.Graph("cut", {"y": last, "said": made.said, "few": made.few, "size": raw, "again": x})


@returns("int64")
def num_bytes(raw: Any) -> Any:
    return np.array([0 if each is None else len(each) for each in raw], np.int64)


def by_key(folder: Path, *, made: bool = False) -> mt.Graph:
    """A model for each of 12 keys, of which two may be loaded; of a 13th there is none."""
    arms = {f"k{each}": times(f"m{each}", each + 1.0, str(folder / "loads")) for each in range(12)}
    x = mt.map(no_seven, mt.input("x", "float64"), name="checked")
    key: Any = mt.map(key_of, x, name="made") if made else mt.input("key", "string", default="k0")
    found = mt.route(arms, x, key=key, max_loaded=2, name="routed")
    return mt.Graph("cut", {"y": found.y, "who": found.member, "few": mt.map(kinds, x).few})


MAKES: dict[str, Callable[[Path], mt.Graph]] = {
    "resources": by_resources,
    "keys": by_key,
    "keys that a node makes": lambda folder: by_key(folder, made=True),
}


@pytest.fixture
def graphs(tmp_path: Path) -> dict[str, mt.Graph]:
    """Graphs of three stages, by what they are cut for."""
    made = {name: make(tmp_path) for name, make in MAKES.items()}
    assert {len(stages_of(graph.checked)) for graph in made.values()} == {3}
    return made


def plain(value: Any) -> Any:
    """An answer as it can be compared, whatever it was."""
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(map(plain, value))
    if not isinstance(value, (dict, list, np.ndarray)) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return tuple(sorted((name, plain(each)) for name, each in value.items()))
    if isinstance(value, (list, np.ndarray)):
        return tuple(map(plain, value))
    return value


def called(graph: mt.Graph, rows: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    """What a call answers to rows, beside them; and the rows that fail with their nodes and messages."""
    rows = list(rows)
    given = {name: [row.get(name) for row in rows] for name in graph.inputs if name in rows[0]}
    answers, failures = graph(given, failures="return")
    failed = {each.row: each for each in failures}
    good = [row for place, row in enumerate(rows) if place not in failed]
    found = [{**row, **{name: column[place] for name, column in answers.items()}} for place, row in enumerate(good)]
    return found, [(rows[row], each.node, each.message) for row, each in failed.items()]


def check(played: Any, answers: Iterable[Any], failures: Iterable[Any], label: str = "") -> None:
    """That what was played gives these, in any order."""
    assert_that(played.answers | f"a{label}" >> beam.Map(plain), equal_to(list(map(plain, answers))), f"answers{label}")
    said = played.failures | f"f{label}" >> beam.Map(told)
    assert_that(said, equal_to(list(map(plain, failures))), f"failures{label}")


def told(failure: Any) -> Any:
    """A failure as `called` says it."""
    if isinstance(failure, tuple) and not hasattr(failure, "_fields"):
        return failure[0], told(failure[1])
    one = failure if isinstance(failure, dict) else failure._asdict()
    return plain((one["row"], one["node"], one["message"]))


def test_rows_are_answered_as_a_call_answers_them(graphs: dict[str, mt.Graph]) -> None:
    """Dicts, those behind keys, and rows with a schema; batches that end anywhere."""
    cut, by_input, by_node = graphs.values()
    bare = [{name: row[name] for name in Visit._fields} for row in ROWS]
    with beam.Pipeline() as pipeline:
        rows = pipeline | beam.Create(ROWS)
        for label, graph in (("cut", cut), ("by node", by_node)):
            answers, failures = called(graph, ROWS)
            assert len({node for _, node, _ in failures}) > 1
            left_out = {"raw"} if graph is cut else set[str]()
            kept = [{name: value for name, value in row.items() if name not in left_out} for row in answers]
            check(rows | label >> graph.as_ptransform(batch_rows=7), kept, failures, label)

        answers, failures = called(by_input, ROWS)
        pairs = rows | "pairs" >> beam.Map(lambda row: (f"p{row['id']}", row))
        names = {"id", *by_input.outputs}
        taken = [(f"p{row['id']}", {name: row[name] for name in names}) for row in answers]
        failed = [(f"p{each[0]['id']}", each) for each in failures]
        check(pairs | "keyed" >> by_input.as_ptransform(keep=["id"]), taken, failed, "keyed")

        visits = rows | beam.Map(lambda row: Visit(row["id"], row["x"], row["key"])).with_output_types(Visit)
        typed = visits | "typed" >> by_input.as_ptransform(batch_rows=11)
        check(typed, *called(by_input, bare), "typed")
        assert list(dict(typed.answers.element_type._fields)) == [*Visit._fields, *by_input.outputs]


def test_tables_are_answered_as_a_run_answers_them(graphs: dict[str, mt.Graph]) -> None:
    table = pa.Table.from_pylist(ROWS).append_column("day", pa.array(["mon", "tue", None] * 30).dictionary_encode())
    source = table.to_pylist()
    parts = [table.slice(0, 40), table.slice(40, 1), table.slice(41).combine_chunks().to_batches()[0]]
    with beam.Pipeline() as pipeline:
        given = pipeline | beam.Create(parts) | beam.Reshuffle()
        for number, (name, graph) in enumerate(graphs.items()):
            wanted, failed = graph.run(table, failures="return")
            for schema in (None, table.schema)[number > 1 :]:
                label = f"{name} {schema is None}"
                transform = graph.as_ptransform(batch_rows=7, schema=schema)
                played = given | label >> transform
                rows = played.answers | f"rows {label}" >> beam.FlatMap(with_schema)
                listed = [(wanted.schema.to_string(), plain(row)) for row in wanted.to_pylist()]
                assert_that(rows, equal_to(listed), f"answers {label}")
                said = played.failures | f"said {label}" >> beam.FlatMap(with_row_type)
                row = str(pa.struct(list(table.schema)))
                why = [(row, plain((source[each.row], each.node, each.message))) for each in failed]
                assert_that(said, equal_to(why), f"failures {label}")
                if schema is not None:
                    assert transform.answers_schema == wanted.schema
                    assert transform.failures_schema.field("row").type == pa.struct(list(schema))


def test_tables_behind_keys_stay_whole(tmp_path: Path) -> None:
    graph, table = by_key(tmp_path), pa.Table.from_pylist(ROWS)
    wanted, failed = graph.run(table, failures="return")
    with beam.Pipeline() as pipeline:
        given = pipeline | beam.Create([(f"t{each}", table.slice(30 * each, 30)) for each in range(3)])
        played = given | graph.as_ptransform(batch_rows=7)
        rows = played.answers | beam.MapTuple(lambda key, each: (key, each["id"].to_pylist()))
        ids = [[each for each in wanted["id"].to_pylist() if each // 30 == part] for part in range(3)]
        assert_that(rows, equal_to([(f"t{part}", ids[part]) for part in range(3)]), "answers")
        said = played.failures | beam.FlatMapTuple(
            lambda key, each: [(key, row["id"]) for row in each["row"].to_pylist()]
        )
        assert_that(said, equal_to([(f"t{each.row // 30}", each.row) for each in failed]), "failures")


def with_schema(table: Any) -> Any:
    return [(table.schema.to_string(), plain(row)) for row in table.to_pylist()]


def with_row_type(table: Any) -> Any:
    return [(str(table.schema.field("row").type), told(row)) for row in table.to_pylist()]


class Windowed(beam.DoFn):
    """What an element is, when, and the beginning of its window."""

    def process(self, element: Any, window: Any = beam.DoFn.WindowParam, time: Any = beam.DoFn.TimestampParam) -> Any:
        yield element.get("y", "failed"), int(time), int(window.start)


@pytest.mark.parametrize("runner", ["in this process", "prism"])
def test_windows_and_times_stay(graphs: dict[str, mt.Graph], runner: str, request: pytest.FixtureRequest) -> None:
    """Of a stream on Prism: those of windows that slide are in one of them, or in two."""
    options = [] if runner == "in this process" else [*request.getfixturevalue("prism"), "--streaming"]
    rows = [{"x": float(x), "key": f"k{x % 13}"} for x in (1, 7, 2, 3, 14, 17, 4)]
    times = [1, 3, 7, 12, 14, 16, 21]
    timed = [TimestampedValue(row, at) for row, at in zip(rows, times, strict=True)]
    with beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        stream = Stream().advance_watermark_to(0).add_elements(timed[:3]).advance_watermark_to(10)
        stream = stream.add_elements(timed[3:6]).advance_watermark_to(20).add_elements(timed[6:])
        made = pipeline | (stream.advance_watermark_to_infinity() if options else beam.Create(rows_at(timed)))
        given = made if options else made | beam.MapTuple(TimestampedValue)
        for name, graph in list(graphs.items())[:2]:
            ys = {row["x"]: row["y"] for row in called(graph, rows)[0]}
            for kind, into, starts in (
                ("fixed", FixedWindows(10), lambda at: [at // 10 * 10]),
                ("sliding", SlidingWindows(6, 4), lambda at: list(range(at - at % 4, at - 6, -4))),
            ):
                label = f"{kind} {name}"
                wanted = [
                    (ys.get(row["x"], "failed"), at, start)
                    for row, at in zip(rows, times, strict=True)
                    for start in starts(at)
                ]
                played = given | f"in {label}" >> beam.WindowInto(into) | label >> graph.as_ptransform(batch_rows=3)
                both = (played.answers, played.failures) | f"both {label}" >> beam.Flatten()
                assert_that(both | f"seen {label}" >> beam.ParDo(Windowed()), equal_to(wanted), label)
                pairs = played.answers | f"y {label}" >> beam.Map(lambda row: ("all", float(row["y"])))
                sums = pairs | f"sum {label}" >> beam.CombinePerKey(sum) | f"of {label}" >> beam.Values()
                total = dict.fromkeys((start for y, _, start in wanted if y != "failed"), 0.0)
                for y, _, start in wanted:
                    if y != "failed":
                        total[start] += y
                assert_that(sums, equal_to(list(total.values())), f"sums {label}")


def rows_at(timed: list[TimestampedValue]) -> list[tuple[Any, int]]:
    return [(each.value, int(each.timestamp)) for each in timed]


def test_models_of_keys_are_loaded_once_where_rows_are_brought_together(tmp_path: Path) -> None:
    """12 models of which two have a place, asked for by rows of 40 bundles in turn."""
    graph, log, loads = by_key(tmp_path), tmp_path / "loads", []
    table = pa.Table.from_pylist(ROWS)
    for given, one_stage in ((ROWS * 10, False), ([table] * 10, False), (ROWS * 10, True)):
        pipeline = beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))
        rows = pipeline | beam.Create(given) | beam.Reshuffle()
        played = rows | graph.as_ptransform(batch_rows=20, one_stage=one_stage)
        _ = played.answers | beam.Map(lambda row: None)
        result = pipeline.run()
        found = result.metrics().query(beam.metrics.MetricsFilter().with_namespace("motet.cut"))["counters"]
        counted = {each.key.metric.name: each.committed for each in found if "routed" not in each.key.step}
        loads.append(Counter(log.read_text().split()))
        log.unlink()
        if not one_stage:
            total = Counter[str]()
            for each in found:
                total[each.key.metric.name] += each.committed
            assert total["rows"] == len(ROWS) * 10
            assert total["loads"] == 12
            assert total["loads_apart"] >= 12
        else:
            assert counted["rows"] == len(ROWS) * 10
    *together, apart = loads
    assert together == [Counter(str(each + 1) for each in range(12))] * 2
    assert sum(apart.values()) >= 12


def environment_of(pipeline: beam.Pipeline, name: str) -> dict[str, bytes]:
    """The hints of workers of a step."""
    job = pipeline.to_runner_api()
    (step,) = [each for each in job.components.transforms.values() if re.fullmatch(name, each.unique_name)]
    return dict(job.components.environments[step.environment_id].resource_hints)


CPU, RAM, GPU = CpuCountHint.urn, MinRamHint.urn, AcceleratorHint.urn
L4 = "type:nvidia-l4;count:1;install-nvidia-driver"


def test_each_stage_has_its_own_hints_behind_a_shuffle(tmp_path: Path) -> None:
    graph = by_resources(tmp_path)
    wanted: list[dict[str, bytes]] = [{RAM: b"1073741824"}, {CPU: b"2", GPU: b"count:1"}, {RAM: b"2147483648"}]
    pipeline = beam.Pipeline()
    rows = pipeline | beam.Create([{"x": 1.0}])
    _ = rows | graph.as_ptransform()
    _ = rows | "typed" >> graph.as_ptransform().with_resource_hints(accelerator=L4, min_ram="3GiB")
    _ = rows | "one" >> graph.as_ptransform(one_stage=True).with_resource_hints(accelerator=L4)
    _ = rows | "whole" >> graph.as_ptransform(one_stage=True)
    steps = ["Play", "Play stage 2", "Play stage 3"]
    found = [environment_of(pipeline, f"Play cut/{step}") for step in steps]
    assert found == wanted
    typed = [environment_of(pipeline, f"typed/{step}") for step in steps]
    assert typed == [{RAM: b"3221225472"}, {CPU: b"2", GPU: L4.encode(), RAM: b"3221225472"}, {RAM: b"3221225472"}]
    whole = {CPU: b"2", RAM: b"3221225472"}
    assert environment_of(pipeline, "one/Play") == {**whole, GPU: L4.encode()}
    assert environment_of(pipeline, "whole/Play") == {**whole, GPU: b"count:1"}
    for number in (2, 3):
        environment_of(pipeline, f"Play cut/To stage {number}")
    told = beam.Pipeline(options=PipelineOptions(["--resource_hints", f"accelerator={L4}"]))
    _ = told | beam.Create([{"x": 1.0}]) | graph.as_ptransform()
    assert environment_of(told, "Play cut/Play stage 2") == {CPU: b"2", GPU: L4.encode()}


def test_columns_called_as_those_between_stages_are(tmp_path: Path) -> None:
    graph = by_resources(tmp_path)
    table = pa.Table.from_pylist([{"x": 1.0, "motet:a": "kept"}, {"x": 7.0, "motet:a": "there"}])
    with beam.Pipeline() as pipeline:
        rows = pipeline | beam.Create([table])
        known = rows | "known" >> graph.as_ptransform(schema=table.schema, keep=["motet:a"])
        values = known.answers | beam.Map(lambda each: (each["motet:a"].to_pylist(), each["y"].to_pylist()))
        assert_that(values, equal_to([(["kept"], [3.0])]))
        said = known.failures | "row" >> beam.Map(lambda each: each["row"].to_pylist())
        assert_that(said, equal_to([[{"x": 7.0, "motet:a": "there"}]]), "failures")
        dicts = rows | beam.FlatMap(lambda each: each.to_pylist()) | "dicts" >> graph.as_ptransform()
        kept = dicts.answers | "kept" >> beam.Map(lambda row: (row["motet:a"], row["y"]))
        assert_that(kept, equal_to([("kept", 3.0)]), "dicts")
    said = "InputError: .*a column is called motet:.*\n  hint: rename it, or"
    with pytest.raises(RuntimeError, match=said), beam.Pipeline() as pipeline:
        _ = pipeline | beam.Create([table]) | graph.as_ptransform()


def test_columns_that_are_not_there_are_refused_in_the_first_stage(tmp_path: Path) -> None:
    graph = by_resources(tmp_path)
    with pytest.raises(UnknownNameError, match="unknown column 'z'"):
        graph.as_ptransform(schema=pa.schema({"x": pa.float64()}), keep=["z"])
    with pytest.raises(RuntimeError, match="unknown field 'z'"), beam.Pipeline() as pipeline:
        _ = pipeline | beam.Create([pa.table({"x": [1.0]})]) | graph.as_ptransform(keep=["z"])


def test_a_model_that_fails_on_everything_in_a_later_stage_ends_the_pipeline(tmp_path: Path) -> None:
    broken = mt.Model(
        "python:helpers.counted_models:Broken", "broken", inputs={"x": "float64"}, outputs={"y": "float64"},
        resources={"accelerator": 1},
    )  # fmt: skip
    small = mt.model(times("small", 1.5, resources={"memory": "1GiB"}), mt.input("x", "float64"))
    graph = mt.Graph("g", {"y": mt.model(broken, small.y).y})
    with pytest.raises(RuntimeError, match="the second model is broken"), beam.Pipeline() as pipeline:
        _ = pipeline | beam.Create(ROWS) | graph.as_ptransform()
    with beam.Pipeline() as pipeline:
        played = pipeline | beam.Create(ROWS[:3]) | graph.as_ptransform(goes_on=True)
        assert_that(played.failures | beam.Map(lambda each: each["row"]["id"]), equal_to([0, 1, 2]))


def test_an_output_whose_type_nobody_declared_may_come_from_the_last_stage(tmp_path: Path) -> None:
    small = mt.model(times("small", 1.5, resources={"memory": "1GiB"}), mt.input("x", "float64"))
    large = mt.model(times("large", 2.0, resources={"accelerator": 1}), small.y)
    graph = mt.Graph("g", {"y": mt.map(functions.undeclared, large.y)})
    wanted = graph({"x": [1.0, 2.0]})["y"]
    with beam.Pipeline() as pipeline:
        played = pipeline | beam.Create([{"x": 1.0}, {"x": 2.0}]) | graph.as_ptransform()
        assert_that(played.answers | beam.Map(lambda row: row["y"]), equal_to(list(wanted)))
