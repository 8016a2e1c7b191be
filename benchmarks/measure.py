"""Running a command with a time limit, and watching the memory of its whole process tree."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["Measured", "measure", "process_tree"]

ROOT: Final = Path(__file__).resolve().parent.parent
SAMPLE_S: Final = 0.05
LAST_LINES: Final = 12


@dataclass(frozen=True)
class Measured:
    """What one process did.

    Attributes:
        process_s: seconds from its start to its end.
        report: the JSON of its last line, empty where it printed none.
        error: why it counts for nothing, empty where it succeeded.
        peak_pss_bytes: most memory of the tree at one time, shared pages counted in part (PSS), sampled; 0 unless watched.
        peak_hwm_bytes: sum of the largest resident sizes of the tree's processes (VmHWM), sampled; 0 unless watched.
    """

    process_s: float
    report: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    peak_pss_bytes: int = 0
    peak_hwm_bytes: int = 0


def measure(
    command: Sequence[str], timeout_s: float, environment: Mapping[str, str], *, watch_memory: bool = False
) -> Measured:
    """Run a command to its end, or until its time is up, when its process group is killed.

    Args:
        command: program and arguments; `python` stands for this interpreter.
        timeout_s: limit in seconds.
        environment: variables to set; the repository and its `src` are put on the module path.
        watch_memory: whether to sample the memory of the tree, which slows it a little.
    """
    command = [sys.executable if part == "python" else part for part in command]
    path = os.pathsep.join(
        each
        for each in (environment.get("PYTHONPATH"), os.environ.get("PYTHONPATH"), str(ROOT), str(ROOT / "src"))
        if each
    )
    variables = {**os.environ, **environment, "PYTHONPATH": path}
    started = time.perf_counter()
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        memory = _Memory(process.pid)
        try:
            text = _output(process, timeout_s, memory if watch_memory else None)
        except subprocess.TimeoutExpired:
            return Measured(timeout_s, error=f"took longer than {timeout_s:g} s")
        finally:
            _kill_group(process)
        seconds = time.perf_counter() - started
    if process.returncode:
        return Measured(seconds, error=f"exit code {process.returncode}:\n" + _last(text))
    return Measured(seconds, _report(text), "", memory.peak_pss, sum(memory.hwm.values()))


def _output(process: subprocess.Popen[str], timeout_s: float, memory: _Memory | None) -> str:
    if memory is None:
        return process.communicate(timeout=timeout_s)[0]
    deadline = time.monotonic() + timeout_s
    while True:
        memory.sample()
        try:
            return process.communicate(timeout=SAMPLE_S)[0]
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                raise


def _kill_group(process: subprocess.Popen[str]) -> None:
    """End what is left of the process and its children; most of the time nothing is."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _report(text: str) -> dict[str, Any]:
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    return {}


def _last(text: str) -> str:
    return "\n".join(text.splitlines()[-LAST_LINES:])


class _Memory:
    """The memory of a process and its descendants; Linux only.

    Args:
        root: the process.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self.peak_pss = 0
        self.hwm: dict[int, int] = {}

    def sample(self) -> None:
        """Look once."""
        pss = 0
        for pid in process_tree(self._root):
            pss += _field(f"/proc/{pid}/smaps_rollup", "Pss:")
            self.hwm[pid] = max(self.hwm.get(pid, 0), _field(f"/proc/{pid}/status", "VmHWM:"))
        self.peak_pss = max(self.peak_pss, pss)


def process_tree(pid: int) -> Iterator[int]:
    """A process and its descendants; Linux only."""
    yield pid
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        children = [Path(f"/proc/{pid}/task/{task}/children").read_text() for task in tasks]
    except OSError:
        return
    for child in " ".join(children).split():
        yield from process_tree(int(child))


def _field(path: str, name: str) -> int:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)
