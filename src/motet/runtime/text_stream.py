"""A text of one row, read in Python while it is written: `for piece in graph.stream(row)`."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Self

import numpy as np

from motet.batch import Batch
from motet.errors import InputError, OverloadedError, RowErrors, UnknownNameError
from motet.graph.check import CheckedGraph
from motet.graph.fields import show
from motet.runtime.deadline import Halted, droppable
from motet.runtime.executor import Executor
from motet.runtime.pieces import PieceBuffer
from motet.runtime.predict import answered, finite
from motet.runtime.rows import read_rows
from motet.runtime.streaming import play_streamed, streamed_outputs
from motet.threads import begun, thread_of
from motet.tracebacks import keeping

__all__ = ["AsyncTextStream", "TextStream", "output_of"]

Play = Callable[[Callable[[Executor], dict[str, Any]]], dict[str, Any]]
"""Lends an executor to a function, and gives what that gives."""


def output_of(checked: CheckedGraph, output: str | None) -> str:
    """The output that is streamed.

    Args:
        checked: the graph.
        output: which one; None for `text`, or the only one that is a text.

    Raises:
        UnknownNameError: when it has no such output.
        InputError: when it is no text, or not said of several.
    """
    kinds = checked.signature.outputs
    texts = [name for name, kind in kinds.items() if str(kind) == "string"]
    if output is not None and output not in kinds:
        raise UnknownNameError("output", output, tuple(kinds))
    chosen = output or ("text" if "text" in texts else texts[0] if len(texts) == 1 else "")
    if chosen not in texts:
        what = f"output {output!r} is {kinds[output]}, no text" if output else "it is not said which output is the text"
        listed = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
        raise InputError(what, where="stream", hint=f"say output=NAME, of {listed}")
    return chosen


class _Writing:
    """A row that is played in a thread of its own, with somebody who listens; it ends once nobody does.

    Args:
        play: lends an executor to a function.
        checked: the graph.
        row: the inputs.
        output: which text is told.
        timeout: the seconds that all of it may take; None for any number.
        wake: told that there are pieces, or the end, in the thread that has them.
    """

    def __init__(
        self,
        play: Play,
        checked: CheckedGraph,
        row: Mapping[str, Any],
        output: str | None,
        timeout: float | None,
        wake: Callable[[], object],
    ) -> None:
        if not isinstance(row, Mapping):
            raise InputError(f"a row is a mapping of inputs by name; got {show(row)}", where="stream")
        self.output = output_of(checked, output)
        self._pieces, self._wake = PieceBuffer(wake), wake
        self.answer: dict[str, Any] | None = None
        self.error: BaseException | None = None
        self.is_over = False
        written, self.drop = droppable(lambda: play(lambda executor: self._written(executor, row)), timeout)
        if not begun(thread_of(lambda: self._played(written), "motet-stream")):
            raise OverloadedError("no thread can be begun to write in")

    def _written(self, executor: Executor, row: Mapping[str, Any]) -> dict[str, Any]:
        given = read_rows([dict(row)], executor.checked, 1)
        if given.bad:
            raise InputError(given.bad[0])
        streamed = streamed_outputs(executor.checked, executor.host.resolver)
        batch = Batch.of(dict(given.columns), np.zeros(1, np.int64))
        with keeping():
            played = play_streamed(executor, batch, streamed, self._give, None, 1)
        (answer,), failures, raised = answered(played, given)
        if failures:
            raise RowErrors(failures, {}, [], raised) from raised.get(0)
        if not any(self.output in outputs.values() for outputs in streamed.values()):
            self._give(0, self.output, answer[self.output] or "")
        found: dict[str, Any] = finite(answer)
        return found

    def _give(self, row: int, output: str, piece: str) -> None:
        if output == self.output:
            self._pieces.give(row, output, piece)

    def _played(self, written: Callable[[], dict[str, Any]]) -> None:
        try:
            self.answer = written()
        except BaseException as error:  # noqa: BLE001 (handed to whoever reads)
            self.error = error
        self.is_over = True
        with suppress(Halted):
            self._wake()

    def take(self) -> str:
        """What has been written since."""
        return "".join(piece for _, _, piece in self._pieces.take())


Asked = tuple[Play, CheckedGraph, Mapping[str, Any], str | None, float | None]
"""The arguments of `_Writing`, but for what is told."""


class _Reading:
    """What reads a text that is written: its end, and its answer.

    Args:
        asked: see `_Writing`.
        woken: what is awaited where there is nothing to read; set when it is closed.
        wake: sets it, too, in the thread that writes.
    """

    def __init__(self, asked: Asked, woken: threading.Event | asyncio.Event, wake: Callable[[], object]) -> None:
        self._wakes = woken.set
        self._writing = _Writing(*asked, wake)
        self._ending = weakref.finalize(self, self._writing.drop)
        self._ending.atexit = False

    def _step(self) -> str | None:
        """The next piece, empty for none yet; None where there are no more.

        Raises:
            MotetError: when there is no answer.
        """
        if not self._ending.alive:
            return None
        over = self._writing.is_over
        if (piece := self._writing.take()) or not over:
            return piece
        self._ending()
        if self._writing.error is not None:
            raise self._writing.error
        return None

    @property
    def answer(self) -> dict[str, Any]:
        """The outputs of the row, as `Graph.predict` gives them.

        Raises:
            InputError: when the text is not at its end.
        """
        if self._writing.answer is None:
            hint = "read the stream to its end first"
            raise InputError("there is no answer before the last piece has come", hint=hint)
        return self._writing.answer

    def close(self) -> None:
        """End the writing; there are no more pieces."""
        self._ending()
        self._wakes()


class TextStream(_Reading, Iterator[str]):
    """The pieces of a text, each as soon as it is written. Closing it, or letting go of it, ends the writing.

    Attributes:
        answer: the outputs of the row, as `Graph.predict` gives them; to be asked for once the last piece has come.
    """

    def __init__(self, *asked: *Asked) -> None:
        self._woken = woken = threading.Event()
        super().__init__(asked, woken, woken.set)

    def __next__(self) -> str:
        """The next piece.

        Raises:
            StopIteration: when the text is at its end.
            MotetError: when there is no answer; pieces that came before are no answer then.
        """
        while (piece := self._step()) is not None:
            if piece:
                return piece
            self._woken.wait()
            self._woken.clear()
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class AsyncTextStream(_Reading, AsyncIterator[str]):
    """The same, awaited; see `TextStream`."""

    def __init__(self, *asked: *Asked) -> None:
        loop = asyncio.get_running_loop()
        self._woken = woken = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(woken.set)
            except RuntimeError:  # the loop has ended, and nobody reads
                raise Halted("not waited for") from None

        super().__init__(asked, woken, wake)

    async def __anext__(self) -> str:
        """The next piece; see `TextStream`."""
        while (piece := self._step()) is not None:
            if piece:
                return piece
            await self._woken.wait()
            self._woken.clear()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()
