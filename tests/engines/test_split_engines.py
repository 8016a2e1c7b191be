"""Engines whose workers are other processes pass the suite, with workers that are killed."""

from __future__ import annotations

import importlib
import re
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import motet as mt
from helpers import onnxes, ways
from motet.cli import cli
from motet.engines import shipping
from motet.engines.engine import find_engine
from motet.engines.spark.resources import profile_of
from motet.engines.splits.engine import SplitEngine
from motet.errors import InputError, MotetError, UnknownNameError
from motet.runtime.resources.need import Need
from motet.testing import engines

CLUSTERS = {"ray": "ray_cluster", "spark": "spark_session"}
"""Fixtures in which engines find their cluster."""
EXTENDING = Path(__file__).parents[2] / "docs" / "extending.md"


def documented_engine() -> Any:
    """The engine of the page, in a module of its own."""
    text = re.search(r"```python\n# file: pools.py\n(.*?)```", EXTENDING.read_text(encoding="utf-8"), re.DOTALL)
    assert text is not None
    module = types.ModuleType("pools")
    exec(text[1], module.__dict__)
    return module.PoolEngine


@pytest.fixture(params=["pool", "ray", "spark", "beam", "prism"])
def engine(request: pytest.FixtureRequest) -> Any:
    if request.param == "pool":
        return documented_engine()()
    if request.param == "beam":
        pytest.importorskip("apache_beam")
        return find_engine("beam")
    if request.param == "prism":
        return find_engine("beam", request.getfixturevalue("prism"))
    request.getfixturevalue(CLUSTERS[request.param])
    return find_engine(request.param)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("check", engines.CHECKS, ids=lambda check: check.__name__)
def test_the_engine_passes_the_suite(check: Any, engine: Any, tmp_path: Path) -> None:
    if engine.name == "beam" and "killed" in check.__name__:
        pytest.skip("these runners of Beam play nothing again: test_beam_runners.py")
    check(engine, tmp_path)


class Elsewhere(SplitEngine):
    """An engine whose workers do not find a folder of this machine."""

    def __init__(self, engine: SplitEngine, folder: Path) -> None:
        self._engine, self.name, self._folder = engine, engine.name, folder

    def connected(self, needs: Sequence[Need] = ()) -> AbstractContextManager[None]:
        return self._engine.connected(needs)

    def map(self, function: Any, items: Any) -> Iterator[Any]:
        hidden = self._folder.rename(self._folder.with_suffix(".hidden"))
        try:
            yield from self._engine.map(function, items)
        finally:
            hidden.rename(self._folder)


@pytest.mark.timeout(600)
def test_local_models_go_along_to_workers_that_lack_them_when_they_are_shipped(engine: Any, tmp_path: Path) -> None:
    onnxes.classifier(tmp_path / "models" / "a.onnx")
    rows = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
    table = pa.table({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(rows), "n": range(90)})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=30)
    model = mt.Model(str(tmp_path / "models" / "a.onnx"))
    graph = mt.Graph("g", {"p": mt.model(model, mt.input("x", "float32[4]"))})
    wanted = graph.run(table)
    elsewhere = Elsewhere(engine, tmp_path / "models")
    elsewhere.split_bytes = 1
    with pytest.raises(MotetError, match="there is no such model file\n  hint: put the models .*: --ship"):
        graph.run(tmp_path / "in.parquet", tmp_path / "out.parquet", engine=elsewhere)
    report = graph.run(tmp_path / "in.parquet", tmp_path / "out.parquet", engine=elsewhere, ship=True, resume=True)
    assert (report.rows, report.failed) == (90, 0)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found["n"].to_pylist() == list(range(90))
    np.testing.assert_allclose(found["p"].to_pylist(), wanted["p"].to_pylist(), rtol=1e-6)


def test_what_is_shipped_is_bounded_and_only_to_other_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnxes.classifier(tmp_path / "a.onnx")
    graph = mt.Graph("g", {"p": mt.model(mt.Model(str(tmp_path / "a.onnx")), mt.input("x", "float32[4]"))})
    graph.save(tmp_path / "g.yaml")
    schema = pa.schema({"x": pa.list_(pa.float32(), 4)})
    pq.write_table(pa.table({"x": [[0.0, 1.0, 2.0, 3.0]]}, schema=schema), tmp_path / "in.parquet")
    command = ["run", "g.yaml", "--input", "in.parquet", "--output", "out.csv", "--ship"]
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(cli, command)
    assert (refused.exit_code, "engine local: ship is for engines with workers" in refused.output) == (2, True)
    monkeypatch.setattr(shipping, "SHIPPED_BYTES", 10)
    for more in ([], ["--dry-run"]):
        large = CliRunner().invoke(cli, [*command, "--engine", "beam", *more])
        assert (large.exit_code, "can be shipped" in large.output) == (2, True)


@pytest.mark.timeout(1200)  # every worker of a cluster imports every framework
@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras.*")
@pytest.mark.parametrize("engine", ["ray", "spark", "beam"], indirect=True)
def test_the_engine_is_right_in_all_cases(engine: Any, all_cases: ways.Tried, tmp_path: Path) -> None:
    way = engine.name
    all_cases.check(way, ways.ran_together(engine, all_cases.of(way), all_cases.graphs, tmp_path))


def test_the_command_hands_on_an_engines_own_options(tmp_path: Path) -> None:
    pytest.importorskip("apache_beam")
    pq.write_table(pa.table({"a": [[0.0, 1.0]] * 90}), tmp_path / "in.parquet", row_group_size=30)
    (tmp_path / "g.yaml").write_text(
        "{motet: 1, name: g, inputs: {a: 'float64[2]'},"
        " nodes: {top: {map: motet.ops.scores.top1, inputs: [a]}}, outputs: {y: top.index}}"
    )
    command = ["run", f"{tmp_path}/g.yaml", "--input", f"{tmp_path}/in.parquet", "--output", f"{tmp_path}/parts/"]
    done = CliRunner().invoke(
        cli, [*command, "--engine", "beam", "--", "--split-bytes", "1", "--runner", "DirectRunner"]
    )
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "parts").glob("part-*.parquet"))) == 3
    assert pq.read_table(tmp_path / "parts")["y"].to_pylist() == [1] * 90
    refused = CliRunner().invoke(cli, [*command, "--overwrite", "--", "--split-bytes", "1"])
    assert (refused.exit_code, "engine local: takes no options of its own here" in refused.output) == (2, True)


def test_engines_are_found_by_name_and_know_their_options() -> None:
    with pytest.raises(UnknownNameError, match="unknown engine 'sparc'.*spark"):
        find_engine("sparc")
    with pytest.raises(InputError, match="engine local: takes no options of its own here; got --fast"):
        find_engine("local", ["--fast"])
    with pytest.raises(InputError, match="engine: is no engine: None"):
        find_engine(None)
    made = documented_engine()
    assert made(["--processes", "3", "--split-bytes", "2KiB"]).split_bytes == 2048
    with pytest.raises(InputError, match="engine pool: unrecognized arguments: --fast\n  hint: known: .*--processes"):
        made(["--fast"])
    for wrong in ("many", "0", "-1", "0MiB"):
        with pytest.raises(InputError, match="argument --split-bytes: invalid"):
            made([f"--split-bytes={wrong}"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--split_bytes", "1"], "unknown option --split_bytes\n  hint: did you mean --split-bytes"),
        (["--split-byte=1"], "unknown option --split-byte\n  hint: did you mean --split-bytes"),
        (["--splitbytes", "1"], "unknown option --splitbytes\n  hint: did you mean --split-bytes"),
        (["--direct-num-workers", "2"], "did you mean --direct_num_workers"),
        (
            ["--runner", "Flink", "--flink_mater", "h"],
            "unknown option --flink_mater\n  hint: did you mean --flink_master",
        ),
        (["--nothing-like-it", "3"], "unknown option --nothing-like-it\n  hint: --split-bytes is ours"),
        (["--runner=PrismRunner", "-q"], "unknown option -q"),
        (["word"], "unknown option word"),
        (["--num_workers", "many"], "argument --num_workers: invalid int value: 'many'"),
    ],
)
def test_options_that_beam_would_pass_over_are_refused(arguments: list[str], said: str) -> None:
    pytest.importorskip("apache_beam")
    with pytest.raises(InputError, match=re.escape(said)):
        find_engine("beam", arguments)


def test_options_of_services_that_beam_asks_are_handed_on() -> None:
    pytest.importorskip("apache_beam")
    find_engine("beam", ["--runner", "FlinkRunner", "--parallelism", "2", "--streaming", "--objectReuse"])
    options = importlib.import_module("apache_beam.options.pipeline_options")

    class Own(options.PipelineOptions):  # type: ignore[name-defined]
        @classmethod
        def _add_argparse_args(cls, parser: Any) -> None:
            parser.add_argument("--of-the-program")

    find_engine("beam", ["--of-the-program", "1"])
    del Own


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("beam", ["--runner", "Nonsense"], "engine beam: Unexpected pipeline runner: Nonsense"),
        ("beam", ["--environment_type", "PROCESS"], "engine beam: .*process_command is required"),
        ("ray", ["--num-gpus", "1"], "engine ray: no node has what a task asks for: 1 CPU, 1 GPU"),
        ("ray", ["--address", "auto"], "--address auto is not used: the program is connected to a cluster already"),
        ("spark", ["--master", "local[2]"], "--master and --conf are not used: the program has a session already"),
        ("spark", ["--conf", "spark.a=b"], "--master and --conf are not used: the program has a session already"),
    ],
)
def test_what_an_engine_cannot_do_is_refused_before_anything_is_written(
    name: str, arguments: list[str], said: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if name == "beam":
        pytest.importorskip("apache_beam")
    else:
        request.getfixturevalue(CLUSTERS[name])
    pq.write_table(pa.table({"n": [1, 2]}), tmp_path / "in.parquet")
    graph = mt.Graph("g", {"y": mt.input("n", "int64")})
    output = tmp_path / "out.parquet"
    for dry in (False, True):
        with pytest.raises(InputError, match=said) as refused:
            graph.run(tmp_path / "in.parquet", output, engine=name, engine_options=arguments, dry_run=dry)
        assert type(refused.value) is InputError
        assert [each.name for each in tmp_path.iterdir()] == ["in.parquet"]


@pytest.mark.parametrize("name", ["ray", "spark"])
def test_what_models_ask_for_reaches_the_scheduler(name: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(CLUSTERS[name])
    engine: Any = find_engine(name)

    class Given:  # not of a module that workers would have to find
        def __init__(self, need: Need) -> None:
            self.need = need

        def __call__(self, item: int) -> Any:
            return __import__("ray").get_runtime_context().get_assigned_resources()

    if name == "ray":
        assert list(engine.map(Given(Need(2.0, 1e6)), [1])) == [{"CPU": 2.0, "memory": 1e6}]
        with (
            pytest.raises(InputError, match="no node has what a task asks for: 1 CPU, 3 GPU\n"),
            engine.connected([Need(1.0), Need(1.0, 0, 2.5)]),
        ):
            pass
    else:
        settings = {"spark.master": "spark://h:7077", "spark.executor.resource.gpu.amount": "1"}
        profile = profile_of(settings.get, Need(2.0, 1e9, 0.7))
        asked = {resource: each.amount for resource, each in profile.taskResources.items()}
        assert (asked, profile.executorResources) == ({"cpus": 2.0, "gpu": 1.0}, {})
        assert profile_of(settings.get, Need(1.0)) is None


def test_engines_of_packages_are_found_by_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "pools-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pools\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[motet.engines]\npool = pools_of_tests:Engine\n")
    monkeypatch.setitem(sys.modules, "pools_of_tests", types.SimpleNamespace(Engine=documented_engine()))
    monkeypatch.syspath_prepend(tmp_path)
    found: Any = find_engine("pool", ["--processes", "5"])
    assert found.processes == 5
