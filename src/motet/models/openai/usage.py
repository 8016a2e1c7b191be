"""What answers of a language model cost: tokens, and money where a price is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from motet.errors import GraphError
from motet.models.handler import TokenUsage

__all__ = ["Price"]


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost.

    Attributes:
        input: of what is asked.
        output: of answers.
    """

    input: float = 0.0
    output: float = 0.0

    @classmethod
    def read(cls, given: object, where: str) -> Price:
        """Read `{input: 0.15, output: 0.6}`; what is left out costs nothing.

        Raises:
            GraphError: when it is something else.
        """
        if not isinstance(given, Mapping) or not given or not set(given) <= {"input", "output"}:
            hint = "write price: {input: 0.15, output: 0.6}, the price of a million tokens"
            raise GraphError(f"expected the prices of input and output; got {given!r}", where=where, hint=hint)
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
                raise GraphError(f"{name} must be a number of at least 0; got {value!r}", where=where)
        return cls(**{name: float(value) for name, value in given.items()})

    def usage(self, said: Any) -> TokenUsage:
        """What an answer's `usage` says; nothing where it says nothing."""
        asked, answered = (_count(said, name) for name in ("prompt_tokens", "completion_tokens"))
        return TokenUsage(asked, answered, (asked * self.input + answered * self.output) / 1e6)


def _count(said: Any, name: str) -> int:
    value = said.get(name) if isinstance(said, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
