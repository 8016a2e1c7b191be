"""Where relative paths of a graph begin."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import motet as mt

MODELS = Path(__file__).parents[2] / "examples" / "fashion" / "models"


def graph() -> mt.Graph:
    image = mt.input("image", "float32[28,28]")
    return mt.Graph("g", outputs={"p": mt.model(mt.Model("models/m.onnx"), image).probabilities})


def test_relative_models_are_those_of_the_folder_the_graph_was_made_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, name in (("here", "linear"), ("there", "mlp")):
        (tmp_path / place / "models").mkdir(parents=True)
        shutil.copy(MODELS / f"{name}.onnx", tmp_path / place / "models" / "m.onnx")
    image = {"image": np.random.default_rng(0).random((3, 28, 28), dtype=np.float32)}
    monkeypatch.chdir(tmp_path / "here")
    here = graph()
    monkeypatch.chdir(tmp_path / "there")
    there = graph()
    assert not np.array_equal(here(image)["p"], there(image)["p"])
    monkeypatch.chdir(tmp_path / "here")
    assert np.array_equal(graph()(image)["p"], here(image)["p"])
