"""Which values the parameters of a language model may have, wherever it is asked and played."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["wrong_parameter"]

_Check = tuple[str, Callable[[Any], bool]]


def _is_number(value: Any) -> bool:
    """Whether it is one; whole numbers may be longer than floats hold."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (isinstance(value, int) or math.isfinite(value))
    )


def _between(least: float, most: float) -> _Check:
    what = f"a number of at least {least:g}" if most == math.inf else f"a number from {least:g} to {most:g}"
    return what, lambda value: _is_number(value) and least <= value <= most


def _is_text_or_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value))


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(each, Mapping) for each in value)


_TOKENS: _Check = (
    "a whole number of at least 1",
    lambda value: _is_number(value) and value >= 1 and value % 1 == 0,
)
_CHECKS: Mapping[str, _Check] = {
    "temperature": _between(0, math.inf),
    "top_p": _between(0, 1),
    "max_tokens": _TOKENS,
    "max_completion_tokens": _TOKENS,
    "seed": ("a whole number", lambda value: _is_number(value) and value % 1 == 0),
    "stop": ("a text or a list of texts", _is_text_or_texts),
    "presence_penalty": _between(-2, 2),
    "frequency_penalty": _between(-2, 2),
    "tools": ("a list of tools", _is_list_of_objects),
    "tool_choice": ("auto, none, required or the tool to call", lambda value: isinstance(value, (str, Mapping))),
    "parallel_tool_calls": ("true or false", lambda value: isinstance(value, bool)),
    "logit_bias": ("a mapping from tokens to numbers", lambda value: isinstance(value, (Mapping, list, tuple))),
}


def wrong_parameter(parameters: Mapping[str, Any]) -> str:
    """What is wrong with the first parameter that is; empty for nothing. None is what is not said; those without a range pass.

    Models differ in what they do of such values: some refuse them, some answer as if they were others.
    """
    for name, (what, is_right) in _CHECKS.items():
        value = parameters.get(name)
        if value is not None and not is_right(value):
            return f"{name} must be {what}; got {value!r}"
    return ""
