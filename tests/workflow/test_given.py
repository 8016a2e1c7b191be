"""What steps are given: values of their own, or such as nobody can change; and no more than they take."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, namedtuple
from typing import Any

import pytest

import motet as mt
from motet.workflow.memo.artifacts import Artifacts
from workflow import flow_steps


@pytest.mark.parametrize("kind", ["frame", "tensor", "counter", "bytearray"])
def test_what_a_step_changes_is_its_own(kind: str) -> None:
    """Else what others are given would not be what they count by, and wrong results would be kept."""
    make = {
        "frame": lambda: pytest.importorskip("pandas").DataFrame({"a": [1, 2]}),
        "tensor": lambda: pytest.importorskip("torch").zeros(2),
        "counter": lambda: Counter("aa"),
        "bytearray": lambda: bytearray(b"aa"),
    }[kind]
    change = {
        "frame": lambda x: x.insert(0, "b", 3),
        "tensor": lambda x: x.add_(1),
        "counter": lambda x: x.clear(),
        "bytearray": lambda x: x.clear(),
    }[kind]
    made = make()

    @mt.step
    def giver() -> Any:
        return made

    @mt.step
    def greedy(data: Any) -> None:
        change(data)

    @mt.step
    def text(data: Any) -> Any:
        return str(data)

    @mt.workflow
    def flow() -> Any:
        data = giver()
        return text(data), text(data).after(greedy(data))

    run = flow().run()
    assert run.output == (str(make()), str(make()))
    assert str(made) == str(make())


class Twice(namedtuple("Twice", "left right")):
    """Its constructor takes other things than it has."""

    def __new__(cls, both: Any) -> Any:
        return super().__new__(cls, both, both)


@pytest.mark.parametrize("process", [False, True])
def test_tuples_of_ones_own_are_what_they_were(process: bool) -> None:
    @mt.workflow
    def flow() -> Any:
        step = flow_steps.kind_apart if process else flow_steps.kind
        return step(time.gmtime(0)), step((1, 2)), step(OrderedDict(a=1))

    assert flow().run().output == ("struct_time", "tuple", "OrderedDict")


def test_named_tuples_are_filled_without_their_constructor() -> None:
    @mt.step
    def one() -> Any:
        return 1

    @mt.step
    def told(*, pair: Any) -> Any:
        return type(pair).__name__, tuple(pair)

    @mt.workflow
    def flow() -> Any:
        return told(pair=Twice(3)), told(pair=Twice(one()))

    assert flow().run().output == (("Twice", (3, 3)), ("Twice", (1, 1)))


class Unreadable(Exception):
    """Can be pickled, and not read again, as errors that take several arguments."""

    def __init__(self, code: Any, text: Any) -> None:
        super().__init__(text)


def test_what_cannot_be_read_again_is_not_kept() -> None:
    @mt.step(cache=True)
    def make() -> Any:
        return Unreadable(3, "text")

    @mt.step
    def text(error: Any) -> Any:
        return str(error)

    @mt.workflow
    def flow() -> Any:
        return text(make())

    for _ in range(2):
        run = flow().run()
        assert run.output == "text"
        assert run.step("make").state == "done"


def test_a_part_of_a_result_is_read_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    plain = Artifacts._read

    def noted(self: Any, ref: Any) -> Any:
        read.append(ref.codec)
        return plain(self, ref)

    monkeypatch.setattr(Artifacts, "_read", noted)

    @mt.step
    def make() -> Any:
        return {"model": Counter("aa"), "scores": [{"accuracy": 0.9}]}

    @mt.step
    def same(x: Any) -> Any:
        return x

    @mt.workflow
    def flow() -> Any:
        made = make()
        return same(made["scores"][0]["accuracy"]), same(made["scores"][0])

    assert flow().run().output == (0.9, {"accuracy": 0.9})
    assert read == []
