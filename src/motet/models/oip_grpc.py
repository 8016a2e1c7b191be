"""Models behind a server of the Open Inference Protocol over gRPC: Motet's own, Triton, KServe and others.

    oip+grpc://HOST:PORT/NAME             also oip+grpcs, and /VERSION behind the name

What it takes and gives is asked of the server, or declared in the graph; what is declared wins. The protocol has one
datatype for texts and bytes, so such columns are `any` unless they are declared. Tensors travel as raw bytes. Options
are those of `oip+http:` but `binary`; `headers` are metadata.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import unquote

from motet.batch import Array
from motet.errors import InputError
from motet.models.addressed import AddressedModel, RemoteHandler
from motet.models.calling import Line, RemoteCaller, RemoteOptions
from motet.models.calling_grpc import grpc_line, message_in
from motet.models.common import framework, load_error, place
from motet.models.handler import ModelSource
from motet.models.oip import as_a_row, by_call, has_rows, of_the_row, signature_of, tensors_of
from motet.oip.asking import RemoteAnswer, RemoteCall
from motet.oip.info import ModelInfo, TensorInfo
from motet.oip.rest import as_sent
from motet.oip.tensors import from_elements, from_raw, to_raw
from motet.types import Signature

__all__ = ["OipGrpcHandler", "OipGrpcsHandler", "RemoteGrpcModel"]

_LOCATION = re.compile(r"//([^/?#]+)/([^/?#]+)(?:/([^/?#]+))?/?")
_SERVICE, _METHODS = "inference.GRPCInferenceService", ("ModelInfer", "ModelMetadata")
_CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip


class RemoteGrpcModel(AddressedModel):
    """A model of a server."""

    def __init__(self, source: ModelSource, signature: Signature, caller: RemoteCaller, match: re.Match[str]) -> None:
        self._messages = framework("motet.oip.messages", "protobuf", "grpc", source)
        super().__init__(source, signature, caller, match)
        self._name, self._version = _named(match)
        self._has_rows = has_rows(source)
        parameters = {str(key): value for key, value in source.options.get("parameters", {}).items()}
        self._parameters = {key: _parameter(value, self._messages, source) for key, value in parameters.items()}

    def _question(self, columns: Mapping[str, Array]) -> Callable[[float], RemoteCall]:
        request = self._messages.ModelInferRequest(model_name=self._name, model_version=self._version)
        tensors = tensors_of(columns, self._signature, self._where)
        for name, (datatype, array) in (tensors if self._has_rows else of_the_row(tensors)).items():
            request.inputs.add(name=name, datatype=datatype, shape=array.shape)
            request.raw_input_contents.append(to_raw(array))
        for name in self._signature.outputs:
            request.outputs.add(name=name)
        for key, value in self._parameters.items():
            request.parameters[key].CopyFrom(value)
        question = request.SerializeToString()
        return lambda left_s: RemoteCall("ModelInfer", "", body=question, timeout_s=left_s)

    def _columns(self, got: RemoteAnswer) -> dict[str, Any]:
        answer = message_in(self._messages.ModelInferResponse, got.body, "the answer is", self._where)
        raws, columns = answer.raw_output_contents, {}
        if raws and len(raws) != len(answer.outputs):
            raise InputError(
                f"the answer has {len(answer.outputs)} outputs and {len(raws)} raw contents", where=self._where
            )
        for place_, tensor in enumerate(answer.outputs):
            wanted = self._signature.outputs.get(tensor.name)
            if wanted is None:
                continue
            where, shape = f"{self._where}: output {tensor.name!r}", list(tensor.shape)
            kind = as_sent(wanted, tensor.datatype, shape)
            if raws:
                columns[tensor.name] = from_raw(raws[place_], tensor.datatype, shape, kind, where)
            else:
                elements = getattr(tensor.contents, _CONTENTS.get(tensor.datatype, "bytes_contents"))
                columns[tensor.name] = from_elements(elements, tensor.datatype, shape, kind, where)
        return columns if self._has_rows else as_a_row(columns)


class OipGrpcHandler(RemoteHandler):
    """Calls models over gRPC."""

    name: ClassVar[str] = "oip+grpc"
    location: ClassVar[re.Pattern[str]] = _LOCATION
    example: ClassVar[str] = "//localhost:8001/NAME"
    options: ClassVar[tuple[str, ...]] = ("parameters", "batch_axis")
    model: ClassVar[type[AddressedModel]] = RemoteGrpcModel

    def signature(self, source: ModelSource) -> Signature:
        """See `RemoteHandler.signature`."""
        return by_call(super().signature(source), source)

    def _line(self, source: ModelSource, remote: RemoteOptions) -> Line:
        return grpc_line(_SERVICE, _METHODS, self._match(source)[1], remote, source, tls=self.tls, port=8001)

    def _read(self, source: ModelSource, caller: RemoteCaller) -> Signature:
        messages = framework("motet.oip.messages", "protobuf", "grpc", source)
        name, version = _named(self._match(source))
        question = messages.ModelMetadataRequest(name=name, version=version).SerializeToString()
        got = caller(lambda left_s: RemoteCall("ModelMetadata", "", body=question, timeout_s=left_s))
        said = message_in(messages.ModelMetadataResponse, got.body, "the metadata of the model are", place(source))
        inputs, outputs = (
            {each.name: TensorInfo(each.name, each.datatype, tuple(each.shape)) for each in tensors}
            for tensors in (said.inputs, said.outputs)
        )
        return signature_of(ModelInfo(name, inputs=inputs, outputs=outputs), source)


class OipGrpcsHandler(OipGrpcHandler):
    """Calls models over gRPC, encrypted."""

    name: ClassVar[str] = "oip+grpcs"
    tls: ClassVar[bool] = True


def _named(match: re.Match[str]) -> tuple[str, str]:
    """The name and the version in an address."""
    return unquote(match[2]), unquote(match[3] or "")


def _parameter(value: object, messages: Any, source: ModelSource) -> Any:
    for kind, field in ((bool, "bool_param"), (int, "int64_param"), (float, "double_param"), (str, "string_param")):
        if isinstance(value, kind):
            return messages.InferParameter(**{field: value})
    raise load_error(source, f"parameters must be texts, numbers, true or false; got {value!r}")
