"""JSON Schemas of columns, rows and tensors (JSON Schema 2020-12, as OpenAPI 3.1 has it)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from motet.graph.input import Input
from motet.numbers import may_convert
from motet.oip.tensors import DATATYPES, datatype_of
from motet.pictures import is_picture
from motet.serving.rest.uploads import takes_files
from motet.types import ColumnType

__all__ = ["answer_row", "example_row", "form", "given_row", "tensor_given", "value_example"]

Schema = dict[str, Any]
BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
GIVEN_BASE64 = (
    r"^(?:[Dd][Aa][Tt][Aa]:[^,]*;base64,)?\s*(?:(?:[A-Za-z0-9+/_-]\s*){4})*"
    r"(?:[A-Za-z0-9+/_-]\s*[AQgw]\s*(?:=\s*=\s*)?|(?:[A-Za-z0-9+/_-]\s*){2}[AEIMQUYcgkosw048]\s*(?:=\s*)?)?$"
)
"""Of what is given: in the alphabet for addresses too, with lines broken, not padded, or in an address."""
MOST_SHOWN = 1024
"""Elements that an example may have."""


def _scalar(dtype: str, *, answered: bool) -> Schema:
    """One element; what is answered may be null where a float has no number."""
    if dtype == "any":
        return {}
    if dtype == "bool":
        return {"type": "boolean"}
    if dtype == "string":
        return {"type": "string"}
    if dtype == "bytes":
        return {"type": "string", "contentEncoding": "base64", "pattern": BASE64 if answered else GIVEN_BASE64}
    if dtype.startswith("float"):
        greatest = float(np.finfo(dtype).max)
        return (
            {"type": ["number", "null"]} if answered else {"type": "number", "minimum": -greatest, "maximum": greatest}
        )
    bounds = np.iinfo(dtype)  # (255.0 is an integer of JSON Schema, and of ours)
    return {"type": "integer", "minimum": int(bounds.min), "maximum": int(bounds.max)}


def _value(kind: ColumnType, *, answered: bool) -> Schema:
    schema = _scalar(kind.dtype, answered=answered)
    for axis in reversed(kind.shape):
        schema = {"type": "array", "items": schema}
        if axis is not None:
            schema |= {"minItems": axis, "maxItems": axis}
    return schema


def given_row(inputs: Mapping[str, Input]) -> Schema:
    """A row as it is asked: an object whose keys are the inputs; others are passed over."""
    properties = {}
    for name, each in inputs.items():
        schema = _value(each.type, answered=False) | {"title": str(each.type)}
        if is_picture(each.type):
            schema["description"] = "also an image file, as data:image/png;base64,..., or the base64 of the bytes"
        elif each.type.shape and each.type.row_bytes is not None:
            schema["description"] = "also the base64 of its bytes, in C order, little-endian"
        properties[name] = schema
    required = [name for name, each in inputs.items() if not each.has_default]
    return {**_object(properties, required), "additionalProperties": True}


def answer_row(outputs: Mapping[str, ColumnType]) -> Schema:
    """A row as it is answered."""
    properties = {name: _value(kind, answered=True) | {"title": str(kind)} for name, kind in outputs.items()}
    properties["explain"] = {"$ref": "#/components/schemas/Explanation"}
    return {"type": "object", "properties": properties, "required": list(outputs)}


def _object(properties: Mapping[str, Schema], required: list[str]) -> Schema:
    schema: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return schema | {"required": required} if required else schema


def form(inputs: Mapping[str, Input]) -> Schema:
    """A row as the fields of a form."""
    properties: dict[str, Schema] = {}
    for name, each in inputs.items():
        if takes_files(each.type):
            media = "image/*" if is_picture(each.type) else "application/octet-stream"
            properties[name] = {"type": "string", "format": "binary", "contentMediaType": media}
        else:
            properties[name] = {"type": "string"} if each.type.dtype == "string" else _value(each.type, answered=False)
    return _object(properties, [name for name, each in inputs.items() if not each.has_default])


def tensor_given(name: str, kind: ColumnType) -> Schema:
    """An input of an inference request."""
    axes: list[Schema] = [{"type": "integer", "minimum": 0}]
    axes += [{"type": "integer", "minimum": 0} if axis is None else {"const": axis} for axis in kind.shape]
    shape: Schema = {"type": "array", "prefixItems": axes, "minItems": len(axes)}
    shape |= {"maxItems": len(axes), "items": False} if kind.shape else {"items": {"const": 1}}
    taken = [each for each, dtype in DATATYPES.items() if each == datatype_of(kind) or _widens(dtype, kind)]
    properties: dict[str, Schema] = {
        "name": {"const": name},
        "datatype": {"enum": taken},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}} if kind.dtype == "any" else shape,
        "data": {"type": "array", "description": "the elements, flat in C order or nested"},
        "parameters": {"type": "object"},
    }
    if kind.dtype == "any":
        properties["datatype"] = {"type": "string"}
    return {"type": "object", "properties": properties, "required": ["name", "datatype", "shape", "data"]}


def _widens(dtype: str, kind: ColumnType) -> bool:
    return not kind.is_object and dtype != "bytes" and may_convert(dtype, kind.dtype)


def value_example(kind: ColumnType) -> Any:
    """A value of a type; an axis that varies is 2."""
    scalar: Any = {"string": "text", "bytes": "", "bool": False, "any": None}.get(kind.dtype, 0)
    for axis in reversed(kind.shape):
        scalar = [scalar] * (2 if axis is None else axis)
    return scalar


def example_row(inputs: Mapping[str, Input]) -> dict[str, Any] | None:
    """A row that can be asked; None where it would be long."""
    needed = {name: each.type for name, each in inputs.items() if not each.has_default}
    size = sum(math.prod(2 if axis is None else axis for axis in kind.shape) for kind in needed.values())
    return {name: value_example(kind) for name, kind in needed.items()} if size <= MOST_SHOWN else None
