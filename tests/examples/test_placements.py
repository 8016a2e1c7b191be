"""The example of places for models: the one command that measures them, at a small size."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.example_modules import importable

FOLDER = Path(__file__).parents[2] / "examples" / "placements"
for module in ("PIL", "apache_beam", "grpc", "httpx", "onnxruntime"):
    pytest.importorskip(module)


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """The example's module."""
    with importable([FOLDER], ("run", "data")):
        yield importlib.import_module("run")


@pytest.mark.timeout(300)
def test_it_measures_every_place_and_shows_the_stages(example: Any) -> None:
    try:
        example.data.load("test")
    except example.data.DatasetError as error:
        pytest.skip(str(error))
    command = [sys.executable, str(FOLDER / "run.py"), "--seconds", "0.06", "--rows", "64"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    places = re.findall(r"^(linear|cnn|rules) +(worker|process|http|grpc) +[\d,]+ +[\d.]+ +[\d.]+$", done.stdout, re.M)
    assert places == [(name, place) for name in example.MODELS for place in example.PLACES]
    assert "1  small, pixels, look, first: 1 core, 128 MiB" in done.stdout
    assert "2  scores, top: 1 core, 1,024 MiB, 1 accelerator; beam is told: " in done.stdout
    assert len(re.findall("^beam, .* the same answers$", done.stdout, re.M)) == 2


def test_a_place_is_judged_by_the_rounds_that_agree(example: Any) -> None:
    here, half = example.Speed(rows_per_s=[1000.0, 1100.0, 900.0]), example.Speed(rows_per_s=[500.0, 550.0, 450.0])
    assert example._against(here, half, remote=False) == "2.00 times as slow"
    assert "no server can win" in example._against(here, half, remote=True)
    near = example.Speed(rows_per_s=[800.0, 880.0, 720.0])  # 1000 us of compute and 250 us of way: 1 / (1 - 0.25)
    assert example._against(here, near, remote=True).endswith("computes 1.3 times as fast, or more")
    mixed = example.Speed(rows_per_s=[1001.0, 1000.0, 950.0])
    assert "agree" in example._against(here, mixed, remote=True)
    assert example._against(half, here, remote=True).startswith("2.00 times as fast")
