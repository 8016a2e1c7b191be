"""What of a request changes the form of an answer, or makes several of it, and which graphs are asked for that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from motet.errors import InputError
from motet.serving.repository.entry import RepositoryEntry

__all__ = ["CALLS", "FORM", "TOOLS", "answers_with_calls", "check_heard"]

FORM = ("response_format",)
TOOLS = ("tools", "tool_choice", "parallel_tool_calls")
CALLS = "tool_calls"
"""The output of the calls of tools."""
_NEVER = ("n", "functions", "function_call", "logprobs", "best_of", "echo", "suffix")


def check_heard(body: Mapping[str, Any], served: RepositoryEntry, hears: tuple[str, ...]) -> None:
    """See that all is offered that is asked for.

    Args:
        body: of the request.
        served: the graph. It is told what it has an input for, where that is heard.
        hears: what of it this kind of question has.

    Raises:
        InputError: when something is not.
    """
    for name in (*_NEVER, *FORM, *TOOLS):
        if not _is_asked(name, body) or (name in hears and name in served.inputs):
            continue
        more = f", or give the graph an input {name!r} with a default" if name in hears else ""
        raise InputError(f"{name!r} is not offered here", hint=f"leave it out{more}")
    if body.get("tools") and not answers_with_calls(served):
        hint = f"leave it out, or give the graph an output {CALLS!r} of type any"
        raise InputError(f"'tools' is not offered here: {served.name} answers with no calls of them", hint=hint)


def answers_with_calls(served: RepositoryEntry) -> bool:
    """Whether a graph gives calls of tools."""
    kind = served.signature.outputs.get(CALLS)
    return kind is not None and kind.dtype == "any"


def _is_asked(name: str, body: Mapping[str, Any]) -> bool:
    """Whether something else is asked for than what is done where nothing is said."""
    value = body.get(name)
    if name in ("n", "best_of"):
        return value is not None and (value != 1 or value is True)
    if name in ("tool_choice", "function_call"):
        return value is not None and value != "auto" and (value != "none" or bool(body.get("tools")))
    if name == "parallel_tool_calls":
        return value is False and bool(body.get("tools"))
    return bool(value) and value != {"type": "text"}
