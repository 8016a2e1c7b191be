"""Model handlers of Apache Beam, as `RunInference` takes them: `beam:pkg.mod:handler`.

The name is of a `ModelHandler`, or of a class or function that makes one of the model's options. Its examples are made of the
declared inputs, as what the handler says that it takes (`ModelHandler[numpy.ndarray, ...]`), or its first preprocessing function:

    array     an array of the row's features, of numpy; several inputs side by side
    matrix    the same as an array of one row, as the handlers of XGBoost have it; answers have one row then, too
    tensor    the same as a tensor of PyTorch or TensorFlow
    tensors   a dict of tensors by input
    frame     a pandas DataFrame of one row
    dict      a dict of values by input; so are named tuples, data classes and `beam.Row`s made
    value     the value of the only input

Options of ours, under `with:` of the model; all others are given to what makes the handler:

    example          which of these; by default what the handler says, else the value of one input, or a dict of several
    inference_args   for the handler's `run_inference`

An output is `inference` of a `PredictionResult`, or what postprocessing functions made of it. A call has at most
`max_batch_size` rows, and `max_batch_weight`, where the handler has them.
The interface: https://beam.apache.org/releases/pydoc/current/apache_beam.ml.inference.base.html
"""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from motet.batch import Array
from motet.errors import AnswerError
from motet.locks import new_lock
from motet.models.common import check_cpu, features_of, framework, load_error, place
from motet.models.handler import Handler, ModelSource
from motet.models.importing import code_file, find, made_with
from motet.models.results import by_name
from motet.tracebacks import ends_program, summary
from motet.types import ANY, Signature

__all__ = ["BeamHandler", "quiet"]

BASE = "apache_beam.ml.inference.base"
OPTIONS = ("example", "inference_args")
Make = Callable[[Mapping[str, Array]], list[Any]]
_quieting = new_lock()
"""What a thread puts back must not be what another one has set."""


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what Beam says, as it begins, of clients of stores that are not installed."""
    with _quieting:
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


class Examples(NamedTuple):
    """How columns become examples, and whether these, and so their answers, are arrays of one row."""

    make: Make
    has_rows: bool


class BeamHandler(Handler):
    """Loads models by handlers of Beam."""

    name: ClassVar[str] = "beam"
    extra: ClassVar[str] = "beam"
    has_file: ClassVar[bool] = False

    def signature(self, source: ModelSource) -> Signature:
        """What is declared. Makes the handler, and loads nothing.

        Raises:
            ModelLoadError: when it cannot be imported or made, is of keys, takes what rows are not, or refuses its arguments.
            UnknownNameError: when the module has no such name.
        """
        _ready(source)
        return Signature(dict(source.inputs), dict(source.outputs) or {"output": ANY})

    def identity(self, source: ModelSource) -> int:
        """Of the object that the name stands for now."""
        return id(find(source, "beam"))

    def code_file(self, location: str) -> str | None:
        """See `importing.code_file`."""
        return code_file(location)

    def load(self, source: ModelSource) -> BeamModel:
        """Load it, as `RunInference` does; see `Handler.load`."""
        handler, examples = _ready(source)
        _asked(handler, "set_environment_vars", source, "they are texts by name, as the handler was made with them")
        model = _asked(handler, "load_model", source, "its handler says where the model is")
        return BeamModel(handler, model, examples, source)


class BeamModel:
    """A model and its handler."""

    def __init__(self, handler: Any, model: Any, examples: Examples, source: ModelSource) -> None:
        self._handler, self._model, self._examples, self._where = handler, model, examples, place(source)
        self._outputs, self._arguments = tuple(source.outputs) or ("output",), source.options.get("inference_args")
        self._before, self._after = list(handler.get_preprocess_fns()), list(handler.get_postprocess_fns())
        self._result = framework(BASE, "apache-beam", "beam", source).PredictionResult

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`."""
        batches = self._batches(self._examples.make(columns))
        answers = [answer for batch in batches for answer in self._answers(batch)]
        if len(self._outputs) == 1 and not any(isinstance(each, (Mapping, tuple)) for each in answers):
            return {self._outputs[0]: answers}
        named = [
            dict.fromkeys(self._outputs, each)
            if isinstance(each, BaseException)
            else by_name(each, self._outputs, self._where)
            for each in answers
        ]
        return {name: [_plain(each[name]) for each in named] for name in self._outputs}

    def close(self) -> None:
        """Let the model go."""
        self._model = None

    def _batches(self, examples: list[Any]) -> Iterator[Any]:
        """Examples in batches as the handler bounds them, prepared for it."""
        if self._handler.should_skip_batching():  # its functions take batches
            yield _through(self._before, examples)
            return
        limits = self._handler.batch_elements_kwargs()
        rows, most = limits.get("max_batch_size"), limits.get("max_batch_weight")
        weigh = limits.get("element_size_fn") or (lambda example: 1)
        batch, weight = list[Any](), 0
        for example in examples:
            prepared = _through(self._before, example)
            own = weigh(prepared) if most else 0
            if batch and (len(batch) == rows or (most and weight + own > most)):
                yield batch
                batch, weight = [], 0
            batch.append(prepared)
            weight += own
        if batch:
            yield batch

    def _answers(self, batch: Any) -> list[Any]:
        """What is answered to each example of a batch."""
        found = list(self._handler.run_inference(batch, self._model, self._arguments))
        if len(found) != len(batch):
            what = f"run_inference gave {len(found)} results for {len(batch)} examples"
            raise AnswerError(
                what, where=self._where, hint="a handler gives one result for each example, in their order"
            )
        made = [_through(self._after, each) for each in found]
        answers = [_plain(each.inference if isinstance(each, self._result) else each) for each in made]
        if not self._examples.has_rows:
            return answers
        return [each[0] if isinstance(each, np.ndarray) and each.shape[:1] == (1,) else each for each in answers]


def _asked(handler: Any, method: str, source: ModelSource, hint: str, *arguments: Any) -> Any:
    """What a method of a handler gives.

    Raises:
        ModelLoadError: when it fails.
    """
    try:
        return getattr(handler, method)(*arguments)
    except BaseException as error:
        if ends_program(error):
            raise
        raise load_error(source, f"{method} of {type(handler).__name__} failed: {summary(error)}", hint) from error


def _through(functions: Sequence[Callable[[Any], Any]], value: Any) -> Any:
    for function in functions:
        value = function(value)
    return value


def _plain(value: Any) -> Any:
    """A tensor as an array."""
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    return value.numpy() if _package(type(value)) == "tensorflow" else value


def _ready(source: ModelSource) -> tuple[Any, Examples]:
    """The handler, of which everything is known but its model, and how columns become its examples.

    Raises:
        ModelLoadError: when it is none for rows, or refuses its arguments.
    """
    handler = _handler(source)
    examples = _examples(handler, source)
    hint = "mend `inference_args` under `with:` of the model"
    _asked(handler, "validate_inference_args", source, hint, source.options.get("inference_args"))
    return handler, examples


def _handler(source: ModelSource) -> Any:
    """The handler that the location names.

    Raises:
        ModelLoadError: when it is none, or one of keys.
    """
    check_cpu(source, "beam")
    with quiet():
        base = framework(BASE, "apache-beam", "beam", source)
    found = find(source, "beam")
    options = {name: value for name, value in source.options.items() if name not in OPTIONS}
    if not isinstance(found, base.ModelHandler) and callable(found):
        found = made_with(found, options, source)
    elif options:
        what = f"{source.location} is made already, so it takes no options; got {', '.join(options)}"
        raise load_error(source, what, "name its class, or a function that makes it")
    if not isinstance(found, base.ModelHandler):
        what = f"{source.location} is of type {type(found).__name__}, and no ModelHandler of Beam"
        raise load_error(source, what, "name a ModelHandler, or what makes one")
    for each in _inside(found):
        if isinstance(each, (base.KeyedModelHandler, base.MaybeKeyedModelHandler)):
            what = (
                f"{type(each).__name__} is for examples behind keys, and the rows of a graph keep theirs by themselves"
            )
            raise load_error(source, what, "name the handler inside it; where keys choose among models, `route` does")
    return found


def _inside(handler: Any) -> Iterator[Any]:
    """A handler, and those that it has functions around, the innermost last."""
    while handler is not None:
        yield handler
        handler = getattr(handler, "_base", None)


def _examples(handler: Any, source: ModelSource) -> Examples:
    """How columns become the examples of a handler.

    Raises:
        ModelLoadError: when nobody says which columns, or they are no such examples.
    """
    if not source.inputs:
        raise load_error(source, "its handler does not say what it takes", "declare the model's inputs, name: type")
    option = source.options.get("example")
    if option is not None and option not in KINDS:
        raise load_error(
            source, f"example: {option!r} is none of {', '.join(KINDS)}", "leave it out, or write one of them"
        )
    *_, own = _inside(handler)
    matrix = any(each.__name__ == "XGBoostModelHandler" for each in type(own).mro())
    wanted = _example_type(handler, own)
    kind = option or _kind_of(wanted, matrix, len(source.inputs))
    if kind is None:
        hint = "let a function of with_preprocess_fn make them of a dict, or say which of these a row is, with: {example: ...}: "
        raise load_error(source, f"it takes examples of type {wanted}, which rows are not", hint + ", ".join(KINDS))
    if kind == "value" and len(source.inputs) > 1:
        what = f"it takes one value, and has {len(source.inputs)} inputs: {', '.join(source.inputs)}"
        raise load_error(source, what, "declare one, or say with: {example: dict}")
    return Examples(KINDS[kind](source, wanted), has_rows=matrix or kind == "matrix")


def _example_type(handler: Any, own: Any) -> Any:
    """The type of its examples, where its first preprocessing function or its class says one."""
    if before := list(handler.get_preprocess_fns()):
        try:
            return get_type_hints(before[0]).get(next(iter(inspect.signature(before[0]).parameters), ""))
        except (NameError, TypeError, ValueError):
            return None
    for each in type(own).mro():
        for base in each.__dict__.get("__orig_bases__", ()):
            if "ModelHandler" in getattr(get_origin(base), "__name__", "") and not isinstance(
                get_args(base)[0], TypeVar
            ):
                return get_args(base)[0]
    return None


def _kind_of(wanted: Any, matrix: bool, inputs: int) -> str | None:
    """What examples of a type are, None of one that rows cannot be; of no type a value, or a dict of several."""
    if wanted in (None, Any, object):
        return "value" if inputs == 1 else "dict"
    origin, packages = get_origin(wanted) or wanted, [_package(each) for each in (wanted, *get_args(wanted))]
    if wanted is np.ndarray or "scipy" in packages:
        return "matrix" if matrix or "scipy" in packages else "array"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "tensors" if {"torch", "tensorflow"} & {*packages} else "dict"
    if {"torch", "tensorflow"} & {*packages}:
        return "tensor"
    if "pandas" in packages:
        return "frame"
    if wanted in (str, bytes, int, float, bool):
        return "value"
    return "dict" if _is_row(wanted) else None


def _package(kind: Any) -> str:
    return str(getattr(kind, "__module__", "")).partition(".")[0]


def _is_row(kind: Any) -> bool:
    return hasattr(kind, "_fields") or is_dataclass(kind) or getattr(kind, "__name__", "") == "Row"


def _arrays(source: ModelSource, wanted: Any) -> Make:
    inputs = source.inputs
    (name, kind), *others = inputs.items()
    if not others and (kind.shape or kind.varies):
        return lambda columns: list(columns[name])
    kinds = inputs.values()
    words = any(each.is_object for each in kinds)
    stack = features_of(inputs, "object" if words else str(np.result_type(*(each.numpy_dtype for each in kinds))))
    return lambda columns: list(stack(columns))


def _matrices(source: ModelSource, wanted: Any) -> Make:
    rows, made = _arrays(source, wanted), wanted if _package(wanted) == "scipy" else np.asarray
    return lambda columns: [made(row[np.newaxis]) for row in rows(columns)]


def _tensors_of(wanted: Any) -> Callable[[Array], Any]:
    """What makes a tensor of an array: PyTorch's, where TensorFlow's are not asked for."""
    packages = [_package(each) for each in (wanted, *get_args(wanted))]
    if "tensorflow" in packages and "torch" not in packages:
        return lambda array: importlib.import_module("tensorflow").convert_to_tensor(array)
    return lambda array: importlib.import_module("torch").tensor(array)


def _tensors(source: ModelSource, wanted: Any) -> Make:
    rows, made = _arrays(source, wanted), _tensors_of(wanted)
    return lambda columns: [made(row) for row in rows(columns)]


def _dicts_of_tensors(source: ModelSource, wanted: Any) -> Make:
    names, made = tuple(source.inputs), _tensors_of(wanted)
    return lambda columns: [
        dict(zip(names, map(made, row), strict=True)) for row in zip(*(columns[name] for name in names), strict=True)
    ]


def _frames(source: ModelSource, wanted: Any) -> Make:
    names, frame = tuple(source.inputs), framework("pandas", "pandas", "sklearn", source).DataFrame

    def rows(columns: Mapping[str, Array]) -> list[Any]:
        made = frame({name: columns[name] if columns[name].ndim == 1 else list(columns[name]) for name in names})
        return [made.iloc[[row]] for row in range(len(made))]

    return rows


def _values(source: ModelSource, wanted: Any) -> Make:
    (name,) = source.inputs
    return lambda columns: _cells(columns[name])


def _dicts(source: ModelSource, wanted: Any) -> Make:
    names, arrays = tuple(source.inputs), np.ndarray in get_args(wanted)
    make: Callable[..., Any] = wanted if _is_row(wanted) else dict
    cells: Callable[[Array], Iterable[Any]] = partial(map, np.asarray) if arrays else _cells
    return lambda columns: [
        make(**dict(zip(names, row, strict=True)))
        for row in zip(*(cells(columns[name]) for name in names), strict=True)
    ]


def _cells(column: Array) -> list[Any]:
    """Values of Python, arrays where they have a shape."""
    return column.tolist() if column.ndim == 1 else list(column)


KINDS: Mapping[str, Callable[[ModelSource, Any], Make]] = {
    "array": _arrays, "matrix": _matrices, "tensor": _tensors, "tensors": _dicts_of_tensors, "frame": _frames,
    "dict": _dicts, "value": _values,
}  # fmt: skip
