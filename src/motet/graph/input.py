"""What a graph is given: its declared inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from motet.graph.identity import identity
from motet.reading import NO_DEFAULT
from motet.types import ColumnType

__all__ = ["Input"]


@dataclass(frozen=True)
class Input:
    """An input of a graph.

    Attributes:
        type: the column's type.
        default: what stands in for a null, or for a column that is not there; None lets nulls through (strings and
            bytes as None, floats as NaN); without a default a null fails its row.
        column: what the column is called where it is stored; None where it is called as the input is.
    """

    type: ColumnType
    default: Any = NO_DEFAULT
    column: str | None = None

    def __eq__(self, other: object) -> bool:
        """Whether both mean the same; a default of NaN is equal to itself."""
        if not isinstance(other, Input):
            return NotImplemented
        said = (self.type, self.column, identity(self.default))
        return said == (other.type, other.column, identity(other.default))

    @property
    def has_default(self) -> bool:
        """Whether the column may be missing or null."""
        return self.default is not NO_DEFAULT
