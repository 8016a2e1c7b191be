"""Prompts: texts with the names of columns in braces, and the messages that they make of a row."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

import msgspec
import numpy as np

from motet.errors import GraphError, InputError
from motet.graph.forms import NAME
from motet.numbers import is_missing

__all__ = ["Messages", "Prompt", "read_messages"]

ROLES = ("system", "developer", "user", "assistant")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Prompt:
    """A text with values of a row in it. Values are put in as they are: braces in them mean nothing.

    Attributes:
        parts: literal text, each with the name of the column behind it; empty for none.
    """

    parts: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, text: object, where: str) -> Prompt:
        """Read a template as `str.format` has it, with names alone in its braces; `{{` is a brace.

        Raises:
            GraphError: when it is none, or its braces hold more than the name of a column.
        """
        if not isinstance(text, str):
            raise GraphError(f"expected a text; got {type(text).__name__}", where=where)
        try:
            found = list(Formatter().parse(text))
        except ValueError as error:
            hint = "write {{ and }} for braces of the text"
            raise GraphError(f"the braces are not those of a template: {error}", where=where, hint=hint) from error
        for _, name, form, conversion in found:
            if name is not None and (form or conversion or not NAME.fullmatch(name)):
                shown = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
                hint = "write the name of a column alone, {text}; prepare its value in a map node"
                raise GraphError(f"{{{shown}}} is no name of a column", where=where, hint=hint)
        return cls(tuple((literal, name or "") for literal, name, _, _ in found))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns in it, in order."""
        return tuple(dict.fromkeys(name for _, name in self.parts if name))

    def text(self, row: Row) -> str:
        """The text of a row.

        Raises:
            InputError: when a value of it is missing, or has no text.
        """
        found = "".join(literal + (_told(row[name], name) if name else "") for literal, name in self.parts)
        try:
            found.encode()
        except UnicodeEncodeError as error:  # which would fail the texts that are sent with it, too
            half = found[error.start]
            names = [name for name in self.names if isinstance(row[name], str) and half in row[name]]
            what = f"input {names[0]!r}" if names else "the prompt"
            raise InputError(f"{what} has half of a character (the surrogate {half!r})") from error
        return found


def _told(value: Any, name: str) -> str:
    """A value as a prompt has it: texts and numbers as they are, true and false, lists and objects as JSON."""
    if isinstance(value, str):
        return value
    if is_missing(value):
        raise InputError(f"input {name!r} has no value")
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bool, list, tuple, dict, np.ndarray)):
        plain = value.tolist() if isinstance(value, np.ndarray) else value
        try:
            return json.dumps(plain, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"input {name!r} cannot be put into a prompt: {error}") from error
    if isinstance(value, (int, float)):
        return str(value)
    raise InputError(f"input {name!r} is of type {type(value).__name__}, which has no text")


@dataclass(frozen=True)
class Messages:
    """The messages of a conversation, made of a row.

    Attributes:
        names: the columns that it needs, in order.
        make: makes them of a row. Raises `InputError` when it cannot.
    """

    names: tuple[str, ...]
    make: Callable[[Row], list[dict[str, Any]]]


def read_messages(options: Mapping[str, Any], where: str) -> Messages:
    """The messages that options ask for: `system`, then `messages`, then `prompt`; `{text}` where there are none of the last two.

    Raises:
        GraphError: when one is not what it must be.
    """
    said: list[tuple[str, Prompt]] = []
    if options.get("system") is not None:
        said.append(("system", Prompt.read(options["system"], f"{where}: system")))
    before = tuple(said)
    given, prompt = options.get("messages"), options.get("prompt")
    held = ""
    if isinstance(given, str):
        held = _column(given, f"{where}: messages")
    elif given is not None:
        said += _listed(given, f"{where}: messages")
    if prompt is not None or given is None:
        said.append(("user", Prompt.read("{text}" if prompt is None else prompt, f"{where}: prompt")))
    behind = tuple(said[len(before) :])
    names = [name for _, each in before for name in each.names] + ([held] if held else [])
    names += [name for _, each in behind for name in each.names]

    def make(row: Row) -> list[dict[str, Any]]:
        first, last = ([{"role": role, "content": each.text(row)} for role, each in part] for part in (before, behind))
        return [*first, *(_conversation(row[held], held) if held else ()), *last]

    return Messages(tuple(dict.fromkeys(names)), make)


def _column(text: str, where: str) -> str:
    """The column of conversations that `messages: "{history}"` names."""
    parts = Prompt.read(text, where).parts
    if len(parts) != 1 or parts[0][0] or not parts[0][1]:
        hint = 'write messages: "{history}" for a column of conversations, or a list of {role: ..., content: ...}'
        raise GraphError(f"{text!r} is not the name of one column in braces", where=where, hint=hint)
    return parts[0][1]


def _listed(given: object, where: str) -> list[tuple[str, Prompt]]:
    if not isinstance(given, Sequence):
        raise GraphError(f"expected a list of messages; got {type(given).__name__}", where=where)
    found = []
    for place, each in enumerate(given):
        here = f"{where}[{place}]"
        if not isinstance(each, Mapping) or set(each) != {"role", "content"}:
            raise GraphError("a message is {role: ..., content: ...}", where=here)
        if each["role"] not in ROLES:
            raise GraphError(f"unknown role {each['role']!r}; known: {', '.join(ROLES)}", where=here)
        found.append((str(each["role"]), Prompt.read(each["content"], f"{here}: content")))
    return found


def _conversation(value: Any, name: str) -> list[dict[str, Any]]:
    """The messages that a row has in a column: a list, or JSON of one."""
    if is_missing(value):
        raise InputError(f"input {name!r} has no value")
    if isinstance(value, (str, bytes)):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise InputError(f"input {name!r} is no JSON of messages: {error}") from error
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(value, (list, tuple)) or not value:
        raise InputError(f"input {name!r} must be a list of messages; got {type(value).__name__}")
    for place, each in enumerate(value):
        if not isinstance(each, Mapping) or "role" not in each:
            raise InputError(f"message {place} of input {name!r} is not {{role: ..., content: ...}}")
    return [dict(each) for each in value]
