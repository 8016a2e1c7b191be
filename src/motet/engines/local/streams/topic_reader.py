"""Reads windows of messages of the partitions that a group gives this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from motet.engines.local.streams.address import TopicAddress
from motet.engines.local.streams.client import asking, confluent, is_lost, made, told
from motet.errors import RunError

__all__ = ["TopicReader", "WindowBounds", "next_offsets"]

WINDOW_BYTES = 64 << 20
"""The most that the messages of a window hold, but for one that holds more by itself."""
AHEAD_KIB = 32 << 10
"""The most that is fetched before it is asked for."""
WAIT_S = 0.1
"""How often it is looked whether to stop while nothing comes."""
GONE_S = 120.0
"""How long brokers that do not answer are waited for."""
PLAY_MS = 600_000
"""How long a window may take before its partitions are given to others, unless the file of settings says something else."""
ASSIGN_S = 30.0
"""How long brokers are waited for while they give partitions."""
Resume = Callable[[int], int | None]
"""Says of a partition which offset follows what was written of it; None where nothing was, or the group knows it."""


@dataclass(frozen=True)
class WindowBounds:
    """When a window ends.

    Attributes:
        rows: messages.
        seconds: since the first of them.
    """

    rows: int
    seconds: float


class TopicReader:
    """A member of a group that reads a topic. One thread may touch it.

    Attributes:
        outages: how often all brokers were away.

    Args:
        address: the topic and the group.
        resume: where each partition goes on, beside what the group has committed.
        until_end: whether to read no more than there is.

    Raises:
        InputError: when the client refuses its settings.
    """

    def __init__(self, address: TopicAddress, resume: Resume, *, until_end: bool) -> None:
        self._address, self._resume, self._until_end = address, resume, until_end
        self._kafka = confluent()
        self.consumer = made(
            self._kafka.Consumer,
            address,
            {
                "group.id": address.group,
                "auto.offset.reset": address.start,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "max.poll.interval.ms": PLAY_MS,
                "queued.max.messages.kbytes": AHEAD_KIB,
                "error_cb": self._note,
            },
        )
        self._held: list[Any] = []
        self._assigned: set[int] | None = None
        self._ended: set[int] = set()
        self._gone_since: float | None = None
        self.outages = 0

    def begin(self) -> None:
        """Join the group; `read` raises what is wrong with it."""
        self.consumer.subscribe(
            [self._address.topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._revoke
        )

    def rejoin(self) -> None:
        """Leave the group and join it again, so that what was read and not committed is read again."""
        self.consumer.unsubscribe()
        self._revoke()
        self.begin()

    @property
    def at_end(self) -> bool:
        """Whether all that there is was read."""
        return self._assigned is not None and self._assigned <= self._ended

    def read(self, bounds: WindowBounds, stopped: Callable[[], bool]) -> list[Any]:
        """The messages of the next window, in each partition in their order; none where it is to stop before one came.

        Raises:
            RunError: when brokers have not answered for two minutes.
            MotetError: when the client finds anything else that does not pass.
        """
        self._held, size, ends = [], 0, 0.0
        while len(self._held) < bounds.rows and size < WINDOW_BYTES and not stopped():
            if self._until_end and self.at_end:
                break
            wait = WAIT_S if not self._held else min(WAIT_S, max(0.0, ends - time.monotonic()))
            message = self.consumer.poll(wait)
            if message is None:
                self._check_gone()
            elif message.error() is not None:
                self._take_error(message)
            else:
                if not self._held:
                    size, ends = 0, time.monotonic() + bounds.seconds
                self._ended.discard(message.partition())
                self._held.append(message)
                size += len(message)
            if self._held and time.monotonic() >= ends:
                break
        taken, self._held = self._held, []
        return taken

    def _take_error(self, message: Any) -> None:
        error, codes = message.error(), self._kafka.KafkaError
        if error.code() == codes._PARTITION_EOF:
            self._ended.add(message.partition())
        elif (
            error.code() != codes._MAX_POLL_EXCEEDED and not error.retriable()
        ):  # partitions are lost, of which it is told
            raise told(error, self._address)

    def _note(self, error: Any) -> None:
        """What the client tells of its brokers: called while messages are asked for."""
        if error.code() == self._kafka.KafkaError._ALL_BROKERS_DOWN:
            self._gone_since = self._gone_since or time.monotonic()
            self.outages += 1
        elif error.code() in (self._kafka.KafkaError._AUTHENTICATION, self._kafka.KafkaError._SSL):
            raise told(error, self._address)

    def _check_gone(self) -> None:
        """See whether brokers that did not answer do by now.

        Raises:
            RunError: when they have not for too long.
        """
        if self._gone_since is None:
            return
        try:
            self.consumer.list_topics(self._address.topic, 1.0)
        except self._kafka.KafkaException:
            if time.monotonic() - self._gone_since > GONE_S:
                what = f"no broker has answered for {GONE_S:.0f} s"
                hint = "run the same command again once they do: it goes on with what is not done"
                raise RunError(what, where=str(self._address), hint=hint) from None
            return
        self._gone_since = None

    def _assign(self, consumer: Any, partitions: Sequence[Any]) -> None:
        """Begin with partitions: where the group has committed, or behind what was written already."""
        self._held, self._ended = [], set()
        self._assigned = {each.partition for each in partitions}
        written = {each.partition: self._resume(each.partition) for each in partitions}
        behind = [each for each in partitions if written[each.partition] is not None]
        if behind:
            with asking(self._address):
                committed = {each.partition: each.offset for each in consumer.committed(behind, ASSIGN_S)}
            for each in behind:
                each.offset = max(committed[each.partition], written[each.partition] or 0)
        consumer.assign(list(partitions))

    def _revoke(self, *of: Any) -> None:
        """Forget what is held of partitions that go: whoever has them next reads it."""
        self._held, self._ended, self._assigned = [], set(), None

    def lag(self) -> int:
        """Messages that are there and were not read yet, as far as that is known without asking for it."""
        behind = 0
        for each in self.consumer.position(self.consumer.assignment()):
            low, high = self.consumer.get_watermark_offsets(each, cached=True)
            if each.partition not in self._ended and high >= 0:
                behind += max(0, high - (each.offset if each.offset >= 0 else max(low, 0)))
        return behind

    def commit(self, offsets: Sequence[Any]) -> bool:
        """Have the group know how far it is; whether this process still has the partitions.

        Raises:
            RunError: when brokers have not answered for two minutes.
            MotetError: when it cannot for another reason.
        """
        end = time.monotonic() + GONE_S
        while True:
            try:
                self.consumer.commit(offsets=list(offsets), asynchronous=False)
                return True
            except self._kafka.KafkaException as error:
                cause = error.args[0]
                if is_lost(cause):
                    return False
                if cause.code() != self._kafka.KafkaError._WAIT_COORD or time.monotonic() > end:
                    raise told(cause, self._address) from error

    def close(self) -> None:
        """Leave the group."""
        self.consumer.close()


def next_offsets(messages: Iterable[Any]) -> list[Any]:
    """By partition the offset that follows the messages of a window."""
    ends = {(each.topic(), each.partition()): each.offset() + 1 for each in messages}
    return [confluent().TopicPartition(topic, partition, offset) for (topic, partition), offset in ends.items()]
