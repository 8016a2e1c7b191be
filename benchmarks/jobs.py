"""The jobs that all candidates do, and the files that they read.

Every job goes from Parquet to Parquet. The pictures' jobs give `id`, `label` (int64) and `score` (float32); the tiny
job gives `id` and `answer` (int64).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = [
    "CONFIDENCE",
    "JOBS",
    "MODELS",
    "ROUTES",
    "WEIGHTS",
    "Job",
    "Storage",
    "images_file",
    "repeated",
    "tiny_file",
]

Storage = Literal["tensor", "binary"]

FASHION: Final = Path(__file__).resolve().parent.parent / "examples" / "fashion"
MODELS: Final = {name: str(FASHION / "models" / f"{name}.onnx") for name in ("linear", "mlp", "cnn")}
WEIGHTS: Final = {"linear": 0.2, "mlp": 0.3, "cnn": 0.5}
ROUTES: Final = {"app": "linear", "web": "mlp", "store": "cnn"}
CONFIDENCE: Final = 0.9
IMAGE_ROWS: Final = 60_000
TINY_ROWS: Final = 1_000_000
ROW_GROUP_ROWS: Final = 8192


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
        name: its name.
        rows: rows of its input.
        models: the models it uses.
        columns: the columns it needs.
    """

    name: str
    rows: int
    models: tuple[str, ...]
    columns: tuple[str, ...]


JOBS: Final = {
    job.name: job
    for job in (
        Job("ensemble", IMAGE_ROWS, ("linear", "mlp", "cnn"), ("id", "image")),
        Job("cascade", IMAGE_ROWS, ("linear", "cnn"), ("id", "image")),
        Job("keyed", IMAGE_ROWS, ("linear", "mlp", "cnn"), ("id", "kind", "image")),
        Job("tiny", TINY_ROWS, (), ("id", "value")),
    )
}


def images_file(folder: Path, storage: Storage, rows: int = IMAGE_ROWS) -> Path:
    """The Fashion-MNIST training split as Parquet, written when it is not there yet.

    Args:
        folder: where it is kept.
        storage: `tensor`, images as Arrow's fixed-shape tensors; `binary`, as 784 plain bytes.
        rows: how many, from the first.
    """
    path = folder / f"fashion-{storage}-{rows}.parquet"
    if not path.exists():
        tensors = path if storage == "tensor" else path.with_suffix(".tensor")
        _write_tensors(tensors, rows)
        if storage == "binary":
            _written(path, lambda part: _write_binary(tensors, part))
            tensors.unlink()
    return path


def _write_tensors(path: Path, rows: int) -> None:
    sys.path.insert(0, str(FASHION))
    try:
        from data import write_parquet  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(FASHION))
    write_parquet(path, "train", rows)


def _write_binary(source: Path, path: Path) -> None:
    table = pq.read_table(source)
    images = table["image"].combine_chunks()
    images = images.chunk(0) if isinstance(images, pa.ChunkedArray) else images
    flat = images.to_numpy_ndarray().reshape(len(images), -1)
    column = pa.array([row.tobytes() for row in flat], pa.binary())
    table = table.set_column(table.schema.get_field_index("image"), "image", column)
    pq.write_table(table, path, compression="zstd", row_group_size=ROW_GROUP_ROWS)


def tiny_file(folder: Path, rows: int = TINY_ROWS) -> Path:
    """Two int64 columns, `id` and `value`, written when they are not there yet."""
    path = folder / f"tiny-{rows}.parquet"
    if not path.exists():
        values = np.random.default_rng(0).integers(0, 1 << 40, rows)
        table = pa.table({"id": np.arange(rows), "value": values})
        _written(path, lambda part: pq.write_table(table, part, compression="zstd", row_group_size=65_536))
    return path


def _written(path: Path, write: Callable[[Path], None]) -> None:
    part = path.with_suffix(".part")
    write(part)
    os.replace(part, path)


def repeated(path: Path, times: int) -> list[Path]:
    """A file many times, each under a name of its own (hard links), so that no disk is filled and no reader skips one."""
    folder = path.with_suffix(f".x{times}")
    folder.mkdir(exist_ok=True)
    return list(_links(path, folder, times))


def _links(path: Path, folder: Path, times: int) -> Iterable[Path]:
    for place in range(times):
        link = folder / f"part-{place:05d}.parquet"
        if not link.exists():
            os.link(path, link)
        yield link
