"""Inference over REST, as a client sees it: requests written, answers read; JSON and the binary tensor extension.

The protocol is the Open Inference Protocol v2 with Triton's extension for binary tensors: the JSON comes first, its
length is in the header `Inference-Header-Content-Length`, and the elements of tensors follow it in order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from motet.batch import Array, Column, objects
from motet.errors import InputError
from motet.numbers import from_objects
from motet.oip.tensors import DATATYPES, from_raw, num_elements, to_raw
from motet.types import ANY, ColumnType

__all__ = ["LENGTH_HEADER", "answered_numbers", "as_sent", "decode_json", "read_answer", "write_request"]

LENGTH_HEADER = "Inference-Header-Content-Length"
Tensor = tuple[str, Array]
"""A datatype and elements `[rows, ...]`."""


def write_request(
    tensors: Mapping[str, Tensor],
    *,
    outputs: Sequence[str] | None = None,
    binary: bool = True,
    parameters: Mapping[str, Any] | None = None,
    request_id: str = "",
) -> tuple[bytes, dict[str, str]]:
    """The body of a request for inference, and the headers that belong to it.

    Args:
        tensors: what is given, by the names of the inputs.
        outputs: which outputs are wanted; None for all.
        binary: whether elements travel as bytes, there and back. Without it only those do that JSON has no form for:
            FP16, numbers that are not finite, and bytes that are no text.
        parameters: of the request.
        request_id: given back in the answer where there is one.
    """
    raw: list[bytes] = []
    inputs: list[dict[str, Any]] = []
    for name, (datatype, array) in tensors.items():
        tensor: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype}
        data = None if binary else _json_data(datatype, array)
        if data is None:
            raw.append(to_raw(array))
            tensor["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            tensor["data"] = data
        inputs.append(tensor)
    request: dict[str, Any] = {"id": request_id} if request_id else {}
    about = dict(parameters or {})
    if binary and outputs is None:
        about["binary_data_output"] = True
    if about:
        request["parameters"] = about
    request["inputs"] = inputs
    if outputs is not None:
        request["outputs"] = [{"name": name, "parameters": {"binary_data": binary}} for name in outputs]
    head = msgspec.json.encode(request)
    if not raw:
        return head, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", LENGTH_HEADER: str(len(head))}
    return b"".join([head, *raw]), headers


def read_answer(
    body: bytes | bytearray, length: str | None, kinds: Mapping[str, ColumnType], where: str
) -> dict[str, Column]:
    """The columns of an answer, by the names of the outputs.

    Args:
        body: of the answer; the columns may be views of it.
        length: what the header `Inference-Header-Content-Length` says; None where there is none.
        kinds: the types of outputs that are known; they say whether BYTES are texts, and no more.
        where: who answered, for messages.

    Raises:
        InputError: when it is no such answer.
    """
    view = memoryview(body)
    end = len(view) if length is None else int(length) if length.isascii() and length.isdigit() else -1
    if not 0 <= end <= len(view):
        raise InputError(f"{LENGTH_HEADER} is {length!r}, the answer has {len(view)} bytes", where=where)
    answer = decode_json(view[:end], where)
    tensors = answer.get("outputs") if isinstance(answer, dict) else None
    if not isinstance(tensors, list):
        raise InputError("the answer has no list of outputs", where=where)
    columns: dict[str, Column] = {}
    for tensor in tensors:
        name, datatype, shape, size, data = _parts(tensor, where)
        place, kind = f"{where}: output {name!r}", as_sent(kinds.get(name, ANY), datatype, shape)
        if size is None:
            columns[name] = _from_json(data, datatype, shape, kind, place)
            continue
        if end + size > len(view):
            raise InputError(f"binary_data_size is {size}; {len(view) - end} bytes are left", where=place)
        columns[name] = from_raw(view[end : end + size], datatype, shape, kind, place)
        end += size
    return columns


def as_sent(kind: ColumnType, datatype: str, shape: Sequence[int]) -> ColumnType:
    """As what a tensor of an answer is read: in the datatype and the shape that it came in, BYTES as texts if they are."""
    if datatype == "BYTES" and kind.dtype in ("string", "bytes"):
        return ColumnType(kind.dtype, tuple(shape[1:]))
    return ANY


def decode_json(body: bytes | bytearray | memoryview, where: str) -> Any:
    """JSON, also with the NaN and Infinity that some servers write.

    Raises:
        InputError: when it is none.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        try:
            return json.loads(bytes(body))
        except (ValueError, RecursionError) as error:
            raise InputError(f"the answer is no JSON: {error}", where=where) from error


def _json_data(datatype: str, array: Array) -> list[Any] | None:
    """The elements as JSON has them, None where it has no form for them."""
    if datatype == "FP16" or (array.dtype.kind == "f" and not np.isfinite(array).all()):
        return None
    if datatype != "BYTES":
        flat: list[Any] = array.reshape(-1).tolist()
        return flat
    try:
        return [value if isinstance(value, str) else bytes(value).decode() for value in array.reshape(-1)]
    except UnicodeDecodeError:
        return None


def _parts(tensor: Any, where: str) -> tuple[str, str, list[int], int | None, Any]:
    try:
        name, datatype, shape = tensor["name"], tensor["datatype"], tensor["shape"]
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        sound = (
            isinstance(name, str)
            and isinstance(datatype, str)
            and isinstance(shape, list)
            and all(type(axis) is int for axis in shape)
        )
        if not sound or not (size is None or (type(size) is int and size >= 0)):
            raise TypeError(f"name {name!r}, datatype {datatype!r}, shape {shape!r}, binary_data_size {size!r}")
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"an output of the answer is not understood: {error!r}", where=where) from error
    return name, datatype, shape, size, tensor.get("data")


def _from_json(data: Any, datatype: str, shape: Sequence[int], kind: ColumnType, where: str) -> Column:
    """The column of a tensor that came as JSON, flat or nested; a null among floats is NaN."""
    wanted = num_elements(shape, where)
    flat = list(_flat(data))
    if len(flat) != wanted:
        raise InputError(f"{datatype} of shape {list(shape)} has {wanted} elements; got {len(flat)}", where=where)
    dtype = DATATYPES.get(datatype, "")
    try:
        if dtype == "bytes":
            if not all(isinstance(value, str) for value in flat):
                raise TypeError("not all elements of BYTES are texts")
            made = objects(flat if kind.dtype == "string" else [value.encode() for value in flat])
            return made.reshape(shape)
        made = answered_numbers(objects(flat), dtype) if dtype else objects(flat)
    except (TypeError, ValueError) as error:
        raise InputError(f"{datatype} cannot hold what came: {error}", where=where) from error
    return from_raw(to_raw(made), datatype, shape, kind, where)


def answered_numbers(values: Array, dtype: str) -> Array:
    """Numbers of a JSON answer in their dtype; null among floats is NaN.

    Args:
        values: objects, of any shape.
        dtype: that they were said to be of.

    Raises:
        ValueError: when one is none of it.
    """
    if dtype == "bool":
        flat = [value == 1 if type(value) is int and value in (0, 1) else value for value in values.reshape(-1)]
        values = objects(flat).reshape(values.shape)
    found = from_objects(values, dtype)
    if found.missing is not None and dtype.startswith("float"):
        found.values[found.missing] = np.nan
        found = found._replace(missing=None)
    for wrong in (found.lost, found.missing):
        if wrong is not None:
            raise ValueError(f"{dtype} is said, and {values[wrong][0]!r} is there")
    return found.values


def _flat(data: Any) -> Iterator[Any]:
    if isinstance(data, list):
        for each in data:
            if isinstance(each, list):
                yield from _flat(each)
            else:
                yield each
    elif data is not None:
        yield data
