"""gzip and deflate, of bodies of requests and answers (RFC 9110, 8.4)."""

from __future__ import annotations

import zlib

from motet.errors import InputError, RequestError, TooLargeError

__all__ = ["UnsupportedEncodingError", "compress", "decompress"]

_GZIP, _ZLIB, _PLAIN = 31, 15, -15
"""`wbits` of zlib: with the head of gzip, with that of zlib, and without any."""
LEVEL = 1
"""Of compression: answers are written while somebody waits."""
MAX_ENCODINGS = 2
"""Encodings on top of each other: each may cost as much as the largest body."""
MAX_MEMBERS = 64
"""Pieces of one body, each compressed for itself: what is left is copied after each."""


class UnsupportedEncodingError(RequestError):
    """A body in an encoding that is not spoken here."""

    status = 415


def decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """A body as it was before it was encoded.

    Args:
        body: as it came.
        encoding: the `Content-Encoding`; several in the order in which they were applied.
        max_bytes: what it may become.

    Raises:
        UnsupportedEncodingError: when an encoding is unknown.
        TooLargeError: when it would become larger.
        InputError: when it is not in that encoding.
    """
    names = [each.strip().lower() for each in encoding.split(",")]
    if len(names) > MAX_ENCODINGS:
        raise UnsupportedEncodingError(f"{len(names)} content encodings; {MAX_ENCODINGS} at most")
    for name in reversed(names):
        if name in ("gzip", "x-gzip"):
            body = _inflate(body, _GZIP, name, max_bytes)
        elif name == "deflate":
            body = _inflate(body, _ZLIB if _has_zlib_head(body) else _PLAIN, name, max_bytes)
        elif name not in ("identity", ""):
            raise UnsupportedEncodingError(
                f"the content encoding {name!r} is not known", hint="use gzip, deflate or none"
            )
    return body


def _has_zlib_head(body: bytes) -> bool:
    return len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0


def _inflate(body: bytes, wbits: int, name: str, max_bytes: int) -> bytes:
    if not body:
        raise InputError(f"the body is not in {name}: it is empty")
    parts: list[bytes] = []
    left, rest = max_bytes, body
    while rest:
        if len(parts) == MAX_MEMBERS:
            raise InputError(f"the body in {name} has more than {MAX_MEMBERS} pieces; send it in one")
        inflater = zlib.decompressobj(wbits)
        try:
            part = inflater.decompress(rest, left + 1)
        except zlib.error as error:
            raise InputError(f"the body is not in {name}: {error}") from None
        if len(part) > left:
            raise TooLargeError(f"the body has more than {max_bytes} bytes when it is decompressed")
        if not inflater.eof:
            raise InputError(f"the body is not in {name}: it ends too soon")
        rest = inflater.unused_data
        if rest and wbits != _GZIP:
            raise InputError(f"the body in {name} has {len(rest)} bytes behind its end")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def compress(body: bytes, accepted: str, min_bytes: int) -> tuple[bytes, str | None]:
    """A body in the encoding that its reader likes best.

    Args:
        body: as it is.
        accepted: the `Accept-Encoding`.
        min_bytes: shorter bodies stay as they are.

    Returns:
        The body, and the `Content-Encoding`; None where it stays as it is.
    """
    if len(body) < min_bytes:
        return body, None
    weights = _weights(accepted)
    best = max(("gzip", "deflate"), key=lambda name: weights.get(name, weights.get("*", 0.0)))
    weight = weights.get(best, weights.get("*", 0.0))
    if weight <= 0 or weights.get("identity", 0.0) > weight:
        return body, None
    deflater = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP if best == "gzip" else _ZLIB)
    return deflater.compress(body) + deflater.flush(), best


def _weights(accepted: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for each in accepted.split(","):
        name, _, quality = each.partition(";")
        try:
            weights[name.strip().lower()] = float(quality.strip().removeprefix("q=") or 1)
        except ValueError:
            continue  # a quality that is no number: as if the encoding had not been named
    return weights
