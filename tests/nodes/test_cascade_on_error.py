"""A cascade goes on to its next member where one fails on a row; what every member failed on says so of all of them."""

import csv
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import motet as mt
from helpers.rows import play
from motet.errors import ModelUnavailableError
from motet.testing.fakes import Affine, Failing, fake

BAD = {"a": [1.0, 3.0], "b": [2.0, 3.0], "c": [3.0, 4.0]}
SURE_ABOVE = {"a": 0.8, "b": 0.5}
GONE = "oip+http://127.0.0.1:9/v2/models/gone"


def rows_of(kinds, scores):
    return np.stack([np.float32(kinds), np.float32(scores)], axis=1)


def graph_of(on_error):
    x = mt.input("x", "float32[2]")
    models = {
        name: fake(Failing, name, "float32[2]", bad=bad, settings={"after": second_place}) for name, bad in BAD.items()
    }
    sure = mt.cascade(models, x, confidence=SURE_ABOVE, on_error=on_error, name="sure")
    return mt.Graph("g", {"p": sure.output, "who": sure.member, "sure": sure.confidence})


@mt.returns("float32[1]")
def second_place(answer):
    return answer[:, 1:]


def wanted(kind, score, on_error):
    """Who answers a row, or who failed on it: by hand."""
    failed = []
    for name in "abc":
        if kind in BAD[name]:
            failed.append(name)
            if on_error == "fail" or name == "c":
                return None, failed
        elif name == "c" or score >= np.float32(SURE_ABOVE[name]):
            return name, failed
    raise AssertionError


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0]), st.sampled_from([0.3, 0.6, 0.9])), max_size=14))
@pytest.mark.parametrize("on_error", ["next", "fail"])
def test_every_row_is_answered_by_the_first_member_that_is_sure_and_did_not_fail(on_error, rows):
    x = rows_of([kind for kind, _ in rows], [score for _, score in rows]).reshape(-1, 2)
    found = play(GRAPHS[on_error], {"x": x})
    assert len(found) == len(rows)
    for (kind, score), got in zip(rows, found, strict=True):
        who, failed = wanted(kind, score, on_error)
        if who is None:
            assert (got.node, got.model, got.error) == ("sure", failed[-1], "ValueError")
            every = "; ".join(f"{name}: ValueError: cannot take {kind:g}" for name in failed)
            one = f"cannot take {kind:g}"
            assert got.message == (one if len(failed) == 1 else f"{len(failed)} members failed: {every}")
        else:
            assert (got["who"], got["p"].tolist(), got["sure"]) == (who, [np.float32(score)], np.float32(score))


GRAPHS = {on_error: graph_of(on_error) for on_error in ("next", "fail")}


def test_the_explanation_of_a_row_names_who_failed_and_why():
    told = GRAPHS["next"].explain({"x": rows_of([1.0], [0.6])})
    assert [(call.member, [fault.message for fault in call.faults]) for call in told.calls] == [
        ("a", ["cannot take 1"]), ("b", []),
    ]  # fmt: skip
    assert told.columns["sure.member"] == "b"
    assert re.search(r"sure: a, .*\n      failed: ValueError: cannot take 1\n  sure: b, ", str(told))


def test_a_member_that_fails_on_everything_leaves_all_rows_to_the_next_one(tmp_path):
    x = mt.input("x", "float32")
    graph = mt.Graph("g", {"y": mt.cascade([fake(Failing, "broken"), fake(Affine, "fine")], x, confidence=0.5)})
    rows = np.arange(100, dtype=np.float32) / 100
    assert graph({"x": rows})["y"].tolist() == rows.tolist()
    with open(tmp_path / "x.csv", "w", newline="") as file:
        csv.writer(file).writerows([["x"], *([float(each)] for each in rows)])
    report = graph.run(tmp_path / "x.csv", tmp_path / "y.csv", batch_rows=7)
    assert (report.rows, report.failed) == (100, 0)
    with open(tmp_path / "y.csv", newline="") as file:
        assert [np.float32(row["y"]) for row in csv.DictReader(file)] == rows.tolist()


def far(name):
    return mt.Model(GONE, name, inputs={"x": "float32"}, outputs={"output": "float32"}, timeout_s=5)


def test_a_member_that_cannot_be_reached_leaves_all_rows_to_the_next_one():
    x = mt.input("x", "float32")
    graph = mt.Graph("g", {"y": mt.cascade([far("gone"), fake(Affine, "fine")], x, confidence=0.5)})
    assert graph({"x": np.array([0.1, 0.9], np.float32)})["y"].tolist() == [np.float32(0.1), np.float32(0.9)]
    told = graph.explain({"x": np.array([0.1], np.float32)})
    assert [(call.member, [fault.error for fault in call.faults]) for call in told.calls] == [
        ("gone", ["ModelUnavailableError"]), ("fine", []),
    ]  # fmt: skip


def test_a_last_member_that_cannot_be_reached_fails_the_rows_that_come_to_it_with_all_reasons():
    x = mt.input("x", "float32")
    first = fake(Failing, "first", bad=[0.25])
    graph = mt.Graph("g", {"y": mt.cascade([first, far("gone")], x, confidence=0.5)})
    found = play(graph, {"x": np.array([0.75, 0.25, 0.125], np.float32)})
    assert found[0]["y"] == np.float32(0.75)
    assert found[1].message.startswith("2 members failed: first: ValueError: cannot take 0.25; gone: ModelUnavail")
    assert (found[2].error, found[2].model) == ("ModelUnavailableError", "gone")
    assert "members failed" not in found[2].message


@pytest.mark.parametrize("on_error", ["next", "fail"])
def test_members_none_of_which_can_be_reached_are_no_rows_fault(on_error):
    x = mt.input("x", "float32")
    graph = mt.Graph("g", {"y": mt.cascade([far("one"), far("other")], x, confidence=0.5, on_error=on_error)})
    with pytest.raises(ModelUnavailableError, match="one" if on_error == "fail" else "other"):
        graph({"x": np.array([0.1], np.float32)})


def test_nan_is_a_failure_of_the_member_that_gave_it():
    x = mt.input("x", "float32")
    first = fake(Affine, "first", scale=np.nan)
    sure = mt.cascade([first, fake(Affine, "last")], x, confidence=0.5, name="sure")
    graph = mt.Graph("g", {"y": sure.output, "who": sure.member})
    found = graph({"x": np.array([0.25, 0.75], np.float32)})
    assert (found["who"].tolist(), found["y"].tolist()) == (["last", "last"], [0.25, 0.75])


def test_what_may_be_said_of_errors():
    x = mt.input("x", "float32")
    with pytest.raises(mt.GraphError, match="node 'sure': on_error: on_error must be 'next' or 'fail'; got 'skip'"):
        mt.Graph("g", {"y": mt.cascade([fake(Affine, "a"), fake(Affine, "b")], x, confidence=1, on_error="skip", name="sure")})  # fmt: skip


def test_on_error_is_written_where_it_is_not_the_default(tmp_path):
    x = mt.input("x", "float32")
    for on_error in ("next", "fail"):
        node = mt.cascade([fake(Affine, "a"), fake(Affine, "b")], x, confidence=0.5, on_error=on_error)
        graph = mt.Graph("g", {"y": node})
        graph.save(tmp_path / "g.yaml")
        assert ("on_error" in (tmp_path / "g.yaml").read_text()) == (on_error == "fail")
        assert mt.load(tmp_path / "g.yaml") == graph
    text = (tmp_path / "g.yaml").read_text()
    (tmp_path / "g.yaml").write_text(text.replace("on_error: fail", "on_error: 3"))
    with pytest.raises(mt.GraphError, match=r"nodes.cascade_?1?.on_error: expected a text; got 3"):
        mt.load(tmp_path / "g.yaml")
