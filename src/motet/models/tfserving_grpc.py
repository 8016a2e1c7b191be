"""Models behind a server of TensorFlow Serving's protocol over gRPC: its service of predictions.

    tfs+grpc://HOST:PORT/NAME                also tfs+grpcs, and /VERSION or /labels/LABEL behind the name

Numbers travel as raw bytes. What a model takes and gives is asked of the server, or declared in the graph; what is
declared wins. TensorFlow has one type for texts and bytes, so such columns are `any` unless they are declared; its
BFLOAT16 is given as float32, and cannot be taken. Options are those of `tfs+http:`; `headers` are metadata.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import unquote

from motet.batch import Array
from motet.models.addressed import AddressedModel, RemoteHandler
from motet.models.calling import Line, RemoteCaller, RemoteOptions
from motet.models.calling_grpc import grpc_line, message_in
from motet.models.common import framework, place
from motet.models.handler import ModelSource
from motet.models.oip import tensors_of
from motet.models.tfserving import signature_name, signature_of
from motet.oip.asking import RemoteAnswer, RemoteCall
from motet.types import Signature

__all__ = ["TfServingGrpcHandler", "TfServingGrpcModel", "TfServingGrpcsHandler"]

_LOCATION = re.compile(r"//([^/?#]+)/([^/?#]+)(?:/(?:versions/)?([0-9]+)|/labels/([^/?#]+))?/?")
_PORT = 8500


class TfServingGrpcModel(AddressedModel):
    """A model of a server."""

    def __init__(self, source: ModelSource, signature: Signature, caller: RemoteCaller, match: re.Match[str]) -> None:
        super().__init__(source, signature, caller, match)
        self._messages = framework("motet.models.tfs.messages", "protobuf", "grpc", source)
        self._tensors = framework("motet.models.tfs.tensors", "protobuf", "grpc", source)
        self._spec = {**_spec(match), "signature_name": signature_name(source)}

    def _question(self, columns: Mapping[str, Array]) -> Callable[[float], RemoteCall]:
        request = self._messages.PredictRequest(model_spec=self._spec, output_filter=list(self._signature.outputs))
        for name, (datatype, array) in tensors_of(columns, self._signature, self._where).items():
            self._tensors.write_tensor(request.inputs[name], datatype, array)
        question = request.SerializeToString()
        return lambda left_s: RemoteCall("Predict", "", body=question, timeout_s=left_s)

    def _columns(self, got: RemoteAnswer) -> dict[str, Any]:
        answer = message_in(self._messages.PredictResponse, got.body, "the answer is", self._where)
        return {
            name: self._tensors.read_tensor(answer.outputs[name], kind, f"{self._where}: output {name!r}")
            for name, kind in self._signature.outputs.items()
            if name in answer.outputs
        }


class TfServingGrpcHandler(RemoteHandler):
    """Calls models over gRPC."""

    name: ClassVar[str] = "tfs+grpc"
    location: ClassVar[re.Pattern[str]] = _LOCATION
    example: ClassVar[str] = f"//localhost:{_PORT}/NAME"
    options: ClassVar[tuple[str, ...]] = ("signature_name",)
    model: ClassVar[type[AddressedModel]] = TfServingGrpcModel

    def _line(self, source: ModelSource, remote: RemoteOptions) -> Line:
        messages = framework("motet.models.tfs.messages", "protobuf", "grpc", source)
        host = self._match(source)[1]
        return grpc_line(messages.SERVICE, messages.METHODS, host, remote, source, tls=self.tls, port=_PORT)

    def _read(self, source: ModelSource, caller: RemoteCaller) -> Signature:
        messages = framework("motet.models.tfs.messages", "protobuf", "grpc", source)
        json_format = framework("google.protobuf.json_format", "protobuf", "grpc", source)
        asked = messages.GetModelMetadataRequest(
            model_spec=_spec(self._match(source)), metadata_field=["signature_def"]
        )
        question = asked.SerializeToString()
        got = caller(lambda left_s: RemoteCall("GetModelMetadata", "", body=question, timeout_s=left_s))
        what, where = "the metadata of the model are", place(source)
        said = message_in(messages.GetModelMetadataResponse, got.body, what, where).metadata["signature_def"]
        found = message_in(messages.SignatureDefMap, said.value, what, where)
        signatures = json_format.MessageToDict(found, preserving_proto_field_name=True)
        return signature_of({"metadata": {"signature_def": signatures}}, signature_name(source), where)


class TfServingGrpcsHandler(TfServingGrpcHandler):
    """Calls models over gRPC, encrypted."""

    name: ClassVar[str] = "tfs+grpcs"
    tls: ClassVar[bool] = True


def _spec(match: re.Match[str]) -> dict[str, Any]:
    """The fields of the `ModelSpec` that an address names."""
    _, name, version, label = match.groups()
    chosen = {"version": {"value": int(version)}} if version else {"version_label": unquote(label)} if label else {}
    return {"name": unquote(name), **chosen}
