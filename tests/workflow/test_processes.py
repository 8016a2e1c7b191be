"""Steps in processes of their own, and the resources that they borrow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import motet as mt
from motet.errors import InputError, StepError
from motet.workflow.play.budget import Machine
from workflow import flow_steps


def test_a_step_that_asks_for_resources_runs_in_a_process_of_its_own() -> None:
    run = flow_steps.resources().run()
    mine, (theirs, total, threads) = run.output
    assert theirs != mine
    assert (total, threads) == (6.0, "1")


def test_a_process_that_fails_takes_too_long_or_dies_says_so() -> None:
    run = flow_steps.troubles().run(check=False)
    assert "ValueError: bad luck" in run.step("own_failure").error
    assert "flow_steps.py" in run.step("own_failure").error
    assert "took more than 0.3 s, and was ended" in run.step("sleeps").error
    assert "its process was ended by SIGKILL" in run.step("dies").error


def test_what_cannot_run_in_a_process_of_its_own_is_refused() -> None:
    @mt.step(cpu=1)
    def local() -> Any:
        return 1

    @mt.workflow
    def flow() -> Any:
        return local()

    with pytest.raises(InputError, match="must be found by name") as refused:
        flow().run()
    assert "define it at the top level of a module, in a file, or say process=False" in str(refused.value)

    @mt.workflow
    def method() -> Any:
        return mt.step(process=True)(Machine(cpu=1).check)(flow_steps.needs(cpu=1), "here")

    with pytest.raises(InputError, match="must be found by name"):
        method().run()


def test_a_file_that_changed_since_it_was_imported_is_not_taken_for_what_was_wired(project: Any, home: Any) -> None:
    """The process would load other code than the key of the result was made of."""
    text = "import motet as mt\n\nBY = 2\n\ndef double(x):\n    return BY * x\n\n@mt.step(cache=True, process=True)\n"
    text += "def work(x):\n    return double(x)\n\n@mt.workflow\ndef flow(x):\n    return work(x)\n"
    project.write(stale=text)
    loaded = project.load("stale")
    loaded.seen = "what a module holds may differ"
    assert loaded.flow(3).run().output == 6
    (project.folder / "stale.py").write_text(text.replace("BY * x", "BY * x + 1"))
    with pytest.raises(StepError, match=r"the code of stale\.double has changed since it was imported"):
        loaded.flow(4).run()
    project.forget()
    assert project.load("stale").flow(4).run().output == 9


def test_what_was_computed_with_other_values_than_the_program_has_is_not_kept(
    project: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The process has values as the module's file says; the key has them as the program has set them."""
    text = "import motet as mt\n\nBY = 2\n\n@mt.step(cache=True, process=True)\ndef work(x):\n    return BY * x\n\n"
    project.write(set_after=text + "@mt.workflow\ndef flow(x):\n    return work(x)\n")
    loaded = project.load("set_after")
    loaded.BY = 5
    run = loaded.flow(3).run()
    assert run.output == 6
    why = "values that set_after.work uses are others in the step's own process than in the program"
    assert why in run.steps[0].why
    assert why in caplog.text
    assert loaded.flow(3).run().steps[0].state == "done"
    loaded.BY = 2
    assert [loaded.flow(3).run().steps[0].state for _ in range(2)] == ["done", "hit"]


def test_a_script_is_itself_in_the_processes_of_its_steps(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import enum, motet as mt\n\nclass Kind(enum.Enum):\n    A = 1\nTABLE = {Kind.A: 3}\ndef helper(x):\n    return TABLE[Kind.A] * x, Kind.A\n"
        "@mt.step(cache=True, process=True)\ndef own(x):\n    return helper(x)\n\n@mt.workflow\ndef flow():\n"
        "    return own(2)\n\nif __name__ == '__main__':\n    run = flow().run()\n    print(run.output, run.steps[0].state)\n"
    )
    command = [sys.executable, str(script)]
    found = [subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout for _ in range(2)]
    assert found == ["(6, <Kind.A: 1>) done\n", "(6, <Kind.A: 1>) hit\n"]


def test_a_script_without_a_guard_does_not_run_itself_without_end(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import motet as mt\n\n@mt.step(process=True)\ndef own():\n    return 1\n\n"
        "@mt.workflow\ndef flow():\n    return own()\n\nflow().run()\n"
    )
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "begin runs under if __name__ == '__main__':" in ended.stderr


def test_resources_are_bounded_and_what_the_machine_lacks_is_refused() -> None:
    machine = Machine(cpu=2, memory_bytes=100)
    held = machine.borrow(flow_steps.needs(cpu=1.5), lambda: False)
    assert held.__enter__()
    stopped = iter([False, True])
    with machine.borrow(flow_steps.needs(cpu=1), lambda: next(stopped)) as lent:
        assert not lent
    held.__exit__(None, None, None)
    with machine.borrow(flow_steps.needs(cpu=64), lambda: False) as lent:
        assert lent
    with pytest.raises(InputError, match="asks for 0 MiB of memory, this machine has 0 MiB"):
        machine.check(flow_steps.needs(memory_bytes=101), "step train")
    with pytest.raises(InputError, match="step hungry: asks for"):
        flow_steps.hungry_flow().run(budget=machine)


PROGRAM = """
import random, sys
import motet as mt

@mt.step(cache=True, process=True)
def kept(x):
    return x

@mt.workflow
def flow():
    return kept(1)

if __name__ == "__main__":
    arguments = sys.argv
    random.seed(arguments[1])
    print(flow().run(resume=False).steps[0])
"""


def test_what_a_program_sets_under_its_guard_keeps_no_result_of_another_process_from_being_kept(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    told = [
        subprocess.run([sys.executable, "program.py", seed], cwd=tmp_path, capture_output=True, text=True, check=True)
        for seed in ("1", "1", "2")
    ]
    assert [each.stdout.split()[2] for each in told] == ["done", "hit", "done"]
    assert [each.stderr for each in told] == [""] * 3
