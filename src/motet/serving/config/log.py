"""The key `log` of serve.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from motet.graph.section import Section

__all__ = ["LogSettings"]


@dataclass(frozen=True, slots=True)
class LogSettings(Section):
    """How a server writes its log.

    Attributes:
        format: `text` or `json`.
        level: the least level that is written: `debug`, `info`, `warning` or `error`.
    """

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
