"""How the texts of answers end, by outputs of graphs: `finish_reason` says why, `tool_calls` which tools are to be called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from motet.serving.batching.parameters import FailedRowsError
from motet.serving.batching.request import Reply
from motet.serving.repository.entry import RepositoryEntry
from motet.serving.rest.openai.heard import CALLS, answers_with_calls
from motet.serving.rest.openai.shapes import REASON

__all__ = ["Ending", "ending_of"]


@dataclass(frozen=True)
class Ending:
    """The end of a row's text.

    Attributes:
        reason: why it ended: stop, length, tool_calls or what else a model says.
        calls: the tools that it wants called.
    """

    reason: str
    calls: list[dict[str, Any]]


def ending_of(reply: Reply, served: RepositoryEntry, row: int) -> Ending:
    """How a row ends, by its place among those of the request. Where the graph does not say why, it is `tool_calls` with calls, and
    `stop` without.

    Raises:
        FailedRowsError: when its calls are none.
    """
    outputs = served.signature.outputs
    calls = _calls(reply.columns[CALLS][reply.first + row], row) if answers_with_calls(served) else []
    said = reply.columns[REASON][reply.first + row] if REASON in outputs and outputs[REASON].dtype == "string" else None
    return Ending(str(said) if said else "tool_calls" if calls else "stop", calls)


def _calls(value: Any, row: int) -> list[dict[str, Any]]:
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if value is None:
        return []
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, Mapping) for each in value):
        raise FailedRowsError(f"row {row}: {CALLS!r} is no list of calls; it is of type {type(value).__name__}")
    return [dict(each) for each in value]
