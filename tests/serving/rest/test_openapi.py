"""The description of the API holds what the server does."""

import json
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate

from motet.serving.rest import AppParts
from serving.rest.app_graphs import echo, tens


@pytest.fixture(scope="module")
def described(fashion):
    return fashion.get("/openapi.json").json()


def fits(described, name, value):
    """Whether a value is of a schema of the document."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def test_it_is_openapi(described):
    validate(described)
    assert described["openapi"] == "3.1.0"
    assert {"/predict/fashion", "/v2/models/fashion.cnn/infer", "/v2/models/{name}/ready"} <= set(described["paths"])


def test_questions_and_answers_fit_their_schemas(fashion, described, picture):
    row = {"image": picture.tolist()}
    assert fits(described, "fashion_row", row)
    assert fits(described, "fashion_row", row | {"more": 1})
    for wrong in (
        {},
        {"image": picture[:2].tolist()},
        {"image": 7},
        {"image": (picture + 0.5).tolist()},
    ):
        assert not fits(described, "fashion_row", wrong)
    answer = fashion.post("/predict/fashion?explain=1", json=row).json()
    assert fits(described, "fashion_answer", answer)
    assert fits(described, "Explanation", answer["explain"])
    assert fits(described, "Error", fashion.post("/predict/fashion", json={}).json())
    for path, name in (
        ("/v2", "ServerMetadata"),
        ("/v2/models/ab", "ModelMetadata"),
        ("/v2/models/stats", "ModelStatistics"),
    ):
        assert fits(described, name, fashion.get(path).json())
    assert fits(described, "RepositoryIndex", fashion.post("/v2/repository/index").json())
    tensor = {"name": "image", "shape": [1, 28, 28], "datatype": "UINT8", "data": picture.reshape(-1).tolist()}
    assert fits(described, "fashion_inference", {"inputs": [tensor]})
    assert not fits(described, "fashion_inference", {"inputs": []})
    assert fits(
        described, "InferenceAnswer", fashion.post("/v2/models/fashion/infer", json={"inputs": [tensor]}).json()
    )


def test_examples_can_be_asked(live):
    kinds = {
        "small": "int8",
        "many": "int64[?]",
        "text": "string",
        "raw": "bytes",
        "grid": "float32[2,2]",
        "any": "any",
    }
    served = live.serve(echo("asked_as_said", **kinds))
    described = served.get("/openapi.json").json()
    (example,) = described["components"]["schemas"]["asked_as_said_row"]["examples"]
    assert fits(described, "asked_as_said_row", example)
    assert "curl --json" in described["paths"]["/predict/asked_as_said"]["post"]["x-codeSamples"][0]["source"]
    del example["any"]
    answer = served.post("/predict/asked_as_said", json=example | {"any": 1})
    assert answer.status_code == 200, answer.text


def test_credentials_are_described_where_they_are_asked_for(live):
    parts = AppParts(secured=("key", "bearer"), required=True)
    described = live.serve(tens("tens_secured"), parts=parts).get("/openapi.json").json()
    validate(described)
    assert set(described["components"]["securitySchemes"]) == {"key", "bearer"}
    assert described["paths"]["/predict/tens_secured"]["post"]["security"] == [{"key": []}, {"bearer": []}]
    assert described["paths"]["/v2/repository/models/{name}/load"]["post"]["security"]
    assert "security" not in described["paths"]["/v2"]["get"]
    parts = AppParts(secured=("key",))
    described = live.serve(tens("tens_half_secured"), parts=parts).get("/openapi.json").json()
    assert described["paths"]["/predict/tens_half_secured"]["post"]["security"] == [{"key": []}, {}]


def test_every_path_that_is_described_is_there(fashion, described):
    for path, operations in described["paths"].items():
        asked = path.replace("{name}", "fashion").replace("{version}", "1")
        for method in operations:
            if "unload" in path or "/load" in path or path == "/metrics":
                continue
            answer = fashion.client.request(method, asked, json={} if method == "post" else None)
            assert answer.status_code not in (404, 405), asked
            assert json.loads(answer.text)


def test_what_is_taken_is_described_as_it_is_taken(live):
    """Neighbours of what is wrong too: integers with a point, tensors without elements, base64 in its forms."""
    rows = {"small": "uint8", "raw": "bytes", "some": "bytes[?]", "half": "float16"}
    served = live.serve(echo("as_rows", **rows), echo("as_taken", small="uint8", raw="bytes"))
    described = served.get("/openapi.json").json()

    def row(**given):
        value = {"small": 1, "raw": "aGk=", "some": [], "half": 0.5} | given
        return value, fits(described, "as_rows_row", value), served.post("/predict/as_rows", json=value).status_code

    good: list[dict[str, Any]] = [
        {"small": 255.0},
        {"small": 0},
        {"raw": "aGk"},
        {"raw": "_-8="},
        {"raw": "aG\r\nk="},
        {"raw": "data:;base64,aGk="},
        {"raw": ""},
        {"some": ["aGk", "", "_-8="]},
        {"half": 65504},
    ]
    bad: list[dict[str, Any]] = [
        {"small": 255.5},
        {"small": 256},
        {"small": True},
        {"small": "1"},
        {"raw": "aGk=="},
        {"raw": "?"},
        {"raw": "aGl"},
        {"raw": 1},
        {"some": ["aGk=="]},
        {"some": "aGk="},
        {"some": [1]},
        {"half": -70000},
    ]
    for each in good:
        assert row(**each)[1:] == (True, 200), each
    for each in bad:
        assert row(**each)[1:] == (False, 400), each

    def tensors(**changed):
        small = {"name": "small", "datatype": "UINT8", "shape": [1], "data": [7]} | changed
        raw = {"name": "raw", "datatype": "BYTES", "shape": [1], "data": ["a"]}
        body = {"inputs": [{key: value for key, value in small.items() if value is not None}, raw]}
        answer = served.post("/v2/models/as_taken/infer", json=body)
        return fits(described, "as_taken_inference", body), answer.status_code

    for changed in (
        {},
        {"shape": [1, 1]},
        {"shape": [1.0]},
        {"datatype": "INT64"},
        {"datatype": "FP32"},
        {"datatype": "BOOL", "data": [True]},
    ):
        assert tensors(**changed) == (True, 200), changed
    for changed in ({"data": None}, {"shape": [1, 2]}, {"datatype": "BYTES"}, {"shape": []}, {"data": 7}):  # type: ignore[assignment]
        assert tensors(**changed) == (False, 400), changed
