"""What requests have in common that differ in the bytes of their tensors only: they are read, and answered, at one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from motet.batch import Array, Column
from motet.serving.wire.answer import Form
from motet.serving.wire.plan import Dense

__all__ = ["MAX_MOULD_BYTES", "RequestTemplate"]

MAX_MOULD_BYTES = 64 << 10
"""Longer bodies are read one by one: copying them once more would cost more than it saves."""


class RequestTemplate:
    """Requests with the same JSON, and their answers.

    Args:
        head: the JSON.
        dense: the tensors whose bytes follow it, places counted from the first byte after it.
        size: how many bytes these are together.
        rows: of a request.
        form: of an answer.
    """

    __slots__ = ("_bytes", "_dense", "_form", "_head", "rows")

    def __init__(self, head: bytes, dense: Sequence[Dense], size: int, rows: int, form: Form) -> None:
        self._head, self._form, self.rows = head, form, rows
        self._bytes = len(head) + size
        self._dense = [
            (name, dtype, shape[1:], len(head) + start, len(head) + start + _nbytes(dtype, shape))
            for name, dtype, shape, start in dense
        ]

    def fits(self, body: bytes) -> bool:
        """Whether a body is of a request like these."""
        return len(body) == self._bytes and body.startswith(self._head)

    def columns(self, bodies: Sequence[bytes]) -> dict[str, Column]:
        """The inputs of requests, one behind the other.

        Args:
            bodies: each fits.
        """
        count, size = len(bodies), self._bytes
        table = np.ndarray((count, size), np.uint8, b"".join(bodies))
        rows = count * self.rows
        columns: dict[str, Column] = {}
        for name, dtype, shape, start, end in self._dense:
            columns[name] = np.ndarray((rows, *shape), dtype, table[:, start:end].tobytes())
        return columns

    def answers(self, columns: Mapping[str, Array], count: int, more: bytes) -> list[bytes]:
        """Whole answers over HTTP/1.1 on connections that stay, one a request.

        Args:
            columns: the outputs of all the requests' rows.
            count: of requests.
            more: further fields of the head, each with the end of its line.
        """
        begin = self._form.begin(more)
        outputs = self._form.elements(columns, 0, count * self.rows)
        raw = outputs[0] if len(outputs) == 1 else _side_by_side(outputs, count)
        size = len(raw) // count
        return [begin + raw[first : first + size] for first in range(0, len(raw), size)] if size else [begin] * count


def _side_by_side(outputs: Sequence[bytes], count: int) -> bytes:
    """The bytes of each request, of all outputs, one request behind the other."""
    if count == 1 or not outputs:
        return b"".join(outputs)
    table = np.concatenate([np.frombuffer(raw, np.uint8).reshape(count, -1) for raw in outputs], axis=1)
    return table.tobytes()


def _nbytes(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    return int(dtype.itemsize * np.prod(shape, dtype=np.int64))
