"""Engines of TensorRT: what is refused, and how rows are cut into calls. Playing them needs a GPU, and is not tried here."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import motet as mt
from motet.errors import MissingExtraError, ModelLoadError, UnknownNameError
from motet.models import find_handler
from motet.models.tensorrt import RowRange

without = pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed")
IMAGE = mt.input("image", "float32[28,28]")


def graph(path: Path, **more: Any) -> mt.Graph:
    path.write_bytes(b"no engine")
    return mt.Graph("g", outputs={"y": mt.model(mt.Model(str(path), "m", **more), IMAGE)})


def test_both_suffixes_are_engines() -> None:
    assert [find_handler(f"x{each}")[0].name for each in (".engine", ".plan", ".PLAN")] == ["tensorrt"] * 3


@without
def test_without_tensorrt_it_is_said_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'motet\[tensorrt\]'"):
        graph(tmp_path / "x.engine", device="cuda")


def test_a_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="TensorRT engines run on a GPU only, got device 'cpu'") as told:
        graph(tmp_path / "x.plan")
    assert told.value.hint == "say device: cuda, or cuda:1 for the second"


def test_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="option 'precision'"):
        graph(tmp_path / "x.engine", device="cuda", options={"precision": "f16"})


def test_a_graph_is_checked_without_a_gpu_where_all_is_declared(tmp_path: Path) -> None:
    found = graph(
        tmp_path / "x.engine", device="cuda", inputs={"image": "float32[28,28]"}, outputs={"p": "float32[10]"}
    )
    assert str(found.checked.signature.outputs["y"]) == "float32[10]"


@pytest.mark.parametrize(
    ("least", "most", "rows", "calls"),
    [
        (1, 4, 10, [(0, 4, 0), (4, 8, 0), (8, 10, 0)]),
        (4, 4, 10, [(0, 4, 0), (4, 8, 0), (8, 10, 2)]),
        (3, 8, 2, [(0, 2, 1)]),
        (1, 8, 8, [(0, 8, 0)]),
        (1, 8, 0, []),
    ],
)
def test_rows_are_cut_into_calls_that_the_engine_allows(least: int, most: int, rows: int, calls: Any) -> None:
    assert list(RowRange(least, most).cuts(rows)) == calls
