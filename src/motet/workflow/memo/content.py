"""Digests of values that have no format of their own, by what they hold and not by how they are held.

A pickle also says which of its parts are one object, in which order a set is gone through, and where a tensor lies. None
of these is content: they differ between processes, and between a value and what is read back of it.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import sys
from typing import Any, BinaryIO

__all__ = ["HashingFile", "content_digest", "same_content"]

_REPEATED = 4
"""A value whose parts are written wherever they are met may be this much longer than its pickle, and 1 MiB, at most."""


def content_digest(value: Any, size: int) -> str:
    """A digest of what a value holds, 64 hex digits.

    Args:
        value: what can be pickled.
        size: the length of its pickle in bytes.
    """
    sink = HashingFile(most=_REPEATED * size + (1 << 20))
    try:
        _Pickler(sink, fast=True).dump(value)
    except (_TooLong, ValueError, RecursionError):  # it holds itself, or the same parts very often: identity counts too
        sink = HashingFile()
        _Pickler(sink, fast=False).dump(value)
    return sink.hash.hexdigest()


def same_content(one: Any, other: Any) -> bool:
    """Whether two values that can be pickled hold the same. Raises whatever pickling raises."""
    size = sys.getsizeof(one)
    return type(one) is type(other) and content_digest(one, size) == content_digest(other, size)


class _TooLong(Exception):
    """What is written has become too long."""


class HashingFile:
    """A file that is written and hashed at once; without a file, only hashed, up to a length.

    Attributes:
        hash: of what was written.
        size: of it, in bytes.
    """

    closed = False

    def __init__(self, file: BinaryIO | None = None, most: float = math.inf) -> None:
        self._file, self._most, self.hash, self.size = file, most, hashlib.sha256(), 0

    def write(self, data: Any) -> int:
        """Write some more."""
        view = memoryview(data).cast("B") if not isinstance(data, bytes) else data
        self.size += len(view)
        if self.size > self._most:
            raise _TooLong
        self.hash.update(view)
        if self._file is not None:
            self._file.write(view)
        return len(view)

    def flush(self) -> None:
        """Do nothing: the file itself is flushed when it is closed."""

    def tell(self) -> int:
        """How much was written."""
        return self.size


class _Pickler(pickle.Pickler):
    """Writes parts wherever they are met, and sets and tensors as digests of what they hold."""

    def __init__(self, sink: HashingFile, *, fast: bool) -> None:
        super().__init__(sink, protocol=5)
        self.fast = fast

    def persistent_id(self, value: Any) -> str | None:
        kind = type(value)
        if kind is str or kind is int or kind is float:
            return None
        if isinstance(value, (set, frozenset)):
            return _of_set(value, kind)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.Tensor):
            return _of_tensor(value, kind)
        return None


def _of_set(value: Any, kind: type) -> str:
    inside = sorted(_of_part(each) for each in value)
    about = _of_part(getattr(value, "__dict__", None))
    return f"{kind.__module__}.{kind.__qualname__} {about} {hashlib.sha256(' '.join(inside).encode()).hexdigest()}"


def _of_part(value: Any) -> str:
    if type(value) in (str, int, float, bool, type(None)):
        return hashlib.sha256(f"{type(value).__name__} {value!r}".encode()).hexdigest()
    sink = HashingFile()
    _Pickler(sink, fast=True).dump(value)
    return sink.hash.hexdigest()


def _of_tensor(value: Any, kind: type) -> str | None:
    """A tensor by its numbers; None for those of other layouts, which are pickled in their own way."""
    if str(value.layout) != "torch.strided" or value.is_quantized or value.device.type == "meta":
        return None
    plain = value.detach().resolve_conj().resolve_neg().cpu().contiguous()
    digest = (
        hashlib.sha256(plain.reshape(-1).view(sys.modules["torch"].uint8).numpy()).hexdigest() if plain.numel() else ""
    )
    about = _of_part({**vars(value), "requires_grad": value.requires_grad})
    return f"{kind.__module__}.{kind.__qualname__} {value.dtype} {tuple(value.shape)} {about} {digest}"
