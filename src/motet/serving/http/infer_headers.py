"""What the head of an inference request says of its body and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from motet.errors import InputError
from motet.serving.wire.long import LONG_BYTES, LONG_RAW_BYTES, LONG_TEXT_BYTES

if TYPE_CHECKING:
    from motet.serving.http.infer_batch import InferBatchCodec

__all__ = ["InferHeaders"]


class InferHeaders:
    """What the head of a request says of its body and its answer; the same for all requests with the same head.

    Attributes:
        header_length: bytes of the JSON at the beginning of the body; None where all of it is.
        encoding: of the body; None for none.
        timeout: milliseconds, as they were written.
        long_bytes: a body with more bytes than this takes long to read, where its bytes are numbers.
        accepts: encodings of the answer, as they were written; None where there is nothing of it.
        is_usual: whether an answer has the usual head: it is not compressed, has no name, and no page of a browser reads it.
        is_plain: whether it says nothing but where the bytes of the tensors begin.
        batch_codec: reads and answers the requests that came last; None where nothing does.
    """

    __slots__ = ("accepts", "batch_codec", "encoding", "header_length", "is_plain", "is_usual", "long_bytes", "timeout")

    def __init__(self, known: Mapping[bytes, bytes]) -> None:
        length, encoding = known.get(b"inference-header-content-length"), known.get(b"content-encoding")
        accepts = known.get(b"accept-encoding")
        self.header_length = None if length is None else _header_length(length)
        self.encoding = None if encoding is None else encoding.decode("latin-1")
        self.timeout = known.get(b"x-request-timeout-ms")
        self.accepts = None if accepts is None else accepts.decode("latin-1")
        self.is_usual = accepts is None and b"origin" not in known and b"x-request-id" not in known
        self.is_plain = bool(self.header_length) and not encoding and not self.timeout and self.is_usual
        self.batch_codec: InferBatchCodec | None = None
        if self.encoding is not None:
            self.long_bytes = LONG_TEXT_BYTES
        else:
            self.long_bytes = LONG_BYTES if self.header_length is None else LONG_RAW_BYTES


def _header_length(value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        raise InputError(f"Inference-Header-Content-Length must be a number of bytes; got {value.decode('latin-1')!r}")
    return int(value)
