"""From what a function or a framework returned to outputs by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from motet.batch import as_named
from motet.errors import AnswerError, known_names

__all__ = ["by_name"]


def by_name(result: Any, names: Sequence[str], where: str) -> dict[str, Any]:
    """The outputs of a call by name.

    Args:
        result: a mapping or named tuple with at least these names; a tuple of as many values, in their order (with
            several names also a list); or, with a single name, the value itself.
        names: the outputs that are wanted.
        where: the model, for messages.

    Raises:
        AnswerError: when a mapping has no such output, there are more or fewer values than names, or nothing was returned.
    """
    named = as_named(result)
    if named is not None and (isinstance(result, Mapping) or hasattr(result, "_asdict") or {*names} <= {*named}):
        return {name: _entry(named, name, names, where) for name in names}
    if isinstance(result, tuple) or (isinstance(result, list) and len(names) > 1):
        if len(result) != len(names):
            raise AnswerError(
                f"it returned {len(result)} values where {len(names)} outputs are declared: {', '.join(names)}",
                where=where,
                hint="declare its outputs by name, in the order in which it returns them",
            )
        return dict(zip(names, result, strict=True))
    if result is None or len(names) != 1:
        raise AnswerError(
            f"it returned one {type(result).__name__} where these outputs are declared: {', '.join(names)}",
            where=where,
            hint="return an array for each of them: a dict, a named tuple, or a tuple in their order",
        )
    return {names[0]: result}


def _entry(result: Mapping[str, Any], name: str, names: Sequence[str], where: str) -> Any:
    if name in result:
        return result[name]
    hint = "declare under `outputs` what it returns" if list(names) == ["output"] else ""
    known = known_names(name, tuple(map(str, result)))
    raise AnswerError(f"unknown output in what it returned: {name!r}; {known}", where=where, hint=hint)
