"""Notebooks: what is defined in cells is called, run, kept and shown, in a kernel whose loop runs."""

from __future__ import annotations

import json
import subprocess
import sys
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import motet as mt
from motet.errors import told_file

KERNEL = """
import ast, asyncio, json, sys

async def _run(cells):
    for number, cell in enumerate(cells):
        place = f"/nowhere/kernel-{os.getpid()}/{number}.py"
        code = compile(cell, place, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        waits = eval(code, vars(sys.modules["__main__"]))
        if waits is not None:
            await waits

import os
asyncio.run(_run(json.loads(sys.stdin.read())))
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Any:
    """Runs cells in a new process that has no file, as kernels have none. Gives what they print, line by line."""

    def run(*cells: str, code: int = 0) -> list[str]:
        command = [sys.executable, "-c", KERNEL]
        ended = subprocess.run(
            command, input=json.dumps(cells), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == code, ended.stderr
        return ended.stdout.splitlines()

    return run


IMPORTS = """
import motet as mt, os, signal
def told(run):
    print(*(f"{step.id} {step.state}: {step.why.partition(' 0')[0]}" for step in run.steps), sep="\\n")
"""
HELPER = """
def helper(x):
    return x + 1

class Model:
    def __init__(self, rate):
        self.rate = rate
    def predict(self, x):
        return helper(x) * self.rate
"""
STEPS = """
@mt.step(cache=True)
def train(rate):
    return Model(rate)

@mt.step(cache=True)
def score(model):
    return model.predict(2)

@mt.step(cache=True)
def other():
    return 1

@mt.workflow
def flow(rate=0.5):
    return score(train(rate)), other()
"""
RUN = "run = flow().run()\nprint(run.output)\ntold(run)"


def test_what_is_kept_is_found_by_the_next_kernel_and_a_changed_cell_is_seen(kernel: Any) -> None:
    assert kernel(IMPORTS, HELPER, STEPS, RUN)[0] == "(1.5, 1)"
    lines = kernel(IMPORTS, "# another cell, so that the others move", HELPER, STEPS, RUN)
    assert lines[0] == "(1.5, 1)"
    assert [line.partition(":")[0] for line in lines[1:]] == ["train hit", "score hit", "other hit"]
    lines = kernel(IMPORTS, HELPER.replace("x + 1", "x + 2"), STEPS, RUN)
    assert lines[0] == "(2.0, 1)"
    assert lines[1] == "train done: code of __main__.helper changed"
    assert lines[2].startswith("score done: model: result of step train changed, ")
    assert lines[3].startswith("other hit: ")


def test_a_cell_that_is_run_again_after_a_change_counts_as_it_is_now(kernel: Any) -> None:
    flow = "@mt.step(cache=True)\ndef work(x):\n    return x + LIMIT\n@mt.workflow\ndef flow():\n    return work(1)\n"
    run = "print(flow().run().output, flow().run().steps[0].state)"
    assert kernel(IMPORTS, "LIMIT = 1", flow, run, "LIMIT = 2", run) == ["2 hit", "3 hit"]


def test_code_that_cannot_be_followed_counts_with_all_cells(kernel: Any) -> None:
    flow = (
        "@mt.step(cache=True)\ndef work(x):\n    return eval('x * rate')\n@mt.workflow\ndef flow():\n    return work(2)"
    )
    lines = kernel(IMPORTS, "rate = 3", flow, "print(flow().run().output)", "rate = 4", "print(flow().run().output)")
    assert lines == ["6", "8"]


OWN = """
import os
import motet as mt

@mt.step(cpu=1)
def heavy(x):
    return x * 2, os.getpid()
"""
CAUGHT = """
try:
    {}
except mt.MotetError as error:
    print(error)
"""


def test_a_step_that_needs_its_own_process_is_written_to_a_file(kernel: Any) -> None:
    flow = (
        "@mt.workflow\ndef flow():\n    return heavy(first())\n@mt.step\ndef first():\n    print('ran')\n    return 3"
    )
    lines = kernel(IMPORTS, OWN, flow, CAUGHT.format("flow().run()"))
    assert lines[0].endswith(": step heavy runs in a process of its own, so its function must be found by name")
    assert lines[1:] == [
        "  hint: write it to a file and import it (in a notebook, %%writefile steps.py is the first line of its cell), "
        "or say process=False"
    ]
    written = f"open('heavy_steps.py', 'w').write({OWN!r})"
    changed = f"open('heavy_steps.py', 'w').write({OWN.replace('x * 2', 'x * 2 + 1')!r})"
    shown = "value, pid = flow().run(resume=False).output\nprint(value, pid != os.getpid())"
    again = "import importlib, heavy_steps\nimportlib.reload(heavy_steps)\nfrom heavy_steps import heavy"
    lines = kernel(
        IMPORTS, written, "from heavy_steps import heavy", flow, shown,
        changed, CAUGHT.format("flow().run()"), again, shown,
    )  # fmt: skip
    assert lines[:2] == ["ran", "6 True"]
    assert "the code of heavy_steps.heavy has changed since it was imported" in lines[3]
    assert lines[4] == "  hint: import it anew, as importlib.reload does, or begin the program again"
    assert lines[-1] == "7 True"


def test_a_run_whose_kernel_was_killed_is_gone_on_with_by_the_next(kernel: Any) -> None:
    flow = """
@mt.step
def first():
    print("first runs")
    return 1

@mt.step
def second(x):
    if not os.path.exists("killed"):
        open("killed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return x + 1

@mt.workflow
def flow():
    return second(first())
"""
    kernel(IMPORTS, flow, "flow().run()", code=-9)
    first, second = kernel(IMPORTS, flow, "told(flow().run())")
    assert first.startswith("first resumed: finished")
    assert second == "second done: "


def test_all_of_it_works_while_the_loop_of_the_kernel_runs(kernel: Any) -> None:
    graph = """
import asyncio
import numpy as np
import pyarrow as pa

def double(x):
    return x * 2

x = mt.input("x", "float32")
graph = mt.Graph("g", {"y": mt.map(double, x)})
columns = {"x": np.arange(3, dtype="float32")}
"""
    lines = kernel(
        IMPORTS,
        graph,
        "print(graph(columns)['y'].tolist())",
        "print((await asyncio.to_thread(graph, columns))['y'].tolist())",
        "print(graph.run(pa.table(columns), 'out.parquet').answered)",
        HELPER,
        STEPS,
        "print(flow().run().output, (await asyncio.to_thread(flow().run)).output)",
        CAUGHT.format("graph.serve(port=0)"),
        CAUGHT.format("graph.save('g.yaml')"),
    )
    assert lines[:4] == ["[0.0, 2.0, 4.0]", "[0.0, 2.0, 4.0]", "3", "(1.5, 1) (1.5, 1)"]
    assert lines[4].startswith("serve: a server that blocks would stop the loop that runs here")
    assert lines[5] == "  hint: serve(block=False) serves in a thread of its own"
    assert "double (/nowhere/kernel-" in lines[6]
    assert "cannot be imported by name, so a file cannot name it" in lines[6]


def test_graphs_plans_runs_and_reports_are_shown(tmp_path: Path) -> None:
    @mt.step
    def first() -> Any:
        return 1

    @mt.workflow
    def flow() -> Any:
        return first()

    graph = mt.Graph("g", {"y": mt.map(np.negative, mt.input("x", "float32"))})
    assert graph._repr_svg_() == graph.draw("svg")
    plan = flow()
    assert repr(plan) == "<workflow flow: 1 step>"
    assert 'data-step="first" data-state="waiting"' in unescape(plan._repr_html_())
    run = plan.run()
    shown = run._repr_html_()
    assert shown.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert shown.count("<") == 2, "the page is an attribute, so that its style stays inside"
    assert 'data-step="first" data-state="done"' in unescape(shown)
    assert repr(run).startswith("<flow done in ")
    assert repr(run.steps[0]).startswith("<step first done in 0.0")
    report = graph.run(pa.table({"x": np.zeros(2, "float32")}), str(tmp_path / "out.parquet"))
    parts: list[str] = []
    report._repr_pretty_(SimpleNamespace(text=parts.append), False)
    assert parts == [str(report)]


def test_places_in_cells_are_told_by_the_number_of_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = {"/tmp/kernel/1.py": "In[4]"}

    def format_code_name(name: str) -> tuple[str, str] | None:
        return ("Cell", cells[name]) if name in cells else None

    shell = SimpleNamespace(compile=SimpleNamespace(format_code_name=format_code_name))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    space: dict[str, Any] = {"__name__": "cells"}
    exec(compile("def work(x):\n    raise ValueError('bad')\n", "/tmp/kernel/1.py", "exec"), space)
    step = mt.step(space["work"])
    assert repr(step) == "<step work (work (In[4]:1))>"

    @mt.workflow
    def flow() -> Any:
        return step(1)

    assert flow().run(check=False).steps[0].error == "work (In[4]:2): ValueError: bad"
    graph = mt.Graph("g", {"y": mt.map(space["work"], mt.input("x", "float32"))})
    with pytest.raises(mt.RowErrors, match=r"work \(In\[4\]:1\): ValueError: bad \(In\[4\]:2\)"):
        graph({"x": [1.0]})
    assert told_file("/elsewhere.py") == "/elsewhere.py"
