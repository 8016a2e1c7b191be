"""Records that cannot be written, put where people find them, with the reason."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from motet.serving.sinks.records import Records

__all__ = ["put_aside"]

log = logging.getLogger("motet.serving.sinks")


def put_aside(path: Path, batch: Sequence[Records], why: str, max_bytes: int) -> None:
    """Add records to a file of JSON Lines; what would make it bigger than `max_bytes` is left out."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            for line in _lines(batch, why):
                if file.tell() >= max_bytes:
                    return
                file.write(line)
    except OSError as error:
        log.error("%s cannot be written: %s", path, error)


def _lines(batch: Sequence[Records], why: str) -> Iterator[str]:
    for records in batch:
        for row in zip(*records.columns.values(), strict=True):
            record = dict(zip(records.columns, row, strict=True))
            yield json.dumps({"error": why, "table": records.table, "record": record}, default=repr) + "\n"
