"""Soft labels of a teacher: its scores, whatever runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import motet as mt
from helpers import labelled
from helpers.labelled import NAMES
from helpers.split_engines import Here
from motet.cli import cli
from motet.errors import InputError
from motet.planning.teach import soft_labels

X, Y = labelled.rows()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a graph file, its models, and labelled rows."""
    import joblib

    made = tmp_path_factory.mktemp("teach")
    for name, estimator in labelled.estimators().items():
        joblib.dump(estimator, made / f"{name}.joblib")
    graph = labelled.graph("ensemble")
    graph.with_models(**{name: mt.Model(str(made / f"{name}.joblib"), name=name) for name in graph.models}).save(
        made / "graph.yaml"
    )
    table = pa.table({"x": pa.FixedSizeListArray.from_arrays(X.reshape(-1), 4), "truth": NAMES[Y]})
    pq.write_table(table, made / "rows.parquet")
    return made


def _scores() -> Any:
    return np.mean([each.predict_proba(X) for each in labelled.estimators().values()], axis=0)


@pytest.mark.parametrize("engine", ["local", "splits"])
def test_soft_labels_are_the_scores_of_the_answer_on_any_engine(folder: Path, tmp_path: Path, engine: str) -> None:
    runs = "local" if engine == "local" else Here()
    graph = mt.load(folder / "graph.yaml")
    done = graph.teach(
        str(folder / "rows.parquet"), tmp_path / "soft.parquet", of="name", keep=["x", "truth"], engine=runs
    )
    found = pq.read_table(tmp_path / "soft.parquet")
    assert (done.rows, done.failed) == (400, 0)
    assert found.column_names == ["x", "truth", "name", "place", "scores", "soft"]
    np.testing.assert_allclose(np.stack(found["soft"].to_pylist()), _scores(), atol=1e-6)
    assert found["truth"].to_pylist() == NAMES[Y].tolist()


def test_the_command_evaluates_and_teaches(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "soft.parquet"
    said = [
        "evaluate",
        str(folder / "graph.yaml"),
        "--input",
        str(folder / "rows.parquet"),
        "--label",
        "truth",
        "--of",
        "name",
    ]
    done = CliRunner().invoke(cli, [*said, "--teach", str(out), "--limit", "100", "--keep", "truth"])
    assert done.exit_code == 0, done.output
    assert f"soft is ensemble_1.probabilities (ant, bee, cat) of 100 rows, in {out}" in done.output
    assert "accuracy" in done.output
    np.testing.assert_allclose(np.stack(pq.read_table(out)["soft"].to_pylist()), _scores()[:100], atol=1e-6)
    again = CliRunner().invoke(cli, [*said, "--teach", str(out)])
    assert again.exit_code == 2
    assert f"error: --teach: {out} is there already\n  hint: --overwrite replaces it" in again.output
    assert "accuracy" not in again.output  # it is said before rows are played
    lonely = CliRunner().invoke(cli, [*said, "--engine", "ray"])
    assert lonely.exit_code == 2
    assert "--engine means nothing without --teach: members are asked one by one, on this machine" in lonely.output
    stray = CliRunner().invoke(cli, [*said, "more.parquet"])
    assert stray.exit_code == 2
    assert "more.parquet means nothing without --teach" in stray.output
    unknown = CliRunner().invoke(cli, [*said, "--teach", str(out), "--overwrite", "--engine", "rai"])
    assert unknown.exit_code == 2
    assert "rai" in unknown.output
    assert "accuracy" not in unknown.output  # it is said before rows are played


def test_what_has_no_scores_teaches_nothing() -> None:
    x = mt.input("x", "float32[4]")
    total = mt.Graph("total", {"y": mt.map("helpers.functions.mean_of_rows", x)})
    with pytest.raises(InputError, match="teach: no column of scores stands before"):
        soft_labels(total.checked)
    graph = labelled.graph("ensemble")
    assert soft_labels(graph.checked, "scores") == "ensemble_1.probabilities"
    with pytest.raises(InputError, match=r"the graph has several outputs \(name, place, scores\)"):
        soft_labels(graph.checked)
    with pytest.raises(InputError, match="the graph has an output 'soft' already"):
        mt.Graph("taken", {"soft": x}).teach({"x": X[:2]})
