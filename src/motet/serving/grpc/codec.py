"""Inference requests as columns, and answers as messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from motet.batch import Array, Column, Ragged, take_rows
from motet.errors import InputError, TooLargeError, known_names
from motet.graph.input import Input
from motet.oip.classes import best_classes
from motet.oip.messages import ModelInferResponse
from motet.oip.tensors import from_elements, from_raw, is_base64, of_base64, tensor_of, to_raw, with_texts
from motet.runtime.given import absent_inputs, fill_defaults
from motet.serving.wire.long import LONG_BYTES, LONG_ELEMENTS, LONG_RAW_BYTES, LONG_TEXT_BYTES, have_texts
from motet.types import ColumnType, Signature

__all__ = ["long_to_read", "long_to_write", "parameter", "read_columns", "wanted_outputs", "write_answer"]

_FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where the elements of a tensor are; FP16 has no place of its own."""
_SHARED_MEMORY = "shared_memory_region"


def parameter(parameters: Any, name: str) -> Any:
    """The value of a request's parameter, None where it is not given."""
    if name not in parameters:
        return None
    choice = parameters[name].WhichOneof("parameter_choice")
    return None if choice is None else getattr(parameters[name], choice)


def long_to_read(message: Any, inputs: Mapping[str, Input], size: int) -> bool:
    """Whether it takes long to read the columns of a `ModelInferRequest` of so many bytes."""
    if size <= LONG_TEXT_BYTES:
        return False
    if not message.raw_input_contents:
        return size > LONG_BYTES
    return size > LONG_RAW_BYTES or have_texts(each.type for each in inputs.values())


def long_to_write(message: Any, outputs: Mapping[str, ColumnType], columns: Mapping[str, Column], share: float) -> bool:
    """Whether it takes long to write the answer to a request that has this share of the columns."""
    elements = sum(len(column.values) if isinstance(column, Ragged) else column.size for column in columns.values())
    return elements * share > LONG_ELEMENTS and (have_texts(outputs.values()) or not _answer_raw(message))


def read_columns(message: Any, inputs: Mapping[str, Input], max_rows: int) -> tuple[dict[str, Column], int]:
    """The columns of a `ModelInferRequest`, and how many rows they have.

    Numbers that came raw are views of the message's bytes.

    Raises:
        InputError: when they are not what is wanted; says which input, what was expected and what was got.
        TooLargeError: when there are more than `max_rows`.
    """
    tensors, raw = message.inputs, message.raw_input_contents
    if raw and len(raw) != len(tensors):
        raise InputError(f"raw_input_contents has {len(raw)} tensors where inputs has {len(tensors)}")
    columns: dict[str, Column] = {}
    rows = -1
    for place, tensor in enumerate(tensors):
        name = tensor.name
        declared = inputs.get(name)
        if declared is None:
            raise InputError(f"unknown input {name!r}; {known_names(name, list(inputs))}")
        if name in columns:
            raise InputError(f"input {name!r} is given twice")
        shape = tuple(tensor.shape)
        if shape and shape[0] > max_rows:
            raise TooLargeError(f"{shape[0]} rows; a request may have {max_rows}", where=f"input {name!r}")
        columns[name] = _column(tensor, raw[place] if raw else None, shape, declared)
        if rows not in (-1, shape[0]):
            raise InputError(f"inputs differ in their number of rows: {name!r} has {shape[0]}, those before it {rows}")
        rows = shape[0]
    absent = absent_inputs(columns, inputs, "the model")
    if rows < 0:
        raise InputError("no input is given, so there is no number of rows", hint="give at least one input")
    fill_defaults(columns, absent, inputs, rows)
    return columns, rows


def _column(tensor: Any, raw: bytes | None, shape: tuple[int, ...], declared: Input) -> Column:
    where, kind, default = f"input {tensor.name!r}", declared.type, declared.default
    if tensor.parameters and _SHARED_MEMORY in tensor.parameters:
        raise InputError("shared memory is not offered", where=where, hint="send the elements")
    datatype = tensor.datatype
    read: Callable[..., Column]
    if raw is None:
        read = partial(from_elements, _contents(tensor, datatype, where), datatype, shape)
    elif tensor.HasField("contents"):
        raise InputError("has contents, and raw_input_contents is given too", where=where)
    else:
        read = partial(from_raw, raw, datatype, shape)
    if datatype == "BYTES" and is_base64(datatype, parameter(tensor.parameters, "content_type"), kind):
        return of_base64(lambda kind, default: read(kind, where, default), shape, kind, where, default)
    column = read(kind, where, default)
    return with_texts(column) if kind.dtype == "any" else column


def _contents(tensor: Any, datatype: str, where: str) -> Sequence[Any]:
    """The elements of a tensor that are in its message one by one."""
    expected = _FIELDS.get(datatype)
    if expected is None and datatype == "FP16":
        raise InputError("FP16 has no contents", where=where, hint="send it in raw_input_contents")
    elements: Sequence[Any] = ()
    for field, values in tensor.contents.ListFields():
        if expected is not None and field.name != expected:
            raise InputError(f"elements of {datatype} are expected in {expected}; got {field.name}", where=where)
        elements = elements or values
    return elements


def wanted_outputs(message: Any, signature: Signature) -> list[tuple[str, int]]:
    """The outputs that a request asks for, and how many best classes of each, 0 for the output itself.

    Raises:
        InputError: when one is unknown, asked for twice, or asked for in a way that is not offered.
    """
    if not message.outputs:
        return [(name, 0) for name in signature.outputs]
    wanted: dict[str, int] = {}
    for output in message.outputs:
        name = output.name
        if name not in signature.outputs:
            raise InputError(f"unknown output {name!r}; {known_names(name, list(signature.outputs))}")
        if name in wanted:
            raise InputError(f"output {name!r} is asked for twice")
        if _SHARED_MEMORY in output.parameters:
            raise InputError("shared memory is not offered", where=f"output {name!r}")
        classes = parameter(output.parameters, "classification")
        if classes is not None and (not isinstance(classes, int) or isinstance(classes, bool) or classes < 1):
            raise InputError(f"classification must be a whole number from 1; got {classes!r}", where=f"output {name!r}")
        wanted[name] = classes or 0
    return list(wanted.items())


def write_answer(
    message: Any,
    version: str,
    signature: Signature,
    wanted: Iterable[tuple[str, int]],
    columns: Mapping[str, Column],
    first: int,
    end: int,
    feedback_id: str = "",
) -> Any:
    """The `ModelInferResponse` to a request: the rows from `first` to `end` of columns, with what feedback names it by.

    The outputs are raw unless an input came as typed contents, where the parameter `binary_data_output` says so, or where one of them has
    no other form.

    Raises:
        InputError: when an output is no tensor.
    """
    tensors = [
        (name, *_tensor(columns[name], slice(first, end), signature.outputs[name], classes, f"output {name!r}"))
        for name, classes in wanted
    ]
    answer = ModelInferResponse(model_name=message.model_name, model_version=version, id=message.id)
    if feedback_id:
        answer.parameters["feedback_id"].string_param = feedback_id
    raw = _answer_raw(message) or any(datatype == "FP16" for _, datatype, _ in tensors)
    for name, datatype, array in tensors:
        output = answer.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if raw:
            answer.raw_output_contents.append(to_raw(array))
        else:
            getattr(output.contents, _FIELDS[datatype]).extend(_elements(array))
    return answer


def _answer_raw(message: Any) -> bool:
    for tensor in message.inputs:
        if tensor.HasField("contents"):
            return parameter(message.parameters, "binary_data_output") is True
    return True


def _tensor(column: Column, rows: slice, kind: ColumnType, classes: int, where: str) -> tuple[str, Array]:
    datatype, array = tensor_of(take_rows(column, rows), kind, where)
    return ("BYTES", best_classes(array, classes, where)) if classes else (datatype, array)


def _elements(array: Array) -> Iterable[Any]:
    flat = array.reshape(-1)
    if array.dtype == object:
        return [value.encode() if isinstance(value, str) else bytes(value) for value in flat]
    values: list[Any] = np.asarray(flat).tolist()
    return values
