"""From raw files to published models: ingest, train three or four, select two, publish.

    ingest ──► train mlp ───────┐
           ├─► train cnn ───────┼─► select ──► publish     with --async both run again as each training ends
           ├─► train resnet ────┤         └──► report      the test rows, once, at the end
           └─► train separable ─┘   Keras', where it is asked for and TensorFlow is installed

    motet workflow run examples/fashion_mnist/workflow.py
    motet workflow run examples/fashion_mnist/workflow.py --set change=cnn.num_epochs=5
    motet workflow run examples/fashion_mnist/workflow.py --set models='resnet separable'

Nothing here imports a framework before a step needs one, so a run in which nothing has changed is over at once.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [folder for folder in (str(HERE), str(HERE.parent / "fashion")) if folder not in sys.path]
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # training and serving share the cores: who waits shall not spin
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow tells of the processor that it runs on

import data  # noqa: E402
import motet as mt  # noqa: E402
from recipes import RECIPES, Recipe  # noqa: E402

NUM_VALIDATION_ROWS = 5000
CORES = min(2, os.cpu_count() or 1)
MODELS = "mlp cnn resnet"
OF_KERAS = ("separable",)


@dataclass(frozen=True)
class Ingested:
    """What there is to train on.

    Attributes:
        num_rows: rows of both parts.
        num_validation_rows: the last ones, kept apart for the selection.
        digest: of the files.
    """

    num_rows: int
    num_validation_rows: int
    digest: str


@dataclass(frozen=True)
class Trained:
    """A model.

    Attributes:
        name: which.
        model: its file, or the folder of a SavedModel, with its preprocessing.
        accuracy: on the validation rows, by the file or the folder itself.
        recipe: how it was trained.
        seconds: how long that took.
        data: the digest of what it was trained on.
    """

    name: str
    model: Path
    accuracy: float
    recipe: dict[str, Any]
    seconds: float
    data: str

    @property
    def uri(self) -> str:
        """What a graph calls it."""
        return f"{self.handler}:{self.model}"

    @property
    def handler(self) -> str:
        """What loads it."""
        return "onnx" if self.model.suffix == ".onnx" else "keras"


@dataclass(frozen=True)
class Selection:
    """Which models are served, best first, and why."""

    chosen: list[Trained]
    why: list[str]


def rows_of(
    images: os.PathLike[str], labels: os.PathLike[str], cache: str, num_rows: int | None = None
) -> mt.data.Dataset:
    """The rows of a split, read once into the cache."""
    rows = mt.data.idx(image=images, label=labels).cache(cache)
    return rows.rows(0, num_rows)


@mt.step(cache=True)
def ingest(images: mt.File, labels: mt.File, cache: str, num_rows: int | None) -> Ingested:
    """Read the files into the cache on disk, and see that they are what they should be."""
    rows = rows_of(images, labels, cache, num_rows)
    found = rows.num_rows or 0
    batch = next(rows.batches(1))
    if batch["image"].shape[1:] != (data.HEIGHT, data.WIDTH):
        raise ValueError(f"pictures have shape {batch['image'].shape[1:]}; 28 x 28 are expected")
    return Ingested(found, min(NUM_VALIDATION_ROWS, found // 5), rows.reader.fingerprint())


@mt.step(cache=True, cpu=CORES, retries=1)
def train(recipe: Recipe, rows: Ingested, images: mt.File, labels: mt.File, output: str) -> Trained:
    """Train a model of torch, and measure its file on the validation rows."""
    import training

    path = Path(output) / "models" / f"{recipe.model}.onnx"
    every = rows_of(images, labels, f"{output}/rows", rows.num_rows)
    return trained_by(training.train, training.export, recipe, rows, every, path)


@mt.step(cache=True, cpu=CORES, retries=1)
def train_keras(recipe: Recipe, rows: Ingested, images: mt.File, labels: mt.File, output: str) -> Trained:
    """Train a model of Keras, and measure its SavedModel on the validation rows."""
    import keras_training

    path = Path(output) / "models" / recipe.model
    every = rows_of(images, labels, f"{output}/rows", rows.num_rows)
    return trained_by(keras_training.train, keras_training.export, recipe, rows, every, path)


def trained_by(
    train: Callable[..., Any],
    export: Callable[..., None],
    recipe: Recipe,
    rows: Ingested,
    every: mt.data.Dataset,
    path: Path,
) -> Trained:
    """A model that `train` trained, on one worker or several, and `export` wrote to `path`."""
    import measuring

    first = rows.num_rows - rows.num_validation_rows
    started = time.monotonic()
    checkpoints = path.parent.parent / "checkpoints"
    weights = mt.train.distributed(
        train, recipe, every.rows(0, first), workers=recipe.workers or None, checkpoints=checkpoints
    )
    seconds = time.monotonic() - started
    path.parent.mkdir(parents=True, exist_ok=True)
    export(recipe, weights, path)
    found = Trained(recipe.model, path, 0.0, asdict(recipe), seconds, rows.digest)
    return replace(found, accuracy=measuring.accuracy(found.uri, every.rows(first)))


@mt.step
def select(trained: list[Trained], at_least: float, keep: int) -> Selection:
    """Keep the best models that are good enough."""
    ranked = sorted(trained, key=lambda each: (-each.accuracy, each.name))
    chosen = [each for each in ranked if each.accuracy >= at_least][:keep]
    why = []
    for place, each in enumerate(ranked, start=1):
        told = f"{each.name}: {each.accuracy:.2%} on validation rows, place {place} of {len(ranked)}: "
        if each in chosen:
            why.append(told + f"kept, one of the best {keep} with {at_least:.0%} or more")
        elif each.accuracy < at_least:
            why.append(told + f"left out, less than {at_least:.0%}")
        else:
            why.append(told + f"left out, {keep} are better")
    return Selection(chosen, why)


@mt.step
def publish(selections: list[Selection], store: str) -> dict[str, str]:
    """Put the chosen models into the store, as champions; the versions by name."""
    selection = selections[-1]
    target = mt.Store(store)
    versions = {}
    for each in selection.chosen:
        version = target.publish(
            f"fashion-{each.name}",
            each.model,
            handler=each.handler,
            metrics={"validation_accuracy": each.accuracy, "training_s": each.seconds},
            lineage={"data": each.data, "recipe": each.recipe, "selection": selection.why},
            aliases=("latest", "champion"),
        )
        versions[each.name] = str(version)
    for name in RECIPES:
        model = f"fashion-{name}"
        if name not in versions and "champion" in target.aliases(model):
            target.withdraw(model, "champion")
    return versions


@mt.step(cache=True)
def report(selection: Selection, images: mt.File, labels: mt.File, cache: str) -> dict[str, float]:
    """Accuracy on the test rows, of each chosen model and of their vote. Nothing is chosen by it."""
    if not selection.chosen:
        return {}
    image = mt.input("image", "uint8[28,28]")
    models = {each.name: mt.Model(each.uri, name=each.name) for each in selection.chosen}
    answers = {name: mt.model(model, image) for name, model in models.items()}
    if len(models) > 1:
        answers["vote"] = mt.ensemble(list(models.values()), image)
    graph = mt.Graph("report", outputs=answers)
    right = dict.fromkeys(answers, 0)
    rows = rows_of(images, labels, cache)
    for batch in rows.batches(1000, drop_last=False):
        found = graph({"image": batch["image"]})
        for name in answers:
            right[name] += int((found[name].argmax(1) == batch["label"]).sum())
    return {name: count / (rows.num_rows or 1) for name, count in right.items()}


def changed(text: str) -> dict[str, Recipe]:
    """The recipes, some values changed: `cnn.num_epochs=5 mlp.seed=3`."""
    recipes = dict(RECIPES)
    for part in text.replace(",", " ").split():
        place, _, value = part.partition("=")
        model, _, name = place.partition(".")
        before = getattr(recipes.get(model), name, None)
        if before is None:
            known = ", ".join(f"{each}.{field}" for each in RECIPES for field in asdict(RECIPES[each]))
            raise ValueError(f"change: {part!r} names nothing; known: {known}")
        recipes[model] = replace(recipes[model], **{name: _read(part, value, type(before))})
    return recipes


def _read(part: str, value: str, kind: type) -> Any:
    """A value of a recipe, of the type that it has."""
    try:
        return {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
    except (LookupError, ValueError):
        raise ValueError(f"change: {part!r}: {value!r} is no {kind.__name__}") from None


def wanted(names: str) -> list[str]:
    """The names of models, by commas or spaces.

    Raises:
        ValueError: when none is named, one is none, or TensorFlow is not installed for Keras'.
    """
    found = list(dict.fromkeys(names.replace(",", " ").split()))
    if not found:
        raise ValueError(f"models: none is named; known: {', '.join(RECIPES)}")
    for name in found:
        if name not in RECIPES:
            raise ValueError(f"models: there is no {name!r}; known: {', '.join(RECIPES)}")
        if name in OF_KERAS and find_spec("tensorflow") is None:
            raise ValueError(f"models: {name} needs TensorFlow: pip install 'motet[tensorflow]'")
    return found


@mt.workflow
def fashion_mnist(
    output: str = "fashion-output",
    change: str = "",
    models: str = MODELS,
    num_rows: int = 60_000,
    at_least: float = 0.90,
    keep: int = 2,
) -> Any:
    """The whole of it.

    Args:
        output: the folder for the store, the cache of rows and the checkpoints.
        change: values of recipes to change: see `changed`.
        models: which are trained; `separable` needs TensorFlow.
        num_rows: how many rows there are to train on, from the first.
        at_least: the least accuracy of a model that is served.
        keep: how many are served.
    """
    images, labels = (mt.File(path) for path in data.paths("train"))
    cache, recipes = f"{output}/rows", changed(change)
    rows = ingest(images, labels, cache, num_rows)
    trained = [
        (train_keras if name in OF_KERAS else train).named(f"train-{name}")(recipes[name], rows, images, labels, output)
        for name in wanted(models)
    ]
    selection = select(mt.as_ready(trained), at_least, keep)
    versions = publish(mt.as_ready([selection]), f"{output}/store")
    test_images, test_labels = (mt.File(path) for path in data.paths("test"))
    return {
        "selection": selection,
        "versions": versions,
        "accuracy": report(selection, test_images, test_labels, cache),
    }
