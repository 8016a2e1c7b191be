"""Models behind a server of TensorFlow Serving's REST protocol.

    tfs+http://HOST:PORT/v1/models/NAME:predict     also tfs+https; /versions/VERSION or /labels/LABEL behind the name

Calls are in the protocol's columnar form: `{"signature_name": ..., "inputs": {...}}`. What a model takes and gives is
asked of the server, or declared in the graph; what is declared wins. TensorFlow has one type for texts and bytes, so
such columns are `any` unless they are declared. Options are `timeout_s`, `retries`, `api_key`, `headers`, `ca`, `certificate`
and `certificate_key`, as for `oip+http:`, and:

    signature_name   which of the model's signatures; `serving_default` by default
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec
import numpy as np

from motet.batch import Array, objects
from motet.errors import InputError, known_names
from motet.models.addressed import AddressedModel, RemoteHandler
from motet.models.calling import Line, RemoteCaller, RemoteOptions
from motet.models.calling_http import http_line
from motet.models.common import place
from motet.models.handler import ModelSource
from motet.oip.asking import RemoteAnswer, RemoteCall
from motet.oip.rest import answered_numbers, decode_json
from motet.types import ANY, ColumnType, Signature

__all__ = ["TfServingHandler", "TfServingHttpsHandler", "TfServingModel", "signature_name", "signature_of"]

_LOCATION = re.compile(
    r"//([^/?#]+)((?:/[^?#]*?)?/v1/models/[^/?#:]+(?:/(?:versions|labels)/([^/?#:]+))?)(?::predict)?/?"
)
_DTYPES = {
    "DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16", "DT_BOOL": "bool",
    "DT_INT8": "int8", "DT_INT16": "int16", "DT_INT32": "int32", "DT_INT64": "int64",
    "DT_UINT8": "uint8", "DT_UINT16": "uint16", "DT_UINT32": "uint32", "DT_UINT64": "uint64",
}  # fmt: skip


class TfServingModel(AddressedModel):
    """A model of a server."""

    def __init__(self, source: ModelSource, signature: Signature, caller: RemoteCaller, match: re.Match[str]) -> None:
        super().__init__(source, signature, caller, match)
        self._path = f"{match[2]}:predict"
        self._headers = {**caller.remote.headers, "Content-Type": "application/json", "Accept-Encoding": "identity"}
        self._signature_name = signature_name(source)

    def _question(self, columns: Mapping[str, Array]) -> Callable[[float], RemoteCall]:
        inputs = {name: _written(columns[name], f"{self._where}: input {name!r}") for name in self._signature.inputs}
        request = {"signature_name": self._signature_name, "inputs": inputs}
        finite = all(column.dtype.kind != "f" or np.isfinite(column).all() for column in columns.values())
        # JSON has no NaN; TensorFlow Serving reads the words that Python's encoder writes.
        body = msgspec.json.encode(request) if finite else json.dumps(request).encode()
        return lambda left_s: RemoteCall("POST", self._path, self._headers, body, left_s)

    def _columns(self, got: RemoteAnswer) -> dict[str, Any]:
        try:
            return self._named(decode_json(got.body, self._where))
        except (InputError, TypeError, ValueError, KeyError) as error:
            what = error.what if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            raise InputError(f"the answer is not understood: {what}", where=self._where) from error

    def _named(self, answer: Any) -> dict[str, Any]:
        """The outputs, which are named only where there are several."""
        names = tuple(self._signature.outputs)
        if not isinstance(answer, dict) or not ("outputs" in answer or "predictions" in answer):
            raise InputError(f"it has neither outputs nor predictions: {str(answer)[:200]}")
        if "outputs" in answer:
            said = answer["outputs"]
            found = said if isinstance(said, dict) and set(names) & set(said) else {names[0]: said}
        else:
            rows = answer["predictions"]
            named = bool(rows) and isinstance(rows[0], dict) and bool(set(names) & set(rows[0]))
            found = {name: [row[name] for row in rows] for name in names} if named else {names[0]: rows}
        missing = [name for name in names if name not in found]
        if missing:
            raise InputError(f"output {missing[0]!r} is missing; it has {', '.join(found)}")
        return {name: _read(found[name], self._signature.outputs[name]) for name in names}


class TfServingHandler(RemoteHandler):
    """Calls models over HTTP."""

    name: ClassVar[str] = "tfs+http"
    location: ClassVar[re.Pattern[str]] = _LOCATION
    example: ClassVar[str] = "//localhost:8501/v1/models/NAME:predict"
    options: ClassVar[tuple[str, ...]] = ("signature_name",)
    model: ClassVar[type[AddressedModel]] = TfServingModel

    def _line(self, source: ModelSource, remote: RemoteOptions) -> Line:
        return http_line(self._match(source)[1], remote, source, tls=self.tls)

    def _read(self, source: ModelSource, caller: RemoteCaller) -> Signature:
        path = f"{self._match(source)[2]}/metadata"
        got = caller(lambda left_s: RemoteCall("GET", path, caller.remote.headers, timeout_s=left_s))
        return signature_of(decode_json(got.body, place(source)), signature_name(source), place(source))


class TfServingHttpsHandler(TfServingHandler):
    """Calls models over HTTPS."""

    name: ClassVar[str] = "tfs+https"
    tls: ClassVar[bool] = True


def signature_name(source: ModelSource) -> str:
    """Which of the model's signatures is asked for."""
    return str(source.options.get("signature_name", "serving_default"))


def signature_of(said: Any, name: str, where: str) -> Signature:
    """What the metadata of a model say of one of its signatures.

    Args:
        said: the metadata, as the REST API gives them.
        name: of the signature.
        where: who said it, for messages.

    Raises:
        InputError: when there is no such signature, or it is not understood.
    """
    try:
        signatures = said["metadata"]["signature_def"]["signature_def"]
        if name not in signatures:
            raise InputError(f"unknown signature_name {name!r}; {known_names(name, list(signatures))}", where=where)
        one = signatures[name]
        inputs, outputs = (
            {key: _type(each) for key, each in one.get(part, {}).items()} for part in ("inputs", "outputs")
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the metadata of the model are not understood: {error!r}", where=where) from error
    return Signature(inputs, outputs)


def _type(tensor: Mapping[str, Any]) -> ColumnType:
    shape = tensor.get("tensor_shape") or {}
    dtype, axes = _DTYPES.get(tensor["dtype"], "any"), shape.get("dim") or ()
    if dtype == "any" or shape.get("unknown_rank") or not axes:
        return ANY
    sizes = [int(axis.get("size", 0)) for axis in axes[1:]]
    return ColumnType(dtype, tuple(None if size < 0 else size for size in sizes))


def _written(column: Array, where: str) -> Any:
    """The rows of an array as JSON has them: texts as they are, bytes as `{"b64": ...}`."""
    if column.dtype != object:
        return column.tolist()
    return [_written_value(value, row, where) for row, value in enumerate(column)]


def _written_value(value: Any, row: int, where: str) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray):
        return _written(value, where)
    raise InputError(f"row {row} is {type(value).__name__}; a text or bytes are expected", where=where)


def _read(value: Any, kind: ColumnType) -> Any:
    """What JSON held as a column."""
    if not isinstance(value, list):
        raise InputError(f"a list of rows is expected; got {str(value)[:80]}")
    if kind.dtype not in ("string", "bytes", "any"):
        return answered_numbers(np.asarray(value, object), kind.dtype)
    held = np.array(value, object)
    flat = held.reshape(-1).tolist()
    if any(isinstance(each, list) for each in flat):
        raise InputError("lists are nested unevenly")
    if not any(isinstance(each, (str, dict)) for each in flat):
        return np.array(value)
    return objects([_read_value(each, kind.dtype) for each in flat]).reshape(held.shape)


def _read_value(value: Any, dtype: str) -> Any:
    if isinstance(value, dict):
        try:
            value = base64.b64decode(value["b64"], validate=True)
        except (KeyError, TypeError, binascii.Error) as error:
            raise InputError(f"{str(value)[:80]} is no value of base64") from error
        return value.decode() if dtype == "string" else value
    return value.encode() if dtype == "bytes" and isinstance(value, str) else value
