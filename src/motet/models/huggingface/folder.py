"""What the files of a folder of Hugging Face say of its model, read without any framework.

config.json                         the architecture, its sizes, its classes
tokenizer.json, tokenizer_config.json
model.safetensors, model-00001-of-00002.safetensors ..., pytorch_model.bin
model.onnx, onnx/model.onnx         exports, in the layout of optimum and of sentence-transformers
modules.json, 1_Pooling/config.json, config_sentence_transformers.json, sentence_bert_config.json
                                    what sentence-transformers adds
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from motet.errors import UnknownNameError
from motet.models.common import load_error, place
from motet.models.handler import ModelSource

__all__ = ["HEADS", "TextFolder", "belonging", "read_folder"]

HEADS = ("config.json", "modules.json")
"""The files that stand for a model."""
_PARTS = re.compile(r"(onnx|\d+_\w+)/")
"""The folders inside that belong to it."""
_ASIDE = ("data_config.json", "train_results.json", "trainer_state.json", "eval_results.json", "all_results.json")
_PICKLE = re.compile(r"pytorch_model.*\.bin")
_SAFE = re.compile(r"model.*\.safetensors")
_ONNX_NAMES = ("model.onnx", "model_optimized.onnx", "model_quantized.onnx")
"""What optimum calls a model that is one graph."""
_MOST_BYTES = 64 << 20


def belonging(names: Sequence[str]) -> list[str]:
    """Of the files of a folder those that the model is made of: not those of other frameworks, nor what is only told of it."""
    inside = [name for name in names if "/" not in name or _PARTS.fullmatch(posixpath.dirname(name) + "/")]
    safe = any(_SAFE.fullmatch(posixpath.basename(name)) for name in inside)
    return [name for name in inside if _belongs(posixpath.basename(name), safe)]


def _belongs(name: str, safe: bool) -> bool:
    if name.endswith(".bin"):
        return not safe and _PICKLE.fullmatch(name) is not None
    wanted = (".json", ".txt", ".model", ".safetensors", ".onnx", ".onnx_data", ".onnx.data", ".jinja")
    return name.endswith(wanted) and name not in _ASIDE and not name.startswith(("README", "LICENSE"))


@dataclass(frozen=True)
class TextFolder:
    """A folder, and what its files say.

    Attributes:
        path: where it is.
        names: the relative paths of the model's files.
        config: config.json.
        tokenizer: tokenizer_config.json.
        modules: of sentence-transformers, by their classes' names the folder and the configuration of each, in order.
        sentence: config_sentence_transformers.json.
        inner: the folder of network and tokenizer below `path`, empty for itself.
    """

    path: str
    names: tuple[str, ...]
    config: Mapping[str, Any]
    tokenizer: Mapping[str, Any]
    modules: tuple[tuple[str, str, Mapping[str, Any]], ...]
    sentence: Mapping[str, Any]
    inner: str

    @cached_property
    def network(self) -> str:
        """Where the configuration and the weights of the network are."""
        return os.path.join(self.path, self.inner) if self.inner else self.path

    @cached_property
    def bert(self) -> Mapping[str, Any]:
        """What sentence-transformers says of the tokenizer."""
        return _json(os.path.join(self.network, "sentence_bert_config.json"))

    @property
    def architecture(self) -> str:
        """The class of the network, empty where it is not said."""
        found = self.config.get("architectures")
        return str(found[0]) if isinstance(found, list) and found else ""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes in the order of the scores, as transformers names them where nobody did."""
        named = self.config.get("id2label")
        if isinstance(named, Mapping) and named:
            return tuple(str(named[key]) for key in sorted(named, key=int))
        number = self.config.get("num_labels", self.config.get("_num_labels", 2))
        return tuple(f"LABEL_{each}" for each in range(int(number)))

    @property
    def width(self) -> int | None:
        """How many numbers the vector of a token has; None where it is not said."""
        text = self.config.get("text_config")
        for config in (self.config, text if isinstance(text, Mapping) else {}):
            for key in ("hidden_size", "dim", "d_model", "n_embd", "embedding_size"):
                if isinstance(config.get(key), int):
                    return int(config[key])
        return None

    @property
    def tells_types(self) -> bool:
        """Whether the tokenizer of transformers says which of two texts a token is of."""
        named = self.tokenizer.get("model_input_names")
        if isinstance(named, list):
            return "token_type_ids" in named
        return self.tokenizer.get("tokenizer_class") not in ("PreTrainedTokenizerFast", "TokenizersBackend")

    @property
    def positions(self) -> int | None:
        """How many tokens the network has places for; None where there is no bound, or none is said."""
        found = self.config.get("max_position_embeddings", self.config.get("n_positions"))
        if not isinstance(found, int) or found <= 0 or self.config.get("model_type") in ("t5", "mt5", "umt5", "xlnet"):
            return None
        padded = self.config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")
        return found - (int(self.config.get("pad_token_id") or 1) + 1 if padded else 0)

    def weights(self, source: ModelSource) -> str:
        """The file of the weights below `network`: the one that was named, else safetensors, a pickle, or ONNX.

        Raises:
            ModelLoadError: when there is none.
            UnknownNameError: when there is none of the name.
        """
        prefix = f"{self.inner}/" if self.inner else ""
        own = [name.removeprefix(prefix) for name in self.names if name.startswith(prefix)]
        top = [name for name in own if "/" not in name]
        torch = [name for name in top if _SAFE.fullmatch(name)] or [name for name in top if _PICKLE.fullmatch(name)]
        onnx = [name for name in own if name.endswith(".onnx")]
        named = source.options.get("file")
        if named is not None:
            if named not in (*torch, *onnx):
                raise UnknownNameError("file of weights", str(named), (*torch, *onnx), where=place(source))
            return str(named)
        exports = [folder + name for folder in ("", "onnx/") for name in _ONNX_NAMES if folder + name in onnx]
        found = torch or exports
        if not found:
            what = "the folder has no weights: no model.safetensors, no pytorch_model.bin, no model.onnx"
            hint = "say with: {file: NAME}" if onnx else "write it by model.save_pretrained(folder)"
            raise load_error(source, f"{what}{', but ' + ', '.join(onnx) if onnx else ''}", hint)
        return found[0]


def read_folder(source: ModelSource) -> TextFolder:
    """What the files of the folder say, of which `source.location` is the own one, or the folder.

    Raises:
        ModelLoadError: when one of them cannot be read.
    """
    path = source.location if os.path.isdir(source.location) else os.path.dirname(source.location)
    names = tuple(_names(path))
    try:
        modules = _modules(path)
        inner = next((where for kind, where, _ in modules if kind == "Transformer"), "")
        network = os.path.join(path, inner) if inner else path
        read = [_json(os.path.join(network, name)) for name in ("config.json", "tokenizer_config.json")]
        sentence = _json(os.path.join(path, "config_sentence_transformers.json"))
        folder = TextFolder(path, names, read[0], read[1], modules, sentence, inner)
        _ = folder.labels  # may be no classes
    except (OSError, ValueError, TypeError, KeyError) as error:
        what = f"what its files say cannot be read: {error}"
        raise load_error(source, what, "copy the folder again, or write it by model.save_pretrained(folder)") from error
    return folder


def _names(path: str) -> list[str]:
    found = []
    for folder in (
        "",
        *sorted(each.name for each in os.scandir(path) if each.is_dir() and _PARTS.fullmatch(each.name + "/")),
    ):
        found += [
            posixpath.join(folder, each.name) for each in os.scandir(os.path.join(path, folder)) if each.is_file()
        ]
    return belonging(sorted(found))


def _modules(path: str) -> tuple[tuple[str, str, Mapping[str, Any]], ...]:
    """The modules of sentence-transformers: the class, its folder, what it is made with."""
    listed = _read(os.path.join(path, "modules.json"))
    found = []
    for each in listed if isinstance(listed, list) else ():
        name, where = str(each["type"]), str(each.get("path") or "")
        if not name.startswith("sentence_transformers."):
            raise ValueError(f"modules.json names {name}, which is code of the model's own; no such code is run")
        if posixpath.isabs(where) or ".." in where.split("/"):
            raise ValueError(f"modules.json names {where!r}, which is outside the folder")
        kind = name.rpartition(".")[2]
        found.append((kind, where, {} if kind == "Transformer" else _json(os.path.join(path, where, "config.json"))))
    return tuple(found)


def _json(path: str) -> Mapping[str, Any]:
    found = _read(path)
    if not isinstance(found, Mapping | None):
        raise ValueError(f"{os.path.basename(path)} is no JSON object")
    return found or {}


def _read(path: str) -> Any:
    """What a JSON file holds, None where there is none."""
    try:
        if os.path.getsize(path) > _MOST_BYTES:
            raise ValueError(f"{os.path.basename(path)} is larger than {_MOST_BYTES >> 20} MiB")
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{os.path.basename(path)}: {error}") from error
