"""What is done to the inputs in training is what is done to them when the model is served."""

import importlib
import linecache
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import motet as mt
from motet.errors import ModelLoadError

PREPARED = """
import numpy as np

def prepare(image):
    "{text}"
    return {body}  # {text}
"""
HALVED, WHOLE = (
    "(image.reshape(len(image), -1) / 255).astype(np.float32)",
    "image.reshape(len(image), -1).astype(np.float32)",
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MOTET_STORE", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(str(tmp_path))
    return mt.Store()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes the module of whoever trains, and imports it anew."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def written(body: Any, text: str = "Prepare pictures.") -> Any:
        (tmp_path / "trained_with.py").write_text(PREPARED.format(body=body, text=text))
        monkeypatch.delitem(sys.modules, "trained_with", raising=False)
        importlib.invalidate_caches()
        linecache.clearcache()
        return importlib.import_module("trained_with").prepare

    return written


def fit(prepare: Any, images: Any, targets: Any, path: Any) -> Any:
    """Least squares on prepared pictures; the model file holds the solution alone."""
    prepared = prepare(images)
    solution = np.linalg.lstsq(prepared, targets, rcond=None)[0].astype(np.float32)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", prepared.shape[1]])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 1])
    weights = numpy_helper.from_array(solution[:, None], "weights")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "weights"], ["y"])], "line", [x], [y], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return prepared @ solution


def served() -> mt.Graph:
    image = mt.input("image", "uint8[2,2]")
    return mt.Graph("g", outputs={"y": mt.model(mt.Model("store:line"), image)})


def test_a_model_is_served_with_what_it_was_trained_with_or_not_at_all(home: Any, write: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    images, targets = rng.integers(0, 256, (20, 2, 2), np.uint8), rng.normal(size=20).astype(np.float32)
    expected = fit(write(HALVED), images, targets, tmp_path / "line.onnx")
    version = home.publish("line", tmp_path / "line.onnx", before="trained_with.prepare")
    assert list(version.code) == ["trained_with.prepare"]

    answers = served()({"image": images})["y"]
    np.testing.assert_allclose(answers.ravel(), expected, rtol=1e-5, atol=1e-6)

    write(HALVED, text="The same, told in other words.")
    np.testing.assert_array_equal(served()({"image": images})["y"], answers)

    write(WHOLE)
    with pytest.raises(
        ModelLoadError, match=r"trained_with.prepare is not what it was when line@1 was published.*\n.*again"
    ):
        served()
    assert home.publish("line", tmp_path / "line.onnx", before="trained_with.prepare").number == 2
    assert not np.allclose(served()({"image": images})["y"], answers)


def test_preprocessing_in_the_model_file_is_a_part_of_the_version(home: Any, tmp_path: Path) -> None:
    """The first layers of the file do it: the graph hands over pictures as they are stored."""
    x = helper.make_tensor_value_info("image", TensorProto.UINT8, ["rows", 2, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2, 2])
    nodes = [
        helper.make_node("Cast", ["image"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["c", "by"], ["y"]),
    ]
    for number, by in enumerate((255.0, 128.0), 1):
        graph = helper.make_graph(nodes, "scaled", [x], [y], [numpy_helper.from_array(np.float32(by), "by")])
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "line.onnx"
        )
        assert home.publish("line", tmp_path / "line.onnx").number == number
        images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
        np.testing.assert_array_equal(served()({"image": images})["y"], images.astype(np.float32) / np.float32(by))
