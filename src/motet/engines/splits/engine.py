"""What an engine for a cluster is: it calls a function for every task, at least once; the rest is here."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from motet.engines.local.prepared import prepared
from motet.engines.needs import PLAIN
from motet.engines.shipping import check_shipped
from motet.engines.splits.run import SplitRun, check_options, connected
from motet.engines.stages import Stage, stages_of
from motet.errors import GraphError, InputError
from motet.graph.check import CheckedGraph
from motet.graph.fields import read_bytes
from motet.runtime.resources.need import Need
from motet.system import extras

if TYPE_CHECKING:
    from motet.engines.local.estimate import Estimate
    from motet.engines.local.report import RunReport

__all__ = ["SPLIT_BYTES", "EngineOptions", "SplitEngine", "imported", "needed"]

T = TypeVar("T")
R = TypeVar("R")

SPLIT_BYTES = 16 << 20
"""What a split has at most, where the source can be cut so."""


class SplitEngine(ABC):
    """An engine whose workers read, play and write splits of a source by themselves.

    Its workers have the same packages as this process, and reach the input, the output and the models.

    Args:
        arguments: the engine's own options, as they stand behind `--` in `motet run`.

    Attributes:
        name: what people call it.
        split_bytes: what a split has at most.
        one_stage: whether a graph is played as one stage, whatever its models ask for.
    """

    name = "splits"
    split_bytes: int = SPLIT_BYTES
    one_stage: bool = False

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        if arguments:
            raise InputError(f"takes no options of its own; got {' '.join(arguments)}", where=f"engine {self.name}")

    def connected(self, needs: Sequence[Need] = ()) -> AbstractContextManager[None]:
        """What lasts while tasks are mapped, begun before anything is written: by itself nothing.

        Args:
            needs: what workers must have for what will be mapped.

        Raises:
            InputError: when the engine cannot do what its options ask for, or workers cannot have that.
        """
        return nullcontext()

    @abstractmethod
    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Call a function for each item in workers, and give what it returns, in any order.

        It may be called again for an item, also while another call for it goes on; a worker that dies costs its call. An engine
        that cannot bring results back gives none: then they are read where the function left them.

        Args:
            function: pickles, and keeps what it loads in its process, for the next call there. What a worker must have for a
                call is `needed(function)`.
            items: pickle.
        """

    def hints(self, need: Need) -> Mapping[str, Any]:
        """What the engine's scheduler is told that a worker must have, by its own names; by itself nothing."""
        return {}

    def stages(self, checked: CheckedGraph) -> list[Stage]:
        """The stages that a graph is played in."""
        return stages_of(checked, one=self.one_stage)

    def run(self, checked: CheckedGraph, source: Any, output: str, **options: Any) -> RunReport:
        """Play every row of a source and write the answers.

        Args:
            checked: the graph.
            source: what `motet.io.open_source` takes, and workers can read by themselves.
            output: a folder, which has a part for each split, or a file, which is put together last.
            options: the fields of `BulkOptions`, but for what needs one process.

        Raises:
            InputError: when the source, the output or an option cannot be used.
            RunError: when the run could not go on; what is finished is kept, and `resume` goes on from there.
        """
        check_options(self.name, options)
        with prepared(checked, source, output, options) as run:
            return SplitRun(run, self.name, self.connected, self.map, self.split_bytes, one_stage=self.one_stage).play()

    def estimate(self, checked: CheckedGraph, source: Any, output: str, **options: Any) -> Estimate:
        """Check what a run checks, and play its first rows in this process to tell what they would take here.

        Args and errors are those of `run`.
        """
        from motet.engines.local.dry_run import dry_run  # few runs are dry

        check_options(self.name, options)
        with (
            prepared(checked, source, output, options) as run,
            connected(self.name, partial(self.connected, [stage.need for stage in self.stages(checked)])),
        ):
            if run.options.ship:
                check_shipped(checked, run.host.resolver)
            return dry_run(run)


def needed(function: Callable[..., Any]) -> Need:
    """What a worker must have while it calls a function that is mapped: cores, bytes of memory, accelerators."""
    found: Need = getattr(function, "need", PLAIN)
    return found


def imported(module: str, engine: str) -> Any:
    """Import what an engine needs; the extra that brings it is called as the engine is.

    Raises:
        MissingExtraError: when it is not installed.
    """
    package = module.partition(".")[0].replace("_", "-")
    return extras.imported(module, package, engine, f"the engine {engine}")


class EngineOptions(argparse.ArgumentParser):
    """Reads an engine's own options: `--split-bytes 16MiB`, `--one-stage`, and what the engine adds.

    Args:
        engine: the engine's name.
    """

    def __init__(self, engine: str) -> None:
        super().__init__(prog=f"motet run --engine {engine} --", add_help=False, allow_abbrev=False)
        self._engine = engine
        self.add_argument("--split-bytes", type=_bytes, default=SPLIT_BYTES)
        self.add_argument("--one-stage", action="store_true")

    def error(self, message: str) -> Any:
        """Tell of an option that is wrong.

        Raises:
            InputError: always.
        """
        known = " ".join(self.format_usage().partition("-- ")[2].split())
        raise InputError(message, where=f"engine {self._engine}", hint=f"known: {known}")


def _bytes(text: str) -> int:
    try:
        found = int(text) if text.isdecimal() else read_bytes(text, "")
    except GraphError:
        found = 0
    if not found:
        raise argparse.ArgumentTypeError(f"invalid: {text!r} is no number of bytes, such as 16MiB, of 1 or more")
    return found
