"""Rows as JSON, and what they are answered."""

import base64
import gzip
import json

import httpx
import numpy as np
import pytest

import motet as mt
from serving.rest.app_graphs import echo, gated, model, shut, tens


def test_rows_are_answered_row_by_row_like_a_call(fashion, fashion_graph):
    images = np.random.default_rng(1).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    wanted = fashion_graph({"image": images})
    answer = fashion.post("/predict/fashion", json={"rows": [{"image": image.tolist()} for image in images]})
    assert answer.status_code == 200
    assert answer.json() == {
        "rows": [
            {"label": int(label), "name": name, "score": float(score)}
            for label, name, score in zip(wanted["label"], wanted["name"], wanted["score"], strict=True)
        ]
    }


def test_one_row_in_one_row_out(fashion, fashion_graph, picture):
    answer = fashion.post("/predict/fashion", json={"image": picture.tolist()})
    assert answer.json()["label"] == int(fashion_graph({"image": picture[None]})["label"][0])


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "application/x-www-form-urlencoded"}, {"content-type": "text/plain; charset=x"}]
)
def test_json_is_known_whatever_it_is_called(fashion, picture, headers):
    body = json.dumps({"image": picture.tolist()}).encode()
    assert fashion.post("/predict/fashion", content=body, headers=headers).status_code == 200


def test_a_body_may_be_compressed(fashion, picture):
    body = gzip.compress(json.dumps({"image": picture.tolist()}).encode())
    answer = fashion.post("/predict/fashion", content=body, headers={"content-encoding": "gzip"})
    assert answer.status_code == 200


def test_a_model_of_a_graph_is_asked_alone(fashion):
    answer = fashion.post("/predict/fashion.mlp", json={"x": np.zeros((28, 28)).tolist()})
    if answer.status_code == 400:  # its input has another name
        name = fashion.get("/v2/models/fashion.mlp").json()["inputs"][0]["name"]
        answer = fashion.post("/predict/fashion.mlp", json={name: np.zeros((28, 28)).tolist()})
    assert answer.status_code == 200
    (probabilities,) = answer.json().values()
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)


def test_bad_rows_do_not_harm_their_neighbours(live):
    served = live.serve(tens("tens_of_rows"))
    rows = [{"x": 1}, {"x": 13}, {"x": "no"}, {"z": 1}, {}, 7, {"x": 2.5}, {"x": None}]
    answer = served.post("/predict/tens_of_rows", json={"rows": rows})
    assert answer.status_code == 200
    rows = answer.json()["rows"]
    assert rows.pop(1)["error"].startswith("node model_1 in ten: ValueError: 13 brings bad luck")
    assert rows == [
        {"y": 10.0},
        {"error": "input 'x' is float32; got 'no'"},
        {"error": "input 'x' is missing; the graph takes x: float32"},
        {"error": "input 'x' is missing; the graph takes x: float32"},
        {"error": "a row must be an object whose keys are the inputs (x); got 7"},
        {"y": 25.0},
        {"error": "input 'x' is null"},
    ]


def test_one_row_that_fails_is_the_error_of_the_request(live):
    served = live.serve(tens("tens_alone"))
    answer = served.post("/predict/tens_alone", json={"x": 13})
    assert answer.status_code == 422
    assert (
        answer.json()["error"] == "node model_1 in ten: ValueError: 13 brings bad luck (app_graphs.py:52)"
    )  # no folders
    infer = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [13]}]}
    answer = served.post("/v2/models/tens_alone/infer", json=infer)
    assert answer.status_code == 422
    assert answer.json()["error"].endswith("ValueError: 13 brings bad luck (app_graphs.py:52)")
    answer = served.post("/predict/tens_alone", json={"x": [1]})
    assert (answer.status_code, answer.json()) == (400, {"error": "input 'x' is float32; got [1]"})


@pytest.mark.parametrize("query", ["", "?explain=1", "?stream=1"])
def test_nothing_that_is_said_of_a_row_that_fails_names_folders(live, query):
    """Also not where several members say why."""
    x = mt.input("x", "float32")
    members = {name: model("Tens", name) for name in ("one", "other")}
    timed = mt.Graph("vote_of_tens", {"y": mt.ensemble(members, x, require=1, within_ms=60_000).y})
    turns = mt.Graph("turns_of_tens", {"y": mt.cascade(members, x, confidence=0.0, of="y").y})
    served = live.serve(timed, turns)
    for name in ("vote_of_tens", "turns_of_tens"):
        for body in ({"x": 13}, {"rows": [{"x": 13}, {"x": 1 / 16}]}):
            answer = served.post(f"/predict/{name}{query}", json=body).text
            assert answer.count("(app_graphs.py:52)") >= 2
            assert "/app_graphs.py" not in answer


def test_no_rows_is_an_answer(live):
    assert live.serve(tens("tens_of_none")).post("/predict/tens_of_none", json={"rows": []}).json() == {"rows": []}


def test_values_of_every_kind(live):
    kinds = {
        "flag": "bool", "small": "int8", "many": "int64[?]", "half": "float16", "text": "string", "raw": "bytes",
        "grid": "float32[2,2]",
    }  # fmt: skip
    served = live.serve(echo("kinds", **kinds))
    grid = np.arange(4, dtype="<f4").tobytes()
    row = {
        "flag": True, "small": -3, "many": [1, 2, 3], "half": 0.5, "text": "ä🎵",
        "raw": base64.b64encode(b"\0\xff").decode(), "grid": base64.b64encode(grid).decode(),
    }  # fmt: skip
    said = served.post("/predict/kinds", json=row).json()["said"]
    assert said == "np.True_|np.int8(-3)|int64[3]|np.float16(0.5)|'ä🎵'|b'\\x00\\xff'|float32[2, 2]"
    for wrong, message in (
        ({"small": 300}, "input 'small' is int8; got 300, which is out of its range"),
        ({"many": [1.5]}, "input 'many' is int64[?]; got 1.5, which is not whole"),
        ({"text": 7}, "input 'text' is string; got 7"),
        ({"raw": "?"}, "input 'raw': is no base64: got '?', where '?' is no letter of it"),
        ({"grid": "AAAA"}, "input 'grid': is float32[2,2], which takes 16 bytes; got 3"),
        ({"grid": [[1, 2], [3]]}, "input 'grid' is float32[2,2]; got list"),
    ):
        answer = served.post("/predict/kinds", json=row | wrong)
        assert (answer.status_code, answer.json()["error"]) == (400, message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"[1]", "the body must be a JSON object; got list"),
        (b'{"rows": 3}', "'rows' must be a list; got int"),
        (b'{"rows": [], "strem": true}', "unknown key 'strem' beside 'rows'; did you mean 'stream'?"),
        (b'{"x": 1, "stream": true}', "'stream' goes beside 'rows'"),
        (b'{"rows": [], "stream": 1}', "'stream' must be true or false; got int"),
        (b'{"rows": [{"x": 1}], "parameters": {"timeout": -1}}', "parameter 'timeout' (microseconds) must be a number"),
        (b'{"rows": [{"x": 1}], "parameters": {"priority": "high"}}', "parameter 'priority' must be a whole number"),
        (b'{"rows":' + b"[" * 100_000, "the body is not JSON"),
        (b'{"x": 1e999}', "the body is not JSON"),
        (b'{"x": "\xff"}', "the body is not JSON"),
    ],
)
def test_mistakes_are_said(live, tens_served, body, message):
    answer = tens_served.post("/predict/tens_mistaken", content=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.fixture(scope="module")
def tens_served(live):
    return live.serve(tens("tens_mistaken"))


def test_what_cannot_be_read_is_415(tens_served):
    answer = tens_served.post("/predict/tens_mistaken", content=b"x", headers={"content-type": "application/xml"})
    assert answer.status_code == 415
    answer = tens_served.post("/predict/tens_mistaken", content=b"x", headers={"content-type": "image/png"})
    assert answer.status_code == 415
    assert "one file does not say which input it is" in answer.json()["error"]
    answer = tens_served.post("/predict/tens_mistaken", content=b"x", headers={"content-encoding": "zstd"})
    assert answer.status_code == 415


def test_queries_are_checked(tens_served):
    answer = tens_served.post("/predict/tens_mistaken?explain=maybe", json={"x": 1})
    assert (answer.status_code, answer.json()) == (400, {"error": "the query: 'explain' must be 1 or 0; got 'maybe'"})
    assert tens_served.post("/predict/tens_mistaken?timeout=x", json={"x": 1}).status_code == 400


def test_too_many_rows_are_413(tens_served):
    answer = tens_served.post("/predict/tens_mistaken", json={"rows": [{"x": 1}] * 16_385})
    assert answer.status_code == 413


def test_an_explanation_names_members_versions_scores_and_times(fashion, picture):
    row = fashion.post("/predict/fashion?explain=1", json={"image": picture.tolist()}).json()
    about = row.pop("explain")
    assert set(row) == {"label", "name", "score"}
    assert [call["uses"] for call in about["calls"]] == ["linear", "mlp", "cnn"]
    for call in about["calls"]:
        assert call["node"] == "vote"
        assert call["version"]
        assert call["seconds"] > 0
        assert sum(call["outputs"]["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert about["batch_rows"] == 1
    assert about["compute_s"] > 0
    assert about["queue_s"] >= 0


def test_each_row_is_explained_by_its_own_calls(fashion, picture):
    images = [picture, np.zeros_like(picture)]
    rows = fashion.post("/predict/cascade?explain=1", json={"rows": [{"image": image.tolist()} for image in images]})
    for row in rows.json()["rows"]:
        ran = [call["uses"] for call in row["explain"]["calls"]]
        assert ran in (["linear"], ["linear", "cnn"])
        assert row["member"] == ran[-1]


def test_a_request_that_is_late_is_504(live):
    served = live.serve(gated("gated_late"))
    body = {"rows": [{"x": 1}], "parameters": {"timeout": 50_000}}
    with shut("gated_late"):
        for answer in (
            served.post("/predict/gated_late", json={"x": 1}, headers={"x-request-timeout-ms": "50"}),
            served.post("/predict/gated_late?timeout=50000", json={"x": 1}),
            served.post("/predict/gated_late", json=body),
        ):
            assert answer.status_code == 504


def test_a_client_that_leaves_takes_its_rows_along(live):
    served = live.serve(gated("gated_left"))
    batcher = served.repository.find("gated_left").batcher
    with shut("gated_left"):
        with httpx.Client(base_url=served.address) as client, pytest.raises(httpx.ReadTimeout):
            client.post("/predict/gated_left", json={"x": 1}, timeout=0.2)
        live.until(lambda: all(request.cancelled for each in batcher._playing for request in each.requests))
    live.until(lambda: batcher.idle)


def test_a_graph_that_is_not_ready_is_503(live):
    served = live.serve(tens("tens_away"))
    served.post("/v2/repository/models/tens_away/unload")
    answer = served.post("/predict/tens_away", json={"x": 1})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert served.get("/predict/tens_away").status_code == 405
    assert served.post("/predict/tenz", json={"x": 1}).status_code == 404


def test_unsigned_numbers_of_64_bits_stand_beside_small_ones(live):
    x = mt.input("x", "uint64[2]")
    served = live.serve(mt.Graph("wide", outputs={"x": mt.map(mt.ops.columns.cast, x, dtype="uint64")}))
    rows = [{"x": [2**64 - 1, 1]}, {"x": [0, 2**63]}, {"x": [2**64, 1]}, {"x": [-1, 1]}, {"x": [2.5, 1]}]
    answered = served.post("/predict/wide", json={"rows": rows}).json()["rows"]
    assert answered[:2] == rows[:2]
    assert all("input 'x' is uint64[2]; got" in each["error"] for each in answered[2:])


def test_a_number_that_is_too_large_for_its_type_fails_its_row(live):
    served = live.serve(tens("tens_large"))
    assert served.post("/predict/tens_large", json={"rows": [{"x": 1e300}, {"x": 1}]}).json()["rows"] == [
        {"error": "input 'x' is float32; got 1e+300, which is out of its range"},
        {"y": 10},
    ]


def test_keys_that_are_no_inputs_are_passed_over_as_columns_of_a_file_are_but_not_slips(live):
    served = live.serve(mt.Graph("beside", outputs={"y": mt.map(mt.ops.columns.cast, mt.input("income", "float64"), dtype="int64"), "z": mt.input("unit", "string", default="k")}))  # fmt: skip
    rows = [{"income": 1.0, "id": 7, "note": None}, {"incme": 1.0}, {"income": 2.0, "units": "m"}, {"income": 3.0, "unit": "m", "units": 1}]  # fmt: skip
    answer = served.post("/predict/beside", json={"rows": rows}).json()["rows"]
    assert answer == [
        {"y": 1, "z": "k"},
        {"error": "unknown input 'incme'; did you mean 'income'? known: income, unit"},
        {"error": "unknown input 'units'; did you mean 'unit'? known: unit"},
        {"y": 3, "z": "m"},
    ]


def test_the_tokens_that_python_writes_are_numbers(live):
    served = live.serve(mt.Graph("tokens", outputs={"y": mt.map(mt.ops.columns.cast, mt.input("x", "float32"), dtype="string")}))  # fmt: skip
    body = '{"rows": [{"x": NaN}, {"x": Infinity}, {"x": -Infinity}, {"x": 1}, {"x": true}]}'
    answer = served.post("/predict/tokens", content=body).json()["rows"]
    assert answer == [
        {"y": "nan"},
        {"y": "inf"},
        {"y": "-inf"},
        {"y": "1.0"},
        {"error": "input 'x' is float32; got True"},
    ]
