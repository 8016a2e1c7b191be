"""What a function stands on: each change that matters changes its digest, no other does."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.workflow.code.follow import follow

HELPERS = """
LIMIT = 3
TABLE = {"a": 1, "b": [2, 3]}
FLAGS = {"x", "y", "z"}

def deep(x):
    return x + LIMIT

def clean(x, by=2):
    return deep(x) * by

def unrelated(x):
    return x - 1

class Base:
    size = 4
    def grow(self):
        return self.size + LIMIT

class Thing(Base):
    def area(self):
        return self.grow() * 2

def decorated(function):
    def inner(*args):
        return function(*args) + 1
    return inner

@decorated
def marked(x):
    return x

def made(offset):
    def inner(x):
        return x + offset
    return inner

shifted = made(10)

def counted(x):
    return x * counted.weight

counted.weight = 8

class Pair:
    __match_args__ = ("first",)
    first, second = 1, 2

def taken(x):
    match x:
        case Pair(found):
            return found
"""
USER = """
import functools
import parts
from parts import Thing, clean, counted, marked, shifted, taken, TABLE, FLAGS

HALF = functools.partial(clean, by=5)
found = TABLE.get

def work(x):
    return clean(x) + parts.LIMIT + Thing().area() + marked(x) + shifted(x) + len(found("b")) + HALF(x) + ("x" in FLAGS) + counted(x) + taken(x)

def idle(x):
    return x
"""


def digest(project: Any, parts: str, user: str = USER, name: str = "work") -> str:
    project.write(parts=parts, user=user)
    return follow(getattr(project.load("user"), name)).digest


def test_what_a_function_does_not_use_does_not_count(project: Any) -> None:
    assert digest(project, HELPERS, name="idle") == digest(
        project, HELPERS.replace("LIMIT = 3", "LIMIT = 9"), name="idle"
    )


def test_the_digest_is_the_same_in_another_process(project: Any) -> None:
    import os
    import subprocess
    import sys

    project.write(parts=HELPERS, user=USER)
    code = "import user; from motet.workflow.code.follow import follow; print(follow(user.work).digest)"
    found = {
        subprocess.run(
            [sys.executable, "-B", "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(project.folder), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


class Scaled:
    def __init__(self, by: Any) -> None:
        self.by = by

    def times(self, x: Any) -> Any:
        return x * self.by

    __call__ = times


@pytest.mark.parametrize(
    "made",
    [
        lambda by: {1: by}.get,
        lambda by: Scaled(by).times,
        Scaled,
        lambda by: functools.partial(pow, by),
        lambda by: functools.partial(max, k=by),
    ],
    ids=["a method of a dict", "a bound method", "an instance that is called", "a partial", "a keyword of a partial"],
)
def test_what_is_called_counts_with_what_it_holds(made: Any) -> None:
    assert follow(made(2)).digest == follow(made(2)).digest
    assert follow(made(2)).digest != follow(made(3)).digest


def test_closures_of_one_function_have_digests_of_their_own(project: Any) -> None:
    project.write(parts=HELPERS)
    parts = project.load("parts")
    assert follow(parts.made(1)).digest != follow(parts.made(2)).digest
    assert follow(parts.made(1)).digest == follow(parts.made(1)).digest


def test_imports_inside_functions_count_with_their_modules_without_being_loaded(project: Any) -> None:
    user = "def work(x):\n    import later\n    return later.f(x)\n"
    later = "import deeper\ndef f(x): return deeper.g(x)\n"
    deeper = "def g(x): return x\n"
    project.write(user=user, later=later, deeper=deeper)
    first = follow(project.load("user").work)
    assert {"module later", "module deeper"} <= set(first.parts)
    project.write(deeper="def g(x): return -x\n")
    import sys

    assert follow(project.load("user").work).digest != first.digest
    assert "later" not in sys.modules


def test_registries_of_functions_are_followed(project: Any) -> None:
    user = "import parts\nCHOICES = {'d': parts.deep, 'c': [parts.clean]}\ndef work(x): return CHOICES['d'](x)\n"
    assert digest(project, HELPERS, user) != digest(project, HELPERS.replace("deep(x) * by", "deep(x)"), user)
    assert digest(project, HELPERS, user) == digest(project, HELPERS.replace("return x - 1", "return x - 2"), user)


def test_dataclasses_and_enumerations_count(project: Any) -> None:
    text = (
        "import enum\nfrom dataclasses import dataclass, field\n"
        "class Kind(enum.Enum):\n    A = 1\n    B = 2\n    def told(self): return self.name\n"
        "@dataclass(frozen=True)\nclass Box:\n    size: int = 3\n    tags: list = field(default_factory=list)\n"
        "def work(x): return Box(x).size, Kind.A.told()\n"
    )
    project.write(user=text)
    found = follow(project.load("user").work)
    assert not [name for name in found.parts if name.startswith("module ")]
    for before, after in (
        ("size: int = 3", "size: int = 4"),
        ("B = 2", "B = 3"),
        ("self.name", "self.value"),
        ("list)", "dict)"),
    ):
        project.write(user=text.replace(before, after))
        assert follow(project.load("user").work).digest != found.digest, before


def test_packages_count_by_their_versions() -> None:
    import numpy as np

    def work(x: Any) -> Any:
        return np.asarray(x)

    assert follow(work).pins["numpy"] == np.__version__
    assert "python" in follow(functools.partial).pins


NUMBERS = st.integers(-3, 3)


@given(first=st.tuples(NUMBERS, NUMBERS, NUMBERS), second=st.tuples(NUMBERS, NUMBERS, NUMBERS))
def test_equal_programs_have_equal_digests_and_others_do_not(first: Any, second: Any) -> None:
    """Constant, closure value and default are drawn; the digest is equal just where all three are."""

    def program(constant: int, held: int, default: int) -> Any:
        space: dict[str, Any] = {"__name__": "drawn", "LIMIT": constant}
        exec(f"def helper(x, by={default}): return x * by + LIMIT", space)
        exec("def make(held):\n def work(x): return helper(x) + held\n return work", space)
        return space["make"](held)

    import sys
    import types

    sys.modules["drawn"] = types.ModuleType("drawn")
    try:
        assert (follow(program(*first)).digest == follow(program(*second)).digest) == (first == second)
    finally:
        del sys.modules["drawn"]
