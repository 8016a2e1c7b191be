"""The quick way through an ensemble: every member answered every row, as in most batches."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from motet.batch import Column, Indices, objects
from motet.graph.node import Answer
from motet.nodes.classes import Places
from motet.nodes.combine import part_of
from motet.nodes.members import picks
from motet.tracebacks import ends_program

if TYPE_CHECKING:
    from motet.nodes.ensemble import Ensemble

__all__ = ["Quick"]


class Quick:
    """Combines where every member answered every row, as most batches are: which columns count is looked up once.

    Args:
        node: the ensemble.
        places: how the members' answers are placed.
        gives: the columns of the node that somebody needs.
    """

    def __init__(self, node: Ensemble, places: Places, gives: Collection[str]) -> None:
        self._node, self._places, self._gives, self._combine = node, places, gives, node.combiner.combine
        self._counting = [place for place, weight in enumerate(node.weights) if weight > 0]
        self._weights = [node.weights[place] for place in self._counting]
        self._member = objects([",".join(member.name for member in node.players if member.name in node.named(gives))])
        self._wants_member = f"{node.name}.member" in gives
        self._combined: list[tuple[str, list[str], list[Indices | None]]] | None = None
        self._own: list[tuple[str, int, str]] = []

    def __call__(self, answers: Sequence[Answer]) -> Answer | None:
        """The answer; None where the rows must be looked at more closely."""
        for answer in answers:
            if answer.kept is not None or not answer.columns:
                return None
        if self._combined is None:
            self._look(answers)
        counting = [answers[place].columns for place in self._counting]
        columns: dict[str, Column] = {}
        try:
            for full, names, places in self._combined or ():
                parts = [
                    part_of(outputs[name], weight, index)
                    for outputs, name, weight, index in zip(counting, names, self._weights, places, strict=True)
                ]
                columns[full] = self._combine(parts)
        except BaseException as error:  # (the rows at fault are found by combining them in parts)
            if ends_program(error):
                raise
            return None
        for full, place, name in self._own:
            columns[full] = answers[place].columns[name]
        if self._wants_member:
            columns[f"{self._node.name}.member"] = self._member.repeat(len(next(iter(counting[0].values()))))
        return Answer(columns)

    def _look(self, answers: Sequence[Answer]) -> None:
        """Which of the members' columns count, and which the answer has under the members' names."""
        node = self._node
        named = [
            picks(member, list(answer.columns), node.output, node.where)
            for member, answer in zip(node.players, answers, strict=True)
        ]
        self._own = [
            (full, place, inner)
            for place, (member, names) in enumerate(zip(node.players, named, strict=True))
            for output, inner in names.items()
            if (full := f"{node.name}.{member.name}.{output}") in self._gives
        ]
        counting = [node.players[place].name for place in self._counting]
        self._combined = [
            (
                f"{node.name}.{output}",
                [named[place][output] for place in self._counting],
                [self._places.get(name, {}).get(output) for name in counting],
            )
            for output in named[0]
        ]
