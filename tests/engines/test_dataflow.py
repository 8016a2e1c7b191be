"""What Dataflow is sent, built as Beam's runner for it does before it asks the service: small, without secrets, for workers that have Motet.

Only the service's own client, which is not installed, and the service are missing here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2 as proto
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.transforms.environments import DockerEnvironment, python_sdk_dependencies, resource_hints_from_options
from click.testing import CliRunner

import motet as mt
from motet.cli import cli
from motet.engines.beam.engine import BeamEngine
from motet.errors import RunError
from motet.nodes import model
from motet.runtime.resources.need import Need
from motet.testing.fakes import Affine, fake

pytestmark = pytest.mark.timeout(600)  # processes begin, and import Beam

DOCS = Path(__file__).parents[2] / "docs" / "clusters.md"
IMAGE = "europe-docker.pkg.dev/motet-project/images/motet:1"
OPTIONS = [
    "--runner", "DataflowRunner", "--project", "motet-project", "--region", "europe-west1", "--temp_location",
    "gs://motet-bucket/temp", "--staging_location", "gs://motet-bucket/staging", "--sdk_container_image", IMAGE,
]  # fmt: skip
SECRET = "kept-to-ourselves-4711"
LOADED = """
import sys
from apache_beam.internal import pickler
for path in sys.argv[1:]:
    pickler.loads(open(path, "rb").read())
print([name for name in sys.modules if name.split(".")[0] in ("helpers", "engines", "pytest", "test_dataflow")])
"""


class NotSent(Exception):
    """In place of the request to the service."""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[proto.Pipeline]:
    """The jobs that would be sent, as the runner builds them."""
    found: list[proto.Pipeline] = []

    def build(runner: Any, pipeline: Any, options: Any, pipeline_proto: Any = None) -> Any:
        artifacts, hints = python_sdk_dependencies(options), resource_hints_from_options(options)
        image = options.get_all_options()["sdk_container_image"]
        made = DockerEnvironment.from_container_image(image, artifacts=artifacts, resource_hints=hints)
        found.append(pipeline.to_runner_api(default_environment=made))
        raise NotSent("the service is not asked")

    monkeypatch.setattr(DataflowRunner, "run_pipeline", build)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("MOTET_TOKEN", SECRET)
    return found


def graph(**more: Any) -> mt.Graph:
    """A graph whose model asks for 2 cores and 3 GB, and for more."""
    twice = fake(Affine, "twice", settings={"resources": {"cpu": 2, "memory": 3 * 10**9, **more}}, scale=2.0)
    return mt.Graph("g", {"y": model(twice, mt.input("x", "float32")).output})


def played(job: proto.Pipeline, name: str) -> tuple[proto.PTransform, dict[str, bytes]]:
    """The step that plays, and the hints of its workers."""
    (step,) = [each for each in job.components.transforms.values() if re.fullmatch(name, each.unique_name)]
    environment = job.components.environments[step.environment_id]
    assert environment.urn == "beam:env:docker:v1"
    assert proto.DockerPayload.FromString(environment.payload).container_image == IMAGE
    return step, {urn.split(":")[2]: value for urn, value in environment.resource_hints.items()}


def check_loads(job: proto.Pipeline, folder: Path) -> None:
    """What workers unpickle, they unpickle with Beam and Motet alone."""
    paths = []
    for name, step in job.components.transforms.items():
        if step.spec.urn == "beam:transform:pardo:v1":
            paths.append(folder / f"{name}.pickle")
            paths[-1].write_bytes(proto.ParDoPayload.FromString(step.spec.payload).do_fn.payload)
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(mt.__file__).parents[1]), "HOME": str(folder)}
    line = [sys.executable, "-P", "-c", LOADED, *map(str, paths)]
    done = subprocess.run(line, env=env, cwd=folder, capture_output=True, text=True, timeout=500)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_a_run_is_sent_as_splits_that_are_small_whatever_they_hold(sent: list[proto.Pipeline], tmp_path: Path) -> None:
    graph().save(tmp_path / "g.yaml")
    for rows in (600, 60_000):
        pq.write_table(
            pa.table({"x": pa.array([1.0] * rows, pa.float32())}), tmp_path / "in.parquet", row_group_size=rows // 6
        )
        line = [
            "run",
            f"{tmp_path}/g.yaml",
            "--input",
            f"{tmp_path}/in.parquet",
            "--output",
            f"{tmp_path}/parts/",
            "--overwrite",
        ]
        done = CliRunner().invoke(cli, [*line, "--engine", "beam", "--", "--split-bytes", "1", *OPTIONS])
        assert (done.exit_code, "the service is not asked" in done.output) == (1, True), done.output
    small, large = sent
    assert abs(large.ByteSize() - small.ByteSize()) < 100
    assert large.ByteSize() < 60_000
    _, hints = played(large, "Play splits")
    assert hints == {"cpu_count": b"2", "min_ram_bytes": b"3000000000"}
    assert SECRET.encode() not in large.SerializeToString()
    check_loads(large, tmp_path)


def test_an_accelerator_is_asked_for_in_the_words_of_the_command(sent: list[proto.Pipeline], tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": pa.array([1.0, 2.0], pa.float32())}), tmp_path / "in.parquet")
    kind = "type:nvidia-l4;count:1;install-nvidia-driver"
    for more, asked in (([], b"count:1"), (["--resource_hints", f"accelerator={kind}"], kind.encode())):
        options = [*OPTIONS, *more]
        with pytest.raises(RunError, match="the service is not asked"):
            graph(accelerator=1).run(
                tmp_path / "in.parquet", f"{tmp_path}/parts/", engine="beam", engine_options=options, overwrite=True
            )
        _, hints = played(sent[-1], "Play splits")
        assert hints == {"cpu_count": b"2", "min_ram_bytes": b"3000000000", "accelerator": asked}


def test_an_accelerator_is_asked_for_by_the_stages_that_need_one(sent: list[proto.Pipeline]) -> None:
    kind = b"type:nvidia-l4;count:1;install-nvidia-driver"
    plain, fast, ram = Need(1.0, 2**30), Need(2.0, 2**30, 1.0), {"min_ram_bytes": b"1073741824"}
    engine = BeamEngine([*OPTIONS, "--resource_hints", f"accelerator={kind.decode()}"])
    for needs, hints in (
        ([plain, fast], [ram, {**ram, "cpu_count": b"2", "accelerator": kind}]),
        ([plain], [{**ram, "accelerator": kind}]),
    ):
        with engine.connected(needs):
            for need, told in zip(needs, hints, strict=True):
                with pytest.raises(NotSent):
                    list(engine.map(Asking(need), [1]))
                assert played(sent[-1], "Play splits")[1] == told


@dataclass
class Asking:
    """What is mapped, by what its workers must have."""

    need: Need

    def __call__(self, item: int) -> int:
        return item


def test_a_transform_is_sent_with_its_hints_and_without_what_it_plays(
    sent: list[proto.Pipeline], tmp_path: Path
) -> None:
    pipeline = beam.Pipeline(options=PipelineOptions(OPTIONS))
    answers = (pipeline | beam.Create([{"x": 1.0}]) | graph().as_ptransform()).answers
    _ = answers | beam.io.WriteToText("gs://motet-bucket/answers")
    with pytest.raises(NotSent):
        pipeline.run()
    (job,) = sent
    step, hints = played(job, ".*/Play")
    assert hints == {"cpu_count": b"2", "min_ram_bytes": b"3000000000"}
    assert len(step.spec.payload) < 20_000
    assert SECRET.encode() not in job.SerializeToString()
    check_loads(job, tmp_path)


def test_the_documented_container_has_the_same_beam() -> None:
    text = DOCS.read_text(encoding="utf-8")
    found = re.search(r"FROM apache/beam_python(\S+)_sdk:(\S+)\nRUN pip install 'motet\[(\S+)\]'", text)
    assert found is not None
    assert found[2] == version("apache-beam")
    extras = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", extras, re.MULTILINE) for extra in found[3].split(","))
