"""What the demo learns from the answers: who was right, who agreed, and where the members part ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

import data

Array = npt.NDArray[np.generic]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Opinion:
    """What one model said of every row.

    Attributes:
        label: its class, int64 [rows].
        score: how likely it thinks that class is, float32 [rows].
    """

    label: Indices
    score: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Answers:
    """The answers of the ensemble, row by row.

    Attributes:
        images: uint8 [rows, 28, 28].
        truth: the true class, int64 [rows].
        members: what each member said, by name.
        vote: what they said together.
    """

    images: data.UInt8Array
    truth: Indices
    members: Mapping[str, Opinion]
    vote: Opinion

    def __len__(self) -> int:
        return len(self.truth)

    def accuracy(self, opinion: Opinion, rows: Indices | None = None) -> float:
        """The share of rows, 0 to 1, in which an opinion was right; of no rows 0."""
        right = opinion.label == self.truth
        chosen = right if rows is None else right[rows]
        return float(chosen.mean()) if len(chosen) else 0.0

    def confusion(self) -> Indices:
        """How often each class, the first axis, was taken for each other, the second: int64 [10, 10]."""
        table = np.zeros((len(data.LABELS), len(data.LABELS)), dtype=np.int64)
        np.add.at(table, (self.truth, self.vote.label), 1)
        return table

    def num_opinions(self) -> Indices:
        """How many different classes the members named, int64 [rows]."""
        labels = np.sort(np.stack([opinion.label for opinion in self.members.values()]), axis=0)
        return 1 + (np.diff(labels, axis=0) != 0).sum(axis=0)

    def agreed(self, opinions: int) -> Indices:
        """The rows for which the members named this many different classes."""
        return np.flatnonzero(self.num_opinions() == opinions)

    def torn(self, count: int, *, right: bool) -> Indices:
        """The rows about which members were sure, and disagreed: the surest first, at most three of a class.

        Args:
            count: how many.
            right: whether the vote is right in them, or wrong.
        """
        surest = np.min([opinion.score for opinion in self.members.values()], axis=0)
        wanted = (self.num_opinions() > 1) & ((self.vote.label == self.truth) == right)
        order = np.argsort(-surest, kind="stable")
        return self._spread(order[wanted[order]], count)

    def _spread(self, order: Indices, count: int, most: int = 3) -> Indices:
        """The first rows of an order, no class more than `most` times."""
        seen = dict.fromkeys(range(len(data.LABELS)), 0)
        chosen: list[int] = []
        for row in order.tolist():
            if seen[int(self.truth[row])] < most and len(chosen) < count:
                seen[int(self.truth[row])] += 1
                chosen.append(row)
        return np.array(chosen, dtype=np.int64)

    def samples(self) -> Indices:
        """The first row of every class, in the order of the classes."""
        return np.array([np.flatnonzero(self.truth == label)[0] for label in np.unique(self.truth)], dtype=np.int64)


def read_answers(path: Path, members: list[str], images: data.UInt8Array) -> Answers:
    """Read what the demo's graph wrote: the columns `truth`, `label`, `score`, and probabilities by member."""
    table = pq.read_table(path)
    vote = Opinion(_numbers(table, "label"), _numbers(table, "score"))
    return Answers(images, _numbers(table, "truth"), {name: _opinion(table, name) for name in members}, vote)


def _opinion(table: pa.Table, name: str) -> Opinion:
    probabilities = table[name].combine_chunks().to_numpy_ndarray()
    return Opinion(probabilities.argmax(axis=1), probabilities.max(axis=1))


def _numbers(table: pa.Table, name: str) -> npt.NDArray[np.generic]:
    return table[name].to_numpy()
