"""The example of right-sized pools: its plan recomputed by hand, and played at a small size."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import motet as mt
from helpers.example_modules import importable
from motet.planning.capacity.profile import GraphProfile, NodeProfile
from motet.planning.capacity.simulation import simulated

FOLDER = Path(__file__).parents[2] / "examples" / "rightsize"
MODULES = ("run", "played", "waits")


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """The example's module."""
    with importable([FOLDER], MODULES):
        yield importlib.import_module("run")


def _profile(graph: mt.Graph) -> GraphProfile:
    """What the file says that rows take."""
    nodes = []
    for name, node in graph.nodes.items():
        model = graph.models[node.members[0].uses]
        seconds = model.options["ms"] / 1000
        wants = seconds if model.resources.accelerator else 0.0
        nodes.append(NodeProfile(name, "model", seconds, model_seconds=seconds, accelerator_seconds=wants))
    return GraphProfile(
        graph=graph.name, source="rows", rows=1_000_000, played=1, machine="none", cores=2, nodes=tuple(nodes), batch_rows=100
    )  # fmt: skip


def test_its_saving_is_what_a_hand_computes_and_the_pool_plays(example: Any) -> None:
    graph = mt.load(FOLDER / "rightsize.yaml")
    plan = graph.plan(profile=_profile(graph), machines=str(FOLDER / "machines.yaml"))
    one, right = plan.uniform, plan.right_sized
    assert one is not None
    assert right is not None
    # seconds of one machine for a million rows, times what an hour of it costs
    assert right.cost == pytest.approx((200 * 0.05 + 1000 * 0.25 + 500 * 0.75 + 100 * 0.05) / 3600)
    assert one.cost == pytest.approx((200 + 1000 + 500 + 100) * 0.95 / 3600)
    assert plan.saving == pytest.approx(0.6257, abs=1e-4)
    assert 1 - simulated(right).cost / simulated(one).cost == pytest.approx(plan.saving, abs=1e-3)


def test_it_runs(example: Any, capsys: pytest.CaptureFixture[str]) -> None:
    example.main(["--rows", "200", "--deadline", "0.3", "--seconds", "0.4"])
    said = capsys.readouterr().out
    assert re.search(r"a pool for each stage saves \d+%", said)
    assert re.search(r"^one pool for all +\d+ everything( +[\d.,]+){3}$", said, re.M)
    assert re.search(
        r"^a pool for each stage +\d+ small, \d+ memory, \d+ accelerator, \d+ small( +[\d.,]+){3}$", said, re.M
    )
    assert re.search(r"^saved( +[\d.]+%){3}$", said, re.M)
