"""What is kept of a graph's rows: which columns, under which names, as what.

Columns of the system come first; what callers gave is `input_NAME`, what the graph answered `output_NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from motet.errors import UnknownNameError
from motet.serving.config.sinks import SinkConfig
from motet.serving.sinks.records import ID, JSON
from motet.types import ColumnType, Signature

__all__ = ["KeptColumn", "RecordLayout", "layout_of"]

JOIN_KINDS = {
    ID: "string", "request": "string", "row": "int64", "time": "float64", "identity": "string", "graph": "string",
    "version": "string", "queue_s": "float64", "compute_s": "float64", "members": JSON, "error": "string",
}  # fmt: skip
STACK_KINDS = {
    ID: "string", "request": "string", "row": "int64", "time": "float64", "graph": "string", "node": "string",
    "member": "string", "model": "string", "version": "string", "seconds": "float64", "outputs": JSON,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class KeptColumn:
    """A column of a graph that is kept.

    Attributes:
        name: of the input or output.
        column: of the record.
        kind: what the record holds; see `Records.kinds`.
    """

    name: str
    column: str
    kind: str


@dataclass(frozen=True)
class RecordLayout:
    """What is kept of a graph's rows.

    Attributes:
        graph: its name.
        version: what its answers depend on: the versions of its models.
        table: where records go.
        stack: whether a record is of a row and a member, and not of a row.
        kinds: all columns of a record; see `Records.kinds`.
        inputs, outputs: those that are the graph's.
        all_outputs: whether these are all outputs of the graph.
        row_bytes: what the columns take that are as big in every row.
        loose_inputs, loose_outputs: the names of the others.
        members: whether the outputs of each member are kept.
    """

    graph: str
    version: str
    table: str
    stack: bool
    kinds: Mapping[str, str]
    inputs: tuple[KeptColumn, ...] = ()
    outputs: tuple[KeptColumn, ...] = ()
    all_outputs: bool = True
    row_bytes: int = 0
    loose_inputs: tuple[str, ...] = ()
    loose_outputs: tuple[str, ...] = ()
    members: bool = False


def layout_of(config: SinkConfig, graph: str, signature: Signature, version: str) -> RecordLayout:
    """What a sink keeps of a graph.

    Raises:
        UnknownNameError: when the sink is to keep a column that the graph does not have.
    """
    table = config.table.replace("{graph}", graph) if config.format == "sql" else graph
    if config.record == "stack":
        return RecordLayout(graph, version, table, True, STACK_KINDS)
    for name in config.keep or ():
        if name not in signature.inputs and name not in signature.outputs:
            known = [*signature.outputs, *signature.inputs]
            raise UnknownNameError(
                f"input or output of graph {graph!r}", name, known, where=f"sink {config.name}: keep",
                hint="a sink can be for some graphs alone: graphs: [...]",
            )  # fmt: skip
    inputs = tuple(
        _kept(config, "input", each, kind) for each, kind in signature.inputs.items() if _wanted(config, each, kind)
    )
    outputs = tuple(
        _kept(config, "output", each, kind)
        for each, kind in signature.outputs.items()
        if config.keep is None or each in config.keep
    )
    kinds = dict(JOIN_KINDS)
    if config.members:
        kinds["member_outputs"] = JSON
    kinds |= {each.column: each.kind for each in (*inputs, *outputs)}
    sizes = {each.name: signature.inputs[each.name].row_bytes for each in inputs}
    given = {each.name: signature.outputs[each.name].row_bytes for each in outputs}
    return RecordLayout(
        graph,
        version,
        table,
        False,
        kinds,
        inputs,
        outputs,
        len(outputs) == len(signature.outputs),
        sum(size or 0 for size in (*sizes.values(), *given.values())),
        tuple(name for name, size in sizes.items() if size is None),
        tuple(name for name, size in given.items() if size is None),
        config.members,
    )


def _wanted(config: SinkConfig, name: str, kind: ColumnType) -> bool:
    return name in config.keep if config.keep is not None else config.array_inputs or not kind.shape


def _kept(config: SinkConfig, side: str, name: str, kind: ColumnType) -> KeptColumn:
    stored = JSON if kind.dtype == "any" else str(kind)
    if kind.shape and config.arrays == "bytes" and kind.row_bytes is not None:
        stored = "bytes"
    return KeptColumn(name, f"{side}_{name}", stored)
