"""Steps that run side by side share neither seeds, working directory nor environment, unless they say so."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motet as mt
from motet.workflow.code.follow import follow
from motet.workflow.code.shared import shared_in_file
from motet.workflow.play.turns import beside_others
from workflow import shared_steps as steps


def serial(seed: Any) -> Any:
    found = np.random.RandomState(seed).rand(), random.Random(seed).random()
    return list(map(float, found))


def see_all(tmp_path: Path, output: Any, apart: Any) -> None:
    """Each group has what a program has that calls its steps one after the other, each in a process of its own."""
    seeded, placed, told, strict, plain, alike = output
    assert [each[:2] for each in seeded] == [serial(seed) for seed in range(4)]
    assert [each[0] for each in placed] == [str(tmp_path / str(i)) for i in range(3)]
    assert [each[0] for each in told] == ["0", "1", "2"]
    assert strict[0][:2] == ("error", "raise")
    here = (os.getcwd(), None, warnings.filters[0][0], np.geterr()["over"], os.getpid())
    assert plain == [here] * 4
    assert alike == [os.getpid()] * 2
    theirs = {each[-1] for each in (*seeded, *placed, *told, *strict)}
    assert len(theirs) == 11 if apart else theirs == {os.getpid()}


def test_steps_of_a_module_get_processes_of_their_own(tmp_path: Path) -> None:
    see_all(tmp_path, steps.side_by_side(str(tmp_path)).run().output, apart=True)


def test_steps_that_cannot_be_sent_run_one_at_a_time_and_what_they_set_is_put_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lock = threading.Lock()  # cannot be pickled
    before = (np.random.get_state()[1].tolist(), random.getstate(), os.environ.copy(), list(warnings.filters))  # type: ignore[index]
    with caplog.at_level("INFO", "motet.workflow"):
        plan = steps.side_by_side(str(tmp_path), lambda: lock.locked() or steps.short())
        see_all(tmp_path, plan.run(threads=8).output, apart=False)
    assert before == (np.random.get_state()[1].tolist(), random.getstate(), os.environ.copy(), list(warnings.filters))  # type: ignore[index]
    assert "step seeded runs while no other does, as it sets numpy.random.seed, random.seed" in caplog.text


def test_steps_of_a_program_run_one_at_a_time(tmp_path: Path) -> None:
    """A script without a guard would be run anew by another process."""
    program = tmp_path / "program.py"
    program.write_text(
        "import numpy as np, motet as mt\nprint('begins')\n"
        "@mt.step\ndef draw(seed):\n    np.random.seed(seed)\n    return float(np.random.rand())\n"
        "@mt.workflow\ndef flow():\n    return [draw(seed) for seed in range(4)]\nprint(flow().run().output)\n"
    )
    found = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True).stdout
    assert found.split("\n")[:2] == ["begins", str([serial(seed)[0] for seed in range(4)])]


@mt.workflow
def scaling(num: Any) -> Any:
    return [steps.scaled(seed) for seed in range(num)]


def test_a_value_that_was_set_after_the_import_counts_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "FACTOR", 10)
    assert scaling(3).run().output == [(0, os.getpid()), (10, os.getpid()), (20, os.getpid())]


def test_a_step_that_nothing_runs_beside_stays_in_this_process() -> None:
    assert scaling(1).run().output == [(0, os.getpid())]


@pytest.mark.parametrize("seed", range(40))
def test_which_steps_may_run_beside_others(seed: Any) -> None:
    draw, count = random.Random(seed), 1 + seed % 9
    needs = np.array(
        [[one < two and draw.random() < (0.2, 0.9)[seed % 2] for one in range(count)] for two in range(count)]
    )

    @mt.step
    def step(needed: Any) -> Any:
        return needed

    @mt.workflow
    def flow() -> None:
        made = []
        for row in needs:
            taken = [made[one] for one in np.flatnonzero(row)]
            made.append(step(taken[1:]).after(*taken[:1]))

    reached = np.linalg.matrix_power(needs.astype(int) + np.eye(count, dtype=int), count) > 0
    assert beside_others(flow().nodes) == {*np.flatnonzero(~(reached | reached.T).all(axis=1))}


def test_steps_may_say_that_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTET_TEST_TOLD", "")

    @mt.workflow
    def flow() -> Any:
        return [steps.shares("a"), steps.shares("a")]

    assert flow().run().output == [os.getpid()] * 2
    assert os.environ["MOTET_TEST_TOLD"] == "a"


def test_they_are_tried_again(tmp_path: Path) -> None:
    @mt.workflow
    def flow() -> Any:
        return [steps.fails_once(str(tmp_path), seed) for seed in range(2)]

    run = flow().run()
    assert os.getpid() not in run.output
    assert [step.attempts for step in run.steps] == [2, 2]


def test_what_cannot_be_sent_back_reaches_its_consumers() -> None:
    @mt.workflow
    def flow() -> Any:
        return [steps.gives_function(seed) for seed in range(2)]

    assert [each() for each in flow().run().output] == [0, 1]


class Trainer:
    def fit(self) -> Any:
        np.random.seed(1)
        return float(np.random.rand())


def reseed(x: Any) -> Any:
    np.random.seed(x)
    return float(np.random.rand())


@pytest.mark.parametrize("how", ["an instance", "a function", "a result"])
def test_what_a_step_is_given_may_set_it(caplog: pytest.LogCaptureFixture, how: str) -> None:
    @mt.step
    def make() -> Any:
        return Trainer()

    @mt.step
    def use(thing: Any) -> Any:
        return thing(1) if callable(thing) else thing.fit()

    @mt.workflow
    def flow() -> Any:
        thing = {"an instance": Trainer(), "a function": reseed, "a result": make()}[how]
        return [use(thing), use(thing)]

    with caplog.at_level("INFO", "motet.workflow"):
        assert flow().run().output == [serial(1)[0]] * 2
    assert "step use-2 runs while no other does" in caplog.text


SETS = """
import os, random, numpy as np, warnings, locale, contextlib, decimal, collections, sys, threading, unittest.mock as mock
from os import environ, chdir
from numpy.random import seed as reseed
import seeding
from matplotlib import pyplot as plt
KEPT = collections.OrderedDict()
def s(x):
    {}
"""
SETTING = {
    "os.environ['A'] = '1'": "os.environ", "environ[x + str(3)] = '1'": "os.environ", "del os.environ['A']": "os.environ",
    "environ.update(a='1')": "os.environ.update", "e = os.environ; e['A'] = '1'": "os.environ",
    "os.environ |= {}": "os", "os.environ['A'] += 'x'": "os.environ", "os.environ.pop('A')": "os.environ.pop",
    "os.environ.setdefault('A', '1')": "os.environ.setdefault", "os.putenv('A', '1')": "os.putenv",
    "os.chdir(x)": "os.chdir", "chdir(x)": "posix.chdir", "contextlib.chdir(x)": "contextlib.chdir",
    "os.umask(0)": "os.umask", "reseed(x)": "numpy.random.seed", "np.random.seed(x)": "numpy.random.seed",
    "r = np.random; r.seed(x)": "numpy.random.seed", "f = random.seed; f(x)": "random.seed",
    "import torch; torch.manual_seed(x)": "torch.manual_seed", "import torch as t; (lambda: t.manual_seed(x))()":
    "torch.manual_seed", "from torch import manual_seed as m; m(x)": "torch.manual_seed", "import numpy.random as r; r.seed(x)":
    "numpy.random.seed", "import numpy.random; numpy.random.seed(x)": "numpy.random.seed", "seeding.everything(x)":
    "random.seed", "seeding.Trainer().fit()": "numpy.random.seed", "from later import prepare; prepare()": "random.seed",
    "import torch; torch.set_default_dtype(torch.float64)": "torch.set_default_dtype", "np.seterr(over='raise')":
    "numpy.seterr", "np.set_printoptions(3)": "numpy.set_printoptions", "warnings.simplefilter('error')":
    "warnings.simplefilter", "locale.setlocale(0, 'C')": "locale.setlocale", "sys.path.append(x)": "sys.path.append",
    "sys.stdout = x": "sys", "contextlib.redirect_stdout(x)": "contextlib.redirect_stdout", "random.setstate(x)":
    "random.setstate", "mock.patch.dict(os.environ, A='1')": "unittest.mock.patch.dict", "plt.plot([1])":
    "matplotlib.pyplot.plot", "import matplotlib; matplotlib.use('Agg')": "matplotlib.use",
    "import matplotlib as mpl; mpl.rcParams['a'] = 1": "matplotlib.rcParams", "import pandas as pd; pd.set_option('a', 1)":
    "pandas.set_option", "import pandas as pd; pd.options.mode.copy_on_write = True": "pandas.options.mode",
    "import torch; torch.backends.cudnn.deterministic = True": "torch.backends.cudnn",
}  # fmt: skip
NOT_SETTING = [
    "return os.environ['A'], os.environ.get('B'), dict(os.environ), {**os.environ}, os.getcwd(), environ.copy()",
    "x['a'] = os.environ['B']; x.y = os.environ.get('C'); x[os.environ['A']] = 3; KEPT[os.environ['A']] = 4",
    "return np.random.default_rng(3).random(), random.Random(3).random(), np.random.RandomState(3).rand()",
    "import torch; return torch.Generator().manual_seed(3), torch.initial_seed(), torch.rand(1)",
    "return np.setdiff1d(x, x), np.random.rand(), decimal.getcontext(), collections.defaultdict(list), KEPT.update(a=1)",
    "x.set_params(a=1); x.seed(3); x.a = 3; x['a'] = 3; np = x; np.seed(3); setattr(x, 'a', 1); return {**x}",
    "lock = threading.Lock(); return np.ma.append([1], [2]), np.insert([1], 0, 2), str.format('', x), x.update(a=1)",
    "return seeding.quiet(x)",
]


@pytest.fixture
def sets(project: Any, tmp_path: Path) -> Iterator[Any]:
    folder = tmp_path / "site-packages" / "matplotlib"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("rcParams = {}\n")
    (folder / "pyplot.py").write_text("")
    sys.path.append(str(folder.parent))
    seeding = (
        "import random, numpy\ndef everything(x):\n    random.seed(x)\n    numpy.random.seed(x)\ndef quiet(x):\n    return x\n"
        "class Trainer:\n    def fit(self):\n        numpy.random.seed(1)\n"
    )
    project.write(seeding=seeding, later="from random import seed\ndef prepare():\n    seed(3)\n")

    def found(line: Any) -> Any:
        project.write(flow=SETS.format(line))
        return set(follow(project.load("flow").s).shared)

    yield found
    sys.path.remove(str(folder.parent))
    for name in [each for each in sys.modules if each.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]


@pytest.mark.parametrize("line", SETTING)
def test_what_is_set_of_the_process_is_known(sets: Any, line: Any) -> None:
    assert SETTING[line] in sets(line)


@pytest.mark.parametrize("line", NOT_SETTING)
def test_what_only_one_holds_is_not(sets: Any, line: Any) -> None:
    assert sets(line) == set()


def test_a_file_that_cannot_be_read_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f(:")
    assert shared_in_file(str(tmp_path / "a.py")) == shared_in_file(str(tmp_path / "b.py")) == set()
