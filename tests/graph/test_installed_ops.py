"""Functions that installed packages offer under names without dots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import motet as mt


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that offers the op `double`, and one that cannot be imported."""
    (tmp_path / "offers_ops.py").write_text(
        "import motet as mt\n@mt.returns(lambda x: x)\ndef double(x):\n    return x * x.dtype.type(2)\n"
    )
    folder = tmp_path / "offers_ops-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: offers-ops\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[motet.ops]\ndouble = offers_ops:double\nbroken = offers_ops:nothing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def graph(op: str) -> mt.Graph:
    return mt.Graph("g", outputs={"y": mt.map(op, mt.input("x", "float32"))})


def test_an_op_is_found_by_its_name_and_written_by_it(package: Path) -> None:
    made = graph("double")
    assert made({"x": np.array([1, 2], np.float32)})["y"].tolist() == [2, 4]
    made.save(package / "g.yaml")
    assert "map: double" in (package / "g.yaml").read_text()
    assert mt.load(package / "g.yaml") == made


def test_an_unknown_op_names_those_that_there_are(package: Path) -> None:
    with pytest.raises(mt.GraphError, match=r"unknown op of an installed package 'duble'; did you mean 'double'\?"):
        graph("duble")


def test_an_op_that_cannot_be_loaded_says_why(package: Path) -> None:
    with pytest.raises(mt.GraphError, match="the op 'broken' of an installed package cannot be loaded: AttributeError"):
        graph("broken")
