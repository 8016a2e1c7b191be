"""Members that are off the way of a node's answer, called later for those who look on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from motet.batch import Column, Indices
from motet.graph.node import Answer, Member
from motet.runtime.agreement import Champion
from motet.runtime.node_context import TurnContext, afterwards, drive
from motet.runtime.shadows import copied
from motet.runtime.turns import NodeStep, Trace

if TYPE_CHECKING:
    from motet.runtime.executor import Executor

__all__ = ["offer_asides"]


def offer_asides(
    executor: Executor, step: NodeStep, given: Mapping[str, Column], trace: Trace | None, ids: Indices, answer: Answer
) -> None:
    """Have the members of a node that are off the way of its answer called later, or not at all where too much waits for them.

    What they answer is for those who look on, and is compared with the node's answer.
    """
    for member in step.asides:
        columns = (member.inputs or step.node.inputs).pick(given)
        later = partial(_later, executor, step, member, columns, afterwards(trace), ids, answer)
        executor.shadows[step.path, member.name].offer(len(ids), later)


def _later(
    executor: Executor,
    step: NodeStep,
    member: Member,
    columns: Any,
    trace: Trace | None,
    ids: Indices,
    answer: Answer,
) -> Callable[[], Answer]:
    """A call of columns that nobody changes meanwhile."""
    if isinstance(columns, Mapping):
        own: Any = {name: copied(column) for name, column in columns.items()}
    else:
        own = [copied(column) for column in columns]
    player = partial(TurnContext, executor.at_once, step, trace, ids)
    champion, shadow = Champion(step.name, answer, len(ids)), executor.shadows[step.path, member.name]

    def play() -> Answer:
        found = drive(player().call(member.uses, own, len(ids), None, member.name))
        shadow.compare(champion.agreement(found))
        return found

    return play
