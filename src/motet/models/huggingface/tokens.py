"""Texts into tokens, by `tokenizers`: as the tokenizer of transformers does it, without transformers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from motet.batch import Array
from motet.errors import InputError
from motet.models.common import framework, load_error
from motet.models.handler import ModelSource
from motet.models.huggingface.folder import TextFolder
from motet.tracebacks import summary

__all__ = ["Padded", "TextTokens", "check_length", "max_length", "pad_id", "read_tokenizer", "special_id"]

_UNSAID = 1_000_000
"""What transformers writes for a length that nobody said is larger."""


@dataclass(frozen=True)
class Padded:
    """The rows of a call.

    Attributes:
        ids: tokens `[rows, tokens]`, int64.
        mask: 1 where there is a token, 0 for padding, alike.
        types: 1 for the tokens of the second of two texts, alike.
        encodings: what `tokenizers` said of each row.
    """

    ids: Array
    mask: Array
    types: Array
    encodings: Sequence[Any]


class TextTokens:
    """A tokenizer; several threads may call it.

    Args:
        tokenizer: of `tokenizers`; it is changed.
        longest: the most tokens of a row, at which it is cut; None for any number.
        bound: the most tokens that the network takes, None for any number.
        pad: the id that fills up rows.
        where: the model, for messages.
        left: whether rows are filled up, and cut, at their beginning.
        prompt: what is put before each text.
    """

    def __init__(
        self,
        tokenizer: Any,
        longest: int | None,
        bound: int | None,
        pad: int,
        where: str,
        *,
        cut_left: bool = False,
        pad_left: bool = False,
        prompt: str = "",
    ) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if longest is not None:
            tokenizer.enable_truncation(longest, strategy="longest_first", direction="left" if cut_left else "right")
        self._tokenizer, self._bound, self._pad, self._where = tokenizer, bound, pad, where
        self._left, self._prompt = pad_left, prompt

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[Any]:
        """What `tokenizers` says of each row, or the error of one that the network cannot take.

        Args:
            texts: the rows.
            pairs: the second text of each row, None where rows are one text.
        """
        prompt = self._prompt
        if pairs is None:
            return [self._encoded(prompt + text) for text in texts]
        return [self._encoded(prompt + text, pair) for text, pair in zip(texts, pairs, strict=True)]

    def _encoded(self, *texts: str) -> Any:
        try:
            return self._checked(self._tokenizer.encode(*texts))
        except TypeError:
            if all(text.isascii() or _is_whole(text) for text in texts):
                raise
            hint = "decode it as UTF-8 with errors='replace'"
            return InputError("the text has half of a character (a surrogate)", where=self._where, hint=hint)

    def _checked(self, encoding: Any) -> Any:
        tokens = len(encoding)
        if not tokens:
            return InputError("the text has no tokens", where=self._where, hint="give texts that are not empty")
        if self._bound is not None and tokens > self._bound:
            hint = f"with: {{max_length: {self._bound}}} cuts longer texts"
            return InputError(
                f"the text has {tokens} tokens, the model takes {self._bound}", where=self._where, hint=hint
            )
        return encoding

    def padded(self, encodings: Sequence[Any]) -> Padded:
        """Rows of one call, filled up to the longest."""
        shape = len(encodings), max(map(len, encodings))
        ids, mask, types = np.full(shape, self._pad, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, encoding in enumerate(encodings):
            held = slice(shape[1] - len(encoding), None) if self._left else slice(0, len(encoding))
            ids[row, held], mask[row, held], types[row, held] = encoding.ids, 1, encoding.type_ids
        return Padded(ids, mask, types, encodings)

    def prompt_tokens(self) -> int:
        """How many tokens the prompt is, with those before it."""
        if not self._prompt:
            return 0
        encoding = self._tokenizer.encode(self._prompt)
        return len(encoding) - int(encoding.special_tokens_mask[-1])


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_tokenizer(folder: TextFolder, source: ModelSource) -> Any:
    """The tokenizer of a folder as `tokenizers` has it.

    Raises:
        ModelLoadError: when the folder has none, or none that can be read.
        MissingExtraError: when `tokenizers` is not installed.
    """
    tokenizers = framework("tokenizers", "tokenizers", "huggingface", source)
    path = os.path.join(folder.network, "tokenizer.json")
    hint = "write it by AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
    if not os.path.isfile(path):
        raise load_error(source, "the folder has no tokenizer.json", hint)
    try:
        return tokenizers.Tokenizer.from_file(path)
    except Exception as error:
        raise load_error(source, f"tokenizer.json cannot be read: {summary(error)}", hint) from error


def max_length(folder: TextFolder, source: ModelSource, *, capped: bool) -> int | None:
    """At how many tokens texts are cut: what is said of the model here, else there; None where nobody says it.

    Args:
        folder: of the model.
        source: its options.
        capped: whether it is never more than the network has places for, as sentence-transformers holds it.

    Raises:
        ModelLoadError: when it is no number of tokens.
    """
    said = source.options.get("max_length")
    if said is not None:
        if isinstance(said, bool) or not isinstance(said, int) or said < 1:
            raise load_error(source, f"max_length is a number of tokens; got {said!r}", "say a whole number above 0")
        return said
    if isinstance(folder.bert.get("max_seq_length"), int):
        return int(folder.bert["max_seq_length"])
    own = folder.tokenizer.get("model_max_length")
    found = int(own) if isinstance(own, int | float) and own < _UNSAID else None
    if not capped or folder.positions is None:
        return found
    return folder.positions if found is None else min(found, folder.positions)


def special_id(tokenizer: Any, token: Any) -> int | None:
    """The id of a token as tokenizer_config.json names it, None where there is none."""
    text = token.get("content") if isinstance(token, dict) else token
    found: int | None = tokenizer.token_to_id(text) if isinstance(text, str) else None
    return found


def pad_id(tokenizer: Any, folder: TextFolder) -> int | None:
    """What fills up rows, None where nobody says it."""
    own = folder.config.get("pad_token_id")
    return own if isinstance(own, int) and own >= 0 else special_id(tokenizer, folder.tokenizer.get("pad_token"))


def check_length(tokenizer: Any, longest: int | None, pair: bool, source: ModelSource) -> None:
    """See that texts may be cut at so many tokens.

    Raises:
        ModelLoadError: when the tokens that are put around each text are as many.
    """
    around = tokenizer.num_special_tokens_to_add(pair)
    if longest is not None and longest <= around:
        what = f"max_length is {longest}, of which {around} are put around each text"
        raise load_error(source, what, f"say a number above {around}")
