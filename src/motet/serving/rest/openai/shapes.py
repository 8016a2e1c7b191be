"""Which graphs can be asked as language models: what is given to which input, and which output is the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from motet.errors import InputError
from motet.graph.input import Input
from motet.serving.repository.entry import RepositoryEntry
from motet.types import ColumnType

__all__ = ["MESSAGES", "REASON", "Shape", "embedding_shape", "model_object", "text_shape"]

MESSAGES = "messages"
"""The input that is given the whole conversation."""
REASON = "finish_reason"
"""The output that says why an answer ended."""


@dataclass(frozen=True)
class Shape:
    """How a graph is asked.

    Attributes:
        input: what is given the text, or the conversation.
        output: the answer.
    """

    input: str
    output: str


def text_shape(served: RepositoryEntry) -> Shape:
    """How a graph answers texts: by its output `text`, or the only one that is a string, beside `finish_reason`.

    Raises:
        InputError: when it does not.
    """
    return Shape(
        _input(served), _output(served, "text", lambda kind: kind.dtype == "string" and not kind.shape, "a string")
    )


def embedding_shape(served: RepositoryEntry) -> Shape:
    """How a graph answers vectors: by its output `embedding`, or the only one that is a vector of floats.

    Raises:
        InputError: when it does not.
    """

    def is_vector(kind: ColumnType) -> bool:
        return kind.numpy_dtype.kind == "f" and len(kind.shape) == 1

    return Shape(_input(served), _output(served, "embedding", is_vector, "a vector of floats"))


def _input(served: RepositoryEntry) -> str:
    """What is given: `messages` where there is such an input, else the only one that is needed; others have defaults."""
    inputs: Mapping[str, Input] = served.inputs
    needed = [name for name, each in inputs.items() if not each.has_default]
    found = [MESSAGES] if MESSAGES in inputs else needed or list(inputs)[:1]
    others = [name for name in needed if name not in found]
    if len(found) != 1 or others or inputs[found[0]].type.dtype not in ("string", "any"):
        taken = ", ".join(f"{name}: {each.type}" for name, each in inputs.items())
        hint = f"ask it at /predict/{served.name}"
        raise InputError(f"{served.name} takes no text alone: it takes {taken}", hint=hint)
    return found[0]


def _output(served: RepositoryEntry, name: str, fits: Callable[[ColumnType], bool], what: str) -> str:
    outputs = served.signature.outputs
    fitting = [each for each, kind in outputs.items() if fits(kind)]
    found = [each for each in fitting if each != REASON] or fitting
    if name in found:
        return name
    if len(found) != 1:
        given = ", ".join(f"{each}: {kind}" for each, kind in outputs.items())
        hint = f"ask it at /predict/{served.name}, or call one output {name!r}"
        raise InputError(f"{served.name} does not answer with {what}: it gives {given}", hint=hint)
    return found[0]


def model_object(name: str) -> dict[str, Any]:
    """What is served under a name, as OpenAI lists models."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "motet"}
