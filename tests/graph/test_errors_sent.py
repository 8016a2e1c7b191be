"""Errors go to other processes and come back as they were: their texts, attributes, notes and causes."""

import copy
import importlib
import inspect
import pickle
import pkgutil
from contextlib import suppress
from typing import Any

import cloudpickle
import numpy as np
import pytest

import motet
from motet.errors import CauseText, Failure, GraphError, InputError, ModelLoadError, MotetError, RowErrors
from motet.models.remote import RemoteError
from motet.runtime.replicas.process.remote_errors import as_raised, raised_again


def _import_all():
    for each in pkgutil.walk_packages(motet.__path__, "motet."):
        if not each.name.endswith("__main__"):
            with suppress(ImportError):  # an extra that is not installed
                importlib.import_module(each.name)


def _classes(kind=MotetError):
    found = {kind}
    for each in kind.__subclasses__():
        found.update(_classes(each))
    return sorted(found, key=lambda each: each.__qualname__)


_import_all()
GIVEN: dict[str, Any] = {
    "what": "it is wrong", "kind": "column", "name": "agee", "known": ["age", "income"], "loop": ["a", "b", "a"],
    "package": "torch", "extra": "torch", "needed_for": "a TorchScript model",
    "failures": [Failure(1, "node", "model", "1", "ValueError", "no")], "columns": {"o": np.arange(3)}, "ids": [0, 2, 3],
}  # fmt: skip
MORE = {"where": "node 'top'", "hint": "mend it", "retry_after_s": 2.5}
WAYS: list[Any] = [copy.copy, copy.deepcopy, lambda value: pickle.loads(cloudpickle.dumps(value))]
WAYS += [lambda value, protocol=protocol: pickle.loads(pickle.dumps(value, protocol)) for protocol in range(6)]


def _made(kind):
    wanted = inspect.signature(kind).parameters.values()
    given = {**GIVEN, **MORE}
    return kind(**{each.name: given[each.name] for each in wanted if each.name in given})


def _equal(first, second):
    assert type(second) is type(first)
    assert str(second) == str(first)
    assert second.args == first.args
    assert sorted(vars(second)) == sorted(vars(first))
    for name, value in vars(first).items():
        if name == "columns":
            assert {each: array.tolist() for each, array in value.items()} == {
                each: array.tolist() for each, array in vars(second)[name].items()
            }
        else:
            assert vars(second)[name] == value
    assert second.__suppress_context__ == first.__suppress_context__


@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: kind.__qualname__)
def test_every_class_of_errors_comes_back_as_it_was(kind):
    error = _made(kind)
    error.add_note("seen on Monday")
    error.__cause__ = KeyError("x")
    for way in WAYS:
        back = way(error)
        _equal(error, back)
        assert back.__notes__ == ["seen on Monday"]
        assert (type(back.__cause__), back.__cause__.args) == (KeyError, ("x",))
        assert (back.status, back.retryable, back.retry_after_s) == (error.status, error.retryable, error.retry_after_s)


def test_copies_share_the_cause():
    error = GraphError("no")
    error.__cause__ = KeyError("x")
    assert copy.copy(error).__cause__ is copy.deepcopy(error).__cause__ is error.__cause__


def test_copies_share_the_exceptions_of_rows_which_do_not_travel():
    raised = {1: NeedsTwo("one", "two")}
    error = RowErrors(GIVEN["failures"], {"o": np.arange(1)}, [0], raised)
    assert copy.copy(error).exceptions == copy.deepcopy(error).exceptions == raised
    assert pickle.loads(pickle.dumps(error)).exceptions == {}


def test_the_causes_of_causes_come_too():
    error, second, third = ModelLoadError("no"), ValueError("bad", 3), InputError("worse", where="there")
    third.__cause__ = OSError(2, "gone")
    second.__cause__ = third
    error.__cause__ = second
    back = pickle.loads(pickle.dumps(error))
    assert back.__cause__.args == ("bad", 3)
    assert str(back.__cause__.__cause__) == "there: worse"
    assert back.__cause__.__cause__.__cause__.errno == 2


class NeedsTwo(Exception):
    """Pickles, and cannot be made again: its constructor takes more than it keeps."""

    def __init__(self, first, second):
        super().__init__(first)


class NoText(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def _unsendable():
    return ValueError("with a", lambda: None)


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (NeedsTwo("one", "two"), "NeedsTwo: one"),
        (ValueError("a lock", type("Local", (), {})()), "ValueError: ('a lock', "),
        (type("Local", (Exception,), {})("mine"), "Local: mine"),
    ],
    ids=["constructor", "value", "class"],
)
def test_a_cause_that_cannot_be_sent_becomes_its_text(cause, text):
    error = RowErrors(GIVEN["failures"], {"o": np.arange(1)}, [0])
    cause.__cause__ = KeyError("below")
    error.__cause__ = cause
    back = pickle.loads(pickle.dumps(error))
    assert type(back.__cause__) is CauseText
    assert str(back.__cause__).startswith(text)
    assert back.__cause__.__cause__.args == ("below",)
    again = pickle.loads(pickle.dumps(back))
    assert str(again.__cause__) == str(back.__cause__)


def test_a_cause_without_a_text_is_named():
    error = GraphError("no")
    error.__cause__ = NoText(lambda: None)
    assert str(pickle.loads(pickle.dumps(error)).__cause__) == "NoText"


def test_errors_below_motets_own_are_sent_too():
    back = pickle.loads(pickle.dumps(RemoteError("it is gone", "look there")))
    assert (str(back), back.hint) == ("it is gone", "look there")


def test_an_exception_of_a_replicas_process_is_sent_on():
    local = type("Local", (ValueError,), {"__module__": "nowhere.known"})
    error = raised_again(as_raised(local("bad row")))
    back = pickle.loads(pickle.dumps(error))
    assert (type(back).__name__, type(back).__module__, str(back)) == ("Local", "nowhere.known", "bad row")
    assert isinstance(back, ValueError)
