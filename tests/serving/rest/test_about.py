"""What a server says of itself and of its models."""

import pytest
import tritonclient.http as triton

from motet.serving.rest import AppParts
from motet.version import __version__
from serving.rest.app_graphs import scores as graph


def test_the_server_says_what_it_is(fashion):
    answer = fashion.get("/v2")
    assert answer.status_code == 200
    said = answer.json()
    assert said["name"] == "motet"
    assert said["version"] == __version__
    assert "model_repository" in said["extensions"]


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/healthz", "/readyz", "/v2/", "/healthz/"])
def test_health(fashion, path):
    assert fashion.get(path).status_code == 200
    assert fashion.client.head(path).status_code == 200


def test_metadata_of_a_graph_and_of_a_model(fashion):
    said = fashion.get("/v2/models/ab").json()
    assert said == {
        "name": "ab",
        "versions": ["1"],
        "platform": "motet_graph",
        "inputs": [
            {"name": "image", "datatype": "UINT8", "shape": [-1, 28, 28]},
            {"name": "user", "datatype": "BYTES", "shape": [-1], "parameters": {"content_type": "str"}},
        ],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "score", "datatype": "FP32", "shape": [-1]},
            {"name": "arm", "datatype": "BYTES", "shape": [-1], "parameters": {"content_type": "str"}},
        ],
    }
    assert fashion.get("/v2/models/fashion.cnn/versions/1").json()["platform"] == "motet_onnx"


def test_what_is_not_served_is_404_and_says_what_is(fashion):
    for path in ("/v2/models/fashon", "/v2/models/fashon/ready", "/v2/models/fashon/config", "/v2/models/fashon/stats"):
        answer = fashion.get(path)
        assert answer.status_code == 404
        assert "did you mean 'fashion'?" in answer.json()["error"]
    assert "has no version '7'" in fashion.get("/v2/models/fashion/versions/7").json()["error"]


def test_addresses_and_methods_that_do_not_exist_are_said_as_json(fashion):
    answer = fashion.get("/nothing")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
    assert answer.json()["error"] == "there is nothing at GET /nothing; hint: /docs lists what there is"
    answer = fashion.client.delete("/v2")
    assert answer.status_code == 405
    assert sorted(answer.headers["allow"].split(", ")) == ["GET", "HEAD"]
    assert "DELETE /v2 is not offered" in answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["/v2/models/fashion/infer", "/v2/models/fashion/versions/1/infer", "/v2/models/x/infer/"]
)
def test_inference_by_another_method_is_405_and_says_which_is_taken(fashion, path):
    answer = fashion.get(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"].endswith("/infer takes POST")
    assert fashion.client.options(path).status_code == 405


def test_the_configuration_is_what_triton_calls_it(fashion):
    said = fashion.get("/v2/models/fashion/config").json()
    assert said["platform"] == "motet_graph"
    assert said["max_batch_size"] == 16_384
    assert said["input"] == [{"name": "image", "data_type": "TYPE_UINT8", "dims": [28, 28], "optional": False}]
    assert said["output"][1] == {"name": "name", "data_type": "TYPE_STRING", "dims": []}
    assert [each["model_name"] for each in said["ensemble_scheduling"]["step"]] == [
        "fashion.linear",
        "fashion.mlp",
        "fashion.cnn",
    ]


def test_statistics_are_the_provider_s(live):
    numbers = {"inference_count": 7, "execution_count": 3, "last_inference": 9, "success": (3, 1000)}
    served = live.serve(graph("counted"), parts=AppParts(numbers=lambda _: numbers))
    said = served.get("/v2/models/counted/stats").json()["model_stats"][0]
    assert (said["name"], said["version"], said["inference_count"]) == ("counted", "1", 7)
    assert said["inference_stats"]["success"] == {"count": 3, "ns": 1000}
    assert said["inference_stats"]["queue"] == {"count": 0, "ns": 0}
    names = [each["name"] for each in served.get("/v2/models/stats").json()["model_stats"]]
    assert "counted" in names


def test_the_stock_client_reads_all_of_it(fashion):
    with triton.InferenceServerClient(f"127.0.0.1:{fashion.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("fashion")
        assert not client.is_model_ready("nothing")
        assert client.get_server_metadata()["name"] == "motet"
        assert client.get_model_metadata("fashion", "1")["inputs"][0]["shape"] == [-1, 28, 28]
        assert client.get_model_config("fashion.mlp")["backend"] == "motet"
        assert client.get_inference_statistics("fashion")["model_stats"][0]["name"] == "fashion"
        assert client.get_inference_statistics()["model_stats"]
        index = {each["name"]: each["state"] for each in client.get_model_repository_index()}
        assert index["fashion"] == index["keyed.cnn"] == "READY"


def test_load_and_unload_with_the_stock_client(live):
    served = live.serve(graph("moved"))
    with triton.InferenceServerClient(f"127.0.0.1:{served.port}") as client:
        client.unload_model("moved")
        assert not client.is_model_ready("moved")
        states = {each["name"]: each for each in client.get_model_repository_index()}
        assert (states["moved"]["state"], states["moved"]["reason"]) == ("UNAVAILABLE", "unloaded")
        assert served.post("/v2/repository/index", json={"ready": True}).json() == []
        answer = served.get("/v2/models/moved/ready")
        assert answer.status_code == 503
        assert answer.json()["error"] == "moved is not ready: unloaded"
        client.load_model("moved")
        assert client.is_model_ready("moved")


def test_what_cannot_be_loaded_says_why(live):
    served = live.serve(graph("kept"))
    assert served.post("/v2/repository/models/nothing/load").status_code == 404
    answer = served.post("/v2/repository/models/kept/load", json={"parameters": {"config": "{}"}})
    assert answer.status_code == 400
    assert "parameters config are given" in answer.json()["error"]
    assert served.post("/v2/repository/index", json=[1]).json() == {"error": "the body must be a JSON object; got list"}


def test_a_server_that_is_not_ready_says_what_it_waits_for(live):
    served = live.serve(graph("slow_to_load"), load=False)
    answer = served.get("/v2/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False, "reason": "slow_to_load is not ready: it is being loaded",
        "waiting": {"slow_to_load": {"state": "LOADING", "reason": "it is being loaded"}},
    }  # fmt: skip
    assert served.get("/v2/health/live").status_code == 200


@pytest.mark.parametrize("kind", ["system", "cuda"])
def test_shared_memory_is_not_offered(fashion, kind):
    """As Triton's clients ask for it: all regions, and one."""
    for path in ("status", "unregister", "region/a/status", "region/a/register", "region/a/unregister"):
        for ask in (fashion.get, lambda path: fashion.post(path, json={})):
            answer = ask(f"/v2/{kind}sharedmemory/{path}")
            said = "shared memory is not offered; hint: send and ask for the elements"
            assert (answer.status_code, answer.json()["error"]) == (501, said)


def test_the_callers_name_of_a_request_is_given_back(fashion, picture):
    """Whatever becomes of it, and only where there is one."""
    tensor = {"name": "image", "shape": [1, 28, 28], "datatype": "UINT8", "data": picture.reshape(-1).tolist()}
    named = {"x-request-id": "a-17 b"}
    for status, path, body in (
        (200, "/v2/models/fashion/infer", {"inputs": [tensor]}),
        (400, "/v2/models/fashion/infer", {"inputs": []}),
        (404, "/v2/models/nothing/infer", {"inputs": []}),
        (200, "/predict/fashion", {"image": picture.tolist()}),
        (400, "/predict/fashion", {}),
        (200, "/v1/models/fashion:predict", {"instances": [picture.tolist()]}),
        (404, "/nothing", {}),
    ):
        answer = fashion.post(path, json=body, headers=named)
        assert (answer.status_code, answer.headers.get("x-request-id")) == (status, "a-17 b"), path
        assert "x-request-id" not in fashion.post(path, json=body).headers
    streamed = fashion.post("/predict/fashion?stream=1", json={"image": picture.tolist()}, headers=named)
    assert streamed.headers["x-request-id"] == "a-17 b"
    assert fashion.get("/v2/health/live", headers=named).headers["x-request-id"] == "a-17 b"
