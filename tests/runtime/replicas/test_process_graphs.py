"""Graphs whose models are in processes of their own: the same answers and failures as with models in this process."""

import numpy as np
import pytest

import motet as mt
from motet.testing.fakes import Failing, Hungry, fake

X = np.random.default_rng(0).integers(-9, 9, 150).astype(np.float32)


def played(model):
    """What a model answers, and how rows fail."""
    graph = mt.Graph("g", {"y": mt.model(model, mt.input("x", "float32"), name="asked")})
    answers, failures = graph({"x": X}, failures="return")
    return answers["y"].tolist(), failures


@pytest.mark.parametrize("error", ["ValueError", "KeyError", "MemoryError"])
def test_rows_fail_with_the_same_words(error):
    def model(placement):
        return fake(Failing, "picky", bad=[3.0, 7.0], error=error, settings={"placement": placement})

    here, there, shared = (played(model(placement)) for placement in ("thread", "process", "machine"))
    assert here == there == shared
    assert {failure.error for failure in there[1]} == {error}


def test_failures_name_the_line_of_the_model():
    def model(placement):
        return mt.Model(
            "python:helpers.models:Strict", "s", inputs={"x": "float32"}, outputs={"y": "float32"}, placement=placement
        )

    here, there = played(model("thread")), played(model("process"))
    assert here == there
    assert "helpers/models.py" in there[1][0].message


def test_batches_that_are_too_large_are_halved():
    answers, failures = played(fake(Hungry, "hungry", most=20, settings={"placement": "process"}))
    assert answers == X.tolist()
    assert not failures
