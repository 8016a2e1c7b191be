"""Tiny models of transformers with random weights, and a tokenizer that was trained on a few sentences."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

SENTENCES = [
    "the quick brown fox jumps over the lazy dog",
    "Anna lives in Berlin and works for Motet",
    "a good film, a bad book, an awful song",
    "what people say of hotels: clean, loud, near the sea",
]
TEXTS = [
    "good film",
    "",
    "Anna lives in Berlin, the lazy dog jumps over the sea and the quick brown fox works",
    "loud",
    "people say: an awful book near the quick sea!",
    "the lazy dog, the lazy dog, the lazy dog, the lazy dog, the lazy dog, the lazy dog, the lazy dog, the lazy dog",
]


@functools.cache
def _trained() -> str:
    """Training is not the same each time, so it is done once."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(vocab_size=150, special_tokens=special))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made.to_str()


def tokenizer(longest: int = 32) -> Any:
    """One of word pieces, with the special tokens of BERT."""
    import transformers
    from tokenizers import Tokenizer

    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained()), model_max_length=longest, model_input_names=inputs, **names
    )


def bert(kind: str, **more: Any) -> Any:
    """A BERT of a class of transformers, `BertForSequenceClassification` for example; weights large enough to matter."""
    import torch
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer()), max_position_embeddings=64, initializer_range=0.7, **sizes, **more
    )
    return getattr(transformers, kind)(config).eval()


def named(*labels: str) -> dict[str, Any]:
    """Keywords of a configuration that name the classes."""
    return {"id2label": dict(enumerate(labels)), "label2id": {label: place for place, label in enumerate(labels)}}


def save(model: Any, folder: Path, longest: int = 32) -> Path:
    """A folder with the model and the tokenizer."""
    model.save_pretrained(folder)
    tokenizer(longest).save_pretrained(folder)
    return folder


def export(model: Any, folder: Path, name: str, outputs: list[str], longest: int = 32) -> Path:
    """A folder as optimum writes it: the graph, the configuration and the tokenizer."""
    import warnings

    import torch

    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    tokenizer(longest).save_pretrained(folder)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    given = {key: torch.ones(2, 5, dtype=torch.int64) for key in ("input_ids", "attention_mask", "token_type_ids")}
    axes = {key: {0: "rows", 1: "tokens"} for key in given}

    class Named(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: Any) -> Any:
            found = self.model(**dict(zip(given, values, strict=True)), return_dict=True)
            return tuple(found[key] for key in outputs)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Named().eval(), tuple(given.values()), str(folder / name), input_names=list(given), output_names=outputs,
            dynamic_axes={**axes, **{key: {0: "rows"} for key in outputs}}, dynamo=False,
        )  # fmt: skip
    return folder


def rows(texts: list[str], **more: list[str]) -> dict[str, Any]:
    """Columns of texts."""
    return {name: np.array(values, object) for name, values in {"text": texts, **more}.items()}
