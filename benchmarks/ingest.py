"""Ingestion: an epoch of Fashion-MNIST in batches of 128, with a cache and without, beside torch's DataLoader.

    python -m benchmarks.ingest
    python -m benchmarks.ingest --rounds 9 --json ingest.json

Everything is read into batches of images and labels, and nothing is trained. Candidates take turns; the first round,
in which caches are filled, is shown apart. The files are unpacked by each epoch of `stream`, once by the others.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import motet as mt
from benchmarks.tables import ratio, shown, spread, table

__all__ = ["main"]

ROWS = 128
FOLDER = Path("/usr/share/datasets/fashion-mnist")
FILES = {"image": "train-images-idx3-ubyte.gz", "label": "train-labels-idx1-ubyte.gz"}
OURS = "cache in memory"

Epoch = Callable[[int], int]


def candidates(folder: Path, cache: Path) -> dict[str, Epoch]:
    """What gives an epoch, by name; each returns how many rows it gave."""
    paths = {column: folder / name for column, name in FILES.items()}
    rows = mt.data.idx(**paths)
    found = {
        OURS: rows.cache().shuffle(1),
        "cache on disk": rows.cache(cache).shuffle(1),
        "stream": rows,
        "stream, shuffled": rows.shuffle(1),
    }
    epochs: dict[str, Epoch] = {name: _epoch(dataset) for name, dataset in found.items()}
    try:
        epochs |= _loaders(rows)
    except ImportError:
        print("torch is not installed: no DataLoader")
    return epochs


def _epoch(dataset: mt.data.Dataset) -> Epoch:
    return lambda epoch: sum(len(batch["label"]) for batch in dataset.batches(ROWS, epoch=epoch))


def _loaders(rows: mt.data.Dataset) -> dict[str, Epoch]:
    """torch's, over arrays that are in memory already."""
    import torch
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

    whole = next(rows.batches(rows.num_rows or 1))
    tensors = TensorDataset(torch.from_numpy(whole["image"]), torch.from_numpy(whole["label"]))
    by_row = DataLoader(tensors, ROWS, shuffle=True, drop_last=True)
    by_batch = DataLoader(tensors, sampler=BatchSampler(RandomSampler(tensors), ROWS, True), batch_size=None)

    def counted(batches: Iterator[Any]) -> int:
        return sum(len(labels) for _, labels in batches)

    return {
        "DataLoader, row by row": lambda epoch: counted(iter(by_row)),
        "DataLoader, batch sampler": lambda epoch: counted(iter(by_batch)),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="Compare ways to read an epoch of training rows.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where Fashion-MNIST's files are")
    parser.add_argument("--json", type=Path, help="file for every figure")
    options = parser.parse_args(arguments)
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as cache:
        chosen = candidates(options.folder, Path(cache))
        for number in range(options.rounds + 1):
            for name, epoch in chosen.items():
                started = time.perf_counter()
                num_rows = epoch(number)
                seconds.setdefault(name, []).append(time.perf_counter() - started)
                assert num_rows == 60_000 // ROWS * ROWS, f"{name} gave {num_rows} rows"
    lines = [
        (name, f"{first:.3f}", shown(spread(later), ".3f"), shown(ratio(seconds[OURS][1:], later), ".1f"))
        for name, (first, *later) in seconds.items()
    ]
    print(table(("60,000 rows", "first epoch, s", "later, s, median (range)", "longer than in memory"), lines))
    if options.json:
        options.json.write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()
