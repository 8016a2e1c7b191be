"""`kill -9` at any moment: the run goes on, and nothing that was finished runs twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from helpers.until import until

PROGRAM = """
import os, sys, time
import motet as mt

LOG = os.environ["LOG"]

class Log:
    def __reduce__(self): return Log, ()
    def write(self, text):
        with open(LOG, "a") as file:
            file.write(text + "\\n")

log = Log()

@mt.step
def bare(i, before):
    log.write(f"begin {i}")
    time.sleep(0.01)
    return i

@mt.step(cache=True)
def kept(i, before):
    log.write(f"begin {i}")
    time.sleep(0.01)
    return i

@mt.step(process=True)
def own(i, before):
    log.write(f"begin {i}")
    time.sleep(0.05)
    return i

@mt.workflow
def flow(n: int = 24):
    made = []
    for i in range(n):
        step = own if i == n // 2 else (bare, kept)[i % 2]
        made.append(step(i, made[-2:-1]))
    return made

def progress(state):
    if state.state in ("done", "hit", "resumed"):
        log.write(f"{state.state} {state.id} {state.node.arguments['i']}")

if __name__ == "__main__":
    run = flow().run(progress=progress, threads=2)
    log.write(f"over {sum(run.output)} {run.resumes}")
"""


@pytest.fixture
def program(tmp_path: Path) -> Any:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def begin(program: Path) -> subprocess.Popen[bytes]:
    env = {**os.environ, "LOG": str(program.with_name("log"))}
    return subprocess.Popen([sys.executable, str(program)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def lines(program: Path) -> list[str]:
    log = program.with_name("log")
    return log.read_text().splitlines() if log.exists() else []


def wait_for_lines(program: Path, count: int, child: subprocess.Popen[bytes]) -> None:
    until(lambda: len(lines(program)) >= count or child.poll() is not None)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_finished_is_not_run_again(program: Any, seed: Any) -> None:
    """Killed after a random number of events, several times; then it ends, and each step was finished once."""
    drawn = random.Random(seed)
    for _ in range(3):
        seen = len(lines(program))
        child = begin(program)
        wait_for_lines(program, seen + drawn.randint(1, 16), child)
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=30)
    child = begin(program)
    printed, _ = child.communicate(timeout=60)
    assert child.returncode == 0, printed.decode()
    log = lines(program)
    assert log[-1] == f"over {sum(range(24))} True"
    finished = Counter(line.split()[2] for line in log if line.startswith("done "))
    assert set(finished.values()) <= {1}, "no step that was finished is run again"
    done_at: dict[str, int] = {}
    for place, line in enumerate(log):
        if line.startswith("done "):
            done_at.setdefault(line.split()[2], place)
        elif line.startswith("begin "):
            assert line.split()[1] not in done_at, f"step {line.split()[1]} was finished, and ran again"


def test_processes_of_steps_end_with_the_run(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, time\nimport motet as mt\n\n@mt.step(cpu=1)\ndef long(log):\n"
        "    open(log, 'w').write(str(os.getpid()))\n    time.sleep(120)\n\n@mt.workflow\ndef flow(log):\n    long(log)\n\n"
        "if __name__ == '__main__':\n    flow(os.environ['LOG']).run()\n"
    )
    child = begin(program)
    wait_for_lines(program, 1, child)
    pid = int(program.with_name("log").read_text())
    child.kill()
    child.communicate(timeout=30)
    stat = Path(f"/proc/{pid}/stat")
    until(lambda: not stat.exists() or stat.read_text().split()[2] == "Z")


def test_processes_that_run_the_same_workflow_compute_a_key_once(program: Any) -> None:
    children = [begin(program) for _ in range(3)]
    for child in children:
        printed, _ = child.communicate(timeout=90)
        assert child.returncode == 0, printed.decode()
    begun = Counter(line.split()[1] for line in lines(program) if line.startswith("begin "))
    assert {begun[str(i)] for i in range(1, 24, 2)} == {1}, "steps with cache"
    assert begun["12"] == 3, "a step without"


@pytest.mark.parametrize("seed", range(2))
def test_of_several_at_once_only_what_a_killed_one_computed_is_computed_again(program: Any, seed: Any) -> None:
    """Three run the same workflow and one of them is killed: no more is computed twice than it had in hand."""
    drawn = random.Random(seed)
    children = [begin(program) for _ in range(3)]
    wait_for_lines(program, drawn.randint(2, 30), children[0])
    children[drawn.randrange(3)].kill()
    for child in children:
        printed, _ = child.communicate(timeout=90)
        assert child.returncode in (0, -signal.SIGKILL), printed.decode()
    begun = Counter(line.split()[1] for line in lines(program) if line.startswith("begin "))
    kept = [begun[str(i)] for i in range(1, 24, 2)]
    assert min(kept) == 1
    assert sum(kept) - len(kept) <= 2, "it ran two steps at a time"


def test_a_key_is_computed_again_only_after_a_crash(program: Any) -> None:
    """Killed while it holds the lock of a key: the lock goes with the process, and the next one computes it."""
    child = begin(program)
    wait_for_lines(program, 2, child)
    child.kill()
    child.communicate(timeout=30)
    other = begin(program)
    printed, _ = other.communicate(timeout=60)
    assert other.returncode == 0, printed.decode()
    begun = Counter(line.split()[1] for line in lines(program) if line.startswith("begin "))
    assert max(begun.values()) <= 2
