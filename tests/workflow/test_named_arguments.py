"""Classes, functions and modules as arguments: each is itself, whatever package it is of."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import itertools
import json
import statistics
from typing import Any

import numpy as np
import pytest

import motet as mt
from motet.workflow.code.follow import follow

THINGS = [
    int, float, str, np.float32, np.float64, ValueError, KeyError, type(None), type(...),
    statistics.mean, statistics.median, json.dumps, json.loads, mt.ops.scores.softmax, mt.ops.scores.top1,
    len, sum, np.add, np.subtract, str.upper, str.lower, np.linalg, np.fft, list[int], list[str],
    dataclasses.make_dataclass("Made", ["a"]), dataclasses.make_dataclass("Made", ["b"]),
    functools.partial(int, base=2), functools.partial(int, base=3), functools.partial(lambda x: x),
    functools.partial(lambda x: x + 1), [1].append, [2].append, "a".join, "b".join, np.vectorize(int),
]  # fmt: skip
OF_PACKAGES = [
    "torch.nn:ReLU", "torch.nn:GELU", "torch.nn.functional:relu", "torch.nn.functional:softmax", "torch.nn.init:zeros_",
    "torch.nn.init:ones_", "sklearn.linear_model:LogisticRegression", "sklearn.ensemble:RandomForestClassifier",
    "pandas:read_csv", "pandas:read_json", "torch:float32", "torch:float64",
]  # fmt: skip


@mt.step(cache=True)
def take(thing: Any) -> Any:
    return 1


@mt.workflow
def taking(thing: Any) -> Any:
    return take(thing)


def key_of(thing: Any) -> Any:
    return taking(thing).run(resume=False).steps[0].key


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], lambda x: {"a": (x, 1)}], ids=["alone", "list", "dict"])
def test_each_thing_has_a_key_of_its_own(wrap: Any) -> None:
    keys = [key_of(wrap(thing)) for thing in THINGS]
    for (a, first), (b, second) in itertools.combinations(zip(THINGS, keys, strict=True), 2):
        assert first != second, (a, b)
    assert [key_of(wrap(thing)) for thing in THINGS] == keys


def test_things_of_frameworks_have_keys_of_their_own() -> None:
    things = []
    for name in OF_PACKAGES:
        module, _, path = name.partition(":")
        pytest.importorskip(module.partition(".")[0])
        things.append(getattr(importlib.import_module(module), path))
    assert len({key_of(thing) for thing in things}) == len(OF_PACKAGES)


def test_a_step_of_a_library_function_is_that_of_its_function() -> None:
    assert follow(statistics.mean).digest != follow(statistics.median).digest
    assert follow(statistics.mean).digest == follow(statistics.mean).digest


def test_a_class_that_is_called_gives_its_own_result() -> None:
    @mt.step(cache=True)
    def parse(kind: Any) -> Any:
        return kind("3")

    @mt.workflow
    def flow(kind: Any) -> Any:
        return parse(kind)

    assert [repr(flow(kind).run().output) for kind in (int, float, str)] == ["3", "3.0", "'3'"]
    assert [flow(kind).run().steps[0].state for kind in (int, float, str)] == ["hit"] * 3
