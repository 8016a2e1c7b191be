"""From what a graph says of a model's copies to a set of replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from motet.errors import ModelLoadError, MotetError
from motet.graph.model import Model
from motet.models.handler import LoadedModel
from motet.runtime.gate import Gate
from motet.runtime.replicas.balancer import BALANCERS
from motet.runtime.replicas.local import LocalReplica
from motet.runtime.replicas.remote import RemoteReplica
from motet.runtime.replicas.replica import Replica
from motet.runtime.replicas.set import ReplicaSet
from motet.runtime.replicas.warm import LOADING_S, warm_up
from motet.runtime.resolve import Located
from motet.tracebacks import ends_program, summary
from motet.types import Signature

__all__ = ["PROCESS_TIMEOUT_S", "replica_set"]

PROCESS_TIMEOUT_S = 60.0
"""How long a call of a replica in a process may take where the model does not say it."""


def replica_set(
    model: Model,
    located: Located,
    addresses: Mapping[str, Located],
    signature: Signature,
    check: Callable[[Mapping[str, Any], int], Any],
) -> ReplicaSet:
    """The replicas of a model, not started.

    Args:
        model: what the graph says of it.
        located: its handler and file.
        addresses: the servers that have it too, or alone.
        signature: what it takes and gives itself.
        check: makes answers of what replicas give; raises `AnswerError` when that does not fit the signature.

    Raises:
        GraphError: when its `warm_up` does not fit it.
    """
    remote = {uri: partial(_remote, model.name, each) for uri, each in addresses.items()}
    count = 0 if model.uri in addresses else model.num_replicas
    in_process = model.placement == "process" and model.uri not in addresses
    handler = located.handler
    users = handler.runs_code or not handler.has_file  # whose code may not bear what those of frameworks must
    local = partial(_local, model, located, Gate(model.concurrent) if users or model.concurrent else None)
    make: Callable[[], Replica] = partial(_process, model, located) if in_process else local
    return ReplicaSet(
        model.name,
        make,
        count,
        addresses=remote,
        check=check,
        warm_up=warm_up(model, signature, check),
        balancer=BALANCERS[model.balance](),
        timeout_s=(model.timeout_s or PROCESS_TIMEOUT_S) if in_process else model.timeout_s,
    )


def _load(name: str, located: Located) -> LoadedModel:
    try:
        return located.handler.load(located.source)
    except MotetError as error:
        raise error.located(f"model {name!r}") from error.__cause__
    except BaseException as error:  # (loading it may run any code)
        if isinstance(error, Exception) or ends_program(error):
            raise
        raise ModelLoadError(summary(error), where=f"model {name!r}") from error


def _local(model: Model, located: Located, gate: Gate | None) -> Replica:
    return LocalReplica(partial(_load, model.name, located), gate)


def _remote(name: str, located: Located) -> Replica:
    return RemoteReplica(partial(_load, name, located))


def _process(model: Model, located: Located) -> Replica:
    from motet.runtime.replicas.process import ProcessReplica, threads_each

    return ProcessReplica(
        located.handler,
        located.source,
        threads=threads_each(located.source.threads, max(1, model.num_replicas)),
        memory_limit_bytes=model.resources.memory_bytes,
        load_timeout_s=LOADING_S,
    )
