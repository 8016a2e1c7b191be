"""From what a graph says of a model's copies to a set of replicas."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from motet.errors import ModelLoadError, MotetError
from motet.graph.identity import identity
from motet.graph.model import Model
from motet.models.handler import LoadedModel, TokenUsage
from motet.nodes.gate import Gate
from motet.runtime.replicas.balancer import BALANCERS
from motet.runtime.replicas.local import LocalModel, LocalReplica, RemoteReplica
from motet.runtime.replicas.replica import Replica
from motet.runtime.replicas.set import ReplicaSet
from motet.runtime.replicas.shared import SharedProcess, sharing
from motet.runtime.replicas.warm import LOADING_S, warm_up
from motet.runtime.resolve import ResolvedModel, is_paid
from motet.system.places import current_folder
from motet.tracebacks import ends_program, summary
from motet.types import Signature

if TYPE_CHECKING:
    from motet.runtime.replicas.process.replica import ProcessReplica

__all__ = ["PROCESS_TIMEOUT_S", "replica_set"]

PROCESS_TIMEOUT_S = 60.0
"""How long a call of a replica in a process may take where the model does not say it."""


def replica_set(
    model: Model,
    located: ResolvedModel,
    addresses: Mapping[str, ResolvedModel],
    signature: Signature,
    check: Callable[[Mapping[str, Any], int], Any],
    spend: Callable[[TokenUsage], None] = lambda used: None,
) -> ReplicaSet:
    """The replicas of a model, not started.

    Args:
        model: what the graph says of it.
        located: its handler and file.
        addresses: the servers that have it too, or alone.
        signature: what it takes and gives itself.
        check: makes answers of what replicas give; raises `AnswerError` when that does not fit the signature.
        spend: is told what those behind addresses used.

    Raises:
        GraphError: when its `warm_up` does not fit it.
    """
    remote = {uri: partial(_remote, model.name, each, spend) for uri, each in addresses.items()}
    count = 0 if model.uri in addresses else model.num_replicas
    in_process = model.has_process and model.uri not in addresses
    make: Callable[[], Replica]
    if in_process:
        memory_bytes = model.resources.memory_bytes
        make = partial(
            SharedProcess,
            sharing(model, located, model.placement, current_folder() or "/", memory_bytes),
            partial(_process, model, located),
        )
    else:
        outputs = frozenset(signature.outputs)
        make = partial(LocalReplica, _loads(model, located), sharing(model, located), outputs)
    return ReplicaSet(
        model.name,
        make,
        count,
        addresses=remote,
        check=check,
        unchanged=located.refuse_changed,
        warm_up=warm_up(model, signature, check, paid=is_paid(model, located)),
        balancer=BALANCERS[model.balance],
        timeout_s=(model.timeout_s or PROCESS_TIMEOUT_S) if in_process else model.timeout_s,
    )


def _load(name: str, located: ResolvedModel) -> LoadedModel:
    try:
        return located.handler.load(located.source)
    except MotetError as error:
        raise error.located(f"model {name!r}") from error.__cause__
    except BaseException as error:  # (loading it may run any code)
        if isinstance(error, Exception) or ends_program(error):
            raise
        raise ModelLoadError(summary(error), where=f"model {name!r}") from error


def _loads(model: Model, located: ResolvedModel) -> Callable[[], LocalModel]:
    """What loads a model into this process."""
    again = not is_paid(model, located)
    gate = Gate(model.concurrent, again=again) if _runs_users_code(located) or model.concurrent else None
    nameless = located._replace(source=replace(located.source, name=located.source.location))  # for whoever shares it
    return lambda: LocalModel(_load(model.name, nameless), gate)


def _remote(name: str, located: ResolvedModel, spend: Callable[[TokenUsage], None]) -> Replica:
    def load() -> LocalModel:
        loaded = _load(name, located)
        if (tell := getattr(loaded, "spend_to", None)) is not None:
            tell(spend)
        return LocalModel(loaded)

    return RemoteReplica(load)


def _process(model: Model, located: ResolvedModel) -> ProcessReplica:
    from motet.runtime.replicas.process.replica import ProcessReplica, threads_each

    return ProcessReplica(
        located.handler,
        located.source,
        threads=threads_each(located.source.threads, max(1, model.num_replicas)),
        memory_limit_bytes=model.resources.memory_bytes,
        load_timeout_s=LOADING_S,
        machine=_machine_key(model, located) if model.placement == "machine" else "",
        serial=_runs_users_code(located) or model.concurrent is not None,
    )


def _machine_key(model: Model, located: ResolvedModel) -> str:
    """What tells what is loaded from others of this machine."""
    source, kind = located.source, type(located.handler)
    said = identity((source.options, source.inputs, source.outputs))
    code = (current_folder(), tuple(sys.path)) if _runs_users_code(located) else ()
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")  # clusters give each worker its own
    return repr(
        (kind.__module__, kind.__qualname__, source.name, source.location, located.version, located.digest, said,
         source.threads, source.device, devices, model.resources.memory_bytes, sys.executable, code)
    )  # fmt: skip


def _runs_users_code(located: ResolvedModel) -> bool:
    """Whether the code is of users, which may not bear what that of frameworks must."""
    return located.handler.runs_code or not located.handler.has_file
