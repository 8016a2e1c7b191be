"""Texts that a model writes: encoder-decoders (T5, BART) answer a text, causal models (GPT-2, Llama) go on with it.

    with: {generate: {max_new_tokens: 50, num_beams: 4}}     keywords of transformers' `generate`

What is said there wins over the folder's generation_config.json. Nothing is sampled, since a row's answer would be another one
each time, and depend on the rows beside it. A causal model gives what it wrote, without the text that it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from motet.batch import Array
from motet.errors import UnknownNameError
from motet.models.common import load_error, place, raise_memory_error
from motet.models.handler import ModelSource
from motet.models.huggingface.lengths import cut_by_length
from motet.models.huggingface.tokens import Padded, TextTokens
from motet.models.torch import OUT_OF_MEMORY, torch_threads
from motet.system.pieces import Say, saying

__all__ = ["GenerationModel", "generation_of"]

_REFUSED = {
    "num_return_sequences": "a row has one answer",
    "return_dict_in_generate": "a row's answer is a text",
    "output_scores": "a row's answer is a text",
    "output_logits": "a row's answer is a text",
}
_COUNTS = ("max_new_tokens", "max_length", "num_beams")
_SAMPLED = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
_SEES_PADDING = {"encoder_repetition_penalty": 1.0, "encoder_no_repeat_ngram_size": 0}
_SEES_PADDING_BEFORE = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_length": 0}
"""What looks at the tokens that a row was given, padding among them, and with which value it does not: of all models, and of those
whose answer goes on with the text."""
_NEW_TOKENS = 20
"""How many tokens are written where nobody says it, as transformers has it."""
_WINDOW, _KEPT = 64, 16
"""How many tokens of a text are put into words with each that comes, and how many of those before are kept: what is put into words
again with each token must not be all of a long text."""
_HALF = "\ufffd"
"""What stands for a part of a character."""


def generation_of(model: Any, source: ModelSource) -> Any:
    """How a model writes: what its folder says, and over it what is said of the model here.

    Raises:
        ModelLoadError: when it would be sampled, or more than one text a row.
        UnknownNameError: when transformers has no such keyword.
    """
    said = source.options.get("generate", {})
    if not isinstance(said, Mapping):
        raise load_error(source, f"generate is keywords of transformers' generate; got {said!r}")
    for name, value in said.items():
        if name in _REFUSED and value not in (None, False, 1):
            raise load_error(source, f"generate: {{{name}: {value}}}: {_REFUSED[name]}", "leave it out")
        if name in _COUNTS and value is not None and not _is_count(value):
            raise load_error(source, f"generate: {name} must be a whole number of at least 1; got {value!r}")
        if name == "do_sample" and value:
            what = "generate: {do_sample: true}: the answer of a row would be another one each time"
            raise load_error(source, what, "leave it out; num_beams searches for better answers")
    found = model.generation_config
    unknown = found.update(**{**said, "do_sample": False, **dict.fromkeys(_SAMPLED)})
    if unknown:
        known = tuple(name for name in found.to_dict() if name not in (*_REFUSED, *_SAMPLED))
        raise UnknownNameError("keyword of generate", next(iter(unknown)), known, where=place(source))
    if found.max_new_tokens is None and "max_length" not in said:
        found.max_new_tokens = _NEW_TOKENS if found.max_length in (None, 20) else None
    return found


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


class GenerationModel:
    """A loaded model that writes; several threads may call it.

    Args:
        torch: the module.
        model: of transformers, on its device.
        tokens: cuts texts into tokens.
        decode: from tokens to a text.
        causal: whether it goes on with the text, which is not given again.
        source: for threads.
        call_tokens: the most tokens of the texts of a call, padding counted.
        generation: how it writes, see `generation_of`.
    """

    fresh_outputs = True

    def __init__(
        self,
        torch: Any,
        model: Any,
        tokens: TextTokens,
        decode: Any,
        causal: bool,
        source: ModelSource,
        call_tokens: int,
        generation: Any,
    ) -> None:
        self._torch, self._model, self._tokens, self._decode = torch, model, tokens, decode
        self._causal, self._threads, self._call_tokens = causal, source.threads, call_tokens
        self._ends, self._alike = _ends(generation), _sees_padding(generation, causal)
        self._cleans = bool(getattr(getattr(decode, "__self__", None), "clean_up_tokenization_spaces", False))
        self._in_order = (generation.num_beams or 1) == 1  # several beams settle on a text at its end

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`. A text that the model cannot take fails alone.

        Raises:
            MemoryError: when a call is too large for the memory.
        """
        found = self._tokens.encode(columns["text"].tolist(), None)
        good = [row for row, each in enumerate(found) if not isinstance(each, Exception)]
        for chosen in cut_by_length([len(found[row]) for row in good], self._call_tokens, alike=self._alike):
            rows = [good[place] for place in chosen]
            say = saying("text") if len(found) == 1 and self._in_order else None
            padded = self._tokens.padded([found[row] for row in rows])
            for row, text in zip(rows, self._written(padded, say), strict=True):
                found[row] = text
        plain = all(isinstance(each, str) for each in found)
        return {"text": np.array(found, object) if plain else found}

    def _written(self, rows: Padded, say: Say | None) -> Sequence[str]:
        """The texts of the rows of a call; the only one is said while it is written, where somebody listens."""
        torch, device = self._torch, self._model.device
        given = {"input_ids": rows.ids, "attention_mask": rows.mask}
        tensors = {name: torch.from_numpy(values).to(device) for name, values in given.items()}
        if say is not None:
            tensors["streamer"] = GrowingText(self._text, say, cleans=self._cleans)
        try:
            with torch.inference_mode(), torch_threads.of(torch, self._threads):
                written = self._model.generate(**tensors)
        except Exception as error:
            raise_memory_error(error, OUT_OF_MEMORY)
            raise
        first = rows.ids.shape[1] if self._causal else 1  # what a decoder begins with
        return [self._text(tokens[first:]) for tokens in written.tolist()]

    def _text(self, tokens: list[int]) -> str:
        text: str = self._decode(_until_end(tokens, self._ends), skip_special_tokens=True)
        return text

    def close(self) -> None:
        """Let go of the model."""
        on_cpu, self._model = self._model.device.type == "cpu", None
        if not on_cpu:
            self._torch.cuda.empty_cache()


class GrowingText:
    """What transformers' `generate` hands the tokens of one row to, as it chooses them: a `streamer`.

    Args:
        text: from tokens to their text.
        say: is given what is new in it.
        cleans: whether spaces are taken out of a text before punctuation, once that has come.
    """

    def __init__(self, text: Callable[[list[int]], str], say: Say, *, cleans: bool) -> None:
        self._text, self._say, self._cleans = text, say, cleans
        self._tokens: list[int] | None = None
        self._said = ""

    def put(self, tokens: Any) -> None:
        """Take tokens: the first time those that the text begins with, which are no part of it."""
        if self._tokens is None:
            self._tokens = []
            return
        self._tokens += tokens.reshape(-1).tolist()
        whole = self._text(self._tokens)
        text = self._settled(whole)
        if len(text) > len(self._said) and text.startswith(self._said):
            self._said, piece = text, text[len(self._said) :]
            self._say(piece)
        if len(self._tokens) >= _WINDOW:
            self._let_go(whole)

    def _let_go(self, whole: str) -> None:
        """Forget the tokens that what comes does not depend on: where the last of them alone give the end of the text."""
        tokens = (self._tokens or [])[-_KEPT:]
        end = self._text(tokens)
        unsaid = len(whole) - len(self._said)
        if whole.startswith(self._said) and whole.endswith(end) and len(end) > unsaid and not _is_half(end):
            self._tokens, self._said = tokens, end[: len(end) - unsaid]

    def _settled(self, text: str) -> str:
        """As much of a text as stays, whatever comes: no half of a character, and nothing that the next word may change."""
        whole = text.rstrip(_HALF)
        return whole.rpartition(" ")[0] if self._cleans else whole

    def end(self) -> None:
        """The last token has come; what is left is in the answer."""


def _is_half(text: str) -> bool:
    """Whether a text begins or ends within a character."""
    return text.startswith(_HALF) or text.endswith(_HALF)


def _ends(generation: Any) -> frozenset[int]:
    """The tokens that end a text."""
    said = generation.eos_token_id
    return frozenset(said if isinstance(said, list | tuple) else () if said is None else (said,))


def _until_end(tokens: list[int], ends: frozenset[int]) -> list[int]:
    """A text without what fills it up to the longest beside it."""
    last = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[: last + 1]


def _sees_padding(generation: Any, causal: bool) -> bool:
    """Whether a row's answer would depend on how much it is filled up."""
    without = {**_SEES_PADDING, **(_SEES_PADDING_BEFORE if causal else {})}
    counts_all = causal and generation.max_new_tokens is None  # max_length is of the text and the answer
    return counts_all or any(getattr(generation, name, None) not in (None, off) for name, off in without.items())
