"""Functions and models say which rows failed: these fail alone, and nothing is called again to find them."""

import json
import urllib.request
from typing import Any

import numpy as np
import pandas as pd
import pytest

import motet as mt
from helpers import failing_rows
from helpers.rows import play
from motet.models.independence import RowByRow

X = np.arange(8, dtype=np.float32)
SAYS = {
    "by_reasons": ("ModelError", "{:g} is odd"),
    "by_mask": ("ArithmeticError", "odd"),
    "in_place": ("LookupError", "odd"),
}
KINDS: dict[str, Any] = {"half": "float32", "pair": "float32[2]"}


@pytest.fixture(autouse=True)
def fresh():
    failing_rows.calls.clear()


def graph_of(name: str, **settings: Any) -> mt.Graph:
    x = mt.input("x", "float32")
    if settings.get("placement") == "function":
        seen = mt.map(getattr(failing_rows, name), x, outputs=KINDS)
    else:
        path = f"python:helpers.failing_rows:{name}"
        seen = mt.model(mt.Model(path, "m", inputs={"x": "float32"}, outputs=KINDS, **settings), x)
    return mt.Graph("g", outputs={"half": seen.half, "pair": seen.pair})


PLACES = [(name, placement) for name in SAYS for placement in ("inline", "process", "function")]


@pytest.mark.parametrize(("name", "placement"), [each for each in PLACES if each != ("by_mask", "function")])
def test_each_fails_alone_wherever_it_is_asked(name, placement, tmp_path):
    graph, (error, message) = graph_of(name, placement=placement), SAYS[name]
    for row, got in enumerate(play(graph, {"x": X})):
        if row % 2:
            assert (got.error, got.message.partition(" (")[0]) == (error, message.format(row))
        else:
            assert (got["half"], got["pair"].tolist()) == (row / 2, [row, row])
    assert failing_rows.calls in ([8], [])
    report = graph.run({"x": X}, str(tmp_path / "out.parquet"), max_failures="100%")
    assert (report.answered, report.failed) == (4, 4)
    graph.executor.close()


def test_live_too():
    with graph_of("by_reasons").serve(block=False, port=0) as server:
        failing_rows.calls.clear()
        body = json.dumps({"rows": [{"x": row} for row in range(4)]}).encode()
        request = urllib.request.Request(f"{server.url}/predict/g", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            rows = json.load(answer)["rows"]
    assert [each.get("half") for each in rows] == [0, None, 1, None]
    assert "3 is odd" in rows[3]["error"]
    assert failing_rows.calls == [4]


def test_a_model_that_takes_one_row_a_call_is_not_asked_again_for_those_beside_a_bad_one():
    asked = list[int]()

    def model(columns):
        asked.extend(columns["x"].tolist())
        if columns["x"][0] < 0:
            raise ValueError("negative")
        return {"y": columns["x"] * 2}

    apart = RowByRow(model)  # type: ignore[arg-type]
    found = apart({"x": np.array([1, -2, 3])})["y"]
    assert [str(each) for each in found] == ["2", "negative", "6"]
    assert asked == [1, -2, 3]
    with pytest.raises(ValueError, match="negative"):
        apart({"x": np.array([-1, -2])})


def test_what_is_returned():
    column = mt.failing(np.eye(3), {1: "no"})
    assert [each.tolist() if isinstance(each, np.ndarray) else str(each) for each in column] == [
        [1, 0, 0],
        "no",
        [0, 0, 1],
    ]
    assert mt.failing(["a", "b"], {}) == ["a", "b"]
    assert mt.failing([], []) == []
    frame = mt.failing(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), [False, True], "gone")
    assert {name: [str(each) for each in column] for name, column in frame.items()} == {
        "a": ["1", "gone"],
        "b": ["x", "gone"],
    }


@pytest.mark.parametrize(
    ("failed", "message"),
    [
        ({2: "no"}, "failing was given row 2 of 2 rows"),
        ([True], r"failing was given bool \[1\] for 2 rows"),
        ([0, 1], r"failing was given int64 \[2\] for 2 rows"),
    ],
)
def test_rows_that_are_not_there_are_refused(failed, message):
    with pytest.raises(mt.InputError, match=message):
        mt.failing(np.zeros(2), failed)
