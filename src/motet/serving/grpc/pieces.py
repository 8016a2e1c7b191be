"""Pieces of texts over ModelStreamInfer: a response each, while a model writes them, before the one with the whole answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from motet.oip.messages import ModelStreamInferResponse
from motet.runtime.pieces import PieceBuffer

__all__ = ["FINAL", "PieceTeller", "Tell"]

FINAL = "triton_final_response"
"""The parameter of a response that says whether it is the last one of its request, as Triton has it."""
_ROW = "row"
"""The parameter that says of which row a piece is."""
Tell = Callable[[Any], Awaitable[None]]
"""Sends a response; returns once it has been written."""


class PieceTeller:
    """Sends the pieces of a request's texts, no faster than they are read.

    Args:
        tell: sends a response.
        message: the request.
        version: of the model that answers.
        patience_s: how long the client may read none of them.

    Attributes:
        pieces: takes them from whoever writes.
    """

    def __init__(self, tell: Tell, message: Any, version: str, patience_s: float) -> None:
        self._tell, self._message, self._version = tell, message, version
        self._woken = asyncio.Event()
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, self._woken.set)
        self.pieces = PieceBuffer(wake, patience_s)

    async def until(self, answered: asyncio.Future[Any]) -> None:
        """Send them as they come; returns once there is an answer, or an error, and all of them have been sent."""
        answered.add_done_callback(lambda _: self._woken.set())
        over = False
        while not over:
            await self._woken.wait()
            self._woken.clear()
            over = answered.done()
            for row, output, piece in self.pieces.take():
                await self._tell(_response(self._message, self._version, row, output, piece))


def _response(message: Any, version: str, row: int, output: str, piece: str) -> Any:
    answer, text = ModelStreamInferResponse(), piece.encode()
    part = answer.infer_response
    part.model_name, part.model_version, part.id = message.model_name, version, message.id
    part.outputs.add(name=output, datatype="BYTES", shape=[1])
    part.raw_output_contents.append(len(text).to_bytes(4, "little") + text)
    part.parameters[_ROW].int64_param = row
    part.parameters[FINAL].bool_param = False
    return answer
