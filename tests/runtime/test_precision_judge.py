"""Whether answers are those of f32, against the rule written out row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.runtime.precision.judge import OF_PROBABILITIES, difference

seeds = st.integers(0, 1 << 32)


def probabilities(seed: int, rows: int = 20, classes: int = 4) -> Any:
    logits = np.random.default_rng(seed).normal(size=(rows, classes)) * 3
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return shares.astype(np.float32)


@given(seeds, st.floats(0, 0.06))
def test_probabilities_are_held_to_the_difference_and_to_what_is_largest(seed: int, size: float) -> None:
    right = probabilities(seed)
    found = right + np.random.default_rng(seed + 1).uniform(-size, size, right.shape).astype(np.float32)
    told = difference({"p": right}, {"p": found})
    wrong = False
    for exact, given_ in zip(right.astype(float), found.astype(float), strict=True):
        second, first = np.sort(exact)[-2:]
        wrong |= max(abs(exact - given_)) > OF_PROBABILITIES
        wrong |= first - second > OF_PROBABILITIES and exact.argmax() != given_.argmax()
    assert bool(told.why) == wrong
    assert told.largest == pytest.approx(np.abs(right.astype(float) - found).max())


@given(seeds, st.floats(0, 0.03))
def test_other_floats_are_held_to_a_part_of_themselves_or_of_the_usual(seed: int, size: float) -> None:
    random = np.random.default_rng(seed)
    right = random.normal(size=30) * 10 ** random.uniform(-3, 3)
    found = right * (1 + random.uniform(-size, size, 30))
    usual = float(np.sqrt(np.mean(right**2)))
    parts = [abs(a - b) / max(abs(a), usual) for a, b in zip(right, found, strict=True)]
    told = difference({"y": right}, {"y": found}, 0.01)
    assert bool(told.why) == (max(parts) > 0.01)
    assert told.largest == pytest.approx(max(parts))


@given(seeds)
def test_the_same_is_the_same(seed: int) -> None:
    right = {"p": probabilities(seed), "label": probabilities(seed).argmax(axis=1)}
    told = difference(right, {name: value.copy() for name, value in right.items()})
    assert (told.why, told.largest) == ("", 0.0)


def test_labels_may_differ_where_f32_is_undecided_and_nowhere_else() -> None:
    p = np.array([[0.505, 0.495], [0.9, 0.1]], np.float32)
    near, far = np.array([1, 0]), np.array([0, 1])
    right = {"label": np.array([0, 0]), "p": p}
    assert not difference(right, {"label": near, "p": p}).why
    assert difference(right, {"label": far, "p": p}).why == "label differs in 1 of 2 rows"
    assert difference({"label": right["label"]}, {"label": near}).why == "label differs in 1 of 2 rows"


def test_what_is_no_number_must_be_none_in_the_same_places() -> None:
    right = np.array([1.0, np.nan, np.inf, 2.0])
    assert not difference({"y": right}, {"y": right.copy()}).why
    for other in ([1.0, 0.0, np.inf, 2.0], [1.0, np.nan, -np.inf, 2.0], [np.nan, np.nan, np.inf, 2.0]):
        assert (
            difference({"y": right}, {"y": np.array(other)}).why == "y is infinite or NaN in other places than in f32"
        )


def test_answers_of_another_shape_or_dtype_are_no_answers() -> None:
    right = np.zeros((3, 2), np.float32)
    assert difference({"y": right}, {"y": right[:, :1]}).why == "y is float32[3, 1], not float32[3, 2]"
    assert difference({"y": right}, {"y": right.astype(float)}).why == "y is float64[3, 2], not float32[3, 2]"
