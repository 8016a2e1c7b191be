"""What every protocol says alike of a server and its models, as JSON has it: the Open Inference Protocol's, Triton's additions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from motet.graph.input import Input
from motet.oip.tensors import datatype_of, tensor_shape
from motet.serving.repository.entry import Numbers, RepositoryEntry
from motet.serving.repository.repository import ModelRepository
from motet.types import ColumnType
from motet.version import __version__

__all__ = ["config_of", "index_of", "metadata_of", "server_metadata", "statistics_of"]

EXTENSIONS = (
    "classification", "model_configuration", "model_repository", "parameters", "schedule_policy", "statistics",
)  # fmt: skip
_DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")


def server_metadata(*more: str) -> dict[str, Any]:
    """What a server is; `more` are the extensions of one protocol alone."""
    return {"name": "motet", "version": __version__, "extensions": sorted([*EXTENSIONS, *more])}


def metadata_of(name: str, served: RepositoryEntry) -> dict[str, Any]:
    """What a model takes and gives, under the name that it is asked by."""
    return {
        "name": name,
        "versions": list(served.versions),
        "platform": served.platform,
        "inputs": _tensors(served.signature.inputs),
        "outputs": _tensors(served.signature.outputs),
    }


def config_of(name: str, served: RepositoryEntry, max_rows: int) -> dict[str, Any]:
    """Triton's configuration of a model, as far as it has a meaning here."""
    config: dict[str, Any] = {
        "name": name,
        "platform": served.platform,
        "backend": "motet",
        "version_policy": {"all": {}},
        "max_batch_size": max_rows,
        "input": [_configured(name, each.type, each) for name, each in served.inputs.items()],
        "output": [_configured(name, kind, None) for name, kind in served.signature.outputs.items()],
        "parameters": {},
    }
    if served.kind == "graph":
        steps = [{"model_name": model.name, "model_version": "-1"} for model in served.models]
        config["ensemble_scheduling"] = {"step": steps}
    return config


def statistics_of(models: Mapping[str, RepositoryEntry], numbers: Numbers | None) -> dict[str, Any]:
    """How often models were asked, and how long it took; `numbers` are None where nobody counts."""
    return {"model_stats": [_statistics(name, each, numbers(each) if numbers else {}) for name, each in models.items()]}


def index_of(
    repository: ModelRepository, reason: Callable[[RepositoryEntry], str], *, only_ready: bool
) -> list[dict[str, Any]]:
    """Everything that has a name, its state, and why it is in it, as somebody may know it."""
    return [
        {"name": name, "version": version, "state": served.state, "reason": reason(served)}
        for name, served in repository.served.items()
        if served.state == "READY" or not only_ready
        for version in served.versions
    ]


def _tensors(kinds: Mapping[str, ColumnType]) -> list[dict[str, Any]]:
    """BYTES that are texts say so as other servers do it, by a parameter."""
    return [
        {"name": name, "datatype": datatype_of(kind), "shape": tensor_shape(kind)}
        | ({"parameters": {"content_type": "str"}} if kind.dtype == "string" else {})
        for name, kind in kinds.items()
    ]


def _configured(name: str, kind: ColumnType, given: Input | None) -> dict[str, Any]:
    datatype = datatype_of(kind)
    data_type = f"TYPE_{'STRING' if datatype == 'BYTES' else datatype}"
    optional = {} if given is None else {"optional": given.has_default}
    return {"name": name, "data_type": data_type, "dims": tensor_shape(kind)[1:], **optional}


def _statistics(name: str, served: RepositoryEntry, numbers: Mapping[str, Any]) -> dict[str, Any]:
    stats: dict[str, Any] = {"name": name, "version": served.versions[-1]}
    for count in ("last_inference", "inference_count", "execution_count"):
        stats[count] = int(numbers.get(count, 0))
    durations = {name: numbers.get(name, (0, 0)) for name in _DURATIONS}
    stats["inference_stats"] = {name: {"count": int(n), "ns": int(ns)} for name, (n, ns) in durations.items()}
    stats["batch_stats"] = []
    return stats
