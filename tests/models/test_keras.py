"""Keras models against Keras itself, from files, from folders and from a store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motet as mt
from motet.errors import InputError, ModelLoadError, UnknownNameError
from motet.models.digest import digest
from motet.models.registry import find_handler
from motet.system.limits import num_cores

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras.*")
ROWS = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)


def layers(kind: str) -> Any:
    keras.utils.set_random_seed(3)
    x = keras.Input((4,), name="x")
    if kind == "one":
        return keras.Sequential([x, keras.layers.Dense(5, activation="relu"), keras.layers.Dense(3)])
    if kind == "two":
        y = keras.Input((2,), name="y")
        hidden = keras.layers.Concatenate()([x, y])
        return keras.Model([x, y], [keras.layers.Dense(1, name="a")(hidden), keras.layers.Dense(2, name="b")(hidden)])
    if kind == "dicts":
        left, y = keras.Input((4,), name="left"), keras.Input((2,), name="right", dtype="float64")
        named = {"second": keras.layers.Dense(2)(y), "first": keras.layers.Dense(1)(left)}
        return keras.Model({"right": y, "left": left}, named)
    hidden = keras.layers.Dropout(0.9)(keras.layers.BatchNormalization()(x))
    return keras.Model(x, keras.layers.Dense(1)(hidden))


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    def save(kind: str, suffix: str = ".keras") -> tuple[Any, Path]:
        model, path = layers(kind), tmp_path / f"{kind}{suffix}"
        model.save(path)
        return model, path

    return save


@keras.saving.register_keras_serializable("motet_tests")
class Threads(keras.layers.Layer):  # type: ignore[name-defined]
    """Gives the number of threads that torch uses, for each row."""

    def call(self, x: Any) -> Any:
        import torch

        return keras.ops.full_like(x[:, :1], torch.get_num_threads())


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="other backends have one number for the whole process")
def test_a_call_uses_as_many_threads_as_it_may_and_the_program_keeps_its_own(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    x = keras.Input((4,), name="x")
    keras.Model(x, Threads()(x)).save(tmp_path / "m.keras")
    own = torch.get_num_threads()
    for cpu in (1, 2):
        model = mt.Model(str(tmp_path / "m.keras"), "m", resources={"cpu": cpu})
        with mt.Graph("g", {"y": mt.model(model, mt.input("x", "float32[4]"))}) as graph:
            assert graph({"x": ROWS})["y"].reshape(-1).tolist() == [min(cpu, num_cores())] * len(ROWS)
        assert torch.get_num_threads() == own


def plain(tensor: Any) -> Any:
    return keras.ops.convert_to_numpy(tensor)


def loaded(path: Path, **source: Any) -> Any:
    from motet.models.handler import ModelSource

    handler, location = find_handler(str(path))
    given = ModelSource("m", location, **source)
    return handler.signature(given), handler.load(given)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_a_file_answers_as_keras_does(saved: Any, suffix: str) -> None:
    model, path = saved("one", suffix)
    signature, motet = loaded(path)
    assert {name: str(kind) for name, kind in signature.inputs.items()} == {"x": "float32[4]"}
    assert {name: str(kind) for name, kind in signature.outputs.items()} == {"output": "float32[3]"}
    np.testing.assert_allclose(motet({"x": ROWS})["output"], plain(model(ROWS)), rtol=1e-5)
    motet.close()


def test_inputs_and_outputs_have_the_names_of_the_model(saved: Any) -> None:
    model, path = saved("two")
    y = ROWS[:, :2]
    signature, motet = loaded(path)
    assert (list(signature.inputs), list(signature.outputs)) == (["x", "y"], ["a", "b"])
    for name, expected in zip(("a", "b"), model([ROWS, y]), strict=True):
        np.testing.assert_allclose(motet({"y": y, "x": ROWS})[name], plain(expected), rtol=1e-5)


def test_dicts_go_by_their_keys(saved: Any) -> None:
    model, path = saved("dicts")
    right = ROWS[:, :2].astype(np.float64)
    signature, motet = loaded(path)
    assert {name: str(kind) for name, kind in signature.inputs.items()} == {"left": "float32[4]", "right": "float64[2]"}
    expected = model({"left": ROWS, "right": right})
    found = motet({"left": ROWS, "right": right})
    assert set(found) == set(expected) == {"first", "second"}
    for name in expected:
        np.testing.assert_allclose(found[name], plain(expected[name]), rtol=1e-5)


def test_layers_of_training_are_off_and_rows_do_not_touch_each_other(saved: Any) -> None:
    model, path = saved("training")
    _, motet = loaded(path)
    together = motet({"x": ROWS})["output"]
    np.testing.assert_allclose(together, plain(model(ROWS, training=False)), rtol=1e-5)
    for row in range(len(ROWS)):
        np.testing.assert_allclose(motet({"x": ROWS[row : row + 1]})["output"][0], together[row], rtol=1e-5)


def test_it_is_published_and_plays_from_the_store(saved: Any, tmp_path: Path) -> None:
    model, path = saved("one")
    store = mt.Store(tmp_path / "store")
    version = store.publish("k", path)
    assert (version.handler, [file.path for file in version.files]) == ("keras", ["one.keras"])
    (tmp_path / "g.yaml").write_text(
        f"motet: 1\nname: g\ninputs: {{x: 'float32[4]'}}\nmodels: {{m: {{uri: 'store:{tmp_path}/store#k'}}}}\n"
        "nodes: {n: {model: m, inputs: [x]}}\noutputs: {y: n}\n"
    )
    np.testing.assert_allclose(mt.load(tmp_path / "g.yaml")({"x": ROWS})["y"], plain(model(ROWS)), rtol=1e-5)


def test_a_saved_model_is_published_as_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    (folder / "fingerprint.pb").write_bytes(b"\x08\x02")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    store, whole = mt.Store(tmp_path / "store"), digest(folder)
    version = store.publish("k", folder)
    assert [file.path for file in version.files] == ["saved_model.pb", "fingerprint.pb", "variables/variables.index"]
    (folder / "variables").rename(tmp_path / "elsewhere")
    (folder / "variables").symlink_to(tmp_path / "elsewhere")
    assert digest(folder) == whole
    assert store.publish("linked", folder).files == version.files
    assert store.publish("by-its-own-file", folder / "saved_model.pb").files == version.files
    (tmp_path / "elsewhere" / "variables.index").write_bytes(b"other")
    assert digest(folder) != whole
    assert version.handler == "keras"
    (tmp_path / "elsewhere" / "round").symlink_to(folder / "variables")
    with pytest.raises(ModelLoadError, match="variables/round cannot be read: Too many levels of symbolic links"):
        store.publish("round", folder / "saved_model.pb")


def test_what_is_no_model_is_refused(saved: Any, tmp_path: Path) -> None:
    torn = tmp_path / "torn.keras"
    torn.write_bytes(saved("one")[1].read_bytes()[:500])
    with pytest.raises(ModelLoadError, match="no model that Keras or TensorFlow loads here"):
        loaded(torn)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelLoadError, match="the folder has no saved_model.pb"):
        loaded(Path(f"keras:{tmp_path}/empty"))
    with pytest.raises(UnknownNameError, match="option"):
        loaded(saved("one")[1], options={"signature": "x"})
    with pytest.raises(InputError, match="has no model at its top"):
        mt.Store(tmp_path / "store").publish("k", tmp_path / "empty")


def test_a_folder_with_one_model_is_published_whole_and_with_two_is_refused(saved: Any, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "notes.onnx").write_text("no model at the top")
    (folder / "README").write_text("about")
    (folder / "m.keras").write_bytes(saved("one")[1].read_bytes())
    version = mt.Store(tmp_path / "store").publish("k", folder)
    assert [file.path for file in version.files] == ["m.keras", "README", "deep/notes.onnx"]
    (folder / "n.onnx").write_text("another")
    with pytest.raises(InputError, match="has 2 models at its top: m.keras, n.onnx"):
        mt.Store(tmp_path / "store").publish("k", folder)
