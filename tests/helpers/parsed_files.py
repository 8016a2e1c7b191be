"""Places in what a file of YAML or JSON says, and the same with something else there."""

import copy
from collections.abc import Iterator
from functools import reduce
from typing import Any


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to each thing in a file, itself left out."""
    for key, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*at, key)
        yield from places(each, (*at, key))


def value_at(value: Any, place: tuple[Any, ...]) -> Any:
    return reduce(lambda inner, key: inner[key], place, value)


def changed(value: Any, place: tuple[Any, ...], to: Any) -> Any:
    """A copy with something else at a place."""
    made = copy.deepcopy(value)
    value_at(made, place[:-1])[place[-1]] = to
    return made
