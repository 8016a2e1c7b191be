"""`metric:` of a route by weighted split: what is read and written of it, what it must be, and that it changes no answer."""

from __future__ import annotations

import re

import numpy as np
import pytest

import motet as mt
from motet.engines.local.manifest import graph_digest
from motet.errors import GraphError, InputError, UnknownNameError
from motet.graph.experiment import ExperimentMetric, GuardrailBounds
from motet.graph.yaml import parse, read_graph
from motet.planning.experiments.experiment import experiment_of, experiments_of
from motet.testing.fakes import Affine, fake

SPLIT = """
motet: 1
name: shop
inputs: {user: string, x: float32, country: string}
models:
  one: {uri: "python:motet.testing.fakes:Affine", inputs: {x: float32}, outputs: {output: float32}}
  two: {uri: "python:motet.testing.fakes:Affine", inputs: {x: float32}, outputs: {output: float32}, with: {scale: 2.0}}
nodes:
  ab: {route: {old: one, new: two}, inputs: [x], split: {old: 9, new: 1}, by: user%s}
outputs: {y: ab}
"""
WHOLE = {
    "name": "spent", "kind": "mean", "better": "less", "effect": 0.02, "control": "new", "missing": "zero",
    "guardrails": {"errors": 0.01, "seconds": 1.5}, "segments": ["country"],
}  # fmt: skip


def _graph(metric: str = "") -> mt.Graph:
    return read_graph(parse(SPLIT % (f", metric: {metric}" if metric else "")), mt.Graph)


def _built(metric: object) -> mt.Graph:
    user, x, country = mt.input("user", "string"), mt.input("x", "float32"), mt.input("country", "string")
    one = fake(Affine, "one", "float32", "float32")
    two = fake(Affine, "two", "float32", "float32", scale=2.0)
    arms = {"old": one, "new": two}
    ab = mt.route(arms, x, split={"old": 9, "new": 1}, by=user, metric=metric, using=[country], name="ab")  # type: ignore[arg-type]
    return mt.Graph("shop", {"y": ab})


def test_a_name_alone_is_a_rate_of_which_more_is_better() -> None:
    (metric,) = (each.metric for each in experiments_of(_graph("clicked")))
    assert metric == ExperimentMetric("clicked", "rate", "more", 0.05, None, None, GuardrailBounds(), ())
    assert metric.missing_is_zero
    assert "metric: clicked" in _graph("clicked").to_yaml()


@pytest.mark.parametrize("metric", ["clicked", WHOLE, ExperimentMetric("clicked", segments=("country",))])
def test_what_python_says_a_file_says(metric: object) -> None:
    graph = _built(metric)
    read = read_graph(parse(graph.to_yaml()), mt.Graph, folder=graph.folder)
    assert read == graph
    assert experiment_of(read) == experiment_of(graph)


def test_a_metric_that_python_makes_is_checked_as_that_of_a_file() -> None:
    for said, message in (
        ({"kind": "rat"}, "kind: expected rate or mean; got 'rat'"),
        ({"effect": 0.0}, "effect: must be more than 0; got 0.0"),
        ({"segments": ("country", "country")}, "segments: a column is there twice: country, country"),
        ({"segments": (1,)}, "segments[0]: expected a text; got 1"),
    ):
        with pytest.raises(GraphError, match=re.escape(message)):
            ExperimentMetric("clicked", **said)


def test_the_control_is_the_first_arm_of_the_split_unless_said() -> None:
    assert experiment_of(_graph("clicked")).control == "old"
    found = experiment_of(_built(WHOLE))
    assert (found.control, found.treatments, found.unit, found.graph, found.node) == (
        "new",
        ("old",),
        "user",
        "shop",
        "ab",
    )
    assert found.periods[0].share("new") == 0.1


def test_a_metric_changes_no_answer_and_no_run_is_refused_for_it() -> None:
    plain, told = _graph(), _graph("{name: clicked, segments: [country]}")
    rows = {"user": [f"u{n}" for n in range(50)], "x": np.arange(50, dtype=np.float32), "country": ["de"] * 50}
    assert plain(rows)["y"].tolist() == told(rows)["y"].tolist()
    assert graph_digest(plain.checked) == graph_digest(told.checked)
    assert "metric: clicked" in _graph("clicked").draw()


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("{kind: mean}", "nodes.ab.metric: 'name' is missing"),
        ('" "', "nodes.ab.metric: ' ' is no name of a metric"),
        ("7", "nodes.ab.metric: expected a text; got 7"),
        ("{name: c, kind: median}", "nodes.ab.metric.kind: expected rate or mean; got 'median'"),
        ("{name: c, effect: 0}", "nodes.ab.metric.effect: must be more than 0; got 0.0"),
        ("{name: c, control: newest}", "nodes.ab.metric.control: unknown member 'newest'; did you mean 'new'?"),
        ("{name: c, guardrails: {errors: 2}}", "nodes.ab.metric.guardrails.errors: must be more than 0, at most 1; got 2.0"),
        ("{name: c, guardrails: {seconds: 1}}", "nodes.ab.metric.guardrails.seconds: must be more than 1; got 1.0"),
        ("{name: c, segments: [country, country]}", "nodes.ab.metric.segments: a column is there twice"),
        ("{name: c, segment: [country]}", "nodes.ab.metric: unknown key 'segment'; did you mean 'segments'?"),
        ("{name: c, segments: [land]}", "node 'ab': unknown column 'land'"),
    ],
)  # fmt: skip
def test_a_metric_that_is_wrong_is_refused(metric: str, message: str) -> None:
    with pytest.raises(GraphError, match=re.escape(message)):
        _graph(metric)


def test_only_a_split_of_two_arms_or_more_is_an_experiment() -> None:
    text = SPLIT % ", metric: clicked"
    with pytest.raises(GraphError, match="'metric' has no meaning in a route by key"):
        read_graph(parse(text.replace("split: {old: 9, new: 1}, by:", "key:")), mt.Graph)
    with pytest.raises(GraphError, match="an experiment compares two arms or more"):
        read_graph(parse(text.replace("old: one, ", "").replace("old: 9, ", "")), mt.Graph)


def test_the_experiment_of_a_graph_is_found_by_its_node() -> None:
    with pytest.raises(InputError, match="the graph has no experiment"):
        experiment_of(_graph())
    with pytest.raises(UnknownNameError, match="unknown experiment 'ba'.*ab"):
        experiment_of(_graph("clicked"), "ba")
    inner = _graph("clicked")
    user, x, country = (
        mt.input(name, kind) for name, kind in (("user", "string"), ("x", "float32"), ("country", "string"))
    )
    outer = mt.Graph("outer", {"y": mt.model(inner, user, x, country, name="all")})
    assert [each.node for each in experiments_of(outer)] == ["shop.ab"]
