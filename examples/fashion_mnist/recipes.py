"""How each model is trained. Imports no framework, so that a run in which nothing has changed is over at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np

MEAN: Final = 0.2860
DEVIATION: Final = 0.3530
NUM_CLASSES: Final = 10


@dataclass(frozen=True)
class Recipe:
    """How one model is trained: AdamW with a one-cycle schedule.

    Attributes:
        model: one of `models.MODELS`, or `separable`, which is Keras' (`keras_training.py`).
        num_epochs: how often the rows are seen.
        max_learning_rate: the highest of the schedule.
        batch_rows: rows of a step, over all workers.
        weight_decay: AdamW's.
        flip: whether half of the pictures are mirrored left to right.
        smoothing: of the labels in the loss.
        workers: how many processes train it; 0 is as many as the machine is good for.
        seed: fixes the first weights, the order of rows and all choices.
    """

    model: str
    num_epochs: int
    max_learning_rate: float
    batch_rows: int = 128
    weight_decay: float = 0.01
    flip: bool = True
    smoothing: float = 0.0
    workers: int = 0
    seed: int = 0


RECIPES: Final = {
    "mlp": Recipe("mlp", num_epochs=16, max_learning_rate=4e-3, batch_rows=256, flip=False, smoothing=0.1),
    "cnn": Recipe("cnn", num_epochs=3, max_learning_rate=8e-3),
    "resnet": Recipe("resnet", num_epochs=3, max_learning_rate=8e-3),
    "separable": Recipe("separable", num_epochs=5, max_learning_rate=6e-3, batch_rows=64),
}


def mirrored(columns: Any, random: np.random.Generator) -> Any:
    """Mirror half of the pictures left to right: a shoe may point either way."""
    turn = random.random(len(columns["label"])) < 0.5
    image = columns["image"].copy()
    image[turn] = image[turn, :, ::-1]
    return {**columns, "image": image}
