"""Calls of tools in answers: those of a stream put together from their pieces, and what a call must be.

https://platform.openai.com/docs/guides/function-calling
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from motet.errors import AnswerError, cut

__all__ = ["CallParts", "calls_in", "with_pairs"]

_GROWING = ("arguments", "input")
"""What comes in pieces: the arguments of a function, and what another kind of tool is given. All else is whole at once."""
_NO_ARGUMENTS = "{}"


class CallParts:
    """Puts calls together from the pieces of a stream, which say by their index which call goes on.

    Args:
        where: the model, for messages.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._heads: dict[int, dict[str, Any]] = {}
        self._grown: dict[int, dict[tuple[str, str], list[str]]] = {}

    def __bool__(self) -> bool:
        return bool(self._heads)

    def add(self, pieces: Any) -> None:
        """Take the next pieces; None for no more.

        Raises:
            AnswerError: when they are none.
        """
        if pieces is None:
            return
        if not isinstance(pieces, list):
            raise _malformed(pieces, self._where)
        for piece in pieces:
            if not isinstance(piece, Mapping):
                raise _malformed(piece, self._where)
            self._add(piece)

    def _add(self, piece: Mapping[str, Any]) -> None:
        index = piece.get("index")
        if not isinstance(index, int):  # which not every endpoint says
            last = max(self._heads, default=-1)
            index = last + 1 if piece.get("id") or last < 0 else last
        head, grown = self._heads.setdefault(index, {}), self._grown.setdefault(index, {})
        for name, value in piece.items():
            if isinstance(value, Mapping):
                inside = head[name] = head.get(name) or {}
                if not isinstance(inside, dict):
                    raise _malformed(piece, self._where)
                for key, part in value.items():
                    if key not in _GROWING:
                        inside[key] = inside.get(key) or part
                    elif isinstance(part, str):
                        grown.setdefault((name, key), []).append(part)
                    elif part is not None:
                        raise _malformed(piece, self._where)
            elif name != "index" and not head.get(name):
                head[name] = value

    def whole(self) -> list[dict[str, Any]]:
        """The calls, in the order of their indices."""
        found = []
        for index in sorted(self._heads):
            call = dict(self._heads[index])
            for (name, key), parts in self._grown[index].items():
                call[name] = {**call[name], key: with_pairs("".join(parts))}
            found.append(call)
        return found


def with_pairs(text: str) -> str:
    """The same with pairs of surrogates as the characters that they stand for."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def calls_in(message: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """The calls of a message, each `{id, type, function: {name, arguments}}` with the arguments as JSON; calls of other types are as
    they came.

    Raises:
        AnswerError: when one is no call.
    """
    calls = message.get("tool_calls")
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise _malformed(calls, where)
    return [_call(each, where) for each in calls]


def _call(call: Any, where: str) -> dict[str, Any]:
    if not isinstance(call, Mapping):
        raise _malformed(call, where)
    kind = call.get("type") or "function"
    if kind != "function":
        return dict(call)
    function = call.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str) or not name:
        raise _malformed(call, where)
    arguments = function.get("arguments") or _NO_ARGUMENTS
    if not isinstance(arguments, str):
        raise _malformed(call, where)
    return {**call, "type": kind, "function": {**function, "arguments": arguments}}


def _malformed(call: Any, where: str) -> AnswerError:
    return AnswerError(f"the answer has a call of a tool that is none; it is {cut(str(call))!r}", where=where)
