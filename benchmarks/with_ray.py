"""The jobs with Ray Data: every model in one class of actors, read and written by Ray; and Motet on Ray."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import ray

import motet.engines.ray.engine  # noqa: F401  (what a run imports is imported before the clock starts)
from benchmarks.jobs import Job
from benchmarks.loops import CALL_ROWS, Models, play
from benchmarks.with_motet import graph

__all__ = ["begin", "run", "run_graph", "run_motet"]

BATCH_ROWS = 2048
TINY_BATCH_ROWS = 65_536
ACTORS = 2
CPUS_PER_ACTOR = 0.5
"""Actors that took every core would leave none for reading."""


class _Player:
    """Plays a whole batch, like the hand-written loop."""

    def __init__(self, job: str, models: tuple[str, ...]) -> None:
        self._job, self._models = job, Models(models, 1, CALL_ROWS)

    def __call__(self, table: pa.Table) -> pa.Table:
        arrays = {name: _whole(table[name]) for name in table.column_names}
        return pa.Table.from_batches([play(self._job, self._models, pa.record_batch(arrays))])


def _whole(column: pa.ChunkedArray) -> Any:
    whole = pa.concat_arrays(column.chunks)
    if hasattr(whole, "to_numpy") and "ray" in type(whole).__module__:  # Ray's own tensors
        images = whole.to_numpy(zero_copy_only=False)
        return pa.array([image.tobytes() for image in images], pa.binary())
    if pa.types.is_large_binary(whole.type):
        return whole.cast(pa.binary())
    return whole


def _identity(table: pa.Table) -> pa.Table:
    return table.rename_columns(["id", "answer"])


def begin() -> None:
    """Start Ray on this machine."""
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False


def run_graph(job: Job, sources: Sequence[str], output: str) -> None:
    """Motet's graph over the same data set."""
    rows = ray.data.read_parquet(list(sources))
    graph(job.name).on_ray(rows, keep=["id"]).answers.write_parquet(output)


def run_motet(job: Job, sources: Sequence[str], output: str) -> None:
    """What `motet run --engine ray` does."""
    graph(job.name).run(sources[0], f"{output}/", keep=["id"], overwrite=True, engine="ray")


def run(job: Job, sources: Sequence[str], output: str) -> None:
    """Write a folder of Parquet files."""
    data = ray.data.read_parquet(list(sources), columns=list(job.columns))
    if job.name == "tiny":
        answered = data.map_batches(_identity, batch_size=TINY_BATCH_ROWS, batch_format="pyarrow")
    else:
        answered = data.map_batches(
            _Player,
            fn_constructor_args=(job.name, job.models),
            batch_size=BATCH_ROWS,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=ACTORS),
            num_cpus=CPUS_PER_ACTOR,
        )
    answered.write_parquet(output)
