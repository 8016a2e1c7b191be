"""Graphs that are played in stages answer as one process does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import motet as mt
from helpers.split_engines import Here, Silent, Threads
from motet.cli import cli
from motet.engines.splits import shuffle
from motet.engines.splits.shuffle import windows
from motet.engines.stages import stages_of
from motet.errors import InputError, MotetError, ResumeError
from motet.io import open_source
from motet.io.stream import join
from motet.runtime.resources.need import Need
from motet.types import returns

ROWS, GROUP = 200, 20
GIB = 2**30


@returns("float64")
def picky(y: Any) -> Any:
    """Numbers; rows of 44 and 50 more fail."""
    if (y % 50 == 44).any():
        raise ValueError("forty-four")
    return y


@returns({"text": "string", "raw": "bytes", "few": "int64[?]", "half": "float16", "small": "uint8", "yes": "bool"})
def many_types(n: Any) -> Any:
    """A column of many types; text and bytes are missing now and then."""
    numbers = [int(each) for each in n]
    return {
        "text": np.array([None if each % 7 == 0 else f"é{each}" for each in numbers], object),
        "raw": np.array([None if each % 5 == 0 else bytes([each % 256]) for each in numbers], object),
        "few": [list(range(each % 4)) for each in numbers],
        "half": np.array([np.nan if each % 3 == 0 else each / 8 for each in numbers], np.float16),
        "small": np.array(numbers, np.uint8),
        "yes": np.array([each % 2 == 0 for each in numbers]),
    }


def same(*columns: Any) -> Any:
    """What it is given."""
    return columns[0]


def times(name: str, by: float = 2.0, *, log: str = "", **options: Any) -> mt.Model:
    given = {"by": by, "log": log} if log else {"by": by}
    uri = "python:helpers.counted_models:Times"
    return mt.Model(uri, name, inputs={"x": "float64"}, outputs={"y": "float64"}, options=given, **options)


def write(folder: Path, rows: int = ROWS) -> Path:
    table = pa.table(
        {
            "n": pa.array(range(rows), pa.int64()),
            "x": pa.array([float(each) for each in range(rows)]),
            "key": [f"k{each * 31 % 13}" for each in range(rows)],
            "price": pa.array([Decimal(each) / 4 for each in range(rows)], pa.decimal128(9, 2)),
            "day": [date(2026, 1, 1 + each % 28) for each in range(rows)],
            "nested": [{"a": [each], "b": None if each % 2 else str(each)} for each in range(rows)],
        }
    )
    pq.write_table(table, folder / "in.parquet", row_group_size=GROUP)
    return folder / "in.parquet"


def in_two(**options: Any) -> mt.Graph:
    """One model that asks for memory, and one that asks for an accelerator too."""
    n, x = mt.input("n", "int64"), mt.input("x", "float64")
    kinds = mt.map(many_types, n, name="kinds")
    first = mt.model(times("a", 2.0, resources={"memory": "1GiB"}), x, name="first")
    checked = mt.map(picky, first.y, name="checked")
    second = mt.model(times("b", 3.0, resources={"memory": "2GiB", "accelerator": 1, "cpu": 2}), checked, name="second")
    last = {name: getattr(kinds, name) for name in ("text", "raw", "few", "half", "small", "yes")}
    return mt.Graph("g", outputs={"y": second.y, **last, "double": first.y}, **options)


def by_key(folder: Path, keys: int = 13, *, places: int = 2, **route: Any) -> mt.Graph:
    """A model for each key, of which few may be loaded."""
    arms = {f"k{each}": times(f"m{each}", float(each), log=str(folder / "loads")) for each in range(keys)}
    checked = mt.map(picky, mt.input("x", "float64"), name="checked")
    found = mt.route(arms, checked, key=mt.input("key", "string"), max_loaded=places, name="routed", **route)
    return mt.Graph("g", outputs={"y": found.y, "who": found.member})


def fine(engine: Any) -> Any:
    engine.split_bytes = 1
    return engine


def read(path: Any) -> list[dict[str, Any]]:
    return [row for batch in open_source(str(path)).batches(1000) for row in batch.to_pylist()]


def check_same(graph: mt.Graph, source: Path, output: str, engine: Any = None, **options: Any) -> Any:
    """Answers, types, order and failures are those of the engine local."""
    folder = source.parent
    expected = graph.run(source, folder / "local.parquet", overwrite=True, **options)
    report = graph.run(source, f"{folder}/{output}", engine=engine or fine(Here()), overwrite=True, **options)
    assert (report.rows, report.answered, report.failed) == (expected.rows, expected.answered, expected.failed)
    if output.endswith((".parquet", "/")):
        one, other = pq.read_table(folder / "local.parquet"), pq.read_table(folder / output)
        assert one.schema.equals(other.schema, check_metadata=True)
        assert list(map(repr, one.to_pylist())) == list(map(repr, other.to_pylist()))  # NaN is itself
    told = [
        [{**row, "input": ""} for row in read(each.failed_output)] if each.failed_output else []
        for each in (report, expected)
    ]
    assert told[0] == told[1]
    assert [path.name for path in folder.iterdir() if "unfinished" in path.name] == []
    return report


def test_nodes_that_ask_for_the_same_are_one_stage(tmp_path: Path) -> None:
    x = mt.input("x", "float64")
    asks: dict[str, Any] = {"resources": {"memory": "1GiB"}}
    plain = mt.Graph("g", outputs={"y": mt.model(times("b"), mt.model(times("a"), x).y).y})
    alike = mt.Graph(
        "g", outputs={"y": mt.model(times("b", **asks), mt.map(picky, mt.model(times("a", **asks), x).y)).y}
    )
    some = mt.Graph("g", outputs={"y": mt.model(times("b", **asks), mt.model(times("a"), x).y).y})
    for graph in (plain, alike, some):
        assert [each.checked for each in stages_of(graph.checked)] == [graph.checked]
    cut = stages_of(in_two().checked)
    assert [(each.checked.order, each.need, each.grouped) for each in cut] == [
        (("first", "checked", "kinds"), Need(1.0, GIB), ""),
        (("second",), Need(2.0, 2 * GIB, 1.0), ""),
    ]
    assert [each.checked for each in stages_of(in_two().checked, one=True)] == [in_two().checked]


def test_stages_alternate_no_more_than_what_they_wait_for() -> None:
    x, y = mt.input("x", "float64"), mt.input("y", "float64")
    large: dict[str, Any] = {"resources": {"memory": "2GiB"}}
    small: dict[str, Any] = {"resources": {"memory": "1GiB"}}
    a, b = mt.model(times("a", **large), x, name="a"), mt.model(times("b", **small), y, name="b")
    c, d = mt.model(times("c", **large), x, name="c"), mt.model(times("d", **small), a.y, name="d")
    graph = mt.Graph("g", outputs={"a": a.y, "b": b.y, "c": c.y, "d": d.y})
    assert [set(each.checked.order) for each in stages_of(graph.checked)] == [{"a", "c"}, {"b", "d"}]


def test_a_column_of_a_type_that_nobody_declared_does_not_pass() -> None:
    x = mt.input("x", "float64")
    loose = mt.map(same, mt.model(times("a", resources={"memory": "1GiB"}), x).y)
    graph = mt.Graph(
        "g", outputs={"y": mt.model(times("b", resources={"accelerator": 1}), mt.map(picky, loose)).y, "z": loose}
    )
    assert len(stages_of(graph.checked)) == 1


@pytest.mark.parametrize("output", ["out.parquet", "parts/", "out.csv"])
@pytest.mark.parametrize("make", [in_two, by_key], ids=["resources", "keys"])
def test_answers_are_those_of_one_process(tmp_path: Path, make: Callable[..., mt.Graph], output: str) -> None:
    graph = make() if make is in_two else make(tmp_path)
    dropped = {"drop": ["nested"]} if output == "out.csv" else {}
    taken = [] if output != "out.csv" or make is by_key else ["raw", "few"]
    if taken:
        kept = {name: each for name, each in graph.outputs.items() if name not in taken}
        graph = mt.Graph("g", kept, inputs=graph.inputs, models=graph.models, nodes=graph.nodes)
    report = check_same(graph, write(tmp_path), output, row_ids="id", **dropped)
    assert {each.name for each in report.nodes} == set(graph.checked.order)
    assert sum(each.rows for each in report.models) == report.rows - 4 if make is by_key else True


@pytest.mark.parametrize("engine", [Threads, Silent])
def test_engines_that_play_side_by_side_or_bring_nothing_back(tmp_path: Path, engine: type[Here]) -> None:
    for graph in (in_two(), by_key(tmp_path)):
        check_same(graph, write(tmp_path), "parts/", fine(engine()))


@pytest.mark.parametrize("options", [{"limit": 33}, {"skip": 35}, {"sample": "30%"}, {"shard": "1/3"}])
def test_a_choice_of_rows(tmp_path: Path, options: dict[str, Any]) -> None:
    check_same(by_key(tmp_path), write(tmp_path), "out.parquet", **options)
    check_same(in_two(), tmp_path / "in.parquet", "parts/", **options)


def test_keys_that_are_missing_unknown_numbers_or_made_by_a_node(tmp_path: Path) -> None:
    keys = [None if each % 11 == 0 else each % 5 for each in range(90)]
    table = pa.table({"k": keys, "x": [float(each) for each in range(90)]})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=9)
    kinds = {"int64": mt.input("k", "int64"), "float64": mt.input("k", "float64", default=None)}
    for kind, key in kinds.items():
        for made in (False, True):
            arms = {str(each): times(f"m{each}", float(each)) for each in (0, 1, 2, 3, 99)}
            by = mt.map(same, key, outputs=kind, name="made") if made else key
            more: dict[str, Any] = {"missing": "99"} if kind == "float64" else {}
            found = mt.route(arms, mt.input("x", "float64"), key=by, max_loaded=2, **more)
            graph = mt.Graph("g", outputs={"y": found.y, "who": found.member})
            assert any(each.grouped for each in stages_of(graph.checked))
            check_same(graph, tmp_path / "in.parquet", "parts/")


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d", "e"]), st.integers(0, 99)), max_size=60), st.integers(1, 9)
)
@settings(max_examples=12, deadline=None)
def test_any_rows_stay_in_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]], group: int
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    keys, numbers = [key for key, _ in rows], [float(number) for _, number in rows]
    table = pa.table({"key": pa.array(keys, pa.string()), "x": pa.array(numbers, pa.float64())})
    pq.write_table(table, folder / "in.parquet", row_group_size=group)
    arms = {key: times(key, place + 1.0) for place, key in enumerate("abcde")}
    found = mt.route(arms, mt.input("x", "float64"), key=mt.input("key", "string"), max_loaded=1)
    engine = fine(Here())
    report = mt.Graph("g", outputs={"y": found.y}).run(folder / "in.parquet", folder / "out.parquet", engine=engine)
    expected = [number * ("abcde".index(key) + 1) for key, number in rows]
    assert report.rows == len(rows)
    assert pq.read_table(folder / "out.parquet")["y"].to_pylist() == expected
    assert pq.read_table(folder / "out.parquet")["key"].to_pylist() == keys


def test_models_of_keys_are_loaded_once_where_rows_are_brought_together(tmp_path: Path) -> None:
    """200 models of which 8 have a place: each is loaded once, against once a split and more."""
    keys = np.random.default_rng(3).integers(0, 200, 4000)
    table = pa.table({"key": [f"k{each}" for each in keys], "x": np.arange(4000.0)})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=250)
    graph, apart, log = by_key(tmp_path, 200, places=8), fine(Here()), tmp_path / "loads"
    apart.one_stage = True
    together = graph.run(tmp_path / "in.parquet", tmp_path / "out.parquet", engine=fine(Here()), max_failures="50%")
    pairs = {(row // 250, key) for row, key in enumerate(keys.tolist()) if row % 50 != 44}
    met = {key for _, key in pairs}
    every = {(row // 250, key) for row, key in enumerate(keys.tolist())}
    assert sorted(map(int, log.read_text().split())) == sorted(met)
    assert together.loads == (len(met), len(every))
    told = f"rows brought together by key: {len(met)} loads of models, against {len(every):,} for each split by itself"
    assert told in str(together)
    log.unlink()
    separate = graph.run(tmp_path / "in.parquet", tmp_path / "apart.parquet", engine=apart, max_failures="50%")
    assert pq.read_table(tmp_path / "out.parquet").equals(pq.read_table(tmp_path / "apart.parquet"))
    assert len(log.read_text().split()) > 10 * len(met)  # some are still there from a split, or the run, before
    assert separate.loads == (0, 0)


def test_what_is_brought_together_has_a_bound() -> None:
    found = windows(range(0, 1500, 10), [1] * 150, together=True)
    assert [(each.first, len(each.starts)) for each in found] == [(0, 64), (64, 64), (128, 22)]
    assert found[1].starts[:2] == (640, 650)
    large = windows([0, 10, 20, 30], [300 << 20] * 3 + [1], together=True)
    assert [(each.first, len(each.starts)) for each in large] == [(0, 1), (1, 1), (2, 2)]
    assert [len(each.starts) for each in windows([0, 10], [1, 1], together=False)] == [1, 1]


@pytest.mark.parametrize("name", ["motet:first.y", "motet::row", "motet:other"])
def test_columns_called_as_those_between_stages_are_stay(tmp_path: Path, name: str) -> None:
    table = pq.read_table(write(tmp_path)).append_column(name, pa.array(np.arange(ROWS) * 7.0))
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=GROUP)
    check_same(in_two(), tmp_path / "in.parquet", "out.parquet")
    first = mt.model(times("a", resources={"memory": "1GiB"}), mt.input("x", "float64"))
    second = mt.model(times("b", resources={"accelerator": 1}), mt.input("z", "float64", column=name))
    graph = mt.Graph("g", outputs={"y": second.y, "double": first.y})
    check_same(graph, tmp_path / "in.parquet", "out.parquet", keep=["n"])


@pytest.mark.parametrize("make", [in_two, by_key], ids=["resources", "keys"])
def test_what_is_left_is_put_together_batch_by_batch(
    tmp_path: Path, make: Callable[..., mt.Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a task may be left more than the 2 GiB that a column of a batch holds."""
    joined: list[int] = []

    def spied(parts: Any) -> Any:
        joined.append(sum(map(len, parts)))
        return join(parts)

    monkeypatch.setattr(shuffle, "HELD_BYTES", 1)
    monkeypatch.setattr(shuffle, "join", spied)
    check_same(make() if make is in_two else make(tmp_path), write(tmp_path), "out.parquet", batch_rows=7)
    assert joined
    assert max(joined) <= 7


class Doubled(Here):
    """Plays each task twice at the same time; what the attempt gives that ends first counts."""

    def map(self, function: Any, items: Sequence[Any]) -> Iterator[Any]:
        with ThreadPoolExecutor(2) as pool:
            for item in items:
                both = [pool.submit(function, item) for _ in range(2)]
                first = next(as_completed(both)).result()
                wait(both)
                yield first


meeting = threading.Barrier(2)


@returns("float64")
def moody(x: Any) -> Any:
    """What it is given, once another attempt is under way; each fails for another row of ten."""
    return np.where(x % 10 == meeting.wait(30), "no number", x.astype(object))


@returns("string")
def key_of(x: Any) -> Any:
    return np.array([f"k{each % 13:.0f}" for each in x], object)


@pytest.mark.parametrize("make", ["resources", "keys"])
def test_one_attempt_counts_for_all_stages_where_attempts_differ(tmp_path: Path, make: str) -> None:
    x = mt.map(moody, mt.input("x", "float64"))
    if make == "keys":
        arms = {f"k{each}": times(f"m{each}") for each in range(13)}
        found = mt.route(arms, x, key=mt.map(key_of, x), max_loaded=2)
    else:
        first = mt.model(times("a", resources={"accelerator": 1}), x)
        found = mt.model(times("b", resources={"memory": "1GiB"}), first.y)
    graph, engine = mt.Graph("g", outputs={"y": found.y}), fine(Doubled())
    report = graph.run(write(tmp_path), tmp_path / "out.parquet", engine=engine, row_ids="row", batch_rows=GROUP)
    rows = pq.read_table(tmp_path / "out.parquet")["row"].to_pylist()
    failed = [row["row"] for row in read(report.failed_output)]
    assert (report.failed, sorted(rows + failed)) == (ROWS // 10, list(range(ROWS)))


class Stopping(Here):
    """Stops after so many tasks."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.left = tasks
        fine(self)

    def map(self, function: Any, items: Sequence[Any]) -> Iterator[Any]:
        for item in items:
            if not self.left:
                raise RuntimeError("stopped on purpose")
            self.left -= 1
            yield function(item)


@pytest.mark.parametrize("done", [3, 10, 14, 25])
def test_a_run_that_stopped_in_a_stage_goes_on_in_it(tmp_path: Path, done: int) -> None:
    source = write(tmp_path)
    graph = by_key(tmp_path)
    with pytest.raises(MotetError, match="stopped on purpose"):
        graph.run(source, f"{tmp_path}/parts/", engine=Stopping(done))
    if done == 14:
        one = fine(Here())
        one.one_stage = True
        with pytest.raises(ResumeError, match=r"into how many stages .*changed .*: was 3, is 1"):
            graph.run(source, f"{tmp_path}/parts/", engine=one, resume=True)
    rest = Stopping(30 - done)
    report = graph.run(source, f"{tmp_path}/parts/", engine=rest, resume=True)
    assert (report.rows, report.failed, rest.left) == (ROWS, 4, 0)
    graph.run(source, tmp_path / "local.parquet")
    assert pq.read_table(tmp_path / "parts").equals(pq.read_table(tmp_path / "local.parquet"))


def test_a_model_that_fails_on_everything_in_a_later_stage_ends_the_run(tmp_path: Path) -> None:
    broken = mt.Model(
        "python:helpers.counted_models:Broken", "broken", inputs={"x": "float64"}, outputs={"y": "float64"},
        resources={"accelerator": 1},
    )  # fmt: skip
    first = mt.model(times("a", resources={"memory": "1GiB"}), mt.input("x", "float64"))
    graph = mt.Graph("g", outputs={"y": mt.model(broken, first.y).y})
    with pytest.raises(MotetError, match="RuntimeError: the second model is broken"):
        graph.run(write(tmp_path), tmp_path / "out.parquet", engine=fine(Here()))
    assert not (tmp_path / "out.parquet").exists()


def test_too_many_failures_are_counted_over_all_stages(tmp_path: Path) -> None:
    with pytest.raises(MotetError, match="4 of 200 rows failed, more than 3 are too many"):
        by_key(tmp_path).run(write(tmp_path), tmp_path / "out.parquet", engine=fine(Here()), max_failures=3)
    report = by_key(tmp_path).run(
        tmp_path / "in.parquet", tmp_path / "ok.parquet", engine=fine(Here()), max_failures="2%", overwrite=True
    )
    assert report.failed == 4


def test_an_engine_is_told_what_each_stage_needs_before_anything_is_written(tmp_path: Path) -> None:
    told: list[Any] = []

    class Small(Here):
        def connected(self, needs: Sequence[Need] = ()) -> Any:
            told.extend(needs)
            raise InputError("no worker has an accelerator")

    class Telling(Here):
        def map(self, function: Any, items: Sequence[Any]) -> Iterator[Any]:
            told.append(function.need)
            return super().map(function, items)

    with pytest.raises(InputError, match="no worker has an accelerator"):
        in_two().run(write(tmp_path), tmp_path / "out.parquet", engine=fine(Small()))
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]
    in_two().run(tmp_path / "in.parquet", tmp_path / "out.parquet", engine=fine(Telling()))
    assert told == [Need(1.0, GIB), Need(2.0, 2 * GIB, 1.0)] * 2


def test_commands_show_the_stages(tmp_path: Path) -> None:
    pytest.importorskip("apache_beam")
    in_two().save(tmp_path / "g.yaml")
    stages = [
        "1  first, checked, kinds: 1 core, 1,024 MiB; beam is told: min_ram 1073741824B",
        "2  second: 2 cores, 2,048 MiB, 1 accelerator; beam is told: cpu_count 2, min_ram 2147483648B, accelerator count:1",
    ]
    for command in (["check"], ["draw"]):
        told = CliRunner().invoke(cli, [*command, f"{tmp_path}/g.yaml", "--engine", "beam"])
        assert told.exit_code == 0, told.output
        lines = told.output.splitlines()
        place = lines.index("stages on beam")
        assert [line.strip() for line in lines[place + 1 : place + 3]] == stages
        assert "beam" not in CliRunner().invoke(cli, [*command, f"{tmp_path}/g.yaml"]).output
    drawn = CliRunner().invoke(cli, ["draw", f"{tmp_path}/g.yaml", "--engine", "beam", "--format", "mermaid"]).output
    assert '  subgraph stage_2["stage 2 on beam: 2 cores, 2,048 MiB, 1 accelerator' in drawn
    assert "    n_second\n  end" in drawn
    local = CliRunner().invoke(cli, ["check", f"{tmp_path}/g.yaml", "--engine", "local"]).output
    assert "1  first, checked, second, kinds: 2 cores, 3,072 MiB, 1 accelerator\n" in local
    for wrong in (["check", "--engine", "beem"], ["draw", "--engine", "beam", "--format", "svg"]):
        assert CliRunner().invoke(cli, [*wrong, f"{tmp_path}/g.yaml"]).exit_code == 2
    by_key(tmp_path).save(tmp_path / "k.yaml")
    told = CliRunner().invoke(cli, ["check", f"{tmp_path}/k.yaml", "--engine", "beam"])
    assert "routed: 1 core; rows are brought together by key\n" in told.output
