"""The stages of a graph as engines cut them, with what a row takes in each, by a profile."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from motet.engines.needs import need_of
from motet.engines.stages import LEFT, Stage, stages_of
from motet.graph.capacity import Resources
from motet.graph.check import CheckedGraph
from motet.models.registry import is_address
from motet.planning.capacity.profile import GraphProfile, ModelProfile
from motet.runtime.resources.need import Need

__all__ = ["StageWork", "memory_hints", "rounded_up", "with_hints", "works_of"]

LEAST_BYTES = 256 << 20
"""Hints of memory are this or the next power of two, so that models of about the same size stay in one stage."""


@dataclass(frozen=True)
class StageWork:
    """A stage, and what a row takes in it.

    Attributes:
        name: `1 of 2`, or `whole`.
        nodes: that are played.
        need: what a process that plays it must have.
        seconds: of a row, in a thread that plays.
        read_seconds, write_seconds: of a row, in the threads that read and write: from the source or what the stage before left, and to
            the output or for the next.
        accelerator_seconds: of a row, on an accelerator.
        load_seconds: of its models, in each process.
        batch_bytes: memory that each thread takes beside the need; 0 where the graph says what is needed.
        batch_rows: rows of a batch.
        profile: that it is of.
    """

    name: str
    nodes: tuple[str, ...]
    need: Need
    seconds: float
    read_seconds: float = 0.0
    write_seconds: float = 0.0
    accelerator_seconds: float = 0.0
    load_seconds: float = 0.0
    batch_bytes: float = 0.0
    batch_rows: int = 1
    profile: GraphProfile | None = None

    @property
    def all_seconds(self) -> float:
        """Of a row, in all threads."""
        return self.seconds + self.read_seconds + self.write_seconds

    def slowed(self, threads: float) -> float:
        """See `GraphProfile.slowed`."""
        return 1.0 if self.profile is None else self.profile.slowed(threads)


def works_of(checked: CheckedGraph, profile: GraphProfile, *, one: bool = False) -> list[StageWork]:
    """The stages of a graph, in the order of play.

    Args:
        checked: the graph, with the hints that engines are to go by.
        profile: of it; nodes that it does not know take no time.
        one: whether the graph is not cut.
    """
    stages = stages_of(checked, one=one)
    passed = [_passed_bytes(stage, profile) for stage in stages[1:]]
    return [_work(stages, place, profile, passed) for place in range(len(stages))]


def _work(stages: Sequence[Stage], place: int, profile: GraphProfile, passed: Sequence[float]) -> StageWork:
    stage, first, last = stages[place], place == 0, place == len(stages) - 1
    names = stage.checked.order
    known = {node.name: node for node in profile.nodes}
    nodes = [known[name] for name in names if name in known]
    half = profile.handover_seconds / 2
    elsewhere = sum(node.accelerator_seconds for node in nodes) if stage.need.accelerator else 0.0
    need, batch_bytes = _need(stage, profile)
    models = [each for each in profile.models if each.name in stage.checked.graph.models and not each.elsewhere]
    return StageWork(
        name="whole" if len(stages) == 1 else f"{place + 1} of {len(stages)}",
        nodes=tuple(names),
        need=need,
        seconds=sum(node.seconds for node in nodes) - elsewhere + profile.convert_seconds / len(stages),
        read_seconds=profile.read_seconds if first else half * passed[place - 1],
        write_seconds=profile.write_seconds if last else half * passed[place],
        accelerator_seconds=elsewhere,
        load_seconds=sum(each.load_seconds for each in models),
        batch_bytes=batch_bytes,
        batch_rows=profile.batch_rows,
        profile=profile,
    )


def _need(stage: Stage, profile: GraphProfile) -> tuple[Need, float]:
    """What a process must have, and each of its threads beside: what the graph says where it says it of all models, else what was seen."""
    need, models = stage.need, stage.checked.graph.models
    here = [model for model in models.values() if not is_address(model.uri)]
    if here and all(model.resources.memory_bytes for model in here):
        return need, 0.0
    seen = {each.name: each.memory_bytes for each in profile.models}
    measured = {name: seen.get(name, 0) for name, model in models.items() if not model.resources.memory_bytes}
    filled = with_hints(stage.checked, {name: Resources(memory_bytes=size) for name, size in measured.items()})
    memory = profile.base_bytes + need_of(filled).memory_bytes
    return replace(need, memory_bytes=memory), float(profile.batch_bytes)


def with_hints(checked: CheckedGraph, hints: Mapping[str, Resources]) -> CheckedGraph:
    """A graph whose models ask for other resources; nothing else of it changes."""
    models = {
        name: replace(model, resources=_merged(model.resources, hints[name])) if name in hints else model
        for name, model in checked.graph.models.items()
    }
    return replace(checked, graph=checked.graph.changed(models=models))


def _merged(said: Resources, hint: Resources) -> Resources:
    """What a graph says, and for what it does not say the hint."""
    return Resources(
        cpu=hint.cpu if said.cpu == 1.0 else said.cpu,
        memory_bytes=said.memory_bytes or hint.memory_bytes,
        accelerator=said.accelerator or hint.accelerator,
    )


def memory_hints(checked: CheckedGraph, profile: GraphProfile) -> dict[str, Resources]:
    """For each model of the graph that says nothing of memory what it was seen to take, with the process, rounded up."""
    found = {each.name: each for each in profile.models}
    return {
        name: Resources(memory_bytes=rounded_up(_grown(found[name], profile)))
        for name, model in checked.graph.models.items()
        if name in found and found[name].memory_bytes and not model.resources.memory_bytes and not is_address(model.uri)
    }


def _grown(model: ModelProfile, profile: GraphProfile) -> int:
    return model.memory_bytes + profile.base_bytes + profile.batch_bytes


def rounded_up(size: float) -> int:
    """The next power of two, `LEAST_BYTES` at least."""
    return max(LEAST_BYTES, 1 << math.ceil(math.log2(max(1.0, size))))


def _passed_bytes(stage: Stage, profile: GraphProfile) -> float:
    """Bytes of a row that a stage is given: its columns, and those that are only written in the end."""
    return profile.kept_bytes + sum(profile.column_bytes.get(name, 0.0) for name in _columns(stage))


def _columns(stage: Stage) -> Iterator[str]:
    graph = stage.checked.graph
    for name, column in graph.stored.items():
        yield column.removeprefix(LEFT) if column.startswith(LEFT) else name
