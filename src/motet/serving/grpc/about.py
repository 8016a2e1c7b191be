"""What is served: readiness, metadata, configuration, statistics, loading and unloading."""

from __future__ import annotations

import asyncio
from typing import Any

from motet.errors import InputError, NotFoundError
from motet.oip import messages
from motet.oip.tensors import datatype_of, tensor_shape
from motet.serving.repository.entry import Numbers
from motet.serving.repository.repository import ModelRepository
from motet.version import __version__

__all__ = ["MetadataService"]

EXTENSIONS = (
    "classification", "model_configuration", "model_repository", "parameters", "schedule_policy", "statistics",
)  # fmt: skip
_STATISTICS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


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
        return messages.ServerMetadataResponse(name="motet", version=__version__, extensions=EXTENSIONS)

    async def model_metadata(self, request: Any) -> Any:
        """What a model takes and gives."""
        served = self.repository.find_loaded(request.name, request.version)
        answer = messages.ModelMetadataResponse(name=request.name, versions=served.versions, platform=served.platform)
        for tensors, kinds in (
            (answer.inputs, served.signature.inputs),
            (answer.outputs, served.signature.outputs),
        ):
            for name, kind in kinds.items():
                tensors.add(name=name, datatype=datatype_of(kind), shape=tensor_shape(kind))
        return answer

    async def model_config(self, request: Any) -> Any:
        """The same as Triton's configuration of a model, as far as it has a meaning here."""
        served = self.repository.find_loaded(request.name, request.version)
        answer = messages.ModelConfigResponse()
        config = answer.config
        config.name, config.platform, config.backend = request.name, served.platform, "motet"
        config.max_batch_size = self._max_rows
        for name, each in served.inputs.items():
            config.input.add(
                name=name, data_type=_data_type(each.type), dims=tensor_shape(each.type)[1:], optional=each.has_default
            )
        for name, kind in served.signature.outputs.items():
            config.output.add(name=name, data_type=_data_type(kind), dims=tensor_shape(kind)[1:])
        return answer

    async def model_statistics(self, request: Any) -> Any:
        """How often, how long: of one model, or of all."""
        if request.name:
            chosen = {request.name: self.repository.find(request.name, request.version)}
        else:
            chosen = dict(self.repository.served)
        answer = messages.ModelStatisticsResponse()
        for name, served in chosen.items():
            stats = answer.model_stats.add(name=name, version=served.versions[-1])
            numbers = self._numbers(served) if self._numbers is not None else {}
            for count in ("last_inference", "inference_count", "execution_count"):
                setattr(stats, count, int(numbers.get(count, 0)))
            for duration in _STATISTICS:
                field = getattr(stats.inference_stats, duration)
                field.count, field.ns = (int(number) for number in numbers.get(duration, (0, 0)))
        return answer

    async def repository_index(self, request: Any) -> Any:
        """Everything that has a name, its state, and why it is in it."""
        answer = messages.RepositoryIndexResponse()
        for name, served in self.repository.served.items():
            if not request.ready or served.state == "READY":
                for version in served.versions:
                    answer.models.add(name=name, version=version, state=served.state, reason=served.told)
        return answer

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


def _data_type(kind: Any) -> int:
    name = datatype_of(kind)
    number: int = messages.DataType.values_by_name[f"TYPE_{'STRING' if name == 'BYTES' else name}"].number
    return number
