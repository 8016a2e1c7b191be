"""Labelled rows, and estimators that know more or less of them."""

from functools import cache
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

import motet as mt

NAMES = np.array(["ant", "bee", "cat"])


@cache
def rows(count: int = 400, seed: int = 5) -> tuple[Any, Any]:
    """Four features, and one of three classes."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 4)).astype(np.float32)
    noise = random.normal(size=count) / 2
    return x, np.digitize(x[:, 0] + x[:, 1] * x[:, 2] + noise, [-0.6, 0.6])


@cache
def estimators() -> dict[str, Any]:
    """A cheap one, one that sees more, and one that sees something else."""
    x, y = rows(600, 9)
    return {
        "linear": LogisticRegression().fit(x, NAMES[y]),
        "tree": DecisionTreeClassifier(max_depth=5, random_state=0).fit(x, NAMES[y]),
        "near": KNeighborsClassifier(15).fit(x, NAMES[y]),
    }


def graph(kind: str = "cascade", **settings: Any) -> mt.Graph:
    """The estimators in a cascade or an ensemble; the answer is a name, beside its place and the scores."""
    models = [mt.Model(each, name=name) for name, each in estimators().items()]
    x = mt.input("x", "float32[4]")
    if kind == "cascade":
        node = mt.cascade(models, x, of="probabilities", output="probabilities", **{"confidence": 0.8, **settings})
    else:
        node = mt.ensemble(models, x, output="probabilities", **settings)
    top = mt.map(mt.ops.scores.top1, node.probabilities)
    named = mt.map(mt.ops.scores.label, top.index, labels=NAMES.tolist())
    return mt.Graph("animals", outputs={"name": named, "place": top.index, "scores": node.probabilities})


@mt.returns("float64[3]")
def first_of(*columns: Any) -> Any:
    """The answers of the first member."""
    return columns[0]


@mt.returns("float64")
def sigmoid(x: Any) -> Any:
    """One probability a row."""
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def near(x: Any) -> Any:
    """Stands for a model that a test puts something in the place of."""
    raise NotImplementedError
