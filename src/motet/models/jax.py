"""JAX programs, from .jax files, and functions with files of parameters (`jax_function.py`).

A .jax file is what `jax.export.export(...)(...).serialize()` gives, written to a file. A program has its weights in it. The first
axis of each array is the row; export it as a symbol, so that any number of rows can be called:

    rows = jax.export.symbolic_shape("rows, 28, 28")
    exported = jax.export.export(jax.jit(predict))(jax.ShapeDtypeStruct(rows, "uint8"))
    pathlib.Path("model.jax").write_bytes(exported.serialize())

Inputs are the program's keywords, the entries of its only dict, or its arguments in the order of the declared inputs;
outputs are a dict by name, or values in the order of the declared ones.

A pure function gets its parameters from a file, and the columns after them, `function(parameters, x)`: by name where the inputs are
called as its parameters are, else in the order of their declaration. Declare its inputs:

    uri: jax:weights.safetensors          # or .npz, or .msgpack of Flax
    with: {function: package.module:name}
    inputs: {x: "float32[28,28]"}

JAX compiles anew for every number of rows. So calls are filled up to the next power of two, with the last row
again: few numbers are compiled, each once, and the first call of each is slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from motet.batch import Array
from motet.errors import UnknownNameError
from motet.models.common import (
    check_options,
    declared_over,
    fixed_rows,
    framework,
    load_error,
    output_places,
    place,
    raise_memory_error,
)
from motet.models.handler import Handler, LoadedModel, ModelSource
from motet.models.independence import one_row_a_call_if_needed
from motet.models.jax_function import PARAMETERS, JaxFunction, precise, read_parameters, types_of
from motet.models.keep import LoadCache
from motet.types import Signature

__all__ = ["JaxHandler", "JaxModel"]

_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory", "bad_alloc")
_DEVICES = ("cpu", "cuda", "tpu")


class JaxHandler(Handler):
    """Loads `.jax` files, and by the scheme files of parameters with a function."""

    name: ClassVar[str] = "jax"
    extra: ClassVar[str] = "jax"
    suffixes: ClassVar[tuple[str, ...]] = (".jax",)

    def __init__(self) -> None:
        self._kept: LoadCache[Any] = LoadCache(_read)

    def signature(self, source: ModelSource) -> Signature:
        """What the program says, with the declared types over it; loads it, and keeps it for `load`.

        Raises:
            ModelLoadError: when the file is no program, or takes or gives what is no column.
        """
        return _shape(self._kept.look(source), source).signature

    def load(self, source: ModelSource) -> LoadedModel:
        """Load it for use on its device, and see whether rows that share a call answer as alone; see `Handler.load`."""
        jax = framework("jax", "jax", "jax", source)
        device = _device(jax, source)
        shape = _shape(self._kept.take(source), source)
        shape.put(jax, device, source)
        return one_row_a_call_if_needed(JaxModel(jax, shape, device), shape.signature, place(source))


class JaxModel:
    """A compiled program; several threads may call it."""

    fresh_outputs = True

    def __init__(self, jax: Any, shape: _Shape | JaxFunction, device: Any) -> None:
        self._jax, self._shape, self._device = jax, shape, device
        self._call: Any = jax.jit(shape.call)

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`.

        Raises:
            MemoryError: when the batch is too large for the memory.
        """
        shape = self._shape
        rows = len(columns[shape.inputs[0]])
        filled = rows if shape.signature.fixed_rows else 1 << max(0, rows - 1).bit_length()  # a power of two
        try:
            with precise(self._jax, shape.has_64_bits):
                given = [self._jax.device_put(_longer(columns[name], filled), self._device) for name in shape.inputs]
                args, kwargs = shape.arguments(given)
                answers = self._jax.device_get(self._call(*args, **kwargs))
        except Exception as error:
            raise_memory_error(error, _OUT_OF_MEMORY)
            raise
        leaves = self._jax.tree_util.tree_leaves(answers)
        return {name: np.asarray(leaves[place])[:rows] for name, place in shape.outputs.items()}

    def close(self) -> None:
        """Let go of the program, and of what was compiled."""
        if self._call is not None:
            self._call.clear_cache()
        self._call = None


class _Shape:
    """What a program takes and gives, by name.

    Attributes:
        exported: the program.
        call: what is compiled.
        inputs: names, in the order of the program's leaves.
        outputs: for each that is wanted its place among the leaves of an answer.
        signature: the declared types over the program's own.
        has_64_bits: whether it has numbers of 64 bits.
    """

    def __init__(self, exported: Any, source: ModelSource) -> None:
        from jax.tree_util import tree_unflatten

        self.exported = exported
        self.call = exported.call
        self._unflatten = tree_unflatten
        avals = [*exported.in_avals, *exported.out_avals]
        self.has_64_bits = any(np.dtype(aval.dtype).itemsize == 8 for aval in avals)
        self.inputs = self._input_names(source)
        answer = tree_unflatten(exported.out_tree, list(range(len(exported.out_avals))))
        names = output_places(answer, source, "it gives", "export a function that gives arrays, or a flat dict")
        given = dict(zip(self.inputs, exported.in_avals, strict=True))
        got = {name: exported.out_avals[place] for name, place in names.items()}
        rows = fixed_rows(source, *({name: aval.shape for name, aval in avals.items()} for avals in (given, got)))
        own = Signature(types_of(given, "input", source), types_of(got, "output", source), rows)
        self.signature = declared_over(own, source)
        self.outputs = {name: names[name] for name in self.signature.outputs}

    def put(self, jax: Any, device: Any, source: ModelSource) -> None:
        """See that it was exported for a device."""
        kind = source.device.partition(":")[0]
        if kind not in self.exported.platforms:
            platforms = ", ".join(self.exported.platforms)
            hint = f"export it with platforms=[{platforms!r}, {kind!r}]"
            raise load_error(source, f"it was exported for {platforms}, not for {kind}", hint)

    def arguments(self, leaves: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and named arguments of a call."""
        args, kwargs = self._unflatten(self.exported.in_tree, leaves)
        return args, kwargs

    def _input_names(self, source: ModelSource) -> list[str]:
        args, kwargs = self._unflatten(self.exported.in_tree, list(range(len(self.exported.in_avals))))
        args = list(args)
        if len(args) == 1 and isinstance(args[0], Mapping) and not kwargs:
            args, kwargs = [], args[0]
        places = [*args, *kwargs.values()]
        if not all(isinstance(place, int) for place in places):
            raise load_error(
                source, "it takes values inside values", "export a function of arrays, or of one flat dict"
            )
        if not places:
            raise load_error(source, "it takes nothing", "export a function of at least one array")
        declared = list(source.inputs)
        if not kwargs and len(declared) == len(args):
            named = declared
        else:
            named = ["input"] if len(args) == 1 else [f"input_{place}" for place in range(len(args))]
        found = dict(zip([*named, *map(str, kwargs)], places, strict=True))
        return sorted(found, key=found.__getitem__)


def _shape(held: Any, source: ModelSource) -> _Shape | JaxFunction:
    if not _has_parameters(source):
        check_options(source, ())
        return _Shape(held, source)
    check_options(source, ("function",))
    return JaxFunction(framework("jax", "jax", "jax", source), held, source)


def _has_parameters(source: ModelSource) -> bool:
    return source.location.lower().endswith(PARAMETERS)


def _read(source: ModelSource) -> Any:
    if _has_parameters(source):
        return read_parameters(source)
    framework("jax", "jax", "jax", source)
    from jax import export

    try:
        return export.deserialize(bytearray(Path(source.location).read_bytes()))
    except OSError as error:
        raise load_error(source, f"the file cannot be read: {error}", "check the path and the rights") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        hint = "write jax.export.export(jax.jit(f))(...).serialize() to it, with a JAX that is not newer than this one"
        raise load_error(source, f"not an exported JAX program: {reason}", hint) from error


def _device(jax: Any, source: ModelSource) -> Any:
    kind, _, number = source.device.partition(":")
    if kind not in _DEVICES:
        raise UnknownNameError("device", source.device, ("cpu", "cuda", "cuda:N", "tpu"), where=place(source))
    try:
        devices = jax.devices(kind)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise load_error(source, f"JAX has no {kind}: {reason}", "install jax[cuda12] for CUDA") from error
    if int(number or 0) >= len(devices):
        raise load_error(source, f"there is no {source.device}; JAX sees {len(devices)} of {kind}", "count from 0")
    return devices[int(number or 0)]


def _longer(column: Array, rows: int) -> Array:
    """A column with its last row again, until there are as many."""
    if len(column) == rows:
        return column
    return np.concatenate([column, np.repeat(column[-1:], rows - len(column), axis=0)])
