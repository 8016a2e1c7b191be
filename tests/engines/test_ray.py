"""Graphs on a cluster of Ray with several nodes: whole jobs while one is killed, and inside data sets of others."""

from __future__ import annotations

import importlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers import onnxes
from helpers.until import until
from motet.engines.engine import find_engine
from motet.engines.ray.engine import check_reached
from motet.engines.ray.room import TaskRoom
from motet.engines.ray.tensors import plain_table
from motet.errors import InputError, MotetError, RunError, UnknownNameError
from motet.testing import engines

pytest.importorskip("ray")

ROWS, GROUP = 240, 40
HELD = """
import time
from pathlib import Path
import ray

def hold(n):
    folder = Path(__file__).parent
    (folder / "on" / ray.get_runtime_context().get_node_id()).touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    return n * 2
"""


@pytest.fixture
def rows() -> Iterator[Any]:
    """What makes data sets of Ray, quietly, and keeps blocks in their order."""
    import ray.data

    context = ray.data.DataContext.get_current()
    options = context.execution_options
    before = context.enable_progress_bars, options.preserve_order
    context.enable_progress_bars, options.preserve_order = False, True
    yield ray.data
    context.enable_progress_bars, options.preserve_order = before


def table() -> pa.Table:
    images = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
    columns = {"x": pa.FixedShapeTensorArray.from_numpy_ndarray(images), "n": range(ROWS)}
    return pa.table({**columns, "s": pa.array([None if row % 7 == 3 else f"é{row}" for row in range(ROWS)])})


def graph(folder: Path) -> mt.Graph:
    """A model, and a function that refuses rows."""
    model = mt.Model(str(onnxes.classifier(folder / "models" / "a.onnx")))
    half = mt.map(engines._halve, mt.input("n", "int64"), name="half")
    return mt.Graph("g", {"p": mt.model(model, mt.input("x", "float32[4]")), "half": half})


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a graph whose rows wait until `go` is there, and say in `on/` on which nodes."""
    (tmp_path / "held.py").write_text(HELD)
    (tmp_path / "on").mkdir()
    (tmp_path / "g.yaml").write_text(
        "{motet: 1, name: g, inputs: {n: int64},"
        " nodes: {held: {map: held.hold, inputs: [n], outputs: int64}}, outputs: {y: held}}"
    )
    pq.write_table(table().select(["n", "s"]), tmp_path / "in.parquet", row_group_size=GROUP)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@contextmanager
def victim(cluster: Any, held: Path) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """A node more, and what kills it when rows wait there, unless all is over before, and then lets the others go on."""
    import ray

    there = {node["NodeID"] for node in ray.nodes()}
    made = cluster.add_node(num_cpus=1)
    (name,) = {node["NodeID"] for node in ray.nodes()} - there

    def kill(over: Callable[[], bool]) -> None:
        until(lambda: over() or (held / "on" / name).exists(), 300)
        assert not over()
        cluster.remove_node(made, allow_graceful=False)
        (held / "go").touch()

    try:
        yield kill
    finally:
        if made in cluster.worker_nodes:
            cluster.remove_node(made)
        until(lambda: name not in {node["NodeID"] for node in ray.nodes() if node["Alive"]}, 60)


@pytest.mark.timeout(600)
def test_a_node_that_dies_in_mid_run_costs_and_doubles_no_row(ray_cluster: Any, held: Path) -> None:
    command = [sys.executable, "-m", "motet.cli", "run", "g.yaml", "--input", "in.parquet", "--output", "parts/"]
    options = ["--engine", "ray", "--", "--address", ray_cluster.address, "--split-bytes", "1"]
    with victim(ray_cluster, held) as kill:
        run = subprocess.Popen([*command, *options], cwd=held, text=True, stderr=subprocess.PIPE)
        try:
            kill(lambda: run.poll() is not None)
            _, said = run.communicate(timeout=300)
        finally:
            run.kill()
            run.wait()
    assert run.returncode == 0, said
    parts = sorted((held / "parts").glob("*.parquet"))
    assert len(parts) == ROWS // GROUP
    found = pa.concat_tables([pq.read_table(each) for each in parts])
    assert found["n"].to_pylist() == list(range(ROWS))
    assert found["y"].to_pylist() == [2 * n for n in range(ROWS)]
    assert found["s"].equals(table()["s"])


@pytest.mark.timeout(600)
def test_a_node_that_dies_costs_a_data_set_no_row(ray_cluster: Any, rows: Any, held: Path) -> None:
    blocks = [table().select(["n", "s"]).slice(first, GROUP) for first in range(0, ROWS, GROUP)]
    played = mt.load(held / "g.yaml").on_ray(rows.from_arrow(blocks))
    with victim(ray_cluster, held) as kill, ThreadPoolExecutor(1) as beside:
        found = beside.submit(lambda: played.answers.take_all())
        kill(found.done)
        answers = found.result(300)
    assert [(row["n"], row["y"], row["s"]) for row in answers] == [
        (n, 2 * n, s) for n, s in enumerate(table()["s"].to_pylist())
    ]


@pytest.mark.timeout(300)
def test_blocks_without_rows_have_the_columns_of_the_answers(ray_cluster: Any, rows: Any) -> None:
    made, full = mt.Graph("g", {"half": mt.map(engines._halve, mt.input("n", "int64"))}), table().select(["n", "s"])
    for blocks in ([full.slice(0, 0), full], [full.slice(0, 0)] * 2, [full.slice(0, 2), full.slice(0, 0)]):
        wanted, failed = made.run(pa.concat_tables(blocks), failures="return")
        played = made.on_ray(rows.from_arrow(blocks))
        assert played.answers.schema().base_schema == played.answers_schema == wanted.schema
        assert played.failures.schema().base_schema.names == played.failures_schema.names
        assert played.answers.take_all() == wanted.to_pylist()
        assert [row["message"] for row in played.failures.take_all()] == [each.message for each in failed]


@pytest.mark.parametrize("form", ["{}", "ray://{}"])
def test_an_address_at_which_nothing_listens_is_refused_at_once(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = form.format(f"127.0.0.1:{taken.getsockname()[1]}")
        for arguments, variable in (["--address", address], ""), ([], address):
            monkeypatch.setenv("RAY_ADDRESS", variable)
            engine: Any = find_engine("ray", arguments)
            with pytest.raises(InputError, match=f"engine ray: no cluster answers at {address}: "), engine.connected():
                pass
        taken.listen()
        check_reached(address)
    for other in ("", "auto", "local", "example"):
        check_reached(other)
    with pytest.raises(InputError, match="no cluster answers at a..b:80: "):
        check_reached("a..b:80")


GIVEN = """
import json, ray

class Given:
    def __call__(self, x):
        return [json.dumps(ray.get_runtime_context().get_assigned_resources(), sort_keys=True)] * len(x)

def lengths(texts):
    return [len(each) for each in texts]
"""


@pytest.mark.timeout(300)
def test_stages_are_played_by_tasks_that_have_what_each_asks_for(
    ray_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "given_to.py").write_text(GIVEN)
    monkeypatch.syspath_prepend(str(tmp_path))
    signature = {"inputs": {"x": "int64"}, "outputs": {"y": "string"}}
    small, large = (
        mt.Model("python:given_to:Given", name, **signature, resources={"memory": memory, "cpu": cpu})  # type: ignore[arg-type]
        for name, memory, cpu in (("small", "64MiB", 1), ("large", "128MiB", 2))
    )
    n = mt.input("n", "int64")
    first = mt.model(small, n, name="first")
    lengths = mt.map(importlib.import_module("given_to").lengths, first.y, outputs="int64", name="between")
    later = mt.model(large, lengths, name="later")
    pq.write_table(table().select(["n", "s"]), tmp_path / "in.parquet", row_group_size=GROUP)
    mt.Graph("g", {"a": first.y, "b": later.y}).run(
        tmp_path / "in.parquet", f"{tmp_path}/parts/", engine="ray", engine_options=["--split-bytes", "1"]
    )
    found = pq.read_table(tmp_path / "parts")
    assert found.select(["n", "s"]).equals(table().select(["n", "s"]))
    assert set(found["a"].to_pylist()) == {f'{{"CPU": 1.0, "memory": {2.0**26}}}'}
    assert set(found["b"].to_pylist()) == {f'{{"CPU": 2.0, "memory": {2.0**27}}}'}


@pytest.mark.timeout(300)
def test_rows_are_brought_together_by_model_on_nodes(ray_cluster: Any, tmp_path: Path) -> None:
    log = tmp_path / "loads"
    signature: Any = {"inputs": {"x": "float64"}, "outputs": {"y": "float64"}}
    uri = "python:helpers.counted_models:Times"
    arms = {
        f"k{each}": mt.Model(uri, f"m{each}", options={"by": float(each), "log": str(log)}, **signature)
        for each in range(7)
    }
    routed = mt.route(arms, mt.input("x", "float64"), key=mt.input("key", "string"), max_loaded=2, name="routed")
    keys, values = [each * 31 % 7 for each in range(ROWS)], np.arange(ROWS, dtype=np.float64)
    given = pa.table({"n": range(ROWS), "x": values, "key": [f"k{each}" for each in keys]})
    pq.write_table(given, tmp_path / "in.parquet", row_group_size=GROUP)
    options = ["--split-bytes", "1"]
    report = mt.Graph("g", {"y": routed.y}).run(
        tmp_path / "in.parquet", f"{tmp_path}/parts/", engine="ray", engine_options=options
    )
    found = pq.read_table(tmp_path / "parts")
    assert (report.answered, found["n"].to_pylist()) == (ROWS, list(range(ROWS)))
    assert found["y"].to_pylist() == list(values * keys)
    assert len(log.read_text().split()) < 7 * ROWS // GROUP


@pytest.mark.timeout(300)
def test_a_data_set_is_answered_as_a_call_answers_it(ray_cluster: Any, rows: Any, tmp_path: Path) -> None:
    made = graph(tmp_path)
    wanted, failed = made.run(table(), failures="return")
    pq.write_table(table(), tmp_path / "in.parquet", row_group_size=GROUP)
    played = made.on_ray(rows.read_parquet(str(tmp_path / "in.parquet")), batch_rows=7)
    assert played.answers_schema == wanted.schema
    assert played.failures_schema.names == ["row", "node", "model", "version", "error", "message"]
    answers, failures = played.answers.take_all(), played.failures.take_all()
    assert [row["n"] for row in answers] == wanted["n"].to_pylist()
    assert [row["s"] for row in answers] == wanted["s"].to_pylist()
    assert [row["half"] for row in answers] == wanted["half"].to_pylist()
    np.testing.assert_allclose([row["p"] for row in answers], wanted["p"].to_pylist(), rtol=1e-6)
    assert [row["row"]["n"] for row in failures] == [failure.row for failure in failed] == [13, 113, 213]
    assert [row["message"] for row in failures] == [failure.message for failure in failed]
    played.failures.write_parquet(str(tmp_path / "failed"))
    kept = pq.read_table(tmp_path / "failed")["row"].combine_chunks()
    again = made.run(pa.table(dict(zip(["x", "n", "s"], kept.flatten(), strict=True))), failures="return")
    assert [failure.row for failure in again[1]] == [0, 1, 2]


@pytest.mark.timeout(300)
def test_actors_answer_each_row_in_its_place(ray_cluster: Any, rows: Any, tmp_path: Path) -> None:
    made = graph(tmp_path)
    wanted, failed = made.run(table(), failures="return")
    data = rows.from_arrow(table())
    pool = mt.ray.actor_pool(made, 2, num_cpus=0.25, ship=True, batch_rows=50)
    (tmp_path / "models").rename(tmp_path / "elsewhere")
    found = data.map_batches(**pool).take_all()
    assert [row["n"] for row in found] == list(range(ROWS))
    assert [row["s"] for row in found] == table()["s"].to_pylist()
    bad = [failure.row for failure in failed]
    assert [row["n"] for row in found if row["failure"] is not None] == bad
    assert [found[row]["failure"]["message"] for row in bad] == [failure.message for failure in failed]
    assert [found[row]["half"] for row in bad] == [None] * len(bad)
    good = [row for row in found if row["failure"] is None]
    np.testing.assert_allclose([row["p"] for row in good], wanted["p"].to_pylist(), rtol=1e-6)


@pytest.mark.parametrize("options", [{"drop": ["n"]}, {"keep": ["s"]}])
def test_an_output_that_is_called_as_a_column_that_is_left_out_is_the_output(options: Any) -> None:
    made = mt.Graph("g", {"n": mt.map(engines._halve, mt.input("n", "int64"))})
    wanted, failed = made.run(table(), failures="return", keep=["s"])
    found = mt.ray.Play(made, batch_rows=20, **options)(table().select(["n", "s"])).to_pylist()
    bad = [failure.row for failure in failed]
    assert [row for row, each in enumerate(found) if each["failure"] is not None] == bad
    assert [each["n"] for each in found if each["failure"] is None] == wanted["n"].to_pylist()
    assert [(found[row]["n"], found[row]["s"]) for row in bad] == [(None, table()["s"][row].as_py()) for row in bad]


@pytest.mark.timeout(300)
def test_a_model_that_fails_on_everything_ends_it_with_its_own_error(ray_cluster: Any, rows: Any) -> None:
    broken = mt.Graph("b", {"y": mt.map(engines._broken, mt.input("n", "int64"))})
    data = rows.from_arrow(table().select(["n"]))
    with pytest.raises(RunError, match=r"engine ray: node '_broken_1': .* failed on each of the .* rows") as told:
        _ = broken.on_ray(data).answers
    assert "goes_on=True in a pipeline" in told.value.hint
    played = broken.on_ray(data, goes_on=True)
    assert (played.answers.count(), played.failures.count()) == (0, ROWS)
    with pytest.raises(UnknownNameError, match="'m'"):
        mt.Graph("b", {"y": mt.map(engines._broken, mt.input("m", "int64"))}).on_ray(data)


def test_arrays_of_ray_are_arrays_of_arrow() -> None:
    from ray.data.extensions import ArrowTensorArray, ArrowVariableShapedTensorArray

    same = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    others = [np.arange(2, dtype=np.int16).reshape(1, 2), np.arange(6, dtype=np.int16).reshape(3, 2)] * 2
    made = pa.table(
        {"same": ArrowTensorArray.from_numpy(same), "others": ArrowVariableShapedTensorArray.from_numpy(others)}
    )
    for given, places in (
        (made, range(4)),
        (made.slice(1, 2), range(1, 3)),
        (pa.concat_tables([made, made]), [0, 1, 2, 3] * 2),
    ):
        found = plain_table(given)
        assert found["same"].type == pa.fixed_shape_tensor(pa.float32(), (2, 3))
        np.testing.assert_array_equal(found["same"].combine_chunks().to_numpy_ndarray(), same[list(places)])
        assert found["others"].type == pa.list_(pa.list_(pa.int16()))
        assert found["others"].to_pylist() == [others[row].tolist() for row in places]


NODES = {
    "one of 2": [{"CPU": 2.0}],
    "two of 1": [{"CPU": 1.0}, {"CPU": 1.0}],
    "accelerator": [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 2.0}],
}


class FakeRay:
    def __init__(self, nodes: list[dict[str, float]]) -> None:
        self._nodes = nodes

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": node} for node in self._nodes] + [
            {"Alive": False, "Resources": {"CPU": 9.0}}
        ]


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "most", "room"),
    [
        ("one of 2", 1, 0, 1, 2),
        ("one of 2", 0.5, 0, 2, 4),
        ("one of 2", 0.3, 0, 3, 6),
        ("one of 2", 2, 0, 0, 1),
        ("two of 1", 0.25, 0, 1, 8),
        ("two of 1", 1, 0, 1, 2),
        ("accelerator", 1, 1, 1, 1),
        ("accelerator", 0.5, 0.25, 4, 4),
        ("accelerator", 1, 0, 5, 6),
    ],
)
def test_actors_that_may_leave_no_cpu_to_readers_are_refused(
    nodes: str, cpus: float, gpus: float, most: int, room: int
) -> None:
    needs, ray = TaskRoom(cpus, gpus), FakeRay(NODES[nodes])
    for actors in range(1, most + 1):
        needs.check_pool(ray, actors)
    for actors in range(most + 1, room + 1):
        with pytest.raises(
            InputError, match=f"{actors} actors with .* may leave no CPU to read and write with"
        ) as told:
            needs.check_pool(ray, actors)
        assert (f"at most {most} actors" in told.value.hint) == (most > 0)
    with pytest.raises(InputError, match=f"no room for {room + 1} actors") as told:
        needs.check_pool(ray, room + 1)
    assert f"at most {room}, " in told.value.hint
    needs.check_room(ray, room, "replicas")
    with pytest.raises(InputError, match=f"no room for {room + 1} replicas with"):
        needs.check_room(ray, room + 1, "replicas")


@pytest.mark.parametrize("path", ["/here", None, ""])
def test_nodes_keep_their_own_path_of_modules_where_the_command_has_none(
    path: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    given: list[Any] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address, **options: given.append(options["runtime_env"]))
    monkeypatch.setattr(ray, "nodes", FakeRay(NODES["one of 2"]).nodes)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if path is not None:
        monkeypatch.setenv("PYTHONPATH", path)
    with find_engine("ray").connected():  # type: ignore[attr-defined]
        assert given == [{"env_vars": {"PYTHONPATH": path}} if path else None]


@pytest.mark.parametrize("amount", ["-1", "nan", "inf", "many", "", "1.5", "0.00001", "-0.5"])
def test_amounts_that_ray_cannot_count_are_refused(amount: str) -> None:
    for option in ("--num-cpus", "--num-gpus"):
        with pytest.raises(
            InputError, match=f"engine ray: argument {option}: must be a part of 1 such as 0.5, or a whole"
        ):
            find_engine("ray", [f"{option}={amount}"])
        name = option[2:].replace("-", "_")
        given: Any = float(amount) if amount not in ("", "many") else amount
        with pytest.raises(InputError, match=f"motet.ray: {name} must be a part of 1, or a whole number"):
            TaskRoom(**{name: given})
    find_engine("ray", ["--num-cpus=0.25", "--num-gpus", "2"])


def test_what_no_node_has_is_refused_before_anything_is_read(ray_cluster: Any, rows: Any, tmp_path: Path) -> None:
    data, made = rows.from_arrow(table()), graph(tmp_path)
    with pytest.raises(InputError, match="no node has what a task asks for: 1 CPU, 0.5 GPU"):
        made.on_ray(data, num_gpus=0.5)
    with pytest.raises(InputError, match="there is no room for 4 actors with 1 CPU, 0 GPU each"):
        mt.ray.actor_pool(made, (1, 4))
    for wrong in (0, -1, 1.5, "2"):
        with pytest.raises(InputError, match="concurrency must be a number"):
            made.on_ray(data, concurrency=wrong)  # type: ignore[arg-type]
    for count in (0, -1, 1.5, "2", (), (0, 2), (3, 2), (1, 2, 3), ("1", 2)):
        with pytest.raises(InputError, match="concurrency must be a number of actors, or two"):
            mt.ray.actor_pool(made, count)  # type: ignore[arg-type]
    with pytest.raises(MotetError, match="keep must be a list of names; got 'n'"):
        made.on_ray(data, keep="n")
    with pytest.raises(InputError, match="schema must be an Arrow schema; got dict"):
        made.on_ray(data, schema={"n": "int64"})
    with pytest.raises(InputError, match="on_ray: expected a data set of Ray; got Table"):
        made.on_ray(table())
