"""Steps that run on the nodes of a cluster of Ray."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

import motet as mt


@mt.step(cache=True, cpu=1, memory="1MiB")
def makes(folder: str, count: int) -> Any:
    """Results of several kinds, a file among them."""
    print("made", count)  # noqa: T201  it is to be in the step's log
    mt.log(count, loss=0.5)
    made = Path(folder, "made.txt")
    made.write_text(f"of {count}")
    return {"file": made, "array": np.arange(count), "parent": os.getppid(), "cwd": os.getcwd()}


@mt.step(process=True)
def takes(found: Any, more: list[int]) -> Any:
    """What it was given."""
    return found["file"].read_text(), int(found["array"].sum()), more, found["cwd"]


@mt.step
def parent(found: Any) -> tuple[int, int]:
    """Who has started the step, and who runs this one."""
    return found["parent"], os.getpid()


@mt.workflow
def flow(folder: str, count: int) -> Any:
    """Two steps on nodes, one here."""
    found = makes(folder, count)
    return takes(found, [1, 2]), parent(found)


@mt.step(process=True)
def own_failure() -> None:
    """Fails."""
    raise ValueError("bad luck")


@mt.step(timeout_s=0.3)
def sleeps() -> None:
    """Takes too long."""
    time.sleep(60)


@mt.step(process=True)
def dies() -> None:
    """Ends its process."""
    os.kill(os.getpid(), signal.SIGKILL)


@mt.step(process=True)
def ends_its_task() -> None:
    """Ends the process of Ray that has started its own."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


@mt.step(process=True, retries=1, backoff_s=0)
def ends_its_task_once() -> int:
    """The same, but for the second try."""
    running = mt.current_step()
    assert running is not None
    if not running.attempt:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return running.attempt


@mt.workflow
def troubles() -> Any:
    """All of these."""
    return own_failure(), sleeps(), dies(), ends_its_task(), ends_its_task_once()


@mt.step(process=True)
def waits(folder: str) -> None:
    """Says who it is, and waits to be ended."""
    mark = Path(folder, "part")
    mark.write_text(str(os.getpid()))
    mark.rename(Path(folder, "pid"))
    time.sleep(600)


@mt.workflow
def waiting(folder: str) -> Any:
    """A step that does not end."""
    return waits(folder)


@mt.step(cpu=64)
def hungry() -> None:
    """Asks for more than there is."""


@mt.workflow
def hungry_flow() -> Any:
    """A step that nobody has room for."""
    return hungry()
