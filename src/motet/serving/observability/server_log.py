"""The log of a server: one line an event, as text or as JSON, on standard error.

log: {format: json, level: warning}

What libraries log or warn of is bounded in rate as incidents are. A line has no line breaks or other control characters, no
passwords of addresses, and of an exception its class and place, not what it says, which may quote rows.
"""

from __future__ import annotations

import logging
import re
import traceback
from datetime import UTC, datetime
from typing import Any

import msgspec

from motet.serving.config.log import LogSettings
from motet.system.incidents import INCIDENTS
from motet.system.secrets import without_passwords

__all__ = ["one_line", "set_up"]

LONGEST = 2000
"""Characters of what one line says."""
FRAMES = 8
"""Places of an exception that are shown, the innermost first."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\ud800-\udfff]")
_QUERY = re.compile(r"(?<![\w])((?:https?|/)[^\s?'\"]*)\?[^\s'\"]+")


def one_line(text: str) -> str:
    """A text as one line without what nobody else is to see: passwords and queries of addresses."""
    lines = text.strip()[: 2 * LONGEST].splitlines()  # (what is looked for below takes long in long texts)
    text = _CONTROLS.sub("?", "; ".join(filter(None, map(str.strip, lines))))
    text = _QUERY.sub(r"\1", without_passwords(text))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def set_up(settings: LogSettings) -> None:
    """Write the log of this process so from now on; what was set up before is replaced."""
    logging.captureWarnings(True)
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if settings.format == "json" else _Text())
    handler.addFilter(_bounded)
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each.formatter, _Text)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.level.upper())


def _bounded(record: logging.LogRecord) -> bool:
    """Whether a record is written: those of libraries are bounded, ours bound themselves where they may be many."""
    ours = record.name == "motet" or record.name.startswith("motet.")
    return ours or INCIDENTS.lets(f"the logger {record.name}")


class _Text(logging.Formatter):
    """Lines for people."""

    def format(self, record: logging.LogRecord) -> str:
        when = f"{self.formatTime(record, '%Y-%m-%d %H:%M:%S')},{int(record.msecs):03d}"
        return f"{when} {record.levelname} {one_line(_message(record))}{_raised(record)}"


class _Json(_Text):
    """Lines for programs: `time`, `level`, `logger`, `pid`, `message`, and of an incident its kind and what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": when, "level": record.levelname.lower(), "logger": record.name}
        line |= {"pid": record.process, "message": one_line(_message(record))}
        if kind := getattr(record, "incident", ""):
            line["incident"] = kind
        fields = getattr(record, "fields", {})
        line |= {name: _plain(value) for name, value in fields.items() if name not in line and value is not None}
        if raised := _raised(record):
            line["raised"] = raised.strip(" ()")
        return msgspec.json.encode(line).decode()


def _plain(value: object) -> object:
    if isinstance(value, float):
        return round(value, 3)
    return value if value is None or isinstance(value, (bool, int)) else one_line(str(value))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 (of a library's own making)
        return f"{record.name} logs what cannot be written: {type(error).__name__}"


def _raised(record: logging.LogRecord) -> str:
    """The class and places of a record's exception: ` (KeyError at batcher.py:270 in _begin < ...)`."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return ""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    places = " < ".join(f"{each.filename.rpartition('/')[2]}:{each.lineno} in {each.name}" for each in reversed(frames))
    return f" ({type(error).__name__}{' at ' if places else ''}{places})"
