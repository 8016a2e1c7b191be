"""map: rows through a Python function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from motet.batch import Column
from motet.errors import GraphError
from motet.graph.build import Handle, PartNames, Ref, inputs_of
from motet.graph.fields import Fields, of_kind
from motet.graph.forms import TRUTH
from motet.graph.function import FUNCTION_PATH, GIVEN, KEYWORDS, Function, importable_path, read_outputs, write_outputs
from motet.graph.members import BY_POSITION
from motet.graph.node import Answer, AtOnce, Inputs, Node, NodeOutputs, Scope, kind
from motet.graph.player import Player, StraightPlayer
from motet.types import ANY, ColumnType, Outputs

__all__ = ["Map", "map_"]


@kind
@dataclass(frozen=True)
class Map(Node):
    """Rows through a Python function.

    Attributes:
        function: what is called, with the input columns in order.
        each: whether it is called row by row, with one row's values, instead of with whole columns.
    """

    function: Function
    each: bool = False

    kind = "map"
    keys = {
        "map": FUNCTION_PATH,
        "inputs": BY_POSITION,
        "with": KEYWORDS,
        "each": {**TRUTH, "default": False},
        "outputs": GIVEN,
    }

    def settled(self, types: Mapping[str, ColumnType]) -> Map:
        """With the labels that its function takes of its inputs."""
        function = self.function.with_labels(self.inputs.values(types), self.where)
        return self if function is self.function else replace(self, function=function)

    def infer(self, types: Mapping[str, ColumnType], scope: Scope) -> NodeOutputs:
        """The types that the graph, or the function's decorator, declares; `any` otherwise."""
        outputs = self.function.infer(self.inputs.values(types), self.where)
        if isinstance(outputs, ColumnType):
            return NodeOutputs({self.name: outputs}, open=outputs == ANY)
        return NodeOutputs({f"{self.name}.{name}": kind for name, kind in outputs.items()})

    def declared(self, columns: Mapping[str, ColumnType]) -> Outputs:
        """What `infer` found: the type of the column, or those of several by name.

        Args:
            columns: the types of the graph's columns, by full name.
        """
        if self.name in columns:
            return columns[self.name]
        own = f"{self.name}."
        return {name.removeprefix(own): kind for name, kind in columns.items() if name.startswith(own)}

    async def play(self, columns: Mapping[str, Column], rows: int, player: Player) -> Answer:
        """Call the function on whole columns."""
        return self._named(await player.apply(self.function, self.inputs.values(columns), rows, each=self.each))

    def straight(self, player: StraightPlayer) -> AtOnce:
        """Call the function on whole columns."""
        function, references = player.function(self.function, each=self.each), self.inputs.columns

        def play(columns: Mapping[str, Column], rows: int) -> Answer:
            return self._named(function([columns[reference] for reference in references], rows))

        return play

    def _named(self, answer: Answer) -> Answer:
        """What the function gave, under the node's names."""
        own = self.name
        answer.columns = {f"{own}.{name}" if name else own: column for name, column in answer.columns.items()}
        return answer

    @classmethod
    def read(cls, name: str, value: object, inputs: Inputs, fields: Fields) -> Map:
        """`{map: PATH, inputs: [...], with: {...}, each: true, outputs: {...}}`."""
        if inputs.names:
            raise GraphError("a map takes its inputs by position", where=fields.where, hint="write inputs: [a, b]")
        path = of_kind(value, str, fields.place("map"))
        outputs = fields.raw("outputs")
        declared = None if outputs is None else read_outputs(outputs, fields.place("outputs"))
        return cls(name, inputs, Function(path, fields.get("with") or {}, declared), fields.get("each"))

    def write(self) -> dict[str, Any]:
        """The inverse of `read`."""
        written: dict[str, Any] = {"map": importable_path(self.function, self.where)}
        if self.function.keywords:
            written["with"] = dict(self.function.keywords)
        if self.each:
            written["each"] = True
        if self.function.outputs is not None:
            written["outputs"] = write_outputs(self.function.outputs)
        return written


def map_(
    function: Callable[..., Any] | str,
    *inputs: Ref,
    name: str | None = None,
    each: bool = False,
    outputs: str | Mapping[str, str] | None = None,
    **keywords: Any,
) -> Handle:
    """Send rows through a function.

    Args:
        function: called with the input columns in order, arrays whose first axis is the row (lists of arrays, one a row,
            where rows differ in shape), and the keywords; returns one array of as many rows, in the same order, or a
            dict or named tuple of arrays. Or its import path.
        inputs: the columns it takes.
        name: the node's name; the function's name and a number when not given.
        each: call it row by row, with one row's values; it returns one row's values.
        outputs: what it gives, for a function that is not decorated: a type, or types by name.
        keywords: what else it is called with.

    Returns:
        The node; its columns are its attributes.
    """
    made = Function.of(function, keywords, outputs)
    needs = inputs_of(inputs, f"map({made.name})")

    def make(name: str, names: PartNames) -> Map:
        return Map(name, names.inputs(inputs), made, each)

    return Handle(made.name if made.name.isidentifier() else "map", name, make, needs)
