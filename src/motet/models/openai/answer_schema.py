"""Answers that follow a JSON schema: its properties are columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from motet.errors import AnswerError, GraphError, cut
from motet.graph.forms import NAME
from motet.models.common import framework, load_error
from motet.models.handler import ModelSource
from motet.types import ANY, ColumnType

__all__ = ["AnswerSchema", "schema_outputs"]

_SIMPLE = {"string": "string", "integer": "int64", "number": "float64", "boolean": "bool"}
_IN_LISTS = {"integer": "int64[?]", "number": "float64[?]"}


def schema_outputs(schema: object, where: str) -> dict[str, ColumnType]:
    """The columns that answers have: strings, whole numbers, numbers, truths and lists of numbers that are always there by
    their types, all else as `any`.

    Raises:
        GraphError: when the schema is none of an object with properties.
    """
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(schema, Mapping) or schema.get("type") != "object" or not isinstance(properties, Mapping):
        hint = "write schema: {type: object, properties: {...}}"
        raise GraphError("the schema of answers must be of an object with properties", where=where, hint=hint)
    if not properties:
        raise GraphError("the schema of answers has no properties", where=where)
    for name in properties:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise GraphError(f"the property {name!r} cannot be the name of a column", where=where, hint="rename it")
    required = schema.get("required", [])
    if not isinstance(required, list | tuple):
        hint = "write required: [NAME, ...]"
        raise GraphError(f"required is a list of properties; got {required!r}", where=where, hint=hint)
    return {name: _kind(each) if name in required else ANY for name, each in properties.items()}


def _kind(said: Any) -> ColumnType:
    if not isinstance(said, Mapping):
        return ANY
    kind, items = said.get("type"), said.get("items")
    inside = items.get("type") if kind == "array" and isinstance(items, Mapping) else None
    if isinstance(inside, str) and inside in _IN_LISTS:
        return ColumnType.parse(_IN_LISTS[inside])
    return ColumnType(_SIMPLE[kind]) if isinstance(kind, str) and kind in _SIMPLE else ANY


class AnswerSchema:
    """Reads answers of a schema.

    Args:
        schema: a JSON schema, see `schema_outputs`.
        source: the model, for messages.

    Raises:
        ModelLoadError: when the schema is none.
        MissingExtraError: when jsonschema is not installed.
    """

    def __init__(self, schema: Mapping[str, Any], source: ModelSource) -> None:
        validators = framework("jsonschema", "jsonschema", "openai", source)
        referencing = framework("referencing", "jsonschema", "openai", source)
        self._schema, self._kinds = schema, schema_outputs(schema, "schema")
        kind = validators.validators.validator_for(schema, default=validators.Draft202012Validator)
        try:
            kind.check_schema(schema)
        except validators.SchemaError as error:
            raise load_error(source, f"the schema of answers is none: {error.message}") from error
        self._validator = kind(schema, registry=referencing.Registry())  # which fetches nothing

    @property
    def response_format(self) -> dict[str, Any]:
        """How an endpoint is asked for such answers: strictly where the schema leaves nothing open, as OpenAI wants it."""
        schema, properties = self._schema, self._schema["properties"]
        closed = schema.get("additionalProperties") is False and set(schema.get("required", ())) == set(properties)
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": closed}}

    def values(self, text: str) -> dict[str, Any]:
        """The columns of an answer.

        Raises:
            AnswerError: when it is no JSON, or does not follow the schema.
        """
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise AnswerError(f"the answer is no JSON: {error}; it is {cut(text)!r}") from error
        wrong = next(iter(self._validator.iter_errors(value)), None)
        if wrong is not None:
            where = f" at {wrong.json_path}" if wrong.json_path != "$" else ""
            raise AnswerError(f"the answer does not follow the schema{where}: {cut(wrong.message, 300)}")
        return {name: _as(value.get(name), kind) for name, kind in self._kinds.items()}


def _as(value: Any, kind: ColumnType) -> Any:
    """A value as its column has it: a list of numbers as an array; 3.0 is whole for JSON."""
    if kind.shape:
        return np.asarray(value, kind.numpy_dtype)
    return int(value) if kind.dtype == "int64" else value
