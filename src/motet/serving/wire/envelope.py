"""The JSON of an inference request: which tensors, in which form, and which outputs are wanted.

Source: the Open Inference Protocol (V2), and Triton's extensions for binary tensors, classification and parameters.
Members that neither knows are passed over, and null counts as absent, since clients send both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from motet.errors import InputError, known_names
from motet.graph.fields import show
from motet.reading import holds_truth
from motet.types import ColumnType

__all__ = ["Envelope", "EnvelopeTensor", "Wanted", "read_envelope", "read_json", "whole"]

_OF_NUMBERS = b"0123456789.,+-eE \t\r\n"
_SHARED_MEMORY = "shared_memory_region"


class EnvelopeTensor(NamedTuple):
    """An input as it was sent; exactly one of `data` and `size` is there."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: object
    size: int | None
    """Bytes after the JSON, None where the elements are in the JSON."""
    content_type: object = None
    """What its elements are, where the parameter of this name says it."""


class Wanted(NamedTuple):
    """An output that is asked for: in bytes or in JSON; `classes` best classes of it, 0 for the output itself."""

    name: str
    binary: bool
    classes: int


@dataclass(slots=True)
class Envelope:
    """The JSON of a request.

    Attributes:
        id: empty where there is none.
        parameters: of the request.
        tensors: the inputs, in their order.
        outputs: those that are wanted, in their order; all of them in one form where none is named.
    """

    id: str
    parameters: Mapping[str, Any]
    tensors: list[EnvelopeTensor]
    outputs: tuple[Wanted, ...]


def whole(value: Any) -> Any:
    """A whole number that JSON has with a point (3.0) as an integer; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def read_json(text: bytes, what: str = "the body") -> Any:
    """The value of a JSON text, which may hold the tokens `NaN`, `Infinity` and `-Infinity`.

    Raises:
        InputError: when it is no JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        reason = str(error)
    if b"NaN" in text or b"Infinity" in text:
        try:
            value = json.loads(text.decode())
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        except (ValueError, RecursionError):
            pass
        else:
            return value
    raise InputError(f"{what} is not JSON: {reason}")


def read_envelope(text: bytes, outputs: Mapping[str, ColumnType], what: str = "the body") -> Envelope:
    """The JSON of a request to a model that gives `outputs`; the elements stay as they are.

    Raises:
        InputError: when it is no JSON, or no such request; says what was expected where.
    """
    value = read_json(text, what)
    if type(value) is not dict:
        raise InputError(f"{what} must be a JSON object with 'inputs'; got {show(value)}")
    identity = value.get("id")
    if identity is not None and type(identity) is not str:
        raise InputError(f"'id' must be a text; got {show(identity)}")
    parameters = _parameters(value, "the request")
    inputs = value.get("inputs")
    if type(inputs) is not list:
        raise InputError(f"'inputs' must be a list of tensors; got {'nothing' if inputs is None else show(inputs)}")
    tensors = [_tensor(each, place) for place, each in enumerate(inputs)]
    if _may_hold_truth(text):
        _no_truth(tensors)
    binary = _flag(parameters, "binary_data_output", "the request")
    return Envelope(identity or "", parameters, tensors, _wanted(value.get("outputs"), outputs, binary))


def _tensor(value: object, place: int) -> EnvelopeTensor:
    where = f"inputs[{place}]"
    if type(value) is not dict:
        raise InputError(f"must be an object with name, shape, datatype and data; got {show(value)}", where=where)
    name, datatype, shape = value.get("name"), value.get("datatype"), value.get("shape")
    if type(name) is not str:
        raise InputError(f"'name' must be a text; got {show(name)}", where=where)
    where = f"input {name!r}"
    if type(datatype) is not str:
        raise InputError(f"'datatype' must be a text; got {show(datatype)}", where=where)
    axes: list[Any] = shape if type(shape) is list else [None]
    if any(type(axis) is not int for axis in axes):
        axes = [whole(axis) for axis in axes]
        if any(type(axis) is not int for axis in axes):
            raise InputError(f"'shape' must be a list of whole numbers; got {show(shape)}", where=where)
    size = content_type = None
    parameters = value.get("parameters")
    if parameters:
        parameters = _parameters(value, where)
        _no_shared_memory(parameters, where)
        size, content_type = whole(parameters.get("binary_data_size")), parameters.get("content_type")
        if size is not None and (type(size) is not int or size < 0):
            raise InputError(f"'binary_data_size' must be a number of bytes; got {show(size)}", where=where)
    data = value.get("data")
    if size is None and data is None:
        raise InputError("has neither 'data' nor the parameter 'binary_data_size'", where=where)
    if size is not None and data is not None:
        raise InputError("has both 'data' and the parameter 'binary_data_size'", where=where)
    return EnvelopeTensor(name, datatype, tuple(axes), data, size, content_type)


def _may_hold_truth(text: bytes) -> bool:
    """Whether true or false may stand in a JSON text; one pass over it costs a tenth of decoding it."""
    words = text.translate(None, _OF_NUMBERS)
    return b"tru" in words or b"fals" in words


def _no_truth(tensors: list[EnvelopeTensor]) -> None:
    """Refuse true and false as elements of numbers."""
    for each in tensors:
        if each.datatype not in ("BOOL", "BYTES") and holds_truth(each.data):
            what = f"got true or false where a number of {each.datatype} should be"
            raise InputError(what, where=f"input {each.name!r}")


def _wanted(value: object, known: Mapping[str, ColumnType], binary: bool) -> tuple[Wanted, ...]:
    if value is None or value == []:
        return tuple(Wanted(name, binary, 0) for name in known)
    if type(value) is not list:
        raise InputError(f"'outputs' must be a list; got {show(value)}")
    wanted: dict[str, Wanted] = {}
    for place, each in enumerate(value):
        name = each.get("name") if type(each) is dict else None
        if type(name) is not str:
            raise InputError(f"must be an object with a name; got {show(each)}", where=f"outputs[{place}]")
        if name not in known:
            raise InputError(f"unknown output {name!r}; {known_names(name, list(known))}")
        if name in wanted:
            raise InputError(f"output {name!r} is asked for twice")
        wanted[name] = _output(each, name, known[name], binary)
    return tuple(wanted.values())


def _output(value: Mapping[str, object], name: str, kind: ColumnType, binary: bool) -> Wanted:
    where = f"output {name!r}"
    parameters = _parameters(value, where)
    _no_shared_memory(parameters, where)
    classes = whole(parameters.get("classification"))
    if classes is not None:
        if type(classes) is not int or classes < 1:
            raise InputError(f"'classification' must be a whole number from 1; got {show(classes)}", where=where)
        if kind.dtype in ("bool", "string", "bytes") or (kind.dtype != "any" and len(kind.shape) != 1):
            raise InputError(f"is {kind}, and 'classification' takes numbers with one axis", where=where)
    return Wanted(name, _flag(parameters, "binary_data", where, binary), classes or 0)


def _parameters(value: Mapping[str, object], where: str) -> Mapping[str, Any]:
    parameters = value.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise InputError(f"'parameters' must be an object; got {show(parameters)}", where=where)
    return parameters


def _flag(parameters: Mapping[str, Any], name: str, where: str, default: bool = False) -> bool:
    flag = parameters.get(name)
    if flag is None:
        return default
    if type(flag) is not bool:
        raise InputError(f"{name!r} must be true or false; got {show(flag)}", where=where)
    return flag


def _no_shared_memory(parameters: Mapping[str, Any], where: str) -> None:
    if _SHARED_MEMORY in parameters:
        raise InputError("shared memory is not offered", where=where, hint="send and ask for the elements")
