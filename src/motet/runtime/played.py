"""What becomes of a batch that is played."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from motet.batch import Batch, concat_columns
from motet.errors import Failure
from motet.graph.node import Fault

__all__ = ["Played", "failure_of", "joined"]


@dataclass(slots=True)
class Played:
    """A batch that went through a graph.

    Attributes:
        outputs: the rows that were answered, in order, by output name.
        failures: the rows that were not, in order.
        exceptions: what was raised for some of them, where that is kept (see `motet.tracebacks.keeping`).
    """

    outputs: Batch
    failures: list[Failure]
    exceptions: Mapping[int, BaseException] = field(default_factory=dict)


def joined(parts: Sequence[Played]) -> Played:
    """What was played one after another, as one batch; at least one part."""
    filled = [part for part in parts if len(part.outputs)] or parts[:1]
    failures = sorted((failure for part in parts for failure in part.failures), key=lambda failure: failure.row)
    raised = {row: error for part in parts for row, error in part.exceptions.items()}
    if len(filled) == 1:
        return Played(filled[0].outputs, failures, raised)
    names = filled[0].outputs.columns
    columns = {name: concat_columns([part.outputs.columns[name] for part in filled]) for name in names}
    return Played(Batch(columns, np.concatenate([part.outputs.ids for part in filled])), failures, raised)


def failure_of(fault: Fault, row: int, path: str) -> Failure:
    """A fault as the failure of a row with this id, in the node with this path."""
    return Failure(row, fault.node or path, fault.model, fault.version, fault.error, fault.message)
