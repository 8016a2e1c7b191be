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
    ca          a file of certificates to believe, instead of the system's
    binary      whether tensors travel as bytes; true by default
    parameters  sent with each request

A call is made again when it was not sent, was refused with 429 or 503 (Retry-After is kept to), or its connection broke.
What the server refuses with another 4xx is halved until the rows at fault stand alone; 413 makes calls smaller from
then on. A server that cannot be reached, is too busy or too late ends the batch with `ModelUnavailableError`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from motet.batch import Array
from motet.errors import InputError, ModelFailedError
from motet.models.addressed import RemoteHandler
from motet.models.calling import Caller, Line, Remote, http_line, name_of
from motet.models.common import place
from motet.models.handler import ModelSource
from motet.oip.asking import Call
from motet.oip.info import ModelInfo
from motet.oip.rest import LENGTH_HEADER, read_answer, write_request
from motet.oip.tensors import tensor_of
from motet.types import Signature

__all__ = ["OipHttpHandler", "OipHttpsHandler", "RemoteModel", "tensors_of"]

_LOCATION = re.compile(r"//([^/?#]+)((?:/[^?#]*?)?/v2/models/[^/?#]+(?:/versions/([^/?#]+))?)(?:/infer)?/?")


class OipHttpHandler(RemoteHandler):
    """Calls models over HTTP."""

    name: ClassVar[str] = "oip+http"
    location: ClassVar[re.Pattern[str]] = _LOCATION
    example: ClassVar[str] = "//localhost:8000/v2/models/NAME"
    options: ClassVar[tuple[str, ...]] = ("binary", "parameters")

    def load(self, source: ModelSource) -> RemoteModel:
        """Make ready to call it; see `RemoteHandler.load`."""
        remote, path = self._remote(source), self._match(source)[2]
        return RemoteModel(source, self.signature(source), remote, path, self._caller(source))

    def _line(self, source: ModelSource, remote: Remote) -> Line:
        return http_line(self._match(source)[1], remote, source, tls=self.tls)

    def _read(self, source: ModelSource, remote: Remote, caller: Caller) -> Signature:
        path = self._match(source)[2]
        got = caller(lambda left_s: Call("GET", path, remote.headers, timeout_s=left_s))
        return ModelInfo.read(got.body, place(source)).signature


class OipHttpsHandler(OipHttpHandler):
    """Calls models over HTTPS."""

    name: ClassVar[str] = "oip+https"
    tls: ClassVar[bool] = True


class RemoteModel:
    """A model of a server."""

    def __init__(self, source: ModelSource, signature: Signature, remote: Remote, path: str, caller: Caller) -> None:
        self._where, self._signature, self._caller = name_of(source), signature, caller
        self._path, self._headers = f"{path}/infer", {**remote.headers, "Accept-Encoding": "identity"}
        self._binary, self._parameters = bool(source.options.get("binary", True)), source.options.get("parameters", {})
        self._outputs = list(signature.outputs)

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`. Errors are those of `Caller`."""
        tensors = tensors_of(columns, self._signature, self._where)

        def make(left_s: float) -> Call:
            parameters = {"timeout": max(1, round(left_s * 1e6)), **self._parameters}
            body, headers = write_request(tensors, outputs=self._outputs, binary=self._binary, parameters=parameters)
            return Call("POST", self._path, {**self._headers, **headers}, body, left_s)

        got = self._caller(make)
        try:
            return dict(
                read_answer(got.body, got.headers.get(LENGTH_HEADER.lower()), self._signature.outputs, self._where)
            )
        except InputError as error:
            raise ModelFailedError(error.what, where=error.where, hint=error.hint) from error

    def close(self) -> None:
        """Close the connections."""
        self._caller.close()


def tensors_of(columns: Mapping[str, Array], signature: Signature, where: str) -> dict[str, tuple[str, Array]]:
    """The columns of a call as tensors: datatypes and elements."""
    return {name: tensor_of(columns[name], kind, f"{where}: input {name!r}") for name, kind in signature.inputs.items()}
