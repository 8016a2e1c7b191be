"""The client of Kafka: what it is told, and its errors as those of the tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from motet.engines.local.streams.address import TopicAddress
from motet.errors import InputError, MotetError, RunError, UnknownNameError
from motet.system.extras import imported

__all__ = ["ASK_S", "asking", "check_topic", "confluent", "is_lost", "made", "told"]

ASK_S = 10.0
"""How long a broker is waited for that is asked something."""
CONFIG = "MOTET_KAFKA_CONFIG"
_OURS = {
    "bootstrap.servers": "the address names the brokers",
    "group.id": "say ?group=NAME in the address of the input",
    "auto.offset.reset": "say ?start=latest in the address of the input",
    "enable.auto.commit": "offsets are committed with what was made of them",
    "enable.auto.offset.store": "offsets are committed with what was made of them",
    "enable.partition.eof": "it is always on",
    "group.protocol": "it is always classic",
    "partition.assignment.strategy": "it is always that of the client, which gives all partitions anew",
}
"""What the file does not say, and what does instead."""
_SECRET = ("password", "secret", ".pem", ".key", "token")


def confluent() -> Any:
    """The client's package.

    Raises:
        MissingExtraError: when it is not installed.
    """
    return imported("confluent_kafka", "confluent-kafka", "kafka", "a topic of Kafka")


def _settings(address: TopicAddress) -> dict[str, str]:
    """What every client of an address is told: its brokers, and the lines `name=value` of its file.

    Raises:
        InputError: when the file cannot be read, or says what the address does.
    """
    path = address.config or os.environ.get(CONFIG, "")
    said = _read(path) if path else {}
    for name in said:
        if name in _OURS:
            raise InputError(f"says {name}", where=path, hint=_OURS[name])
    return {"log_level": "0", **said, "bootstrap.servers": address.servers}


def _read(path: str) -> dict[str, str]:
    """The lines of a file of settings; a value `env:NAME` is that of an environment variable.

    Raises:
        InputError: when it cannot be read. No value is said.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no UTF-8"
        raise InputError(
            f"cannot be read: {reason}", where=path, hint="it has lines such as sasl.username=me"
        ) from None
    found = {}
    for number, line in enumerate(lines, 1):
        name, equals, value = (part.strip() for part in line.partition("="))
        if not line or line.startswith("#"):
            continue
        if not equals or not name:
            raise InputError(f"line {number} is not of the form name=value", where=path)
        if value.startswith("env:"):
            variable = value.removeprefix("env:")
            if variable not in os.environ:
                raise InputError(f"line {number} names {variable}, which is not in the environment", where=path)
            value = os.environ[variable]
        found[name] = value
    return found


def made(make: Callable[[dict[str, Any]], Any], address: TopicAddress, settings: Mapping[str, Any]) -> Any:
    """A client of an address.

    Args:
        make: its class.
        settings: what we tell it; what the file says counts instead.

    Raises:
        InputError: when it refuses a setting.
    """
    known = _settings(address)
    try:
        return make({**settings, **known})
    except (confluent().KafkaException, ValueError, TypeError) as error:
        text = str(error.args[0].str() if hasattr(error.args[0], "str") else error)
        for name, value in known.items():
            if value and any(part in name for part in _SECRET):
                text = text.replace(value, "***")
        raise InputError(f"the client of Kafka refuses its settings: {text}", where=str(address)) from None


def told(error: Any, address: TopicAddress) -> MotetError:
    """An error of the client as one of the tree: what, where, and how to mend it."""
    codes, code, where = confluent().KafkaError, error.code(), str(address)
    if code in (
        codes._ALL_BROKERS_DOWN, codes._TRANSPORT, codes._TIMED_OUT, codes._RESOLVE, codes._WAIT_COORD,
        codes.REQUEST_TIMED_OUT,
    ):  # fmt: skip
        hint = "see that the address is right and the broker runs; with TLS or SASL say so in config=FILE"
        return RunError("no broker answers", where=where, hint=hint)
    if code in (codes._AUTHENTICATION, codes.SASL_AUTHENTICATION_FAILED, codes._SSL):
        hint = "see sasl.username, sasl.password, security.protocol and ssl.ca.location in config=FILE"
        return InputError(f"the broker does not let this client in: {error.name()}", where=where, hint=hint)
    if code in (codes.UNKNOWN_TOPIC_OR_PART, codes._UNKNOWN_TOPIC, codes._UNKNOWN_PARTITION):
        return _no_topic(address, ())
    if error.name().endswith("AUTHORIZATION_FAILED"):
        what = error.name().removesuffix("_AUTHORIZATION_FAILED").lower().replace("_", " ")
        hint = (
            "reading needs READ on the topic and its group; writing needs WRITE on the topic, and WRITE and DESCRIBE "
            "on the transactional id"
        )
        return InputError(f"the broker gives no right to the {what}", where=where, hint=hint)
    if code == codes.MSG_SIZE_TOO_LARGE:
        hint = "say message.max.bytes in config=FILE: what the topic's max.message.bytes is"
        return RunError("the topic takes no messages as large as these", where=where, hint=hint)
    return RunError(f"Kafka says {error.name()}: {error.str()}", where=where)


def is_lost(error: Any) -> bool:
    """Whether an error of the client says that the partitions of this process are another one's by now."""
    codes = confluent().KafkaError
    lost = (codes.ILLEGAL_GENERATION, codes.UNKNOWN_MEMBER_ID, codes.REBALANCE_IN_PROGRESS, codes.FENCED_INSTANCE_ID)
    return error.code() in lost


@contextmanager
def asking(address: TopicAddress) -> Iterator[None]:
    """Tell what the client raises as an error of the tree."""
    try:
        yield
    except confluent().KafkaException as error:
        raise told(error.args[0], address) from error


def check_topic(client: Any, address: TopicAddress) -> Mapping[int, Any]:
    """See that a broker answers and has the topic.

    Returns:
        Its partitions, by number.

    Raises:
        MotetError: when it does not, or has not.
    """
    with asking(address):
        found = client.list_topics(address.topic, ASK_S).topics[address.topic]
        if found.error is not None:
            if found.error.code() == confluent().KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise _no_topic(
                    address, [name for name in client.list_topics(timeout=ASK_S).topics if name[:2] != "__"]
                )
            raise told(found.error, address)
    partitions: Mapping[int, Any] = found.partitions
    return partitions


def _no_topic(address: TopicAddress, others: list[str] | tuple[str, ...]) -> MotetError:
    hint = "make it first: it is for whoever runs the brokers to say how many partitions it has"
    return UnknownNameError("topic", address.topic, others, where=str(address), hint=hint)
