"""What was offered is where it should be, once, with its types."""

import asyncio
import base64
import json
import math
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.until import until_async
from motet.batch import Ragged
from motet.errors import Failure, GraphError
from motet.serving.batching.request import Reply
from motet.serving.sinks.items import AnsweredRequest
from motet.types import ColumnType, Signature
from serving.sinks.sink_rows import SIGNATURE, lines, offer, opened, table

TESTS = Path(__file__).parents[2]
DATABASE = {"to": "sqlite:///p.db", "batch_s": 0.01}
LINES = {"to": "p.jsonl", "batch_s": 0.01}
PARTS = {"to": "p.parquet", "batch_s": 0.01}
DTYPES = {
    "bool": st.booleans(),
    "int8": st.integers(-128, 127),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "float16": st.floats(width=16, allow_nan=False, allow_infinity=False),
    "float32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "float64": st.floats(allow_nan=False, allow_infinity=False),
    "string": st.text(st.characters(codec="utf-8")),
    "bytes": st.binary(),
    "int32[2]": st.tuples(st.integers(-9, 9), st.integers(-9, 9)).map(list),
    "float32[?]": st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=3),
    "string[2]": st.tuples(st.text("ab"), st.text("ab")).map(list),
    "any": st.none()
    | st.integers(-9, 9)
    | st.lists(st.integers(-9, 9))
    | st.dictionaries(st.text("ab"), st.text("ab")),
}


def run(coroutine):
    return asyncio.run(coroutine)


def column_of(kind, values):
    """A column of a type that holds these values."""
    kind = ColumnType.parse(kind)
    if kind.varies:
        return Ragged.from_rows([np.array(value, kind.numpy_dtype) for value in values], axes=1)
    if kind.shape:
        return np.array(values, kind.numpy_dtype).reshape(len(values), *kind.shape)
    return np.fromiter(values, object, len(values)) if kind.is_object else np.array(values, kind.numpy_dtype)


def read_back(values, kind, place):
    """What a place holds, as the values that were put there."""
    if place == "sql" and kind == "uint64":
        return [int(value) for value in values]
    if (place == "sql" and "[" in kind) or (place != "jsonl" and kind == "any"):
        return [None if value is None else json.loads(value) for value in values]
    if place == "jsonl" and kind == "bytes":
        return [base64.b64decode(value) for value in values]
    return values


@given(data=st.data(), requests=st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_every_row_of_every_type_is_written_once(tmp_path_factory, data, requests):
    folder = tmp_path_factory.mktemp("kept")
    kinds = data.draw(st.lists(st.sampled_from(list(DTYPES)), min_size=1, max_size=4, unique=True))
    signature = Signature(
        {f"x{place}": ColumnType.parse(kind) for place, kind in enumerate(kinds) if "[" not in kind},
        {f"y{place}": ColumnType.parse(kind) for place, kind in enumerate(kinds)},
    )
    total = sum(requests)

    def drawn(kinds):
        some = {name: data.draw(st.lists(DTYPES[str(kind)], min_size=1, max_size=3)) for name, kind in kinds.items()}
        return {name: [values[row % len(values)] for row in range(total)] for name, values in some.items()}

    inputs, outputs = drawn(signature.inputs), drawn(signature.outputs)

    async def go():
        async with opened(folder, DATABASE, LINES, PARTS, signature=signature) as made:
            batch = {name: column_of(kind, outputs[name]) for name, kind in signature.outputs.items()}
            given_in = {name: column_of(kind, inputs[name]) for name, kind in signature.inputs.items()}
            first = 0
            for number, rows in enumerate(requests):
                reply = Reply(batch, first, first + rows, None, (), total, 0.5, 0.25)
                part = {name: column[first : first + rows] for name, column in given_in.items()}
                made.offer("g", AnsweredRequest(f"r{number}", "me", 12.5, part, rows, reply))
                first += rows

    run(go())
    ids = [f"r{number}:{row}" for number, rows in enumerate(requests) for row in range(rows)]
    for place, found in {"sql": _table(folder), "jsonl": lines(folder / "p.jsonl"), "parquet": _parts(folder)}.items():
        assert [each["id"] for each in found] == ids
        assert [each["row"] for each in found] == [row for rows in requests for row in range(rows)]
        assert {
            (each["time"], each["identity"], each["graph"], each["version"], each["queue_s"]) for each in found
        } == {(12.5, "me", "g", "mlp=1", 0.5)}
        for side, values, kinds in (("input", inputs, signature.inputs), ("output", outputs, signature.outputs)):
            for name, kind in kinds.items():
                got = [each[f"{side}_{name}"] for each in found]
                assert read_back(got, str(kind), place) == values[name], (place, kind)


def _table(folder):
    connection = sqlite3.connect(folder / "p.db")
    connection.row_factory = sqlite3.Row
    found = [dict(each) for each in connection.execute("SELECT * FROM predictions ORDER BY rowid")]
    connection.close()
    return found


def _parts(folder):
    found = ds.dataset(folder / "p.parquet").to_table().to_pylist()
    return sorted(found, key=lambda each: each["id"])


def test_rows_that_failed_are_kept_with_the_reason(tmp_path):
    async def go():
        async with opened(tmp_path, DATABASE, LINES, PARTS) as made:
            failure = Failure(1, "vote", "mlp", "1", "ValueError", "no")
            outputs = {"label": np.array([7, 9, 8]), "scores": np.zeros((3, 3), np.float32)}
            reply = Reply(outputs, 1, 3, np.array([0, 2]), [failure], 4, 0.0, 0.0)
            inputs = {"image": np.zeros((3, 2, 2), np.uint8), "user": np.array(["a", None, "c"], object)}
            made.offer("g", AnsweredRequest("r", "me", 0.0, inputs, 3, reply))

    run(go())
    for found in (_table(tmp_path), lines(tmp_path / "p.jsonl"), _parts(tmp_path)):
        assert [each["output_label"] for each in found] == [9, None, 8]
        assert [each["input_user"] for each in found] == ["a", None, "c"]
        assert [each["error"] for each in found] == [None, "row 1: node vote in mlp: ValueError: no", None]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite(tmp_path, value):
    signature = Signature({}, {"score": ColumnType.parse("float64"), "scores": ColumnType.parse("float64[1]")})

    async def go():
        async with opened(tmp_path, DATABASE, LINES, PARTS, signature=signature) as made:
            columns = {"score": np.array([value]), "scores": np.array([[value]])}
            made.offer("g", AnsweredRequest("r", "me", 0.0, {}, 1, Reply(columns, 0, 1, None, (), 1, 0.0, 0.0)))

    run(go())
    assert lines(tmp_path / "p.jsonl")[0]["output_score"] is None
    assert _table(tmp_path)[0]["output_scores"] == "[null]"
    assert repr(_parts(tmp_path)[0]["output_scores"]) == repr([value])


def test_texts_that_no_encoding_has_are_mended(tmp_path):
    async def go():
        async with opened(tmp_path, DATABASE, LINES, PARTS) as made:
            offer(made, "r0", [1], user="a\ud800")
            offer(made, "r1", [2], user="fine")
        assert [each.rejected for each in made.stats.values()] == [0, 0, 0]

    run(go())
    for found in (_table(tmp_path), lines(tmp_path / "p.jsonl"), _parts(tmp_path)):
        assert [each["input_user"] for each in found] == ["a?", "fine"]


def test_what_is_kept_can_be_chosen(tmp_path):
    async def go():
        configs = [
            {**LINES, "keep": ["label", "image"]},
            {**LINES, "to": "all.jsonl", "array_inputs": True},
            {**LINES, "to": "bytes.jsonl", "array_inputs": True, "arrays": "bytes"},
        ]
        async with opened(tmp_path, *configs) as made:
            offer(made, "r", [1])

    run(go())
    (kept,), (all_of_it,), (raw,) = (lines(tmp_path / f"{name}.jsonl") for name in ("p", "all", "bytes"))
    assert {name for name in kept if name.startswith(("input", "output"))} == {"input_image", "output_label"}
    assert kept["input_image"] == [[0, 0], [0, 0]]
    assert all_of_it.keys() - kept.keys() == {"input_user", "output_scores"}
    assert raw["input_image"] == "AAAAAA=="


def test_a_sample_is_the_same_in_every_process(tmp_path):
    async def go():
        async with opened(tmp_path, DATABASE, {**LINES, "name": "other"}, sample=0.25) as made:
            for number in range(2000):
                offer(made, f"r{number}", [number])

    run(go())
    chosen = [each for each, _ in table(tmp_path / "p.db")]
    assert sorted(each["id"] for each in lines(tmp_path / "p.jsonl")) == chosen
    assert 400 < len(chosen) < 600
    assert {"r7:0"}


def test_the_same_record_stands_in_a_database_once(tmp_path):
    async def go():
        async with opened(tmp_path, DATABASE) as made:
            for _ in range(3):
                offer(made, "again", [1, 2])
            offer(made, "", [5])
            offer(made, "", [6])

    run(go())
    found = table(tmp_path / "p.db")
    assert [each for each in found if each[0].startswith("again")] == [("again:0", 1), ("again:1", 2)]
    assert sorted(label for _, label in found) == [1, 2, 5, 6]


def test_a_table_gets_the_columns_that_it_does_not_have(tmp_path):
    async def go(signature, columns):
        async with opened(tmp_path, DATABASE, signature=signature) as made:
            reply = Reply(columns, 0, 1, None, (), 1, 0.0, 0.0)
            made.offer("g", AnsweredRequest("", "me", 0.0, {}, 1, reply))

    kinds = {"label": ColumnType.parse("int64"), "new": ColumnType.parse("string")}
    run(go(Signature({}, {"label": kinds["label"]}), {"label": np.array([1])}))
    run(go(Signature({}, kinds), {"label": np.array([2]), "new": np.array(["x"], object)}))
    run(go(Signature({}, {"new": kinds["new"]}), {"new": np.array(["y"], object)}))
    assert set(table(tmp_path / "p.db", columns="output_label, output_new")) == {(1, None), (2, "x"), (None, "y")}


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            "CREATE TABLE predictions (id TEXT PRIMARY KEY, output_label TEXT)",
            "sink join-predictions: table predictions: column 'output_label' is TEXT in the table, and int64 now",
        ),
        ("CREATE TABLE predictions (id TEXT, x TEXT)", "table predictions: 'id' is not the primary key"),
    ],
)
def test_a_table_that_does_not_fit_is_said_at_the_start(tmp_path, made, message):
    with sqlite3.connect(tmp_path / "p.db") as connection:
        connection.execute(made)
    connection.close()

    async def go():
        async with opened(tmp_path, DATABASE):
            pass

    with pytest.raises(GraphError) as caught:
        run(go())
    assert message in str(caught.value)


@pytest.mark.parametrize(("name", "made_of_it"), [("of_{graph}", "of_g"), ("{graph}", "g"), ("{graph}_rows", "g_rows")])
def test_each_graph_can_have_its_own_table_and_file(tmp_path, name, made_of_it):
    async def go():
        configs = [
            {**DATABASE, "table": name},
            {**LINES, "to": "{graph}/p.jsonl"},
            {**PARTS, "to": "{graph}/p.parquet"},
        ]
        async with opened(tmp_path, *configs) as made:
            offer(made, "r", [1])

    run(go())
    assert table(tmp_path / "p.db", made_of_it) == [("r:0", 1)]
    assert lines(tmp_path / "g" / "p.jsonl")[0]["id"] == "r:0"
    assert len(list((tmp_path / "g" / "p.parquet").glob("part-*.parquet"))) == 1


def test_a_table_that_goes_while_the_server_runs_is_made_anew(tmp_path):
    async def go():
        async with opened(tmp_path, DATABASE) as made:
            offer(made, "r0", [0])
            await until_async(lambda: made.stats["join-predictions"].written == 1)
            with sqlite3.connect(tmp_path / "p.db") as connection:
                connection.execute("DROP TABLE predictions")
            connection.close()
            offer(made, "r1", [1])
            await until_async(lambda: made.stats["join-predictions"].written == 2)

    run(go())
    assert table(tmp_path / "p.db") == [("r1:0", 1)]


def test_a_database_that_is_locked_is_waited_for_and_then_spooled(tmp_path):
    async def go():
        async with opened(tmp_path, DATABASE, timeout_s=0.1, retry_s=0.1) as made:
            stats = made.stats["join-predictions"]
            locking = sqlite3.connect(tmp_path / "p.db", isolation_level=None)
            locking.execute("BEGIN EXCLUSIVE")
            offer(made, "r0", [0])
            await until_async(lambda: made.stats["join-predictions"].spooled == 1)
            locking.execute("COMMIT")
            locking.close()
            await until_async(lambda: stats.written == 1)

    run(go())
    assert table(tmp_path / "p.db") == [("r0:0", 0)]


async def _many(folder, process, requests):
    async with opened(folder, DATABASE, LINES, {**PARTS, "batch_s": 0.05}, rotate_bytes=20_000) as made:
        for number in range(requests):
            offer(made, f"p{process}-{number:04d}", [number, number])
            if number % 50 == 0:
                await asyncio.sleep(0.001)
    assert all(each.written == requests * 2 for each in made.stats.values()), made.stats


def test_several_processes_write_to_the_same_places(tmp_path):
    code = (
        f"import sys, asyncio; sys.path.insert(0, {str(TESTS)!r}); from serving.sinks import test_sink_places as t; from pathlib import Path;"
        "asyncio.run(t._many(Path(sys.argv[1]), sys.argv[2], 300))"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(process)]) for process in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    ids = [f"p{process}-{number:04d}:{row}" for process in range(3) for number in range(300) for row in range(2)]
    assert [each for each, _ in table(tmp_path / "p.db")] == ids
    files = list(tmp_path.glob("p*.jsonl"))
    assert len(files) > 3
    assert sorted(each["id"] for path in files for each in lines(path)) == ids
    assert [each["id"] for each in _parts(tmp_path)] == ids


def test_a_line_that_a_crash_cut_off_is_taken_away(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"id": "whole"}\n{"id": "cut of')

    async def go():
        async with opened(tmp_path, LINES) as made:
            offer(made, "r", [1])

    run(go())
    assert [each["id"] for each in lines(tmp_path / "p.jsonl")] == ["whole", "r:0"]


def test_parts_appear_after_so_many_rows_or_so_many_seconds(tmp_path):
    def parts():
        return sorted((tmp_path / "p.parquet").glob("*.parquet"))

    async def go():
        async with opened(tmp_path, {"to": "p.parquet", "batch_rows": 10, "batch_s": 60}) as made:
            offer(made, "r0", range(8))
            await until_async(lambda: made.counts()["join-p.parquet"]["queued_rows"] == 8)
            assert parts() == []
            offer(made, "r1", range(8))
            await until_async(lambda: made.stats["join-p.parquet"].written == 16)
            assert len(parts()) == 1
            offer(made, "r2", range(3))
        assert len(parts()) == 2

    run(go())
    assert len(_parts(tmp_path)) == 19


def test_nothing_is_left_running(tmp_path):
    before = threading.active_count()

    async def go():
        async with opened(tmp_path, DATABASE, LINES, PARTS) as made:
            offer(made, "r", [1])
        names = [thread.name for thread in threading.enumerate()]
        assert not [name for name in names if name.startswith("motet-sink")]

    run(go())
    assert threading.active_count() <= before
    assert SIGNATURE.outputs
