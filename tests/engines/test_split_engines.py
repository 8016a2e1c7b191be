"""Engines whose workers are other processes pass the suite, with workers that are killed."""

from __future__ import annotations

import gc
import importlib
import re
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import motet as mt
from motet.cli import cli
from motet.engines.engine import find_engine
from motet.engines.spark import engine as sparks
from motet.engines.splits.engine import kept_signals
from motet.errors import InputError, UnknownNameError
from motet.runtime.resources.need import Need
from motet.testing import engines

CLUSTERS = {"ray": "ray_of_this_machine", "spark": "spark_session"}
"""Fixtures in which engines find their cluster."""
EXTENDING = Path(__file__).parents[2] / "docs" / "extending.md"


def documented_engine() -> Any:
    """The engine of the page, in a module of its own."""
    text = re.search(r"```python\n# file: pools.py\n(.*?)```", EXTENDING.read_text(encoding="utf-8"), re.DOTALL)
    assert text is not None
    module = types.ModuleType("pools")
    exec(text[1], module.__dict__)
    return module.PoolEngine


@pytest.fixture(scope="module")
def ray_of_this_machine() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    with warnings.catch_warnings(action="ignore"), kept_signals():
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    with warnings.catch_warnings(action="ignore"):  # of processes that it does not wait for
        ray.shutdown()
        gc.collect()


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
    else:  # its executors have one core each, and so no room for a task of two
        profile = sparks._profile(engine._context(), Need(2.0, 1e9, 0.7))
        asked = {resource: each.amount for resource, each in profile.taskResources.items()}
        assert (asked, profile.executorResources) == ({"cpus": 2.0, "gpu": 1.0}, {})
        assert sparks._profile(engine._context(), Need(1.0)) is None


def test_engines_of_packages_are_found_by_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "pools-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pools\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[motet.engines]\npool = pools_of_tests:Engine\n")
    monkeypatch.setitem(sys.modules, "pools_of_tests", types.SimpleNamespace(Engine=documented_engine()))
    monkeypatch.syspath_prepend(tmp_path)
    found: Any = find_engine("pool", ["--processes", "5"])
    assert found.processes == 5
