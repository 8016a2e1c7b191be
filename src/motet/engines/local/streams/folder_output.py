"""Answers and failures as parts of folders, named by the offsets that they are of.

    OUTPUT/TOPIC+PARTITION+FIRST+NEXT.jsonl         the answers of the messages FIRST up to, not with, NEXT of a partition
    OUTPUT.failed/TOPIC+PARTITION+FIRST+NEXT.jsonl  those of them that failed, where some did; there before the answers

A part appears whole. The parts say how far each partition is: who goes on begins behind them, whatever the group has committed.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from motet.engines.layout import FAILED
from motet.engines.local.streams.topic_reader import TopicReader, next_offsets
from motet.engines.local.streams.window import Answers, as_json, position_of
from motet.errors import Failure, InputError
from motet.io.lines import LINES, lines_of
from motet.io.places import place_of
from motet.io.remote import asking
from motet.io.sink import open_writer
from motet.io.target import writing

__all__ = ["PartsOutput"]

FORMATS = ("jsonl", "jsonl.gz", "jsonl.zst")
_encode = msgspec.json.Encoder().encode


class PartsOutput:
    """Writes windows to a folder, and their failures to another one.

    Args:
        answers: the folder of the answers, a path or a URL.
        failures: that of the messages that failed.
        topic: what is read.
        form: of the parts, one of `FORMATS`.

    Raises:
        InputError: when a folder cannot be had, or there is no such format.
    """

    def __init__(self, answers: str, failures: str, topic: str, form: str) -> None:
        if form not in FORMATS:
            known = ", ".join(FORMATS)
            raise InputError(f"parts of a stream are not of the format {form!r}; known: {known}", where="output_format")
        self._answers, self._failures = (_Parts(each, topic, form) for each in (answers, failures))

    @property
    def failed(self) -> str:
        """Where failures go."""
        return self._failures.path

    def begin(self) -> None:
        """Make the folders.

        Raises:
            InputError: when they cannot be made.
        """
        self._answers.make()
        self._failures.make()

    def resume(self, partition: int) -> int | None:
        """See `Resume`: behind the parts. What a process that died has left behind them goes."""
        end = max((part.next for part in self._answers.of(partition)), default=None)
        for part in self._failures.of(partition):
            if end is None or part.first >= end:
                self._failures.remove(part)
        return end

    def write(self, messages: Sequence[Any], played: Answers, reader: TopicReader) -> bool:
        """Write a window and commit its offsets; whether that was done, or its partitions are another process's by now.

        Raises:
            MotetError: when it cannot be.
        """
        ends, places = next_offsets(messages), defaultdict[int, list[int]](list)
        for place, message in enumerate(messages):
            places[message.partition()].append(place)
        begins = {number: messages[found[0]].offset() for number, found in places.items()}
        starts = [type(each)(each.topic, each.partition, begins[each.partition]) for each in ends]
        if not reader.commit(starts):  # as far as it was: the brokers say whether the partitions are still ours
            return False
        for each in ends:
            found, span = places[each.partition], (each.partition, begins[each.partition], each.offset)
            failed = [place for place in found if place in played.failures]
            if failed:
                self._failures.write(*span, (_failure(messages[at], played.failures[at]) for at in failed))
            self._answers.write(*span, filter(None, (played.objects[place] for place in found)))
        reader.commit(ends)  # whoever has the partitions by now goes on behind the parts
        return True

    def close(self) -> None:
        """Nothing is under way between windows."""


def _failure(message: Any, failure: Failure) -> bytes:
    """The message as it came, and why it failed."""
    said = {name: getattr(failure, name) for name in FAILED}
    return _encode({**position_of(message), "value": as_json(message.value()), **said})


class _Part(NamedTuple):
    """A part: the offset of its first message, that which follows its last one, and its name."""

    first: int
    next: int
    name: str


class _Parts:
    """The parts of a topic in a folder.

    Args:
        folder: a path or a URL.
        topic: the topic.
        form: of the parts.
    """

    def __init__(self, folder: str, topic: str, form: str) -> None:
        self.path, self._form = folder.rstrip("/") + "/", form
        self._place = place_of(self.path)
        self._topic = topic
        forms = "|".join(map(re.escape, FORMATS))  # which may have been another one before
        self._named = re.compile(rf"\.?{re.escape(topic)}\+(\d+)\+(\d+)\+(\d+)\.(?:{forms})(\.part)?")

    def make(self) -> None:
        """Have the folder be there."""
        if self._place.is_local:
            with writing(self.path):
                os.makedirs(self._place.path, exist_ok=True)

    def of(self, partition: int) -> list[_Part]:
        """Those of a partition; what a process that died has begun to write is removed."""
        found = []
        for name in self._names():
            parts = self._named.fullmatch(name)
            if parts is None or int(parts[1]) != partition:
                continue
            part = _Part(int(parts[2]), int(parts[3]), name)
            if parts[4]:
                self.remove(part)
            else:
                found.append(part)
        return found

    def _names(self) -> list[str]:
        fs, path = self._place.fs, self._place.path
        if fs is None:
            with writing(self.path):
                return os.listdir(path)
        with asking(self.path, fs):
            fs.invalidate_cache()
            try:
                return [each.rstrip("/").rpartition("/")[2] for each in fs.ls(path.rstrip("/"), detail=False)]
            except FileNotFoundError:
                return []

    def remove(self, part: _Part) -> None:
        """Remove one."""
        with writing(self.path), asking(self.path, self._place.fs):
            if self._place.fs is None:
                os.unlink(os.path.join(self._place.path, part.name))
            else:
                self._place.fs.rm_file(f"{self._place.path.rstrip('/')}/{part.name}")

    def write(self, partition: int, first: int, end: int, lines: Iterable[bytes]) -> None:
        """Write one, which appears whole.

        Raises:
            MotetError: when it cannot be written.
        """
        name = f"{self._topic}+{partition}+{first:012d}+{end:012d}.{self._form}"
        writer = open_writer(f"{self.path}{name}", LINES, format="lines")
        try:
            if text := b"".join(line + b"\n" for line in lines):
                writer.write(lines_of(text, quotes=False))
            writer.close()
        except BaseException:
            writer.abort()
            raise
