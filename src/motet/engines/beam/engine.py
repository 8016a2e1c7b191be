"""Beam, for whole jobs: a split is an element, which a runner may bundle, retry and speculate on as it likes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TypeVar

from motet.engines.splits.engine import EngineOptions, SplitEngine, imported
from motet.errors import InputError

__all__ = ["BeamEngine"]

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what Beam says, as it begins, of clients of stores that are not installed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class BeamEngine(SplitEngine):
    """Runs splits as a pipeline of Beam, on the runner that its options name.

    Args:
        arguments: Beam's pipeline options, such as `--runner FlinkRunner`; and `--split-bytes`.
    """

    name = "beam"

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        with _quiet():
            self._beam = imported("apache_beam", self.name)
        found, self._arguments = EngineOptions(self.name).parse_known_args(arguments)
        self.split_bytes = found.split_bytes
        for name in (each.partition("=")[0] for each in self._arguments if each.startswith("--")):
            if get_close_matches(name.replace("_", "-"), ["--split-bytes"], cutoff=0.8):  # Beam would pass over it
                raise InputError(f"unknown option {name}", where="engine beam", hint="did you mean --split-bytes?")

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """See `SplitEngine.map`; a pipeline brings no results back."""
        beam = self._beam
        options = beam.options.pipeline_options.PipelineOptions(self._arguments)
        with beam.Pipeline(options=options) as pipeline:
            _ = pipeline | beam.Create(list(items)) | beam.Reshuffle() | "Play splits" >> beam.Map(function)
        return iter(())
