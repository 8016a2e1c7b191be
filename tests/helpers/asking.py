"""What processes of pools do with a graph that they are given."""

import numpy as np

import motet as mt


def given(graph, value):
    return float(graph({"x": np.array([value], np.float32)})["y"][0])


def missing(_):
    return mt.load("nope.yaml")


def failing(graph, value):
    return graph({"x": [value]})
