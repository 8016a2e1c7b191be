"""Records that cannot be written, put where people find them, with the reason."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from motet.serving.sinks.records import Records

__all__ = ["put_aside"]

log = logging.getLogger("motet.serving.sinks")


def put_aside(path: Path, batch: Sequence[Records], why: str, max_bytes: int) -> None:
    """Add records to a file of JSON Lines; what would make it bigger than `max_bytes` is left out."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            for records in batch:
                for row in zip(*records.columns.values(), strict=True):
                    if file.tell() >= max_bytes:
                        return
                    record = dict(zip(records.columns, row, strict=True))
                    line = {"error": why, "table": records.table, "record": record}
                    file.write(json.dumps(line, default=repr) + "\n")
    except OSError as error:
        log.error("%s cannot be written: %s", path, error)
