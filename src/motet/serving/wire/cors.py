"""What tells a browser that a page of another origin may read an answer (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["EXPOSED", "cors_lines"]

EXPOSED = ("Retry-After", "Inference-Header-Content-Length", "X-Request-Id", "X-Feedback-Id")
"""Fields of answers that such a page may read, beside those that it always may."""
_EXPOSE = b"access-control-expose-headers: %b\r\n" % ", ".join(EXPOSED).encode()


def cors_lines(allowed: Sequence[str], origin: bytes) -> bytes:
    """Fields of the answer to a page, each with the end of its line; none where its origin is not allowed.

    Args:
        allowed: origins whose pages may ask; `*` is any.
        origin: of the page, as the request says it.
    """
    if "*" in allowed:
        return b"access-control-allow-origin: *\r\n" + _EXPOSE
    if origin.decode("latin-1") not in allowed:
        return b""
    return b"access-control-allow-origin: %b\r\nvary: Origin\r\n" % origin + _EXPOSE
