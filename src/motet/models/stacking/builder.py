"""Makes a program operator by operator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from motet.batch import Array
from motet.models.stacking.operators import check_program
from motet.models.stacking.program import Attribute, Operator, Program, Unstackable
from motet.types import ColumnType

__all__ = ["ProgramBuilder"]


class ProgramBuilder:
    """Makes a program.

    Attributes:
        weights: those of the program, by name; what no operator takes is left out of it.
    """

    def __init__(self) -> None:
        self.weights: dict[str, Array] = {}
        self._operators: list[Operator] = []

    def add(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """Add an operator; the name of what it gives."""
        given = f"value {len(self._operators)}"
        self._operators.append(Operator(operator, inputs, given, tuple(sorted(attributes.items()))))
        return given

    def weight(self, values: Array) -> str:
        """Add a weight; its name."""
        name = f"own weight {len(self.weights)}"
        self.weights[name] = values
        return name

    def program(self, inputs: Mapping[str, ColumnType], outputs: Mapping[str, str]) -> Program:
        """The program, without what no output needs.

        Args:
            inputs: the types of the model's inputs.
            outputs: for each of its outputs the name of the value.

        Raises:
            Unstackable: when it cannot be played for many models.
        """
        kinds = {}
        for name, kind in inputs.items():
            if kind.dtype == "any" or kind.varies:
                raise Unstackable(f"takes {name} as {kind}")
            kinds[name] = (kind.dtype, 1 + len(kind.shape))
        operators = _needed(self._operators, set(outputs.values()))
        used = dict.fromkeys(name for operator in operators for name in operator.inputs if name in self.weights)
        renamed = {name: f"weight {place}" for place, name in enumerate(used)}
        operators = [replace(each, inputs=tuple(renamed.get(name, name) for name in each.inputs)) for each in operators]
        program = Program(kinds, dict(outputs), operators, {new: self.weights[name] for name, new in renamed.items()})
        check_program(program)
        return program


def _needed(operators: Sequence[Operator], wanted: set[str]) -> list[Operator]:
    """Those that some value is made of, in their order."""

    def backwards() -> Iterator[Operator]:
        for operator in reversed(operators):
            if operator.output in wanted:
                wanted.update(operator.inputs)
                yield operator

    return list(backwards())[::-1]
