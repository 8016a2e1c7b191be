"""Beam, for whole jobs: a split is an element, which a runner may bundle, retry and speculate on as it likes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, TypeVar

from motet.engines.beam.hints import hints_of
from motet.engines.splits.engine import EngineOptions, SplitEngine, imported, needed
from motet.errors import InputError
from motet.models.beam import quiet
from motet.runtime.resources.need import Need
from motet.tracebacks import said

__all__ = ["BeamEngine"]

T = TypeVar("T")
R = TypeVar("R")

LOCAL = ("direct", "switchingdirect", "bundlebaseddirect", "testdirect", "fnapi", "prism", "interactive")
"""Runners that have no options but those of Beam's parser; a service has others, of which nothing is known here."""


class BeamEngine(SplitEngine):
    """Runs splits as a pipeline of Beam, on the runner that its options name.

    Args:
        arguments: Beam's pipeline options, such as `--runner FlinkRunner`; and `--split-bytes`.
    """

    name = "beam"

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        with quiet():
            self._beam = imported("apache_beam", self.name)
        own = EngineOptions(self.name)
        found, self._arguments = own.parse_known_args(arguments)
        self.split_bytes, self.one_stage = found.split_bytes, found.one_stage
        self._accelerated = False
        with quiet():
            self._options().get_all_options(add_extra_args_fn=lambda parser: _check(parser, own, self._arguments))

    @contextmanager
    def connected(self, needs: Sequence[Need] = ()) -> Iterator[None]:
        """See `SplitEngine.connected`; a runner begins with its pipeline.

        Raises:
            InputError: when the options name no runner, or are not all that it needs.
        """
        try:
            self._beam.Pipeline(options=self._options())
        except (ValueError, TypeError, ImportError, AttributeError) as error:
            what = " ".join(said(error).split())
            raise InputError(what, where="engine beam", hint="mend the options behind --") from error
        self._accelerated = any(need.accelerator for need in needs)
        yield

    def hints(self, need: Need) -> Mapping[str, str]:
        """See `SplitEngine.hints`."""
        return hints_of(need)

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """See `SplitEngine.map`; a pipeline brings no results back."""
        from motet.engines.beam.workers import watch_workers  # needs Beam

        watch_workers()
        beam, options, need = self._beam, self._options(), needed(function)
        given = {each.partition("=")[0]: each for each in options.get_all_options()["resource_hints"] or ()}
        if self._accelerated and not need.accelerator:  # what is said of accelerators is of other stages
            given.pop("accelerator", None)
            options = self._options(resource_hints=list(given.values()))
        hints = {name: hint for name, hint in hints_of(need).items() if name not in given}
        with beam.Pipeline(options=options) as pipeline:
            play = beam.Map(function).with_resource_hints(**hints)
            _ = pipeline | beam.Create(list(items)) | beam.Reshuffle() | "Play splits" >> play
        return iter(())

    def _options(self, **others: Any) -> Any:
        return self._beam.options.pipeline_options.PipelineOptions(self._arguments, **others)


def _check(parser: Any, own: EngineOptions, arguments: Sequence[str]) -> None:
    """See that options are known to Beam, which itself only warns of others.

    Raises:
        InputError: when one is not, or has a value that it cannot have.
    """
    parser.error = _refuse
    found, left = parser.parse_known_args(arguments)
    runner = (found.runner or "DirectRunner").lower().removesuffix("runner")
    names = {name.replace("_", "-"): name for each in (parser, own) for name in each._option_string_actions}
    for option in (each.partition("=")[0] for each in left):
        near = get_close_matches(option.replace("_", "-"), names, 1, 0.8) if option.startswith("-") else []
        if near or runner in LOCAL:
            there = "--split-bytes is ours; `motet run ... --engine beam -- --help` shows those of Beam"
            _refuse(f"unknown option {option}", f"did you mean {names[near[0]]}?" if near else there)


def _refuse(what: str, hint: str = "") -> None:
    raise InputError(what, where="engine beam", hint=hint)
