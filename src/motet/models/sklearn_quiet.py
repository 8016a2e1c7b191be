"""scikit-learn within our calls: no warnings that are no news, and the program's filters of warnings left alone.

Two of its functions are replaced by ones that do as it does for the program's own calls. Within ours

- estimators inside others that were fitted with names are given arrays, and do not warn of it;
- a task of `Parallel`, also of one job, does not set the filters of the process and put them back: of threads that do so at
  the same time some leave them empty, and then each task warns, and the program's own filters are gone. There is no setting
  that spares it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any

__all__ = ["quiet"]

_within: ContextVar[bool] = ContextVar("motet_within_sklearn", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    """What scikit-learn does meanwhile is within a call of ours, in threads that it begins too."""
    _install()
    token = _within.set(True)
    try:
        yield
    finally:
        _within.reset(token)


@cache
def _install() -> None:
    validation = importlib.import_module("sklearn.utils.validation")
    check = getattr(validation, "_check_feature_names", None)
    if check is not None:
        validation._check_feature_names = _checked(check, validation._get_feature_names)  # type: ignore[attr-defined]
    tasks: Any = getattr(importlib.import_module("sklearn.utils.parallel"), "_FuncWrapper", None)
    if tasks is not None:
        tasks.__init__, tasks.__call__ = _marked(tasks.__init__), _called(tasks.__call__)


def _checked(check: Callable[..., Any], names_of: Callable[[Any], Any]) -> Callable[..., Any]:
    @wraps(check)
    def checked(estimator: Any, values: Any, *, reset: bool) -> Any:
        fitted = getattr(estimator, "feature_names_in_", None)
        if not reset and _within.get() and (fitted is None) != (names_of(values) is None):
            return None
        return check(estimator, values, reset=reset)

    return checked


def _marked(make: Callable[..., None]) -> Callable[..., None]:
    @wraps(make)
    def marked(task: Any, function: Any) -> None:
        make(task, function)
        task.is_of_motet = _within.get()

    return marked


def _called(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def called(task: Any, *args: Any, **kwargs: Any) -> Any:
        if not (getattr(task, "is_of_motet", False) or _within.get()):
            return call(task, *args, **kwargs)
        token = _within.set(True)
        try:
            with importlib.import_module("sklearn").config_context(**getattr(task, "config", {})):
                return task.function(*args, **kwargs)
        finally:
            _within.reset(token)

    return called
