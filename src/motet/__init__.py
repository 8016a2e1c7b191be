"""Motet: answer with many models instead of one.

A graph says how models play together; the same graph is called here and now, run in bulk, and served live. Importing
this package imports no framework and starts nothing; every name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motet import errors, ops, ray, serving, testing
    from motet import training as train
    from motet.batch import Batch, Ragged
    from motet.engines.local.report import RunReport
    from motet.errors import Failure, GraphError, InputError, ModelError, MotetError, RowErrors, RunError
    from motet.facade import Graph, load, member
    from motet.graph.capacity import Batching, Resources
    from motet.graph.model import Model
    from motet.input_columns import input, inputs
    from motet.metrics_log import log
    from motet.nodes import cascade, ensemble, model, route, shard
    from motet.nodes import map_ as map
    from motet.nodes.failing import failing
    from motet.store.store import Store
    from motet.training import data
    from motet.types import ColumnType, Signature, returns
    from motet.version import __version__ as __version__
    from motet.workflow import WorkflowModule
    from motet.workflow.choices import as_ready, when
    from motet.workflow.deferred import Deferred
    from motet.workflow.files import File
    from motet.workflow.plan import Plan
    from motet.workflow.policies import when_changed, while_at_least
    from motet.workflow.step import current_step, step

    workflow: WorkflowModule


_HOMES = {
    "Batch": "motet.batch",
    "Batching": "motet.graph.capacity",
    "ColumnType": "motet.types",
    "Deferred": "motet.workflow.deferred",
    "Failure": "motet.errors",
    "File": "motet.workflow.files",
    "Graph": "motet.facade",
    "GraphError": "motet.errors",
    "InputError": "motet.errors",
    "Model": "motet.graph.model",
    "ModelError": "motet.errors",
    "MotetError": "motet.errors",
    "Plan": "motet.workflow.plan",
    "Ragged": "motet.batch",
    "Resources": "motet.graph.capacity",
    "RowErrors": "motet.errors",
    "RunError": "motet.errors",
    "RunReport": "motet.engines.local.report",
    "Signature": "motet.types",
    "Store": "motet.store.store",
    "__version__": "motet.version",
    "as_ready": "motet.workflow.choices",
    "cascade": "motet.nodes",
    "current_step": "motet.workflow.step",
    "ensemble": "motet.nodes",
    "failing": "motet.nodes.failing",
    "input": "motet.input_columns",
    "inputs": "motet.input_columns",
    "load": "motet.facade",
    "log": "motet.metrics_log",
    "map": "motet.nodes:map_",
    "member": "motet.facade",
    "model": "motet.nodes",
    "returns": "motet.types",
    "route": "motet.nodes",
    "shard": "motet.nodes",
    "step": "motet.workflow.step",
    "when": "motet.workflow.choices",
    "when_changed": "motet.workflow.policies",
    "while_at_least": "motet.workflow.policies",
}
_MODULES = {
    "data": "motet.training.data",
    "errors": "motet.errors",
    "ops": "motet.ops",
    "ray": "motet.ray",
    "serving": "motet.serving",
    "testing": "motet.testing",
    "train": "motet.training",
    "workflow": "motet.workflow",
}

__all__ = [
    "Batch",
    "Batching",
    "ColumnType",
    "Deferred",
    "Failure",
    "File",
    "Graph",
    "GraphError",
    "InputError",
    "Model",
    "ModelError",
    "MotetError",
    "Plan",
    "Ragged",
    "Resources",
    "RowErrors",
    "RunError",
    "RunReport",
    "Signature",
    "Store",
    "as_ready",
    "cascade",
    "current_step",
    "data",
    "ensemble",
    "errors",
    "failing",
    "input",
    "inputs",
    "load",
    "log",
    "map",
    "member",
    "model",
    "ops",
    "ray",
    "returns",
    "route",
    "serving",
    "shard",
    "step",
    "testing",
    "train",
    "when",
    "when_changed",
    "while_at_least",
    "workflow",
]


if not TYPE_CHECKING:  # which would make every name one that is there

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return importlib.import_module(_MODULES[name])
        if name not in _HOMES:
            raise AttributeError(f"module 'motet' has no attribute {name!r}")
        module, _, attribute = _HOMES[name].partition(":")
        value = getattr(importlib.import_module(module), attribute or name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
