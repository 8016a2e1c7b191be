"""Which replica answers which piece of a shard: the same piece meets the same one, whatever row it is from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from motet.batch import Column, Ragged
from motet.nodes.split import canonical_bytes, choose_arms, is_missing_key

__all__ = ["SPREADS", "Spread"]

SPREADS = ("hash", "rendezvous")


class Spread(NamedTuple):
    """How pieces are given to replicas.

    Attributes:
        how: `hash`: the piece's hash modulo the number of replicas, so that when there are more or fewer nearly all pieces move;
            `rendezvous`: only those of the replica that came or went do (Thaler and Ravishankar 1998).
        columns: the pieces.
        pieces: how many there are.
    """

    how: str
    columns: Sequence[Column]
    pieces: int

    def keys(self) -> npt.NDArray[np.uint64]:
        """What each piece is, shape `[pieces]`: BLAKE2b of its values in all columns."""
        digests = [hashlib.blake2b(digest_size=8) for _ in range(self.pieces)]
        for column in self.columns:
            for digest, data in zip(digests, _bytes(column), strict=True):
                digest.update(data)
        return np.array([int.from_bytes(digest.digest(), "little") for digest in digests], dtype=np.uint64)

    def shares(self, names: Sequence[str], salt: str) -> list[tuple[str, npt.NDArray[np.int64]]]:
        """Each replica that has pieces, and their places.

        Args:
            names: of the replicas that can be called; with fewer than two there is nothing to choose, and the name is empty.
            salt: names the model, so that several models do not send the same pieces to the same places.
        """
        if len(names) < 2:
            return [("", np.arange(self.pieces))]
        keys = self.keys()
        if self.how == "hash":
            chosen = (keys % np.uint64(len(names))).astype(np.int64)
        else:
            chosen = choose_arms(keys, dict.fromkeys(names, 1.0), salt)
        return [(names[place], np.flatnonzero(chosen == place)) for place in np.unique(chosen)]


def _bytes(column: Column) -> Iterable[bytes]:
    """What each piece is in one column."""
    if isinstance(column, Ragged):
        return (repr(row.shape).encode() + row.tobytes() for row in column)
    if column.dtype != object:
        return (row.tobytes() for row in column)
    return (_of_object(value) for value in column.tolist())


def _of_object(value: object) -> bytes:
    if isinstance(value, (str, bytes, bool, int, float)):
        return b"" if is_missing_key(value) else canonical_bytes(value)
    return repr(value).encode()
