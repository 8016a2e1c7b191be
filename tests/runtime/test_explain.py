"""Explaining a row: which members ran, their versions, their scores, their times."""

import numpy as np
import pytest

import motet as mt
from helpers import functions
from motet.testing.fakes import Affine, Failing, fake


def x_():
    return mt.input("x", "float32")


def voting():
    members = {"a": fake(Affine, "a", settings={"version": "v1"}), "b": fake(Failing, "b", bad=[7], scale=3.0)}
    inner = mt.Graph("inner", {"output": mt.model(fake(Affine, "deep", scale=9.0), x_(), name="only")})
    x = x_()
    vote = mt.ensemble({**members, "g": inner}, x, require=1, name="vote")
    return mt.Graph("g", {"y": mt.map(functions.scale, vote, by=2.0, name="double")})


def test_an_explanation_tells_every_call_and_column():
    found = voting().explain({"x": np.array([1, 2], np.float32)}, row=1)
    assert found.row == 1
    assert found.outputs == {"y": np.float32((2 + 6 + 18) / 3 * 2)}
    assert [(call.node, call.uses, call.version, call.rows) for call in found.calls] == [
        ("vote", "a", "v1", 1), ("vote", "b", "", 1), ("inner/only", "deep", "", 1), ("vote", "inner", "", 1),
    ]  # fmt: skip
    assert all(call.seconds >= 0 for call in found.calls)
    assert [call.outputs["output"].tolist() for call in found.calls] == [[2], [6], [18], [18]]
    assert dict(found.columns) == {
        "x": 2, "vote.output": np.float32(26 / 3), "vote.member": "a,b,g", "vote.a.output": 2, "vote.b.output": 6,
        "vote.g.output": 18, "double": np.float32(52 / 3),
    }  # fmt: skip
    assert found.failures == []


def test_an_explanation_tells_why_a_member_failed():
    found = voting().explain({"x": np.array([7], np.float32)})
    (fault,) = found.calls[1].faults
    assert (fault.error, fault.message) == ("ValueError", "cannot take 7")
    assert found.columns["vote.member"] == "a,g"
    assert found.failures == []


def test_an_explanation_tells_why_a_row_failed():
    graph = mt.Graph("g", {"y": mt.model(fake(Failing, "m", bad=[7]), x_(), name="n")})
    graph({"x": np.array([1], np.float32)})
    found = graph.explain({"x": np.array([7], np.float32)})
    assert found.outputs == {}
    assert [str(failure) for failure in found.failures] == ["row 0: node n in m: ValueError: cannot take 7"]


def test_members_that_are_not_chosen_do_not_run():
    arms = {"a": fake(Affine, "a"), "b": fake(Failing, "b")}
    graph = mt.Graph("g", {"y": mt.route(arms, x_(), when={"b": "x > 5"}, otherwise="a")})
    assert [call.uses for call in graph.explain({"x": np.array([1], np.float32)}).calls] == ["a"]
    sure = mt.Graph("g", {"y": mt.cascade(arms, x_(), confidence=0.9)})
    assert [call.uses for call in sure.explain({"x": np.array([0.95], np.float32)}).calls] == ["a"]


def test_rows_that_are_not_there_or_do_not_fit_are_said():
    graph = mt.Graph("g", {"y": x_()})
    with pytest.raises(mt.InputError, match="there is no row 3; there are 2"):
        graph.explain({"x": np.zeros(2, np.float32)}, row=3)
    with pytest.raises(mt.InputError, match="row 1: node input: InputError: input 'x' is null"):
        graph.explain({"x": [1.0, None]}, row=1)


def test_statistics_count_rows_batches_and_failures_of_each_node():
    graph = voting()
    graph({"x": np.arange(6, dtype=np.float32)})
    graph({"x": np.arange(6, dtype=np.float32)})
    stats = graph.executor.stats
    assert {name: (each.rows, each.batches, each.failed) for name, each in stats.items()} == {
        "vote": (12, 2, 0), "double": (12, 2, 0), "inner/only": (12, 2, 0),
    }  # fmt: skip
    assert all(each.seconds > 0 for each in stats.values())
    models = {model.model.name: model.stats for model in graph.executor.host.models}
    assert {name: (each.rows, each.failed) for name, each in models.items()} == {
        "a": (12, 0),
        "b": (12, 0),
        "deep": (12, 0),
    }


def test_models_report_the_calls_that_were_made():
    graph = mt.Graph(
        "g", {"y": mt.model(fake(Failing, "m", bad=[3], log="m", settings={"batch": mt.Batching(8)}), x_())}
    )
    graph({"x": np.arange(8, dtype=np.float32)}, failures="return")
    from motet.testing.fakes import calls

    (model,) = graph.executor.host.models
    assert (model.stats.calls, model.stats.rows, model.stats.failed) == (len(calls["m"]), 8, 1)


def test_columns_that_nobody_needs_are_dropped_and_nodes_that_nobody_needs_do_not_run():
    x = x_()
    both = mt.Graph(
        "t", {"y": mt.model(fake(Affine, "m"), x, name="a"), "z": mt.model(fake(Failing, "broken"), x, name="b")}
    )
    graph = mt.Graph("g", {"y": "a"}, inputs=both.inputs, models=both.models, nodes=both.nodes)
    assert graph({"x": np.array([1], np.float32)})["y"] == 1
    assert list(graph.executor.stats) == ["a"]
