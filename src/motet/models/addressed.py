"""What the handlers of models behind an address have in common: a location, options, and a signature that is asked for."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from motet.batch import Array
from motet.errors import InputError, ModelFailedError
from motet.models.calling import METADATA_S, Line, RemoteCaller, RemoteOptions, Signatures, name_of
from motet.models.common import load_error
from motet.models.handler import Handler, LoadedModel, ModelSource
from motet.oip.asking import RemoteAnswer, RemoteCall
from motet.types import Signature

__all__ = ["AddressedModel", "RemoteHandler"]


class AddressedModel(ABC):
    """A model of a server.

    Args:
        source: the model.
        signature: what it takes and gives.
        caller: calls it.
        match: its address, see `RemoteHandler.location`.
    """

    def __init__(self, source: ModelSource, signature: Signature, caller: RemoteCaller, match: re.Match[str]) -> None:
        self._where, self._signature, self._caller = name_of(source), signature, caller

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`. Errors are those of `RemoteCaller`."""
        got = self._caller(self._question(columns))
        try:
            return self._columns(got)
        except InputError as error:
            raise ModelFailedError(error.what, where=error.where, hint=error.hint) from error

    @abstractmethod
    def _question(self, columns: Mapping[str, Array]) -> Callable[[float], RemoteCall]:
        """What makes the call of a batch for the seconds that are left."""

    @abstractmethod
    def _columns(self, got: RemoteAnswer) -> dict[str, Any]:
        """The columns of an answer.

        Raises:
            InputError: when it is not understood.
        """

    def close(self) -> None:
        """Close the connections."""
        self._caller.close()


class RemoteHandler(Handler, ABC):
    """Calls models of a server.

    Attributes:
        location: matches an address behind the scheme: the host, what names the model there, and from the third group on its
            version or label.
        example: an address behind the scheme, for messages.
        options: those that its models have beside `ADDRESS_OPTIONS`.
        model: what is made of one that is loaded.
        tls: whether connections are encrypted.
    """

    has_file: ClassVar[bool] = False
    remote: ClassVar[bool] = True
    """Calls wait for another machine: they are made where waiting holds nothing up."""
    location: ClassVar[re.Pattern[str]]
    example: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()
    model: ClassVar[type[AddressedModel]]
    tls: ClassVar[bool] = False

    def __init__(self) -> None:
        self._signatures = Signatures()

    def version(self, location: str) -> str:
        """The version or label that a location names, empty where it names none."""
        match = self.location.fullmatch(location)
        return "" if match is None else next(filter(None, match.groups()[2:]), "")

    def signature(self, source: ModelSource) -> Signature:
        """What the server says, with the declared types over it.

        Raises:
            ModelLoadError: when the URI or an option is wrong, or the server must be asked and does not say it.
        """
        self._remote(source)
        return self._signatures.find(source, lambda: self._asked(source))

    def load(self, source: ModelSource) -> LoadedModel:
        """Make ready to call it; no connection is made yet.

        Raises:
            ModelLoadError: as `signature`.
            MissingExtraError: when the package that calls it is not installed.
        """
        return self.model(source, self.signature(source), self._caller(source), self._match(source))

    @abstractmethod
    def _line(self, source: ModelSource, remote: RemoteOptions) -> Line:
        """A line to its server."""

    @abstractmethod
    def _read(self, source: ModelSource, caller: RemoteCaller) -> Signature:
        """What its server says that it takes and gives."""

    def _match(self, source: ModelSource) -> re.Match[str]:
        match = self.location.fullmatch(source.location)
        if match is None:
            what = f"{self.name}:{source.location} is no address of a model"
            raise load_error(source, what, f"write {self.name}:{self.example}")
        return match

    def _remote(self, source: ModelSource) -> RemoteOptions:
        """How it is called."""
        self._match(source)
        return RemoteOptions.read(source, *self.options)

    def _caller(self, source: ModelSource, **changed: Any) -> RemoteCaller:
        remote = replace(self._remote(source), **changed)
        return RemoteCaller.of(self._line(source, remote), remote, source)

    def _asked(self, source: ModelSource) -> Signature:
        caller = self._caller(source, timeout_s=min(METADATA_S, self._remote(source).timeout_s))
        try:
            return self._read(source, caller)
        finally:
            caller.close()
