"""Codecs and bodies for the tests of the wire."""

import json

import numpy as np

from motet.batch import Ragged
from motet.graph.input import Input
from motet.serving.wire.infer import InferCodec
from motet.types import ColumnType

MAX_ROWS = 100


def codec(inputs, outputs=None, max_rows=MAX_ROWS, **defaults):
    """A codec of inputs and outputs whose types are written as in graphs."""
    declared = {
        name: Input(ColumnType.parse(kind), defaults[name]) if name in defaults else Input(ColumnType.parse(kind))
        for name, kind in inputs.items()
    }
    kinds = {name: ColumnType.parse(kind) for name, kind in (outputs or {"y": "float32"}).items()}
    return InferCodec("m", "1", declared, kinds, max_rows)


def tensor(name="x", shape=(1,), datatype="FP32", data=None, size=None, **parameters):
    """An input as JSON has it."""
    if size is not None:
        parameters["binary_data_size"] = size
    given = {"name": name, "shape": list(shape), "datatype": datatype}
    return {
        **given,
        **({} if data is None else {"data": data}),
        **({"parameters": parameters} if parameters else {}),
    }


def request(*tensors, **more):
    """The JSON of a request, as bytes."""
    return json.dumps({"inputs": list(tensors), **more}).encode()


def framed(raw, *tensors, **more):
    """A body of JSON and bytes, and the length of the JSON."""
    head = request(*tensors, **more)
    return head + raw, len(head)


def dense(column):
    """A column as one array."""
    return column.dense() if isinstance(column, Ragged) else np.asarray(column)
