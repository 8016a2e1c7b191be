"""The example of a whole topology: one file, three models, one of them behind another server."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motet as mt
from helpers.tfserving_server import EXAMPLES, TfServing
from motet.errors import ModelUnavailableError
from motet.serving.config.server import ServeConfig
from motet.serving.config.sinks import read_sinks

SWARM = EXAMPLES / "swarm"


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Any]:
    """The example's graph, and the server of its remote model."""
    far = TfServing(EXAMPLES / "fashion" / "models" / "mlp.onnx", "mlp")
    text = (SWARM / "swarm.yaml").read_text().replace("127.0.0.1:8501", f"127.0.0.1:{far.port}")
    (tmp_path / "swarm.yaml").write_text(text.replace("../fashion", str(EXAMPLES / "fashion")))
    yield mt.load(tmp_path / "swarm.yaml"), far
    far.close()


def test_a_model_on_another_machine_changes_no_bit_of_the_answer(swarm: Any) -> None:
    graph, _ = swarm
    images = np.random.default_rng(0).integers(0, 256, (100, 28, 28), np.uint8)
    far, here = graph({"image": images}), mt.load(EXAMPLES / "fashion" / "fashion.yaml")({"image": images})
    for name, column in here.items():
        np.testing.assert_array_equal(far[name], column)


def test_the_graph_is_there_without_the_other_machine_and_says_that_it_is_down(tmp_path: Path) -> None:
    text = (SWARM / "swarm.yaml").read_text().replace("127.0.0.1:8501", "127.0.0.1:1")
    (tmp_path / "swarm.yaml").write_text(text.replace("../fashion", str(EXAMPLES / "fashion")))
    with pytest.raises(ModelUnavailableError, match="the server cannot be reached"):
        mt.load(tmp_path / "swarm.yaml")({"image": np.zeros((1, 28, 28), np.uint8)})


def test_how_it_is_served_is_in_the_same_file(swarm: Any) -> None:
    graph, _ = swarm
    config = ServeConfig.read(graph.serving, "swarm.yaml: serve", "")
    (sink,) = read_sinks(config.sinks, "sinks")
    assert (config.port, sink.to, sink.table, sink.record) == (8000, "sqlite:///predictions.db", "predictions", "stack")


def test_the_picture_is_that_of_the_graph() -> None:
    drawn = subprocess.run(
        [sys.executable, "-m", "motet.cli", "draw", str(SWARM / "swarm.yaml"), "--format", "svg"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert (SWARM / "swarm.svg").read_text().strip() == drawn.strip()


def test_the_command_of_the_readme_starts_all_of_it_and_shows_what_was_kept() -> None:
    done = subprocess.run(
        [sys.executable, str(SWARM / "run.py"), "--rows", "60"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"60 rows answered in .* s, [89]\d\.\d% right", done.stdout)
    assert "kept: 61 of cnn, 61 of linear, 61 of mlp" in done.stdout
