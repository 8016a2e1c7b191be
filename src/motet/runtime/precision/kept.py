"""What was settled, by what it depends on: a small file each in `precisions` in the cache folder, and quantized models beside them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from motet.errors import ModelLoadError
from motet.models.onnx_precision import quantized_path
from motet.system.locks import wait_for_lock
from motet.system.whole_files import write_whole

__all__ = ["KeptPrecisions"]

MOST, MOST_MODELS = 1000, 64
"""Files that are kept: of what was settled, and models in int8. Beyond them those go that were used longest ago."""
DAY_S = 24 * 3600.0
"""Models that were used within so long stay."""
LONGEST_S = 3600.0
"""How long somebody else may take to settle the same."""


class KeptPrecisions:
    """What was settled on this machine; any process may use it."""

    def __init__(self) -> None:
        self._folder = Path(quantized_path(""))

    def get(self, key: str) -> dict[str, Any] | None:
        """What was settled under a key; None where it was not, or its quantized model is gone."""
        found = _read(self._file(key))
        name = found and found["options"].get("quantized")
        if found is None or (name and not (self._folder / name).is_file()):
            return None
        for path in (self._file(key), *([self._folder / name] if name else ())):
            with suppress(OSError):  # of another user, or of a disk that is only read: nothing is swept there
                os.utime(path)
        return found

    def put(self, key: str, found: Mapping[str, Any]) -> None:
        """Keep what was settled.

        Raises:
            ModelLoadError: when that cannot be: processes of one run could settle it otherwise.
        """
        with self._keeping():
            write_whole(self._file(key), json.dumps(found, indent=1).encode())
            self._sweep()

    def put_model(self, made: bytes) -> str:
        """Keep a quantized model.

        Returns:
            Its name; the same bytes have the same.

        Raises:
            ModelLoadError: when that cannot be.
        """
        name = f"{hashlib.sha256(made).hexdigest()[:32]}.onnx"
        with self._keeping():
            write_whole(self._folder / name, made)
        return name

    def find(self, digest: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
        """The latest of what was settled so for the model with this digest."""
        found = [each for path in self._folder.glob("*.json") if (each := _read(path)) is not None]
        alike = [each for each in found if each["model"] == digest and each["options"] == dict(options)]
        return max(alike, key=lambda each: float(each["at"]), default=None)

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Nobody else of this machine settles the same meanwhile.

        Raises:
            ModelLoadError: when somebody else takes too long, or the folder cannot be written to.
        """
        path = str(self._folder / f"{key}.lock")
        with self._keeping():
            self._folder.mkdir(parents=True, exist_ok=True)
            held = wait_for_lock(path, LONGEST_S)
        if held is None:
            what = f"another process has been settling this precision for {LONGEST_S:g} s"
            raise ModelLoadError(what, where=path, hint="see what it does, or say a precision that leaves nothing open")
        try:
            yield
        finally:
            with suppress(OSError):
                os.unlink(path)
            os.close(held)

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = f"what is settled cannot be kept: {error.strerror} ({error.filename})"
            hint = "set MOTET_CACHE_DIR to a folder that can be written to, or say the precision: f32 or bf16"
            raise ModelLoadError(what, hint=hint) from error

    def _sweep(self) -> None:
        for pattern, most in (("*.json", MOST), ("*.onnx", MOST_MODELS)):
            for changed, path in sorted(map(_used, self._folder.glob(pattern)))[:-most]:
                if pattern == "*.json" or changed < time.time() - DAY_S:
                    path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    """What a file keeps; None where there is none, or it is damaged."""
    try:
        found = json.loads(path.read_bytes())
        whole = isinstance(found["options"], dict) and isinstance(found["told"], list)
        whole &= isinstance(found["model"], str) and isinstance(found["at"], float)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return found if whole else None


def _used(path: Path) -> tuple[float, Path]:
    try:
        return path.stat().st_mtime, path
    except OSError:
        return 0.0, path
