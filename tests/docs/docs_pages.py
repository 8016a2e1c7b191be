"""Reading and running the blocks of a page of the documentation.

    python            run, in the page's own namespace; `# file: NAME` on its first line writes the block to that file instead
    yaml              a graph with `motet: 1` is written to NAME.yaml, loaded and, if all its models are here, played; a
                      part of one is put into the first whole graph of the page, loaded and played; `# serve.yaml` on its
                      first line writes the block to that file, and checks it as the configuration of a server
    console           lines that begin with `$ motet` or `$ curl` are run, and must exit with 0; `$ motet serve` starts a
                      server on free ports, which stays until the next one or the end of the page

Blocks of a page run in order, in one folder that has what `prepare` puts there, `localhost:8000` and `localhost:8001`
being the server's ports. Other blocks are not run.
"""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from click.testing import CliRunner
from PIL import Image

import motet as mt
from helpers.until import until

ROOT = Path(__file__).parents[2]
FASHION = ROOT / "examples" / "fashion"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NUM_ROWS = 64
START_S = 60
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line it begins on."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        yield Block(match[1], match[2], text.count("\n", 0, match.start(2)) + 1)


def rows(count: int) -> dict[str, Any]:
    """Columns that the graphs of the documentation take; made up, the same every time."""
    numbers = np.random.default_rng(7)
    return {
        "image": numbers.integers(0, 256, (count, 28, 28), dtype=np.uint8),
        "user": [f"user-{row % 10}" for row in range(count)],
        "kind": [("app", "web", "store")[row % 3] for row in range(count)],
        "amount": np.linspace(0, 2000, count, dtype=np.float32),
        "age": np.arange(count) % 60 + 18,
        "text": [("good soup", "bad noodles", "late")[row % 3] for row in range(count)],
        "question": ["is soup hot" for _ in range(count)],
        "passages": [["good soup", "bad noodles"] for _ in range(count)],
        "least_stars": np.arange(count) % 5 + 1,
    }


def prepare(folder: Path) -> None:
    """Put the example's models and graphs, and a file of rows, into a folder."""
    shutil.copytree(FASHION / "models", folder / "models")
    for path in FASHION.glob("*.yaml"):
        shutil.copy(path, folder)
    columns = rows(NUM_ROWS)
    images = pa.FixedShapeTensorArray.from_numpy_ndarray(columns["image"])
    table = pa.table({"id": np.arange(NUM_ROWS), "user": columns["user"], "kind": columns["kind"], "image": images})
    pq.write_table(table, folder / "images.parquet")
    truth = pa.array(np.arange(NUM_ROWS) % 10)
    pq.write_table(table.append_column("truth", truth), folder / "labelled.parquet")
    Image.fromarray(columns["image"][0]).save(folder / "picture.png")


@dataclass
class Runner:
    """Runs the blocks of one page in the current folder."""

    page: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "page"})
    base: dict[str, Any] | None = None
    modules: list[str] = field(default_factory=list)
    server: subprocess.Popen[bytes] | None = None
    ports: dict[str, str] = field(default_factory=dict)

    def run(self, block: Block) -> None:
        """Run one block, if its language says that it can be."""
        if block.language != "console":
            block = replace(block, text=self._at_its_ports(block.text))
        match block.language:
            case "python" if block.text.startswith("# file: "):
                self._file(block)
            case "python":
                # Empty lines in front, so that a traceback shows the line of the page.
                exec(compile("\n" * (block.line - 1) + block.text, str(self.page), "exec"), self.names)
            case "yaml" if block.text.startswith("# serve.yaml"):
                Path("serve.yaml").write_text(block.text, encoding="utf-8")
                check_serving("serve.yaml")
            case "yaml":
                self._graph(yaml.safe_load(block.text), block)
            case "console":
                self._commands(block)

    def _file(self, block: Block) -> None:
        name = block.text.partition("\n")[0].removeprefix("# file: ").strip()
        Path(name).write_text(block.text, encoding="utf-8")
        self.modules.append(Path(name).stem)
        importlib.invalidate_caches()

    def _graph(self, found: dict[str, Any], block: Block) -> None:
        if "motet" not in found:
            self._part(found)
            return
        self.base = self.base or found
        path = Path(f"{found['name']}.yaml")
        path.write_text(block.text, encoding="utf-8")
        graph = mt.load(path)
        if not any("://" in model.uri for model in graph.models.values()):  # else its servers are not there
            play(graph)

    def _part(self, found: Mapping[str, Any]) -> None:
        """Put a part into the page's graph, and play the nodes that it adds."""
        assert self.base is not None, "a part of a graph stands before any whole graph"
        whole = {**self.base, **{key: {**self.base.get(key, {}), **part} for key, part in found.items()}}
        path = Path("part.yaml")
        path.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
        columns = [name for name in mt.load(path).checked.columns if name.split(".")[0] in found["nodes"]]
        path.write_text(
            yaml.safe_dump({**whole, "outputs": {c.replace(".", "_"): c for c in columns}}, sort_keys=False)
        )
        play(mt.load(path))

    def _commands(self, block: Block) -> None:
        from motet.cli import cli

        for line in block.text.replace("\\\n", " ").splitlines():
            if line.startswith("$ motet serve "):
                self._serve(shlex.split(line.removeprefix("$ motet ")))
            elif line.startswith("$ motet "):
                result = CliRunner().invoke(cli, shlex.split(self._at_its_ports(line.removeprefix("$ motet "))))
                assert result.exit_code == 0, f"{line}\n{result.output}{result.exception or ''}"
            elif line.startswith("$ curl ") and shutil.which("curl"):
                command = f"{self._at_its_ports(line[2:])} --fail-with-body"
                done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=START_S)
                assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"

    def _at_its_ports(self, text: str) -> str:
        """A block whose addresses are those of the server that runs."""
        for port, free in self.ports.items():
            text = text.replace(f"localhost:{port}", f"localhost:{free}")
        return text

    def _serve(self, arguments: list[str]) -> None:
        self.close()
        log = Path("serve.log")
        command = [sys.executable, "-m", "motet.cli", *arguments, "--port", "0", "--grpc-port", "0"]
        with log.open("wb") as said:
            self.server = subprocess.Popen(command, stdout=said, stderr=said)
        server = self.server

        def told() -> re.Match[str] | None:
            assert server.poll() is None, log.read_text()
            return re.search(r"://[\w.]+:(\d+), grpc on port (\d+)", log.read_text())

        found = until(told, START_S, log.read_text)
        self.ports = {"8000": found[1], "8001": found[2]}
        until(lambda: urlopen(f"http://localhost:{found[1]}/readyz").close() or True, START_S, log.read_text)

    def close(self) -> None:
        """Stop the server that runs, if there is one; it must end well."""
        if self.server is not None:
            self.server.terminate()
            assert self.server.wait(START_S) == 0, Path("serve.log").read_text()
            self.server = None


def check_serving(path: str) -> None:
    """Read a configuration of a server as a server does, every part of it."""
    from motet.serving.admission import AdmissionConfig
    from motet.serving.config.cache import ResponseCacheConfig
    from motet.serving.config.experiments import ExperimentsConfig
    from motet.serving.config.grpc import GrpcConfig
    from motet.serving.config.observability import ObservabilityConfig
    from motet.serving.config.server import read_config
    from motet.serving.sinks import read_sinks

    config = read_config(path, {})
    AdmissionConfig.read(config.admission, "admission")
    ResponseCacheConfig.read(config.cache, "cache")
    GrpcConfig.read(config.grpc, "grpc")
    ObservabilityConfig.read(config.observability, "observability")
    read_sinks(config.sinks, "sinks")
    if config.experiments is not None:
        ExperimentsConfig.read(config.experiments, "experiments")


def play(graph: mt.Graph, count: int = 4) -> None:
    """Call a graph, if the made-up rows have what it takes; every row must be answered."""
    given = {name: column for name, column in rows(count).items() if name in graph.inputs}
    missing = [name for name, each in graph.inputs.items() if name not in given and not each.has_default]
    assert not missing, f"add {missing} to the made-up rows"
    answers = graph(given)
    assert all(len(column) == count for column in answers.values())
