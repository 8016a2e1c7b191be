"""The key `experiments` of serve.yaml."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from motet.errors import GraphError, InputError
from motet.graph.fields import from_environment, show
from motet.graph.forms import either
from motet.graph.section import Converter, KeyRule, Section, between

__all__ = ["ExperimentsConfig"]

_DURATION = r"[0-9]+(\.[0-9]+)? ?[smhdw]"
LEAST_KEY = 16
"""Letters that a key from the environment has at least."""


def _duration(value: object, where: str, folder: str = "") -> float:
    """Seconds, as a number, or as `30s`, `15m`, `12h`, `7d`, `2w`.

    Raises:
        GraphError: when it is something else, or not more than 0.
    """
    from motet.workflow.options import read_duration_s

    try:
        found = read_duration_s(value, where)
    except InputError as error:
        raise GraphError(error.what, where=where, hint=error.hint) from None
    if not 0 < found < float("inf"):
        raise GraphError(f"must be more than 0; got {show(value)}", where=where)
    return found


_WINDOW_FORM = either({"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": f"^{_DURATION}$"})
_Duration = Annotated[float, Converter(_duration, _WINDOW_FORM)]


@dataclass(frozen=True)
class ExperimentsConfig(Section):
    """Where experiments are kept: which arm each row met, and what became of it.

    Attributes:
        to: a database's URL (`sqlite:///predictions.db`, `postgresql://user@host/base`); a relative path begins at the
            configuration's folder. `env:NAME` takes what the environment variable holds. Servers of several machines
            that name the same database run the same experiments.
        window_s: how long after its answer feedback is taken: seconds, or `12h`, `7d`.
        key: what ids of answers are signed with, at least 16 letters, best as `env:NAME`; servers of several machines need
            the same one. Empty makes one, in the folder of the spools.
        durable: whether an answer waits until its exposure is on disk. Feedback always does.
        poll_s: how often decisions (`promote`, `stop`, `ramp`) of other processes and machines are looked for.
        check_s: how often ramps and guardrails are looked at.
        timeout_s: the longest that one write to the database may take.
    """

    ALONE: ClassVar[str] = "to"

    to: str
    window_s: Annotated[_Duration, KeyRule("window")] = 7 * 86_400.0
    key: str = ""
    durable: bool = False
    poll_s: Annotated[float, between(0.05, 3600)] = 1.0
    check_s: Annotated[float, between(0.05, 86_400)] = 15.0
    timeout_s: Annotated[float, between(0.1, 600)] = 10.0

    @classmethod
    def read(cls, value: object, where: str, folder: str = "") -> ExperimentsConfig:
        """The section as it was written; what names the environment is filled in.

        Raises:
            GraphError: when a key is unknown, or a value is not what it must be.
        """
        read: Any = super().read(value, where, folder)
        to, key = from_environment(read.to, f"{where}.to"), from_environment(read.key, f"{where}.key")
        if not re.match(r"(sqlite|postgres(ql)?)(\+\w+)?://", to):
            hint = "write sqlite:///predictions.db or postgresql://..."
            raise GraphError("experiments are kept in a database", where=f"{where}.to", hint=hint)
        if key and len(key) < LEAST_KEY:
            raise GraphError(f"a key has at least {LEAST_KEY} letters", where=f"{where}.key", hint="write env:NAME")
        return cls(to, read.window_s, key, read.durable, read.poll_s, read.check_s, read.timeout_s)
