"""What takes more than a millisecond or so to read or to write: that is done in a thread, while other requests go on.

Raw numbers are read by looking at them. Everything else (numbers of JSON and of gRPC's contents, texts in any form) becomes
objects of Python on its way.
"""

from __future__ import annotations

from collections.abc import Iterable

from motet.types import ColumnType

__all__ = ["LONG_BYTES", "LONG_ELEMENTS", "LONG_RAW_BYTES", "LONG_TEXT_BYTES", "have_texts"]

LONG_RAW_BYTES, LONG_BYTES, LONG_TEXT_BYTES = 4 << 20, 128 << 10, 16 << 10
"""More bytes than this of raw numbers, of numbers one by one, and of raw texts or what is compressed, take long to read."""
LONG_ELEMENTS = 20_000
"""More elements than this take long to write, but for raw numbers."""


def have_texts(kinds: Iterable[ColumnType]) -> bool:
    """Whether columns of these types are objects of Python, also where they are sent as raw bytes."""
    return any(kind.is_object for kind in kinds)
