"""SavedModels that TensorFlow wrote, against TensorFlow: signatures, names, texts, several outputs, threads and processes."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motet as mt
from motet.errors import RowErrors, UnknownNameError
from motet.system.extras import imported

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if importlib.util.find_spec("tensorflow") is None:
    pytest.skip("needs TensorFlow", allow_module_level=True)
tf: Any = imported("tensorflow", "tensorflow", "tensorflow", "tests")

ROWS = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
TEXTS = ["one two", "", "drei vier fünf"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three signatures: numbers by two names, texts, and the mean over all rows of a call."""

    class Module(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(np.arange(8, dtype=np.float32).reshape(4, 2))

        @tf.function(
            input_signature=[tf.TensorSpec([None, 4], tf.float32, "x"), tf.TensorSpec([None], tf.int64, "shift")]
        )
        def numbers(self, x: Any, shift: Any) -> Any:
            moved = x @ self.weights + tf.cast(shift, tf.float32)[:, None]
            return {"scores": tf.nn.softmax(moved), "best": tf.argmax(moved, axis=1)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
        def words(self, text: Any) -> Any:
            parts = tf.strings.split(text)
            return {
                "count": parts.row_lengths(),
                "upper": tf.strings.upper(text, encoding="utf-8"),
                "same": tf.identity(text),
            }

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
        def centred(self, x: Any) -> Any:
            return {"y": x - tf.reduce_mean(x, axis=0)}

    module, path = Module(), tmp_path_factory.mktemp("saved") / "model"
    signatures = {"serving_default": module.numbers, "words": module.words, "centred": module.centred}
    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


def graph(folder: Path, given: dict[str, str], *outputs: str, **more: Any) -> mt.Graph:
    seen = mt.model(mt.Model(f"keras:{folder}", "m", **more), *(mt.input(name, kind) for name, kind in given.items()))
    return mt.Graph("g", {name: getattr(seen, name) for name in outputs})


NUMBERS = {"shift": "int64", "x": "float32[4]"}
SHIFTS = np.arange(9)


def test_inputs_and_outputs_go_by_their_names(folder: Path) -> None:
    what = graph(folder, NUMBERS, "scores", "best")
    (signature,) = what.checked.signatures.values()
    assert str(signature) == "(shift: int64, x: float32[4]) -> (best: int64, scores: float32[2])"
    found = what({"x": ROWS, "shift": SHIFTS})
    moved = ROWS.astype(float) @ np.arange(8).reshape(4, 2) + SHIFTS[:, None]
    right = np.exp(moved - moved.max(axis=1, keepdims=True))
    np.testing.assert_allclose(found["scores"], right / right.sum(axis=1, keepdims=True), atol=1e-6)
    assert found["best"].tolist() == moved.argmax(axis=1).tolist()


def test_texts_are_taken_and_given(folder: Path) -> None:
    what = graph(
        folder, {"text": "string"}, "count", "upper", options={"signature": "words"}, outputs={"count": "int64", "upper": "string"}
    )  # fmt: skip
    found = what({"text": TEXTS})
    assert found["count"].tolist() == [2, 0, 3]
    assert found["upper"].tolist() == ["ONE TWO", "", "DREI VIER FÜNF"]


def test_what_is_no_text_fails_alone(folder: Path) -> None:
    what = graph(
        folder, {"text": "bytes"}, "same", options={"signature": "words"}, inputs={"text": "bytes"}, outputs={"same": "string"}
    )  # fmt: skip
    with pytest.raises(RowErrors, match="it is no text in UTF-8: 'utf-8' codec can't decode byte 0xff") as told:
        what({"text": [b"good", b"\xff\xfe", b"too"]})
    assert told.value.columns["same"].tolist() == ["good", "too"]


def test_rows_that_share_a_call_do_not_meet(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    what = graph(folder, {"x": "float32[4]"}, "y", options={"signature": "centred"})
    np.testing.assert_array_equal(what({"x": ROWS})["y"], np.zeros_like(ROWS))  # each is the mean of itself
    assert "rows that share a call change each other's answers" in caplog.text


def test_a_bad_row_fails_alone(folder: Path) -> None:
    with pytest.raises(RowErrors) as told:
        graph(folder, NUMBERS, "best")({"x": [*ROWS[:2].tolist(), [1.0]], "shift": [0, 1, 2]})
    assert [failure.row for failure in told.value.failures] == [2]
    assert len(told.value.columns["best"]) == 2


def test_an_unknown_signature_lists_those_it_has(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown signature of the model 'word'; did you mean 'words'"):
        graph(folder, NUMBERS, "best", options={"signature": "word"})


def test_torch_can_be_had_behind_tensorflow() -> None:
    """Triton and TensorFlow have LLVM in them, and only one order of the two does not end the process."""
    pytest.importorskip("torch._dynamo")
