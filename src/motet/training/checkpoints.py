"""Checkpoints: what a training needs to go on, written whole or not at all."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Checkpoints"]

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
        """Write what there is after `step` steps; older ones than the last two go.

        Args:
            step: steps done.
            state: tensors, numbers, strings, lists and dicts of them.
        """
        import torch

        self.folder.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=".writing-", dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save(dict(state), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.folder / f"{step:012}.pt")
        except BaseException:
            os.unlink(part)
            raise
        for old in self._files()[_KEPT:]:
            old.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The newest that can be read, its tensors on the CPU; None where there is none."""
        import torch

        for path in self._files():
            try:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile):
                continue  # damaged on its disk: the one before it is good enough
            return state
        return None

    def begin(self) -> None:
        """Remove what an interrupted writer left, and the trainings that nobody wrote to for longest."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in self.folder.glob(".writing-*"):
            part.unlink(missing_ok=True)
        others = [each for each in self.folder.parent.iterdir() if each.is_dir() and each != self.folder]
        others.sort(key=lambda each: each.stat().st_mtime, reverse=True)
        for old in others[_KEPT_TRAININGS - 1 :]:
            shutil.rmtree(old, ignore_errors=True)

    def clear(self) -> None:
        """Remove all of this training."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.pt"), reverse=True) if self.folder.is_dir() else []
