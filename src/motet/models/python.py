"""Models that are Python functions or objects: `python:pkg.mod:Name`.

    function   called as fn(*columns, **options)
    class      made once with Name(**options), then called as instance(*columns); `close()` is called if it has it
    instance   called as instance(*columns); takes no options

Columns come in the order of the declared inputs (of the parameters, where the names are the same), arrays with the row
axis first. It returns one array, a dict or named tuple of arrays by output, a tuple in the order of the outputs, or,
for a single output, a list of arrays, one a row. Types: the declared ones, else those of `motet.types.returns` and of
an attribute `signature` (a `Signature`), else `any`, which is checked when rows flow.

A generator function writes texts, its one output: it yields `(row, piece)`, and the text of a row is its pieces in the order in which
they came. An exception in the place of a piece fails the row. Where somebody listens they have each piece as it comes. A generator
whose first is no such pair yields the answers of the rows, one by one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from motet.batch import Array
from motet.errors import AnswerError, cut
from motet.models.common import load_error, place
from motet.models.handler import Handler, ModelSource
from motet.models.importing import code_file, file_of, find, made_with
from motet.models.results import by_name
from motet.system.pieces import saying
from motet.types import ANY, ColumnType, Signature, declared_outputs

__all__ = ["PythonHandler", "PythonModel"]


class PythonHandler(Handler):
    """Loads what can be imported."""

    name: ClassVar[str] = "python"
    has_file: ClassVar[bool] = False

    def signature(self, source: ModelSource) -> Signature:
        """What is declared, or what the function says. Imports its module; makes and calls nothing.

        Raises:
            ModelLoadError: when it cannot be imported, is not callable, or refuses the types.
            UnknownNameError: when the module has no such name.
        """
        return _signature(_found(source), source)

    def identity(self, source: ModelSource) -> int:
        """Of the object that the name stands for now: a module that is loaded anew has others."""
        return id(_found(source))

    def streams(self, source: ModelSource) -> bool:
        """Whether it yields its texts piece by piece."""
        return _is_generator(_found(source))

    def code_file(self, location: str) -> str | None:
        """See `importing.code_file`."""
        return code_file(location)

    def load(self, source: ModelSource) -> PythonModel:
        """Make it ready; see `Handler.load`."""
        found = _found(source)
        signature = _signature(found, source)
        return PythonModel(_made(found, source), signature, place(source))


class PythonModel:
    """A function or object. It is called from several threads at once if its placement has several."""

    def __init__(self, function: Callable[..., Any], signature: Signature, where: str) -> None:
        self._function, self._where = function, where
        self._inputs, self._outputs = tuple(signature.inputs), tuple(signature.outputs)

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`."""
        found = self._function(*[columns[name] for name in self._inputs])
        if not inspect.isgenerator(found):
            return by_name(found, self._outputs, self._where)
        first = list(islice(found, 1))
        if not first or not _is_piece(first[0]):
            return by_name(_again(first, found), self._outputs, self._where)
        with closing(found):
            texts = self._written(_again(first, found), len(next(iter(columns.values()))))
        return by_name(texts, self._outputs, self._where)

    def _written(self, pieces: Iterator[Any], rows: int) -> list[Any]:
        """The texts that a generator yields; an exception stands for the text of a row that failed."""
        say = saying(self._outputs[0]) if rows == 1 and len(self._outputs) == 1 else None
        texts: list[list[str]] = [[] for _ in range(rows)]
        failed: dict[int, Exception] = {}
        for each in pieces:
            row, piece = self._piece(each, rows)
            if isinstance(piece, Exception):
                failed.setdefault(row, piece)
                continue
            texts[row].append(piece)
            if say is not None and not failed:
                say(piece)
        return [failed.get(row, "".join(text)) for row, text in enumerate(texts)]

    def _piece(self, said: Any, rows: int) -> tuple[int, str | Exception]:
        if not _is_piece(said) or not 0 <= said[0] < rows:
            hint = "yield (row, piece), the place of the row in the batch and the next piece of its text"
            raise AnswerError(f"a generator yields (row, piece); got {cut(repr(said))}", where=self._where, hint=hint)
        return int(said[0]), said[1]

    def close(self) -> None:
        """Close the object, if it can be closed."""
        close = getattr(self._function, "close", None)
        if callable(close):
            close()


def _is_piece(said: Any) -> bool:
    """Whether it is `(row, piece)`, and no answer of a row."""
    if not isinstance(said, tuple) or len(said) != 2:
        return False
    return isinstance(said[0], (int, np.integer)) and isinstance(said[1], (str, Exception))


def _again(first: list[Any], others: Iterator[Any]) -> Iterator[Any]:
    """All that is yielded, of which the first was taken; it is not held here."""
    while first:
        yield first.pop()
    yield from others


def _found(source: ModelSource) -> Any:
    """Import what the location names."""
    found = find(source, "python")
    if not callable(found):
        raise load_error(source, f"{source.location} is of type {type(found).__name__}, which cannot be called")
    return found


def _is_generator(found: Any) -> bool:
    """Whether a call of it yields: a function's own, that of an object, or that of what a class makes."""
    if inspect.isroutine(found):
        return inspect.isgeneratorfunction(found)
    kind = found if inspect.isclass(found) else type(found)
    return inspect.isgeneratorfunction(kind.__call__)


def _made(found: Any, source: ModelSource) -> Callable[..., Any]:
    """The callable that takes the columns only."""
    if inspect.isclass(found):
        made: Callable[..., Any] = made_with(found, source.options, source)
        if not callable(made):
            raise load_error(
                source, f"a {found.__qualname__} cannot be called", f"give it a __call__ in {file_of(found)}"
            )
        return made
    if not source.options:
        return found  # type: ignore[no-any-return]
    if not inspect.isroutine(found):
        what = f"{source.location} is made already, so it takes no options; got {', '.join(source.options)}"
        raise load_error(source, what, "name its class instead")
    return partial(found, **source.options)


def _signature(found: Any, source: ModelSource) -> Signature:
    function = found.__call__ if inspect.isclass(found) or not inspect.isroutine(found) else found
    given = getattr(found, "signature", None)
    own = given if isinstance(given, Signature) else None
    options = {} if inspect.isclass(found) else source.options
    inputs = _inputs(function, own, options, source, bound=not inspect.isclass(found))
    outputs = dict(source.outputs) or (dict(own.outputs) if own else _outputs(function, inputs, options, source))
    return Signature(inputs, outputs, own.fixed_rows if own else None)


def _inputs(
    function: Any, own: Signature | None, options: Mapping[str, Any], source: ModelSource, *, bound: bool
) -> dict[str, ColumnType]:
    parameters = _parameters(function, options, bound)
    declared = source.inputs or (own.inputs if own else {})
    if declared:
        names = parameters if set(parameters) == set(declared) else list(declared)
        return {name: declared[name] for name in names}
    if not parameters:
        raise load_error(source, "its parameters do not say what it takes", "declare the model's inputs, name: type")
    return dict.fromkeys(parameters, ANY)


def _parameters(function: Any, options: Mapping[str, Any], bound: bool) -> list[str]:
    """The names of the parameters that columns go to: those by position without a default and not among the options."""
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []
    positional = [item for item in found if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
    own = positional if bound else positional[1:]
    return [item.name for item in own if item.default is item.empty and item.name not in options]


def _outputs(
    function: Any, inputs: Mapping[str, ColumnType], options: Mapping[str, Any], source: ModelSource
) -> dict[str, ColumnType]:
    try:
        declared = declared_outputs(function, tuple(inputs.values()), options)
    except (ValueError, TypeError) as error:
        raise load_error(source, f"it refuses its inputs: {error}", f"it is in {file_of(function)}") from error
    if declared is None:
        return {"output": ColumnType("string") if _is_generator(function) else ANY}
    return {"output": declared} if isinstance(declared, ColumnType) else dict(declared)
