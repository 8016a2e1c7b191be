"""Answers and failures as messages, in one transaction with the offsets of what they are of."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from motet.engines.layout import FAILED
from motet.engines.local.streams.address import TopicAddress
from motet.engines.local.streams.client import asking, check_topic, confluent, is_lost, made, told
from motet.engines.local.streams.topic_reader import TopicReader, next_offsets
from motet.engines.local.streams.window import Answers
from motet.errors import Failure, RunError
from motet.threads import do, thread_of

__all__ = ["TopicOutput"]

TRANSACTION_S = 60.0
"""How long a call of a transaction is waited for before it is looked whether it can be made again."""
TRIED_S = 120.0
"""How long a transaction is tried again and again."""
PAUSE_S = 0.5
_LASTING = ("AUTHORIZATION_FAILED", "MSG_SIZE_TOO_LARGE")
"""What no trying again mends."""


class TopicOutput:
    """Writes windows to a topic, and their failures to another one; readers of committed messages see each answer once.

    Args:
        answers: the topic of the answers.
        failures: that of the messages that failed, on the same brokers.
        group: that reads the input.
        partitions: how many the input has: a message stays in its partition where the output has as many.

    Raises:
        MotetError: when no broker answers, there is no such topic, or no right to it.
    """

    def __init__(self, answers: TopicAddress, failures: TopicAddress, group: str, partitions: int) -> None:
        self._answers, self._failures, self._kafka = answers, failures, confluent()
        self._id = f"motet-{group}-{uuid.uuid4().hex[:12]}"
        self._producer = self._made()
        self._as_many = {
            each.topic for each in (answers, failures) if len(check_topic(self._producer, each)) == partitions
        }
        self._rejected: Any = None
        self._outages = 0

    @property
    def failed(self) -> str:
        """Where failures go."""
        return str(self._failures)

    def resume(self, partition: int) -> None:
        """See `Resume`: the offsets are the group's, which has them from the same transactions."""

    def _made(self) -> Any:
        settings = {"transactional.id": self._id, "partitioner": "murmur2_random", "linger.ms": 5}
        return made(self._kafka.Producer, self._answers, settings)

    def begin(self) -> None:
        """Have the brokers know of us, and end what an earlier process of the same id has left.

        Raises:
            MotetError: when they do not.
        """
        with asking(self._answers):
            self._producer.init_transactions(TRANSACTION_S)

    def write(self, messages: Sequence[Any], played: Answers, reader: TopicReader) -> bool:
        """Write a window and commit its offsets; whether that was done, or its partitions are another process's by now.

        Raises:
            MotetError: when it cannot be.
        """
        end = time.monotonic() + TRIED_S
        if reader.outages != self._outages:
            # librdkafka 2.16 waits for ever in the next transaction of a producer that has seen an outage
            self._outages, self._producer = reader.outages, self._made()
            self.begin()
        while True:
            try:
                self._transaction(messages, played, reader)
                return True
            except self._kafka.KafkaException as error:
                cause = error.args[0]
                if cause.fatal():  # what became of it the brokers know: it is read from them what is done
                    self._producer = self._made()
                    self.begin()
                    return False
                self._abort()
                if is_lost(cause):
                    return False
                if time.monotonic() > end or cause.name().endswith(_LASTING):
                    raise told(cause, self._answers) from error
                time.sleep(PAUSE_S)

    def _transaction(self, messages: Sequence[Any], played: Answers, reader: TopicReader) -> None:
        self._rejected = None
        self._producer.begin_transaction()
        for place, (message, answer) in enumerate(zip(messages, played.objects, strict=True)):
            if answer is not None and not self._sent(self._answers.topic, message, answer):
                what = f"the answer is {len(answer):,} bytes, more than a message may have"
                played.failures[place] = Failure(place, "output", "", "", "RunError", what)
            if place in played.failures:
                self._send_failure(message, played.failures[place])
        self._producer.flush(TRANSACTION_S)
        if self._rejected is not None:
            raise self._kafka.KafkaException(self._rejected)
        group = reader.consumer.consumer_group_metadata()
        self._again(partial(self._producer.send_offsets_to_transaction, next_offsets(messages), group))
        self._again(self._producer.commit_transaction)

    def _again(self, call: Any) -> None:
        """Make a call that may be made again where it did not come to its end."""
        end = time.monotonic() + TRIED_S
        while True:
            try:
                self._in_time(call)
                return
            except self._kafka.KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > end:
                    raise
                time.sleep(PAUSE_S)

    def _in_time(self, call: Any) -> None:
        """Make a call, which the client may never come back from while brokers are away.

        Raises:
            RunError: when it has not.
        """
        made: Future[None] = Future()
        thread_of(lambda: do(made, lambda: call(TRANSACTION_S)), "motet-transaction").start()
        try:
            made.result(TRIED_S)
        except TimeoutError:
            what = f"the brokers have not ended a transaction for {TRIED_S:.0f} s"
            hint = "run the same command again: it goes on with what is not committed"
            raise RunError(what, where=str(self._answers), hint=hint) from None

    def _abort(self) -> None:
        self._producer.purge()
        with asking(self._answers):
            self._again(self._producer.abort_transaction)

    def _send_failure(self, message: Any, failure: Failure) -> None:
        """The message as it came, with where it was and why it failed in headers."""
        told_of = {
            "topic": message.topic(), "partition": str(message.partition()), "offset": str(message.offset()),
            **{name: getattr(failure, name) for name in FAILED},
        }  # fmt: skip
        headers = [(f"motet.{name}", text.encode("utf-8", "replace")) for name, text in told_of.items()]
        if not self._sent(self._failures.topic, message, message.value(), headers):
            self._sent(self._failures.topic, message, None, headers)  # which was as large as a message may be

    def _sent(self, topic: str, message: Any, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> bool:
        """Give a message to the client; whether it is not too large. It has the key, headers and time of the one that it is of."""
        end = time.monotonic() + TRIED_S
        while True:
            try:
                self._producer.produce(topic, value, **self._carried(topic, message, headers), on_delivery=self._note)
                self._producer.poll(0)
                return True
            except BufferError:  # until some of those before are delivered
                if time.monotonic() > end:
                    raise self._kafka.KafkaException(
                        self._kafka.KafkaError(self._kafka.KafkaError._TIMED_OUT)
                    ) from None
                self._producer.poll(PAUSE_S)
            except self._kafka.KafkaException as error:
                if error.args[0].code() == self._kafka.KafkaError.MSG_SIZE_TOO_LARGE:
                    return False
                raise

    def _carried(self, topic: str, message: Any, more: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
        kind, milliseconds = message.timestamp()
        found: dict[str, Any] = {"key": message.key(), "headers": [*(message.headers() or ()), *more]}
        if kind != self._kafka.TIMESTAMP_NOT_AVAILABLE:
            found["timestamp"] = milliseconds
        if topic in self._as_many:
            found["partition"] = message.partition()
        return found

    def _note(self, error: Any, message: Any) -> None:
        self._rejected = error or self._rejected

    def close(self) -> None:
        """Leave nothing under way."""
        self._producer.purge()
