"""Compressed text: by suffix, else by its first bytes; gzip, bzip2, Zstandard, LZ4 and Brotli are Arrow's, xz is Python's."""

from __future__ import annotations

import lzma
import os
from typing import Any

import pyarrow as pa

from motet.io.read_only import ReadOnlyFile

__all__ = ["COMPRESSIONS", "MAGIC_BYTES", "codec_of", "decompressed", "sniffed"]

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".xz": "xz", ".lz4": "lz4", ".br": "brotli"}
"""Codecs by suffix."""
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\0": "xz",
    b"\x04\x22\x4d\x18": "lz4",
}
MAGIC_BYTES = 6
"""What `sniffed` looks at."""
_READ_BYTES = 1 << 18


def codec_of(name: str) -> str | None:
    """The codec of a file's name, None for none."""
    return COMPRESSIONS.get(os.path.splitext(name)[1].lower())


def sniffed(first: bytes) -> str | None:
    """The codec that some first bytes are of, None for none; what is Brotli does not show."""
    return next((codec for magic, codec in _MAGIC.items() if first.startswith(magic)), None)


def decompressed(raw: Any, codec: str | None) -> Any:
    """What a file holds. An Arrow `NativeFile`, as `raw` is."""
    if codec is None:
        return raw
    return pa.PythonFile(_Xz(raw), mode="r") if codec == "xz" else pa.CompressedInputStream(raw, codec)


class _Xz(ReadOnlyFile):
    """Reads xz and its predecessor, of several streams too; what is cut off, or followed by something else, is an error."""

    def __init__(self, raw: Any) -> None:
        self._raw, self._decoder = raw, lzma.LZMADecompressor()
        self._started, self._left = False, b""

    def read(self, size: int = -1) -> bytes:
        """Read some bytes; fewer than asked for only at the end.

        Raises:
            OSError: where it is no xz, or broken off.
        """
        parts: list[bytes] = []
        wanted = size
        while wanted != 0 and (part := self._some(wanted)):
            parts.append(part)
            wanted -= len(part) if size >= 0 else 0
        data = b"".join(parts)
        self._place += len(data)
        return data

    def _some(self, most: int) -> bytes:
        while True:
            if self._decoder.eof and not self._next_stream():
                return b""
            data = self._left
            self._left = b""
            if not data and self._decoder.needs_input:
                data = self._raw.read(_READ_BYTES)
                if not data and self._started:
                    raise OSError("the xz stream is broken off")
                if not data:
                    return b""
            self._started = True
            try:
                part = self._decoder.decompress(data, most)
            except lzma.LZMAError as error:
                raise OSError(f"is no xz stream: {error}") from error
            if part:
                return part

    def _next_stream(self) -> bool:
        """Whether another stream follows; zeros may stand in between."""
        left = self._decoder.unused_data
        while not (rest := left.lstrip(b"\0")):
            left = self._raw.read(_READ_BYTES)
            if not left:
                return False
        self._decoder, self._left = lzma.LZMADecompressor(), rest
        return True

    def close(self) -> None:
        """Let go of the file."""
        super().close()
        self._raw.close()
