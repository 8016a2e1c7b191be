"""Rows in, rows out: the same as a server answers."""

import json
from datetime import date
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

import motet as mt
from motet.errors import InputError, RowErrors
from motet.testing import Failing, fake

TYPES = {
    "whole": "int64", "real": "float64", "flag": "bool", "text": "string", "raw": "bytes", "vector": "float32[2]", "any": "any",
}  # fmt: skip
ROWS = [
    {},
    {"whole": 2**53 + 1, "real": 0.1, "flag": True, "text": "ä", "raw": "/wA=", "vector": [1, 2.5]},
    {"whole": 1.5},
    {"whole": 3.0, "real": None, "unknown": 1},
    {"real": "NaN"},
    {"text": 3},
    {"vector": [1]},
    {"vector": [1, None]},
    {"raw": "?"},
    {"any": {"a": [1, "b"]}},
    7,
    {"whoel": 1},
    {"bad": 13},
]


@pytest.fixture(scope="module")
def graph() -> mt.Graph:
    columns = {name: mt.input(name, kind, default=None if name != "vector" and name not in ("whole", "flag") else
               {"whole": 0, "flag": False, "vector": [0, 0]}[name]) for name, kind in TYPES.items()}  # fmt: skip
    bad = mt.model(fake(Failing, "f", bad=[13.0]), mt.input("bad", "float32", default=0))
    return mt.Graph("g", {**columns, "bad": bad})


def test_it_answers_as_a_server_does(graph: Any) -> None:
    with graph.serve(block=False, port=0) as server:
        wanted = httpx.post(f"{server.url}/predict/g", json={"rows": ROWS}).json()["rows"]
        assert graph.predict(ROWS) == wanted
        assert any("error" in row for row in wanted)
        for row, answer in zip(ROWS, wanted, strict=True):
            if isinstance(row, dict) and "error" not in answer:
                assert graph.predict(row) == httpx.post(f"{server.url}/predict/g", json=row).json()
    assert json.loads(json.dumps(graph.predict(ROWS), allow_nan=False)) == wanted


def test_rows_may_hold_what_python_has(graph: Any) -> None:
    answers = graph.predict(
        [
            {
                "raw": b"\xff\0",
                "vector": np.array([1, np.nan], np.float32),
                "whole": np.int8(3),
                "any": date(2024, 5, 1),
            },
            {"real": np.inf, "text": np.str_("a")},
        ]
    )
    assert answers[0]["raw"] == "/wA="
    assert answers[0]["vector"] == [1.0, None]
    assert answers[0]["whole"] == 3
    assert answers[0]["any"] == "2024-05-01"
    assert (answers[1]["real"], answers[1]["text"]) == (None, "a")
    json.dumps(answers, allow_nan=False)


def test_no_rows_and_many(graph: Any) -> None:
    assert graph.predict([]) == []
    answers = graph.predict({"whole": value} for value in range(5000))
    assert [answer["whole"] for answer in answers] == list(range(5000))


def test_one_row_that_fails_raises(graph: Any) -> None:
    with pytest.raises(RowErrors, match="cannot take 13") as raised:
        graph.predict({"bad": 13})
    assert len(raised.value.failures) == 1
    with pytest.raises(RowErrors, match="input 'whole'"):
        graph.predict({"whole": 1.5})


@pytest.mark.parametrize("rows", [7, "rows", b"rows", None])
def test_what_is_no_rows(graph: Any, rows: bytes | int | str | None) -> None:
    with pytest.raises(InputError, match="rows are mappings of inputs by name"):
        graph.predict(rows)


def test_a_handler_may_return_it(graph: Any) -> None:
    app = FastAPI()

    @app.post("/ask")
    def ask(rows: list[dict]) -> Any:
        return graph.predict(rows)

    async def asked() -> Any:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://app") as client:
            return await client.post("/ask", json=[{"whole": 3}, {"whole": 1.5}])

    import asyncio

    answer = asyncio.run(asked())
    assert answer.status_code == 200
    assert (answer.json()[0]["whole"], list(answer.json()[1])) == (3, ["error"])
