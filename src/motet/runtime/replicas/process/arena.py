"""Shared memory that nothing can leak: files without a name, mapped by a replica's process and its parent.

A block is made by the parent and never changes its size; the child gets its descriptor and maps it too. The memory is
given back when the last mapping is gone, however its processes ended. On Linux a block is a sealed memory file, so
that no side can cut off what the other reads; elsewhere it is a temporary file that is unlinked at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import tempfile
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from motet.batch import Array
from motet.system.places import temporary_folder

__all__ = ["CALL_BYTES", "Arena", "SharedBlock", "open_block"]

CALL_BYTES = 2**30
"""The most that one call's columns, or its answer, may take in shared memory, unless said otherwise."""
LEAST_BYTES = 2**16
MOST_BLOCKS = 6


@dataclass(eq=False)
class SharedBlock:
    """A piece of shared memory.

    Attributes:
        number: its name between the two processes.
        mapped: the memory.
    """

    number: int
    mapped: mmap.mmap
    _lent: weakref.ref[Any] | None = None

    @property
    def num_bytes(self) -> int:
        """Its size."""
        return len(self.mapped)

    def lend(self) -> Array:
        """All of it, as an array of bytes; it is not free again before that array and all views of it are gone."""
        lent = np.frombuffer(self.mapped, np.uint8)
        self._lent = weakref.ref(lent)  # a view's base is the array that was made of the memory itself
        return lent

    @property
    def free(self) -> bool:
        """Whether nobody holds what it was lent to."""
        return self._lent is None or self._lent() is None


class Arena:
    """The blocks of one replica, made by its parent; one thread at a time.

    Args:
        limit_bytes: the most that one block may have.
    """

    def __init__(self, limit_bytes: int = CALL_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._blocks: list[SharedBlock] = []
        self._fresh: list[tuple[int, int]] = []
        self._fds: list[int] = []
        self._gone: list[int] = []
        self._next = 0

    def room(self, num_bytes: int, besides: SharedBlock | None = None) -> SharedBlock:
        """A block that is free and large enough: the first there is, else a new one.

        Args:
            num_bytes: how large it must be.
            besides: a block that it must not be.

        Raises:
            MemoryError: when it would be larger than the limit, or the machine has not so much.
        """
        smaller = None
        for block in self._blocks:
            if block is not besides and block.free:
                if block.num_bytes >= num_bytes:
                    return block
                smaller = smaller or block
        if num_bytes > self.limit_bytes:
            raise MemoryError(
                f"{num_bytes} bytes for one call; a process replica has room for {self.limit_bytes} at a time"
            )
        if smaller is not None:
            self.forget(smaller)
        made = self._made(min(_rounded(num_bytes), self.limit_bytes))
        self._blocks.append(made)
        return made

    @property
    def may_lend(self) -> bool:
        """Whether one more block can be lent, and two are left for the next call."""
        return sum(not block.free for block in self._blocks) < MOST_BLOCKS - 2

    def forget(self, block: SharedBlock) -> None:
        """Do not use a block again; its memory is given back when nobody reads it any more."""
        self._blocks.remove(block)
        self._gone.append(block.number)

    def news(self) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...], list[int]]:
        """What the child does not know yet: new blocks, blocks that are gone, and the new ones' descriptors.

        The descriptors are the caller's to close.
        """
        if not self._fresh and not self._gone:
            return (), (), []
        news = tuple(self._fresh), tuple(self._gone), self._fds
        self._fresh, self._gone, self._fds = [], [], []
        return news

    def close(self) -> None:
        """Give all blocks back: now, or when the last array that was lent of them is gone."""
        for fd in self._fds:
            os.close(fd)
        for block in self._blocks:
            with contextlib.suppress(BufferError):  # somebody reads it
                block.mapped.close()  # not left to the collector: an error's traceback holds the block
        self._blocks, self._fresh, self._gone, self._fds = [], [], [], []

    def _made(self, num_bytes: int) -> SharedBlock:
        fd = _new_file(num_bytes)
        number, self._next = self._next, self._next + 1
        try:
            block = SharedBlock(number, mmap.mmap(fd, num_bytes))
        except BaseException:
            os.close(fd)
            raise
        self._fresh.append((number, num_bytes))
        self._fds.append(fd)
        return block


def open_block(number: int, num_bytes: int, fd: int) -> SharedBlock:
    """The block of a descriptor that the parent sent; closes the descriptor."""
    try:
        return SharedBlock(number, mmap.mmap(fd, num_bytes))
    finally:
        os.close(fd)


def _rounded(num_bytes: int) -> int:
    """A size with at most a quarter more, so that slightly larger batches need no new block."""
    step = max(LEAST_BYTES, 1 << max(0, num_bytes.bit_length() - 3))
    return max(LEAST_BYTES, -(-num_bytes // step) * step)


def _new_file(num_bytes: int) -> int:
    """The descriptor of a file without a name, all of whose memory is there."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("motet", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile(dir=temporary_folder()) as file:
            fd = os.dup(file.fileno())
    try:
        _fill(fd, num_bytes)
    except OSError as error:
        os.close(fd)
        raise MemoryError(f"no shared memory for {num_bytes} bytes: {error.strerror}") from error
    return fd


def _fill(fd: int, num_bytes: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, num_bytes)
    else:
        os.truncate(fd, num_bytes)
    if hasattr(fcntl, "F_ADD_SEALS"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
