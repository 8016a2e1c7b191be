"""Models in a process that all processes of this machine share: loaded once, whoever asks, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motet as mt
from helpers.until import until
from motet.errors import GraphError, ModelLoadError
from motet.system.sockets import private_folder

X = np.arange(12, dtype=np.float32)
ASKED = """
import sys
import numpy as np
from runtime_machine import doubled, pid_of
with doubled(sys.argv[1], **eval(sys.argv[2])) as graph:
    for line in sys.stdin:
        y = graph({"x": np.arange(float(line), dtype=np.float32)})["y"]
        print(pid_of(graph), y.sum(), flush=True)
"""


def doubled(log: Any, **settings: Any) -> mt.Graph:
    """A graph with a model that doubles, and writes each of its loadings to a file."""
    options = {"by": 2.0, "log": str(log), **settings.pop("options", {})}
    model = mt.Model(
        "python:helpers.counted_models:Times",
        "times",
        inputs={"x": "float32"},
        outputs={"y": "float32"},
        options=options,
        placement="machine",
        **settings,
    )
    return mt.Graph("g", {"y": mt.model(model, mt.input("x", "float32"))})


def pid_of(graph: mt.Graph) -> int:
    """The number of the process that has a graph's model."""
    (replica,) = graph.executor.host.models[0].replicas.status()
    assert replica.pid is not None
    return replica.pid


def loads(log: Path) -> int:
    return len(log.read_text().splitlines())


class Other:
    """Another process that asks the same model."""

    def __init__(self, log: Path, settings: Any) -> None:
        code = ASKED.replace("runtime_machine", Path(__file__).stem)
        path = os.pathsep.join((str(Path(__file__).parent), *sys.path))
        command = [sys.executable, "-c", code, str(log), repr(settings)]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, **pipes)

    def ask(self, rows: int) -> tuple[int, float]:
        """The number of the process that has the model, and the sum of what it answers."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{rows}\n")
        self.process.stdin.flush()
        pid, total = self.process.stdout.readline().split()
        return int(pid), float(total)


@contextmanager
def others(log: Path, count: int = 1, **settings: Any) -> Iterator[list[Other]]:
    """Other processes that ask; they have the same path of modules as one another, and so the same model."""
    found = [Other(log, settings) for _ in range(count)]
    try:
        yield found
    finally:
        for each in found:
            each.process.kill()
            each.process.communicate()


def gone(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


def test_processes_share_what_one_has_loaded_and_it_ends_with_the_last(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with others(log, 3) as (one, two, three):
        (pid, total), *rest = [each.ask(5) for each in (one, two, three)]
        assert (total, rest) == (20.0, [(pid, 20.0)] * 2)
        one.process.kill()  # who has started it
        one.process.wait()
        assert [two.ask(4), three.ask(3)] == [(pid, 12.0), (pid, 6.0)]
        assert loads(log) == 1
        assert not gone(pid)
    until(lambda: gone(pid))


def test_what_is_killed_is_started_once_for_all(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with others(log, 2) as (one, two):
        pid, _ = one.ask(5)
        assert two.ask(5)[0] == pid
        os.kill(pid, signal.SIGKILL)
        (first, total), second = one.ask(5), two.ask(5)
        assert second == (first, total)
        assert (first != pid, total, loads(log)) == (True, 20.0, 2)


def test_it_ends_when_the_last_is_killed_also_where_it_is_stopped(tmp_path: Path) -> None:
    with others(tmp_path / "log") as (one,):
        pid, _ = one.ask(5)
        os.kill(pid, signal.SIGSTOP)
    until(lambda: gone(pid))


def test_a_closed_graph_leaves_nothing(tmp_path: Path) -> None:
    with doubled(tmp_path / "log") as graph:
        assert graph({"x": X})["y"].tolist() == (2 * X).tolist()
        pid = pid_of(graph)
    until(lambda: gone(pid))
    assert not list(private_folder().glob("*.model*"))  # what others have left behind included


def test_other_settings_are_another_model(tmp_path: Path) -> None:
    with doubled(tmp_path / "log") as two, doubled(tmp_path / "log", options={"by": 3.0}) as three:
        assert two({"x": X})["y"].tolist() == (2 * X).tolist()
        assert three({"x": X})["y"].tolist() == (3 * X).tolist()
        assert pid_of(two) != pid_of(three)


def test_other_devices_are_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with others(tmp_path / "log") as (one,):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        with others(tmp_path / "log") as (two,):
            assert one.ask(5)[0] != two.ask(5)[0]


def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    log = tmp_path / "none" / "log"
    with doubled(log) as graph, pytest.raises(ModelLoadError, match="No such file"):
        graph({"x": X})
    log.parent.mkdir()
    with doubled(log) as graph:
        assert graph({"x": X})["y"].tolist() == (2 * X).tolist()


def test_it_is_there_once() -> None:
    with pytest.raises(GraphError, match="is there once"):
        doubled("log", replicas=2)
