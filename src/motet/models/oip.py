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
from dataclasses import replace
from typing import Any, ClassVar

from motet.batch import Array
from motet.errors import InputError, ModelFailedError
from motet.models.calling import METADATA_S, Caller, Remote, Signatures, http_line, name_of
from motet.models.common import load_error, place
from motet.models.handler import ModelSource
from motet.oip.asking import Call
from motet.oip.info import ModelInfo
from motet.oip.rest import LENGTH_HEADER, read_answer, write_request
from motet.oip.tensors import tensor_of
from motet.types import Signature

__all__ = ["OipHttpHandler", "OipHttpsHandler", "RemoteModel", "tensors_of"]

_LOCATION = re.compile(r"//([^/?#]+)((?:/[^?#]*?)?/v2/models/[^/?#]+(?:/versions/([^/?#]+))?)(?:/infer)?/?")


class OipHttpHandler:
    """Calls models over HTTP."""

    name: ClassVar[str] = "oip+http"
    suffixes: ClassVar[tuple[str, ...]] = ()
    has_file: ClassVar[bool] = False
    runs_code: ClassVar[bool] = False
    batch_invariant: ClassVar[bool] = False
    remote: ClassVar[bool] = True
    """Calls wait for another machine: they are made where waiting holds nothing up."""
    tls: ClassVar[bool] = False

    def __init__(self) -> None:
        self._signatures = Signatures()

    def version(self, location: str) -> str:
        """The version that a location names, empty where it names none."""
        match = _LOCATION.fullmatch(location)
        return (match[3] or "") if match else ""

    def signature(self, source: ModelSource) -> Signature:
        """What the server says, with the declared types over it.

        Raises:
            ModelLoadError: when the URI or an option is wrong, or the server must be asked and does not say it.
        """
        self._options(source)
        return self._signatures.find(source, lambda: self._read(source))

    def load(self, source: ModelSource) -> RemoteModel:
        """Make ready to call it; no connection is made yet.

        Raises:
            ModelLoadError: as `signature`.
            MissingExtraError: when urllib3 is not installed.
        """
        return RemoteModel(
            source, self.signature(source), self._options(source), self._path(source)[1], self._caller(source)
        )

    def _options(self, source: ModelSource) -> Remote:
        self._path(source)
        return Remote.read(source, "binary", "parameters")

    def _path(self, source: ModelSource) -> tuple[str, str]:
        match = _LOCATION.fullmatch(source.location)
        if match is None:
            example = f"{self.name}://localhost:8000/v2/models/NAME"
            raise load_error(source, f"{self.name}:{source.location} is no address of a model", f"write {example}")
        return match[1], match[2]

    def _caller(self, source: ModelSource, **changed: Any) -> Caller:
        remote = replace(self._options(source), **changed)
        return Caller.of(http_line(self._path(source)[0], remote, source, tls=self.tls), remote, source)

    def _read(self, source: ModelSource) -> Signature:
        remote = self._options(source)
        caller = self._caller(source, timeout_s=min(METADATA_S, remote.timeout_s))
        try:
            path = self._path(source)[1]
            got = caller(lambda left_s: Call("GET", path, remote.headers, timeout_s=left_s))
            return ModelInfo.read(got.body, place(source)).signature
        finally:
            caller.close()


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
