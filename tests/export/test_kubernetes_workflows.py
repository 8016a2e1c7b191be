"""What is written for a workflow holds against the schemas, and its containers' commands run here, one after another."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from helpers.kubernetes import ROOT, Machine, objects, of_kind, validate, validate_all
from motet.cli import cli
from motet.errors import GraphError, UnknownNameError
from motet.export.kubernetes import ExportSettings, cron_of, export_kubernetes
from motet.workflow.find import find_workflow
from motet.workflow.run_step import result_of

pytest.importorskip("hera")

WORKFLOW = """\
from pathlib import Path

import helper_of_flow
import numpy as np
import motet as mt


@mt.step(cache=True, max_age="2d")
def ingest(num_rows):
    note("ingest")
    return np.arange(num_rows)


@mt.step(cache=True, cpu=1, memory="1GiB", retries=2, backoff_s=5, timeout_s=90.5)
def train(kind, rows):
    note(f"train {kind}")
    return {"kind": kind, "sum": int(rows.sum()) + len(kind)}


@mt.step(cache=True)
def weigh(path, model):
    return model["sum"]


@mt.step(workers=2, cpu=1.5, memory="2GiB", accelerator=1, timeout_s=600)
def together(rows):
    import helper_of_flow

    return helper_of_flow.train(rows)


@mt.step
def select(models, others):
    best = max(models, key=lambda each: each["sum"])
    return best["kind"], others


@mt.step
def publish(best):
    note("publish")
    return f"published {best[0]}"


@mt.step
def complain(best):
    return "nothing was good enough"


def note(text):
    import os

    with open(os.environ["NOTES"], "a") as file:
        file.write(text + "\\n")


@mt.workflow
def flow(num_rows: int = 4, kinds: str = "a,bbb", at_least: int = 5):
    rows = ingest(num_rows)
    models = [train.named(f"train/{kind}")(kind, rows) for kind in kinds.split(",")]
    weights = [weigh(mt.File(__file__), model) for model in models]
    best = select(models, [*weights, together(rows)])
    return mt.when(models[0]["sum"] > at_least, lambda: publish(best), otherwise=lambda: complain(best))
"""
HELPER = """\
import scipy


def fit(worker, rows):
    worker.sum(1)
    return worker.num_workers * len(rows)


def train(rows):
    import motet as mt

    return mt.train.distributed(fit, rows)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A workflow and what it imports; another one in each test, as in other processes."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "flow_of_test.py").write_text(WORKFLOW)
    (folder / "helper_of_flow.py").write_text(HELPER)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    for name in ("flow_of_test", "helper_of_flow", "workflow"):
        sys.modules.pop(name, None)


def exported(project: Any, output: Any, *options: Any) -> Any:
    command = ["export", "kubernetes", str(project / "flow_of_test.py"), "-o", str(output), *options]
    found = CliRunner().invoke(cli, command)
    assert found.exit_code == 0, found.output
    return output


def parts(out: Any, kind: str = "Workflow") -> Any:
    flow = of_kind(out / "workflow" / "flow.yaml", kind)
    spec = flow["spec"] if kind == "Workflow" else flow["spec"]["workflowSpec"]
    templates = {each["name"]: each for each in spec["templates"]}
    return templates, {each["name"]: each for each in templates["steps"]["dag"]["tasks"]}


def arguments(task: Any) -> Any:
    return {each["name"]: each["value"] for each in task["arguments"]["parameters"]}


def train_job(template: Any) -> Any:
    """The TrainJob of a template, as Argo creates it."""
    return yaml.safe_load(re.sub(r"\{\{(.*?)\}\}", "x", template["resource"]["manifest"]))


def test_everything_holds_against_the_schemas(project: Any, tmp_path: Path) -> None:
    out = exported(project, tmp_path / "out", "--storage-class", "shared")
    found = [each for path in sorted(out.rglob("*.yaml")) for each in objects(path)]
    kinds = [each["kind"] for each in found]
    claims = ["PersistentVolumeClaim", "PersistentVolumeClaim"]
    assert kinds == ["ServiceAccount", "Role", "RoleBinding", "Kustomization", "NetworkPolicy", *claims, "Workflow"]
    validate_all(found)
    job = train_job(parts(out)[0]["together"])
    assert job["metadata"].pop("generateName") == "flow-together-"
    validate(job)


def test_a_time_makes_it_a_cron_workflow(project: Any, tmp_path: Path) -> None:
    out = exported(project, tmp_path / "out", "--every", "7d", "--timezone", "Europe/Berlin")
    found = of_kind(out / "workflow" / "flow.yaml", "CronWorkflow")
    assert found["spec"].pop("workflowSpec")["entrypoint"] == "steps"
    assert found["spec"] == {"schedules": ["0 0 * * 0"], "timezone": "Europe/Berlin", "concurrencyPolicy": "Forbid"}
    spec = of_kind(out / "workflow" / "flow.yaml", "CronWorkflow")["spec"]["workflowSpec"]
    validate({"apiVersion": found["apiVersion"], "kind": "Workflow", "metadata": {}, "spec": spec})


def test_steps_are_tasks_that_wait_for_what_they_take(project: Any, tmp_path: Path) -> None:
    templates, tasks = parts(exported(project, tmp_path / "out"))
    waits = {name: sorted(task.get("depends", "").split(" && ")) for name, task in tasks.items()}
    assert waits == {
        "ingest": [""],
        "train-a": ["ingest"],
        "train-bbb": ["ingest"],
        "weigh": ["train-a"],
        "weigh-2": ["train-bbb"],
        "together": ["ingest"],
        "select": ["together", "train-a", "train-bbb", "weigh", "weigh-2"],
        "publish": ["select", "train-a"],
        "complain": ["select", "train-a"],
    }
    assert tasks["train-a"]["template"] == tasks["train-bbb"]["template"] == "train"
    assert templates["steps"]["dag"]["failFast"] is False
    assert arguments(tasks["train-bbb"])["step"] == "train/bbb"
    assert arguments(tasks["train-a"])["inputs"] == "ingest={{tasks.ingest.outputs.parameters.result}}"
    assert "together=" not in arguments(tasks["select"])["inputs"]


def test_options_of_steps(project: Any, tmp_path: Path) -> None:
    templates, _ = parts(exported(project, tmp_path / "out"))
    train = templates["train"]
    asked = {"cpu": "1", "memory": "1024Mi"}
    assert train["container"]["resources"] == {"requests": asked, "limits": asked}
    assert train["activeDeadlineSeconds"] == 91
    pause = {"duration": "5", "factor": 2, "cap": "600s"}
    assert train["retryStrategy"] == {"limit": 2, "retryPolicy": "Always", "backoff": pause}
    assert "retryStrategy" not in templates["ingest"]
    job = train_job(templates["together"])["spec"]
    asked = {"cpu": "1500m", "memory": "2048Mi", "nvidia.com/gpu": "1"}
    assert job["trainer"]["resourcesPerNode"] == {"requests": asked, "limits": asked}
    assert (job["trainer"]["numNodes"], job["activeDeadlineSeconds"]) == (2, 600)


def test_argo_remembers_what_it_can_know_to_be_the_same(project: Any, tmp_path: Path) -> None:
    """Its memory is a step's code, its plain arguments and the results that it takes; files and bare steps are not in it."""

    def keys(out: Any) -> Any:
        templates, tasks = parts(out)
        memoized = {name for name, each in templates.items() if "memoize" in each}
        assert memoized == {each["template"] for each in tasks.values() if "key" in arguments(each)}
        return {name: arguments(task)["key"] for name, task in tasks.items() if "key" in arguments(task)}

    templates, _ = parts(exported(project, tmp_path / "out"))
    assert templates["ingest"]["memoize"]["maxAge"] == "172800s"
    assert templates["ingest"]["memoize"]["cache"] == {"configMap": {"name": "flow-memo"}}
    first, again = keys(tmp_path / "out"), keys(exported(project, tmp_path / "again"))
    assert first == again
    assert set(first) == {"ingest", "train-a", "train-bbb"}
    assert re.fullmatch(r"train-a-[0-9a-f]{20}-\{\{tasks.ingest.outputs.parameters.result\}\}", first["train-a"])
    other = keys(exported(project, tmp_path / "other", "--set", "num_rows=5"))
    assert other["ingest"] != first["ingest"]
    assert other["train-a"] == first["train-a"]


def test_the_image_has_what_steps_import(project: Any, tmp_path: Path) -> None:
    image = exported(project, tmp_path / "out", "--pip", "s3fs", "--pip", "tabulate==0.9.0") / "image"
    text = (image / "install" / "requirements.txt").read_text()
    assert f"scipy=={metadata.version('scipy')}\n" in text
    assert f"s3fs=={metadata.version('s3fs')}\n" in text  # no file imports it
    assert "tabulate==0.9.0\n" in text
    assert "CMD" not in (image / "Containerfile").read_text()
    assert sorted(path.name for path in (image / "app").iterdir()) == ["flow_of_test.py", "helper_of_flow.py"]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ('store="store"', ["store='store' of flow", "--set store=/var/lib/motet/... or a URL"]),
        ('output_dir="runs/out"', ["output_dir='runs/out' of flow"]),
        ('checkpoint=Path("here")', ["checkpoint='here' of flow"]),
        ('store="/var/lib/motet/store"', []),
        ('store="s3://models/here"', []),
        ('kind="store"', []),
    ],
)
@pytest.mark.parametrize("of_step", [False, True])
def test_places_that_cannot_be_written_are_told_of(
    project: Any, tmp_path: Path, wanted: str, said: Any, of_step: bool
) -> None:
    name = wanted.partition("=")[0]
    step, flow = (wanted, "") if of_step else (name, wanted)
    (project / "flow_of_test.py").write_text(
        f"from pathlib import Path\nimport motet as mt\n\n@mt.step\ndef keep({step}):\n    return 1\n\n"
        f"@mt.workflow\ndef flow({flow}):\n    return keep({'' if of_step else name})\n"
    )
    command = [
        "export",
        "kubernetes",
        str(project / "flow_of_test.py"),
        "-o",
        str(tmp_path / "out"),
        "--base",
        "python@sha256:" + "0" * 64,
    ]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    if not said:
        assert "note:" not in done.output
    for text in said[: 1 if of_step else None]:
        assert text in done.output
        assert text in (tmp_path / "out" / "README.md").read_text()


def test_a_folder_has_graphs_and_a_workflow(project: Any, tmp_path: Path) -> None:
    (project / "flow_of_test.py").rename(project / "workflow.py")
    (project / "echo.yaml").write_text(
        "motet: 1\ninputs: {x: 'float32[4]'}\nnodes: {y: {map: numpy.negative, inputs: [x], outputs: 'float32[4]'}}\n"
        "outputs: {y: y}\n"
    )
    found = export_kubernetes([str(project)], tmp_path / "out", ExportSettings())
    names = [str(path.relative_to(tmp_path / "out")) for path in found.files]
    assert names == [
        "image/Containerfile",
        "volumes.yaml",
        "network.yaml",
        "deployment/echo.yaml",
        "kserve/echo.yaml",
        "access.yaml",
        "workflow/flow.yaml",
        "kustomization.yaml",
        "monitor.yaml",
        "README.md",
    ]


def test_the_system_of_fashion_mnist_holds(tmp_path: Path) -> None:
    """Graph and workflow meet in a store on the volume that both have."""
    store = "/var/lib/motet/cache/fashion/store"
    options = ["--set", "output=/var/lib/motet/cache/fashion", "--store", store]
    command = [sys.executable, "-m", "motet.cli", "export", "kubernetes", str(ROOT / "examples" / "fashion_mnist")]
    subprocess.run([*command, "-o", str(tmp_path), *options], check=True, capture_output=True, timeout=60)
    paths = [path for path in sorted(tmp_path.rglob("*.yaml")) if "image" not in path.relative_to(tmp_path).parts]
    found = [each for path in paths for each in objects(path)]
    validate_all(found)
    (server,) = [each["spec"]["template"]["spec"] for each in found if each["kind"] == "Deployment"]
    (flow,) = [each["spec"] for each in found if each["kind"] == "Workflow"]
    pods = [server["containers"][0], *(each["container"] for each in flow["templates"] if "container" in each)]
    for pod in pods:
        assert {"name": "MOTET_STORE", "value": store} in pod["env"]
        assert {"name": "cache", "mountPath": "/var/lib/motet/cache"} in pod["volumeMounts"]
    assert (tmp_path / "image" / "app" / "fashion" / "data.py").is_file()
    assert re.search(r"^torch==", (tmp_path / "image" / "install" / "requirements.txt").read_text(), re.M)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "rows=4"], "unknown parameter 'rows'; did you mean 'num_rows'?"),
        (["--set", "num_rows"], "'num_rows' is no key=value"),
        (["--every", "5d"], "cron cannot say every '5d'"),
        (["--every", "1d", "--cron", "0 0 * * *"], "give --every or --cron, not both"),
        (["--cron", "daily"], "'daily' is no time of cron"),
        (["--store", "models"], "the store 'models' has no meaning in a container"),
        (["--replicas", "many"], "'many' is no number of replicas"),
    ],
)
def test_what_cannot_be_is_refused(project: Any, tmp_path: Path, options: Any, said: str) -> None:
    command = ["export", "kubernetes", str(project / "flow_of_test.py"), "-o", str(tmp_path / "out"), *options]
    found = CliRunner().invoke(cli, command)
    assert (found.exit_code, said in found.output) == (2, True), found.output
    assert not (tmp_path / "out").exists()


def test_files_without_workflows_are_refused(project: Any, tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="helper_of_flow.py: has no function with @workflow"):
        export_kubernetes([str(project / "helper_of_flow.py")], tmp_path / "out", ExportSettings())
    with pytest.raises(UnknownNameError, match="unknown workflow 'flaw'; did you mean 'flow'"):
        export_kubernetes([f"{project / 'flow_of_test.py'}:flaw"], tmp_path / "out", ExportSettings())


@pytest.mark.parametrize(
    ("every", "cron"),
    [("15m", "*/15 * * * *"), ("60m", "0 * * * *"), ("6h", "0 */6 * * *"), ("24h", "0 0 * * *"), ("1w", "0 0 * * 0")],
)
def test_times_as_cron_says_them(every: str, cron: str) -> None:
    assert cron_of(every) == cron


class Argo:
    """What Argo and Kubeflow do with a workflow, as far as its containers see it: one task after another, on one disk."""

    def __init__(self, out: Any, folder: Any) -> None:
        self.machine = Machine(folder, out / "image")
        self.templates, self.tasks = parts(out)
        self.uid = "3f5b-uid"
        self.results = {}
        self.notes = folder / "notes.txt"

    def run(self, name: Any) -> Any:
        """Run a task; gives its processes, which are over."""
        task = self.tasks[name]
        template = self.templates[task["template"]]
        given = {f"inputs.parameters.{key}": self.filled(value) for key, value in arguments(task).items()}
        if "resource" in template:
            return self._train(yaml.safe_load(self.filled(template["resource"]["manifest"], given)))
        container = template["container"]
        result = self.machine.path(template["outputs"]["parameters"][0]["valueFrom"]["path"])
        result.parent.mkdir(parents=True, exist_ok=True)
        result.unlink(missing_ok=True)
        found = self._end(self.start([self.filled(each, given) for each in container["command"]], container))
        if result.exists():
            self.results[f"tasks.{name}.outputs.parameters.result"] = result.read_text()
        return found

    def filled(self, text: Any, given: Any = ()) -> Any:
        known = {"workflow.uid": self.uid, **self.results, **dict(given)}
        return re.sub(r"\{\{(.*?)\}\}", lambda match: known[match[1]], text)

    def start(self, command: Any, container: Any, more: Any = ()) -> Any:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return self.machine.start(command, container, {"NOTES": str(self.notes), **dict(more)}, **pipes)

    def _train(self, job: Any) -> Any:
        """Two pods of a TrainJob, told what Kubeflow tells them."""
        trainer = job["spec"]["trainer"]
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        told = {"PET_NNODES": str(trainer["numNodes"]), "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"])}
        told |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        command = [*trainer["command"], *trainer["args"]]
        pods = [
            self.start(command, trainer, {**told, "PET_NODE_RANK": str(rank)}) for rank in range(trainer["numNodes"])
        ]
        return [self._end(pod) for pod in pods]

    def _end(self, process: Any) -> Any:
        output, _ = process.communicate(timeout=100)
        return process.returncode, output


def test_the_containers_commands_run_here(project: Any, tmp_path: Path) -> None:
    """Each in a process of its own; what one leaves, the next finds. A step under torchrun runs in two pods."""
    out = exported(project, tmp_path / "out", "--set", "kinds=a")
    argo = Argo(out, tmp_path / "disk")
    for name in ("ingest", "train-a", "weigh"):
        code, said = argo.run(name)
        assert code == 0, said
    for code, said in argo.run("together"):
        assert code == 0, said
    for name in ("select", "publish", "complain"):
        code, said = argo.run(name)
        assert code == 0, said
    assert argo.notes.read_text().split("\n")[:-1] == ["ingest", "train a", "publish"]
    results = argo.machine.path("/var/lib/motet/cache/workflow")
    assert "was left out" not in said  # complain has nothing to say: its branch was not taken
    plan = find_workflow(str(project / "flow_of_test.py"))[0](kinds="a")
    assert result_of(plan, "publish", argo.uid, results) == "published a"
    assert result_of(plan, "select", argo.uid, results) == ("a", [7, 8])
    code, _ = argo.run("publish")  # its pod was started again
    assert (code, argo.notes.read_text().count("publish")) == (0, 1)
    argo.uid, before = "another-uid", dict(argo.results)
    for name in ("ingest", "train-a"):  # what is kept is taken again by another run, though Argo has forgotten it
        assert argo.run(name)[0] == 0
    assert (argo.results, argo.notes.read_text().count("train")) == (before, 1)


def test_a_step_whose_input_is_not_there_says_so(project: Any, tmp_path: Path) -> None:
    out = exported(project, tmp_path / "out")
    argo = Argo(out, tmp_path / "disk")
    argo.results["tasks.ingest.outputs.parameters.result"] = "0" * 20
    code, said = argo.run("train-a")
    assert code == 1
    assert "the result 00000000000000000000 of step ingest cannot be read" in said
