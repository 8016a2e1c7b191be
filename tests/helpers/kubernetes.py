"""Objects of Kubernetes held against the published schemas, and containers run here.

Core kinds are checked against Kubernetes' own JSON schemas (of the package kubernetes-validate, strictly). The schemas
of Argo, KServe and Kubeflow are the definitions that a cluster is given; they are read from the folder that
`MOTET_SCHEMAS` names, else from `../shared/schemas` beside the repository. No unknown key is let through.
"""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
import yaml

ROOT = Path(__file__).parents[2]
SCHEMAS = Path(os.environ.get("MOTET_SCHEMAS") or ROOT.parent / "shared" / "schemas")
DEFINITIONS = {
    "Workflow": "argoproj.io_workflows.yaml",
    "InferenceService": "serving.kserve.io_inferenceservices.yaml",
    "TrainJob": "trainer.kubeflow.org_trainjobs.yaml",
}
LOCAL = {"Kustomization", "PodMonitor"}
"""Kinds that have no schema here."""
CORE = Path(str(files("kubernetes_validate"))) / "kubernetes-json-schema" / "v1.34.0-local-strict"

PLACES = re.compile(r"(?<![\w/.])/(app|var/lib/motet|tmp)(?![\w.-])")
"""Folders of a container, in any text."""


def objects(path: Any) -> Any:
    return [each for each in yaml.safe_load_all(path.read_text()) if each is not None]


def of_kind(path: Any, kind: Any) -> Any:
    (found,) = [each for each in objects(path) if each["kind"] == kind]
    return found


def validate_all(found: Any) -> None:
    """Raise unless all are; those whose schemas may be missing come last."""
    for each in sorted(
        (each for each in found if each["kind"] not in LOCAL), key=lambda each: each["kind"] in DEFINITIONS
    ):
        validate(each)


def validate(obj: Any) -> None:
    """Raise unless an object is what its kind's schema says."""
    find = definition if obj["kind"] in DEFINITIONS else core
    if (error := next(find(obj["kind"], obj["apiVersion"]).iter_errors(obj), None)) is not None:
        raise AssertionError(f"{obj['kind']} {error.json_path}: {error.message}")


@functools.cache
def core(kind: Any, api_version: Any) -> Any:
    """The strict schema of a kind of Kubernetes itself."""
    group, _, version = api_version.rpartition("/")
    name = "-".join(filter(None, [kind.lower(), group.partition(".")[0], version]))
    return jsonschema.Draft202012Validator(json.loads((CORE / f"{name}.json").read_text()), registry=core_definitions())


@functools.cache
def core_definitions() -> Any:
    found = referencing.Resource.from_contents(json.loads((CORE / "_definitions.json").read_text()))
    return found @ referencing.Registry()


@functools.cache
def definition(kind: Any, api_version: Any) -> Any:
    path = SCHEMAS / DEFINITIONS[kind]
    if not path.exists():
        pytest.skip(f"the schema of {kind} is not here: MOTET_SCHEMAS names no folder with {path.name}")
    found = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["spec"]
    group, _, version = api_version.partition("/")
    assert (found["group"], found["names"]["kind"]) == (group, kind)
    (served,) = [each for each in found["versions"] if each["name"] == version]
    schema = strict(served["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"$ref": "#/$defs/metadata"}
    names = {"type": "object", "additionalProperties": {"type": "string"}}
    known = {
        "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"},
        "generateName": {"type": "string"},
        "namespace": {"type": "string"},
        "labels": names,
        "annotations": names,
    }
    schema["$defs"] = {"metadata": {"type": "object", "properties": known, "additionalProperties": False}}
    return jsonschema.Draft202012Validator(schema)  # the definitions themselves are taken to be right


def strict(schema: Any) -> Any:
    """The same schema, which lets no unknown key through."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    closed = "properties" in found and not found.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(found.get("properties"), dict) and closed:
        found.setdefault("additionalProperties", False)
    return found


class Machine:
    """A folder that stands for a container's disk: the image's files, and what is mounted over them."""

    def __init__(self, folder: Any, image: Any) -> None:
        self.disk = folder
        self.env = {}
        self.user = None
        for line in (image / "Containerfile").read_text().splitlines():
            word, _, rest = line.partition(" ")
            if word == "COPY":
                source, target = json.loads(rest)
                self._copy(image / source, self.path(target))
            elif word == "ENV":
                name, _, value = rest.partition("=")
                self.env[name] = json.loads(value)
            elif word == "USER":
                self.user = int(rest)
            elif word == "CMD":
                self.command = json.loads(rest)

    def path(self, place: Any) -> Any:
        return self.disk / str(place).lstrip("/")

    def _copy(self, source: Any, target: Any) -> None:
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def mount(self, pod: Any, container: Any, config_maps: Any) -> None:
        """What the pod's volumes put into a container."""
        volumes = {each["name"]: each for each in pod["volumes"]}
        for mount in container["volumeMounts"]:
            volume, place = volumes[mount["name"]], self.path(mount["mountPath"])
            if "configMap" in volume:
                text = config_maps[volume["configMap"]["name"]]["data"][mount["subPath"]]
                place.write_text(text)
            else:
                place.mkdir(parents=True, exist_ok=True)

    def argv(self, command: Any) -> Any:
        """A container's command line, with its paths on this machine, and its servers where only this one sees them."""
        assert command[0] in ("motet", "torchrun")
        own = [sys.executable, "-m", {"motet": "motet.cli", "torchrun": "torch.distributed.run"}[command[0]]]
        changed = {"0.0.0.0": "127.0.0.1", "8000": "0", "8001": "0"}
        return own + [changed.get(each, self._here(each)) for each in command[1:]]

    def _here(self, text: Any) -> Any:
        return PLACES.sub(lambda found: str(self.path(found[0])), text)

    def environment(self, container: Any) -> Any:
        """The variables that a process of a container has: those of the image and the container, and nothing of ours."""
        said = {each["name"]: each["value"] for each in container.get("env", ()) if "value" in each}
        found = {name: self._here(value) for name, value in {**self.env, **said}.items()}
        found["HOME"] = str(self.path("/tmp"))
        Path(found["HOME"]).mkdir(parents=True, exist_ok=True)
        return {"PATH": os.environ["PATH"], **found}

    def start(self, command: Any, container: Any, more: Any = (), **options: Any) -> Any:
        env = {**self.environment(container), **dict(more)}
        return subprocess.Popen(self.argv(command), env=env, cwd=self.path("/app"), **options)
