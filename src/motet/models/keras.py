"""Keras and TensorFlow models: `.keras` and `.h5` files of Keras 3, and SavedModels, which are folders.

    model.save("model.keras")     needs keras, with whatever backend $KERAS_BACKEND says
    model.export("model/")        a SavedModel, needs tensorflow; so is what tf.saved_model.save writes
    keras:model  keras:model/saved_model.pb  model.keras      in a graph

The first axis of each array is the row. Inputs and outputs are called as the model calls them; a model of one output without a
name of its own gives `output`. Of a SavedModel the signature `serving_default` is called, or the one that `signature:` names;
its inputs are in the order of their names. TensorFlow has one type for texts and bytes: declare which an input or an output is.

`threads` holds where Keras runs on torch. TensorFlow has one number of threads for a process, which is set before its first call, and JAX
one that cannot be set: there it holds for TensorFlow in a process of the model's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from motet.batch import Array
from motet.errors import AnswerError, UnknownNameError
from motet.models.common import (
    check_cpu,
    check_options,
    declared_over,
    fixed_rows,
    framework,
    load_error,
    place,
    raise_memory_error,
    row_type,
)
from motet.models.handler import Handler, LoadedModel, ModelSource
from motet.models.independence import one_row_a_call_if_needed
from motet.models.keep import LoadCache
from motet.models.torch import torch_threads
from motet.system.folders import files_below
from motet.types import ANY, ColumnType, Signature

__all__ = ["KerasHandler", "KerasModel"]

_OUT_OF_MEMORY = ("OOM when allocating", "out of memory", "ResourceExhausted", "bad_alloc")
_SAVED = "saved_model.pb"
_DEFAULT = "serving_default"


class KerasHandler(Handler):
    """Loads `.keras` and `.h5` files, and SavedModels."""

    name: ClassVar[str] = "keras"
    extra: ClassVar[str] = "tensorflow"
    suffixes: ClassVar[tuple[str, ...]] = (".keras", ".h5", ".pb")
    runs_code: ClassVar[bool] = True

    def __init__(self) -> None:
        self._kept: LoadCache[Any] = LoadCache(_read, whole=lambda location: _saved_folder(location) or location)

    @staticmethod
    def companions(path: str) -> list[str]:
        """The files beside a SavedModel's own, by their paths relative to it, also those that links lead to.

        Raises:
            ModelLoadError: when its folder cannot be read, for links in it lead round in a circle.
        """
        folder = Path(path).parent
        if os.path.basename(path) != _SAVED or not folder.is_dir():
            return []
        parts = [part for part in ("assets", "variables") if (folder / part).is_dir()]
        try:
            inside = [f"{part}/{name}" for part in parts for name in files_below(str(folder / part))]
        except OSError as error:
            raise load_error(ModelSource(path, path), f"{error.filename} cannot be read: {error.strerror}") from error
        beside = [each.name for each in folder.glob("*.pb") if each.name != _SAVED]
        return sorted([*beside, *(each for each in inside if not each.endswith("/"))])

    def signature(self, source: ModelSource) -> Signature:
        """What the model says, with the declared types over it; loads it, and keeps it for `load`.

        Raises:
            ModelLoadError: when the file is no such model, or takes or gives what is no column.
            UnknownNameError: when it has no signature of that name.
        """
        return _signature(_called(self._kept.look(source), source), source)

    def load(self, source: ModelSource) -> LoadedModel:
        """Load it for use, and see whether rows that share a call answer as alone; see `Handler.load`."""
        check_cpu(source, "Keras")
        call = _called(self._kept.take(source), source)
        signature = _signature(call, source)
        return one_row_a_call_if_needed(KerasModel(call, signature), signature, place(source))


@dataclass(frozen=True)
class _Call:
    """What is called.

    Attributes:
        inputs, outputs: by name the shape, with the row axis, and the dtype.
        run: takes arrays by the names of the inputs, gives arrays by those of the outputs.
        model: held, for TensorFlow frees the variables with it.
    """

    inputs: Mapping[str, tuple[Sequence[int | None] | None, str]]
    outputs: Mapping[str, tuple[Sequence[int | None] | None, str]]
    run: Callable[[Mapping[str, Array]], Mapping[str, Any]]
    model: Any


class KerasModel:
    """A loaded model; several threads may call it."""

    def __init__(self, call: _Call, signature: Signature) -> None:
        self._call: _Call | None = call
        self._outputs = tuple(signature.outputs)
        self._texts = frozenset(name for name, kind in signature.outputs.items() if kind.dtype == "string")

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`.

        Raises:
            MemoryError: when the batch is too large for the memory.
        """
        assert self._call is not None, "a model that is closed is not called"
        try:
            answers = self._call.run(columns)
        except Exception as error:
            raise_memory_error(error, _OUT_OF_MEMORY)
            raise
        return {name: _decoded(answers[name]) if name in self._texts else answers[name] for name in self._outputs}

    def close(self) -> None:
        """Let go of the model."""
        self._call = None


def _decoded(answer: Array) -> Array:
    """Texts as TensorFlow has them, which are UTF-8, as texts; what is none stands there as an error."""
    found = np.empty(answer.shape, object)
    for at, value in np.ndenumerate(answer):
        try:
            found[at] = value.decode() if isinstance(value, bytes) else value
        except UnicodeDecodeError as error:
            found[at] = AnswerError(f"it is no text in UTF-8: {error}", hint="declare the output as bytes")
    return found


def _read(source: ModelSource) -> Any:
    """The model as its framework has it."""
    folder = _saved_folder(source.location)
    if folder is None and os.path.isdir(source.location):
        raise load_error(
            source, f"the folder has no {_SAVED}", "write it by model.export(folder), or name a .keras file"
        )
    if folder is not None:
        tensorflow = framework("tensorflow", "tensorflow", "tensorflow", source)
        return _loaded(source, lambda: tensorflow.saved_model.load(folder))
    keras = framework("keras", "keras", "keras", source)
    return _loaded(source, lambda: keras.saving.load_model(source.location, compile=False))


def _loaded(source: ModelSource, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:
        reason = (f"{type(error).__name__}: {error}".splitlines() or [""])[0]
        hint = "write it by model.save('model.keras') or model.export(folder); register classes of your own with Keras"
        raise load_error(source, f"it is no model that Keras or TensorFlow loads here: {reason}", hint) from error


def _saved_folder(location: str) -> str | None:
    folder = location if os.path.isdir(location) else os.path.dirname(location)
    own = os.path.isdir(location) or os.path.basename(location) == _SAVED
    return folder if own and os.path.isfile(os.path.join(folder, _SAVED)) else None


def _called(model: Any, source: ModelSource) -> _Call:
    if _saved_folder(source.location) is not None:
        check_options(source, ("signature",))
        return _of_saved(model, source)
    check_options(source, ())
    return _of_keras(model, source)


def _of_keras(model: Any, source: ModelSource) -> _Call:
    import keras

    given, got = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not given or not got:
        hint = "write it as a SavedModel by model.export(folder), or build it of keras.Input and layers"
        raise load_error(source, "the model does not say what it takes", hint)
    structure = getattr(model, "input", given[0] if len(given) == 1 else given)
    answered = getattr(model, "output", got)
    names = _names(structure, given, [each.name for each in given])
    answers = _names(answered, got, list(model.output_names) if len(got) > 1 else ["output"])

    def run(columns: Mapping[str, Array]) -> Mapping[str, Any]:
        values: Any = [np.array(columns[name]) for name in names]  # backends take no arrays that cannot be written
        if isinstance(structure, Mapping):
            values = dict(zip(names, values, strict=True))
        elif not isinstance(structure, list | tuple):
            (values,) = values
        found = model(values, training=False)
        parts = [found[name] for name in answers] if isinstance(found, Mapping) else found
        parts = parts if isinstance(parts, list | tuple) else [parts]
        return {name: keras.ops.convert_to_numpy(part) for name, part in zip(answers, parts, strict=True)}

    if keras.backend.backend() != "torch":
        return _Call(_told(names, given), _told(answers, got), run, model)
    import torch

    def limited(columns: Mapping[str, Array]) -> Mapping[str, Any]:
        with torch_threads.of(torch, source.threads):
            return run(columns)

    return _Call(_told(names, given), _told(answers, got), limited, model)


def _names(structure: Any, tensors: Sequence[Any], own: list[str]) -> list[str]:
    """The names of a model's tensors: the keys of its dict, else their own."""
    if not isinstance(structure, Mapping):
        return own
    places = {id(tensor): str(key) for key, tensor in structure.items()}
    return [places[id(tensor)] for tensor in tensors]


def _told(names: Sequence[str], tensors: Sequence[Any]) -> dict[str, tuple[Sequence[int | None] | None, str]]:
    return {name: (tensor.shape, str(tensor.dtype)) for name, tensor in zip(names, tensors, strict=True)}


def _of_saved(model: Any, source: ModelSource) -> _Call:
    signatures = dict(model.signatures)
    name = source.options.get(
        "signature", _DEFAULT if _DEFAULT in signatures or len(signatures) != 1 else next(iter(signatures))
    )
    if name not in signatures:
        raise UnknownNameError("signature of the model", str(name), tuple(signatures), where=place(source))
    function = signatures[name]
    import tensorflow

    def run(columns: Mapping[str, Array]) -> Mapping[str, Any]:
        given = {each: tensorflow.constant(columns[each]) for each in inputs}
        return {each: value.numpy() for each, value in function(**given).items()}

    inputs = _specs(function.structured_input_signature[1])
    return _Call(inputs, _specs(function.structured_outputs), run, model)


def _specs(specs: Mapping[str, Any]) -> dict[str, tuple[Sequence[int | None] | None, str]]:
    return {
        name: (None if spec.shape.rank is None else spec.shape.as_list(), spec.dtype.name)
        for name, spec in sorted(specs.items())  # a SavedModel does not say in which order they are
    }


def _signature(call: _Call, source: ModelSource) -> Signature:
    rows = fixed_rows(
        source, *({name: shape for name, (shape, _) in each.items()} for each in (call.inputs, call.outputs))
    )
    inputs = {name: _type(name, *each, source) for name, each in call.inputs.items()}
    outputs = {name: _type(name, *each, source) for name, each in call.outputs.items()}
    return declared_over(Signature(inputs, outputs, rows), source)


def _type(name: str, shape: Sequence[int | None] | None, dtype: str, source: ModelSource) -> ColumnType:
    if shape is None or dtype == "string":  # TensorFlow has one type for texts and bytes
        return ANY
    hints = "give each array a first axis for the rows", "cast it to float32 in the model"
    return row_type(repr(name), shape, dtype, source, *hints)
