"""What functions, classes and wrappers are made of."""

from __future__ import annotations

import enum
import functools
import inspect
import sys
import types
from typing import Any

__all__ = [
    "annotated",
    "attribute",
    "holds",
    "is_found",
    "is_full",
    "is_made",
    "members_of",
    "module_of",
    "name_of",
    "package_of",
    "pydantic_fields",
    "wrapped",
]

_HEAP_TYPE = 1 << 9
_SKIPPED = frozenset(
    (
        "__module__",
        "__qualname__",
        "__doc__",
        "__dict__",
        "__weakref__",
        "__firstlineno__",
        "__static_attributes__",
        "__annotations_cache__",
        "__parameters__",
        "__orig_bases__",
        "__abstractmethods__",
        "_abc_impl",
        "__hash__",
        "__slotnames__",
        "__annotate_func__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__conditional_annotations__",
        "__annotations__",
        "_value2member_map_",
    )
)
"""Names in a class that say nothing of its content."""


def wrapped(thing: Any) -> tuple[Any, ...] | None:
    """The functions and values that a wrapper of Python's or ours is made of; None for what is no wrapper."""
    from motet.workflow.step import Step
    from motet.workflow.wiring import Workflow

    if isinstance(thing, (Step, Workflow)):
        return (thing.function,)
    if isinstance(thing, types.MethodType):
        return (thing.__func__, thing.__self__)
    if isinstance(thing, functools.partial):
        return (thing.func, thing.args, thing.keywords)
    if isinstance(thing, (classmethod, staticmethod)):
        return (thing.__func__,)
    if isinstance(thing, property):
        return (thing.fget, thing.fset, thing.fdel)
    if isinstance(thing, functools.cached_property):
        return (thing.func,)
    if type(thing).__name__ == "_lru_cache_wrapper":
        return (thing.__wrapped__,)
    return None


def module_of(thing: Any) -> str:
    """The module whose globals a function has, or that a class is defined in."""
    space = getattr(thing, "__globals__", None)
    return str((space.get("__name__") if space is not None else thing.__module__) or "")


def package_of(module: str) -> str:
    """The package that a module's own imports count from."""
    found = sys.modules.get(module)
    return str(getattr(found, "__package__", None) or "")


def attribute(module: str, path: str) -> Any:
    """What a loaded module has under a path of names; None where there is none."""
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def is_found(thing: Any) -> bool:
    """Whether a function or class is what its module has under its name, so that the name says which it is."""
    return attribute(str(thing.__module__ or ""), thing.__qualname__) is thing


def is_made(kind: type) -> bool:
    """Whether a class was made at run time and its module does not have it: only what it is made of tells it apart."""
    return bool(kind.__flags__ & _HEAP_TYPE) and not is_found(kind)


def members_of(kind: type) -> list[tuple[str, Any]]:
    """What a class itself has under its names, in their order; what Python or pydantic add to it is left out."""
    hidden = ("_member_",) if issubclass(kind, enum.Enum) else ()
    if pydantic_fields(kind) is not None:
        hidden = (*hidden, "__pydantic_", "__signature__")
    return [
        (name, vars(kind)[name]) for name in sorted(vars(kind)) if name not in _SKIPPED and not name.startswith(hidden)
    ]


def pydantic_fields(kind: type) -> dict[str, Any] | None:
    """The fields of a class that pydantic has made; None for another."""
    found = vars(kind).get("__pydantic_fields__")
    return found if isinstance(found, dict) else None


def annotated(thing: Any) -> list[Any]:
    """The annotations of a function or class, by name."""
    try:
        found = inspect.get_annotations(thing)
    except Exception:  # noqa: BLE001  annotations are a user's code
        return []
    return [[name, name_of(each)] for name, each in found.items()]


def name_of(kind: Any) -> str:
    """The name of an annotation."""
    if isinstance(kind, str):
        return kind
    return f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else type(kind).__name__


def holds(function: types.FunctionType) -> bool:
    """Whether a function that is not the project's holds values: a decorator of a library around a function of ours."""
    return bool(function.__closure__)


def is_full(cell: Any) -> bool:
    """Whether a cell of a closure has a value."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
