"""Texts of servers that are read while they are written: `for piece in client.stream(...)`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from motet.client.calls import Flow
from motet.client.events import PieceEvents
from motet.client.refusals import error_of
from motet.errors import InputError, MotetError, RequestError
from motet.oip.asking import LostCall, RemoteAnswer
from motet.oip.info import ModelInfo

__all__ = ["AsyncStreamedText", "Reading", "StreamAsked", "StreamedText", "cut_short", "text_of"]


class StreamAsked(NamedTuple):
    """A text that is to be read while it is written.

    Attributes:
        opening: asks for it; its answer, where it is well, has not been read.
        events: takes that.
        end: until when, by the client's clock.
        where: who is asked for what.
        budget_s: how long all of it may take.
    """

    opening: Flow[RemoteAnswer]
    events: PieceEvents
    end: float
    where: str
    budget_s: float


@dataclass
class Reading:
    """What there is of a stream: its answer once it has ended."""

    answer: dict[str, Any] | None = None


class _Answered:
    _reading: Reading

    @property
    def answer(self) -> dict[str, Any]:
        """The outputs of the row by name, as `predict` gives them.

        Raises:
            InputError: before the last piece has come.
        """
        if self._reading.answer is None:
            hint = "read the stream to its end first"
            raise InputError("there is no answer before the last piece has come", hint=hint)
        return self._reading.answer


class StreamedText(_Answered, Iterator[str]):
    """The pieces of a text, each as soon as it comes. Closing it, or letting go of it, ends the writing.

    Attributes:
        answer: the outputs of the row by name; to be asked for once the last piece has come.
    """

    def __init__(self, pieces: Any, reading: Reading) -> None:
        self._pieces, self._reading = pieces, reading

    def __next__(self) -> str:
        """The next piece.

        Raises:
            StopIteration: when the text is at its end.
            MotetError: when there is no answer; pieces that came before are no answer then.
        """
        piece: str = next(self._pieces)
        return piece

    def close(self) -> None:
        """End the writing; there are no more pieces."""
        self._pieces.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class AsyncStreamedText(_Answered, AsyncIterator[str]):
    """The same, awaited; see `StreamedText`."""

    def __init__(self, pieces: AsyncGenerator[str], reading: Reading) -> None:
        self._pieces, self._reading = pieces, reading

    async def __anext__(self) -> str:
        """The next piece; see `StreamedText`."""
        return await anext(self._pieces)

    async def close(self) -> None:
        """End the writing; there are no more pieces."""
        await self._pieces.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


def cut_short(got: LostCall, stream: StreamAsked) -> MotetError:
    """The error of a text that ended before its end."""
    if got.kind == "timeout":
        return error_of(got, stream.where, stream.budget_s) or RequestError(got.what, where=stream.where)
    return RequestError(f"the answer was cut off before its end: {got.what}", where=stream.where)


def text_of(info: ModelInfo | None, where: str) -> str:
    """The output that is streamed where nobody says which: `text`, or the only one that is a text, beside `finish_reason`."""
    outputs = {} if info is None else {each.name: each.type for each in info.outputs.values()}
    texts = [name for name, kind in outputs.items() if str(kind) == "string"]
    texts = [name for name in texts if name != "finish_reason"] or texts
    if "text" in texts or len(texts) == 1:
        return "text" if "text" in texts else texts[0]
    listed = ", ".join(f"{name}: {kind}" for name, kind in outputs.items()) or "those that the server does not tell"
    raise InputError("it is not said which output is the text", where=where, hint=f"say output=NAME, of {listed}")
