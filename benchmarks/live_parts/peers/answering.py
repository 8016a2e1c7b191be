"""What every peer does with a request, and how it is told what to do."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

__all__ = ["IMAGE_BYTES", "WEIGHTS", "Images", "Models", "Tick", "images_of", "options", "packed"]

Images = npt.NDArray[np.uint8]
Answers = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]

FOLDER: Final = Path(__file__).resolve().parents[3] / "examples" / "fashion" / "models"
WEIGHTS: Final = {"mlp": {"mlp": 1.0}, "ensemble": {"linear": 0.1, "mlp": 0.2, "cnn": 0.7}}
"""The models of a job, and what each counts."""
IMAGE_BYTES: Final = 784
CALL_ROWS: Final = 32
"""Rows of a call of the cnn, which is slower a row with more."""


class Models:
    """The models of a job, each with one thread.

    Args:
        job: a key of WEIGHTS.
    """

    def __init__(self, job: str) -> None:
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        self._weights = {name: np.float32(weight) for name, weight in WEIGHTS[job].items()}
        self._sessions = {
            name: ort.InferenceSession(str(FOLDER / f"{name}.onnx"), settings, providers=["CPUExecutionProvider"])
            for name in self._weights
        }

    def __call__(self, images: Images) -> Answers:
        """Labels int64 [N] and scores float32 [N] of images uint8 [N, 28, 28]."""
        pixels = np.multiply(images, np.float32(1 / 255), dtype=np.float32)
        if len(self._sessions) == 1:
            (name,) = self._sessions
            scores = self._played(name, pixels)
        else:
            scores = sum(self._played(name, pixels) * weight for name, weight in self._weights.items())
        labels = scores.argmax(axis=1)
        return labels, scores[np.arange(len(labels)), labels]

    def _played(self, name: str, pixels: npt.NDArray[np.float32]) -> Any:
        run = self._sessions[name].run
        if name != "cnn" or len(pixels) <= CALL_ROWS:
            return run(None, {"image": pixels})[0]
        starts = range(0, len(pixels), CALL_ROWS)
        return np.concatenate([run(None, {"image": pixels[start : start + CALL_ROWS]})[0] for start in starts])


class Tick:
    """Plays all requests that came in one tick of the loop as one batch.

    Args:
        models: plays them.
        call_soon: the loop's.
    """

    def __init__(self, models: Models, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._models, self._call_soon = models, call_soon
        self._waiting: list[tuple[Images, Callable[[Any, Any], None]]] = []

    def put(self, images: Images, answered: Callable[[Any, Any], None]) -> None:
        """Play images in this tick, then call `answered(labels, scores)`."""
        if not self._waiting:
            self._call_soon(self._play)
        self._waiting.append((images, answered))

    def _play(self) -> None:
        batch, self._waiting = self._waiting, []
        labels, scores = self._models(np.concatenate([images for images, _ in batch]))
        start = 0
        for images, answered in batch:
            end = start + len(images)
            answered(labels[start:end], scores[start:end])
            start = end


def images_of(data: bytes | list[int]) -> Images:
    """The images uint8 [N, 28, 28] of a binary body, or of the numbers of a JSON body."""
    return np.frombuffer(bytes(data), np.uint8).reshape(-1, 28, 28)  # a list of small numbers is soonest an array so


def packed(labels: Any, scores: Any) -> bytes:
    """The binary answer."""
    found: bytes = labels.tobytes() + scores.tobytes()
    return found


def options() -> argparse.Namespace:
    """What the command line asks.

    `port` of loopback; `job`, a key of WEIGHTS; `encoding` that will be asked for; `wait_ms`, how long a batch may wait,
    0 for none; `workers`, processes that play models; `tick`, whether requests of one tick of the loop are one batch. A peer
    takes heed of what it knows.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--job", choices=tuple(WEIGHTS), required=True)
    parser.add_argument("--encoding", choices=("binary", "json"), required=True)
    parser.add_argument("--wait-ms", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--tick", action="store_true")
    return parser.parse_args()
