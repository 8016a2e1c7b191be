"""The simulated day runs, and compares."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.spikes import main
from benchmarks.spikes_parts.day import MODELS, Asked, asked
from benchmarks.spikes_parts.played import play
from benchmarks.spikes_parts.policies import Fixed, foreseen, mean_count, peak_count


def test_a_short_day_gives_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures.json"
    main(["--hours", "0.05", "--output", str(path)], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "1 days of 0.05 hours" in printed
    found = json.loads(path.read_text())
    assert list(found) == ["motet", "motet, min 1", "static, 1 each", "static, mean", "static, peak", "foresight"]
    (motet,), (perfect,) = found["motet"], found["foresight"]
    assert motet["requests"] == perfect["requests"] > 100
    assert motet["refused"] == 0
    assert motet["bulk_core_h"] > 0


def test_every_request_is_counted_once() -> None:
    day = {kind: asked(kind, 0.05, np.random.default_rng(1)) for kind in MODELS}
    figures, fleets = play(day, Fixed({kind.name: 3 for kind in MODELS}), cores=16, hours=0.05)
    assert figures.requests == sum(len(each.at_s) for each in day.values())
    assert figures.live_core_h == pytest.approx(12 * 0.05)
    for fleet in fleets:
        assert fleet.busy_s <= day[fleet.kind].takes_s.sum() + 1e-6


def test_who_knows_the_future_starts_in_time() -> None:
    spike = Asked(np.linspace(60, 70, 100), np.full(100, 0.7))
    plan = foreseen(spike, 0.05, load_s=20.0)
    assert plan[30] == 0
    assert plan[40] >= 5
    assert plan[65] == 10
    assert plan[75] == 0
    assert (mean_count(spike, 0.05), peak_count(spike, 0.05)) == (1, 2)
