"""What is secret in plain values, how it is left out of messages, and how it is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from motet.errors import InputError

__all__ = ["SECRET_NAMES", "header_value", "is_secret", "without_passwords", "without_secrets"]

SECRET_NAMES = "(?:api[-_]?key|password|authorization)"
"""How keys end whose values are secret, in whatever case."""
_SECRET_KEY = rf"(?i:(?:.*[-_. ])?{SECRET_NAMES})"
_PASSWORD = r"(?<=//)([^/\s@:]*):[^\s/]*@"
_QUERY_PASSWORD = r"(//[^\s'\"]*?[?&](?:password|api_key)=)(?!env:)[^\s&'\"]+"
_NOT_SENT = r"[^\t -~]"


def is_secret(key: str) -> bool:
    """Whether values under a key are secret, by how it is called."""
    return re.fullmatch(_SECRET_KEY, key) is not None


def without_passwords(text: str) -> str:
    """A text with `***` in place of the passwords of addresses in it."""
    return re.sub(_QUERY_PASSWORD, r"\1***", re.sub(_PASSWORD, r"\1:***@", text))


def without_secrets(value: Any, key: str = "") -> Any:
    """A plain value, for messages, with `***` in place of what is secret: under keys that are called so, and in addresses.

    The name of an environment variable, `env:NAME`, is not.
    """
    if isinstance(value, Mapping):
        return {name: without_secrets(each, str(name)) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(each, key) for each in value]
    if is_secret(key) and value and not str(value).startswith("env:"):
        return "***"
    return without_passwords(value) if isinstance(value, str) else value


def header_value(value: str, name: str) -> str:
    """A value as a header of HTTP has it, without the spaces and line breaks around it, which are no part of it (RFC 9110, 5.5).

    Args:
        value: a key, for instance.
        name: what users call it, for messages.

    Raises:
        InputError: when it has a character that is not printable ASCII; the value is not said.
    """
    text = value.strip()
    if found := re.search(_NOT_SENT, text):
        what = f"{name} has {found[0]!r} at character {found.start() + 1}, which cannot be sent in a header"
        raise InputError(what, hint="write it in one line of ASCII")
    return text
