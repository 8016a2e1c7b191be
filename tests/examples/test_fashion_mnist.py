"""examples/fashion_mnist: the models, the workflow and the whole system, on a few rows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motet as mt

pytest.importorskip("torch")
FOLDER = Path(__file__).parents[2] / "examples" / "fashion_mnist"
MODULES = ("data", "models", "recipes", "training", "workflow")


@pytest.fixture(scope="module", autouse=True)
def _example() -> Iterator[None]:
    """The example's own modules can be imported."""
    before = list(sys.path)
    sys.path[:0] = [str(FOLDER), str(FOLDER.parent / "fashion")]
    for name in MODULES:
        sys.modules.pop(name, None)
    yield
    sys.path[:] = before
    for name in MODULES:
        sys.modules.pop(name, None)


def made(ids: Any) -> Any:
    """Pictures that tell their label: a bright row, the higher the number the lower."""
    label = (ids % 10).astype(np.uint8)
    image = np.random.default_rng(1).integers(0, 60, (1, 28, 28), dtype=np.uint8).repeat(len(ids), 0)
    for row, number in enumerate(label):
        image[row, 2 * number : 2 * number + 4] = 250
    return {"image": image, "label": label}


@pytest.fixture(scope="module")
def rows() -> mt.data.Dataset:
    return mt.data.made(made, 640).cache()


@pytest.fixture(scope="module")
def trained(rows: mt.data.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One model after a few steps: its name, its weights and its file."""
    import training
    from recipes import RECIPES

    recipe = replace(RECIPES["cnn"], num_epochs=3, batch_rows=32)
    weights = mt.train.distributed(training.train, recipe, rows, workers=1)
    path = tmp_path_factory.mktemp("trained") / f"{recipe.model}.onnx"
    training.export(recipe, weights, path)
    return recipe, weights, path


def test_a_model_learns_and_its_file_answers_as_it_does(trained: Any, rows: mt.data.Dataset) -> None:
    """Preprocessing is inside the file: the stored picture goes in, and what comes out is what was trained."""
    import torch

    import training
    from models import MODELS

    recipe, weights, path = trained
    assert training.accuracy(path, rows) > 0.9
    images = next(rows.batches(37))["image"]
    model = MODELS[recipe.model]()
    model.load_state_dict({name: torch.from_numpy(np.array(each)) for name, each in weights.items()})
    with torch.inference_mode():
        expected = torch.softmax(model.eval()(torch.from_numpy(images)), 1).numpy()
    graph = training.answering(path)
    assert str(graph.inputs["image"].type) == "uint8[28,28]"
    np.testing.assert_allclose(graph({"image": images})["probabilities"], expected, atol=1e-5)


def test_the_models_differ_in_kind() -> None:
    from torch import nn

    from models import MODELS

    kinds = {
        name: {type(part) for part in build().modules()} & {nn.Conv2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d}
        for name, build in MODELS.items()
    }
    assert kinds == {
        "mlp": set(),
        "cnn": {nn.Conv2d, nn.MaxPool2d},
        "resnet": {nn.Conv2d, nn.AdaptiveAvgPool2d},
    }


def test_mirroring_turns_some_pictures_and_no_label(rows: mt.data.Dataset) -> None:
    import training

    columns = next(rows.batches(64))
    columns["image"] = np.arange(64 * 784, dtype=np.uint32).astype(np.uint8).reshape(64, 28, 28)
    before = columns["image"].copy()
    turned = training.mirrored(columns, np.random.default_rng(0))
    same = (turned["image"] == before).all((1, 2))
    assert 16 < same.sum() < 48
    np.testing.assert_array_equal(turned["image"][~same], before[~same][:, :, ::-1])
    np.testing.assert_array_equal(columns["image"], before)
    np.testing.assert_array_equal(turned["label"], columns["label"])
