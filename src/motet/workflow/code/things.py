"""What functions, classes and wrappers are made of."""

from __future__ import annotations

import abc
import enum
import functools
import inspect
import re
import sys
import types
import typing
from typing import Any

from motet.workflow.functions import FunctionWrapper, attribute

__all__ = [
    "annotations_of",
    "classes_in",
    "global_of",
    "is_documented",
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

_ADDRESS = re.compile(" at 0x[0-9a-f]+")
_NAME = re.compile(r"[A-Za-z_]\w*")
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
        "__slotnames__",
        "__annotate_func__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__conditional_annotations__",
        "__annotations__",
        "_value2member_map_",
        "_autograd_function_id",
    )
)
"""Names in a class that say nothing of its content."""


def wrapped(thing: Any) -> tuple[Any, ...] | None:
    """The functions and values that a wrapper of Python's or ours is made of; None for what is no wrapper."""
    if isinstance(thing, FunctionWrapper):
        return (thing.function,)
    if isinstance(thing, types.MethodType):
        return (thing.__func__, thing.__self__)
    if isinstance(thing, functools.partial):
        return (thing.func, thing.args, thing.keywords, vars(thing))
    if isinstance(thing, (classmethod, staticmethod)):
        return (thing.__func__,)
    if isinstance(thing, property):
        return (thing.fget, thing.fset, thing.fdel, getattr(thing, "__dict__", None))
    if isinstance(thing, functools.cached_property):
        return (thing.func,)
    if isinstance(thing, typing.NewType):
        return (thing.__name__, thing.__supertype__)
    if isinstance(thing, typing.TypeVar):
        return (thing.__name__, thing.__bound__, thing.__constraints__, thing.__covariant__, thing.__contravariant__)
    if type(thing).__name__ == "TypeAliasType":
        return (thing.__name__, thing.__value__)
    if type(thing).__name__ == "_lru_cache_wrapper":
        return (thing.__wrapped__, vars(thing))
    return None


def module_of(thing: Any) -> str:
    """The module whose globals a function has, or that a class is defined in."""
    space = getattr(thing, "__globals__", None)
    return str((space.get("__name__") if space is not None else thing.__module__) or "")


def package_of(module: str) -> str:
    """The package that a module's own imports count from."""
    found = sys.modules.get(module)
    return str(getattr(found, "__package__", None) or "")


def global_of(function: types.FunctionType, chain: tuple[str, ...]) -> Any:
    """What a chain of names leads to, as far as names are modules; None where it goes on, or to nothing."""
    thing: Any = function.__globals__.get(chain[0])
    for name in chain[1:]:
        thing = vars(thing).get(name) if isinstance(thing, types.ModuleType) else None
    return thing


def is_documented(thing: Any) -> bool:
    """Whether a function or class has a docstring, which who gets it may read."""
    return isinstance(thing, (type, types.FunctionType)) and bool(vars(thing).get("__doc__") or thing.__doc__)


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
    found = {name: value for name, value in vars(kind).items() if name not in _SKIPPED and not name.startswith(hidden)}
    found |= {name: getattr(kind, name) for name in ("__struct_defaults__", "__struct_config__") if hasattr(kind, name)}
    if found.get("__hash__", kind) is None:  # Python puts it beside an equality
        del found["__hash__"]
    if "_abc_impl" in vars(kind):
        found["(registered)"] = [ref() for ref in vars(abc)["_get_dump"](kind)[0]]
    return sorted(found.items())


def pydantic_fields(kind: type) -> dict[str, Any] | None:
    """The fields of a class that pydantic has made; None for another."""
    found = vars(kind).get("__pydantic_fields__")
    return found if isinstance(found, dict) else None


def annotations_of(thing: Any) -> dict[str, Any]:
    """The annotations of a function or class, by name; those of its bases' parameters too."""
    try:
        found = inspect.get_annotations(thing)
    except Exception:  # noqa: BLE001  annotations are a user's code
        return {}
    bases = vars(thing).get("__orig_bases__", ())
    return {**found, **{f"base {place}": base for place, base in enumerate(bases)}}


def name_of(kind: Any) -> str:
    """An annotation as text, the same in all processes."""
    if isinstance(kind, str):
        return kind
    return f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else _ADDRESS.sub("", repr(kind))


def classes_in(kind: Any, module: str) -> set[type]:
    """The classes that an annotation names, itself or as text of a module."""
    if isinstance(kind, str):
        found = [vars(sys.modules[module]).get(name) for name in _NAME.findall(kind)] if module in sys.modules else []
        return {each for each in found if isinstance(each, type)}
    inner = {one for each in typing.get_args(kind) for one in classes_in(each, module)}
    return inner | ({kind} if isinstance(kind, type) else set())


def is_full(cell: Any) -> bool:
    """Whether a cell of a closure has a value."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
