"""Every engine passes the suite, and every way of answering gives the same answers and failures, which are right.

Runs of engines whose workers are other processes play the same cases in test_split_engines.py.
"""

from pathlib import Path
from typing import Any

import pytest

from helpers import ways, ways_frames, ways_served
from helpers.engine_features import FEATURES, GAPS, WAYS
from helpers.split_engines import Here, Threads
from motet.testing import conformance

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning:keras.*"), pytest.mark.timeout(600)]


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("engine", ["local", Here()], ids=["local", "splits"])
def test_the_engine_conforms(check: Any, engine: Any, tmp_path: Path) -> None:
    check(engine, tmp_path)


def test_the_suite_finds_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite that cannot fail would say nothing."""

    def wrong(engine: Any, graph: Any, columns: Any, folder: Any, **options: Any) -> Any:
        bulk = right(engine, graph, columns, folder, **options)
        return conformance.Bulk({name: rows[::-1] for name, rows in bulk.answers.items()}, bulk.failures, bulk.rows)

    right = conformance.run_in_bulk
    monkeypatch.setattr(conformance, "run_in_bulk", wrong)
    for check in conformance.CHECKS[:3]:
        with pytest.raises(AssertionError):
            check("local", tmp_path)


def test_every_feature_is_tried(all_cases: ways.Tried) -> None:
    listed = {f"{kind}: {name}" for kind, names in FEATURES.items() for name in names}
    assert {feature for case in all_cases.cases for feature in case.covers} == listed
    assert {feature for _, feature in GAPS} <= listed
    assert {way for way, _ in GAPS} <= set(WAYS)


def test_runs_on_this_machine_are_right(all_cases: ways.Tried) -> None:
    all_cases.check("local", all_cases.reference)


@pytest.mark.parametrize("engine", [Here(), Threads()], ids=["here", "threads"])
def test_splits_are_played_alike(engine: Any, all_cases: ways.Tried, tmp_path: Path) -> None:
    all_cases.check("beam", ways.ran_together(engine, all_cases.of("beam"), all_cases.graphs, tmp_path))


def test_calls_are_right(all_cases: ways.Tried) -> None:
    all_cases.check("call", ways.called(all_cases.of("call"), all_cases.graphs))


def test_a_server_is_right(all_cases: ways.Tried, tmp_path: Path) -> None:
    with ways_served.serving(all_cases.of("live"), all_cases.graphs, tmp_path) as live:
        all_cases.check("live", ways_served.as_rows(all_cases.of("live"), all_cases.graphs, live))
        for way, protocol in (("live, /v2", "http"), ("live, gRPC", "grpc")):
            all_cases.check(way, ways_served.as_tensors(all_cases.of(way), all_cases.graphs, live, protocol))


def test_pipelines_of_beam_are_right(all_cases: ways.Tried) -> None:
    pytest.importorskip("apache_beam")
    for way, found in ways.in_pipelines(all_cases.of("as_ptransform"), all_cases.graphs).items():
        all_cases.check(way, found)


@pytest.mark.parametrize("runner", ["prism", "flink"])
def test_pipelines_of_other_runners_are_right(
    runner: str, all_cases: ways.Tried, request: pytest.FixtureRequest
) -> None:
    way = f"as_ptransform, {runner.capitalize()}"
    options = request.getfixturevalue(runner)
    found = ways.in_pipelines(all_cases.of(way), all_cases.graphs, options, ["as_ptransform"])
    all_cases.check(way, found["as_ptransform"])


def test_data_sets_of_ray_are_right(all_cases: ways.Tried, ray_cluster: Any) -> None:
    all_cases.check("on_ray", ways_frames.on_ray(all_cases.of("on_ray"), all_cases.graphs))


def test_data_frames_of_spark_are_right(all_cases: ways.Tried, spark_session: Any, tmp_path: Path) -> None:
    found = ways_frames.on_spark(spark_session, all_cases.of("on_spark"), all_cases.graphs, tmp_path)
    all_cases.check("on_spark", found)
