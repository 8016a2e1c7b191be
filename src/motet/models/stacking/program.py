"""What a model computes, as a list of operators over its inputs and weights: equal for models whose weights alone differ.

Operators are those of ONNX, under their names, of which only some can be played with weights of many models (`operators.py`), and
`Take`, which looks values up in a table of each model.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from motet.batch import Array

__all__ = ["Attribute", "Operator", "Program", "Unstackable", "input_value"]

Attribute: TypeAlias = float | int | str


class Unstackable(Exception):
    """Why a model cannot be played together with others; its text is a part of a sentence: `has a Conv`."""


@dataclass(frozen=True)
class Operator:
    """One operator.

    Attributes:
        name: what it does.
        inputs: the names of what it takes: inputs of the program, what operators before it gave, or weights.
        output: the name of what it gives.
        attributes: its settings, by name, in the order of the names.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    attributes: tuple[tuple[str, Attribute], ...] = ()

    def attribute(self, name: str, default: Attribute) -> Attribute:
        """A setting, or its default."""
        return dict(self.attributes).get(name, default)


@dataclass(frozen=True, eq=False)
class Program:
    """What a model computes.

    Attributes:
        inputs: of each input its dtype and the number of its axes, that of the rows included; `input_value` of it is the value.
        outputs: for each output of the model the name of the value.
        operators: in the order in which they are computed.
        weights: arrays by name, as the model has them: without an axis of models.
    """

    inputs: Mapping[str, tuple[str, int]]
    outputs: Mapping[str, str]
    operators: Sequence[Operator]
    weights: Mapping[str, Array] = field(repr=False)

    @property
    def structure(self) -> Hashable:
        """Equal for programs that differ in the values of their weights alone."""
        weights = tuple((name, each.dtype.str, each.shape) for name, each in sorted(self.weights.items()))
        return tuple(self.inputs.items()), tuple(self.outputs.items()), tuple(self.operators), weights

    @property
    def num_bytes(self) -> int:
        """How much memory its weights take; objects count as their references."""
        return sum(each.nbytes for each in self.weights.values())


def input_value(name: str) -> str:
    """What the value of an input is called in a program."""
    return f"input {name}"
