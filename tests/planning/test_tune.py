"""Tuning: what it says of a setting is what the graph with this setting really answers."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import motet as mt
from helpers import labelled
from helpers.labelled import NAMES
from helpers.onnxes import classifier
from motet.cli import cli
from motet.errors import InputError
from motet.nodes.cascade import Cascade
from motet.nodes.ensemble import Ensemble
from motet.planning.evaluate import gather
from motet.planning.heat import best_temperature
from motet.planning.search import SettingSearch
from motet.planning.tuned_file import with_settings
from motet.runtime.resolve import ModelResolver

X, Y = labelled.rows()
TABLE = {"x": X, "truth": NAMES[Y]}
PRICES = {"linear": 1.0, "tree": 2.0, "near": 40.0}


HEAT = st.dictionaries(
    st.sampled_from(["linear", "tree", "near", "onnx"]), st.sampled_from([0.5, 1.7, 4.0]), max_size=3
)


def _small(x: Any) -> Any:
    """A model that fails on some rows."""
    if (x[:, 3] > 1.2).any():
        raise ValueError("too large")
    scores = labelled.estimators()["tree"].predict_proba(x)
    return {"label": NAMES[scores.argmax(axis=1)].astype(object), "probabilities": scores}


@mt.returns({"probabilities": "float64[3]"})
def widened(probabilities: Any) -> Any:
    return {"probabilities": np.asarray(probabilities, dtype=np.float64)}


def _seen(kind: str, folder: Path) -> tuple[mt.Graph, Any]:
    """A graph of models of scikit-learn, Python and ONNX, and what was kept of it."""
    path = str(classifier(folder / "onnx.onnx"))
    made = [mt.Model(each, name=name) for name, each in labelled.estimators().items()]
    made.append(mt.Model(path, name="onnx", labels=NAMES.tolist(), after=[widened]))
    x = mt.input("x", "float32[4]")
    if kind == "cascade":
        node = mt.cascade(made, x, confidence=0.7, of="probabilities", output="probabilities")
    else:
        node = mt.ensemble(made, x, output="probabilities", require=2)
    top = mt.map(mt.ops.scores.top1, node.probabilities)
    graph = mt.Graph("animals", outputs={"scores": node.probabilities, "place": top.index})
    graph = graph.with_models(tree=_small)
    return graph, gather(graph.checked, ModelResolver(), TABLE, "truth", of="scores", prices={**PRICES, "onnx": 3})


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("kept")
    return {kind: _seen(kind, folder) for kind in ("cascade", "ensemble")}


def _check(graph: mt.Graph, seen: Any, node: Any) -> None:
    search = SettingSearch(seen, ModelResolver(), np.arange(400), {})
    checked = search.checked_with(node)
    assert checked is not None
    told = seen.replayer.play({node.name: node}, None, checked)
    real = mt.Graph(
        graph.name, graph.outputs, inputs=graph.inputs, models=graph.models, nodes={**graph.nodes, node.name: node}
    )
    answers, failures = real({"x": X}, failures="return")
    of = seen.reader.of
    np.testing.assert_allclose(told.outputs.columns[of], answers["scores"], atol=1e-6)
    assert {(each.row, each.error) for each in told.failures} == {(each.row, each.error) for each in failures}


@settings(deadline=None, max_examples=12)
@given(st.permutations(["linear", "tree", "near", "onnx"]), st.integers(2, 4), HEAT, st.data())
def test_a_cascade_of_any_order_and_thresholds_answers_as_it_is_told_from_what_was_kept(
    kept: dict[str, Any], order: list[str], count: int, heat: dict[str, float], data: Any
) -> None:
    graph, seen = kept["cascade"]
    base = graph.nodes["cascade_1"]
    players = tuple(next(m for m in base.members if m.name == name) for name in order[:count])
    sure = tuple(data.draw(st.sampled_from([0.0, 0.4, 0.55, 0.7, 0.9, 1.0])) for _ in range(count - 1))
    classes = st.dictionaries(st.sampled_from(NAMES.tolist()), st.sampled_from([0.0, 0.5, 0.95]), max_size=2)
    by_class = {name: data.draw(classes) for name in order[: count - 1]}
    node = Cascade(base.name, base.inputs, players, sure, base.of, base.output, temperature=heat, by_class=by_class)
    _check(graph, seen, node)


@settings(deadline=None, max_examples=12)
@given(
    st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.0]), min_size=4, max_size=4).filter(any),
    st.sampled_from(["weighted_average", "max", "median"]),
    HEAT,
)
def test_an_ensemble_of_any_weights_answers_as_it_is_told_from_what_was_kept(
    kept: dict[str, Any], weights: list[float], combine: str, heat: dict[str, float]
) -> None:
    graph, seen = kept["ensemble"]
    base = graph.nodes["ensemble_1"]
    chosen = [(m, weight) for m, weight in zip(base.members, weights, strict=True) if weight]
    players, counts = tuple(m for m, _ in chosen), tuple(weight for _, weight in chosen)
    node = Ensemble(
        base.name, base.inputs, players, combine, counts, min(2, len(counts)), base.output, temperature=heat
    )
    _check(graph, seen, node)


def test_a_cascade_is_as_good_as_its_best_member_for_less() -> None:
    graph = labelled.graph(confidence=0.99)
    found = graph.tune(TABLE, label="truth", of="name", metric="accuracy", at_least="best", prices=PRICES)
    assert found.after.cost < found.before.cost
    best = max(each.metric.value for each in found.members)
    assert found.after.metric.high >= best
    assert found.rows == (200, 200)
    costs, values = [each.cost for each in found.front], [each.chosen_by for each in found.front]
    assert costs == sorted(costs)
    assert values == sorted(values)
    held = graph.evaluate(TABLE, label="truth", of="name", metric="accuracy").standings[0].metrics["accuracy"].value
    halves = (found.before.metric.value, _chosen_by(graph, found))
    assert held == pytest.approx(np.mean(halves))
    real = found.tuned({"x": X})["name"] == NAMES[Y]
    assert _on_held_out(real) == pytest.approx(found.after.metric.value)


def _chosen_by(graph: mt.Graph, found: Any) -> float:
    right = graph({"x": X})["name"] == NAMES[Y]
    return float(2 * right.mean() - _on_held_out(right))


def _on_held_out(right: Any) -> float:
    """The mean over the rows that a tuning of all 400 reports on."""
    first = np.random.default_rng(0).permutation(400)[:200]
    return float(np.delete(right, first).mean())


def test_an_ensemble_drops_members_that_cost_too_much() -> None:
    graph = labelled.graph("ensemble")
    found = graph.tune(TABLE, label="truth", of="name", metric="accuracy", at_most_cost=3, prices=PRICES)
    node = found.tuned.nodes["ensemble_1"]
    assert "near" not in {member.name for member in node.members}
    assert found.after.cost <= 3
    assert found.changes["ensemble_1"]["ensemble"] in (["tree"], ["linear"], ["linear", "tree"])
    best = graph.tune(TABLE, label="truth", of="name", metric="log_loss", prices=PRICES)
    assert best.front[-1].chosen_by <= min(each.chosen_by for each in best.front)


def test_what_cannot_be_reached_or_is_worse_is_said() -> None:
    graph = labelled.graph("ensemble")
    high = graph.tune(TABLE, label="truth", of="name", metric="accuracy", at_least=0.99, prices=PRICES)
    assert any("no setting reaches accuracy 0.9900" in each for each in high.warnings)
    cheap = graph.tune(TABLE, label="truth", of="name", metric="accuracy", at_most_cost=1, prices=PRICES)
    assert any(each.startswith("on held-out rows accuracy is worse than before") for each in cheap.warnings)
    free = graph.tune(TABLE, label="truth", of="name", metric="accuracy", at_most_cost=0.5, prices=PRICES)
    assert any("no setting costs at most 0.5 a row; the cheapest costs 1" in each for each in free.warnings)


def test_tuning_what_has_nothing_to_choose_is_refused() -> None:
    graph = labelled.graph()
    with pytest.raises(InputError, match=r"at_least and at_most_cost were both given"):
        graph.tune(TABLE, label="truth", of="name", at_least=0.5, at_most_cost=1)
    for goal, message in (
        ({"at_least": "Best"}, "at_least must be a number or 'best'; got 'Best'"),
        ({"at_least": float("nan")}, "at_least must be a number or 'best'; got nan"),
        ({"at_most_cost": -1}, "at_most_cost must be a number from 0; got -1"),
        ({"prices": {"linear": -1, "tree": 1, "near": 1}}, "the price of 'linear' must be a number from 0; got -1"),
        ({"limit": 0}, "limit must be at least 1; got 0"),
    ):
        with pytest.raises(InputError, match=message):
            labelled.graph().tune(TABLE, label="truth", of="name", **goal)
    with pytest.raises(InputError, match=r"30 labelled rows are too few: 15 to choose by, 15 to report on"):
        graph.tune({"x": X[:30], "truth": NAMES[Y[:30]]}, label="truth", of="name")
    scored = mt.model(mt.Model(labelled.estimators()["tree"], name="tree"), mt.input("x", "float32[4]"))
    alone = mt.Graph("alone", outputs={"label": scored.label})
    with pytest.raises(InputError, match=r"no cascade and no ensemble stands before the output"):
        alone.tune(TABLE, label="truth")


FLOW = """# A file with comments.
motet: 1
name: small
inputs: {x: "float32[4]"}
models: {one: {uri: m1.onnx}, two: {uri: m2.onnx}, three: {uri: m3.onnx}}
nodes:
  sure: {cascade: [one, two, three], inputs: [x], until: {confidence: 0.9}}  # a guess
outputs: {scores: sure.probabilities}
"""
BLOCK = """motet: 1
name: small
inputs: {x: "float32[4]"}
models: {one: {uri: m1.onnx}, two: {uri: m2.onnx}, three: {uri: m3.onnx}}
nodes:
  # The vote.
  vote:
    ensemble:
    - one
    - {uses: two}   # of another make
    - three
    inputs: [x]     # all of them
outputs: {scores: vote.probabilities}
"""


@pytest.mark.parametrize("text", [FLOW, BLOCK], ids=["flow", "block"])
def test_the_command_writes_the_file_with_other_settings_and_nothing_else(tmp_path: Path, text: str) -> None:
    for seed in (1, 2, 3):
        classifier(tmp_path / f"m{seed}.onnx", seed=seed)
    (tmp_path / "g.yaml").write_text(text)
    last = mt.Graph("last", outputs={"y": mt.model(mt.Model(f"{tmp_path}/m3.onnx"), mt.input("x", "float32[4]"))})
    truth = last({"x": X})["y"].argmax(axis=1)
    rows = {"x": pa.FixedShapeTensorArray.from_numpy_ndarray(X), "truth": truth}
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    args = ["tune", f"{tmp_path}/g.yaml", "--input", f"{tmp_path}/rows.parquet", "--label", "truth"]
    args += ["--prices", "one=1,two=2,three=3", "-o", f"{tmp_path}/t.yaml", "--at-most-cost", "2.5"]
    done = CliRunner().invoke(cli, [*args, "--html", f"{tmp_path}/page.html"])
    assert done.exit_code == 0, done.output
    assert "small, tuned" in (tmp_path / "page.html").read_text()
    made = (tmp_path / "t.yaml").read_text()
    kept = [line for line in text.splitlines() if not any(each in line for each in ("cascade:", "ensemble:", "- "))]
    assert set(kept) <= set(made.splitlines())
    assert "# Tuned by motet tune for the best accuracy at 2.5 a row, by 200 rows of" in made
    before, after = mt.load(tmp_path / "g.yaml"), mt.load(tmp_path / "t.yaml")
    assert before.models == after.models
    assert before.nodes != after.nodes
    again = CliRunner().invoke(cli, args)
    assert again.exit_code == 2
    assert "t.yaml' is there" in again.output
    elsewhere = CliRunner().invoke(cli, [*args[:8], "-o", f"{tmp_path}/deep/t.yaml", "--at-most-cost", "2.5"])
    assert elsewhere.exit_code == 0, elsewhere.output
    assert mt.load(tmp_path / "deep" / "t.yaml").nodes == after.nodes


def test_a_second_tuning_takes_the_place_of_the_comment_of_the_first() -> None:
    once = with_settings(FLOW, {"sure": {"until": {"confidence": 0.5}}}, " once.")
    twice = with_settings(once, {"sure": {"until": {"confidence": 0.75}}}, " twice.")
    assert twice == FLOW.replace("confidence: 0.9", "confidence: 0.75").replace(
        "  sure:", "  # Tuned by motet tune twice.\n  sure:"
    )


@given(st.floats(0.2, 5), st.integers(0, 1000))
@settings(deadline=None, max_examples=15)
def test_the_temperature_of_scores_that_claim_too_much_is_found(heat: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(20_000, 4)) * 2
    truth = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    claimed = np.exp(logits * heat)
    found = best_temperature(claimed / claimed.sum(axis=1, keepdims=True), truth)
    assert found == pytest.approx(heat, rel=0.08)


def test_scores_that_are_right_or_are_no_probabilities_have_no_temperature() -> None:
    random = np.random.default_rng(1)
    scores = random.dirichlet(np.ones(3), 2000)
    truth = np.array([random.choice(3, p=each) for each in scores])
    assert best_temperature(scores, truth) == 1.0
    assert best_temperature(scores - 0.5, truth) == 1.0
    assert best_temperature(np.eye(3), np.array([1, 2, 0])) == 1.0


def test_tuning_for_the_log_loss_calibrates_members(tmp_path: Path) -> None:
    """A member that claims too much: its probabilities are sharpened behind it."""
    x, y = labelled.rows(2000, 3)
    table = {"x": x, "truth": NAMES[y]}
    made = labelled.estimators()
    models = [mt.Model(made["linear"], name="sharp"), mt.Model(made["near"], name="near")]
    node = mt.ensemble(models, mt.input("x", "float32[4]"), output="probabilities")
    graph = mt.Graph("animals", {"scores": node.probabilities}).with_models(sharp=_sharp)
    found = graph.tune(table, label="truth", metric="log_loss")
    heat = found.changes["ensemble_1"]["temperature"]
    assert heat["sharp"] > 2
    assert found.gain.high < 0
    np.testing.assert_allclose(
        found.tuned({"x": x})["scores"].sum(axis=1), np.ones(2000), atol=1e-6
    )  # and the tuned graph plays
    assert "temperature sharp at " in str(found)


def _sharp(x: Any) -> Any:
    scores = labelled.estimators()["linear"].predict_proba(x) ** 4
    return {
        "label": NAMES[scores.argmax(axis=1)].astype(object),
        "probabilities": scores / scores.sum(axis=1, keepdims=True),
    }


def test_a_class_that_a_member_is_wrong_about_gets_a_threshold_of_its_own() -> None:
    """A cheap member that is always sure, and right but for one class."""
    x, y = labelled.rows(4000, 8)
    graph = labelled.graph(confidence=0.5).with_models(linear=_blind, near=_knowing)
    prices = {"linear": 1, "tree": 5, "near": 100}
    table = {"x": x, "truth": NAMES[y]}
    found = graph.tune(table, label="truth", of="name", metric="accuracy", prices=prices)
    assert found.after.metric.value == 1
    assert found.after.cost < 75
    until = found.changes["cascade_1"]["until"]
    assert until["by_class"]["linear"] == {"ant": 0.0, "cat": 0.0}  # so that it must be sure of bees alone
    assert until["confidence"]["linear"] > 0.9
    assert "linear (" in str(found)
    answers = found.tuned({"x": x})["name"]
    assert (answers == NAMES[y]).all()


def _truth(x: Any) -> Any:
    """What `labelled.rows(4000, 8)` says of these rows."""
    rows, y = labelled.rows(4000, 8)
    known = {row.tobytes(): place for row, place in zip(rows, y.tolist(), strict=True)}
    return np.array([known[row.tobytes()] for row in np.ascontiguousarray(x, np.float32)], dtype=np.int64)


def _sure_of(places: Any) -> Any:
    scores = np.full((len(places), 3), 0.05)
    scores[np.arange(len(places)), places] = 0.9
    return {"label": NAMES[places].astype(object), "probabilities": scores}


def _blind(x: Any) -> Any:
    """Takes half of the cats for bees."""
    truth = _truth(x)
    return _sure_of(np.where((truth == 2) & (x[:, 3] > 0), 1, truth))


def _knowing(x: Any) -> Any:
    return _sure_of(_truth(x))
