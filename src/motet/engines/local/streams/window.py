"""A window of messages: their values as rows, played, and their answers."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from motet.batch import Indices
from motet.engines.job import Job
from motet.engines.layout import RunLayout, is_bulky
from motet.engines.local.options import BulkOptions
from motet.errors import Failure, InputError
from motet.graph.check import CheckedGraph
from motet.io.files import FoundFile
from motet.io.jsonl import JsonLinesSource, object_of
from motet.io.keys import Row
from motet.io.once import HeldContent
from motet.io.write_jsonl import objects_of
from motet.threads import side_by_side

__all__ = ["FORMATS", "Answers", "WindowPlayer", "as_json", "position_of"]

VALUE = "value"
"""The column that has what a message is, where that is no object."""
_LINE = re.compile(r"line \d+: ")
_encode = msgspec.json.Encoder().encode


def _text(value: bytes) -> bytes:
    try:
        return _encode({VALUE: value.decode()})
    except UnicodeDecodeError as error:
        raise InputError(f"is no UTF-8, at byte {error.start + 1}") from None


def _bytes(value: bytes) -> bytes:
    return _encode({VALUE: base64.b64encode(value).decode()})


FORMATS: dict[str, Callable[[bytes], bytes]] = {"jsonl": bytes, "text": _text, "bytes": _bytes}
"""By format of messages what makes an object of JSON of one; `jsonl` is one object."""


@dataclass(frozen=True)
class Answers:
    """What came of a window.

    Attributes:
        objects: the answer of each message as an object of JSON, None for those that failed.
        failures: by its place in the window why a message has no answer.
    """

    objects: Sequence[bytes | None]
    failures: dict[int, Failure]


def as_json(value: bytes | None) -> Any:
    """Bytes as JSON has them: a text where they are one, else `{"b64": text}`."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def position_of(message: Any) -> dict[str, Any]:
    """Where a message is, and what it came with."""
    return {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp()[1],
        "key": as_json(message.key()),
        "headers": [[name, as_json(value)] for name, value in message.headers() or ()],
    }


class WindowPlayer:
    """Plays windows of messages.

    Args:
        checked: the graph.
        options: of the run.

    Raises:
        InputError: when an option cannot be, or nobody declared the type of an output.
        ModelLoadError: when a model is not there.
    """

    def __init__(self, checked: CheckedGraph, options: BulkOptions) -> None:
        form = options.format or "jsonl"
        if form not in FORMATS:
            known = ", ".join(FORMATS)
            raise InputError(f"messages are of the format {form!r}; known: {known}", where="format")
        self._checked, self._options, self._object = checked, options, FORMATS[form]
        self.job = Job.of_values(checked, batch_rows=options.batch_rows, goes_on=True).declared()
        self.player = self.job.player()
        inputs = {stored: checked.graph.inputs[name] for name, stored in checked.graph.stored.items()}
        self._bulky = {name for name, each in inputs.items() if is_bulky(each.type)}
        self._outputs = frozenset(checked.graph.outputs)

    @property
    def workers(self) -> int:
        """Threads that play; one where models share places."""
        return 1 if self.player.executor.lazy_keys else self._options.num_workers

    def play(self, messages: Sequence[Any]) -> Answers:
        """Answer messages."""
        failures: dict[int, str] = {}
        rows: dict[int, Row] = {}
        lines = []
        for place, message in enumerate(messages):
            read = self._read(message.value())
            if isinstance(read, str):
                failures[place] = read
            else:
                line, rows[place] = read
                lines.append(line)
        why = {place: Failure(place, "input", "", "", "InputError", reason) for place, reason in failures.items()}
        objects: list[bytes | None] = [None] * len(messages)
        if lines:
            for place, output in self._answered(lines, np.array([*rows], np.int64), why):
                kept = {name: value for name, value in rows[place].items() if self._keeps(name)}
                objects[place] = _encode({**self._position(messages[place]), **kept, **output})
        return Answers(objects, why)

    def _read(self, value: bytes | None) -> tuple[bytes, Row] | str:
        """A message as a line of JSON Lines, and what is in it; or why it is none."""
        if value is None:
            return "the message has no value"
        try:
            line = self._object(value)
        except InputError as error:
            return f"the message {error.what}"
        found = object_of(line)
        if isinstance(found, str):
            return f"the message {found}"
        if both := [name for name in self._outputs & found.keys() if self._keeps(name)]:
            return (
                f"the message has a key {both[0]!r}, as an output of the graph is called: drop it, or rename the output"
            )
        return line.replace(b"\n", b" "), found  # between values: a text has none as it stands

    def _keeps(self, name: str) -> bool:
        keep = self._options.keep
        kept = name not in self._bulky if keep is None else name in keep
        return kept and name not in self._options.drop

    def _position(self, message: Any) -> dict[str, Any]:
        name = self._options.row_ids
        return {} if name is None else {name: position_of(message)}

    def _answered(
        self, lines: Sequence[bytes], places: Indices, failures: dict[int, Failure]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """The outputs of those that have an answer, with their places; why the others have none is put into `failures`."""
        read, layout = self._batch(lines)
        size = self.job.batch_rows
        parts = [(read.slice(start, size), places[start : start + size]) for start in range(0, len(read), size)]
        for table, answered, failed in side_by_side(partial(self._play, layout), parts, self.workers):
            for each in failed:
                failures[each.row] = (
                    replace(each, message=_LINE.sub("", each.message, 1)) if each.node == "input" else each
                )
            yield from zip(answered.tolist(), objects_of(table, [False] * table.num_columns), strict=True)

    def _play(
        self, layout: RunLayout, part: tuple[pa.RecordBatch, Indices]
    ) -> tuple[pa.RecordBatch, Indices, Iterable[Failure]]:
        batch, failures, _ = layout.bind(*part)
        played = self.player.play(batch)
        answers = layout.unbind(played, *part)
        return answers.table, answers.ids, [*failures, *played.failures]

    def _batch(self, lines: Sequence[bytes]) -> tuple[pa.RecordBatch, RunLayout]:
        """The columns that the graph takes, in one batch; null where no message has them."""
        types = self._checked.graph.stored_types
        source = JsonLinesSource(FoundFile("messages", content=HeldContent(b"\n".join(lines))), types)
        named = [name for name in types if name in source.schema.names]
        read = next(source.batches(len(lines), named)) if named else None
        columns = [] if read is None else read.columns
        fields = [] if read is None else list(read.schema)
        lacking = [pa.field(name, pa.null()) for name in types if name not in named]
        columns, fields = [*columns, *(pa.nulls(len(lines)) for _ in lacking)], [*fields, *lacking]
        schema = pa.schema([field for field in fields if field.name in types])
        layout = RunLayout.of(self._checked, schema, (), (), "the messages")
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields)), layout
