"""A model of several files is looked at again when any of them changes, whichever of them its graph names."""

import os
from pathlib import Path

import pytest
from onnx import TensorProto, helper

import motet as mt
from motet.errors import ModelLoadError
from motet.models.handler import ModelSource
from motet.models.keep import LoadCache
from motet.models.keras import KerasHandler
from motet.models.onnx import OnnxHandler
from motet.runtime.resolve import ModelResolver

WEIGHTS = Path("variables") / "variables.data-00000-of-00001"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / WEIGHTS).write_bytes(b"old")
    return folder


def change(path: Path) -> None:
    path.write_bytes(b"new")
    os.utime(path, ns=(1, os.stat(path).st_mtime_ns + 10**9))


@pytest.mark.parametrize("named", ["", "saved_model.pb"])
def test_other_weights_are_another_version(saved: Path, named: str) -> None:
    model, resolver = mt.Model(f"keras:{saved / named}", "m"), ModelResolver()
    before = resolver.locate(model, "")
    assert resolver.locate(model, "") is before
    change(saved / WEIGHTS)
    assert resolver.locate(model, "").version != before.version


@pytest.mark.parametrize("named", ["", "saved_model.pb"])
def test_what_was_loaded_to_learn_the_signature_is_not_kept_then(saved: Path, named: str) -> None:
    kept = KerasHandler()._kept
    kept = LoadCache(lambda source: (saved / WEIGHTS).read_bytes(), whole=kept._whole)
    source = ModelSource("m", str(saved / named))
    assert kept.look(source) == b"old"
    change(saved / WEIGHTS)
    assert kept.take(source) == b"new"


def test_a_folder_that_cannot_be_read_is_told_of_the_model(saved: Path) -> None:
    (saved / "variables" / "round").symlink_to("../../saved")
    with pytest.raises(ModelLoadError, match=r"model 'm': .*round cannot be read: Too many levels of symbolic links"):
        ModelResolver().locate(mt.Model(f"keras:{saved}", "m"), "")


def test_another_onnx_file_of_the_same_size_and_time_is_read(tmp_path: Path) -> None:
    path, other = tmp_path / "m.onnx", tmp_path / "other.onnx"
    for place, axes in ((path, 3), (other, 4)):
        kinds = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", axes]) for name in "xy"]
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", kinds[:1], kinds[1:])
        place.write_bytes(helper.make_model(graph).SerializeToString())
        os.utime(place, ns=(1, 1))
    source, handler = ModelSource("m", str(path)), OnnxHandler()
    assert handler.signature(source).inputs["x"].shape == (3,)
    os.replace(other, path)  # as rsync and cp -p do
    assert handler.signature(source).inputs["x"].shape == (4,)
