"""Stable weighted splits: the same key meets the same arm everywhere.

A key's canonical bytes and the split's salt are hashed (BLAKE2b), the hash is mixed with each arm's (the finaliser of
SplitMix64, Steele, Lea and Flood 2014), and the arm with the smallest `-ln(u) / weight` wins: weighted rendezvous
hashing (Thaler and Ravishankar 1998; weights as in Schindelhauer and Schomaker 2005). When an arm's weight grows, keys
only move to it; when it shrinks, they only move away from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from motet.batch import Array
from motet.numbers import is_missing

__all__ = ["canonical_bytes", "choose_arms", "is_missing_key"]

U64 = npt.NDArray[np.uint64]


def is_missing_key(key: Any) -> bool:
    """Whether a key says nothing: what `is_missing`, or empty text."""
    return is_missing(key) or (isinstance(key, (str, bytes)) and not key)


def canonical_bytes(key: Any) -> bytes:
    """The bytes that stand for a key: a type's letter and its value.

    Text is UTF-8, whole numbers are decimal whatever their width, true and false are 1 and 0, floats are 8 bytes IEEE 754
    big-endian, and a float that is whole counts as the whole number, so that 7, 7.0 and `int8(7)` are one key.
    """
    if isinstance(key, str):
        return b"s" + key.encode(errors="surrogatepass")
    if isinstance(key, (bytes, bytearray, memoryview)):
        return b"b" + bytes(key)
    if isinstance(key, (bool, int, np.integer, np.bool_)):
        return b"i%d" % int(key)
    number = float(key)
    return b"i%d" % int(number) if number.is_integer() else b"f" + np.array(number, dtype=">f8").tobytes()


def _hash(data: bytes, salt: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(data, digest_size=8, key=hashlib.blake2b(salt.encode()).digest()[:32]).digest(), "little"
    )


def _mix(values: U64) -> U64:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def choose_arms(keys: Array, weights: Mapping[str, float], salt: str) -> npt.NDArray[np.int64]:
    """The arm of each key.

    Args:
        keys: texts, bytes or numbers, shape `[rows]`.
        weights: how much each arm counts, by name; at least one more than 0.
        salt: names the split, so that different splits of the same keys are independent.

    Returns:
        The place of each row's arm in `weights`, shape `[rows]`; -1 where the key is missing.
    """
    listed = keys.tolist()
    known = {key: None if is_missing_key(key) else _hash(canonical_bytes(key), salt) for key in set(listed)}
    found = list(map(known.__getitem__, listed))
    hashes = np.array([0 if value is None else value for value in found], dtype=np.uint64)
    arms: Sequence[tuple[str, float]] = list(weights.items())
    best = np.full(len(hashes), np.inf)
    chosen = np.zeros(len(hashes), dtype=np.int64)
    for place, (arm, weight) in enumerate(arms):
        if weight <= 0:
            continue
        mixed = _mix(hashes ^ np.uint64(_hash(b"a" + arm.encode(), salt)))
        uniform = ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        score = -np.log(uniform) / weight
        better = score < best
        best[better], chosen[better] = score[better], place
    chosen[[value is None for value in found]] = -1
    return chosen
