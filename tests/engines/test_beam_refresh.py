"""A pipeline that goes on answers by other versions of its models as soon as a side input says so."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import onnx
import pyarrow as pa
import pytest
from apache_beam.ml.inference.base import KeyedModelHandler, ModelMetadata, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_stream import TestStream as Stream  # pytest would take it for a test
from apache_beam.transforms.periodicsequence import PeriodicImpulse
from apache_beam.transforms.window import FixedWindows, GlobalWindow, TimestampedValue
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue
from onnx import TensorProto, helper

import motet as mt
from motet.engines import batch_worker
from motet.engines.beam import refresh
from motet.engines.beam.play import PlayRows
from motet.engines.beam.refresh import refreshed
from motet.engines.beam.rows import Kept
from motet.engines.job import Job
from motet.errors import InputError, ModelLoadError, MotetError, UnknownNameError
from motet.system.recent import LruCache

SEEN: list[Any] = []
PUBLISH: list[Any] = [None]


def scaled(path: Path, by: float, kind: int = TensorProto.FLOAT, width: int = 1) -> str:
    """A model that gives its input times a number."""
    (given, got) = (helper.make_tensor_value_info(n, kind, ["n", width][: width + 1]) for n in ("x", "y"))
    number = helper.make_tensor("by", kind, [], [by])
    nodes = [helper.make_node("Mul", ["x", "by"], ["y"])]
    made = helper.make_graph(nodes, "g", [given], [got], initializer=[number])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


@pytest.fixture
def publish(tmp_path: Path) -> Callable[[float], str]:
    """Publishes a version; the path of the file that says where `latest` points."""

    def published(by: float) -> str:
        mt.Store(tmp_path / "store").publish("times", scaled(tmp_path / f"by{by:g}.onnx", by))
        moves = sorted((tmp_path / "store" / "times" / "aliases" / "latest").iterdir())
        return str(moves[-1])

    return published


def graph(uri: str, folder: Path) -> mt.Graph:
    model = mt.Model(uri, "times")
    return mt.Graph("g", {"y": mt.model(model, mt.input("x", "float32[1]")).y}, folder=str(folder))


def put_by(value: Any) -> None:
    SEEN.append(value)


def play(step: Callable[[Any], Any], *told: Any, tell: Callable[[Any], Any] = lambda value: value) -> list[Any]:
    """What becomes of the same two rows in windows of ten seconds, each of which begins with something that is told.

    The stream goes on to the next window when the pipeline has done all of the one before.
    """
    stream = Stream(output_tags={"rows", "told"})
    for number, each in enumerate(told):
        at = 10 * number
        stream = stream.add_elements([TimestampedValue(each, at + 1)], tag="told")
        stream = stream.advance_watermark_to(at + 10, tag="told")
        stream = stream.add_elements([TimestampedValue({"x": [x]}, at + 2) for x in (1.0, 2.0)], tag="rows")
        stream = stream.advance_watermark_to(at + 10, tag="rows")
    for tag in ("told", "rows"):
        stream = stream.advance_watermark_to_infinity(tag=tag)
    SEEN.clear()
    with beam.Pipeline(options=PipelineOptions(["--runner=BundleBasedDirectRunner"], streaming=True)) as pipeline:
        made = pipeline | stream
        given = made["rows"] | "in" >> beam.WindowInto(FixedWindows(10))
        news = made["told"] | beam.Map(tell) | "when" >> beam.WindowInto(FixedWindows(10))
        _ = given | step(news) | beam.Map(put_by)
    return SEEN


class Answers(beam.PTransform):
    """What a graph answers to rows, without what it keeps."""

    def __init__(self, made: mt.Graph, **options: Any) -> None:
        super().__init__()
        self._made, self._options = made, options

    def expand(self, rows: Any) -> Any:
        played = rows | self._made.as_ptransform(keep=[], **self._options)
        return played.answers | beam.Map(lambda row: row["y"][0])


def test_versions_that_are_published_answer_what_comes_after_them(
    publish: Callable[[float], str], tmp_path: Path
) -> None:
    publish(2.0)
    made = graph("store:times", tmp_path)
    PUBLISH[0] = publish
    found = play(
        lambda news: Answers(made, models=news), 2.0, 5.0, 7.0, tell=lambda by: by if by == 2 else PUBLISH[0](by)
    )
    assert found == [2.0, 4.0, 5.0, 10.0, 7.0, 14.0]


def test_what_a_side_input_names_answers_what_comes_after_it(tmp_path: Path) -> None:
    uris = {by: scaled(tmp_path / f"by{by}.onnx", by) for by in (2, 3, 4)}
    made = graph(uris[2], tmp_path)
    told = [{"times": uris[3]}, ModelMetadata(uris[4], "times"), ModelMetadata(uris[3], "elsewhere"), uris[2], "", 5]
    found = play(lambda news: Answers(made, models=news), *told)
    assert [found[2 * place] for place in range(len(told))] == [3.0, 4.0, 3.0, 2.0, 2.0, 2.0]
    assert found[1::2] == [2 * each for each in found[::2]]


def test_each_stage_is_answered_by_other_models_too(publish: Callable[[float], str], tmp_path: Path) -> None:
    publish(2.0)
    uris = {by: scaled(tmp_path / f"other{by}.onnx", by) for by in (10, 100)}
    x = mt.input("x", "float32[1]")
    first = mt.model(mt.Model("store:times", "times", resources={"memory": "1GiB"}), x)
    second = mt.model(mt.Model(uris[10], "more", resources={"memory": "2GiB"}), first.y)
    made = mt.Graph("g", {"y": second.y}, folder=str(tmp_path))
    PUBLISH[0] = publish
    tell = {1: lambda: 1, 2: lambda: PUBLISH[0](3.0), 3: lambda: {"more": uris[100]}}
    found = play(lambda news: Answers(made, models=news), 1, 2, 3, tell=lambda number: tell[number]())
    assert found == [20.0, 40.0, 30.0, 60.0, 300.0, 600.0]


@pytest.mark.parametrize("kind", ["transform", "model handler"])
def test_models_that_were_shipped_stay_until_others_are_named(kind: str, tmp_path: Path) -> None:
    """Where workers do not have their files; those that are named later they reach."""
    x = mt.input("x", "float32[1]")
    one, two = (mt.Model(scaled(tmp_path / f"by{by}.onnx", by), f"by{by}") for by in (2, 3))
    y = mt.model(one, x).y
    made = mt.Graph("g", {"y": y if kind == "model handler" else mt.model(two, y).y}, folder=str(tmp_path))
    (tmp_path / "later").mkdir()
    later = scaled(tmp_path / "later" / "by7.onnx", 7)

    def step(news: Any) -> Any:
        if kind == "transform":
            return Answers(made, models=news, ship=True)
        infer = RunInference(made.as_model_handler(ship=True), model_metadata_pcoll=news)
        return infer | beam.Map(lambda each: each.inference["y"][0])

    def tell(number: int) -> ModelMetadata:
        for uri in (one.uri, two.uri):
            Path(uri).unlink(missing_ok=True)
        return ModelMetadata("", "none") if number == 1 else ModelMetadata(later, "by2")

    last = 1.0 if kind == "model handler" else 3.0
    assert play(step, 1, 2, tell=tell) == [2 * last, 4 * last, 7 * last, 14 * last]


def test_what_all_threads_of_a_process_are_told_is_looked_up_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    uris = {by: scaled(tmp_path / f"by{by}.onnx", by) for by in (2, 3)}
    made, looked, row = graph(uris[2], tmp_path), [], {"x": [1.0]}
    monkeypatch.setattr(refresh, "refreshed", lambda *given: looked.append(given[2]) or refreshed(*given))
    job = Job.of_values(made.checked)
    threads = [PlayRows(job, Kept(), "a run", typed=False, graph=made.changed()) for _ in range(3)]

    def answered(play: PlayRows, told: Any) -> float:
        play.start_bundle()
        list(play.process(row, WindowedValue(row, 0, (GlobalWindow(),)), [told]))
        (answer,) = play.finish_bundle()
        return float(answer.value["y"][0])

    for each in threads:
        each.setup()
    for by in (3, 2, 3):
        assert [answered(each, {"times": uris[by]}) for each in threads] == [by] * 3
    assert looked == [{"times": uris[by]} for by in (3, 2, 3)]


class Tables(beam.PTransform):
    """What a graph answers to tables of one row."""

    def __init__(self, made: mt.Graph, **options: Any) -> None:
        super().__init__()
        self._made, self._options = made, options

    def expand(self, rows: Any) -> Any:
        tables = rows | beam.Map(lambda row: pa.table({"x": pa.array([row["x"]], pa.list_(pa.float32()))}))
        played = tables | self._made.as_ptransform(keep=[], **self._options)
        return played.answers | beam.Map(lambda table: table["y"].to_pylist()[0][0])


@pytest.mark.parametrize("schema", [None, pa.schema({"x": pa.list_(pa.float32())})])
def test_tables_are_answered_by_other_models_too(schema: Any, tmp_path: Path) -> None:
    uris = {by: scaled(tmp_path / f"by{by}.onnx", by) for by in (2, 3)}
    made = graph(uris[2], tmp_path)
    found = play(lambda news: Tables(made, models=news, schema=schema), {}, {"times": uris[3]})
    assert found == [2.0, 4.0, 3.0, 6.0]


@pytest.mark.parametrize("keyed", [False, True])
def test_run_inference_refreshes_a_graph_as_it_does_other_models(
    keyed: bool, publish: Callable[[float], str], tmp_path: Path
) -> None:
    publish(2.0)
    made, uri = graph("store:times", tmp_path), scaled(tmp_path / "other.onnx", 9)
    PUBLISH[0] = publish

    def step(news: Any) -> Any:
        handler = made.as_model_handler()
        if keyed:
            infer = RunInference(KeyedModelHandler(handler), model_metadata_pcoll=news)
            return "pair" >> beam.Map(lambda row: ("k", row)) | infer | beam.Map(lambda pair: pair[1].inference["y"][0])
        infer = RunInference(handler, model_metadata_pcoll=news)
        return infer | beam.Map(lambda each: each.inference["y"][0])

    def tell(by: float) -> ModelMetadata:
        """Nothing, the file of a store that says where an alias points now, or that of another model."""
        return ModelMetadata("" if by == 2 else PUBLISH[0](by) if by == 5 else uri, "m")

    assert play(step, 2.0, 5.0, 9.0, tell=tell) == [2.0, 4.0, 5.0, 10.0, 9.0, 18.0]


def test_a_job_is_the_same_where_its_models_are(publish: Callable[[float], str], tmp_path: Path) -> None:
    publish(2.0)
    made = graph("store:times", tmp_path)
    job, declared = Job.of_values(made.checked), made.changed()
    assert refreshed(job, declared, 16) is job
    file = publish(3.0)
    first, second = refreshed(job, declared, file), refreshed(job, declared, 17)
    assert first.digest == second.digest != job.digest
    versions = [next(iter(each.versions.values())).partition(":")[0] for each in (job, first)]
    assert versions == ["times@1", "times@2"]


@pytest.mark.parametrize("kind", ["rows", "tables", "tables of a schema", "model handler"])
def test_versions_that_went_are_let_go(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(batch_worker, "_shared", LruCache(16))
    uris = [scaled(tmp_path / f"by{by}.onnx", by) for by in (2, 3, 4)]
    uris.append(uris[0])
    made, schema = graph(uris[0], tmp_path), pa.schema({"x": pa.list_(pa.float32())})
    row = {"x": [1.0]}
    value: Any = row if kind == "rows" else pa.Table.from_pylist([row], schema)
    job, handler = Job.of_values(made.checked), made.as_model_handler()
    typed = kind == "tables of a schema"
    play = PlayRows(job.over(schema) if typed else job, Kept(), "run", typed=typed, graph=made.changed())

    def answered(uri: str) -> Any:
        if kind == "model handler":
            handler.update_model_path(uri)
            (result,) = handler.run_inference([row], handler.load_model())
            return result.inference["y"][0]
        play.start_bundle()
        list(play.process(value, WindowedValue(value, 0, (GlobalWindow(),)), [{"times": uri}]))
        (answer,) = play.finish_bundle()
        found = answer.value["y"]
        return found[0] if kind == "rows" else found.to_pylist()[0][0]

    def workers() -> int:
        gc.collect()
        return sum(type(each) is batch_worker.BatchWorker for each in gc.get_objects())

    others = workers()
    if kind != "model handler":
        play.setup()
    for uri, wanted in zip(uris, (2.0, 3.0, 4.0, 2.0), strict=True):
        assert answered(uri) == wanted
        assert workers() - others <= 1 + (kind == "tables"), uri  # and one that plays tables of this schema


@pytest.mark.timeout(600)
@pytest.mark.parametrize("runner", ["prism", "flink"])
def test_a_stream_on_a_runner_of_its_own_goes_on_with_other_models(
    runner: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Of windows of four seconds each is answered by the model that the side input names in it."""
    options = request.getfixturevalue(runner)
    uris = [scaled(tmp_path / f"by{by}.onnx", by) for by in (2, 3, 4)]
    made, told = graph(uris[0], tmp_path), [{"times": uris[1]}, {"times": uris[2]}, uris[0]]
    start, windows = Timestamp(1000), FixedWindows(4)
    SEEN.clear()
    with beam.Pipeline(options=PipelineOptions([*options, "--streaming"])) as pipeline:
        ticks = pipeline | "ticks" >> PeriodicImpulse(start, start + 12, 1) | "in" >> beam.WindowInto(windows)
        news = pipeline | "news" >> PeriodicImpulse(start, start + 12, 4) | "when" >> beam.WindowInto(windows)
        models = news | "named" >> beam.Map(lambda time: told[int(float(time) - 1000) // 4])
        rows = ticks | beam.Map(lambda time: {"x": [float(time) - 999]})
        played = rows | made.as_ptransform(models=models, keep=["x"])
        _ = played.answers | beam.Map(lambda row: (float(row["x"][0]), float(row["y"][0]))) | "put" >> beam.Map(put_by)
    assert sorted(SEEN) == [(x + 1.0, (x + 1.0) * (3, 4, 2)[x // 4]) for x in range(12)]


def test_models_that_cannot_be_taken_are_refused_by_name(tmp_path: Path) -> None:
    uri = scaled(tmp_path / "by2.onnx", 2)
    made = graph(uri, tmp_path)
    job, declared = Job.of_values(made.checked), made.changed()
    with pytest.raises(UnknownNameError, match="unknown model 'tims'; did you mean 'times'"):
        refreshed(job, declared, {"tims": uri})
    with pytest.raises(ModelLoadError, match=r"gone\.onnx"):
        refreshed(job, declared, str(tmp_path / "gone.onnx"))
    other = scaled(tmp_path / "other.onnx", 2, width=2)
    with pytest.raises(MotetError):
        refreshed(job, declared, other)
    x = mt.input("x", "float32[1]")
    widened = mt.Graph("g", {"y": mt.model(mt.Model(uri, "times"), x).y, "z": x})
    with pytest.raises(InputError, match="with its models of now it is .*; it was .* when the job was made"):
        job.anew(widened.checked)
    two = mt.Graph("g", {name: mt.model(mt.Model(uri, name), x).y for name in ("a", "b")})
    with pytest.raises(InputError, match="by2.onnx is a model, and the graph has 2\n  hint: name it, as in {'a'"):
        refreshed(Job.of_values(two.checked), two.changed(), uri)
