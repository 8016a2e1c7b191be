"""Models of transformers and sentence-transformers from a folder, and ONNX exports of them. A row is a text.

    huggingface:folder      what save_pretrained or SentenceTransformer.save wrote, or optimum's export

Options (`with:` of the model), all of them left out where the folder says it:

    task          text-classification, text-ranking, token-classification, embedding or text-generation
    file          which file of weights, of several: model.safetensors, onnx/model_quantized.onnx
    max_length    the most tokens of a text, at which it is cut
    batch_tokens  the most tokens of one call of the network, padding counted; 4096
    dtype         float32 (the default), bfloat16 or float16, of networks on torch

`task.py` has those of each task. Weights are read from safetensors or from ONNX, which carry no code; a pytorch_model.bin is read
as weights alone, and from no remote place. Code that a folder carries is never run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from motet.errors import UnknownNameError
from motet.models.common import framework, load_error, place
from motet.models.handler import Handler, LoadedModel, ModelSource
from motet.models.huggingface.classes import ClassHead
from motet.models.huggingface.folder import HEADS, TextFolder, belonging, read_folder
from motet.models.huggingface.generation import GenerationModel, generation_of
from motet.models.huggingface.lengths import CALL_TOKENS
from motet.models.huggingface.model import Answer, ClassAnswer, EmbeddingAnswer, HuggingFaceModel, SpanAnswer
from motet.models.huggingface.network import Network, OnnxNetwork, is_row_by_row, load_torch_network, load_transformer
from motet.models.huggingface.pooling import read_pooling
from motet.models.huggingface.spans import SpanHead
from motet.models.huggingface.task import is_pair, task_of, text_signature
from motet.models.huggingface.tokens import (
    TextTokens,
    check_length,
    max_length,
    pad_id,
    read_tokenizer,
    special_id,
)
from motet.tracebacks import summary
from motet.types import Signature

__all__ = ["HuggingFaceHandler"]


class HuggingFaceHandler(Handler):
    """Loads folders of transformers and sentence-transformers."""

    name: ClassVar[str] = "huggingface"
    extra: ClassVar[str] = "huggingface"
    folder_heads: ClassVar[tuple[str, ...]] = HEADS
    code_suffixes: ClassVar[tuple[str, ...]] = (".bin",)

    @staticmethod
    def folder_files(names: Sequence[str]) -> list[str]:
        """Which files of a folder are the model's."""
        return belonging(names)

    def signature(self, source: ModelSource) -> Signature:
        """What the JSON files of the folder say, with the declared types over it; loads nothing.

        Raises:
            ModelLoadError: when they cannot be read, or do not say what the model is for.
        """
        folder = read_folder(source)
        return text_signature(task_of(folder, source), folder, source)

    def notes(self, source: ModelSource) -> list[str]:
        """What whoever checks a graph should know of this model."""
        folder = read_folder(source)
        task = task_of(folder, source)
        longest = max_length(folder, source, capped=task == "embedding")
        cut = [] if longest is None or task == "text-generation" else [f"texts are cut at {longest} tokens"]
        if is_row_by_row(folder, folder.weights(source)):
            cut.append("it is quantized by one scale for all rows of a call, so each row is a call of its own")
        return cut

    def streams(self, source: ModelSource) -> bool:
        """Whether it writes texts, token by token."""
        folder = read_folder(source)
        return task_of(folder, source) == "text-generation"

    def load(self, source: ModelSource) -> LoadedModel:
        """Load tokenizer and network; see `Handler.load`."""
        folder = read_folder(source)
        task = task_of(folder, source)
        outputs = tuple(text_signature(task, folder, source).outputs)
        weights = folder.weights(source)
        if task == "text-generation":
            return _writer(folder, weights, source)
        if weights.endswith(".onnx"):
            tokenizer = read_tokenizer(folder, source)
            tokens = _tokens(tokenizer, pad_id(tokenizer, folder), task, folder, source)
            network: Network = OnnxNetwork(folder, weights, folder.tells_types, source)
        else:
            own = _transformers_tokenizer(folder, source)
            tokenizer, pad = own.backend_tokenizer, pad_id(own.backend_tokenizer, folder)
            tokens = _tokens(tokenizer, own.pad_token_id if pad is None else pad, task, folder, source)
            network = load_torch_network(task, folder, weights, "token_type_ids" in own.model_input_names, source)
        answer = _answer(task, folder, tokens, network, source)
        alone = task in ("text-classification", "text-ranking") and pad_id(tokenizer, folder) is None
        return HuggingFaceModel(tokens, network, answer, outputs, _call_tokens(source), 1 if alone else network.rows)


def _answer(task: str, folder: TextFolder, tokens: TextTokens, network: Network, source: ModelSource) -> Answer:
    if task == "embedding":
        pooling = read_pooling(folder, source).on(network.tensor)
        return EmbeddingAnswer(pooling, tokens.prompt_tokens() if pooling.skips_prompt else 0)
    if task == "token-classification":
        return SpanAnswer(SpanHead(folder.labels, source))
    return ClassAnswer(ClassHead(task, folder, source))


def _tokens(tokenizer: Any, pad: int | None, task: str, folder: TextFolder, source: ModelSource) -> TextTokens:
    """The tokenizer of a model that reads texts, made ready."""
    longest = max_length(folder, source, capped=task in ("embedding", "text-ranking"))
    check_length(tokenizer, longest, is_pair(task, folder, source), source)
    if folder.bert.get("do_lower_case"):
        _lower(tokenizer)
    cut_left = folder.tokenizer.get("truncation_side") == "left"
    prompt = _prompt(folder, source) if task == "embedding" else ""
    return TextTokens(tokenizer, longest, folder.positions, pad or 0, place(source), cut_left=cut_left, prompt=prompt)


def _lower(tokenizer: Any) -> None:
    """Have letters made small first, as sentence-transformers does."""
    from tokenizers import normalizers

    own = tokenizer.normalizer
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([] if own is None else [own])])


def _prompt(folder: TextFolder, source: ModelSource) -> str:
    """What is put before each text: as it is said here, else the folder's own of that name, else its default."""
    said, named = source.options.get("prompt"), source.options.get("prompt_name")
    if said is not None and not isinstance(said, str):
        raise load_error(source, f"prompt is a text; got {said!r}")
    if said is not None:
        return str(said)
    prompts = folder.sentence.get("prompts") or {}
    if named is not None and named not in prompts:
        raise UnknownNameError("prompt_name", str(named), tuple(prompts), where=place(source))
    return str(prompts.get(named if named is not None else folder.sentence.get("default_prompt_name"), "") or "")


def _call_tokens(source: ModelSource) -> int:
    said = source.options.get("batch_tokens", CALL_TOKENS)
    if isinstance(said, bool) or not isinstance(said, int) or said < 1:
        raise load_error(source, f"batch_tokens is a whole number above 0; got {said!r}")
    return said


def _transformers_tokenizer(folder: TextFolder, source: ModelSource) -> Any:
    """The tokenizer as transformers reads it, which must be one of `tokenizers`."""
    transformers = framework("transformers", "transformers", "huggingface", source)
    try:
        found = transformers.AutoTokenizer.from_pretrained(
            folder.network, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        hint = "write it by tokenizer.save_pretrained(folder)"
        raise load_error(source, f"transformers cannot load its tokenizer: {summary(error)}", hint) from error
    if not getattr(found, "is_fast", False):
        what = f"its tokenizer is a {type(found).__name__}, which `tokenizers` has not"
        raise load_error(source, what, "save it with a fast tokenizer, which writes tokenizer.json")
    return found


def _writer(folder: TextFolder, weights: str, source: ModelSource) -> GenerationModel:
    """A model that writes texts."""
    if weights.endswith(".onnx"):
        raise load_error(source, "ONNX exports write no texts here", "keep model.safetensors in the folder")
    torch = framework("torch", "torch", "huggingface", source)
    own = _transformers_tokenizer(folder, source)
    causal = not folder.config.get("is_encoder_decoder", False)
    model = load_transformer("AutoModelForCausalLM" if causal else "AutoModelForSeq2SeqLM", folder, weights, source)
    generation = generation_of(model, source)
    longest = source.options.get("max_length") if causal else max_length(folder, source, capped=False)
    if longest is not None:
        longest = max_length(folder, source, capped=False)
        check_length(own.backend_tokenizer, longest, False, source)
    pads = [
        generation.pad_token_id,
        own.pad_token_id,
        special_id(own.backend_tokenizer, folder.tokenizer.get("eos_token")),
    ]
    pad = next((each for each in pads if isinstance(each, int)), 0)
    generation.pad_token_id = pad
    room = folder.positions
    if causal and room is not None:
        room = max(room - int(generation.max_new_tokens or 0), 1)
    tokens = TextTokens(
        own.backend_tokenizer,
        longest,
        room,
        pad,
        place(source),
        cut_left=own.truncation_side == "left",
        pad_left=causal,
    )
    return GenerationModel(torch, model, tokens, own.decode, causal, source, _call_tokens(source), generation)
