"""How the answer of one row came about, for people and for programs."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from motet.errors import Failure
from motet.models.handler import TokenUsage
from motet.runtime.node_context import Call
from motet.system.html import paragraph, table

__all__ = ["Explanation", "as_json", "as_text"]

TOP = 3
"""Places of an array of scores that are shown."""
SHORT = 6
"""An array of up to this many values is shown whole."""
LONG = 10_000
"""An array of more values is not written out as JSON."""


@dataclass(frozen=True, repr=False)
class Explanation:
    """How a graph came to the answer of one row.

    Attributes:
        row: the row's id.
        outputs: the answer by output name; empty when the row failed.
        calls: the calls of models and graphs, in order.
        columns: every column of the graph by full name, for this row.
        failures: why the row failed; empty when it did not.
    """

    row: int
    outputs: Mapping[str, Any]
    calls: Sequence[Call]
    columns: Mapping[str, Any]
    failures: Sequence[Failure]

    def to_json(self) -> str:
        """The explanation as JSON: as `motet explain --json` prints it."""
        return json.dumps(as_json(self.row, self, self.failures), indent=2)

    def __str__(self) -> str:
        return "\n".join(as_text(self.row, self, self.failures))

    def __repr__(self) -> str:
        answer = ", ".join(f"{name}={show(value)}" for name, value in self.outputs.items())
        return f"<Explanation of row {self.row}: {len(self.calls)} calls, {answer or 'failed'}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The explanation as a shell shows it."""
        printer.text(str(self))

    def _repr_html_(self) -> str:
        """The explanation as a notebook shows it."""
        calls = [
            (call.node, call.member, call.uses, call.version, f"{call.seconds * 1e3:.3f}", "; ".join(_said(call)))
            for call in self.calls
        ]
        outputs = [(name, show(value)) for name, value in self.outputs.items()]
        chosen = [(name, show(value)) for name, value in chosen_of(self).items()]
        return "".join(
            [
                paragraph([f"row {self.row}", *map(str, self.failures)]),
                table(("output", "value"), outputs),
                table(("node", "member", "model", "version", "ms", "answered"), calls),
                table(("decided", "value"), chosen),
            ]
        )


def as_text(row: int, told: Explanation | None, failures: Sequence[Failure]) -> list[str]:
    """An explanation as lines; without one, why the row could not be read."""
    lines = [f"row {row}"]
    for failure in failures:
        lines.append(f"failed in node {failure.node}{f' in {failure.model}' if failure.model else ''}")
        lines.append(f"  {failure.error}: {failure.message}")
    if told is None:
        return lines
    lines += [f"  {name} = {show(value)}" for name, value in told.outputs.items()]
    chosen = chosen_of(told)
    lines += ["", "calls, in order"] if told.calls else []
    for call in told.calls:
        lines += _call_as_text(call)
    lines += ["", "which answered"] if chosen else []
    return lines + [f"  {name} = {show(value)}" for name, value in chosen.items()]


def _call_as_text(call: Call) -> list[str]:
    version = f" {call.version}" if call.version else ""
    rows = "1 row" if call.rows == 1 else f"{call.rows} rows, of which the first is shown"
    member = f"{call.member} = " if call.member not in ("", call.uses) else ""
    lines = [f"  {call.node}: {member}{call.uses}{version}, {call.seconds * 1e3:.3f} ms, {rows}"]
    return lines + [f"      {said}" for said in _said(call)]


def _said(call: Call) -> list[str]:
    """What a call answered, and why rows of it failed."""
    answers = [f"{name} = {show(column[0])}" for name, column in call.outputs.items() if len(column)]
    used = call.used
    if used != TokenUsage():
        price = f", cost {used.cost:.6g}" if used.cost else ""
        answers.append(f"{used.prompt_tokens:,} prompt tokens, {used.completion_tokens:,} completion tokens{price}")
    return answers + [f"failed: {fault.error}: {fault.message}" for fault in call.faults]


def chosen_of(told: Explanation) -> dict[str, Any]:
    """Which members answered, and how sure they were."""
    return {name: value for name, value in told.columns.items() if name.endswith((".member", ".confidence"))}


def show(value: Any) -> str:
    """A value in short: of many scores the largest, with their places; of other arrays type and shape."""
    if isinstance(value, str):
        return repr(value) if len(value) <= 200 else repr(value[:197] + "...")
    array = np.asarray(value)
    if array.dtype == object or array.ndim == 0:
        return f"{value:.6g}" if isinstance(value, (float, np.floating)) else str(value)[:200]
    if array.size <= SHORT:
        return np.array2string(array, precision=4, separator=", ")
    if array.ndim == 1 and array.dtype.kind == "f":
        best = np.argsort(-array, kind="stable")[:TOP]
        return f"{array.dtype}[{array.size}], largest " + ", ".join(f"{place}: {array[place]:.4g}" for place in best)
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def as_json(row: int, told: Explanation | None, failures: Sequence[Failure]) -> dict[str, Any]:
    """An explanation as JSON has it; without one, why the row could not be read."""
    calls = [
        {
            "node": call.node,
            "member": call.member,
            "uses": call.uses,
            "version": call.version,
            "rows": call.rows,
            "seconds": call.seconds,
            "outputs": {name: plain(column[0]) for name, column in call.outputs.items() if len(column)},
            **({"used": asdict(call.used)} if call.used != TokenUsage() else {}),
            "faults": [f"{fault.error}: {fault.message}" for fault in call.faults],
        }
        for call in (told.calls if told else ())
    ]
    return {
        "row": row,
        "outputs": {name: plain(value) for name, value in told.outputs.items()} if told else {},
        "members": {n: plain(v) for n, v in told.columns.items() if n.endswith(".member")} if told else {},
        "calls": calls,
        "failures": [asdict(failure) for failure in failures],
    }


def plain(value: Any) -> Any:
    """A value as JSON has it: bytes as base64, what is no number as null, an array of very many values by its type."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if getattr(value, "size", 0) > LONG:
        return show(value)
    return plain(value.tolist()) if hasattr(value, "tolist") else value
