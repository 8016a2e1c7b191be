"""Train three Fashion-MNIST classifiers, from cheap to good, and export them as ONNX files.

    linear  softmax regression          the cheapest
    mlp     784-256-128-10              the middle
    cnn     two 3 x 3 convolutions      the best

Each file takes `image` float32 [N, 28, 28] in 0..1 and gives `probabilities` float32 [N, 10]. The last
5,000 training rows are kept apart: the epoch with the best accuracy on them is the one that is
exported. The test split is looked at once, by ONNX Runtime, in the table at the end.

    python examples/fashion/train.py
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

import data

SEED: Final = 7
OPSET: Final = 18
NUM_VALIDATION_ROWS: Final = 5000
EVALUATION_ROWS: Final = 1000
MODELS_FOLDER: Final = Path(__file__).parent / "models"


@dataclass(frozen=True)
class Recipe:
    """How one model is built and trained.

    Attributes:
        build: Makes the untrained net: image float32 [N, 28, 28] in 0..1 to logits float32 [N, 10].
        num_epochs: Times the training rows are seen.
        max_learning_rate: Highest rate of the one-cycle schedule.
        batch_rows: Rows of a training step.
        weight_decay: AdamW's.
        flip: Whether half of the training pictures are mirrored left to right.
    """

    build: Callable[[], nn.Sequential]
    num_epochs: int
    max_learning_rate: float
    batch_rows: int = 128
    weight_decay: float = 0.01
    flip: bool = False


@dataclass(frozen=True)
class Rows:
    """Images float32 [N, 28, 28] in 0..1, and labels int64 [N]."""

    images: Tensor
    labels: Tensor

    def part(self, rows: slice) -> Rows:
        """Return some of the rows, sharing their memory."""
        return Rows(self.images[rows], self.labels[rows])


def build_linear() -> nn.Sequential:
    """Softmax regression: 7,850 weights."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def build_mlp() -> nn.Sequential:
    """Two hidden layers of 256 and 128: about 235,000 weights."""
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(784, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.2)),
        *(nn.Linear(256, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.2)),
        nn.Linear(128, 10),
    )


def build_cnn() -> nn.Sequential:
    """Two 3 x 3 convolutions with pools, and a dense head: about 106,000 weights."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28)),
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * 7 * 7, 64), nn.BatchNorm1d(64), nn.ReLU()),
        nn.Linear(64, 10),
    )


RECIPES: Final = {
    "linear": Recipe(build_linear, num_epochs=8, max_learning_rate=4e-3),
    "mlp": Recipe(build_mlp, num_epochs=12, max_learning_rate=4e-3, flip=True),
    "cnn": Recipe(build_cnn, num_epochs=6, max_learning_rate=8e-3, flip=True),
}


def read_rows(split: data.Split) -> Rows:
    """Return one split, in the split's order."""
    images, labels = data.load(split)
    return Rows(torch.from_numpy(np.float32(images) / 255), torch.from_numpy(np.int64(labels)))


def train(recipe: Recipe, training: Rows, validation: Rows) -> nn.Sequential:
    """Return the net, in evaluation mode, as it was after the epoch that did best on `validation`."""
    torch.manual_seed(SEED)
    net = recipe.build()
    optimizer = torch.optim.AdamW(net.parameters(), recipe.max_learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.max_learning_rate,
        epochs=recipe.num_epochs,
        steps_per_epoch=len(training.labels) // recipe.batch_rows,
    )
    best, best_accuracy = net, -1.0
    for epoch in range(1, recipe.num_epochs + 1):
        _train_epoch(net, recipe, training, optimizer, schedule)
        accuracy = _torch_accuracy(net, validation)
        print(f"  epoch {epoch:2}: validation {accuracy:.2%}", flush=True)
        if accuracy > best_accuracy:
            best, best_accuracy = copy.deepcopy(net), accuracy
    return best.eval()


def _train_epoch(
    net: nn.Sequential,
    recipe: Recipe,
    rows: Rows,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Take one step for each whole batch of the shuffled rows; a last, smaller one is left out."""
    net.train()
    order = torch.randperm(len(rows.labels))
    for batch in order.split(recipe.batch_rows):
        if len(batch) < recipe.batch_rows:
            break
        images = rows.images[batch]
        if recipe.flip:
            mirrored = torch.rand(len(batch), 1, 1) < 0.5
            images = torch.where(mirrored, images.flip(2), images)
        loss = nn.functional.cross_entropy(net(images), rows.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _torch_accuracy(net: nn.Sequential, rows: Rows) -> float:
    net.eval()
    with torch.inference_mode():
        guesses = [net(images).argmax(1) for images in rows.images.split(EVALUATION_ROWS)]
    return float((torch.cat(guesses) == rows.labels).double().mean())


def fold(net: nn.Sequential) -> nn.Sequential:
    """Return the net for answering only: no dropout, batch norms folded into the layers before them, softmax last."""
    layers: list[nn.Module] = []
    for layer in copy.deepcopy(net).eval():
        match layer:
            case nn.BatchNorm2d() if layers and isinstance(layers[-1], nn.Conv2d):
                layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
            case nn.BatchNorm1d() if layers and isinstance(layers[-1], nn.Linear):
                layers[-1] = fuse_linear_bn_eval(layers[-1], layer)
            case nn.Dropout():
                pass
            case _:
                layers.append(layer)
    return nn.Sequential(*layers, nn.Softmax(1)).eval()


def export(net: nn.Sequential, path: Path) -> None:
    """Write the net as one ONNX file: image float32 [N, 28, 28] in 0..1, probabilities float32 [N, 10]."""
    program = torch.onnx.export(
        fold(net),
        (torch.zeros(2, data.HEIGHT, data.WIDTH),),
        input_names=["image"],
        output_names=["probabilities"],
        dynamic_shapes=({0: torch.export.Dim("N")},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    strip(model)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, path, save_as_external_data=False)


def strip(model: onnx.ModelProto) -> None:
    """Remove what tells of the machine and the code that exported the model; the answers stay the same."""
    model.ClearField("metadata_props")
    model.ClearField("doc_string")
    graph = model.graph
    graph.name = "fashion"
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def onnx_accuracy(path: Path, rows: Rows) -> float:
    """Return the share of rows, 0 to 1, whose likeliest class in the ONNX file's answer is the true one."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    guesses: list[npt.NDArray[np.int64]] = []
    for images in rows.images.split(EVALUATION_ROWS):
        (probabilities,) = session.run(["probabilities"], {"image": images.numpy()})
        guesses.append(np.asarray(probabilities).argmax(1))
    return float((np.concatenate(guesses) == rows.labels.numpy()).mean())


def main(arguments: list[str] | None = None) -> None:
    """Train, export and measure the models that the command line names."""
    parser = argparse.ArgumentParser(description="Train the Fashion-MNIST models and export them as ONNX files.")
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"any of {', '.join(RECIPES)} (default: all)")
    parser.add_argument("--output", type=Path, default=MODELS_FOLDER, help="folder for the ONNX files")
    options = parser.parse_args(arguments)
    names = options.models or list(RECIPES)
    if unknown := [name for name in names if name not in RECIPES]:
        parser.error(f"unknown model {unknown[0]!r}; use any of {', '.join(RECIPES)}")

    rows = read_rows("train")
    training, validation = rows.part(slice(-NUM_VALIDATION_ROWS)), rows.part(slice(-NUM_VALIDATION_ROWS, None))
    for name in names:
        print(name)
        export(train(RECIPES[name], training, validation), options.output / f"{name}.onnx")
    _print_table(names, options.output, validation, read_rows("test"))


def _print_table(names: list[str], folder: Path, validation: Rows, test: Rows) -> None:
    print("model   validation     test      bytes")
    for name in names:
        path = folder / f"{name}.onnx"
        accuracies = (onnx_accuracy(path, rows) for rows in (validation, test))
        print(f"{name:8}{next(accuracies):10.2%} {next(accuracies):8.2%} {path.stat().st_size:10,}")


if __name__ == "__main__":
    main()
