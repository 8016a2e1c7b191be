"""Keys and thresholds are numbers as people write them, whatever the precision of the column; NaN is no confidence."""

from typing import Any

import numpy as np
import pytest

import motet as mt
from motet.testing.fakes import Affine, fake


def _routed(arms, kind, keys, **options):
    x, k = mt.input("x", "float32"), mt.input("k", kind)
    members = {arm: fake(Affine, f"m{place}") for place, arm in enumerate(arms)}
    arm = mt.route(members, x, key=k, **options)
    graph = mt.Graph("g", {"who": arm.member})
    return graph({"k": keys, "x": np.zeros(len(keys), np.float32)}, failures="return")


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_a_key_is_the_number_as_it_is_written(kind):
    keys = np.array([0.1, 7, -2.5, 0.3], kind)
    answers, failures = _routed(["0.1", "7", "-2.5", "*"], kind, keys)
    assert answers["who"].tolist() == ["0.1", "7", "-2.5", "*"]
    answers, failures = _routed(["0.1", "7"], kind, keys)
    assert [failure.row for failure in failures] == [2, 3]
    assert failures[1].message.startswith("no member takes the key 0.3; they take 0.1, 7")


@pytest.mark.parametrize(
    ("kind", "arm", "hint"),
    [
        ("bool", "True", "write true"), ("bool", "1", r"write true, false or \*"), ("bool", "yes", "write true, false"),
        ("int64", "7.0", r"write numbers, or \*"), ("int64", "07", "write 7"), ("int64", "a", r"write numbers, or \*"),
        ("uint8", "256", "write numbers"), ("uint8", "-1", "write numbers"), ("float32", "7.0", "write 7"),
        ("float64", "0.10", "write 0.1"), ("float32", "nan", "write numbers"), ("float64", "1|2.0", "write 2"),
    ],
)  # fmt: skip
def test_an_arm_that_no_row_would_take_is_refused(kind, arm, hint):
    with pytest.raises(mt.GraphError, match=rf"the key '.*' is never one of a column of {kind}\n  hint: {hint}"):
        _routed([arm, "*"], kind, [])


@pytest.mark.parametrize(
    ("kind", "arms", "keys"),
    [
        ("bool", ["true", "false"], [True, False]), ("int8", ["-128", "127|7"], [-128, 7]),
        ("uint64", ["18446744073709551615", "2"], [2**64 - 1, 2]), ("float32", ["inf", "-0.25|*"], [np.inf, -0.25]),
        ("string", ["True", "7.0", "é"], ["True", "7.0", "é"]),
    ],
)  # fmt: skip
def test_arms_that_rows_take(kind, arms, keys):
    answers, failures = _routed(arms, kind, np.array(keys, object if kind == "string" else kind))
    assert (answers["who"].tolist(), failures) == (
        [next(arm for arm in arms if str(key).lower() in arm.lower()) for key in keys],
        [],
    )


def _cascade(values, dtype, confidence=0.9):
    model: dict[str, Any] = {"inputs": {"x": f"{dtype}[2]"}, "outputs": {"p": f"{dtype}[2]"}}
    first, second = (mt.Model("python:motet.testing.fakes:Affine", name, **model) for name in "ab")
    node = mt.cascade([first, second], mt.input("x", f"{dtype}[2]"), confidence=confidence)
    return mt.Graph("c", {"who": node.member})({"x": np.array(values, dtype)}, failures="return")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_confidence_is_held_against_the_threshold_in_its_own_precision(dtype):
    below = float(np.nextafter(np.array(0.9, dtype), np.array(0, dtype)))
    assert _cascade([[0.9, 0.1], [below, 0.1]], dtype)[0]["who"].tolist() == ["a", "b"]


def test_nan_is_no_confidence():
    answers, failures = _cascade([[np.nan, np.nan], [0.95, 0.05], [np.nan, 0.95], [0.5, 0.5]], "float32")
    assert answers["who"].tolist() == ["a", "b"]
    assert [failure.row for failure in failures] == [0, 2]
    assert all("confidence nan of member 'a' is no probability" in failure.message for failure in failures)
