"""Whose memory an answer is: what users' code returned is ours before it is called again, what a caller gets is the caller's.

A function may return the buffer that it fills at each call, a view of one, or a view of what it was given. Such an array is
copied as soon as it is returned. One that nobody else holds is not: Python counts who holds an object, and a count that tells
of anybody else, or cannot tell, costs a copy and nothing more.
"""

from __future__ import annotations

import array
import ctypes
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, ValuesView
from itertools import islice
from types import GeneratorType
from typing import Any

import numpy as np

from motet.batch import Array, Column, Ragged, as_array, objects

__all__ = ["apart", "is_read_once", "own_objects", "own_result", "own_value"]

_CONTAINERS = frozenset((dict, list, set, bytearray, np.ndarray))
_BUFFERS = (array.array, ctypes.Array)
_PLAIN = frozenset((str, bytes, int, float, bool, type(None)))


def own_result(held: list[Any], given: Sequence[Any] = (), rows: int = 0) -> bool:
    """Make what was returned ours: arrays, tensors of torch, columns and frames of pandas, and lists, tuples and dicts of them.

    What cannot be written to, such as columns of Arrow and polars, is left as it is, and so are numbers that were given.

    Args:
        held: a list whose only entry is what was returned, which nobody of ours holds besides; it is changed.
        given: what it was called with, of which the arrays are ours and read-only.
        rows: iterators, alone or by name, are read one entry further than so many; 0 leaves them.

    Returns:
        whether somebody else may write to what was returned, so that it must not be returned twice at the same time.
    """
    kind = type(held[0])
    if kind is np.ndarray:
        for each in given:
            if held[0] is each and each.dtype != object:
                return False
        if _are_alone(held):
            return False
    if issubclass(kind, dict):
        filled = sys.getrefcount(held[0]) > _ITEM
        if filled or kind is not dict:
            held[0] = dict(held[0])
        return _own_items(held[0], held[0], rows) or filled
    if issubclass(kind, (list, tuple)):
        return _own_sequence(held, kind, 0 if kind is list else rows)
    return _own_items(held, (0,), rows)


def _own_sequence(held: list[Any], kind: Any, rows: int) -> bool:
    if sys.getrefcount(held[0]) <= _ITEM and _are_alone(held[0]):
        return False
    filled = kind is list and sys.getrefcount(held[0]) > _ITEM
    if not any(_may_be_held(each) or (rows and is_read_once(each)) for each in {*map(type, held[0])}):
        held[0] = list(held[0]) if filled else held[0]
        return filled
    items = list(held[0])
    held[0] = None  # which holds them too
    written = _own_items(items, range(len(items)), rows) or filled
    held[0] = items if kind is list else kind._make(items) if hasattr(kind, "_make") else tuple(items)
    return written


def _may_be_held(kind: type) -> bool:
    """Whether values of this type have memory that somebody may write to."""
    return (
        kind in _CONTAINERS
        or issubclass(kind, np.ndarray)
        or kind is memoryview
        or _is_tensor(kind)
        or _is_pandas(kind)
        or _gives_array(kind)
    )


def _is_tensor(kind: type) -> bool:
    return hasattr(kind, "untyped_storage")


def _is_pandas(kind: type) -> bool:
    return hasattr(kind, "iloc") or hasattr(kind, "isna")  # the latter have columns without an index, and indices


def _gives_array(kind: type) -> bool:
    """Whether it shows its memory as an array and is none of the others, nor a column of Arrow or polars."""
    if not hasattr(kind, "__array__") or hasattr(kind, "__arrow_c_array__") or hasattr(kind, "__arrow_c_stream__"):
        return issubclass(kind, _BUFFERS)
    return not (issubclass(kind, (np.ndarray, np.generic)) or _is_tensor(kind) or _is_pandas(kind))


def is_read_once(kind: type) -> bool:
    """Whether values of this type give one entry after another, each of which may be the same buffer, filled again."""
    return issubclass(kind, (Iterator, ValuesView, deque))


def _own_items(items: Any, keys: Iterable[Any], rows: int) -> bool:
    """Make entries of a list or dict ours, which nobody else holds; whether somebody else may write to one."""
    written = False
    for key in keys:
        kind = type(items[key])
        if _gives_array(kind):
            items[key] = as_array(items[key])
            kind = np.ndarray
        if kind is np.ndarray:
            if sys.getrefcount(items[key]) > _ITEM or not _is_alone(items[key]):
                written |= items[key].flags.writeable
                items[key] = _copied(items[key])
            elif items[key].dtype == object:
                written |= _own_entries(items, key)
        elif rows and is_read_once(kind):
            read, entries = list[Any](), [list[Any]()]
            for entry in islice(items[key], rows + 1):
                read.append(own_value(entry))
                entries[0].append(entry)
            entry, items[key] = None, read
            written |= own_result(entries) or kind is not GeneratorType  # others may be of a list or dict that is kept
        elif not _may_be_held(kind):
            continue
        elif _is_tensor(kind):
            written |= sys.getrefcount(items[key]) > _ITEM or not _storage_is_alone(items[key])
            items[key] = _array(items[key])
        elif kind is memoryview:
            written |= not items[key].readonly
            items[key] = np.array(items[key])
        elif kind is list or kind is dict:
            held = [items[key]]
            items[key] = None  # which holds it too
            written |= own_result(held)
            items[key] = held[0]
        elif kind in _CONTAINERS:
            written |= sys.getrefcount(items[key]) > _ITEM
            items[key] = own_value(items[key])
        else:  # a column or frame of pandas, a masked array: who holds their memory, nobody counts
            written = True
            items[key] = items[key].copy()
    return written


def _own_entries(items: Any, key: Any) -> bool:
    """The same of what an array of objects holds, which is ours itself."""
    shape, entries = items[key].shape, [items[key].reshape(-1).tolist()]
    if _PLAIN.issuperset(map(type, entries[0])):
        return False
    items[key] = None  # which holds them too
    written = own_result(entries)
    items[key] = objects(entries[0]).reshape(shape)
    return written


def own_value(value: Any) -> Any:
    """A value that nobody else can change: containers and arrays as copies, others as they are."""
    kind = type(value)
    if kind is dict:
        return {key: own_value(each) for key, each in value.items()}
    if kind is list:
        return [own_value(each) for each in value]
    if kind in _CONTAINERS:
        return _copied(value) if kind is np.ndarray else kind(value)
    is_array = hasattr(kind, "__array__") or issubclass(kind, _BUFFERS)
    return np.asarray(value).copy() if is_array and not isinstance(value, np.generic) else value


def own_objects(array: Array) -> Array:
    """An array of objects, those that can be changed as copies; itself where none can be."""
    if _CONTAINERS.isdisjoint(map(type, listed := array.reshape(-1).tolist())):
        return array
    return objects([own_value(value) for value in listed]).reshape(array.shape)


def _copied(array: Array) -> Array:
    found = own_objects(array) if array.dtype == object else array
    return array.copy() if found is array else found


def _array(tensor: Any) -> Array:
    """A copy of a tensor of torch, which code that is not Python's may hold, whom nobody counts."""
    tensor = tensor.detach().cpu()
    return np.array((tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy())


def _storage_is_alone(tensor: Any) -> bool:
    """Whether no other tensor has its memory; False where torch does not say it."""
    count = getattr(getattr(sys.modules.get("torch"), "_C", None), "_storage_Use_Count", None)
    return count is not None and count(tensor.untyped_storage()._cdata) <= 2  # the tensor, and the one that asks


def _is_alone(array: Array) -> bool:
    """Whether an array that nobody else holds has its memory for itself."""
    if not array.flags.writeable:
        return False
    base = array.base
    if base is None:
        return True
    return type(base) is np.ndarray and base.base is None and sys.getrefcount(base) <= _BASE


def _are_alone(items: Sequence[Any]) -> bool:
    """Whether entries are arrays, but not of objects, that nobody but what holds them has, nor their memory."""
    for place in range(len(items)):
        if type(items[place]) is not np.ndarray or sys.getrefcount(items[place]) > _ITEM or not _is_alone(items[place]):
            return False
        if items[place].dtype == object:
            return False
    return True


def _holders_of_item(items: list[Array]) -> int:
    return sys.getrefcount(items[0])


def _holders_of_base(array: Array) -> int:
    base = array.base
    return sys.getrefcount(base)


_ITEM = _holders_of_item([np.empty(1)])
_BASE = _holders_of_base(np.empty(2)[:1])
"""What Python counts where there is one holder: its versions differ in whether they count the one who asks."""


def apart(outputs: Mapping[str, Column], inputs: Iterable[Column]) -> dict[str, Column]:
    """Outputs for a caller to keep: all can be written, and none shares memory with an input or with another output."""
    taken = {id(_owner(column)) for column in inputs}
    found: dict[str, Column] = {}
    for name, column in outputs.items():
        values = column.values if isinstance(column, Ragged) else column
        own = own_objects(values) if values.dtype == object else values
        owner = _owner(own)
        if own is values and (not values.flags.writeable or id(owner) in taken):
            owner = own = values.copy()
        if own is not values:
            column = Ragged(own, column.offsets, column.shapes) if isinstance(column, Ragged) else own
        taken.add(id(owner))
        found[name] = column
    return found


def _owner(column: Column) -> Any:
    """What holds the memory of a column."""
    owner: Any = column.values if isinstance(column, Ragged) else column
    while type(owner) is np.ndarray and owner.base is not None:
        owner = owner.base
    return owner
