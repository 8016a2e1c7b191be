"""What is said of words that others use, of tabs, and of members that differ only in width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import motet as mt
from motet.errors import GraphError, TypeMismatchError
from motet.types import ColumnType


@pytest.mark.parametrize(
    ("word", "meant"),
    [("double", "float64"), ("float", "float64"), ("str", "string"), ("integer", "int64"), ("Boolean", "bool")],
)
def test_types_of_other_systems_are_understood_but_not_taken(word: str, meant: str) -> None:
    with pytest.raises(GraphError) as caught:
        ColumnType.parse(word.lower())
    assert f"did you mean {meant!r}?" in str(caught.value)


def test_the_mean_is_an_average_and_no_median() -> None:
    models = [mt.Model("python:helpers.functions:halve", f"m{place}", inputs={"x": "float64"}) for place in (0, 1)]
    with pytest.raises(GraphError, match="unknown combiner 'mean'; did you mean 'average'"):
        mt.Graph("g", {"y": mt.ensemble(models, mt.input("x", "float64"), combine="mean")})


def test_a_module_tells_its_own_functions() -> None:
    with pytest.raises(GraphError, match="did you mean 'stack'") as caught:
        mt.Graph("g", {"y": mt.map("motet.ops.columns.stak", mt.input("x", "float64"))})
    assert "known: cast, concat, constant, pad" in str(caught.value)


@pytest.mark.parametrize("line", ["\tx: float64", "  x:\n\t  float64"])
def test_a_tab_is_called_by_its_name(tmp_path: Path, line: str) -> None:
    (tmp_path / "g.yaml").write_text(f"motet: 1\ninputs:\n{line}\noutputs: {{x: x}}\n")
    with pytest.raises(GraphError, match="not YAML: a tab") as caught:
        mt.load(tmp_path / "g.yaml")
    assert "indent with spaces" in caught.value.hint
    assert "line " in caught.value.where


def _numbers(dtype: str, name: str) -> Any:
    return mt.Model("python:helpers.functions:double", name, inputs={"x": dtype}, outputs={"value": dtype})


def test_a_cascade_of_numbers_is_refused_unless_they_are_said_to_be_probabilities() -> None:
    x = mt.input("x", "float64")
    one, two = _numbers("float64", "one"), _numbers("float64", "two")
    with pytest.raises(TypeMismatchError, match="is what a regressor gives, which is no confidence"):
        mt.Graph("g", {"y": mt.cascade([one, two], x, confidence=0.5).value})
    graph = mt.Graph("g", {"y": mt.cascade([one, two], x, confidence=0.5, of="value").value})
    assert graph({"x": [0.3, 0.1]})["y"].tolist() == [0.6, 0.2]


@pytest.mark.parametrize("combine", ["weighted_average", "median", "max", "stack"])
def test_members_that_differ_in_width_meet_in_the_wider_one(tmp_path: Path, combine: str) -> None:
    narrow, wide = mt.input("narrow", "float32"), mt.input("wide", "float64")
    members = {
        "n": mt.member(_numbers("float32", "n"), [narrow]),
        "w": mt.member(_numbers("float64", "w"), [wide]),
    }
    given = {"narrow": np.array([0.1, 3.0, 1e-3], "f4"), "wide": np.array([0.1, 1 / 3, 1e300])}
    for turned in (members, dict(reversed(members.items()))):
        graph = mt.Graph("g", {"y": mt.ensemble(turned, combine=combine).value})
        both = [2 * given["narrow"].astype("f8"), 2 * given["wide"]]
        both = both if turned is members else both[::-1]
        expected = {
            "weighted_average": np.mean(both, axis=0),
            "median": np.median(both, axis=0),
            "max": np.max(both, axis=0),
            "stack": np.stack(both, axis=1),
        }[combine]
        answer = graph(given)["y"]
        assert answer.dtype == np.float64
        np.testing.assert_allclose(answer, expected, rtol=1e-15)
        graph.run(given, tmp_path / "o.parquet", batch_rows=2, overwrite=True)
        np.testing.assert_allclose(np.stack(pd.read_parquet(tmp_path / "o.parquet")["y"]), expected, rtol=1e-15)


def test_members_of_which_some_may_be_missing_give_one_width() -> None:
    narrow, wide = mt.input("narrow", "float32"), mt.input("wide", "float64")
    members = [mt.member(_numbers("float32", "n"), [narrow]), mt.member(_numbers("float64", "w"), [wide])]
    with pytest.raises(
        TypeMismatchError, match="with require, members give numbers of one width; got float32, float64"
    ):
        mt.Graph("g", {"y": mt.ensemble(members, require=1).value})
