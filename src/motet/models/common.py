"""What handlers share: options, declared types, the packages they need, and the framework's errors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from motet.batch import Array
from motet.errors import GraphError, ModelLoadError, TypeMismatchError, UnknownNameError
from motet.locks import new_rlock
from motet.models.handler import ModelSource
from motet.system.extras import imported
from motet.system.secrets import without_passwords
from motet.tracebacks import said
from motet.types import ColumnType, Signature

__all__ = [
    "ADDRESS_OPTIONS",
    "FILE_OPTIONS",
    "check_cpu",
    "check_features",
    "check_options",
    "declared_over",
    "features_of",
    "fixed_rows",
    "framework",
    "load_error",
    "output_places",
    "own_filters",
    "place",
    "raise_memory_error",
    "row_type",
]

Shape = Sequence[Any]
"""The axes of an array: lengths, and what a framework has for others."""
FILE_OPTIONS = ("ca", "certificate", "certificate_key")
"""Those that are files of certificates; a relative path begins at the folder of the graph."""
ADDRESS_OPTIONS = ("timeout_s", "retries", "api_key", "headers", *FILE_OPTIONS)
"""The options of every model that is called by address."""


def place(source: ModelSource) -> str:
    """Where an error about this model was found: its name and its location."""
    shown = without_passwords(source.location)
    return shown if source.name == source.location else f"model {source.name!r} ({shown})"


def load_error(source: ModelSource, what: str, hint: str = "") -> ModelLoadError:
    """The error that this model cannot be loaded."""
    return ModelLoadError(what, where=place(source), hint=hint)


def framework(module: str, package: str, extra: str, source: ModelSource) -> Any:
    """Import what a handler needs.

    Raises:
        MissingExtraError: when it is not installed; names the command that installs it.
    """
    return imported(module, package, extra, place(source))


def check_options(source: ModelSource, known: Iterable[str]) -> None:
    """Refuse options that the handler does not have.

    Raises:
        UnknownNameError: lists those it has.
    """
    names = tuple(known)
    for name in source.options:
        if name not in names:
            raise UnknownNameError("option", name, names, where=f"{place(source)}: with")


def check_cpu(source: ModelSource, handler: str) -> None:
    """Refuse a device for handlers that only use the processor.

    Raises:
        ModelLoadError: when the source asks for another device.
    """
    if source.device != "cpu":
        raise load_error(
            source, f"{handler} models run on the cpu only, got device {source.device!r}", "leave the device out"
        )


def declared_over(own: Signature, source: ModelSource) -> Signature:
    """The model's own signature, with the declared types over it.

    Declared inputs must be inputs of the model; those not declared keep their own type. Declared outputs choose which
    outputs are given, and in which order; where none is declared all are.

    Raises:
        UnknownNameError: when a declared name is none of the model's.
        TypeMismatchError: when a declared type cannot be that of the model's column.
    """
    inputs = {**own.inputs, **_declared("input", own.inputs, source.inputs, source)}
    outputs = _declared("output", own.outputs, source.outputs, source) or dict(own.outputs)
    return Signature(inputs, outputs, own.fixed_rows, own.labels)


def _declared(
    kind: str, own: Mapping[str, ColumnType], declared: Mapping[str, ColumnType], source: ModelSource
) -> dict[str, ColumnType]:
    for name, wanted in declared.items():
        if name not in own:
            raise UnknownNameError(f"{kind} of the model", name, tuple(own), where=place(source))
        if not own[name].accepts(wanted) and not wanted.accepts(own[name]):
            raise TypeMismatchError(
                f"{kind} {name!r} is declared as {wanted}, the model has {own[name]}",
                where=place(source),
                hint=f"declare {own[name]}, or leave the declaration out",
            )
    return dict(declared)


def check_features(inputs: Mapping[str, ColumnType], names: Sequence[str], features: int, source: ModelSource) -> None:
    """Check declared inputs against the features of a model: all of them by name, or as many by place.

    Args:
        inputs: the declared types.
        names: the names of the model's features, empty where they have none.
        features: how many it takes.
        source: the model, for messages.

    Raises:
        TypeMismatchError: when only some are features by name, or they are more or fewer.
    """
    if set(inputs) == set(names):
        return
    some = [name for name in inputs if name in names]
    if some and all(not kind.shape for kind in inputs.values()):
        others = [name for name in inputs if name not in names] or [name for name in names if name not in inputs]
        raise TypeMismatchError(
            f"{', '.join(some)}: features of the model by name, but not all: {', '.join(others)}",
            where=place(source),
            hint=f"declare all of them ({', '.join(names)}), or leave the inputs out",
        )
    if any(kind.varies or (kind.dtype == "any" and len(inputs) == 1) for kind in inputs.values()):
        return
    given = sum(math.prod(kind.least_shape) for kind in inputs.values())
    if given != features:
        declared = ", ".join(f"{name}: {kind}" for name, kind in inputs.items())
        raise TypeMismatchError(
            f"the declared inputs ({declared}) are {given} features, the model takes {features}", where=place(source)
        )


def fixed_rows(
    source: ModelSource, inputs: Mapping[str, Shape | None], outputs: Mapping[str, Shape | None]
) -> int | None:
    """The number of rows that every call must have, None where any will do.

    Args:
        source: the model, for messages.
        inputs: the shapes of the inputs, whose first axes are the rows: lengths, and anything else where any will do.
        outputs: those of the outputs.

    Raises:
        ModelLoadError: when the inputs fix them, but not all to the same number.
    """
    given, got = (
        {name: shape[0] for name, shape in shapes.items() if shape and isinstance(shape[0], int)}
        for shapes in (inputs, outputs)
    )
    if not given:
        return None
    if len({*given.values(), *got.values()}) > 1:
        named = ", ".join(f"{name}: {length}" for name, length in {**given, **got}.items())
        hint = "export the model with a first axis of any length, the rows, for all inputs and outputs"
        raise load_error(source, f"the first axes differ ({named}), so they are not the rows", hint)
    return next(iter(given.values()))


def row_type(what: str, shape: Shape, dtype: str, source: ModelSource, axis_hint: str, dtype_hint: str) -> ColumnType:
    """The type of a column `what` of a model, of a shape whose first axis is the row; others that are no lengths vary.

    Raises:
        ModelLoadError: when it has no such axis, or a dtype that no column has; the hints say how to mend that.
    """
    if not len(shape):
        raise load_error(source, f"{what} is one value whatever the rows are: it has no row axis", axis_hint)
    try:
        found = ColumnType.parse(dtype.removeprefix("torch."))
    except GraphError as error:
        raise load_error(source, f"{what} has dtype {dtype}, which no column has", dtype_hint) from error
    return ColumnType(found.dtype, tuple(axis if isinstance(axis, int) else None for axis in shape[1:]))


def output_places(answer: Any, source: ModelSource, what: str, hint: str) -> dict[str, int]:
    """For each output its place in an answer: by the names of a dict or named tuple, else the declared ones in order, or numbered.

    Raises:
        ModelLoadError: when `what` (`it gives`) is values inside values.
    """
    if hasattr(answer, "_asdict"):
        answer = answer._asdict()
    if isinstance(answer, Mapping):
        found = {str(name): value for name, value in answer.items()}
    else:
        values = list(answer) if isinstance(answer, (list, tuple)) else [answer]
        numbered = ["output"] if len(values) == 1 else [f"output_{place}" for place in range(len(values))]
        names = list(source.outputs) if len(source.outputs) == len(values) else numbered
        found = dict(zip(names, values, strict=True))
    if not all(isinstance(value, int) for value in found.values()):
        raise load_error(source, f"{what} values inside values", hint)
    return found


def features_of(inputs: Mapping[str, ColumnType], dtype: str) -> Callable[[Mapping[str, Array]], Array]:
    """How a batch becomes one array of features, shape `[rows, features]`, of `dtype`.

    One input is taken as it is. Several are put side by side in their order: a scalar column is one feature, a column
    of shape `[n]` is n of them.
    """
    names, wanted = tuple(inputs), np.dtype(dtype)
    if len(names) == 1 and len(inputs[names[0]].shape) == 1:
        (name,) = names
        return lambda columns: np.ascontiguousarray(columns[name], dtype=wanted)

    def stacked(columns: Mapping[str, Array]) -> Array:
        first = columns[names[0]]
        parts = [columns[name].reshape(len(first), -1) for name in names]
        features = np.empty((len(first), sum(part.shape[1] for part in parts)), dtype=wanted)
        return np.concatenate(parts, axis=1, out=features, casting="same_kind")

    return stacked


_filters = new_rlock()


@contextmanager
def own_filters(action: Literal["ignore", "always"], category: type[Warning] = Warning) -> Iterator[list[Any]]:
    """Warnings go to the list that this gives, or nowhere, meanwhile; then the program's filters are as they were.

    Python keeps one list of filters for all threads: of two that put it back at the same time the later one could put back
    what the other had set. So only one has filters of its own at a time.
    """
    with _filters, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action, category)
        yield caught


def raise_memory_error(error: Exception, signs: Sequence[str]) -> None:
    """Raise a `MemoryError` of the same text where the framework's message has a sign that memory ran out.

    Raises:
        MemoryError: where it has.
    """
    text = said(error)
    if any(sign in text for sign in signs):
        raise MemoryError(text) from error
