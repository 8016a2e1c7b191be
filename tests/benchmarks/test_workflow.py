"""The benchmark of workflows runs, and compares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.workflow import main


def test_a_short_round_gives_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures.json"
    main(["--jobs", "chain,first", "--peers", "motet,joblib", "--rounds", "1", "--steps", "4", "--json", str(path)])
    printed = capsys.readouterr().out
    assert "a chain of 4 trivial steps" in printed
    assert "from what was kept" in printed
    found = json.loads(path.read_text())
    assert {peer: len(rounds) for peer, rounds in found["chain"].items()} == {"motet": 1, "joblib": 1}
    assert found["first"]["first"][0]["asynchronous_s"] < found["first"]["first"][0]["synchronous_s"]
