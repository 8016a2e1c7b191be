"""Trainings of Keras models that workers run."""

import os
import signal
from typing import Any

import numpy as np

ROWS, BATCH, EPOCHS, RATE = 256, 64, 2, 0.5


def rows() -> Any:
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, 4)).astype(np.float32)
    return {"x": x, "y": (x @ random.normal(size=(4, 3))).argmax(axis=1)}


def train(worker: Any, dataset: Any, dies_at: int = -1) -> dict[str, Any]:
    """Softmax regression, by a loop of TensorFlow's; worker 1 kills itself after that step, the first time."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    strategy = worker.strategy()
    import keras
    import tensorflow as tf

    with strategy.scope():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_initializer="zeros")])
        optimizer = keras.optimizers.SGD(RATE)
        optimizer.build(model.trainable_variables)
    worker.wrap(model)

    @tf.function
    def step(x: Any, y: Any) -> Any:
        def on_one(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                losses = keras.losses.sparse_categorical_crossentropy(y, model(x, training=True), from_logits=True)
                loss = tf.reduce_sum(losses) / BATCH
            optimizer.apply_gradients(
                zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
            )
            return loss

        return strategy.reduce("SUM", strategy.run(on_one, args=(x, y)), axis=None)

    state = {"model": model, "optimizer": optimizer}
    steps, losses = [], []
    for each in worker.steps(dataset, batch_rows=BATCH, num_epochs=EPOCHS, state=state, checkpoint_every_s=0):
        steps.append(each.number)
        losses.append(float(step(tf.constant(each.columns["x"]), tf.constant(each.columns["y"]))))
        if (each.number, worker.rank, worker.attempt) == (dies_at, 1, 0):
            os.kill(os.getpid(), signal.SIGKILL)
    return {"weights": model.get_weights(), "losses": losses, "steps": steps, "attempt": worker.attempt,
            "replicas": strategy.num_replicas_in_sync, "config": os.environ.get("TF_CONFIG")}  # fmt: skip


def both(worker: Any, recipe: Any, dataset: Any, folder: Any) -> dict[str, Any]:
    """The model of the example Fashion-MNIST, trained by all workers, and then by one alone; `folder` has the first as a SavedModel."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras_training  # type: ignore[import-not-found]
    from motet.training.worker import Worker

    together = keras_training.train(worker, recipe, dataset)
    if worker.rank:
        return {}
    alone = keras_training.train(Worker(), recipe, dataset)
    keras_training.export(recipe, together, folder)
    import keras

    model = keras_training.separable()
    model.set_weights(together)
    images = next(dataset.batches(37))["image"]
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(model(images)))
    return {"together": together, "alone": alone, "images": images, "probabilities": probabilities}
