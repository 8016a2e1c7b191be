"""A graph as a function: of columns, of rows, of one row whose text is streamed; and why a row got its answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal, overload

from motet.errors import Failure, InputError
from motet.facade.opened import OpenGraph

if TYPE_CHECKING:
    from motet.batch import Batch
    from motet.runtime.explanation import Explanation
    from motet.runtime.text_stream import AsyncTextStream, TextStream


__all__ = ["CallableGraph"]


@cache
def _calling() -> tuple[Any, Any]:
    """The modules that calls need, imported by the first one: when the interpreter ends, none can be."""
    from motet.runtime import bind, call

    return bind, call


class CallableGraph(OpenGraph):
    """The calls of a graph."""

    @overload
    def __call__(
        self, columns: Any, *, failures: Literal["raise"] = "raise", timeout: float | None = None
    ) -> dict[str, Any]: ...

    @overload
    def __call__(
        self, columns: Any, *, failures: Literal["return"], timeout: float | None = None
    ) -> tuple[dict[str, Any], list[Failure]]: ...

    def __call__(
        self, columns: Any, *, failures: Literal["raise", "return"] = "raise", timeout: float | None = None
    ) -> Any:
        """Play columns here and now.

        Args:
            columns: by the names of the inputs, arrays (or lists) whose first axis is the row; or a frame of pandas,
                polars, DuckDB or Arrow, of which columns that are no inputs are left alone.
            failures: `raise`, or `return` to get `(answers, failures)`.
            timeout: the seconds that it may take; None for any number. A call with a timeout is played in another thread, in
                the caller's context; one that is late stops before its next node or call of a model.

        Returns:
            Arrays by the names of the outputs, whose first axis is the row; lists of arrays where rows differ in shape. They
            are the caller's: none shares memory with an input or another output, and all can be written.

        Raises:
            RowErrors: when rows failed; carries the answers of the others.
            InputError: when the columns are not those of the graph.
            DeadlineError: when it takes longer than `timeout`.
        """
        if timeout is None:
            return self._answers(columns, failures)
        from motet.runtime.deadline import asked_in_time

        return asked_in_time(partial(self._answers, columns, failures), timeout)

    @overload
    async def acall(
        self, columns: Any, *, failures: Literal["raise"] = "raise", timeout: float | None = None
    ) -> dict[str, Any]: ...

    @overload
    async def acall(
        self, columns: Any, *, failures: Literal["return"], timeout: float | None = None
    ) -> tuple[dict[str, Any], list[Failure]]: ...

    async def acall(
        self, columns: Any, *, failures: Literal["raise", "return"] = "raise", timeout: float | None = None
    ) -> Any:
        """Play columns in another thread, while the event loop of asyncio goes on; arguments and answers are those of a call.

        The context variables are those of the task. When the task is cancelled the call stops before its next node or call
        of a model. At most `motet.runtime.deadline.MOST_CALLS` calls of a process are played so at the same time.

        Raises:
            RowErrors, InputError, DeadlineError: as a call does.
        """
        from motet.runtime.deadline import awaited

        return await awaited(partial(self._answers, columns, failures), timeout)

    def _answers(self, columns: Any, failures: str) -> Any:
        _, call = _calling()
        call.check_failures(failures)
        batch, bad = self._bound(columns)
        return self._session.lend(lambda executor: call.answer(executor, batch, bad, failures))

    @overload
    def predict(self, rows: Mapping[str, Any]) -> dict[str, Any]: ...

    @overload
    def predict(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]: ...

    def predict(self, rows: Any) -> Any:
        """Play rows as `/predict` of a server takes them, and give what it answers: rows in, rows out.

        Args:
            rows: each a mapping of inputs by name, as JSON has them (numbers, texts, nested lists, base64), or as Python has
                them (arrays, bytes, times); keys that are no inputs are passed over. Or one row.

        Returns:
            For each row what `json.dumps` can write: its outputs by name, lists for arrays, base64 for bytes, None for
            NaN and infinities; or `{"error": ...}`. Of one row its own answer.

        Raises:
            RowErrors: when the only row failed.
        """
        from motet.runtime.predict import predict

        return self._session.lend(lambda executor: predict(executor, rows))

    def stream(self, row: Mapping[str, Any], *, output: str | None = None, timeout: float | None = None) -> TextStream:
        """Play one row, and give its text piece by piece while a model writes it.

        Pieces come as soon as they are written where the output is the text of a model that tells them (of a language model,
        a route's arm, a cascade's last member), unchanged; any other text comes whole. They are the answer of `predict`, once
        they are put together.

        Args:
            row: as `predict` takes it.
            output: which text; `text`, or the only one, when not given.
            timeout: the seconds that all of it may take; None for any number.

        Returns:
            The pieces; `answer` has all outputs once the last one has come. Closing it ends the writing.

        Raises:
            InputError: when it is not said which of several texts. What is wrong with the row is raised by the first piece.
        """
        from motet.runtime.text_stream import TextStream

        return TextStream(self._session.lend, self.checked, row, output, timeout)

    def astream(
        self, row: Mapping[str, Any], *, output: str | None = None, timeout: float | None = None
    ) -> AsyncTextStream:
        """The same for `async for`, in a coroutine; see `stream`."""
        from motet.runtime.text_stream import AsyncTextStream

        return AsyncTextStream(self._session.lend, self.checked, row, output, timeout)

    def _bound(self, columns: Any) -> tuple[Batch, list[Failure]]:
        """The batch of what is given, and the rows that do not fit."""
        if hasattr(columns, "__arrow_c_stream__") or hasattr(columns, "with_format"):  # a frame, or a data set
            from motet.engines.layout import bind_frame

            return bind_frame(columns, self.checked)
        bind, _ = _calling()
        bound: tuple[Batch, list[Failure]] = bind.bind_columns(columns, self.checked)
        return bound

    def explain(self, columns: Any, row: int = 0) -> Explanation:
        """Say how the answer of one row came about: which members ran, their versions, their scores, and their times.

        Args:
            columns: as in a call.
            row: which of their rows, from 0.

        Raises:
            InputError: when there is no such row, or it does not fit.
        """
        from motet.runtime.call import explain

        batch, bad = self._bound(columns)
        for failure in bad:
            if failure.row == row:
                raise InputError(str(failure))
        places = [place for place, each in enumerate(batch.ids) if each == row]
        if not places:
            raise InputError(f"there is no row {row}; there are {len(batch)}")
        return self._session.lend(lambda executor: explain(executor, batch.take(places)))
