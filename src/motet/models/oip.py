"""Models behind a server of the Open Inference Protocol over REST: Motet's own, Triton, KServe and others.

    oip+http://HOST:PORT/v2/models/NAME             also oip+https, and /versions/VERSION behind the name
    oip+http://HOST/any/path/v2/models/NAME         behind a gateway that adds a path

What it takes and gives is asked of the server, or declared in the graph; what is declared wins. The protocol has one
datatype for texts and bytes, so such columns are `any` unless they are declared or the server says that they are texts
(`content_type: str`, as MLServer and Motet do). Options:

    timeout_s   for a call, its retries and waits included; 5 by default. The server is told
    retries     how often a call is made again where that is safe; 2 by default
    api_key     sent as `Authorization: Bearer KEY`; `env:NAME` is what the environment variable holds
    headers     further headers by name; values may be `env:NAME` too
    ca          a file of certificates to believe, instead of the system's; relative paths begin at the graph's folder
    certificate, certificate_key
                the files of a certificate and its private key, PEM, that are shown to servers which ask for one; read when
                the model is loaded. Without the second the key is in the first
    binary      whether tensors travel as bytes; true by default
    parameters  sent with each request
    batch_axis  whether the first axis of tensors is the row; false for a model that takes one row a call, all of whose
                axes are the row's, such as one of Triton with `max_batch_size: 0`. A shape like [3] must say it

A call is made again when it was not sent, was refused with 429 or 503 (Retry-After is kept to), or its connection broke.
What the server refuses with another 4xx is halved until the rows at fault stand alone; 413 makes calls smaller from
then on. A server that cannot be reached, is too busy or too late ends the batch with `ModelUnavailableError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from motet.batch import Array, Column
from motet.models.addressed import AddressedModel, RemoteHandler
from motet.models.calling import Line, RemoteCaller, RemoteOptions
from motet.models.calling_http import http_line
from motet.models.common import load_error, place
from motet.models.handler import ModelSource
from motet.oip.asking import RemoteAnswer, RemoteCall
from motet.oip.info import ModelInfo
from motet.oip.rest import LENGTH_HEADER, read_answer, write_request
from motet.oip.tensors import tensor_of
from motet.types import Signature

__all__ = [
    "OipHttpHandler",
    "OipHttpsHandler",
    "RemoteModel",
    "as_a_row",
    "by_call",
    "has_rows",
    "of_the_row",
    "signature_of",
    "tensors_of",
]

_LOCATION = re.compile(r"//([^/?#]+)((?:/[^?#]*?)?/v2/models/[^/?#]+(?:/versions/([^/?#]+))?)(?:/infer)?/?")


class RemoteModel(AddressedModel):
    """A model of a server."""

    def __init__(self, source: ModelSource, signature: Signature, caller: RemoteCaller, match: re.Match[str]) -> None:
        super().__init__(source, signature, caller, match)
        self._path, self._headers = f"{match[2]}/infer", {**caller.remote.headers, "Accept-Encoding": "identity"}
        self._binary, self._parameters = bool(source.options.get("binary", True)), source.options.get("parameters", {})
        self._outputs = list(signature.outputs)
        self._has_rows = has_rows(source)

    def _question(self, columns: Mapping[str, Array]) -> Callable[[float], RemoteCall]:
        tensors = tensors_of(columns, self._signature, self._where)
        if not self._has_rows:
            tensors = of_the_row(tensors)

        def make(left_s: float) -> RemoteCall:
            parameters = {"timeout": max(1, round(left_s * 1e6)), **self._parameters}
            body, headers = write_request(tensors, outputs=self._outputs, binary=self._binary, parameters=parameters)
            return RemoteCall("POST", self._path, {**self._headers, **headers}, body, left_s)

        return make

    def _columns(self, got: RemoteAnswer) -> dict[str, Any]:
        length = got.headers.get(LENGTH_HEADER.lower())
        read = read_answer(got.body, length, self._signature.outputs, self._where)
        return read if self._has_rows else as_a_row(read)


class OipHttpHandler(RemoteHandler):
    """Calls models over HTTP."""

    name: ClassVar[str] = "oip+http"
    location: ClassVar[re.Pattern[str]] = _LOCATION
    example: ClassVar[str] = "//localhost:8000/v2/models/NAME"
    options: ClassVar[tuple[str, ...]] = ("binary", "parameters", "batch_axis")
    model: ClassVar[type[AddressedModel]] = RemoteModel

    def signature(self, source: ModelSource) -> Signature:
        """See `RemoteHandler.signature`."""
        return by_call(super().signature(source), source)

    def _line(self, source: ModelSource, remote: RemoteOptions) -> Line:
        return http_line(self._match(source)[1], remote, source, tls=self.tls)

    def _read(self, source: ModelSource, caller: RemoteCaller) -> Signature:
        path = self._match(source)[2]
        got = caller(lambda left_s: RemoteCall("GET", path, caller.remote.headers, timeout_s=left_s))
        return signature_of(ModelInfo.read(got.body, place(source)), source)


class OipHttpsHandler(OipHttpHandler):
    """Calls models over HTTPS."""

    name: ClassVar[str] = "oip+https"
    tls: ClassVar[bool] = True


def tensors_of(columns: Mapping[str, Array], signature: Signature, where: str) -> dict[str, tuple[str, Array]]:
    """The columns of a call as tensors: datatypes and elements."""
    return {name: tensor_of(columns[name], kind, f"{where}: input {name!r}") for name, kind in signature.inputs.items()}


def has_rows(source: ModelSource) -> bool:
    """Whether the first axis of a model's tensors is the row."""
    given = source.options.get("batch_axis", True)
    if not isinstance(given, bool):
        raise load_error(source, f"batch_axis must be true or false; got {given!r}")
    return given


def by_call(signature: Signature, source: ModelSource) -> Signature:
    """The signature of a model that takes one row a call, where its tensors have no axis of rows."""
    return signature if has_rows(source) else replace(signature, fixed_rows=1)


def signature_of(info: ModelInfo, source: ModelSource) -> Signature:
    """What a model takes and gives by what its server says.

    Raises:
        ModelLoadError: when a shape may be that of several rows or of one, and nothing says which.
    """
    if not has_rows(source):
        return info.signature_of_a_row
    for name, tensor in info.inputs.items():
        if "batch_axis" not in source.options and len(tensor.shape) == 1 and tensor.shape[0] > 1:
            rows = tensor.shape[0]
            what = (
                f"its server gives input {name!r} the shape [{rows}]: one row of {rows} elements, or {rows} rows of one"
            )
            raise load_error(source, what, "say which: `with: {batch_axis: false}` for one row, true for several")
    return info.signature


def of_the_row(tensors: Mapping[str, tuple[str, Array]]) -> dict[str, tuple[str, Array]]:
    """The tensors of a call of one row, without the axis of rows."""
    return {name: (datatype, array[0, ...]) for name, (datatype, array) in tensors.items()}


def as_a_row(columns: Mapping[str, Column]) -> dict[str, Column]:
    """The tensors of an answer as columns of one row."""
    return {name: np.asarray(column)[np.newaxis] for name, column in columns.items()}
