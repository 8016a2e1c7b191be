"""What processes of pools do with a graph that they are given."""

from typing import Any

import numpy as np

import motet as mt


def given(graph: Any, value: Any) -> Any:
    return float(graph({"x": np.array([value], np.float32)})["y"][0])


def missing(_: Any) -> Any:
    return mt.load("nope.yaml")


def failing(graph: Any, value: Any) -> Any:
    return graph({"x": [value]})
