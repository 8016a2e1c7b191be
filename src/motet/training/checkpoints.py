"""Checkpoints: what a training needs to go on, written whole or not at all."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from motet.errors import TrainingError
from motet.system.places import changed_at
from motet.system.whole_files import beside

__all__ = ["Checkpoints", "read"]

_logger = logging.getLogger("motet.training")
_KEPT = 2
_KEPT_TRAININGS = 4


class Checkpoints:
    """The checkpoints of one training: `FOLDER/TRAINING/STEP.pt`, the last two.

    One process writes. A file is synced and renamed, so a reader finds whole ones alone.

    Args:
        folder: may be shared by trainings; the four that were written to last are kept.
        training: a digest of what is trained and how; other trainings' checkpoints are never read.
    """

    def __init__(self, folder: str | os.PathLike[str], training: str) -> None:
        self.folder = Path(folder).absolute() / training

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write what there is after `step` steps, and see that it can be read; older ones than the last two go.

        Args:
            step: steps done.
            state: tensors, arrays, numbers, strings, lists and dicts of them.

        Raises:
            OSError: when it cannot be written.
            Exception: of torch, when it could not be read again; the ones before stay.
        """
        import torch

        self.folder.mkdir(parents=True, exist_ok=True)
        with beside(self.folder / f"{step:012}.pt") as part:
            with open(part, "wb", opener=partial(os.open, mode=0o600)) as file:
                torch.save(dict(state), file)
                file.flush()
                os.fsync(file.fileno())
            _check(part)
        for old in self._files()[_KEPT:]:
            old.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The newest that can be read, its tensors on the CPU; None where there is none.

        Raises:
            TrainingError: when there are some, and none can be read.
        """
        unread: list[str] = []
        for path in self._files():
            try:
                state: dict[str, Any] = read(path)
            except Exception as error:  # noqa: BLE001  what is damaged may raise anything
                unread.append(f"{path.name}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
                continue
            if unread:
                _logger.warning("checkpoint %s cannot be read; going on from %s", "; ".join(unread), path.name)
            return state
        if unread:
            raise TrainingError(
                f"none of the {len(unread)} checkpoints can be read: {'; '.join(unread)}",
                where=str(self.folder),
                hint="put back what was there, or remove the folder to begin anew",
            )
        return None

    def begin(self) -> None:
        """Remove what an interrupted writer left, and the trainings that nobody wrote to for longest."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in self.folder.glob(".new-*"):
            part.unlink(missing_ok=True)
        others = [each for each in self.folder.parent.iterdir() if each.is_dir() and each != self.folder]
        others.sort(key=changed_at, reverse=True)
        for old in others[_KEPT_TRAININGS - 1 :]:
            shutil.rmtree(old, ignore_errors=True)

    def clear(self) -> None:
        """Remove all of this training."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.pt"), reverse=True) if self.folder.is_dir() else []


def _check(path: str) -> None:
    """See that a file can be read, without reading its tensors where the file system lets it be mapped."""
    try:
        read(path, mmap=True)
    except Exception:  # noqa: BLE001  what cannot be mapped is read, and what cannot be read says so now
        read(path)


def read(file: Any, *, mmap: bool = False) -> Any:
    """What torch has written, its tensors on the CPU. Nothing but data is made from it: no code of a pickle runs.

    Args:
        file: a path, or a file that is open.
        mmap: leave the tensors of a path on the disk until they are looked at.
    """
    import torch

    kinds = {type(np.dtype(kind)) for kind in np.sctypeDict.values()}
    arrays = [np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0], np.ndarray, np.dtype, *kinds]
    with torch.serialization.safe_globals(arrays):
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
