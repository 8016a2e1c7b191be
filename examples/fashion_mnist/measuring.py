"""How good a model's file is, whatever wrote it: it is asked as it will be served."""

from __future__ import annotations

import motet as mt

EVALUATION_ROWS = 1000


def accuracy(uri: str, rows: mt.data.Dataset) -> float:
    """The share of rows, 0 to 1, for which the likeliest class of a model, as a graph names it, is the true one."""
    right = total = 0
    graph = answering(uri)
    for batch in rows.batches(EVALUATION_ROWS, drop_last=False):
        found = graph({"image": batch["image"]})["probabilities"].argmax(1)
        right, total = right + int((found == batch["label"]).sum()), total + len(found)
    return right / total


def answering(uri: str) -> mt.Graph:
    """A graph of one model, as it will be served."""
    image = mt.input("image", "uint8[28,28]")
    return mt.Graph("alone", outputs={"probabilities": mt.model(mt.Model(uri), image)})
