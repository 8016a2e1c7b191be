"""What a server of the Open Inference Protocol says of a model, and what that means for columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from motet.errors import InputError
from motet.oip.tensors import DATATYPES
from motet.types import ANY, ColumnType, Signature

__all__ = ["ModelInfo", "TensorInfo"]

_CONTENT = {"str": "string", "bytes": "bytes", "raw": "bytes", "base64": "string"}
"""Such columns are sent and read as they are: what is base64 is a text."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or an output of a model, as its server describes it.

    Attributes:
        name: the tensor's name.
        datatype: of its elements, for example FP32.
        shape: its axes; the first is the row, -1 is any length.
        content_type: what BYTES stand for, where the server says it (`str` for texts): MLServer's parameter of this name.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    content_type: str = ""

    @property
    def type(self) -> ColumnType:
        """The type of such a column; `any` where that cannot be told: BYTES may be texts or bytes."""
        return self._of_axes(self.shape[1:]) if self.shape else ANY

    @property
    def whole_type(self) -> ColumnType:
        """The type of such a column where all axes are those of one row."""
        return self._of_axes(self.shape)

    def _of_axes(self, axes: tuple[int, ...]) -> ColumnType:
        dtype = DATATYPES.get(self.datatype, "any")
        if dtype == "bytes":
            dtype = _CONTENT.get(self.content_type, "any")
        return ANY if dtype == "any" else ColumnType(dtype, tuple(None if axis < 0 else axis for axis in axes))


@dataclass(frozen=True)
class ModelInfo:
    """What a server says of a model.

    Attributes:
        name, versions, platform: as the server gives them.
        inputs, outputs: tensors by name, in order; empty where the server does not say.
    """

    name: str
    versions: tuple[str, ...] = ()
    platform: str = ""
    inputs: Mapping[str, TensorInfo] = field(default_factory=dict)
    outputs: Mapping[str, TensorInfo] = field(default_factory=dict)

    @classmethod
    def read(cls, body: bytes | bytearray, where: str) -> ModelInfo:
        """The body of `GET /v2/models/NAME`.

        Raises:
            InputError: when it is no such body.
        """
        try:
            read = msgspec.json.decode(body, type=_Model)
        except msgspec.DecodeError as error:
            raise InputError(f"the metadata of the model is not understood: {error}", where=where) from error
        inputs, outputs = (
            {each.name: each.info() for each in tensors or ()} for tensors in (read.inputs, read.outputs)
        )
        return cls(read.name, tuple(map(str, read.versions or ())), read.platform or "", inputs, outputs)

    @property
    def signature(self) -> Signature:
        """What it takes and gives; `any` where the server does not say it well enough."""
        inputs = {name: tensor.type for name, tensor in self.inputs.items()}
        outputs = {name: tensor.type for name, tensor in self.outputs.items()}
        rows = {tensor.shape[0] for tensor in self.inputs.values() if tensor.shape}
        fixed = rows.pop() if len(rows) == 1 else -1
        return Signature(inputs, outputs, fixed if fixed > 0 else None)

    @property
    def signature_of_a_row(self) -> Signature:
        """What it takes and gives where a call is one row, and no axis is that of the rows."""
        inputs = {name: tensor.whole_type for name, tensor in self.inputs.items()}
        return Signature(inputs, {name: tensor.whole_type for name, tensor in self.outputs.items()}, 1)


class _Tensor(msgspec.Struct):
    name: str
    datatype: str = ""
    shape: Sequence[int] = ()
    parameters: dict[str, Any] | None = None

    def info(self) -> TensorInfo:
        return TensorInfo(
            self.name, self.datatype, tuple(self.shape), str((self.parameters or {}).get("content_type", ""))
        )


class _Model(msgspec.Struct):
    name: str
    versions: list[str | int] | None = None
    platform: str | None = None
    inputs: list[_Tensor] | None = None
    outputs: list[_Tensor] | None = None
