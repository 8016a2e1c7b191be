"""Pure functions of JAX with the parameters that they are called with: `jax:weights.npz`, `with: {function: pkg.mod:name}`.

The file is what a training left: .safetensors or .npz, whose parameters are a flat dict by the names in the file, or .msgpack as
flax.serialization.to_bytes writes it, with dicts inside dicts. It carries no code; the function does, and is named by the graph.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from motet.models.common import (
    declared_over,
    framework,
    load_error,
    output_places,
    row_type,
)
from motet.models.handler import ModelSource
from motet.models.importing import find
from motet.tracebacks import summary
from motet.types import ColumnType, Signature

__all__ = ["PARAMETERS", "JaxFunction", "precise", "read_parameters", "types_of"]

PARAMETERS = (".npz", ".safetensors", ".msgpack")
"""Suffixes of files of parameters."""
_ROWS = 2
_ARRAY, _SCALAR = 1, 3
_HINT = "write it with numpy.savez, safetensors.numpy.save_file or flax.serialization.to_bytes"


class JaxFunction:
    """A function of parameters and columns, and what it takes and gives.

    Attributes:
        inputs: the names of the columns, in the order of its parameters.
        outputs: for each that is wanted its place among the leaves of an answer.
        signature: the declared inputs, and what the function makes of them.
        has_64_bits: whether a column has numbers of 64 bits.
        call: what is compiled.
    """

    def __init__(self, jax: Any, parameters: Any, source: ModelSource) -> None:
        function = _function(source)
        self.inputs, named = _inputs(function, source)

        def call(
            parameters: Any, *columns: Any
        ) -> Any:  # a function of its own, for JAX keeps what it compiled by the function
            if named:
                return function(parameters, **dict(zip(self.inputs, columns, strict=True)))
            return function(parameters, *columns)

        self.call, self.parameters = call, parameters
        given = {name: source.inputs[name] for name in self.inputs}
        kinds = [*given.values(), *source.outputs.values()]
        self.has_64_bits = any(kind.numpy_dtype.itemsize == 8 for kind in kinds)
        few, more = (self._traced(jax, given, rows, source) for rows in (_ROWS, _ROWS + 1))
        leaves, others = map(jax.tree_util.tree_leaves, (few, more))
        order = jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(few), list(range(len(leaves))))
        names = output_places(order, source, "it gives", "let it give arrays, or a flat dict")
        types = types_of({name: leaves[at] for name, at in names.items()}, "output", source)
        for name, at in names.items():
            if others[at].shape != (_ROWS + 1, *leaves[at].shape[1:]) or leaves[at].shape[0] != _ROWS:
                what = (
                    f"output {name!r} has shape {leaves[at].shape} for {_ROWS} rows, {others[at].shape} for {_ROWS + 1}"
                )
                raise load_error(source, what, "let it give arrays whose first axis, and no other, is the row")
        self.signature = declared_over(Signature(given, types), source)
        self.outputs = {name: names[name] for name in self.signature.outputs}

    def arguments(self, leaves: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and named arguments of a call."""
        return (self.parameters, *leaves), {}

    def put(self, jax: Any, device: Any, source: ModelSource) -> None:
        """Hold the parameters on a device."""
        with precise(jax, self.has_64_bits):
            self.parameters = jax.device_put(self.parameters, device)

    def _traced(self, jax: Any, given: Mapping[str, ColumnType], rows: int, source: ModelSource) -> Any:
        """What it gives for so many rows: the shapes alone, without computing anything."""
        columns = [jax.ShapeDtypeStruct((rows, *kind.least_shape), kind.numpy_dtype) for kind in given.values()]
        try:
            with precise(jax, self.has_64_bits):
                return jax.eval_shape(self.call, self.parameters, *columns)
        except Exception as error:
            what = f"the function fails on the declared inputs and the file's parameters: {summary(error)}"
            hint = "it is called as function(parameters, *columns), with arrays whose first axis is the row"
            raise load_error(source, what, hint) from error


def precise(jax: Any, has_64_bits: bool) -> Any:
    """JAX makes 32 bits of 64 unless it is told not to."""
    return jax.enable_x64(True) if has_64_bits else contextlib.nullcontext()


def types_of(avals: Mapping[str, Any], kind: str, source: ModelSource) -> dict[str, ColumnType]:
    """The types of columns, by the arrays' names."""
    axis_hint = "export a function whose arrays have a first axis for the rows"
    hints = axis_hint, "export a function that converts it, to float32 for example"
    named = {name: (aval.shape, np.dtype(aval.dtype).name) for name, aval in avals.items()}
    return {name: row_type(f"{kind} {name!r}", *each, source, *hints) for name, each in named.items()}


def _function(source: ModelSource) -> Callable[..., Any]:
    named = source.options.get("function")
    if not isinstance(named, str):
        hint = "write with: {function: package.module:name}, a function of the parameters and of the columns"
        raise load_error(source, "parameters alone are no model", hint)
    found = find(ModelSource(source.name, named), "function")
    if not callable(found):
        raise load_error(source, f"{named} is of type {type(found).__name__}, which cannot be called")
    return found  # type: ignore[no-any-return]


def _inputs(function: Callable[..., Any], source: ModelSource) -> tuple[list[str], bool]:
    """The declared inputs, and whether they are the names of the function's parameters; then in the order of these."""
    hint = "declare the model's inputs, name: type, such as x: float32[4]"
    if not source.inputs:
        raise load_error(source, "a function does not say which columns it takes", hint)
    for name, kind in source.inputs.items():
        if kind.is_object or kind.varies:
            what = f"input {name!r} is declared as {kind}, which JAX has no array of"
            raise load_error(source, what, hint if kind.is_object else "say how long each axis is")
    try:
        own = dict(list(inspect.signature(function).parameters.items())[1:])
    except (TypeError, ValueError):
        own = {}
    own = {name: each for name, each in own.items() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
    same = [name for name in own if name in source.inputs]
    if same and len(same) < len(source.inputs):
        others = ", ".join(name for name in source.inputs if name not in own)
        what = f"of the declared inputs {', '.join(same)} is a parameter of the function by name, and {others} is not"
        raise load_error(source, what, f"name them after its parameters: {', '.join(own)}; or none of them")
    names = same or list(source.inputs)
    return names, bool(same) and not any(own[name].kind is inspect.Parameter.POSITIONAL_ONLY for name in same)


def read_parameters(source: ModelSource) -> Any:
    """What a file holds, as arrays of NumPy.

    Raises:
        ModelLoadError: when it is no such file.
    """
    read = {".npz": _npz, ".safetensors": _safetensors, ".msgpack": _msgpack}[Path(source.location).suffix.lower()]
    try:
        return read(source)
    except OSError as error:
        raise load_error(source, f"the file cannot be read: {error}", "check the path and the rights") from error
    except Exception as error:
        what = f"no file of parameters: {type(error).__name__}: {error}".splitlines()[0]
        raise load_error(source, what, _HINT) from error


def _npz(source: ModelSource) -> dict[str, Any]:
    with np.load(source.location, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _safetensors(source: ModelSource) -> Any:
    library = framework("safetensors.numpy", "safetensors", "jax", source)
    return library.load(Path(source.location).read_bytes())


def _msgpack(source: ModelSource) -> Any:
    return msgspec.msgpack.decode(Path(source.location).read_bytes(), ext_hook=_array)


def _array(code: int, data: memoryview) -> Any:
    """An array as Flax writes it: its shape, the name of its dtype, and its bytes."""
    if code not in (_ARRAY, _SCALAR):
        raise ValueError(f"an extension of kind {code}, which is neither an array nor a number")
    shape, dtype, content = msgspec.msgpack.decode(data)
    found = np.frombuffer(content, _dtype(dtype)).reshape(shape)
    return found if code == _ARRAY else found[()]


def _dtype(name: str) -> Any:
    if name != "bfloat16":
        return np.dtype(name)
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)
