"""Answers to offer to sinks, and what the places they go to hold."""

import json
import sqlite3
import threading
from contextlib import asynccontextmanager

import numpy as np

from motet.serving.batching.request import Reply
from motet.serving.sinks import SinkConfig, Sinks
from motet.serving.sinks.items import AnsweredRequest
from motet.types import ColumnType, Signature

SIGNATURE = Signature(
    {"image": ColumnType.parse("uint8[2,2]"), "user": ColumnType.parse("string")},
    {"label": ColumnType.parse("int64"), "scores": ColumnType.parse("float32[3]")},
)


def sinks(folder, *configs, **common):
    """Sinks, each set up as in a file."""
    read = [SinkConfig.read({**config, **common}, f"sinks[{place}]") for place, config in enumerate(configs)]
    return Sinks(read, folder=folder)


@asynccontextmanager
async def opened(folder, *configs, signature=SIGNATURE, close_s=20.0, **common):
    """Sinks that keep what graph `g` answers."""
    made = sinks(folder, *configs, **common)
    try:
        await made.open("g", signature, "mlp=1")
        yield made
    finally:
        await made.close(close_s)


def offer(made, request, labels, user="bob", key="", deadline=None):
    """Offer a request of as many rows as there are labels."""
    rows = len(labels)
    reply = Reply(
        {"label": np.array(labels, np.int64), "scores": np.ones((rows, 3), np.float32)},
        0,
        rows,
        None,
        (),
        rows,
        0.0,
        0.0,
    )
    inputs = {"image": np.zeros((rows, 2, 2), np.uint8), "user": np.array([user] * rows, object)}
    return made.offer("g", AnsweredRequest(request, "key-1", 12.5, inputs, rows, reply, key), deadline)


def table(path, name="predictions", columns="id, output_label"):
    """What a table of a SQLite file holds, by id."""
    with sqlite3.connect(path) as connection:
        found = connection.execute(f"SELECT {columns} FROM {name} ORDER BY id").fetchall()
    connection.close()
    return found


def lines(path):
    """What a file of JSON Lines holds."""
    return [json.loads(line) for line in path.read_text().split("\n") if line]


class Place:
    """A target of a test's own: it is down, hangs, or refuses what it is told to.

    Attributes:
        down: whether writing fails.
        free: while it is cleared, writing hangs.
        refused: labels that cannot be written.
        records: what was written, by id.
        names: of the batches, in order.
    """

    is_log = False

    def __init__(self, down=False, refused=()):
        self.down, self.refused = down, refused
        self.free, self.entered = threading.Event(), threading.Event()
        self.free.set()
        self.ids, self.names, self.tries = [], [], 0

    def prepare(self, table, kinds):
        if self.down:
            raise ConnectionError("nobody answers")

    def write(self, batch, name):
        from motet.serving.sinks.targets import RefusedError

        self.tries += 1
        self.entered.set()
        self.free.wait()
        if self.down:
            raise ConnectionError("nobody answers")
        for records in batch:
            if set(records.columns.get("output_label", ())) & set(self.refused):
                raise RefusedError("no such label")
        self.names.append(name)
        self.ids += [each for records in batch for each in records.columns["id"]]

    def close(self):
        pass


def with_place(made, place):
    """Let the only sink write to a target of the test's own."""
    (writer,) = made._writers
    writer.target = place
    return made
