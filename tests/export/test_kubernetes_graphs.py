"""What is written for a graph holds against the schemas, and its command serves here as in its container."""

import http.client
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from helpers import onnxes
from helpers.kubernetes import Machine, objects, of_kind, validate, validate_all
from helpers.until import until
from motet.cli import cli
from motet.errors import GraphError, InputError
from motet.export.kubernetes import ExportSettings, export_kubernetes

GRAPH = """\
motet: 1
name: Two_Models
inputs:
  x: float32[4]
models:
  one: {uri: ../models/one.onnx, replicas: 2, resources: {cpu: 2, memory: 1GiB}}
  two: {uri: ../models/two.onnx, placement: process, replicas: {min: 1, max: 3}, resources: {cpu: 0.5, memory: 256MiB, accelerator: 1}}
nodes:
  scaled: {map: graph_functions.halve, inputs: [x], outputs: "float32[4]"}
  vote:   {ensemble: [one, two], inputs: [scaled], combine: average}
outputs: {scores: vote}
serve:
  limits: {drain_timeout_s: 12}
"""
FUNCTIONS = """\
import numpy
from graph_helpers import HALF

def halve(x):
    return (x * HALF).astype(numpy.float32)
"""


@pytest.fixture
def project(tmp_path: Path) -> Any:
    """A graph with models and functions, as people have them."""
    folder = tmp_path / "project" / "graphs"
    folder.mkdir(parents=True)
    models = tmp_path / "project" / "models"
    models.mkdir()
    for seed, name in enumerate(("one", "two")):
        onnxes.classifier(models / f"{name}.onnx", seed=seed)
    (folder / "two.yaml").write_text(GRAPH)
    (folder / "graph_functions.py").write_text(FUNCTIONS)
    (folder / "graph_helpers.py").write_text("import yaml\n\nHALF = 0.5\n")
    (folder / "unrelated.py").write_text("import torch\n")
    return folder


def exported(project: Any, output: Any, *options: Any) -> Any:
    target = str(project / "two.yaml") if project.is_dir() else str(project)
    found = CliRunner().invoke(cli, ["export", "kubernetes", target, "-o", str(output), *options])
    assert found.exit_code == 0, found.output
    return output


def every(folder: Any) -> Any:
    """All objects, but for what is copied into the image."""
    paths = [path for path in sorted(folder.rglob("*.yaml")) if "image" not in path.relative_to(folder).parts]
    return [each for path in paths for each in objects(path)]


def required(folder: Any) -> Any:
    return (folder / "image" / "install" / "requirements.txt").read_text()


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--replicas", "3"),
        ("--as", "kserve", "--replicas", "0:5"),
        ("--namespace", "shop", "--image", "r.io/a/b:1"),
    ],
)
def test_everything_holds_against_the_schemas(project: Any, tmp_path: Path, options: Any) -> None:
    found = every(exported(project, tmp_path / "out", *options))
    assert len(found) >= 2
    validate_all(found)


def test_a_wrong_key_would_be_found(project: Any, tmp_path: Path) -> None:
    for each in every(exported(project, tmp_path / "out")):
        if each["kind"] in ("Kustomization", "PodMonitor"):
            continue
        each["spec" if "spec" in each else "data"]["unheard"] = {"of": 1}
        with pytest.raises(AssertionError, match="unheard|is not of type"):
            validate(each)


@pytest.mark.parametrize("example", ["fashion", "photos", "swarm", "ocr"])
def test_the_examples_hold_too(tmp_path: Path, example: str) -> None:
    from helpers.kubernetes import ROOT

    folder = ROOT / "examples" / example
    if example in ("photos", "ocr") and not (folder / "models").exists():
        pytest.skip(f"the models of the example {example} are fetched by its own tests")
    export_kubernetes([str(path) for path in folder.glob("*.yaml")], tmp_path, ExportSettings())
    validate_all(every(tmp_path))


def test_hints_become_requests_and_limits(project: Any, tmp_path: Path) -> None:
    deployment = of_kind(exported(project, tmp_path / "out") / "deployment" / "two-models.yaml", "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    # one: two copies in the server, which share two cores; two: a process for each of one to three copies
    assert container["resources"] == {
        "requests": {"cpu": "2500m", "memory": "2816Mi", "nvidia.com/gpu": "3"},
        "limits": {"cpu": "3500m", "memory": "3328Mi", "nvidia.com/gpu": "3"},
    }


def test_a_pod_has_the_time_to_answer_what_it_accepted(project: Any, tmp_path: Path) -> None:
    deployment = of_kind(exported(project, tmp_path / "out") / "deployment" / "two-models.yaml", "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 5 + 12 + 10
    assert pod["containers"][0]["lifecycle"] == {"preStop": {"exec": {"command": ["sleep", "5"]}}}


def test_the_autoscaler_has_the_replicas_or_the_deployment_has(project: Any, tmp_path: Path) -> None:
    scaled = exported(project, tmp_path / "scaled", "--replicas", "2:8") / "deployment" / "two-models.yaml"
    assert "replicas" not in of_kind(scaled, "Deployment")["spec"]
    assert of_kind(scaled, "HorizontalPodAutoscaler")["spec"]["maxReplicas"] == 8
    fixed = exported(project, tmp_path / "fixed", "--replicas", "1") / "deployment" / "two-models.yaml"
    assert of_kind(fixed, "Deployment")["spec"]["replicas"] == 1
    assert [each["kind"] for each in objects(fixed)] == ["ConfigMap", "Deployment", "Service"]


def test_only_knative_starts_from_zero(project: Any, tmp_path: Path) -> None:
    out = exported(project, tmp_path / "out", "--replicas", "0:3")
    assert not (out / "deployment").exists()
    (service,) = [each for each in objects(out / "kserve" / "two-models.yaml") if each["kind"] == "InferenceService"]
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Serverless"
    with pytest.raises(InputError, match="a Deployment is not scaled from zero"):
        export_kubernetes([str(project / "two.yaml")], out, ExportSettings(min_replicas=0), ["deployment"])


def test_a_changed_graph_replaces_the_pods(project: Any, tmp_path: Path) -> None:
    def digest(out: Any) -> Any:
        deployment = of_kind(out / "deployment" / "two-models.yaml", "Deployment")
        return deployment["spec"]["template"]["metadata"]["annotations"]["motet/graph-digest"]

    first, again = exported(project, tmp_path / "a"), exported(project, tmp_path / "b")
    (project / "two.yaml").write_text(GRAPH.replace("average", "max"))
    changed = exported(project, tmp_path / "c")
    assert digest(first) == digest(again) != digest(changed)


def test_files_of_labels_go_with_the_graph(project: Any, tmp_path: Path) -> None:
    (project / "labels.txt").write_text("cat: small\n[dog\n", encoding="utf-8")
    (project / "two.yaml").write_text(
        GRAPH.replace("{uri: ../models/one.onnx,", "{uri: ../models/one.onnx, labels: labels.txt,")
    )
    config = of_kind(exported(project, tmp_path / "out") / "deployment" / "two-models.yaml", "ConfigMap")
    assert {name.rpartition(".")[2]: text for name, text in config["data"].items()}["txt"] == "cat: small\n[dog\n"


def test_models_of_a_store_need_it_and_a_cache(project: Any, tmp_path: Path) -> None:
    (project / "two.yaml").write_text(GRAPH.replace("../models/one.onnx", '"store:one@champion"'))
    out = exported(project, tmp_path / "volume")
    claims = objects(out / "volumes.yaml")
    validate_all(every(out))
    assert [each["metadata"]["name"] for each in claims] == ["motet-cache", "motet-store"]
    url = exported(project, tmp_path / "url", "--store", "s3://models/here")
    assert [each["metadata"]["name"] for each in objects(url / "volumes.yaml")] == ["motet-cache"]
    pod = of_kind(url / "deployment" / "two-models.yaml", "Deployment")["spec"]["template"]["spec"]
    assert {"name": "MOTET_STORE", "value": "s3://models/here"} in pod["containers"][0]["env"]
    assert re.search(r"^s3fs==", required(url), re.M)
    assert required(url).startswith("motet[grpc,s3] @ file:///install/motet-")


def test_the_image_has_what_the_graph_imports_and_nothing_else(project: Any, tmp_path: Path) -> None:
    out = exported(project, tmp_path / "out")
    text = required(out)
    assert re.search(r"^numpy==\S+$", text, re.M)
    assert re.search(r"^pyyaml==\S+$", text, re.M)
    assert "torch" not in text
    app = out / "image" / "app"
    assert sorted(str(path.relative_to(app)) for path in app.rglob("*") if path.is_file()) == [
        "graphs/graph_functions.py",
        "graphs/graph_helpers.py",
        "graphs/two.yaml",
        "graphs/unrelated.py",
        "models/one.onnx",
        "models/two.onnx",
    ]
    assert 'COPY ["app", "/app"]' in (out / "image" / "Containerfile").read_text()


def test_a_wheel_is_copied_and_installed(project: Any, tmp_path: Path) -> None:
    wheel = project / "motet-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"")
    out = exported(project, tmp_path / "out", "--package", str(wheel))
    assert sorted(path.name for path in (out / "image" / "install").iterdir()) == [wheel.name, "requirements.txt"]
    assert f"motet[grpc] @ file:///install/{wheel.name}\n" in required(out)


def test_what_has_no_place_in_a_container_is_refused(project: Any, tmp_path: Path) -> None:
    absolute = tmp_path / "project" / "models" / "one.onnx"
    (project / "two.yaml").write_text(GRAPH.replace("../models/one.onnx", str(absolute)))
    with pytest.raises(GraphError, match=r"model 'one': .*one.onnx is a path of this machine"):
        export_kubernetes([str(project / "two.yaml")], tmp_path / "out", ExportSettings())
    (project / "two.yaml").write_text(GRAPH)
    with pytest.raises(InputError, match=r"one.onnx is outside of .*graphs\n  hint: give a folder around"):
        export_kubernetes([str(project / "two.yaml")], tmp_path / "out", ExportSettings(context=project))
    (project / "again.yaml").write_text(GRAPH)
    with pytest.raises(InputError, match="both are two-models in Kubernetes"):
        export_kubernetes([str(project)], tmp_path / "out", ExportSettings())
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_has_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to export in"):
        export_kubernetes([str(tmp_path)], tmp_path / "out", ExportSettings())


@pytest.mark.parametrize("kind", ["deployment", "kserve"])
def test_the_containers_command_serves_here(project: Any, tmp_path: Path, kind: str) -> None:
    """Without the project's folder: what the image and the volumes hold must be enough."""
    (project / "two.yaml").write_text(GRAPH.replace(", accelerator: 1", "").replace("placement: process, ", ""))
    out = exported(project, tmp_path / "out", "--as", kind)
    machine = Machine(tmp_path / "disk", out / "image")
    found = objects(out / kind / "two-models.yaml")
    maps = {each["metadata"]["name"]: each for each in found if each["kind"] == "ConfigMap"}
    if kind == "deployment":
        pod = of_kind(out / kind / "two-models.yaml", "Deployment")["spec"]["template"]["spec"]
    else:
        pod = of_kind(out / kind / "two-models.yaml", "InferenceService")["spec"]["predictor"]
    (container,) = pod["containers"]
    assert machine.user == pod["securityContext"]["runAsUser"]
    machine.path("/app/graphs/two.yaml").write_text("replaced by the ConfigMap")
    machine.mount(pod, container, maps)
    (project / "two.yaml").unlink()
    log = tmp_path / "log"
    with log.open("w") as file:
        server = machine.start(container["command"], container, stdout=file, stderr=file)
    try:
        port = _port(server, log)
        live, ready = container["livenessProbe"]["httpGet"]["path"], container["readinessProbe"]["httpGet"]["path"]
        assert _status(port, live) == 200
        until(lambda: _status(port, ready) == 200, otherwise=log.read_text)
        assert _status(port, "/metrics") == 200
        assert _status(port, "/v2/models/Two_Models/ready") == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()


def _port(server: Any, log: Any) -> Any:
    def said() -> Any:
        assert server.poll() is None, log.read_text()
        return re.search(r"on http://127.0.0.1:(\d+)", log.read_text())

    return int(until(said, otherwise=log.read_text)[1])


def _status(port: Any, path: Any) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_yaml_says_again_what_was_meant(project: Any, tmp_path: Path) -> None:
    mapped = of_kind(exported(project, tmp_path / "out") / "deployment" / "two-models.yaml", "ConfigMap")
    assert mapped["data"]["app_graphs_two.yaml"] == GRAPH
    assert yaml.safe_load(mapped["data"]["app_graphs_two.yaml"])["name"] == "Two_Models"
