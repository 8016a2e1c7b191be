"""The protocol before the Open Inference Protocol, as clients of KServe and TensorFlow Serving speak it."""

import base64

import numpy as np
import pytest

import motet as mt
from serving.rest.app_graphs import echo, tens

V1 = "/v1/models/{}:predict"


def predict(served, name, **body):
    answer = served.post(V1.format(name), json=body)
    return answer.status_code, answer.json()


def doubled(name):
    return mt.Graph(name, outputs={"doubled": mt.map(lambda x: x * 2, mt.input("x", "float64"))})


def two(name):
    a, b = mt.input("a", "float64"), mt.input("b", "int64", default=7)
    return mt.Graph(name, outputs={"sum": mt.map(np.add, a, b), "first": mt.map(np.copy, a)})


def test_values_and_rows_of_one_input(live):
    served = live.serve(doubled("v1_one"))
    for instances in ([1, 2.5], [{"x": 1}, {"x": 2.5}], [1, {"x": 2.5}], [{"x": 1, "more": [1]}, 2.5]):
        assert predict(served, "v1_one", instances=instances) == (200, {"predictions": [2, 5]})
    for inputs in ([1, 2.5], {"x": [1, 2.5]}):
        assert predict(served, "v1_one", inputs=inputs) == (200, {"outputs": [2, 5]})
    assert predict(served, "v1_one", instances=[]) == (200, {"predictions": []})
    versioned = served.post("/v1/models/v1_one/versions/1:predict", json={"instances": [3]})
    assert versioned.json() == {"predictions": [6]}


def test_rows_of_several_inputs(live):
    served = live.serve(two("v1_two"))
    rows = [{"a": 1, "b": 2}, {"a": 0.5}]
    wanted = [{"sum": 3, "first": 1}, {"sum": 7.5, "first": 0.5}]
    assert predict(served, "v1_two", instances=rows) == (200, {"predictions": wanted})
    columns = {"sum": [3, 2.5], "first": [1, 0.5]}
    assert predict(served, "v1_two", inputs={"a": [1, 0.5], "b": [2, 2]}) == (200, {"outputs": columns})


def test_bytes_are_base64_as_tensorflow_serving_wraps_them(live):
    served = live.serve(echo("v1_bytes", raw="bytes"))
    text = base64.b64encode(b"\0\xff").decode()
    for given in ({"b64": text}, text, {"raw": text}, {"raw": {"b64": text}}):
        assert predict(served, "v1_bytes", instances=[given]) == (200, {"predictions": ["b'\\x00\\xff'"]})


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "either 'instances' or 'inputs' must be given"),
        ({"instances": [1], "inputs": [1]}, 400, "either 'instances' or 'inputs' must be given"),
        ({"instances": None, "inputs": None}, 400, "either 'instances' or 'inputs' must be given"),
        ({"instances": 3}, 400, "'instances' must be a list; got int"),
        ({"inputs": 3}, 400, "'inputs' must be an object of lists, each a column"),
        ({"inputs": {"x": 3}}, 400, "'inputs' must be an object of lists, each a column"),
        ({"inputs": {"x": [1], "y": [1, 2]}}, 400, "inputs differ in their number of rows: x has 1, y has 2"),
        ({"instances": [1], "instance": 1}, 400, "unknown key 'instance'; did you mean 'instances'?"),
        ({"instances": [1], "signature_name": "other"}, 400, "there is no signature 'other'"),
        ({"instances": [1], "parameters": {"priority": -1}}, 400, "parameter 'priority' must be at least 0"),
        ({"instances": [1], "parameters": 1}, 400, "'parameters' must be an object; got int"),
        ({"instances": [True, 1, "a"]}, 400, "2 of 3 rows failed: row 0: input 'x' is float32; got True; row 2: "),
        ({"instances": [1, 13]}, 422, "1 of 2 rows failed: row 1: "),
    ],
)
def test_what_is_wrong_is_said(live, body, status, message):
    served = live.serve(tens("v1_tens"))
    got, said = predict(served, "v1_tens", **body)
    assert (got, said["error"][: len(message)]) == (status, message)


def test_models_are_listed_while_they_are_loaded(live):
    served = live.serve(tens("v1_kept"), doubled("v1_gone"))
    for path in ("/v1/models", "/v2/models"):
        assert {"v1_kept", "v1_gone"} <= set(served.get(path).json()["models"])
    said = served.get("/v1/models/v1_gone").json()
    assert (said["name"], said["ready"], said["model_version_status"][0]["state"]) == ("v1_gone", True, "AVAILABLE")
    served.post("/v2/repository/models/v1_gone/unload")
    for path in ("/v1/models", "/v2/models"):
        names = served.get(path).json()["models"]
        assert "v1_kept" in names
        assert not any(name.startswith("v1_gone") for name in names)
    for path in (
        "/v1/models/v1_gone",
        "/v2/models/v1_gone",
        "/v2/models/v1_gone/versions/1",
        "/v2/models/v1_gone/config",
    ):
        answer = served.get(path)
        assert (answer.status_code, answer.json()["error"]) == (404, "'v1_gone' is unloaded; hint: load it first")
    assert served.get("/v1/models/nothing").status_code == 404
    served.post("/v2/repository/models/v1_gone/load")
    assert served.get("/v2/models/v1_gone").status_code == 200


def test_the_status_of_a_version_is_that_of_tensorflow_serving(live):
    """https://www.tensorflow.org/tfx/serving/api_rest#model_status_api: GET .../v1/models/NAME[/versions/V]"""
    served = live.serve(doubled("v1_status"))
    for address in ("/v1/models/v1_status", "/v1/models/v1_status/versions/1"):
        (version,) = served.get(address).json()["model_version_status"]
        assert version == {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert served.get("/v1/models/v1_status/versions/2").status_code == 404
    assert served.get("/v1/models/none/versions/1").status_code == 404


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_verbs_that_there_are_not_are_said(live, version):
    served = live.serve(doubled("v1_verbs"))
    address = f"/v1/models/v1_verbs{version}"
    for verb in ("explain", "classify", "regress"):
        for answer in (served.post(f"{address}:{verb}", json={"instances": [1]}), served.get(f"{address}:{verb}")):
            assert answer.status_code == 404
            assert answer.json()["error"].startswith(f"there is no {verb!r} here; known: predict")
    answer = served.get(f"{address}:predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_null_is_what_is_not_given(live):
    """As pydantic's `model_dump` sends it."""
    served = live.serve(doubled("v1_null"))
    index = served.post("/v2/repository/index", json={"ready": None})
    assert "v1_null" in [each["name"] for each in index.json()]
    assert served.post("/v2/repository/models/v1_null/load", json={"parameters": None}).status_code == 200
    beside = dict.fromkeys(("parameters", "stream", "explain", "id"))
    assert served.post("/predict/v1_null", json={"rows": [{"x": 1}], **beside}).json() == {"rows": [{"doubled": 2}]}
    assert predict(served, "v1_null", instances=[1], parameters=None, signature_name=None)[0] == 200
