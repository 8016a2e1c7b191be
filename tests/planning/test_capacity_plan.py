"""Plans of machines: the arithmetic, recomputed by hand; and profiles, as they are measured, saved and read again."""

import json
import re
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from helpers import labelled
from helpers.onnxes import classifier
from motet.cli import cli
from motet.engines.engine import find_engine
from motet.engines.stages import stages_of
from motet.errors import InputError, UnknownNameError
from motet.planning.capacity.catalogue import MachineCatalogue, MachineShape
from motet.planning.capacity.memory import MemoryWatch
from motet.planning.capacity.pools import PoolPlan, placed
from motet.planning.capacity.profile import GraphProfile, ModelProfile, NodeProfile
from motet.planning.capacity.simulation import simulated
from motet.planning.capacity.timing import Spent, undisturbed, undisturbed_beside
from motet.planning.capacity.works import StageWork
from motet.runtime.resources.need import Need

GIB = 1 << 30
SMALL = MachineShape("small", 1, 4 * GIB, price=0.05)
MEMORY = MachineShape("memory", 1, 32 * GIB, price=0.25)
ACCELERATOR = MachineShape("accelerator", 1, 8 * GIB, 1, price=0.75)
EVERYTHING = MachineShape("everything", 1, 32 * GIB, 1, price=0.95)
CLASSIC = MachineCatalogue.of([SMALL, MEMORY, ACCELERATOR, EVERYTHING])
MS = {"parse": 0.2, "features": 1.0, "network": 0.5, "format": 0.1}
NEEDS = {
    "parse": {"memory": "4GiB"},
    "features": {"memory": "32GiB"},
    "network": {"memory": "8GiB", "accelerator": 1},
    "format": {"memory": "4GiB"},
}


@mt.returns({"y": "float32[4]"})
def same(x: Any) -> Any:
    return {"y": np.asarray(x, np.float32)}


def _classic(needs: Any = NEEDS) -> mt.Graph:
    """Reading, features that need memory, a network, and what is written: each a model of its own."""
    column: Any = mt.input("x", "float32[4]")
    for name in MS:
        model = mt.Model(
            f"python:{__name__}:same", name=name, inputs={"x": "float32[4]"}, outputs={"y": "float32[4]"},
            resources=needs.get(name),
        )  # fmt: skip
        column = mt.model(model, column, name=f"{name}_node").y
    return mt.Graph("classic", outputs={"y": column})


def _profile(**changes: Any) -> GraphProfile:
    wants = {"network"}
    nodes = tuple(
        NodeProfile(f"{name}_node", "model", ms / 1000, {}, ms / 1000, ms / 1000 if name in wants else 0.0)
        for name, ms in MS.items()
    )
    models = tuple(ModelProfile(name, 100 << 20) for name in MS)
    given: dict[str, Any] = {
        "graph": "classic", "source": "rows.parquet", "rows": 1_000_000, "played": 1000, "machine": "a machine", "cores": 2,
        "nodes": nodes, "models": models, "batch_rows": 100, "accelerated": True,
    }  # fmt: skip
    return GraphProfile(**{**given, **changes})


def test_the_classic_shape_recomputed_by_hand() -> None:
    found = _classic().plan(profile=_profile(), machines=CLASSIC)
    right, one = found.right_sized, found.uniform
    assert right is not None
    assert one is not None
    assert [pool.machine.name for pool in right.pools] == ["small", "memory", "accelerator", "small"]
    # a million rows: 200 s on a small machine, 1,000 s with memory, 500 s on an accelerator, 100 s on a small one
    assert right.seconds == pytest.approx(200 + 1000 + 500 + 100)
    assert right.cost == pytest.approx((200 * 0.05 + 1000 * 0.25 + 500 * 0.75 + 100 * 0.05) / 3600)
    # with machines that have everything the same time, all of it at 0.95 an hour
    assert {pool.machine.name for pool in one.pools} == {"everything"}
    assert one.cost == pytest.approx(1800 * 0.95 / 3600)
    assert found.pays
    assert found.saving == pytest.approx(1 - 640 / 1710)
    assert right.hours()["accelerators"] == pytest.approx(500 / 3600)
    assert one.hours()["accelerators"] == pytest.approx(1800 / 3600)
    assert "a pool for each stage saves 63%: 0.178 against 0.475" in str(found)


def test_the_pool_plays_it_as_it_was_computed() -> None:
    found = _classic().plan(profile=_profile(), machines=CLASSIC, deadline=300)
    assert found.right_sized is not None
    assert found.uniform is not None
    for plan in (found.right_sized, found.uniform):
        played = simulated(plan)
        assert played.seconds == pytest.approx([pool.seconds(plan.rows) for pool in plan.pools], rel=0.01)
        assert played.processes == tuple(pool.count for pool in plan.pools)
        assert played.cost == pytest.approx(plan.cost, rel=0.01)


@given(
    st.integers(1, 8), st.integers(1, 16), st.integers(1, 6), st.sampled_from([0.0, 0.002]), st.sampled_from([0.0, 5.0]),
    st.integers(1, 4000),
)  # fmt: skip
def test_formulas_are_what_is_played_but_for_a_batch_or_two(
    cpu: int, memory: int, count: int, accelerator: float, load: float, rows: int
) -> None:
    shape = MachineShape("m", cpu, 16 * GIB, 2, price=3.0)
    need = Need(1, memory * GIB, 1 if accelerator else 0)
    work = StageWork("whole", ("a",), need, 0.001, accelerator_seconds=accelerator, load_seconds=load, batch_rows=10)
    pool = placed(work, shape)
    assert pool is not None
    plan = PoolPlan((replace(pool, count=min(count, pool.most(rows))),), False, rows)
    told, played = plan.seconds, simulated(plan)
    # whole batches: the last one of a thread, and a first one that accelerators wait for
    assert told * 0.999 <= played.seconds[0] <= told + 2 * 10 * (0.001 + accelerator * pool.threads) + 1e-9
    assert played.cost == pytest.approx(3.0 * plan.pools[0].count * played.seconds[0] / 3600)


def test_a_process_that_no_machine_has_room_for_is_not_started() -> None:
    shape = MachineShape("m", 4, 10 * GIB, price=1)
    work = StageWork("whole", ("a",), Need(1, 4 * GIB), 0.001, batch_rows=10)
    pool = placed(work, shape)
    assert pool is not None
    assert (pool.tasks, pool.threads) == (2, 2)
    # 2 processes of 2 threads: 4 batches at a time
    assert pool.rate == pytest.approx(4000)


def test_handing_rows_over_counts_and_may_cost_more_than_it_saves() -> None:
    columns = dict.fromkeys((*(f"{each}_node.y" for each in MS), "x"), 1000.0)
    # a byte costs a microsecond, so each of three handovers a millisecond a row: half of it writes, half reads
    found = _classic().plan(profile=_profile(column_bytes=columns, handover_seconds=1e-6), machines=CLASSIC)
    assert found.right_sized is not None
    works = [pool.work for pool in found.right_sized.pools]
    assert [work.read_seconds for work in works] == pytest.approx([0, 0.0005, 0.0005, 0.0005])
    assert [work.write_seconds for work in works] == pytest.approx([0.0005, 0.0005, 0.0005, 0])
    cheap = MachineCatalogue.of(
        [MachineShape("one", 4, 64 * GIB, 1, price=1.0), MachineShape("two", 4, 64 * GIB, price=0.9)]
    )
    found = _classic().plan(profile=_profile(column_bytes=columns, handover_seconds=1e-6), machines=cheap)
    assert not found.pays
    assert found.uniform is not None
    assert len(found.uniform.pools) == 1
    assert "a pool for each stage does not pay" in str(found)
    assert "handing rows from stage to stage is" in str(found)


def test_a_deadline_chooses_how_many_machines() -> None:
    profile = _profile(models=tuple(ModelProfile(name, load_seconds=10.0) for name in MS))
    found = _classic().plan(profile=profile, machines=CLASSIC, deadline="10m")
    assert found.is_met
    for plan in (found.uniform, found.right_sized):
        assert plan is not None
        assert plan.seconds <= 600
        counts = [pool.count for pool in plan.pools]
        fewer = [[count - (place == other) for other, count in enumerate(counts)] for place in range(len(counts))]
        for each in [[count - 1 for count in counts]] if plan.shared else [each for each in fewer if min(each) > 0]:
            assert plan.with_counts(each).seconds > 600  # no machine too many


def test_what_cannot_be_reached_is_said_with_what_can() -> None:
    profile = _profile(models=tuple(ModelProfile(name, load_seconds=10.0) for name in MS))
    found = _classic().plan(profile=profile, machines=CLASSIC, deadline=20)
    assert not found.is_met
    assert "cannot be reached: the least that 1,000,000 rows take is" in str(found)
    found = _classic().plan(profile=_profile(), machines=CLASSIC, budget=0.089)
    # half of what a million rows cost at least
    assert "cannot be reached: 1,000,000 rows cost 0.1778 at least; 0.089 is enough for about 500,6" in str(found)


def test_a_budget_buys_speed_and_a_rate_is_a_deadline_of_an_hour() -> None:
    profile = _profile(models=tuple(ModelProfile(name, load_seconds=10.0) for name in MS))
    graph = _classic()
    found = graph.plan(profile=profile, machines=CLASSIC, budget=0.3)
    assert found.right_sized is not None
    assert 0.25 < found.right_sized.cost <= 0.3
    assert found.right_sized.seconds < 1800
    hourly = graph.plan(profile=profile, machines=CLASSIC, rows_per_hour=5_000_000)
    timed = graph.plan(profile=profile, machines=CLASSIC, rows=5_000_000, deadline="1h")
    assert hourly.right_sized == timed.right_sized
    assert hourly.chosen.seconds <= 3600


def test_one_stage_and_machines_without_prices() -> None:
    bare = MachineCatalogue.of([MachineShape("wide", 8, 64 * GIB, 1), MachineShape("plain", 8, 64 * GIB)])
    found = _classic({}).plan(profile=_profile(accelerated=True, models=()), machines=bare)
    assert found.right_sized is None
    assert found.chosen.pools[0].machine.name == "plain"
    assert "it is one stage: there is nothing to size apart" in str(found)
    assert "machine hours" in str(found)
    assert "no machine has a price" in str(found)


def test_what_was_seen_of_memory_fills_what_the_graph_does_not_say() -> None:
    needs = {"network": {"memory": "8GiB", "accelerator": 1}}
    seen = {"parse": 1 * GIB, "features": 20 * GIB, "network": 1 * GIB, "format": 1 * GIB}
    models = tuple(
        ModelProfile(name, size, declared={"memory": 8.0 * GIB} if name == "network" else {})
        for name, size in seen.items()
    )
    profile = _profile(models=models, base_bytes=100 << 20)
    found = _classic(needs).plan(profile=profile, machines=CLASSIC)
    assert found.right_sized is not None
    assert [pool.machine.name for pool in found.right_sized.pools] == ["small", "memory", "accelerator", "small"]
    assert found.hints == {
        "parse": {"resources": {"memory": "2GiB"}},
        "features": {"resources": {"memory": "32GiB"}},
        "format": {"resources": {"memory": "2GiB"}},
    }
    assert found.applied.models["features"].resources.memory_bytes == 32 * GIB
    assert (
        "memory grew by less than half of what the graph says, in brackets, which counts: network 1 GiB (8 GiB)"
        in str(found)
    )


def test_a_rate_is_bound_by_what_there_is_least_of() -> None:
    shape = MachineShape("m", 8, 64 * GIB, 2, price=1, accelerator_speed=10)
    profile = _profile(contention=2.0, cores=2)  # one thread of a process works at a time
    alone = StageWork("whole", ("a",), Need(1, GIB), 0.001, profile=profile)
    pool = placed(alone, shape)
    assert pool is not None
    assert (pool.tasks, pool.threads, pool.bound_by) == (8, 1, "cores")
    assert pool.rate == pytest.approx(8000)
    large = StageWork("whole", ("a",), Need(1, 32 * GIB), 0.001, profile=profile)
    pool = placed(large, shape)
    assert pool is not None
    assert pool.tasks == 2
    assert pool.rate == pytest.approx(2000)  # more threads help no process
    reading = StageWork("whole", ("a",), Need(1, 64 * GIB), 0.001, read_seconds=0.002)
    pool = placed(reading, shape)
    assert pool is not None
    assert pool.bound_by == "reading"
    assert pool.rate == pytest.approx(500)
    network = StageWork("whole", ("a",), Need(1, GIB, 1), 0.0001, accelerator_seconds=0.01)
    pool = placed(network, shape)
    assert pool is not None
    assert (pool.tasks, pool.bound_by) == (2, "accelerators")
    assert pool.rate == pytest.approx(2000)
    assert placed(StageWork("whole", ("a",), Need(1, 65 * GIB), 0.001), shape) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("machines: []", "there is no machine"),
        ("machines: [{name: a, cpu: 0, memory: 1GiB}]", r"machines\[0\].cpu.*must be more than 0; got 0"),
        ("machines: [{name: a, cpu: 1, memory: 1GiB, prize: 1}]", "prize.*did you mean 'price'"),
        ("machines: [{name: a, cpu: 1, memory: much}]", "'much' is no amount of memory"),
        ("machines: [{name: a, cpu: 1, memory: 1GiB}, {name: a, cpu: 1, memory: 1GiB}]", "two machines are called 'a'"),
        (
            "machines: [{name: a, cpu: 1, memory: 1GiB, price: 1}, {name: b, cpu: 1, memory: 1GiB}]",
            "'b' has no price, and others have",
        ),
    ],
)
def test_a_catalogue_that_is_wrong_says_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "machines.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        MachineCatalogue.load(str(tmp_path / "machines.yaml"))


def test_errors_of_goals_profiles_and_room(tmp_path: Path) -> None:
    graph = _classic()
    with pytest.raises(InputError, match="rows_per_hour and budget were given"):
        graph.plan(profile=_profile(), rows_per_hour=5, budget=3)
    with pytest.raises(InputError, match="deadline must be a number above 0; got 0"):
        graph.plan(profile=_profile(), deadline=0)
    with pytest.raises(InputError, match="'soon' is no time"):
        graph.plan(profile=_profile(), deadline="soon")
    with pytest.raises(InputError, match="neither a source nor a profile is given"):
        graph.plan()
    with pytest.raises(
        InputError, match="no machine has room for features_node, which needs 1 cores, 32 GiB, 0 accelerators"
    ):
        graph.plan(profile=_profile(), machines=MachineCatalogue.of([SMALL, ACCELERATOR]))
    with pytest.raises(InputError, match="the profile is of another graph, 'classic'"):
        graph.plan(profile=_profile(nodes=_profile().nodes[:3]))
    (tmp_path / "p.json").write_text(json.dumps({"graph": 3}))
    with pytest.raises(InputError, match="is no profile: "):
        graph.plan(profile=str(tmp_path / "p.json"))
    (tmp_path / "p.json").write_text(_profile(contention=0.5).to_json())
    with pytest.raises(InputError, match="contention must be at least 1; got 0.5"):
        graph.plan(profile=str(tmp_path / "p.json"))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"handover_seconds": -1.0}, "handover_seconds must be a number from 0; got -1"),
        ({"rows": -5}, "rows must be a number from 0; got -5"),
        ({"column_bytes": {"x": -8.0}}, "column_bytes.x must be a number from 0; got -8"),
        (
            {"models": (ModelProfile("big", load_seconds=-1.0),)},
            "models.big.load_seconds must be a number from 0; got -1",
        ),
        (
            {"models": (ModelProfile("big", declared={"memory": -1.0}),)},
            "models.big.declared.memory must be a number from 0",
        ),
        ({"nodes": (NodeProfile("a", "map", 1.0, {8: -1.0}),)}, "nodes.a.by_rows.8 must be a number from 0; got -1"),
        ({"nodes": (NodeProfile("a", "map", 1.0, {0: 1.0}),)}, "nodes.a.by_rows: a batch has at least 1 row; got 0"),
        ({"nodes": (NodeProfile("a", "map", 1.0),) * 2}, "the node 'a' is there twice"),
        ({"played": 5, "failed": 6}, "6 rows failed of 5 that were played"),
        ({"nodes": (NodeProfile("a", "map", 0.0),)}, "no node takes any time"),
    ],
)
def test_numbers_of_a_profile_are_what_they_can_be(tmp_path: Path, said: dict[str, Any], message: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(_profile(**said).to_json())
    with pytest.raises(InputError, match=re.escape(message)):
        GraphProfile.load(str(path))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A graph of fitted models, its rows, and what was measured of it."""
    folder = tmp_path_factory.mktemp("measured")
    x, y = labelled.rows()
    pq.write_table(pa.table({"x": list(x), "truth": labelled.NAMES[y]}), folder / "rows.parquet")
    graph = labelled.graph("cascade")
    return graph, str(folder / "rows.parquet"), graph.plan(str(folder / "rows.parquet"), seconds=0.3)


def test_what_is_measured(measured: Any) -> None:
    graph, _, found = measured
    profile = found.profile
    assert [node.name for node in profile.nodes] == list(graph.checked.order)
    assert {model.name for model in profile.models} == set(graph.models)
    assert profile.rows == 400
    assert profile.batch_rows >= 1
    assert not profile.failed
    assert all(set(node.by_rows) <= {1, 8, 64} for node in profile.nodes)
    cascade = next(node for node in profile.nodes if node.kind == "cascade")
    assert cascade.by_rows[1] > 0
    assert cascade.best_rows in cascade.by_rows
    assert 0 < cascade.model_seconds <= 1.000001 * cascade.seconds <= 1.00001 * profile.play_seconds
    assert profile.column_bytes["x"] == 16
    assert profile.handover_seconds > 0
    assert profile.base_bytes > 10 << 20
    assert sum(each.share for each in found.shares) == pytest.approx(1)
    assert found.bottleneck.name in {each.name for each in found.shares}


def test_a_profile_goes_into_a_file_and_back(measured: Any, tmp_path: Path) -> None:
    graph, _, found = measured
    (tmp_path / "p.json").write_text(found.profile.to_json())
    again = graph.plan(profile=str(tmp_path / "p.json"))
    assert again.profile == found.profile
    assert str(again) == str(found)


def test_what_cannot_be_measured_says_so(measured: Any, tmp_path: Path) -> None:
    graph, path, _ = measured
    with pytest.raises(InputError, match="there are no rows"):
        graph.plan({"x": np.zeros((0, 4), np.float32)}, seconds=0.1)
    with pytest.raises(InputError, match="seconds must be a number above 0; got 0"):
        graph.plan(path, seconds=0)
    batches = pq.read_table(path).to_batches()
    with pytest.raises(InputError, match="must be read again to be measured, and can be read once"):
        graph.plan(pa.RecordBatchReader.from_batches(batches[0].schema, iter(batches)), seconds=0.1)


SLOW_CALLS: list[float] = []


@mt.returns({"y": "float32[4]"})
def warming_up(x: Any) -> Any:
    if SLOW_CALLS:
        time.sleep(SLOW_CALLS.pop(0))
    return {"y": np.asarray(x, np.float32)}


def test_first_calls_that_are_slow_do_not_choose_the_batches_that_are_timed() -> None:
    model = mt.Model(f"python:{__name__}:warming_up", inputs={"x": "float32[4]"}, outputs={"y": "float32[4]"})
    graph = mt.Graph("warming", outputs={"y": mt.model(model, mt.input("x", "float32[4]")).y})
    SLOW_CALLS[:] = [0.05, 0.8]  # by which a row takes more than 10 ms, so that a run would have batches of 128 rows
    found = graph.plan({"x": np.zeros((4000, 4), np.float32)}, seconds=0.2, reading={"workers": 2})
    assert not SLOW_CALLS
    assert found.profile.batch_rows == 1000
    assert found.profile.play_seconds < 0.001


def test_it_is_said_that_few_rows_were_timed() -> None:
    said = "only 700 rows were timed, in batches of 100: numbers are rough; more of --seconds make them surer"
    assert said in str(_classic().plan(profile=_profile(played=700), machines=CLASSIC))
    assert "were timed" not in str(_classic().plan(profile=_profile(played=800), machines=CLASSIC))


def test_a_paid_model_is_not_measured() -> None:
    model = mt.Model(f"python:{__name__}:same", inputs={"x": "float32[4]"}, outputs={"y": "float32[4]"}, paid=True)
    graph = mt.Graph("paid", outputs={"y": mt.model(model, mt.input("x", "float32[4]")).y})
    with pytest.raises(InputError, match="a model is paid, and no row of it is played"):
        graph.plan({"x": np.zeros((4, 4), np.float32)})


def test_the_command(measured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _classic().save(tmp_path / "g.yaml")
    (tmp_path / "p.json").write_text(_profile().to_json())
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    done = run(cli, ["plan", "g.yaml", "--profile", "p.json"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("classic: 1,000,000 rows; by 1,000 rows played of rows.parquet, on a machine\n")
    assert "machines and prices are an example" in done.output
    done = run(cli, ["plan", "g.yaml", "--profile", "p.json", "--json", "--rows", "10"])
    assert json.loads(done.output)["rows"] == 10
    done = run(cli, ["plan", "g.yaml", "--profile", "p.json", "--budget", "0.00001"])
    assert done.exit_code == 1
    assert "cannot be reached" in done.output
    assert run(cli, ["plan", "g.yaml"]).exit_code == 2
    done = run(cli, ["plan", "g.yaml", "--profile", "p.json", "--input", "x.parquet"])
    assert done.exit_code == 2
    assert "--profile is in the place of --input" in done.output


def test_the_page(measured: Any, tmp_path: Path) -> None:
    pages = [measured[2].html(), _classic().plan(profile=_profile(), machines=CLASSIC).html()]
    for each in pages:
        assert each.startswith("<!doctype html>")
        assert "<script" not in each
        assert "http" not in each
    assert "a pool for each stage saves 63%" in pages[1]
    assert "features_node" in pages[1]


FILE = """\
motet: 1
name: classic
inputs: {x: "float32[4]"}
models:
  # reads
  one: "python:planning.test_capacity_plan:same"  # by its URI alone
  two:
    uri: "python:planning.test_capacity_plan:same"
    resources: {memory: 24GiB}
nodes:
  one_node: {model: one, inputs: [x]}
  two_node: {model: two, inputs: [one_node.y]}
outputs: {y: two_node.y}
"""


def _two() -> GraphProfile:
    nodes = tuple(NodeProfile(name, "model", 0.001) for name in ("one_node", "two_node"))
    return _profile(nodes=nodes, models=(ModelProfile("one", 1 * GIB, call_rows=32), ModelProfile("two", 1 * GIB)))


def test_hints_are_written_into_the_text_of_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "g.yaml").write_text(FILE.replace("planning.test_capacity_plan", __name__))
    (tmp_path / "p.json").write_text(_two().to_json())
    (tmp_path / "m.yaml").write_text(
        "machines:\n  - {name: small, cpu: 4, memory: 8GiB, price: 1}\n  - {name: big, cpu: 8, memory: 32GiB, price: 8}\n"
    )
    monkeypatch.chdir(tmp_path)
    args = ["plan", "g.yaml", "--profile", "p.json", "--machines", "m.yaml", "--apply", "out.yaml"]
    done = CliRunner().invoke(cli, args)
    assert done.exit_code == 0, done.output
    assert "hint: one: resources: {memory: 1GiB}" in done.output
    assert "batch" not in done.output.partition("hint:")[2]  # each machine finds its own rows of calls
    text = (tmp_path / "out.yaml").read_text()
    assert "  # reads\n  # Planned by motet plan for 1,000,000 rows by a pool for each stage, " in text
    assert "resources: {memory: 1GiB}}  # by its URI alone" in text
    assert "resources: {memory: 24GiB, cpu: 8}" in text  # one process for a machine's memory has all of its cores
    again = mt.load(tmp_path / "out.yaml")
    assert again.models["one"].resources.memory_bytes == GIB
    assert again.models["one"].batch.rows is None
    assert again.models["two"].resources.cpu == 8
    assert [str(stage).partition(":")[0] for stage in stages_of(again.checked)] == ["one_node", "two_node"]
    assert "'out.yaml' is there" in CliRunner().invoke(cli, args).output
    done = CliRunner().invoke(cli, [*args[:1], "out.yaml", *args[2:], "--overwrite"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out.yaml").read_text() == text  # nothing is left to say


@pytest.mark.parametrize(("engine", "module"), [("beam", "apache_beam"), ("ray", "ray"), ("spark", "pyspark")])
def test_engines_take_what_is_to_be_submitted(engine: str, module: str) -> None:
    pytest.importorskip(module)
    graph = _classic()
    for catalogue in (CLASSIC, MachineCatalogue.of([MachineShape("all", 4, 64 * GIB, 1, price=1)])):
        found = graph.plan(profile=_profile(), machines=catalogue, deadline=600)
        command = found.submitted(engine, "g.yaml", ["in.parquet"])[-1]
        words = shlex.split(command)
        assert words[: words.index("--")] == [
            "motet", "run", "g.yaml", "--input", "in.parquet", "--output", "OUTPUT/", "--engine", engine,
        ]  # fmt: skip
        find_engine(engine, words[words.index("--") + 1 :])
        assert ("--one-stage" in words) == (len(found.chosen.pools) == 1)


def test_what_is_submitted_says_how_many() -> None:
    found = _classic().plan(profile=_profile(), machines=CLASSIC, deadline=100)
    counts = {pool.machine.name: pool.count for pool in found.chosen.pools[1:3]}
    lines = found.submitted("ray", "g.yaml")
    assert f"# on each of {counts['accelerator']:,} machines 'accelerator'" in lines
    assert f"ray start --address=HEAD:6379 --num-cpus=1 --memory={8 * GIB} --num-gpus=1" in lines
    slowest = found.chosen.slowest
    assert slowest.machine.name == "memory"
    assert found.submitted("kubernetes", "g.yaml")[1].endswith(f"--replicas 1:{slowest.count}")
    with pytest.raises(UnknownNameError, match="sparkle.*did you mean 'spark'"):
        found.submitted("sparkle", "g.yaml")


def test_what_a_stretch_of_time_took() -> None:
    # of two seconds half a second was computed, half queued, and one waited: for 0.6 s of others, half of them queued, and 0.4 s else
    alone = Spent(100, wall=2.0, own=0.5, own_queued=0.5, others=0.3, others_queued=0.3)
    assert (alone.computed, alone.busy, alone.idle) == pytest.approx((0.008, 0.008, 0.004))
    assert alone.disturbed == pytest.approx(2)
    assert undisturbed(alone) == pytest.approx(0.012)
    # beside others 1.4 s more of waiting for a lock, which a holder that is disturbed twice as long had twice as long
    beside = Spent(100, wall=3.4, own=0.5, own_queued=0.5, others=0.3, others_queued=0.3)
    assert undisturbed_beside(beside, alone) == pytest.approx(0.008 + 0.004 + 0.014 / 2)
    helped = Spent(100, wall=1.0, own=0.1, own_queued=0.0, others=1.5, others_queued=0.0)
    assert undisturbed(helped) == pytest.approx(0.016)  # what others compute needs cores, too


def test_numbers_of_a_profile() -> None:
    node = NodeProfile("a", "map", 8e-6, {1: 1e-4, 8: 2e-5, 64: 1.04e-5, 512: 1e-5})
    assert node.best_rows == 64
    profile = _profile(nodes=(node,), convert_seconds=2e-6, read_seconds=1e-6, write_seconds=1e-6)
    assert profile.rows_per_second() == pytest.approx(2 / 12e-6)
    assert replace(profile, write_seconds=1e-5).rows_per_second() == pytest.approx(2 / 21e-6)
    assert replace(profile, cores=8, write_seconds=1e-5).rows_per_second() == pytest.approx(1e5)
    locked = replace(profile, contention=2.0)
    assert [locked.slowed(threads) for threads in (1, 2, 4)] == [1, 2, 4]
    assert locked.rows_per_second() == pytest.approx(2 / 22e-6)


def test_memory_is_what_the_process_grew_by() -> None:
    watch = MemoryWatch()
    held = np.ones(64 << 17)  # 64 MiB
    assert watch.grown() > 60 << 20
    assert held[0] == 1


def test_models_that_come_and_go_are_looked_at(tmp_path: Path) -> None:
    models = {name: mt.Model(str(classifier(tmp_path / f"{name}.onnx")), name=name) for name in "abc"}
    x, key = mt.input("x", "float32[4]"), mt.input("key", "string")
    graph = mt.Graph("keyed", outputs={"p": mt.route(models, x, key=key, max_loaded=1).probabilities})
    rows = {"x": np.ones((60, 4), np.float32), "key": np.array(list("abc") * 20, dtype=object)}
    found = graph.plan(rows, seconds=0.2)
    assert {each.name: each.load_seconds > 0 for each in found.profile.models} == {"a": True, "b": True, "c": True}
    assert found.profile.nodes[0].model_seconds > 0
