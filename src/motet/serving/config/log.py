"""How a server writes its log: `log:` of its configuration.

log: {format: json, level: warning}
"""

from __future__ import annotations

from dataclasses import dataclass

from motet.errors import GraphError
from motet.graph.fields import Fields

__all__ = ["FORMATS", "LEVELS", "LogSettings"]

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How a server writes its log.

    Attributes:
        format: `text` or `json`.
        level: the least level that is written: `debug`, `info`, `warning` or `error`.
    """

    format: str = "text"
    level: str = "info"

    @classmethod
    def read(cls, value: object, where: str) -> LogSettings:
        """The settings as they were written.

        Raises:
            GraphError: when a key is unknown, or a value is none that there is.
        """
        fields = Fields(value, where, ("format", "level"))
        made = cls(fields.take("format", str, "text"), fields.take("level", str, "info"))
        for name, got, known in (("format", made.format, FORMATS), ("level", made.level, LEVELS)):
            if got not in known:
                raise GraphError(f"{got!r} is none of {', '.join(known)}", where=fields.place(name))
        return made
