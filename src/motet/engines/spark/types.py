"""Between types of columns and those that Spark has: no unsigned or half numbers, and arrays inside arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.errors import PySparkTypeError
from pyspark.sql.pandas.types import from_arrow_type, to_arrow_type
from pyspark.sql.types import StructField, StructType

from motet.io.fitted import UNREADABLE

__all__ = ["arrow_schema", "spark_field", "storable", "stored"]

_WIDER = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
}


def arrow_schema(schema: StructType, conf: Any) -> pa.Schema:
    """The Arrow schema in which Spark hands rows to Python.

    Args:
        schema: of a data frame.
        conf: of its session.
    """
    options = {
        "timezone": conf.get("spark.sql.session.timeZone"),
        "prefers_large_types": conf.get("spark.sql.execution.arrow.useLargeVarTypes") == "true",
    }
    return pa.schema([_arrow_field(field, options) for field in schema])


def _arrow_field(field: StructField, options: dict[str, Any]) -> pa.Field:
    try:
        return pa.field(field.name, to_arrow_type(field.dataType, **options), field.nullable)
    except PySparkTypeError:
        reason = f"is {field.dataType.simpleString()}, which Spark does not hand to Python"
        return pa.field(field.name, pa.null(), metadata={UNREADABLE: reason})


def spark_field(name: str, data_type: pa.DataType) -> StructField:
    """The field of an output."""
    return StructField(name, from_arrow_type(storable(data_type)))


def storable(data_type: Any) -> pa.DataType:
    """The type that Spark takes in place of one that an output has."""
    if isinstance(data_type, pa.FixedShapeTensorType):
        found = storable(data_type.value_type)
        for _ in data_type.shape:
            found = pa.list_(found)
        return found
    if pa.types.is_list(data_type):
        return pa.list_(storable(data_type.value_type))
    return _WIDER.get(data_type, data_type)


def stored(array: pa.Array) -> pa.Array:
    """An output in the type that Spark takes."""
    data_type = array.type
    if not isinstance(data_type, pa.FixedShapeTensorType):
        return array.cast(storable(data_type))
    found = array.storage.flatten().cast(storable(data_type.value_type))
    for axis, size in reversed(list(enumerate(data_type.shape))):
        count = len(array) * math.prod(data_type.shape[:axis])
        found = pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * np.int32(size), found)
    return found
