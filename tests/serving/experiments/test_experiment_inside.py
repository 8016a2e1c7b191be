"""Experiments of graphs inside a graph: rows that come to their route are exposures of it, and no others."""

import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import motet as mt
from helpers.until import until
from motet.batch import Batch
from motet.cli import cli
from motet.errors import CancelledError
from motet.nodes.split import canonical_bytes
from motet.planning.experiments.experiment import experiment_of
from motet.runtime.executor import Played
from motet.serving import start
from motet.serving.batching.request import Request
from motet.serving.experiments.answer_ids import IdSigner
from motet.serving.experiments.arms import columns_of, played
from motet.serving.experiments.hook import ExperimentHook
from serving.experiments.experiment_arms import Asked, feedback, predict, table, until_rows

KEY = "a key for tests alone"
SIGNER = IdSigner(KEY.encode())
USERS = [f"u{number}" for number in range(20)]
MODEL = "{{uri: 'python:serving.experiments.experiment_arms:{0}', inputs: {{x: float32}}, outputs: {{score: float32}}}}"
GRAPH = f"""
motet: 1
name: shop
inputs: {{user: string, x: float32}}
models:
  plain: {MODEL.format("plain")}
  bold: {MODEL.format("bold")}
graphs:
  outer:
    inputs: {{who: string, value: float32}}
    graphs:
      careful:
        inputs: {{value: float32, buyer: string}}
        nodes:
          ab:
            route: [plain, bold]
            inputs: [value]
            split: {{plain: 1, bold: 1}}
            by: buyer
            metric: {{name: clicked, segments: [buyer]}}
        outputs: {{score: ab}}
    nodes:
      ask: {{model: careful, inputs: {{value: value, buyer: who}}}}
    outputs: {{score: ask}}
nodes:
  first: {{route: {{quick: plain, slow: {{uses: outer, inputs: {{who: user, value: x}}}}}}, inputs: [x], when: {{quick: x > 5}}, otherwise: slow}}
outputs: {{score: first.score, member: first.member}}
"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    path = tmp_path_factory.mktemp("inside") / "shop.yaml"
    path.write_text(GRAPH)
    return mt.load(path)


@pytest.fixture(scope="module")
def server(graph, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    experiments = {"to": f"sqlite:///{folder}/kept.db", "key": KEY, "poll_s": 0.05, "check_s": 3600}
    with start(graph, port=0, admin="open", experiments=experiments, cache={"max_bytes": 1 << 20}) as running:
        yield running.url, folder / "kept.db"


def arms(row):
    return [(each.node, each.arm) for each in SIGNER.read(row["feedback_id"]).met]


def wanted(row):
    """What the score tells of the arm."""
    return [("outer.careful.ab", "bold" if row["score"] > 50 else "plain")]


def exposures(kept, number):
    until_rows(kept, "exposures", number)
    return table(kept, "SELECT node, arm, unit, failed, segments FROM exposures")


def test_the_column_of_the_unit_is_found_outside(graph):
    (found,) = columns_of(graph.checked, {})
    assert (found.path, found.inside, found.asked) == ("outer/careful/ab", ("outer", "careful"), "user")
    changed = played(graph.checked, columns_of(graph.checked, {"outer.careful.ab": {"plain": 0, "bold": 1}}))
    inner = changed.graphs["outer"].graphs["careful"]
    assert changed.graph.graphs["outer"].graphs["careful"] is inner.graph
    assert experiment_of(inner).weights == {"plain": 0, "bold": 1}
    assert experiment_of(graph.checked).weights == {"plain": 1, "bold": 1}


class Waiting(Request):
    """A request of nobody."""

    def answered(self, reply):
        raise AssertionError(reply)

    def failed(self, error):
        raise AssertionError(error)


def test_a_batch_that_nobody_waits_for_any_more_is_no_mistake(graph):
    kept: list[Any] = []
    keep: Any = kept.extend
    hook = ExperimentHook("shop", columns_of(graph.checked, {}), SIGNER, lambda: "key", keep)
    request = Waiting({}, 1)
    hook.trace([request])
    hook.refused(request, CancelledError("the caller is gone"))
    done = Played(Batch({"score": np.ones(1)}), [])
    assert hook.completed([request], done, ()) is done.outputs.columns
    assert not kept


def test_rows_that_come_to_a_graph_inside_meet_its_arms(server):
    url, kept = server
    rows = predict(url, USERS)
    assert [arms(row) for row in rows] == [wanted(row) for row in rows]
    assert {row["score"] for row in rows} == {1.0, 101.0}
    assert set(rows[0]) == {"score", "member", "feedback_id"}
    assert all("feedback_id" not in row or not row["feedback_id"] for row in predict(url, USERS, x=9.0))
    found = exposures(kept, len(USERS))
    assert len(found) == len(USERS)  # rows that went another way are none
    bought = {unit: json.loads(segments)["buyer"] for _, _, unit, _, segments in found}
    assert bought == {SIGNER.unit(canonical_bytes(user)): user for user in USERS}
    again = predict(url, USERS)  # of the cache
    assert [arms(row) for row in again] == [wanted(row) for row in rows]
    assert len(exposures(kept, 2 * len(USERS))) == 2 * len(USERS)


def test_mixed_rows_explained_ones_and_ones_that_fail(server):
    url, kept = server
    body = {"rows": [{"user": user, "x": 9.0 if place % 2 else 1.5} for place, user in enumerate(USERS)]}
    rows = Asked(f"{url}/predict/shop", body).body["rows"]
    assert [bool(row.get("feedback_id")) for row in rows] == [not place % 2 for place in range(len(USERS))]
    assert all(arms(row) == wanted(row) for row in rows[::2])
    told = Asked(f"{url}/predict/shop?explain=1", {"rows": [{"user": "u0", "x": 2.5}]}).body["rows"][0]
    assert arms(told) == wanted(told)
    before = len(table(kept, "SELECT * FROM exposures WHERE failed"))
    Asked(f"{url}/predict/shop", {"rows": [{"user": "u1", "x": -1.0}, {"user": "u2", "x": 9.0}]})
    found = until(lambda: table(kept, "SELECT node, arm, unit FROM exposures WHERE failed")[before:])
    (met,) = SIGNER.read(predict(url, ["u1"])[0]["feedback_id"]).met
    assert found == [tuple(met)]


def test_it_is_decided_of_and_told_as_any_other(server, tmp_path):
    url, _ = server
    id = predict(url, ["ann"])[0]["feedback_id"]
    assert feedback(url, {"id": id, "outcome": True}).status == 200
    (told,) = Asked(f"{url}/experiments/shop").body["experiments"]
    assert told["report"]["node"] == "outer.careful.ab"
    path = tmp_path / "shop.yaml"
    path.write_text(GRAPH)
    asked = ["experiment", "promote", "shop", "bold", "--server", url, "--write", str(path)]
    result = CliRunner().invoke(cli, asked)
    assert result.exit_code == 0, result.output
    assert "shop.outer.careful.ab: plain 0, bold 1" in result.output
    assert {row["score"] for row in predict(url, USERS)} == {101.0}
    again = mt.load(path)
    assert experiment_of(again.checked).weights == {"plain": 0, "bold": 1}
