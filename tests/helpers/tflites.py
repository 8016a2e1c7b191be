"""Small .tflite files, put together operator by operator with LiteRT's own schema: no converter is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

__all__ = ["Graph", "softmax_of"]

_DTYPES = {"float32": "FLOAT32", "int8": "INT8", "uint8": "UINT8", "int32": "INT32", "string": "STRING"}


@dataclass
class Graph:
    """A model under construction: tensors, then operators, then a file.

    Attributes:
        buffers, tensors, operators, codes: what it has; the first buffer is empty.
    """

    buffers: list[Any] = field(default_factory=lambda: [schema.BufferT()])
    tensors: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    def tensor(self, name: str, shape: Sequence[int], dtype: str = "float32", quantized: Any = None, variable: bool = False) -> int:  # fmt: skip
        """A tensor; an axis of -1 may have any length; `quantized` is a scale and a zero point."""
        made = schema.TensorT(name=name, shape=[max(1, axis) for axis in shape], isVariable=variable, hasRank=True)
        made.type = getattr(schema.TensorType, _DTYPES[dtype])
        if -1 in shape:
            made.shapeSignature = list(shape)
        if quantized is not None:
            made.quantization = schema.QuantizationParametersT(scale=[quantized[0]], zeroPoint=[quantized[1]])
        self.tensors.append(made)
        return len(self.tensors) - 1

    def constant(self, name: str, values: Any) -> int:
        place = self.tensor(name, values.shape, values.dtype.name)
        self.buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
        self.tensors[place].buffer = len(self.buffers) - 1
        return place

    def operator(self, name: str, inputs: list[int], outputs: list[int], options: str = "", **settings: Any) -> None:
        code = getattr(schema.BuiltinOperator, name)
        if code not in self.codes:
            self.codes.append(code)
        made = schema.OperatorT(opcodeIndex=self.codes.index(code), inputs=inputs, outputs=outputs)
        if options:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            made.builtinOptions = getattr(schema, f"{options}T")()
            for key, value in settings.items():
                setattr(made.builtinOptions, key, value)
        self.operators.append(made)

    def write(self, path: Path, inputs: list[int], outputs: list[int], *signatures: str) -> Path:
        """The file; each signature has the tensors' names."""
        graph = schema.SubGraphT(tensors=self.tensors, inputs=inputs, outputs=outputs, operators=self.operators)
        codes = [
            schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=1)
            for code in self.codes
        ]
        model = schema.ModelT(version=3, operatorCodes=codes, subgraphs=[graph], buffers=self.buffers)
        model.signatureDefs = [
            schema.SignatureDefT(inputs=self._maps(inputs), outputs=self._maps(outputs), signatureKey=key)
            for key in signatures
        ]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path

    def _maps(self, places: list[int]) -> list[Any]:
        return [schema.TensorMapT(name=self.tensors[place].name, tensorIndex=place) for place in places]


def softmax_of(path: Path, weights: Any, *signatures: str, rows: int = -1) -> Path:
    """softmax(x @ weights), `x: float32[n]` to `probabilities: float32[k]`."""
    graph, (width, classes) = Graph(), weights.shape
    x = graph.tensor("x", (rows, width))
    turned = graph.constant("weights", np.ascontiguousarray(weights.T, np.float32))
    bias = graph.constant("bias", np.zeros(classes, np.float32))
    hidden = graph.tensor("hidden", (rows, classes))
    scores = graph.tensor("probabilities", (rows, classes))
    graph.operator("FULLY_CONNECTED", [x, turned, bias], [hidden], "FullyConnectedOptions")
    graph.operator("SOFTMAX", [hidden], [scores], "SoftmaxOptions", beta=1.0)
    return graph.write(path, [x], [scores], *signatures)
