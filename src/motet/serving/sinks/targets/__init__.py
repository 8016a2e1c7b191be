"""Where records go: one kind of place a file, behind the protocol of target.py."""

from __future__ import annotations

from pathlib import Path

from motet.serving.config.sinks import SinkConfig
from motet.serving.sinks.targets.target import RefusedError, Target, told

__all__ = ["RefusedError", "Target", "open_target", "told"]


def open_target(config: SinkConfig, folder: Path) -> Target:
    """What writes to `config.to`; nothing is connected or made yet.

    Raises:
        MissingExtraError: when a database needs a package that is not installed.
        GraphError: when `to` cannot be used.
    """
    if config.format == "sql":
        from motet.serving.sinks.targets.sql import SqlTarget

        return SqlTarget(config, folder)
    if config.format == "parquet":
        from motet.serving.sinks.targets.parquet import ParquetTarget

        return ParquetTarget(config, folder)
    if config.format == "table":
        from motet.serving.sinks.targets.table import TableTarget

        return TableTarget(config, folder)
    from motet.serving.sinks.targets.jsonl import JsonLinesTarget

    return JsonLinesTarget(config, folder)
