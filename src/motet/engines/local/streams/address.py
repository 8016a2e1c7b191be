"""Addresses of topics: `kafka://HOST:PORT,HOST:PORT/TOPIC?group=NAME&start=latest&config=FILE`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from motet.errors import InputError, UnknownNameError

__all__ = ["STARTS", "TopicAddress", "is_topic"]

SCHEME = "kafka://"
STARTS = ("earliest", "latest")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_KNOWN = ("group", "start", "config")


def is_topic(what: Any) -> bool:
    """Whether what is read or written is named by the address of a topic."""
    return isinstance(what, str) and what.lower().startswith(SCHEME)


@dataclass(frozen=True)
class TopicAddress:
    """A topic of Kafka.

    Attributes:
        servers: hosts and ports of some of the brokers, separated by commas.
        topic: its name.
        group: the consumer group that reads it, which remembers how far; empty where nobody said.
        start: where a group begins that has read nothing yet: `earliest` or `latest`.
        config: the file of what the client is told beside; empty for none.
    """

    servers: str
    topic: str
    group: str = ""
    start: str = "earliest"
    config: str = ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.servers}/{self.topic}"

    @classmethod
    def parse(cls, text: str) -> TopicAddress:
        """Read an address.

        Raises:
            InputError: when it is none. It does not say what is before an `@`.
        """
        parts = urlsplit(text, allow_fragments=False)
        if "@" in parts.netloc:
            hint = "the file of config=FILE, or of $MOTET_KAFKA_CONFIG, has sasl.username and sasl.password"
            raise InputError("an address of a topic has no user and no password", where=f"{SCHEME}...", hint=hint)
        found = cls(parts.netloc, parts.path.removeprefix("/"))
        hint = "kafka://HOST:PORT/TOPIC?group=NAME"
        if not found.servers:
            raise InputError("names no broker", where=text, hint=hint)
        if not _TOPIC.fullmatch(found.topic) or found.topic in (".", ".."):
            raise InputError(f"{found.topic!r} is no name of a topic", where=str(found), hint=hint)
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        for name in given:
            if name not in _KNOWN:
                raise UnknownNameError("option", name, _KNOWN, where=str(found))
        made = cls(found.servers, found.topic, **given)
        if made.start not in STARTS:
            raise InputError(f"start is {made.start!r}; it must be {' or '.join(STARTS)}", where=str(found))
        return made
