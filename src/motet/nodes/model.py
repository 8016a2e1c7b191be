"""model: rows through one model (or graph)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from motet.batch import Column
from motet.errors import GraphError
from motet.graph.build import Handle, PartNames, Ref, Uses, inputs_of
from motet.graph.fields import Fields, of_kind
from motet.graph.forms import TEXT
from motet.graph.members import INPUTS
from motet.graph.node import Answer, AtOnce, Inputs, Member, Node, NodeOutputs, Scope, kind
from motet.graph.player import Player, StraightPlayer
from motet.nodes.members import needed
from motet.types import ColumnType

__all__ = ["ModelNode", "model"]


@kind
@dataclass(frozen=True)
class ModelNode(Node):
    """Rows through one model.

    Attributes:
        uses: the name of the model or graph.
    """

    uses: str

    kind = "model"
    keys = {"model": TEXT, "inputs": INPUTS}

    @property
    def members(self) -> tuple[Member, ...]:
        """The one model."""
        return (Member(self.uses, self.uses),)

    def bound(self, bind: Callable[[Member, Inputs], Inputs]) -> ModelNode:
        """The node, its columns by name where they go by name."""
        inputs = bind(self.members[0], self.inputs)
        return self if inputs is self.inputs else replace(self, inputs=inputs)

    def infer(self, types: Mapping[str, ColumnType], scope: Scope) -> NodeOutputs:
        """The model's outputs, as `node.output`."""
        outputs = scope.call(self.uses, self.inputs, types, self.where)
        return NodeOutputs({f"{self.name}.{name}": kind for name, kind in outputs.items()})

    def needs(self, outputs: Mapping[str, Sequence[str]], gives: Container[str]) -> Mapping[str, Collection[str]]:
        """Those that somebody needs."""
        return needed(self, outputs, gives)

    async def play(self, columns: Mapping[str, Column], rows: int, player: Player) -> Answer:
        """Call the model."""
        return self._named(await player.call(self.uses, self.inputs.pick(columns), rows))

    def straight(self, player: StraightPlayer) -> AtOnce | None:
        """Call the model."""
        model, pick = player.model(self.uses), self.inputs.pick
        return None if model is None else lambda columns, rows: self._named(model(pick(columns), rows))

    def _named(self, answer: Answer) -> Answer:
        """What the model gave, under the node's names."""
        answer.columns = {f"{self.name}.{name}": column for name, column in answer.columns.items()}
        return answer

    @classmethod
    def read(cls, name: str, value: object, inputs: Inputs, fields: Fields) -> ModelNode:
        """`{model: NAME, inputs: [...]}`."""
        return cls(name, inputs, of_kind(value, str, fields.place("model")))

    def write(self) -> dict[str, Any]:
        """The inverse of `read`."""
        return {"model": self.uses}


def model(uses: Uses, *inputs: Ref, name: str | None = None, **named: Ref) -> Handle:
    """Send rows through one model, or through a graph.

    Args:
        uses: the model or graph.
        inputs: the columns it takes: by name where all are called as its inputs, else by position. None takes the columns
            of the graph that are called as its inputs.
        name: the node's name; `model` and a number when not given.
        named: the columns it takes, by the names of its inputs, whatever they are called.

    Returns:
        The node; its columns are its attributes.
    """
    if inputs and named:
        raise GraphError("a model takes its inputs either by position or by name", where="model()")
    needs = inputs_of(named or inputs, "model()")

    def make(name: str, names: PartNames) -> ModelNode:
        return ModelNode(name, names.inputs(named or inputs), names.uses(uses))

    return Handle("model", name, make, needs)
