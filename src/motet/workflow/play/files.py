"""Which files the results of a run are: two steps may return the same path, and each consumer gets what it depends on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from motet.system.folders import files_below
from motet.system.places import file_name
from motet.workflow.memo.checkout import Checkout

if TYPE_CHECKING:
    from motet.workflow.play.state import StepState

__all__ = ["Files"]

_TICK_S = 0.02


@dataclass(frozen=True, slots=True)
class _Claim:
    """A step's result at a path: its content, and when the step ran, where it has written it."""

    state: StepState
    content: str
    began: float
    ended: float


class Files:
    """The paths at which the results of a run belong. Its methods may be called from any thread.

    Args:
        folder: the folder of the run, where copies go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._claims: dict[str, dict[str, _Claim]] = {}
        self._refused: set[str] = set()
        self._lock = Lock()

    def checkout(self, step: str = "", *, all_apart: bool = False) -> Checkout:
        """Where a step finds files of results; without one, where whoever asks for the run's output does."""
        with self._lock:
            contested = frozenset(path for path in self._claims if self._is_contested(path))
        where = self._folder / "files" / file_name(step) if step else self._folder / "output"
        return Checkout(str(where), contested, all_apart)

    def claim(
        self, state: StepState, contents: dict[str, str], began: float = 0.0, ended: float = 0.0
    ) -> Iterator[tuple[str, StepState]]:
        """Note where the files of a step's result belong.

        Args:
            state: the step.
            contents: digests by path.
            began, ended: when the step ran, seconds since 1970, if it did.

        Returns:
            Paths that another step has written while this one did, with that step: whose content it is is not known.
        """
        for name, content in contents.items():
            path = os.path.abspath(name)
            written = ended > 0 and _written(path) >= began - _TICK_S
            mine = _Claim(state, content, began if written else 0.0, ended if written else 0.0)
            with self._lock:
                claims = self._claims.setdefault(path, {})
                others = [each for step, each in claims.items() if step != state.id]
                claims[state.id] = mine
            for each in others:
                if written and each.ended > began and each.began < ended:
                    self._refused.add(each.state.id)
                    yield name, each.state

    def is_refused(self, state: StepState) -> bool:
        """Whether a file of a step's result was written by another one while it ran, so that nothing of it is kept."""
        return state.id in self._refused

    def is_contested(self, path: str, running: list[StepState]) -> bool:
        """Whether more than one result belongs at a path, or a function that has returned it runs."""
        with self._lock:
            path = os.path.abspath(path)
            functions = {claim.state.node.step.function for claim in self._claims.get(path, {}).values()}
            return self._is_contested(path) or any(each.node.step.function in functions for each in running)

    def _is_contested(self, path: str) -> bool:
        return len({claim.content for claim in self._claims.get(path, {}).values()}) > 1

    def close(self) -> None:
        """Remove the copies that steps had."""
        shutil.rmtree(self._folder / "files", ignore_errors=True)


def _written(path: str) -> float:
    """When a file, or the last one in a folder, was written, seconds since 1970; 0 where it is gone."""
    try:
        paths = list(files_below(path).values()) if os.path.isdir(path) else [path]
        return max((os.stat(each).st_mtime for each in paths), default=0.0)
    except OSError:
        return 0.0
