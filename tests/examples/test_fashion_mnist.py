"""examples/fashion_mnist: the models, the workflow and the whole system, on a few rows."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motet as mt
from helpers import keras_jobs
from helpers.browser import Browser, found
from helpers.example_modules import importable

pytest.importorskip("torch")
FOLDER = Path(__file__).parents[2] / "examples" / "fashion_mnist"
MODULES = ("data", "keras_training", "measuring", "models", "recipes", "system", "training", "workflow")
DATA = Path("/usr/share/datasets/fashion-mnist")
CACHE = Path.home() / ".cache" / "motet" / "datasets" / "fashion-mnist"


@pytest.fixture(scope="module", autouse=True)
def _example() -> Iterator[None]:
    """The example's own modules can be imported."""
    with importable([FOLDER, FOLDER.parent / "fashion"], MODULES):
        yield


def made(ids: Any) -> Any:
    """Pictures that tell their label: a bright row, the higher the number the lower."""
    label = (ids % 10).astype(np.uint8)
    image = np.random.default_rng(1).integers(0, 60, (1, 28, 28), dtype=np.uint8).repeat(len(ids), 0)
    for row, number in enumerate(label):
        image[row, 2 * number : 2 * number + 4] = 250
    return {"image": image, "label": label}


@pytest.mark.parametrize(
    ("said", "models"), [((), {"mlp", "cnn", "resnet"}), (("KERAS=1",), {"mlp", "cnn", "resnet", "separable"})]
)
def test_the_make_target_asks_for_its_models(said: tuple[str, ...], models: set[str]) -> None:
    import system
    from workflow import wanted

    if "separable" in models and importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed")
    command = ["make", "--dry-run", "--always-make", "fashion", *said]
    shown = subprocess.run(command, cwd=FOLDER.parents[1], capture_output=True, text=True, check=True).stdout
    (line,) = (each for each in shown.splitlines() if "system.py" in each)
    options = system.read_options(shlex.split(line.partition("system.py")[2]))
    assert {*wanted(options.models)} == models


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

    import measuring
    from models import MODELS

    recipe, weights, path = trained
    assert measuring.accuracy(f"onnx:{path}", rows) > 0.9
    images = next(rows.batches(37))["image"]
    model = MODELS[recipe.model]()
    model.load_state_dict({name: torch.from_numpy(np.array(each)) for name, each in weights.items()})
    with torch.inference_mode():
        expected = torch.softmax(model.eval()(torch.from_numpy(images)), 1).numpy()
    graph = measuring.answering(str(path))
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
    from recipes import mirrored

    columns = next(rows.batches(64))
    columns["image"] = np.arange(64 * 784, dtype=np.uint32).astype(np.uint8).reshape(64, 28, 28)
    before = columns["image"].copy()
    turned = mirrored(columns, np.random.default_rng(0))
    same = (turned["image"] == before).all((1, 2))
    assert 16 < same.sum() < 48
    np.testing.assert_array_equal(turned["image"][~same], before[~same][:, :, ::-1])
    np.testing.assert_array_equal(columns["image"], before)
    np.testing.assert_array_equal(turned["label"], columns["label"])


def test_the_best_that_are_good_enough_are_chosen_and_it_is_said_why() -> None:
    import workflow

    trained = [
        workflow.Trained(name, Path(f"{name}.onnx"), accuracy, {}, 1.0, "data")
        for name, accuracy in (("mlp", 0.901), ("cnn", 0.91), ("resnet", 0.92), ("other", 0.89))
    ]
    selection = workflow.select(trained, 0.9, 2)
    assert [each.name for each in selection.chosen] == ["resnet", "cnn"]
    assert selection.why == [
        "resnet: 92.00% on validation rows, place 1 of 4: kept, one of the best 2 with 90% or more",
        "cnn: 91.00% on validation rows, place 2 of 4: kept, one of the best 2 with 90% or more",
        "mlp: 90.10% on validation rows, place 3 of 4: left out, 2 are better",
        "other: 89.00% on validation rows, place 4 of 4: left out, less than 90%",
    ]
    assert workflow.select(trained[:1], 0.95, 2).chosen == []


def test_a_model_that_is_no_champion_any_more_is_withdrawn(trained: Any, tmp_path: Path) -> None:
    import workflow

    recipe, _, path = trained
    ones = {name: workflow.Trained(name, path, 0.9, vars(recipe), 1.0, "data") for name in ("mlp", "cnn", "resnet")}
    store = mt.Store(tmp_path)
    first = workflow.Selection([ones["mlp"]], ["alone"])
    assert workflow.publish([first], str(tmp_path)) == {"mlp": "fashion-mlp@1"}
    both = workflow.Selection([ones["resnet"], ones["cnn"]], ["better"])
    assert workflow.publish([first, both], str(tmp_path)) == {"resnet": "fashion-resnet@1", "cnn": "fashion-cnn@1"}
    champions = [name for name in ("mlp", "cnn", "resnet") if "champion" in store.aliases(f"fashion-{name}")]
    assert champions == ["cnn", "resnet"]
    assert store.resolve("fashion-cnn@champion").lineage["selection"] == ["better"]


def test_recipes_are_changed_by_name() -> None:
    import workflow

    changed = workflow.changed("cnn.num_epochs=5, mlp.flip=True resnet.max_learning_rate=1e-3")
    assert (changed["cnn"].num_epochs, changed["mlp"].flip, changed["resnet"].max_learning_rate) == (5, True, 1e-3)
    assert workflow.changed("") == workflow.RECIPES
    with pytest.raises(
        ValueError, match=r"change: 'cnn\.epochs=5' names nothing; known: mlp\.model, .*cnn\.num_epochs"
    ):
        workflow.changed("cnn.epochs=5")
    for part, said in (("cnn.num_epochs=x", "'x' is no int"), ("mlp.flip=maybe", "'maybe' is no bool")):
        with pytest.raises(ValueError, match=f"change: '{part}': {said}"):
            workflow.changed(part)
    assert workflow.changed("mlp.flip=true")["mlp"].flip


def test_models_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import workflow

    assert workflow.wanted("mlp, cnn, mlp") == ["mlp", "cnn"]
    with pytest.raises(ValueError, match="models: none is named; known: mlp, cnn, resnet, separable"):
        workflow.wanted(" ")
    with pytest.raises(ValueError, match="models: there is no 'cmm'; known: mlp, cnn, resnet, separable"):
        workflow.wanted("cmm")
    monkeypatch.setattr(workflow, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"models: separable needs TensorFlow: pip install 'motet\[tensorflow\]'"):
        workflow.wanted("mlp separable")


@pytest.fixture(scope="module")
def of_keras(rows: mt.data.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model of Keras that two workers trained, its folder, and what one worker makes of the same batches."""
    from recipes import RECIPES

    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("needs TensorFlow")
    recipe = replace(RECIPES["separable"], num_epochs=1, max_learning_rate=2e-3, flip=False)
    folder = tmp_path_factory.mktemp("trained") / recipe.model
    return (
        recipe,
        folder,
        mt.train.distributed(keras_jobs.both, recipe, rows.rows(0, 256), folder, workers=2, threads=1),
    )


def test_two_workers_train_a_model_of_keras_as_one_does(of_keras: Any) -> None:
    _, _, found = of_keras
    assert len(found["together"]) == 24
    for together, alone in zip(found["together"], found["alone"], strict=True):
        np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)


def test_models_of_torch_and_keras_are_chosen_by_one_metric_and_vote(
    trained: Any, of_keras: Any, rows: mt.data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import measuring
    import workflow

    recipe, folder, found = of_keras
    graph = measuring.answering(f"keras:{folder}")
    assert str(graph.inputs["image"].type) == "uint8[28,28]"
    np.testing.assert_allclose(graph({"image": found["images"]})["probabilities"], found["probabilities"], atol=1e-5)

    models = [(trained[0], trained[2]), (recipe, folder)]
    made = [workflow.Trained(each.model, path, 0.0, vars(each), 1.0, "data") for each, path in models]
    made = [replace(each, accuracy=measuring.accuracy(each.uri, rows.rows(0, 100))) for each in made]
    selection = workflow.select(made, 0.0, 2)
    assert [each.name for each in selection.chosen] == ["cnn", "separable"]
    assert workflow.publish([selection], str(tmp_path)) == {"cnn": "fashion-cnn@1", "separable": "fashion-separable@1"}
    version = mt.Store(tmp_path).resolve("fashion-separable@champion")
    assert (version.handler, version.files[0].path) == ("keras", "saved_model.pb")

    monkeypatch.setenv("MOTET_STORE", str(tmp_path))
    image = mt.input("image", "uint8[28,28]")
    members = [mt.Model(f"store:fashion-{each.name}@champion", name=each.name) for each in selection.chosen]
    answers = {each.name: mt.model(each, image) for each in members}
    served = mt.Graph("served", outputs={**answers, "vote": mt.ensemble(members, image)})
    answer = served({"image": found["images"]})
    np.testing.assert_allclose(answer["separable"], found["probabilities"], atol=1e-5)
    np.testing.assert_allclose(answer["vote"], (answer["cnn"] + answer["separable"]) / 2, atol=1e-6)


class System:
    """The command, on a few rows, as a process; ended with its server."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.lines: list[str] = []
        command = [sys.executable, str(FOLDER / "system.py"), "--quick", "--output", str(folder), "--port", "0", *more]
        environment = {**os.environ, "MOTET_CACHE_DIR": str(folder / "cache")}
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def until(self, pattern: str) -> re.Match[str]:
        """The first line that fits."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"{pattern!r} never came:\n{''.join(self.lines)}")

    def rest(self) -> str:
        """Everything that was said, once it has ended well."""
        assert self.process.stdout is not None
        with self.process.stdout:
            self.lines += list(self.process.stdout)
        assert self.process.wait(30) == 0, "".join(self.lines)
        return "".join(self.lines)

    def stop(self) -> None:
        """End it as a person would, and see that its server ends with it."""
        assert self.process.stdout is not None
        self.process.terminate()
        self.process.wait(30)
        self.process.stdout.close()
        with pytest.raises(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The whole system, begun with nothing, asynchronously; it goes on serving."""
    if not any((folder / "train-images-idx3-ubyte.gz").exists() for folder in (DATA, CACHE)):
        pytest.skip("Fashion-MNIST is not here: make data")
    folder = tmp_path_factory.mktemp("system")
    system = System(folder, "--async")
    try:
        first = system.until(r"first answer after [\d.]+ s: .*; asked were (.*)")
        trained_before = sum("train-" in line for line in system.lines)
        url = system.until(r"the page is (\S+);")[1]
        yield folder, url, first[1], trained_before, system.lines
    finally:
        system.stop()


@pytest.mark.timeout(300)
def test_the_first_answer_comes_before_the_last_model_is_trained(ran: Any) -> None:
    folder, _, asked, trained_before, lines = ran
    assert re.fullmatch(r"\w+ \(fashion-\w+@1:[0-9a-f]{12}\)", asked), "one model alone"
    assert trained_before < 3
    assert sum("train-" in line and " done " in line for line in lines) == 3
    assert any(re.search(r"on test rows: .*vote \d", line) for line in lines)
    store = mt.Store(folder / "store")
    champions = [name for name in store.names() if "champion" in store.aliases(name)]
    assert len(champions) == 2
    lineage = store.resolve(f"{champions[0]}@champion").lineage
    assert set(lineage) == {"data", "recipe", "selection"}


@pytest.mark.timeout(300)
@pytest.mark.skipif(found() is None, reason="no Chromium is installed; on Debian or Ubuntu: apt-get install chromium")
def test_a_person_picks_uploads_and_draws_a_garment(ran: Any, tmp_path: Path) -> None:
    """The page says each model's opinion, the vote, and which versions answered."""
    folder, url, *_ = ran
    page = Browser()
    opinions = "[...document.querySelectorAll('.opinion')].map((each) => each.dataset.member + ' ' + each.querySelector('.version').title)"

    def asked() -> tuple[str, list[str]]:
        page.run("document.querySelector('#answer').replaceChildren()")
        page.run("document.querySelector('#try button.main').click()")
        page.until("document.querySelector('.opinion')")
        return page.run("document.querySelector('[data-output=name] dd').textContent"), page.run(opinions)

    try:
        page.look_like(1400, 1300)
        page.open(f"{url}/#fashion_mnist")
        page.until("document.querySelectorAll('.samples img').length === 30")
        page.run("document.querySelector('.samples button').click()")
        page.until("document.querySelector('.picture .note').textContent.startsWith('00 Ankle boot.png')")
        name, members = asked()
        store = mt.Store(folder / "store")
        champions = {
            each: store.resolve(f"fashion-{each}@champion")
            for each in ("mlp", "cnn", "resnet")
            if "champion" in store.aliases(f"fashion-{each}")
        }
        assert members == [f"{each} {version}:{version.digest[:12]}" for each, version in champions.items()]
        graph = mt.Graph(
            "again",
            outputs={
                "vote": mt.ensemble(
                    [mt.Model(str(store.fetch(each))) for each in champions.values()], mt.input("image", "uint8[28,28]")
                )
            },
        )
        import data

        picture = mt.ops.image.decode([min((folder / "pictures").iterdir()).read_bytes()], mode="grey", size=(28, 28))  # type: ignore[arg-type]
        assert name == data.LABELS[int(graph({"image": picture})["vote"].argmax())]
        page.screenshot(tmp_path / "page.png")

        page.upload("#file-image", sorted((folder / "pictures").iterdir())[1])
        page.until("document.querySelector('.picture .note').textContent.startsWith('01 Pullover.png')")
        assert len(asked()[1]) == 2

        box = page.run(
            "(({x, y, width}) => ({x, y, width}))(document.querySelector('.picture canvas').getBoundingClientRect())"
        )
        corners = ((0.3, 0.2), (0.7, 0.2), (0.7, 0.9), (0.3, 0.9), (0.3, 0.2))
        page.drag([(box["x"] + box["width"] * across, box["y"] + box["width"] * down) for across, down in corners])
        page.until("document.querySelector('.picture .note').textContent.includes('sent as a picture')")
        assert len(asked()[1]) == 2
        assert page.troubles == []
    finally:
        page.close()


@pytest.mark.timeout(300)
def test_what_has_not_changed_is_not_done_again(ran: Any) -> None:
    folder, *_ = ran
    states = dict(re.findall(r"s  (\S+)\s+(done|hit)", System(folder, "--no-serve").rest()))
    assert states == {
        "ingest": "hit", "train-mlp": "hit", "train-cnn": "hit", "train-resnet": "hit", "select": "done",
        "publish": "done", "report": "hit",
    }  # fmt: skip
    said = System(folder, "--no-serve", "--set", "mlp.seed=9").rest()
    assert re.findall(r"s  (train-\S+)\s+done", said) == ["train-mlp"]
