"""Models that score a candidate for a query."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

TEXTS = [
    "the room was clean and quiet",
    "breakfast was cold and late",
    "a quiet street near the station",
    "the staff were friendly at breakfast",
    "the station is ten minutes away",
    "no hot water in the room",
]
QUERIES = ["quiet room", "how was breakfast", "far from the station"]


class Relevance:
    """The cosine of the TF-IDF vectors of both texts, fitted to `TEXTS`; takes no candidate that says `unreadable`."""

    def __init__(self) -> None:
        self._vectors = TfidfVectorizer().fit(TEXTS)

    def __call__(self, query: Any, candidate: Any) -> Any:
        if any("unreadable" in text for text in candidate):
            raise ValueError("cannot read a candidate")
        one, other = (self._vectors.transform(texts) for texts in (query, candidate))
        return np.asarray(one.multiply(other).sum(axis=1)).reshape(-1).astype(np.float32)
