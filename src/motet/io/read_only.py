"""What Arrow asks of a file of Python that is read and never written."""

from __future__ import annotations

__all__ = ["ReadOnlyFile"]


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
