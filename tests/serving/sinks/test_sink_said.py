"""What the log says of databases that fail: one line, without statements and their values."""

import asyncio
import sqlite3

import pytest

from motet.serving.sinks.targets import told

sa = pytest.importorskip("sqlalchemy")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            sa.exc.OperationalError("INSERT INTO t VALUES (?)", (4711,), sqlite3.OperationalError("database is locked")),
            "OperationalError: database is locked",
        ),
        (
            sa.exc.OperationalError("SELECT 1", {}, RuntimeError("connection refused\n\tIs the server running?\nDETAIL: 4711")),
            "RuntimeError: connection refused",
        ),
        (TimeoutError(), "TimeoutError"),
        (OSError(28, "No space left on device", "/disk/kept.jsonl"), "OSError: [Errno 28] No space left on device: '/disk/kept.jsonl'"),
    ],
)  # fmt: skip
def test_an_error_of_a_database_is_one_line_without_values(error, expected):
    assert told(error) == expected


def test_records_that_a_database_refuses_are_said_without_what_is_in_them(tmp_path, caplog):
    from motet.serving.config.sinks import SinkConfig
    from motet.serving.sinks.records import Records
    from motet.serving.sinks.targets import RefusedError
    from motet.serving.sinks.writer import SinkWriter

    class Refuses:
        is_log = False

        def write(self, batch, name):
            raise RefusedError("invalid input: 4711")

    async def main():
        writer = SinkWriter(SinkConfig(name="s", to="x.jsonl"), Refuses(), tmp_path)  # type: ignore[arg-type]
        writer._write([Records("t", {"id": "string"}, {"id": ["4711"]})], "b")

    asyncio.run(main())
    (line,) = caplog.messages
    assert (
        line == f"sink s: 1 records cannot be written, and are put aside in {tmp_path}/s.rejected.jsonl with the reason"
    )
    assert "4711" in (tmp_path / "s.rejected.jsonl").read_text()
