"""What a graph asks for that an engine does not do is said, and nothing else."""

from pathlib import Path
from typing import Any

from click.testing import CliRunner

import motet as mt
from motet.cli import cli
from motet.engines.engine import ENGINES
from motet.engines.support import FEATURES, lacking

MODEL = Path(__file__).parents[2] / "examples" / "fashion" / "models" / "linear.onnx"


def graph(**options: Any) -> mt.Graph:
    image = mt.input("image", "float32[28,28]")
    model = mt.Model(str(MODEL), **options)
    return mt.Graph("g", outputs={"p": mt.model(model, image).probabilities})


def test_a_plain_graph_asks_for_nothing_that_is_not_done() -> None:
    assert lacking(graph(replicas=2, batch=mt.Batching(max_rows=4)), "local") == []


def test_what_is_not_done_is_said_with_the_place_and_the_reason() -> None:
    asked = graph(batch=mt.Batching(max_wait_ms=5), resources=mt.Resources(memory_bytes=1 << 20))
    assert lacking(asked, "local") == [
        "model linear asks for batch.max_wait_ms (how long rows may wait to fill a call); "
        "the engine local does that never: in bulk there are always more rows, so none waits",
        "model linear asks for resources.memory (memory that a replica needs); "
        "the engine local does that not yet: it has one process, and does not count them",
    ]


def test_graphs_inside_are_looked_at() -> None:
    inner = graph(resources=mt.Resources(accelerator=1))
    outer = mt.Graph("o", outputs={"p": mt.model(inner, mt.input("image", "float32[28,28]")).p})
    assert [text.split(" asks")[0] for text in lacking(outer, "local")] == ["model g/linear"]


def test_check_says_it(tmp_path: Path) -> None:
    graph(resources=mt.Resources(memory_bytes=1 << 20)).save(tmp_path / "g.yaml")
    result = CliRunner().invoke(cli, ["check", str(tmp_path / "g.yaml")])
    assert result.exit_code == 0
    assert "note: model linear asks for resources.memory" in result.output


def test_only_engines_that_there_are_lack_something() -> None:
    assert {engine for feature in FEATURES for engine in feature.lacks} <= set(ENGINES)
