"""Models whose calls cost money are asked for each row once, and again only where a row at fault must be found."""

import json
import math
import urllib.request
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from helpers import charged
from motet.errors import ModelFailedError, ModelUnavailableError, RequestError
from motet.models.registry import find_handler
from motet.runtime.isolate import CallHealth, is_of_service, isolate


@pytest.fixture(autouse=True)
def fresh():
    charged.bills.clear()


def graph_of(name="doubled", paid=True, **settings):
    kinds: dict[str, Any] = {"inputs": {"x": "float32"}, "outputs": {"y": "float32"}}
    model = mt.Model(f"python:helpers.charged:{name}", "m", paid=paid, **kinds, **settings)
    return mt.Graph("g", outputs={"y": mt.model(model, mt.input("x", "float32"))})


def halved(rows, bad):
    """The calls of rows, some of which raise; each row is answered once, or raised alone."""
    calls = []

    def run(first, end):
        calls.append((first, end))
        if any(first <= row < end for row in bad):
            raise ValueError("bad")
        return first

    health = CallHealth("m")
    health.succeeded = True
    segments, faults = isolate(run, rows, health)
    assert [fault.position for fault in faults] == sorted(bad)
    assert [row for first, end, _ in segments for row in range(first, end)] == [r for r in range(rows) if r not in bad]
    assert all((row, row + 1) in calls for row in bad)
    return len(calls)


@given(st.integers(1, 70), st.sets(st.integers(0, 69), max_size=6))
def test_halving_finds_the_rows_at_fault(rows, bad):
    bad = {row for row in bad if row < rows}
    assert halved(rows, bad) <= 1 + 2 * len(bad) * math.ceil(math.log2(rows) if rows > 1 else 0)


def test_a_half_is_not_asked_for_whose_other_half_was_answered():
    assert halved(32, {31}) == 7
    assert halved(32, {0}) == 11
    assert sum(halved(32, {row}) for row in range(32)) / 32 == 9.0


def test_a_number_of_rows_that_is_too_large_is_halved_until_it_is_not():
    calls = []

    def run(first, end):
        calls.append(end - first)
        if end - first > 4:
            raise ValueError("too many")

    assert isolate(run, 64, CallHealth("m"))[1] == []
    assert len(calls) <= 64 // 4 * 2 + 4


X = np.arange(5000, dtype=np.float32)


def test_no_row_is_asked_for_twice(tmp_path):
    graph = graph_of()
    assert graph({"x": X})["y"].tolist() == (X * 2).tolist()
    assert charged.asked() == X.tolist()
    assert max(map(len, charged.bills)) == 256
    charged.bills.clear()
    pq.write_table(pa.table({"x": X}), tmp_path / "x.parquet")
    estimate = graph.run(str(tmp_path / "x.parquet"), str(tmp_path / "y.parquet"), dry_run=True)
    assert charged.bills == []
    assert "tried no rows, since a model is paid; what they take is not known" in str(estimate)
    assert graph.run(str(tmp_path / "x.parquet"), str(tmp_path / "y.parquet")).answered == len(X)
    assert charged.asked() == X.tolist()
    charged.bills.clear()
    graph.explain({"x": X[:1]})
    assert charged.bills == [[0]]


@pytest.mark.parametrize("placement", ["thread", "process"])
def test_a_server_asks_for_no_rows_of_its_own(placement, tmp_path):
    graph = graph_of(placement=placement)
    with graph.serve(block=False, port=0) as server:
        assert charged.bills == []
        body = json.dumps({"rows": [{"x": 1}, {"x": -2}, {"x": 3}]}).encode()
        request = urllib.request.Request(f"{server.url}/predict/g", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            rows = json.load(answer)["rows"]
    assert [each.get("y") for each in rows] == [2, None, 6]
    assert "no negative numbers" in rows[1]["error"]
    if placement == "thread":  # what another process keeps is there
        assert charged.asked() == [-2, -2, 1, 1, 3, 3]
    graph.executor.close()


def test_a_row_at_fault_costs_few_calls():
    x = X[:32].copy()
    x[20] = -1
    answers, failures = graph_of()({"x": x}, failures="return")
    assert answers["y"].tolist() == (np.delete(x, 20) * 2).tolist()
    assert [each.row for each in failures] == [20]
    assert len(charged.bills) == 9
    charged.bills.clear()
    graph_of(batch={"max_rows": 1})({"x": x}, failures="return")
    assert charged.asked() == sorted(x.tolist())


SERVICE = [("connection", 0), ("timeout", 0), ("other", 503), ("other", 429), ("other", 401)]


@pytest.mark.parametrize(("error", "status"), SERVICE)
def test_a_service_that_fails_is_not_asked_again_for_parts(error, status):
    graph = graph_of("Down", options={"error": error, "status": status})
    answers, failures = graph({"x": X[:32]}, failures="return")
    assert len(answers["y"]) == 0
    assert [each.row for each in failures] == list(range(32))
    assert {each.message.partition(" (")[0] for each in failures} == {"gone"}
    assert len(charged.bills) == 1


def test_what_was_refused_for_its_rows_is():
    graph = graph_of("Down", options={"error": "other", "status": 422})
    _, failures = graph({"x": X[:4]}, failures="return")
    assert len(failures) == 4
    assert len(charged.bills) == 7
    charged.bills.clear()
    graph = graph_of("Down", paid=False, options={"error": "connection"})
    graph({"x": X[:4]}, failures="return")
    assert len(charged.bills) == 7


def test_a_run_ends_whose_service_is_down(tmp_path):
    with pytest.raises(ModelFailedError, match=r"model 'm' failed on each of the \d+ rows it was tried on"):
        graph_of("Down", options={"error": "connection"}).run({"x": X}, str(tmp_path / "y.parquet"), workers=1)
    assert len(charged.bills) <= 8


def test_errors_of_services_are_told_from_those_of_rows():
    assert is_of_service(ModelUnavailableError("gone"))
    assert is_of_service(RequestError("its server answered 500"))
    assert not is_of_service(mt.InputError("its server answered 422"))
    assert not is_of_service(ValueError("no"))
    assert not is_of_service(FileNotFoundError("x"))


def test_a_graph_file_says_it(tmp_path):
    graph_of().save(tmp_path / "g.yaml")
    assert "paid: true" in (tmp_path / "g.yaml").read_text()
    assert mt.load(tmp_path / "g.yaml").models["m"].paid is True
    with pytest.raises(mt.GraphError, match="paid must be true, false or not there; got 'yes'"):
        mt.Model("python:helpers.charged:doubled", "m", paid="yes")  # type: ignore[arg-type]


def test_endpoints_are_paid():
    assert getattr(find_handler("openai+http://127.0.0.1:1/v1#m")[0], "paid", False)
