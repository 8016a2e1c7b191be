"""Steps of workflows on a cluster of Ray, as they are on one machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import motet as mt
from helpers.until import until
from motet.engines.ray.steps import _run
from motet.errors import InputError, StepError
from motet.workflow.play.step_process import ProcessEnd, StepProcess, ThisMachine
from workflow import ray_flow

pytest.importorskip("ray")


class Elsewhere(ThisMachine):
    """A machine that shares folders with this one, or has another in the place of one."""

    is_here = False

    def __init__(self, lacking: str = "") -> None:
        super().__init__()
        self.lacking = lacking

    def run(self, process: StepProcess, stopped: Callable[[], bool]) -> ProcessEnd:
        gone = {self.lacking: f"{self.lacking}/not here"}
        needs = tuple(gone.get(each, each) for each in process.needs)
        process = replace(process, folder=gone.get(process.folder, process.folder), needs=needs)
        return _run(process, gone.get(process.cache, ""))


@pytest.mark.timeout(300)
def test_steps_on_nodes_give_keep_and_tell_what_they_do_here(ray_cluster: Any, tmp_path: Path) -> None:
    plan = ray_flow.flow(str(tmp_path), 4)
    there = plan.run(place=mt.ray.Steps())
    (text, total, more, cwd), (parent, mine) = there.output
    assert (text, total, more, cwd) == ("of 4", 6, [1, 2], os.getcwd())
    assert os.getpid() == mine != parent
    assert [step.state for step in there.steps] == ["done"] * 3
    assert there.metrics["makes"]["loss"].values == (0.5,)
    (tmp_path / "made.txt").unlink()
    here = plan.run()
    assert [step.state for step in here.steps] == ["hit", "done", "done"]
    assert here.output[0] == there.output[0]
    logs = list((tmp_path / "home").rglob("logs/*makes*"))
    assert [each.read_text() for each in logs] == ["made 4\n"]
    assert not list((tmp_path / "home").rglob(".shared-*"))


@pytest.mark.timeout(300)
def test_steps_on_nodes_fail_end_and_are_tried_again_as_they_are_here(ray_cluster: Any) -> None:
    run = ray_flow.troubles().run(check=False, place=mt.ray.Steps())
    assert "ValueError: bad luck" in run.step("own_failure").error
    assert "ray_flow.py" in run.step("own_failure").error
    assert "took more than 0.3 s, and was ended" in run.step("sleeps").error
    assert "its process was ended by SIGKILL" in run.step("dies").error
    assert "its task on Ray died: " in run.step("ends_its_task").error
    again = run.step("ends_its_task_once")
    assert (again.state, again.attempts) == ("done", 2), again.error
    with pytest.raises(InputError, match="step hungry: no node has what a task asks for: 64 CPU"):
        ray_flow.hungry_flow().run(place=mt.ray.Steps())


@pytest.mark.timeout(300)
def test_a_run_that_is_cancelled_ends_the_processes_of_its_steps_on_nodes(ray_cluster: Any, tmp_path: Path) -> None:
    cancel, mark = threading.Event(), tmp_path / "pid"
    found: list[Any] = []
    plan = ray_flow.waiting(str(tmp_path))
    run = threading.Thread(target=lambda: found.append(plan.run(check=False, cancel=cancel, place=mt.ray.Steps())))
    run.start()
    until(lambda: mark.exists() or found, 120)
    cancel.set()
    run.join(60)
    assert [(each.state, each.step("waits").state) for each in found] == [("cancelled", "cancelled")]
    pid = int(mark.read_text())
    until(lambda: not Path(f"/proc/{pid}").exists(), 60)


@pytest.mark.parametrize("what", ["the folder of the program", "the cache", "the record"])
def test_a_node_that_does_not_share_a_folder_is_refused(what: str, tmp_path: Path, home: Path) -> None:
    plan = ray_flow.flow(str(tmp_path), 2)
    lacking = {"the folder of the program": os.getcwd(), "the cache": str(tmp_path / "cache"), "the record": ""}[what]
    seen: list[StepProcess] = []

    class Sees(Elsewhere):
        def run(self, process: StepProcess, stopped: Callable[[], bool]) -> ProcessEnd:
            seen.append(process)
            self.lacking = lacking or process.needs[0]
            return super().run(process, stopped)

    with pytest.raises(StepError, match=r"node \S+ does not reach .*not here") as told:
        plan.run(cache=tmp_path / "cache", place=Sees())
    assert "where all nodes find them" in str(told.value)
    assert len(seen) == 1, "it is not tried again"


def test_results_that_the_cache_cannot_have_come_back_from_nodes(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "artifacts").write_text("no folder")
    run = ray_flow.flow(str(tmp_path), 3).run(cache=tmp_path / "cache", place=Elsewhere())
    assert run.output[0] == ("of 3", 3, [1, 2], os.getcwd())
