"""A reference of rows that are evaluated: from the answers that were kept, so that no model is called again."""

from __future__ import annotations

from typing import Any

import numpy as np

from motet.batch import Batch, take_rows
from motet.graph.check import CheckedGraph
from motet.nodes.cascade import Cascade
from motet.planning.drift.collect import Collector
from motet.planning.drift.features import DriftSample, MemberRows
from motet.planning.drift.reference import DriftReference
from motet.planning.recording import Recording
from motet.planning.replay import Replayed

__all__ = ["DriftOfEvidence"]


class DriftOfEvidence:
    """Collects what a pass over labelled rows shows of them.

    Args:
        checked: the graph as it was given.
        of: where the rows are from.

    Attributes:
        outputs: the columns that are its outputs, by full name.
    """

    def __init__(self, checked: CheckedGraph, of: str) -> None:
        self._checked, self._collector = checked, Collector(checked, of)
        graph = checked.graph
        self._outputs = {name: checked.canonical.get(each, each) for name, each in graph.outputs.items()}
        self._cascades = [name for name in checked.order if isinstance(graph.nodes[name], Cascade)]
        self.outputs = list(dict.fromkeys([*self._outputs.values(), *(f"{name}.member" for name in self._cascades)]))

    def add(self, batch: Batch) -> None:
        """Take the inputs of rows that fit."""
        if len(batch):
            self._collector.add(DriftSample(inputs=batch))

    def finish(self, recording: Recording, base: Replayed) -> DriftReference:
        """The reference, with what the graph answered, and its members."""
        columns = {name: base.outputs.columns[full] for name, full in self._outputs.items()}
        answered = len(base.outputs)
        outputs = Batch.of(columns, base.outputs.ids)
        members = {
            (node, member): self._asked(node, member, MemberRows(each.rows, each.columns), base)
            for node, found in recording.answers.items()
            for member, each in found.items()
            if each.columns
        }
        self._collector.add(DriftSample(None, outputs, members, answered, recording.num_rows - answered))
        return self._collector.finish()

    def _asked(self, node: str, member: str, found: MemberRows, base: Replayed) -> MemberRows:
        """Of what a member answered the rows that the graph asks it for: of a cascade those that none before it was sure of."""
        cascade = self._checked.graph.nodes[node]
        if not isinstance(cascade, Cascade):
            return found
        names = [each.name for each in cascade.members]
        place = {name: at for at, name in enumerate(names)}
        by: Any = base.outputs.columns[f"{node}.member"]
        last = np.array([place[str(each)] for each in by], dtype=np.int64)
        kept = np.isin(found.ids, base.outputs.ids[last >= place[member]])
        columns = {name: take_rows(column, np.flatnonzero(kept)) for name, column in found.columns.items()}
        return MemberRows(found.ids[kept], columns)
