"""The functions of `ensemble.yaml` and `cascade.yaml`."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt

import motet as mt

LABELS: Final = Path(__file__).parent / "models" / "labels.json"


@functools.cache
def labels() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, in order."""
    return tuple(json.loads(LABELS.read_text(encoding="utf-8")))


@mt.returns("string")
def name(index: npt.NDArray[Any]) -> list[str]:
    """The names of classes, whose numbers are int64, shape `[rows]`."""
    known = labels()
    return [known[number] for number in index.tolist()]
