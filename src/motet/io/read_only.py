"""What Arrow asks of a file of Python that is read and never written."""

from __future__ import annotations

__all__ = ["ReadOnlyFile", "SeekableFile"]


class ReadOnlyFile:
    """A file that is read from its start, or at places where it says that it is `seekable`."""

    closed = False
    _place = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is not."""
        return False

    def seekable(self) -> bool:
        """It is not."""
        return False

    def tell(self) -> int:
        """The byte that is read next."""
        return self._place

    def flush(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Read no more."""
        self.closed = True


class SeekableFile(ReadOnlyFile):
    """A file that is read at places.

    Args:
        size: bytes in it.
    """

    def __init__(self, size: int) -> None:
        self._size = size

    def seekable(self) -> bool:
        """It is."""
        return True

    def size(self) -> int:
        """Bytes in it."""
        return self._size

    def seek(self, place: int, whence: int = 0) -> int:
        """Go to a byte, counted from the start, from here, or from the end."""
        self._place = place + (0, self._place, self._size)[whence]
        return self._place
