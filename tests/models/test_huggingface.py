"""Models of Hugging Face against transformers and sentence-transformers themselves: called, in bulk and live."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers import texts
from motet.errors import InputError, ModelLoadError, UnknownNameError
from motet.models.handler import ModelSource
from motet.models.registry import find_handler
from motet.system.pieces import heard

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CLOSE: Any = {"rtol": 1e-4, "atol": 1e-5}
CLASSES = ("bad", "good", "meh")
PAIRS = [
    "the sea",
    "a good film about hotels",
    "",
    "Berlin",
    "the quick brown fox jumps over the lazy dog and the sea",
    "loud",
]


def loaded(folder: Path, **options: Any) -> Any:
    return find_handler("huggingface:x")[0].load(ModelSource("m", str(folder), options))


def signed(folder: Path, **options: Any) -> Any:
    return find_handler("huggingface:x")[0].signature(ModelSource("m", str(folder), options))


def alone(model: Any, text: str, pair: str | None = None) -> Any:
    """What transformers' tokenizer and a model give for one row."""
    tokens = texts.tokenizer()([text], None if pair is None else [pair], truncation=True, return_tensors="pt")
    with torch.inference_mode():
        return model(**tokens)


@pytest.fixture(scope="module")
def classifier() -> Any:
    return texts.bert("BertForSequenceClassification", **texts.named(*CLASSES))


@pytest.fixture(scope="module")
def folders(classifier: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The classifier as transformers saves it, and as optimum exports it, at both places."""
    folder = tmp_path_factory.mktemp("classifier")
    found = {"torch": texts.save(classifier, folder / "torch")}
    found["onnx"] = texts.export(classifier, folder / "onnx", "model.onnx", ["logits"])
    return found


@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_a_classifier_answers_as_transformers_does_and_its_column_knows_the_classes(
    folders: dict[str, Path], classifier: Any, kind: str
) -> None:
    graph = mt.Graph("g", dict(zip(("p", "l"), both(folders[kind]), strict=True)))
    outputs = signed(folders[kind]).outputs
    assert {name: str(type_) for name, type_ in outputs.items()} == {"probabilities": "float32[3]", "label": "string"}
    assert outputs["probabilities"].labels == CLASSES
    with graph:
        answer = graph(texts.rows(texts.TEXTS))
    expected = [alone(classifier, text).logits.softmax(1)[0].numpy() for text in texts.TEXTS]
    np.testing.assert_allclose(answer["p"], expected, **CLOSE)
    assert answer["l"].tolist() == [CLASSES[int(each.argmax())] for each in expected]


def both(folder: Path, **more: Any) -> tuple[Any, Any]:
    node = mt.model(mt.Model(f"huggingface:{folder}", "m", **more), mt.input("text", "string"))
    return node.probabilities, node.label


def test_called_in_bulk_and_live_a_row_has_one_answer_and_a_bad_one_fails_alone(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """The export, which needs neither torch nor transformers."""
    given = [texts.TEXTS[0], None, texts.TEXTS[2], texts.TEXTS[1]]
    probabilities, label = both(folders["onnx"], outputs={"label": "string", "probabilities": "float32[3]"})
    with mt.Graph("g", {"p": probabilities, "l": label}) as graph:
        answer, failures = graph({"text": given}, failures="return")
        assert [(each.row, each.message) for each in failures] == [(1, "input 'text' is null")]
        alone = [graph({"text": [text]})["p"][0] for text in given if text is not None]
        np.testing.assert_allclose(answer["p"], alone, **CLOSE)
        source = tmp_path / "in.jsonl"
        source.write_text("".join(f'{{"text": {line}}}\n' for line in ('"good film"', "3.5", f'"{given[2]}"', '""')))
        report = graph.run(source, tmp_path / "out.parquet")
        assert (report.answered, report.failed) == (3, 1)
        np.testing.assert_allclose(pq.read_table(tmp_path / "out.parquet")["p"].to_pylist(), alone, **CLOSE)
        with graph.serve(block=False, port=0, grpc_port=None) as server, httpx.Client(base_url=server.url) as client:
            live = client.post("/predict/g", json={"rows": [{"text": text} for text in given]}).json()
    assert "input 'text' is null" in str(live["rows"][1]["error"])
    np.testing.assert_allclose([each["p"] for each in live["rows"] if "p" in each], alone, **CLOSE)


@pytest.mark.parametrize(
    ("more", "output"),
    [
        ({**texts.named("score")}, "score"),
        ({**texts.named("score"), "problem_type": "regression"}, "score"),
        ({**texts.named(*CLASSES), "problem_type": "multi_label_classification"}, "label_probabilities"),
    ],
)
def test_scores_and_several_labels_are_those_of_the_pipeline(more: dict[str, Any], output: str, tmp_path: Path) -> None:
    folder = texts.save(texts.bert("BertForSequenceClassification", **more), tmp_path / "m")
    pipeline = transformers.pipeline("text-classification", str(folder), top_k=None)
    found = loaded(folder)(texts.rows(texts.TEXTS))[output]
    for row, text in zip(found, texts.TEXTS, strict=True):
        expected = {each["label"]: each["score"] for each in pipeline([text], truncation=True)[0]}
        labels = CLASSES if len(expected) > 1 else ("score",)
        np.testing.assert_allclose(np.atleast_1d(row), [expected[label] for label in labels], **CLOSE)


@pytest.mark.parametrize("aggregation", ["simple", "none"])
def test_spans_are_those_of_the_pipeline(aggregation: str, tmp_path: Path) -> None:
    labels = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    folder = texts.save(texts.bert("BertForTokenClassification", **texts.named(*labels)), tmp_path / "m")
    pipeline = transformers.pipeline("token-classification", str(folder), aggregation_strategy=aggregation)
    found = loaded(folder, aggregation=aggregation)(texts.rows(texts.TEXTS))
    assert {name: str(kind) for name, kind in signed(folder).outputs.items()} == {
        "start": "int64[?]", "end": "int64[?]", "label": "string[?]", "score": "float32[?]",
    }  # fmt: skip
    for row, text in enumerate(texts.TEXTS[:-1]):  # the pipeline does not cut the last one
        expected = pipeline(text) if text else []
        assert found["label"][row].tolist() == [each.get("entity_group", each.get("entity")) for each in expected]
        assert found["start"][row].tolist() == [each["start"] for each in expected]
        assert found["end"][row].tolist() == [each["end"] for each in expected]
        np.testing.assert_allclose(found["score"][row], [each["score"] for each in expected], **CLOSE)
    kinds = [mt.model(mt.Model(f"huggingface:{folder}", "m"), mt.input("text", "string"))]
    with mt.Graph("g", {"label": kinds[0].label, "start": kinds[0].start}) as graph:
        assert [len(each) for each in graph(texts.rows(texts.TEXTS[:2]))["label"]][1] == 0


def test_a_cross_encoder_ranks_pairs_as_sentence_transformers_does(tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    own = texts.save(texts.bert("BertForSequenceClassification", **texts.named("score")), tmp_path / "own")
    encoder = sentence_transformers.CrossEncoder(str(own), device="cpu")
    encoder.save_pretrained(str(tmp_path / "m"))
    assert str(signed(tmp_path / "m")) == "(text: string, text_pair: string) -> (score: float32)"
    expected = encoder.predict(list(zip(texts.TEXTS, PAIRS, strict=True)))
    for folder, options in ((tmp_path / "m", {}), (own, {"task": "text-ranking"})):
        found = loaded(folder, **options)(texts.rows(texts.TEXTS, text_pair=PAIRS))
        np.testing.assert_allclose(found["score"], expected, **CLOSE)


def test_a_classifier_of_pairs_is_asked_for(folders: dict[str, Path], classifier: Any) -> None:
    expected = [alone(classifier, *pair).logits.softmax(1)[0].numpy() for pair in zip(texts.TEXTS, PAIRS, strict=True)]
    for folder in folders.values():
        found = loaded(folder, pair=True)(texts.rows(texts.TEXTS, text_pair=PAIRS))
        np.testing.assert_allclose(found["probabilities"], expected, **CLOSE)


@pytest.mark.parametrize("pad", [0, None])
def test_a_classifier_that_looks_at_the_last_token_finds_it(pad: int | None, tmp_path: Path) -> None:
    """Behind padding; and where nothing is known that pads, each row is a call of its own."""
    torch.manual_seed(5)
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 48, "initializer_range": 0.7}
    own = transformers.GPT2Config(vocab_size=len(texts.tokenizer()), pad_token_id=pad, **texts.named(*CLASSES), **sizes)
    model = transformers.GPT2ForSequenceClassification(own).eval()
    expected = [alone(model, text).logits.softmax(1)[0].numpy() for text in texts.TEXTS]
    folder = texts.save(model, tmp_path / "m")
    if pad is None:
        said = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps({**said, "pad_token": None}))
    found = loaded(folder)(texts.rows(texts.TEXTS))["probabilities"]
    np.testing.assert_allclose(found, expected, **CLOSE)


def decoder() -> Any:
    torch.manual_seed(5)
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 48}
    config = transformers.GPT2Config(
        vocab_size=len(texts.tokenizer()), bos_token_id=2, eos_token_id=3, initializer_range=0.7, **sizes
    )
    return transformers.GPT2LMHeadModel(config).eval()


def encoder_decoder() -> Any:
    torch.manual_seed(5)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    config = transformers.T5Config(
        vocab_size=len(texts.tokenizer()), eos_token_id=3, decoder_start_token_id=0, initializer_factor=5.0, **sizes
    )
    return transformers.T5ForConditionalGeneration(config).eval()


@pytest.mark.parametrize(
    ("make", "generate"),
    [
        (decoder, {}),
        (encoder_decoder, {"max_new_tokens": 4}),
        (decoder, {"max_new_tokens": 3, "num_beams": 2}),
        (decoder, {"max_length": 30}),  # of the text and the answer: padding is not counted
        (encoder_decoder, {"encoder_repetition_penalty": 3.0, "max_new_tokens": 6}),  # nor looked at
    ],
)
def test_written_texts_are_those_that_each_row_has_alone(
    make: Callable[[], Any], generate: dict[str, Any], tmp_path: Path
) -> None:
    model = make()
    folder = texts.save(model, tmp_path / "m")
    assert str(signed(folder)) == "(text: string) -> (text: string)"
    given, own = [text for text in texts.TEXTS if text][:-1], texts.tokenizer()
    found = loaded(folder, generate=generate)(texts.rows(given))["text"].tolist()
    most: dict[str, Any] = {} if "max_length" in generate else {"max_new_tokens": 20}
    for text, row in zip(given, found, strict=True):
        tokens = own(text, return_tensors="pt", return_token_type_ids=False)
        written = model.generate(**tokens, do_sample=False, pad_token_id=0, **{**most, **generate})[0]
        first = 0 if model.config.is_encoder_decoder else tokens["input_ids"].shape[1]
        assert row == own.decode(written[first:], skip_special_tokens=True)


@pytest.mark.parametrize(
    ("make", "generate"), [(decoder, {}), (encoder_decoder, {}), (decoder, {"num_beams": 2, "max_new_tokens": 3})]
)
def test_texts_are_told_token_by_token(make: Callable[[], Any], generate: dict[str, Any], tmp_path: Path) -> None:
    folder = texts.save(make(), tmp_path / "m")
    for cleans in (False, True):
        about = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps({**about, "clean_up_tokenization_spaces": cleans}))
        writer = loaded(folder, generate=generate)
        for text in texts.TEXTS[2:5]:
            told: list[str] = []
            with heard({"text": lambda told=told: told.append}):  # type: ignore[misc]
                (whole,) = writer(texts.rows([text]))["text"]
            assert whole.startswith("".join(told))
            assert len(told) > 3 or "num_beams" in generate or len(whole.split()) < 6
            assert writer(texts.rows([text]))["text"].tolist() == [whole]
    with mt.Graph("g", {"t": mt.model(mt.Model(f"huggingface:{folder}", "m"), mt.input("text", "string"))}) as graph:
        assert "".join(graph.stream({"text": "the sea"})) == graph.predict({"text": "the sea"})["t"]


def test_a_text_ends_where_it_ended_whatever_fills_it_up(tmp_path: Path) -> None:
    model, text = encoder_decoder(), "the lazy dog"
    folder = texts.save(model, tmp_path / "m")
    for end in range(5, len(texts.tokenizer()), 20):  # no special token; some rows end with it early
        model.generation_config.update(eos_token_id=end, pad_token_id=20, max_new_tokens=8)
        model.generation_config.save_pretrained(folder)
        writer = loaded(folder)
        many = writer(texts.rows([text, *texts.TEXTS[2:5]]))["text"].tolist()
        assert many[0] == writer(texts.rows([text]))["text"][0]


def test_half_a_character_fails_its_row_alone(folders: dict[str, Path]) -> None:
    found = loaded(folders["onnx"])(texts.rows(["loud", "\ud800", "good film"]))
    for name in ("probabilities", "label"):
        assert [isinstance(each, InputError) for each in found[name]] == [False, True, False]
    assert "the text has half of a character (a surrogate)" in str(found["label"][1])


@pytest.mark.parametrize(
    ("generate", "text"),
    [
        ({"do_sample": True}, "generate: {do_sample: true}: the answer of a row would be another one each time"),
        ({"num_return_sequences": 2}, "generate: {num_return_sequences: 2}: a row has one answer"),
        ({"max_tokens": 2}, "unknown keyword of generate 'max_tokens'; did you mean 'max_new_tokens'"),
        ("greedy", "generate is keywords of transformers' generate; got 'greedy'"),
    ],
)
def test_what_would_not_be_one_text_a_row_is_refused(tmp_path: Path, generate: Any, text: str) -> None:
    folder = texts.save(decoder(), tmp_path / "m")
    with pytest.raises((ModelLoadError, UnknownNameError)) as caught:
        loaded(folder, generate=generate)
    assert text in str(caught.value)


def test_a_text_that_leaves_no_room_to_write_fails_alone(tmp_path: Path) -> None:
    folder = texts.save(decoder(), tmp_path / "m")
    given = ["loud", "the sea " * 60, "good"]
    found = loaded(folder, generate={"max_new_tokens": 4})(texts.rows(given))["text"]
    assert isinstance(found[1], InputError)
    assert "tokens, the model takes 44\n  hint: with: {max_length: 44} cuts longer texts" in str(found[1])
    assert [type(found[0]), type(found[2])] == [str, str]
    with mt.Graph("g", {"t": mt.model(mt.Model(f"huggingface:{folder}", "m"), mt.input("text", "string"))}) as graph:
        _, failures = graph({"text": given}, failures="return")
    assert [each.row for each in failures] == [1]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"task": "sentiment"}, UnknownNameError, "unknown task 'sentiment'; known: text-classification"),
        ({"pooling": "cls"}, UnknownNameError, "unknown option 'pooling'"),
        ({"task": "embedding", "pooling": "meen"}, UnknownNameError, "unknown pooling 'meen'; did you mean 'mean'"),
        ({"activation": "relu"}, UnknownNameError, "unknown activation 'relu'; known: softmax, sigmoid, none"),
        ({"file": "model.onnx"}, UnknownNameError, "unknown file of weights 'model.onnx'; "),
        ({"dtype": "int8"}, UnknownNameError, "unknown dtype 'int8'; known: float32, bfloat16, float16"),
        ({"max_length": "all"}, ModelLoadError, "max_length is a number of tokens; got 'all'"),
        ({"max_length": 2}, ModelLoadError, "max_length is 2, of which 2 are put around each text\n  hint: say a number above 2"),
        ({"batch_tokens": 0}, ModelLoadError, "batch_tokens is a whole number above 0; got 0"),
        ({"task": "token-classification", "aggregation": "first"}, UnknownNameError, "unknown aggregation 'first'; known: simple, none"),
        ({"task": "text-ranking"}, ModelLoadError, "a ranker gives one score; this model has 3 classes"),
        ({"task": "text-generation"}, ModelLoadError, "the folder has no weights for cls.predictions.bias, "),
    ],
)  # fmt: skip
def test_options_that_are_none_are_refused(
    folders: dict[str, Path], options: dict[str, Any], error: Any, text: str
) -> None:
    with pytest.raises(error) as caught:
        loaded(folders["torch"], **options)
    assert text in str(caught.value)
