"""Evaluations: what they say is what scikit-learn says of what the graph and its models answer."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as oracle
from click.testing import CliRunner

import motet as mt
from helpers import charged, labelled
from helpers.labelled import NAMES
from motet.cli import cli
from motet.errors import InputError, UnknownNameError
from motet.planning.parts import replay_parts

X, Y = labelled.rows()


def table(**more: Any) -> dict[str, Any]:
    return {"x": X, "truth": NAMES[Y], **more}


def measured(found: Any, name: str) -> dict[str, float]:
    return {metric: each.value for metric, each in found.standing(name).metrics.items()}


def expected(scores: Any) -> dict[str, Any]:
    said = scores.argmax(axis=1)
    return {
        "accuracy": pytest.approx(oracle.accuracy_score(Y, said)),
        "f1": pytest.approx(oracle.f1_score(Y, said, average="macro")),
        "auc": pytest.approx(oracle.roc_auc_score(Y, scores, multi_class="ovr")),
        "log_loss": pytest.approx(oracle.log_loss(Y, scores)),
    }


@pytest.mark.parametrize("of", ["name", "place", "scores"])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [("cascade", {}), ("ensemble", {}), ("ensemble", {"combine": "majority_vote", "weights": [1, 2, 1.5]})],
    ids=["cascade", "ensemble", "vote"],
)
def test_graph_and_members_have_the_metrics_that_scikit_learn_gives_their_answers(
    kind: str, settings: Any, of: str
) -> None:
    graph = labelled.graph(kind, **settings)
    found = graph.evaluate(table(), label="truth", of=of)
    scores = graph({"x": X})["scores"]
    assert measured(found, "animals") == expected(scores)
    assert [list(line) for line in found.confusion] == oracle.confusion_matrix(Y, scores.argmax(axis=1)).tolist()
    for name, estimator in labelled.estimators().items():
        alone = estimator.predict_proba(X)
        if settings:  # a single vote is the share 1 of one class
            alone = np.eye(3, dtype=np.float32)[alone.argmax(axis=1)]
        assert measured(found, name) == expected(alone), name
    assert found.standings[0].answered == 400
    assert found.failures == {}


def test_labels_may_be_places_of_classes_and_answers_names() -> None:
    graph = labelled.graph()
    by_name = graph.evaluate(table(), label="truth", of="name")
    by_place = graph.evaluate({"x": X, "truth": Y}, label="truth", of="scores")
    assert measured(by_name, "animals") == measured(by_place, "animals")


def test_labels_of_which_some_are_names_are_no_places() -> None:
    kinds: Any = {"inputs": {"x": "float32[3]"}, "outputs": {"p": "float32[3]"}}
    model = mt.Model("python:helpers.labelled:near", name="m", labels=["1", "2", "3"], **kinds)
    answers = mt.model(model, mt.input("x", "float32[3]"))
    graph = mt.Graph("digits", outputs={"p": answers}).with_models(m=lambda x: {"p": x})
    eye = np.eye(3, dtype=np.float32)
    found = graph.evaluate({"x": eye, "truth": [1, 2, 3]}, label="truth", metric="accuracy")
    assert measured(found, "digits")["accuracy"] == 1
    with pytest.raises(InputError, match=r"labels that are no classes: '0'; the classes of 'model_1.p' are '1'"):
        graph.evaluate({"x": eye, "truth": [0, 1, 2]}, label="truth", metric="accuracy")


def test_agreement_and_differences_are_of_the_same_rows() -> None:
    found = labelled.graph("ensemble").evaluate(table(), label="truth", of="name", metric="accuracy")
    said = {name: each.predict_proba(X).argmax(axis=1) for name, each in labelled.estimators().items()}
    pair = next(each for each in found.agreement if (each.one, each.other) == ("linear", "near"))
    assert pair.same == pytest.approx((said["linear"] == said["near"]).mean())
    assert pair.both_wrong == pytest.approx(((said["linear"] != Y) & (said["near"] != Y)).mean())
    near = found.standing("near")
    less = found.standings[0].metrics["accuracy"].value - near.metrics["accuracy"].value
    assert near.difference is not None
    assert near.difference.value == pytest.approx(less)
    assert near.difference.low <= less <= near.difference.high


def test_the_share_of_rows_that_members_are_asked_for_is_that_of_the_graph() -> None:
    graph = labelled.graph()
    found = graph.evaluate(table(), label="truth", of="name", prices={"linear": 1, "tree": 2, "near": 40})
    shares = {}
    node = graph.nodes["cascade_1"]
    for name in ("linear", "tree", "near"):
        seen = labelled.graph(confidence={"linear": 0.8, "tree": 0.8}).with_models({name: _counting(name)})
        _counted[name] = 0
        seen({"x": X})
        shares[name] = _counted[name] / 400
    assert {each.name: each.asked for each in found.standings[1:]} == pytest.approx(shares)
    assert found.standings[0].cost == pytest.approx(shares["linear"] + 2 * shares["tree"] + 40 * shares["near"])
    assert [member.name for member in node.members] == ["linear", "tree", "near"]


_counted: dict[str, int] = {}


def _counting(name: str) -> Any:
    estimator = labelled.estimators()[name]

    def call(x: Any) -> Any:
        _counted[name] += len(x)
        return {"label": estimator.predict(x), "probabilities": estimator.predict_proba(x)}

    return call


def _fails_on_some(x: Any) -> Any:
    if (x[:, 3] > 1).any():
        raise ValueError("too large")
    scores = labelled.estimators()["near"].predict_proba(x)
    return {"label": NAMES[scores.argmax(axis=1)].astype(object), "probabilities": scores}


@pytest.mark.parametrize("kind", ["cascade", "ensemble"])
def test_rows_that_fail_and_rows_without_a_label_are_counted(kind: str) -> None:
    graph = labelled.graph(kind).with_models(near=_fails_on_some)
    truth = NAMES[Y].astype(object)
    truth[:10] = None
    found = graph.evaluate({"x": X, "truth": truth}, label="truth", of="name", metric="accuracy")
    _, failures = graph({"x": X}, failures="return")
    answers, bad = graph({"x": X[10:]}, failures="return")
    large = int((X[10:, 3] > 1).sum())
    assert (found.rows, found.unlabelled) == (400, 10)
    assert sum(found.failures.values()) == len(failures) > 0
    assert any("too large" in reason for reason in found.failures)
    assert found.standings[0].failed == len(bad)
    assert found.standing("near").failed == large
    assert found.standing("linear").failed == 0
    left = np.setdiff1d(np.arange(390), [each.row for each in bad])
    assert measured(found, "animals")["accuracy"] == pytest.approx((answers["name"] == NAMES[Y[10:]][left]).mean())
    assert "failed" in str(found)


def test_segments_are_the_rows_of_each_value() -> None:
    of = np.where(X[:, 3] > 0, "up", "down")
    found = labelled.graph().evaluate(table(side=of), label="truth", of="name", metric="accuracy", by="side")
    said = labelled.graph()({"x": X})["name"] == NAMES[Y]
    near = labelled.estimators()["near"].predict(X) == NAMES[Y]
    assert {each.value: each.metric.value for each in found.segments} == {
        side: pytest.approx(said[of == side].mean()) for side in ("up", "down")
    }
    assert {each.value: each.members["near"] for each in found.segments} == {
        side: pytest.approx(near[of == side].mean()) for side in ("up", "down")
    }


def test_of_many_values_the_most_frequent_are_shown_and_it_is_said() -> None:
    of = np.array([f"user {max(0, row - 340)}" for row in range(400)], object)
    found = labelled.graph().evaluate(table(user=of), label="truth", of="name", metric="accuracy", by="user")
    assert (len(found.segments), found.segments[0].value, found.segments[0].rows) == (50, "user 0", 341)
    assert "of the 60 values of 'user' the 50 most frequent are shown" in str(found)


def test_segments_may_be_of_a_column_of_the_graph() -> None:
    graph = labelled.graph()
    found = graph.evaluate(table(), label="truth", of="name", metric="accuracy", by="cascade_1.member")
    seen = mt.Graph(
        "seen",
        {**graph.outputs, "who": "cascade_1.member"},
        nodes=graph.nodes,
        inputs=graph.inputs,
        models=graph.models,
    )
    answers = seen({"x": X})
    right = answers["name"] == NAMES[Y]
    told = {each.value: (each.rows, each.metric.value) for each in found.segments}
    for who in ("linear", "tree", "near"):
        own = right[answers["who"] == who]
        assert told[who][0] == len(own)
        assert told[who][1] == pytest.approx(own.mean())


def test_members_that_do_not_count_and_have_other_classes_first_are_judged_too() -> None:
    estimators = labelled.estimators()
    order = ["cat", "ant", "bee"]

    def shuffled(x: Any) -> Any:
        return {"probabilities": estimators["near"].predict_proba(x)[:, [2, 0, 1]]}

    x = mt.input("x", "float32[4]")
    types: dict[str, Any] = {"inputs": {"x": "float32[4]"}, "outputs": {"probabilities": "float64[3]"}}
    tree = mt.Model(estimators["tree"], name="tree")
    other = mt.Model("python:helpers.labelled:near", name="near", labels=order, **types)
    node = mt.ensemble({"tree": tree, "near": other}, x, output="probabilities", weights=[1, 0])
    graph = mt.Graph("shadowed", outputs={"scores": node.probabilities}).with_models(near=shuffled)
    found = graph.evaluate(table(), label="truth", metric="accuracy")
    assert measured(found, "near")["accuracy"] == pytest.approx((estimators["near"].predict(X) == NAMES[Y]).mean())
    assert measured(found, "shadowed") == measured(found, "tree")


def test_members_that_are_graphs_and_members_that_are_only_combined_by_functions() -> None:
    models = [mt.Model(each, name=name) for name, each in labelled.estimators().items()]
    x = mt.input("x", "float32[4]")
    inner = mt.Graph("pair", outputs={"p": mt.ensemble(models[:2], x, output="probabilities").probabilities})
    y = mt.input("x", "float32[4]")
    outer = mt.cascade(
        {"pair": inner, "near": mt.member(models[2], output="probabilities")}, y, confidence=0.8, output="p"
    )
    graph = mt.Graph("outer", outputs={"scores": outer.p})
    found = graph.evaluate(table(), label="truth", metric="accuracy")
    assert measured(found, "pair")["accuracy"] == pytest.approx((inner({"x": X})["p"].argmax(axis=1) == Y).mean())
    stacked = mt.ensemble(models, x, output="probabilities", combine="helpers.labelled.first_of")
    single = mt.Graph("stacked", outputs={"scores": stacked.probabilities})
    said = single.evaluate({"x": X, "truth": Y}, label="truth", metric="accuracy")
    assert said.standing("tree").metrics == {}
    assert "so none answers alone" in str(said)
    linear = labelled.estimators()["linear"].predict(X) == NAMES[Y]
    assert measured(said, "stacked")["accuracy"] == pytest.approx(linear.mean())


def test_answers_of_yes_and_no_and_one_probability_are_classes() -> None:
    x = mt.input("x", "float32")
    sure = mt.map("helpers.labelled.sigmoid", x)
    graph = mt.Graph("yes", outputs={"yes": mt.map(mt.ops.scores.threshold, sure), "sure": sure})
    rows = {"x": X[:, 0], "truth": (X[:, 0] + X[:, 1] > 0).astype(int), "part": np.where(X[:, 2] > 0, 1.0, np.nan)}
    yes = graph.evaluate(rows, label="truth", of="yes", metric="accuracy", by="part")
    both = graph.evaluate(rows, label="truth", of="sure", metric=["accuracy", "auc"])
    assert measured(yes, "yes")["accuracy"] == measured(both, "yes")["accuracy"]
    assert measured(both, "yes")["auc"] == pytest.approx(oracle.roc_auc_score(rows["truth"], X[:, 0]))
    assert {each.value for each in yes.segments} == {"1.0", "(missing)"}
    assert measured(graph.evaluate(rows, label="truth", of="sure"), "yes").keys() == {"rmse", "mae"}


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.planning.recording.MOST_BYTES", 1 << 14)
    with pytest.raises(InputError, match=r"the answers to 400 rows take [0-9,]+ bytes; at most 16,384 are kept"):
        labelled.graph().evaluate(table(), label="truth", of="name")


def test_answers_that_are_numbers_have_errors() -> None:
    from sklearn.linear_model import LinearRegression

    x = mt.input("x", "float32[4]")
    node = mt.ensemble([mt.Model(LinearRegression().fit(X, Y * scale), name=f"s{scale}") for scale in (1, 2)], x)
    graph = mt.Graph("numbers", outputs={"value": node.value})
    found = graph.evaluate({"x": X, "truth": Y.astype(float)}, label="truth")
    said = graph({"x": X})["value"].reshape(-1)
    assert measured(found, "numbers")["rmse"] == pytest.approx(oracle.root_mean_squared_error(Y, said))
    assert measured(found, "s1")["rmse"] < measured(found, "s2")["rmse"]
    assert found.confusion == []


def test_paid_members_are_asked_for_each_row_once() -> None:
    kinds: Any = {"inputs": {"x": "float32"}, "outputs": {"y": "float32"}}
    members = [mt.Model("python:helpers.charged:doubled", name, paid=True, **kinds) for name in "ab"]
    graph = mt.Graph("g", outputs={"y": mt.ensemble(members, mt.input("x", "float32"))})
    x = np.arange(40, dtype=np.float32)
    charged.bills.clear()
    assert measured(graph.evaluate({"x": x, "truth": x * 2}, label="truth"), "g") == {"rmse": 0, "mae": 0}
    assert charged.asked() == sorted([*x, *x])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"the graph has several outputs \(name, place, scores\)"),
        ({"of": "nam"}, r"of: unknown output 'nam'; did you mean 'name'?"),
        ({"of": "name", "metric": "rmse"}, r"rmse takes numbers, which 'label_1' does not tell"),
        ({"of": "name", "by": "side"}, r"by, which is no column of a dict in memory: unknown output 'side'"),
        ({"of": "name", "prices": {"linear": 1}}, r"no price is given for 'tree'"),
        ({"of": "name", "prices": {"cnn": 1}}, r"prices: unknown member or model 'cnn'; known: linear, near, tree"),
    ],
)
def test_what_cannot_be_compared_is_said(given: Any, message: str) -> None:
    with pytest.raises((InputError, UnknownNameError), match=message):
        labelled.graph().evaluate(table(), label="truth", **given)


@pytest.mark.parametrize(
    ("truth", "of", "message"),
    [
        (
            ["dog"] * 400,
            "name",
            r"column 'truth' has labels that are no classes: 'dog'; the classes of 'label_1' are 'ant'",
        ),
        ([7] * 400, "scores", r"labels that are no classes: '7'"),
        ([None] * 400, "name", r"column 'truth' has no label in any row"),
        ([[1.0, 2.0]] * 400, "name", r"no single value a row"),
    ],
)
def test_labels_that_mean_nothing_are_refused(truth: Any, of: str, message: str) -> None:
    import pyarrow as pa

    source = pa.table({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(X), "truth": pa.array(truth)})
    with pytest.raises(InputError, match=message):
        labelled.graph().evaluate(source, label="truth", of=of)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.asked: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.asked += [value for name, value in attrs if name in ("src", "href")]


def test_the_page_needs_nothing_else_and_shows_what_was_found() -> None:
    named = np.where(X[:, 3] > 0, "<up>", "down")
    found = labelled.graph().evaluate(table(side=named), label="truth", of="name", by="side")
    page = _Text()
    page.feed(found.html())
    assert page.asked == []
    assert {"animals", "linear", "tree", "near", "bee", "<up>"} <= set(page.words)
    assert "<up>" not in found.html()
    assert "accuracy" in found._repr_html_()
    assert repr(found).startswith("<Evaluation of 'animals': accuracy 0.7")
    silent = replace(found, confusion=[], agreement=[], segments=[], standings=found.standings[:1])
    assert "animals" in silent.html()


def test_the_command_prints_a_table_json_and_a_page(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from helpers.onnxes import classifier

    for seed in (1, 2):
        classifier(tmp_path / f"m{seed}.onnx", seed=seed)
    text = """
motet: 1
name: small
inputs: {x: "float32[4]"}
models: {one: {uri: m1.onnx}, two: {uri: m2.onnx}}
nodes:
  vote: {ensemble: [one, two], inputs: [x]}
outputs: {scores: vote.probabilities}
"""
    (tmp_path / "g.yaml").write_text(text)
    rows = {"x": pa.FixedShapeTensorArray.from_numpy_ndarray(X), "truth": Y}
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    args = ["evaluate", f"{tmp_path}/g.yaml", "--input", f"{tmp_path}/rows.parquet", "--label", "truth"]
    shown = CliRunner().invoke(cli, [*args, "--html", f"{tmp_path}/page.html"])
    assert shown.exit_code == 0, shown.output
    assert "small: vote.probabilities against 'truth', 400 rows" in shown.output
    assert "members" in (tmp_path / "page.html").read_text()
    told = json.loads(CliRunner().invoke(cli, [*args, "--json", "--limit", "100", "--metric", "accuracy"]).output)
    scores = mt.load(tmp_path / "g.yaml")({"x": X[:100]})["scores"]
    assert told["rows"] == 100
    assert told["standings"][0]["metrics"]["accuracy"]["value"] == pytest.approx(
        (scores.argmax(axis=1) == Y[:100]).mean()
    )
    wrong = CliRunner().invoke(cli, [*args, "--prices", "one=x"])
    assert wrong.exit_code == 2
    assert "is not of the form member=1.5,member=2" in wrong.output


def test_a_graph_of_many_ways_to_each_node_is_looked_through_once() -> None:
    """40 nodes that each take the one before twice: 2^40 ways from the last to the first."""
    x = mt.input("x", "float64")
    last: Any = x
    for place in range(40):
        last = mt.map(add, last, last, name=f"n{place}", outputs="float64")
    checked = mt.Graph("diamonds", outputs={"y": last}).checked
    parts = replay_parts(checked, ["n39"])
    assert (len(parts.before), parts.kept, parts.after) == (40, {}, ())


def add(one: Any, other: Any) -> Any:
    return one + other
