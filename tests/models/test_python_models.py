from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from motet.errors import AnswerError, ModelLoadError, UnknownNameError
from motet.models import handler_by_name
from motet.models.results import by_name

handler = handler_by_name("python")
CODE = """
from typing import NamedTuple
import numpy as np
from motet.types import ColumnType, Signature, returns

closed = []

class Pair(NamedTuple):
    low: np.ndarray
    high: np.ndarray

@returns("float32[2]")
def double(x):
    return x * 2

@returns(lambda x, by: x.with_dtype("float64"))
def scale(x, by):
    if by < 0:
        raise ValueError("by is below 0")
    return x / by

def spread(x, width=1):
    return Pair(x - width, x + width)

def both(a, b):
    return {"sum": a + b, "difference": a - b}

def nothing(x):
    return None

def ragged(x):
    return [np.ones(n) for n in x]

def anything(*columns):
    return columns[0]

class Adder:
    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return x + self.by

    def close(self):
        closed.append(self.by)

class Signed:
    signature = Signature({"x": ColumnType("int64")}, {"y": ColumnType("int64")}, fixed_rows=2)

    def __call__(self, x):
        return x

class Silent:
    pass

class Outer:
    Inner = Adder

three = Adder(3)
number = 3
"""


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "choir").mkdir()
    (tmp_path / "choir" / "__init__.py").write_text("")
    (tmp_path / "choir" / "voices.py").write_text(CODE)
    (tmp_path / "choir" / "broken.py").write_text("1 / 0")
    (tmp_path / "choir" / "needy.py").write_text("import no_such_package_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "choir"]:
        del sys.modules[name]


def voices() -> ModuleType:
    return sys.modules["choir.voices"]


X = np.array([1.0, 2.0])


def test_a_function_is_called_with_columns_and_options(source: Any) -> None:
    given = source("choir.voices:scale", {"x": "float32"}, options={"by": 2})
    assert str(handler.signature(given)) == "(x: float32) -> (output: float64)"
    assert handler.load(given)({"x": X})["output"].tolist() == [0.5, 1.0]
    assert str(handler.signature(source("choir.voices:double"))) == "(x: any) -> (output: float32[2])"


def test_a_class_is_made_with_options_and_closed(source: Any) -> None:
    given = source("choir.voices:Adder", options={"by": 5})
    assert str(handler.signature(given)) == "(x: any) -> (output: any)"
    model = handler.load(given)
    assert model({"x": X})["output"].tolist() == [6, 7]
    model.close()
    assert voices().closed == [5]
    assert handler.load(source("choir.voices:Outer.Inner", options={"by": 1}))({"x": X})["output"].tolist() == [2, 3]


def test_an_instance_is_called(source: Any) -> None:
    assert str(handler.signature(source("choir.voices:three"))) == "(x: any) -> (output: any)"
    assert handler.load(source("choir.voices:three"))({"x": X})["output"].tolist() == [4, 5]
    with pytest.raises(
        ModelLoadError, match="is made already, so it takes no options; got by\n  hint: name its class instead"
    ):
        handler.load(source("choir.voices:three", options={"by": 1}))


def test_a_signature_attribute_says_everything(source: Any) -> None:
    signature = handler.signature(source("choir.voices:Signed"))
    assert (str(signature), signature.fixed_rows) == ("(x: int64) -> (y: int64)", 2)


def test_outputs_come_by_name_or_in_order(source: Any) -> None:
    outputs = {"high": "float64", "low": "float64"}
    answers = handler.load(source("choir.voices:spread", outputs=outputs, options={"width": 3}))({"x": X})
    assert {name: value.tolist() for name, value in answers.items()} == {"high": [4, 5], "low": [-2, -1]}
    given = source("choir.voices:both", outputs={"difference": "float64"})
    assert handler.load(given)({"a": X, "b": X})["difference"].tolist() == [0, 0]
    rows = handler.load(source("choir.voices:ragged"))({"x": np.array([1, 3])})["output"]
    assert [len(row) for row in rows] == [1, 3]


def test_inputs_come_in_declared_order_or_by_the_parameters_names(source: Any) -> None:
    columns = {"a": X, "b": X * 10, "c": X}
    for inputs in (
        {"a": "float64", "b": "float64"},
        {"b": "float64", "a": "float64"},
        {"c": "float64", "b": "float64"},
    ):
        given = source("choir.voices:both", inputs, {"sum": "float64", "difference": "float64"})
        assert handler.load(given)(columns)["difference"].tolist() == [-9, -18]
    with pytest.raises(
        ModelLoadError, match="its parameters do not say what it takes\n  hint: declare the model's inputs"
    ):
        handler.signature(source("choir.voices:anything"))
    assert handler.load(source("choir.voices:anything", {"x": "float64"}))({"x": X})["output"].tolist() == [1, 2]


def test_what_it_returns_must_be_what_is_declared(source: Any) -> None:
    two = {"x": "float64", "y": "float64"}
    with pytest.raises(
        AnswerError,
        match="it returned one ndarray where these outputs are declared: x, y\n  hint: return an array",
    ):
        handler.load(source("choir.voices:double", outputs=two))({"x": X})
    with pytest.raises(AnswerError, match=r"model 'm' \(choir\.voices:nothing\): it returned one NoneType"):
        handler.load(source("choir.voices:nothing"))({"x": X})
    with pytest.raises(
        AnswerError,
        match="unknown output in what it returned: 'output'; known: sum, difference\n  hint: declare under",
    ):
        handler.load(source("choir.voices:both"))({"a": X, "b": X})
    with pytest.raises(
        AnswerError, match="it returned 3 values where 2 outputs are declared: x, y\n  hint: declare its outputs"
    ):
        by_name((1, 2, 3), ["x", "y"], "m")


def test_what_cannot_be_imported_is_named_with_its_neighbours(source: Any, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError) as unknown:
        handler.signature(source("choir.voices:dubble"))
    assert (
        f"unknown name in choir.voices ({tmp_path / 'choir' / 'voices.py'}) 'dubble'; did you mean 'double'? known: "
        in str(unknown.value)
    )
    with pytest.raises(ModelLoadError) as caught:
        handler.signature(source("choir.voice:double"))
    assert str(caught.value) == (
        "model 'm' (choir.voice:double): unknown module 'voice' in package choir; did you mean 'voices'? "
        "known: broken, needy, voices\n"
        "  hint: make it importable: install its package, or run where it is, or set PYTHONPATH"
    )
    with pytest.raises(ModelLoadError, match="unknown module 'choirr'; did you mean 'choir'"):
        handler.signature(source("choirr.voices:double"))


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("choir.broken:x", "importing choir.broken failed: ZeroDivisionError: division by zero"),
        ("choir.needy:x", "importing choir.needy failed: it needs the module 'no_such_package_at_all'"),
        ("choir.voices", "it names no object in a module\n  hint: write python:pkg.mod:Name"),
        ("choir.voices:number", "choir.voices:number is of type int, which cannot be called"),
    ],
)
def test_what_cannot_be_used_says_why(source: Any, location: str, message: str) -> None:
    with pytest.raises(ModelLoadError, match=message):
        handler.signature(source(location))


def test_what_cannot_be_made_says_where_it_is(source: Any) -> None:
    with pytest.raises(
        ModelLoadError, match=r"Adder\(bye=1\) failed: TypeError: .*\n  hint: it is in .*voices\.py:\d+; its options"
    ):
        handler.load(source("choir.voices:Adder", options={"bye": 1}))
    secret = {"api_key": "s3cret", "at": ["http://me:s3cret@host"], "headers": {"Authorization": "s3cret"}, "n": 1}
    said = r"Adder\(api_key='\*\*\*', at=\['http://me:\*\*\*@host'\], headers={'Authorization': '\*\*\*'}, n=1\) failed"
    with pytest.raises(ModelLoadError, match=said):
        handler.load(source("choir.voices:Adder", options=secret))
    with pytest.raises(ModelLoadError, match="a Silent cannot be called\n  hint: give it a __call__ in"):
        handler.load(source("choir.voices:Silent", {"x": "float64"}))
    with pytest.raises(ModelLoadError, match="it refuses its inputs: "):
        handler.signature(source("choir.voices:scale", {"x": "float32", "y": "float32"}, options={"by": 2}))
