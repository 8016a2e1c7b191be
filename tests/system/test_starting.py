"""How a command starts: without what takes long; a program that calls commands has its own say in garbage."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from motet.cli import cli

FUNCTIONS = """
import gc
import numpy as np


def is_enabled(x):
    return np.full(len(x), gc.isenabled())


def frozen(x):
    return np.full(len(x), gc.get_freeze_count())
"""
GRAPH = """
motet: 1
name: state
inputs: {x: int64}
nodes:
  enabled: {map: functions_of_garbage.is_enabled, inputs: [x], outputs: bool}
  count: {map: functions_of_garbage.frozen, inputs: [x], outputs: int64}
outputs: {enabled: enabled, count: count}
"""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    Path("functions_of_garbage.py").write_text(FUNCTIONS)
    Path("graph.yaml").write_text(GRAPH)
    Path("in.csv").write_text("x\n1\n2\n")
    return ["run", "graph.yaml", "--input", "in.csv", "--output", "out.csv", "--keep", "x", "--quiet"]


def test_a_command_looks_for_garbage_but_not_in_what_it_has_imported(command: list[str]) -> None:
    subprocess.run([sys.executable, "-c", "from motet.cli import main; main()", *command], check=True)
    rows = [line.split(",") for line in Path("out.csv").read_text().splitlines()[1:]]
    assert [row[1] for row in rows] == ["true", "true"]
    assert all(int(row[2]) > 10_000 for row in rows)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_command_within_a_program_leaves_garbage_to_it(command: list[str], enabled: bool) -> None:
    gc.unfreeze()  # what is frozen here already may go meanwhile
    frozen = gc.get_freeze_count()
    (gc.enable if enabled else gc.disable)()
    try:
        done = CliRunner().invoke(cli, command, catch_exceptions=False)
        assert done.exit_code == 0
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
    assert gc.get_freeze_count() == frozen
    assert Path("out.csv").read_text().splitlines()[1:] == [f"{x},{str(enabled).lower()},{frozen}" for x in (1, 2)]


def test_a_run_imports_no_event_loop(command: list[str]) -> None:
    code = "import sys, motet; motet.load('graph.yaml').run('in.csv', 'out.csv'); print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
