"""Values by what they hold: the same key for what holds the same, another for all else, and back as they were."""

from __future__ import annotations

import collections
import copy
import enum
import functools
import itertools
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from motet.workflow.memo.artifacts import Artifacts


class Held:
    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)

    def __eq__(self, other: Any) -> Any:
        return type(other) is type(self) and vars(other) == vars(self)


class Slots:
    __slots__ = ("tags",)

    def __init__(self, tags: Any) -> None:
        self.tags = tags


class Tags(set):
    pass


class Way(enum.Flag):
    A = 1
    B = 2


class Bits(enum.IntFlag):
    A = 1
    B = 2


class Doubled(collections.namedtuple("Doubled", "one two")):
    """A tuple whose constructor takes something else than its fields."""

    __slots__ = ()

    def __new__(cls, one: Any) -> Any:
        return super().__new__(cls, one, one * 2)


class Marked(collections.namedtuple("Marked", "one")):
    """A tuple that holds more than its fields."""


def back(tmp_path: Path, value: Any) -> Any:
    """A value as the next step gets it, as a later run gets it, and its digest."""
    artifacts = Artifacts(tmp_path)
    kept, leaves = artifacts.keep(value)
    return artifacts.load(kept, leaves), artifacts.load(kept), kept


def digest(tmp_path: Path, value: Any) -> Any:
    return back(tmp_path, value)[2].digest


def told(value: Any) -> Any:
    return (type(value), sorted(value)) if isinstance(value, (set, frozenset)) else repr(value)


def dated(**about: Any) -> Any:
    frame = pd.DataFrame({"v": range(3)}, index=pd.date_range("2024", periods=3, freq="D"))
    frame.attrs.update(about)
    return frame


def objects(*values: Any) -> Any:
    return pd.DataFrame({"v": pd.Series(list(values), dtype=object)})


def timed_columns() -> Any:
    return pd.DataFrame([[1, 2, 3]], columns=pd.timedelta_range("1h", periods=3, freq="h"))


FRAMES = {
    "freq": dated(),
    "no freq": dated().set_axis(pd.DatetimeIndex(list(dated().index))),
    "freq of columns": timed_columns(),
    "no freq of columns": timed_columns().set_axis(pd.TimedeltaIndex(list(timed_columns().columns)), axis=1),
    "attrs with an array": dated(w=np.arange(3)),
    "attrs with another array": dated(w=np.array([0, 1, 3])),
    "attrs with a time": dated(w=pd.Timestamp("2024")),
    "attrs with a tuple": dated(w=(1, 2)),
    "attrs with a list": dated(w=[1, 2]),
    "attrs with a number as key": dated(w={1: "a"}),
    "attrs with a text as key": dated(w={"1": "a"}),
    "none in a dict": objects({"c": None}, {"c": 3}),
    "widths in a dict": objects({"c": 1}, {"c": 2.0}),
    "floats in a dict": objects({"c": 1.0}, {"c": 2.0}),
    "missing in a dict": objects({}, {"c": 3}),
    "bytes": objects(b"x"),
    "bytearray": objects(bytearray(b"x")),
    "decimals of two scales": objects(Decimal("1.0"), Decimal("1.00")),
    "decimals of one scale": objects(Decimal("1.00"), Decimal("1.00")),
    "lists": objects([1], [2]),
    "tuples": objects((1,), (2,)),
    "sets": objects({"a", "b"}),
    "frozensets": objects(frozenset({"a", "b"})),
    "arrays": objects(np.arange(2), np.arange(3)),
    "true": objects(True, False),
    "one": objects(1, 0),
    "no duplicate labels": pd.DataFrame({"v": [1]}).set_flags(allows_duplicate_labels=False),
    "duplicate labels": pd.DataFrame({"v": [1]}),
    "a range": pd.DataFrame({"v": [1, 2]}),
    "an index of numbers": pd.DataFrame({"v": [1, 2]}, index=pd.Index([0, 1])),
    "a narrow index": pd.DataFrame({"v": [1, 2]}, index=pd.Index([0, 1], dtype="int32")),
    "a named index": pd.DataFrame({"v": [1, 2]}, index=pd.RangeIndex(2, name="i")),
    "an index named by a number": pd.DataFrame({"v": [1, 2]}, index=pd.RangeIndex(2, name=1)),
    "categories": pd.DataFrame({"v": pd.Categorical(["a"], ["a", "b"])}),
    "other categories": pd.DataFrame({"v": pd.Categorical(["a"], ["b", "a"])}),
    "ordered categories": pd.DataFrame({"v": pd.Categorical(["a"], ["a", "b"], ordered=True)}),
    "strings": pd.DataFrame({"v": pd.array(["a", None], dtype="string")}),
    "objects": objects("a", None),
    "objects with nan": objects("a", np.nan),
    "a multiindex": pd.DataFrame({"v": [1, 2]}, index=pd.MultiIndex.from_product([["a"], [1, 2]], names=["x", None])),
    "intervals": pd.DataFrame({"v": [1, 2]}, index=pd.interval_range(0, 2)),
    "periods": pd.DataFrame({"v": [1, 2]}, index=pd.period_range("2024", periods=2, freq="M")),
    "nullable": pd.DataFrame({"v": pd.array([1, None], dtype="Int64")}),
    "zones": pd.DataFrame({"v": pd.date_range("2024", periods=2, tz="Europe/Berlin")}),
    "nanoseconds": pd.DataFrame({"v": pd.to_datetime(["2024"]).astype("datetime64[ns]")}),
    "seconds": pd.DataFrame({"v": pd.to_datetime(["2024"]).astype("datetime64[s]")}),
    "sparse": pd.DataFrame({"v": pd.arrays.SparseArray([0, 1])}),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.filterwarnings("ignore:Could not serialize pd.DataFrame.attrs:UserWarning")
def test_frames_come_back_with_all_that_they_have(tmp_path: Path, name: Any) -> None:
    frame = FRAMES[name]
    for found in back(tmp_path, frame)[:2]:
        pd.testing.assert_frame_equal(found, frame, check_freq=True, check_flags=True, check_column_type="exact")
        for axis, other in zip(found.axes, frame.axes, strict=True):
            assert (type(axis), getattr(axis, "freq", None)) == (type(other), getattr(other, "freq", None))
            assert repr(axis.names) == repr(other.names)
        assert repr(found.attrs) == repr(frame.attrs)
        assert [list(map(told, found[each])) for each in found] == [list(map(told, frame[each])) for each in frame]


@pytest.mark.filterwarnings("ignore:Could not serialize pd.DataFrame.attrs:UserWarning")
def test_frames_that_differ_have_digests_that_differ(tmp_path: Path) -> None:
    digests = {name: digest(tmp_path, frame) for name, frame in FRAMES.items()}
    for (one, first), (other, second) in itertools.combinations(digests.items(), 2):
        assert first != second, (one, other)


shared = [1]
ALIKE = {
    "interned strings": (Held(a="x y", b="x y"), Held(a="x y", b="".join(["x ", "y"]))),
    "a shared list": (Held(a=shared, b=shared), Held(a=[1], b=[1])),
    "a copy": (Held(a=[{"b": {1, 2}}]), copy.deepcopy(Held(a=[{"b": {2, 1}}]))),
}


@pytest.mark.parametrize("name", ["interned strings", "a shared list", "a copy"])
def test_identity_is_no_content(tmp_path: Path, name: str) -> None:
    one, other = ALIKE[name]
    assert digest(tmp_path, one) == digest(tmp_path, other)


UNLIKE = [
    Held(a=1), Held(a=True), Held(a=1.0), Held(b=1), Held(a={1}), Held(a=frozenset({1})), Held(a=Tags({1})), Held(a=[1]),
    Held(a=(1,)), Held(a="1"), Held(a=b"1"), Held(a=bytearray(b"1")), Held(a={1, 2}), Held(a={1: 2}), Held(a=0.0),
    Held(a=-0.0), Held(a=None), Held(a=Held(a=1)), Held(a={"1"}), Held(a={b"1"}), Held(a={(1,)}), Held(a={1.0}),
    Held(a={frozenset({1})}), Held(a=Decimal("1")), Held(a=Decimal("1.0")), Slots({1}), Slots([1]), collections.deque([1]),
    collections.Counter("a"), collections.defaultdict(int, a=1), collections.OrderedDict(a=1), {"a": 1}, Way.A, Way.B,
    Way.A | Way.B, Way(0), Bits.A | Bits.B, Bits(8), Bits.A, np.ma.array([1, 2], mask=[False, True]),
    np.ma.array([1, 2], mask=[True, False]), functools.partial(int, base=2),
]  # fmt: skip


def test_what_differs_has_digests_that_differ(tmp_path: Path) -> None:
    digests = [digest(tmp_path, value) for value in UNLIKE]
    for (one, first), (other, second) in itertools.combinations(zip(UNLIKE, digests, strict=True), 2):
        assert first != second, (one, other)


@pytest.mark.parametrize(
    "value", [Way.A | Way.B, Way(0), Bits.A | Bits.B, Bits(8), Bits.A, {Way.A: [Way.A | Way.B]}], ids=repr
)
def test_flags_come_back(tmp_path: Path, value: Any) -> None:
    for found in back(tmp_path, value)[:2]:
        assert (found, type(found)) == (value, type(value))


def test_what_holds_itself_or_much_of_the_same_ends(tmp_path: Path) -> None:
    circle = Held(a=1)
    circle.me = circle  # type: ignore[attr-defined]
    assert digest(tmp_path, circle) == digest(tmp_path, circle)
    much = Held(a=[1])
    for _ in range(100):
        much = Held(a=much, b=much)
    assert digest(tmp_path, much) == digest(tmp_path, much)
    large = np.arange(100_000)
    assert digest(tmp_path, Held(a=[large] * 1000)) != digest(tmp_path, Held(a=[large + 1] * 1000))


def test_ordered_dicts_stay_so(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = torch.nn.Linear(2, 2).state_dict()
    found, _, kept = back(tmp_path, state)
    assert type(found) is type(state) is collections.OrderedDict
    assert (list(found), found._metadata) == (list(state), state._metadata)  # type: ignore[attr-defined]
    assert all(torch.equal(found[name], state[name]) for name in state)
    assert kept.formats == ("safetensors",)
    assert digest(tmp_path, state) != digest(tmp_path, dict(state))


def test_modules_of_torch_are_known_by_their_numbers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    def made(seed: Any, **about: Any) -> Any:
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.1))
        model.about = about
        return model

    first = digest(tmp_path, made(1))
    assert digest(tmp_path, made(1)) == digest(tmp_path, back(tmp_path, made(1))[1]) == first
    assert (
        len({first, digest(tmp_path, made(2)), digest(tmp_path, made(1, a=1)), digest(tmp_path, made(1).eval())}) == 4
    )


def test_tables_with_chunks_of_other_dictionaries_come_back(tmp_path: Path) -> None:
    chunks = [pa.array(each).dictionary_encode() for each in (["a", "b"], ["c"], ["b", "c"])]
    table = pa.table({"v": pa.chunked_array(chunks)})
    for found in back(tmp_path, table)[:2]:
        assert found.to_pydict() == table.to_pydict()
        assert found.schema == table.schema


def test_the_same_values_have_one_digest_in_every_process(tmp_path: Path) -> None:
    program = (
        "import functools, sys, numpy as np, pandas as pd\n"
        "from test_same_values import Held, Slots, Tags, digest\n"
        "s = {'a', 'b', 'c', 'd', 'e'}\n"
        "for value in (Held(t=s), Held(t=frozenset(s)), Slots(s), Tags(s), functools.partial(print, s), Held(t={1: [s]}),\n"
        "    Held(t={frozenset(s), 'x'}), pd.DataFrame({'v': [s]}), pd.Series([s]), np.array([s, None]), Held(t=Tags(s))):\n"
        "    print(digest(sys.argv[1], value))\n"
    ).replace("digest(sys.argv[1]", "digest(__import__('pathlib').Path(sys.argv[1])")

    def run(seed: Any) -> Any:
        env = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path]),
        }
        command = [sys.executable, "-c", program, str(tmp_path)]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    first = run("1")
    assert len(set(first.split())) == 11
    assert run("2") == run("3") == first


def test_named_tuples_come_back_with_all_that_is_in_them(tmp_path: Path) -> None:
    marked = Marked(1)
    vars(marked)["mark"] = "kept"
    for value in (Doubled(3), Doubled("a")._replace(two="b"), Marked(2), marked):
        for found in back(tmp_path, value)[:2]:
            assert (type(found), tuple(found), vars(value) if value is marked else {}) == (
                type(value), tuple(value), getattr(found, "__dict__", {}),
            )  # fmt: skip
