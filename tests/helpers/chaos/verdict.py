"""What came of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .clients import Clients
from .faults import Faults
from .world import World, until

FEW = 0.02
"""The part of the requests that may be refused, with 503 or 504."""


@dataclass(frozen=True)
class Verdict:
    """What came of a time of chaos.

    Attributes:
        text: for people.
        mistakes: what must not be; none where all is well.
    """

    text: str
    mistakes: list[str]


def judge(world: World, clients: Clients, faults: Faults) -> Verdict:
    """Look at a server that is whole again, and whose clients have stopped; end it, and look at its log."""
    mistakes = list(faults.missed)
    try:
        until(lambda: _backlog(world) == 0, 60, "records stay in queues and spools")
    except AssertionError as error:
        mistakes.append(str(error))
    told, shown = clients.told, world.incidents()
    code, lines = world.stop(), world.lines()
    mistakes += [*told.wrong, *told.lost, *([] if code == 0 else [f"the server ended with {code}"])]
    asked = told.right + sum(told.refused.values()) + told.excused
    if sum(told.refused.values()) > FEW * asked:
        mistakes.append(f"too many were refused: {told.refused}")
    mistakes += [f"refused: {said}" for said in told.refused if not said.startswith(("503", "504", "StatusCode"))]
    if missing := told.answered - world.records():
        mistakes.append(f"{len(missing)} answers have no record: {sorted(missing)[:5]}")
    mistakes += [f"a line that is no JSON: {line['raw']}" for line in lines if "raw" in line]
    mistakes += [f"a mistake of ours: {line}" for line in lines if "raised" in line]
    said: Counter[str] = Counter()
    for line in lines:
        if "incident" in line:
            said[str(line["incident"])] += int(str(line.get("left_out", 1)))
    for kind in sorted({*said, *shown} - {"supervisor_lost"}):  # which processes count that end with it
        # a process that is killed does not tell how many lines it has left out
        if said[kind] > shown[kind] or (said[kind] < shown[kind] and kind != "request_failed"):
            mistakes.append(f"{kind}: {said[kind]} lines, {shown[kind]} in the metrics")
    text = (
        f"{len(faults.done)} faults: {dict(Counter(faults.done))}\n"
        f"{told.right} right answers, {len(told.wrong)} wrong, {sum(told.refused.values())} refused {dict(told.refused)}, "
        f"{len(told.lost)} lost, {told.excused} lost with a process that was killed, "
        f"{told.unconnected} without a connection, {told.unready} before it had loaded\n"
        f"log and metrics: {dict(said)}; {len(faults.expected)} expected lines found\n"
        f"left out, as this machine lacks it: {', '.join(world.missing()) or 'nothing'}"
    )
    return Verdict(text, mistakes)


def _backlog(world: World) -> float:
    """Records that are not where they belong yet; of a server that does not answer some."""
    numbers = world.metrics()
    parts = ("motet_sink_queued_rows", "motet_sink_spool_bytes")
    return sum(value for name, value in numbers.items() if name.startswith(parts)) if numbers else 1
