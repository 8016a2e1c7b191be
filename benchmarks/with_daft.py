"""The jobs with Daft: every model in one class, two copies of it in threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import daft
import pyarrow as pa

from benchmarks.jobs import Job
from benchmarks.loops import CALL_ROWS, Models, play

__all__ = ["run"]

BATCH_ROWS = 2048
COPIES = 2
ANSWER = daft.DataType.struct({"label": daft.DataType.int64(), "score": daft.DataType.float32()})


class _Player:
    """Plays a whole batch, like the hand-written loop."""

    def __init__(self, job: str, models: tuple[str, ...]) -> None:
        self._job, self._models = job, Models(models, 1, CALL_ROWS)

    @daft.method.batch(return_dtype=ANSWER, batch_size=BATCH_ROWS, unnest=True)
    def answer(self, *columns: daft.Series) -> Any:
        names = ("image", "kind")[: len(columns)]
        arrays = {name: _whole(column.to_arrow()) for name, column in zip(names, columns, strict=True)}
        image = arrays["image"]
        batch = pa.record_batch({"id": pa.nulls(len(image), pa.int64()), **arrays})
        found = play(self._job, self._models, batch)
        return pa.StructArray.from_arrays([found.column("label"), found.column("score")], names=["label", "score"])


@daft.func.batch(return_dtype=daft.DataType.int64())
def _identity(value: daft.Series) -> Any:
    return value.to_arrow()


def _whole(array: Any) -> Any:
    """One array, of a type that the loops know."""
    whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if pa.types.is_large_binary(whole.type):
        return whole.cast(pa.binary())
    return whole.cast(pa.string()) if pa.types.is_large_string(whole.type) else whole


def run(job: Job, sources: Sequence[str], output: str) -> None:
    """Write a folder of Parquet files."""
    frame = daft.read_parquet(list(sources)).select(*job.columns)
    if job.name == "tiny":
        answered = frame.select("id", _identity(frame["value"]).alias("answer"))
    else:
        player = daft.cls(_Player, use_process=False, max_concurrency=COPIES)(job.name, job.models)
        columns = [frame[name] for name in ("image", "kind") if name in job.columns]
        answered = frame.select(frame["id"], player.answer(*columns))
    answered.write_parquet(output, compression="zstd", write_mode="overwrite")
