"""What is served: readiness, metadata, configuration, statistics, loading and unloading."""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf.json_format import ParseDict

from motet.errors import InputError, NotFoundError
from motet.oip import messages
from motet.serving.repository.descriptions import config_of, index_of, metadata_of, server_metadata, statistics_of
from motet.serving.repository.entry import Numbers
from motet.serving.repository.repository import ModelRepository

__all__ = ["MetadataService"]


class MetadataService:
    """Answers what is asked about a server and its models. Every method takes the bytes of a message.

    Args:
        repository: what is served.
        max_rows: that a request may have.
        numbers: the statistics of a served graph; None where nobody counts.

    Attributes:
        stopping: whether the server takes no more calls, and so is not ready.
    """

    def __init__(self, repository: ModelRepository, max_rows: int, numbers: Numbers | None = None) -> None:
        self.repository, self._max_rows, self._numbers = repository, max_rows, numbers
        self.stopping = False

    async def server_live(self, _request: Any) -> Any:
        """Whether the process runs."""
        return messages.ServerLiveResponse(live=True)

    async def server_ready(self, _request: Any) -> Any:
        """Whether everything that is served can be called."""
        return messages.ServerReadyResponse(ready=self.repository.ready and not self.stopping)

    async def model_ready(self, request: Any) -> Any:
        """Whether a model can be called; what is not served is not ready."""
        try:
            served = self.repository.find(request.name, request.version)
        except NotFoundError:
            return messages.ModelReadyResponse(ready=False)
        return messages.ModelReadyResponse(ready=served.state == "READY" and not self.stopping)

    async def server_metadata(self, _request: Any) -> Any:
        """What this server is."""
        return _message(messages.ServerMetadataResponse, server_metadata())

    async def model_metadata(self, request: Any) -> Any:
        """What a model takes and gives."""
        served = self.repository.find_loaded(request.name, request.version)
        return _message(messages.ModelMetadataResponse, metadata_of(request.name, served))

    async def model_config(self, request: Any) -> Any:
        """The same as Triton's configuration of a model, as far as it has a meaning here."""
        served = self.repository.find_loaded(request.name, request.version)
        config = config_of(request.name, served, self._max_rows)
        return _message(messages.ModelConfigResponse, {"config": config})

    async def model_statistics(self, request: Any) -> Any:
        """How often, how long: of one model, or of all."""
        one = {request.name: self.repository.find(request.name, request.version)} if request.name else None
        return _message(messages.ModelStatisticsResponse, statistics_of(one or self.repository.served, self._numbers))

    async def repository_index(self, request: Any) -> Any:
        """Everything that has a name, its state, and why it is in it."""
        models = index_of(self.repository, lambda served: served.told, only_ready=request.ready)
        return _message(messages.RepositoryIndexResponse, {"models": models})

    async def repository_model_load(self, request: Any) -> Any:
        """Load a graph, or load it anew; answered when it is ready."""
        if request.parameters:
            raise InputError(
                f"parameters {', '.join(sorted(request.parameters))} are given; a graph is loaded from its file as it is",
                hint="change the graph's file and load it without parameters",
            )
        # shielded: a caller that is gone must not leave a graph half loaded
        await asyncio.shield(self.repository.load(request.model_name))
        return messages.RepositoryModelLoadResponse()

    async def repository_model_unload(self, request: Any) -> Any:
        """Take a graph off line; answered when its requests are."""
        await asyncio.shield(self.repository.unload(request.model_name))
        return messages.RepositoryModelUnloadResponse()


def _message(kind: Any, value: dict[str, Any]) -> Any:
    """What JSON has, as a message of this kind, which may not have all of it."""
    return ParseDict(value, kind(), ignore_unknown_fields=True)
