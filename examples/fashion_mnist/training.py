"""How a model of torch is trained, and written as one ONNX file."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

import motet as mt
from models import MODELS
from recipes import Recipe, mirrored

OPSET = 18
logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of packages that are not needed here


def train(worker: mt.train.Worker, recipe: Recipe, rows: mt.data.Dataset) -> dict[str, npt.NDArray[Any]]:
    """Train a model; gives its weights by name.

    Args:
        worker: this worker.
        recipe: how.
        rows: `image` uint8 [28, 28] and `label`.
    """
    torch.manual_seed(recipe.seed)
    model = worker.wrap(MODELS[recipe.model]().to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    rows = rows.shuffle(recipe.seed)
    if recipe.flip:
        rows = rows.map(mirrored, random=True)
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.max_learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    per_epoch = (rows.num_rows or 0) // recipe.batch_rows
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.max_learning_rate, epochs=recipe.num_epochs, steps_per_epoch=max(per_epoch, 1)
    )
    state = {"model": model, "optimizer": optimizer, "schedule": schedule}
    model.train()
    for step in worker.steps(
        rows, batch_rows=recipe.batch_rows, num_epochs=recipe.num_epochs, state=state, seed=recipe.seed
    ):
        images = torch.from_numpy(step.columns["image"]).to(worker.device)
        labels = torch.from_numpy(step.columns["label"]).long().to(worker.device)
        loss = nn.functional.cross_entropy(model(images), labels, label_smoothing=recipe.smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    plain = model.module if worker.num_workers > 1 else model
    return {name: tensor.cpu().contiguous().numpy() for name, tensor in plain.state_dict().items()}


class _Answering(nn.Module):
    """A model as it is served: probabilities instead of logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return torch.softmax(self.model(image), 1)


def export(recipe: Recipe, weights: dict[str, npt.NDArray[Any]], path: Path) -> None:
    """Write a model as one ONNX file: `image` uint8 [N, 28, 28] in, `probabilities` float32 [N, 10] out."""
    model = MODELS[recipe.model]()
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, of names in torch that will change
        program = torch.onnx.export(
            _Answering(model).eval(),
            (torch.zeros(2, 28, 28, dtype=torch.uint8),),
            input_names=["image"],
            output_names=["probabilities"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.model_proto.ClearField("doc_string")
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(path, external_data=False)
