"""A model of Keras for Fashion-MNIST, trained by TensorFlow on one worker or several, and written as a SavedModel.

    separable  depthwise and pointwise convolutions       looks at each channel by itself, then mixes them

It takes pictures as they are stored, uint8 [N, 28, 28], as the models of torch do, and the folder gives probabilities. A row is
normed by itself, not by its batch, so that several workers learn what one would.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import motet as mt
from recipes import DEVIATION, MEAN, NUM_CLASSES, Recipe, mirrored

os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever else Keras computes with here

CHANNELS: Final = ((64, 1), (64, 1), (128, 2), (128, 1))
"""Of each block the channels, and the stride."""
WARM: Final = 0.3
"""The share of the steps in which the learning rate rises."""


def separable() -> Any:
    """Logits of pictures: a stem of stride 2 and four blocks, 36,106 weights."""
    import keras
    from keras import layers

    image = keras.Input((28, 28), dtype="uint8", name="image")
    x = layers.Rescaling(1 / (255 * DEVIATION), -MEAN / DEVIATION)(image)
    x = layers.Reshape((28, 28, 1))(x)
    x = layers.Conv2D(32, 4, 2, padding="same")(x)
    for channels, stride in CHANNELS:
        x = layers.LayerNormalization()(x)
        x = layers.SeparableConv2D(channels, 3, stride, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(NUM_CLASSES)(x))


def train(worker: mt.train.Worker, recipe: Recipe, rows: mt.data.Dataset) -> list[npt.NDArray[Any]]:
    """Train it; gives its weights, in the order of its layers.

    Args:
        worker: this worker.
        recipe: how.
        rows: `image` uint8 [28, 28] and `label`.
    """
    strategy = worker.strategy()
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(recipe.seed)
    rows = rows.shuffle(recipe.seed)
    if recipe.flip:
        rows = rows.map(mirrored, random=True)
    num_steps = max(recipe.num_epochs * ((rows.num_rows or 0) // recipe.batch_rows), 1)
    with strategy.scope():
        model = worker.wrap(separable())
        schedule = keras.optimizers.schedules.CosineDecay(
            recipe.max_learning_rate / 25,
            int(num_steps * (1 - WARM)),
            warmup_target=recipe.max_learning_rate,
            warmup_steps=int(num_steps * WARM),
        )
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay)
        optimizer.build(model.trainable_variables)

    def on_one(image: Any, label: Any) -> None:
        """A worker's part of a step; the optimizer adds up the gradients of all."""
        with tf.GradientTape() as tape:
            truth = tf.one_hot(label, NUM_CLASSES)
            losses = keras.losses.categorical_crossentropy(
                truth, model(image, training=True), from_logits=True, label_smoothing=recipe.smoothing
            )
            loss = tf.reduce_sum(losses) / recipe.batch_rows
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

    @tf.function
    def learn(image: Any, label: Any) -> None:
        strategy.run(on_one, args=(image, label))

    for step in worker.steps(
        rows,
        batch_rows=recipe.batch_rows,
        num_epochs=recipe.num_epochs,
        state={"model": model, "optimizer": optimizer},
        seed=recipe.seed,
    ):
        learn(tf.constant(step.columns["image"]), tf.constant(step.columns["label"]))
    weights: list[npt.NDArray[Any]] = model.get_weights()
    return weights


def export(recipe: Recipe, weights: list[npt.NDArray[Any]], folder: Path) -> None:
    """Write it as a SavedModel: `image` uint8 [N, 28, 28] in, `probabilities` float32 [N, 10] out."""
    import keras

    model = separable()
    model.set_weights([np.array(each) for each in weights])
    probabilities = keras.layers.Softmax()(model.output)
    answering = keras.Model(model.input, {"probabilities": probabilities})
    shutil.rmtree(folder, ignore_errors=True)
    answering.export(folder, verbose=False)
