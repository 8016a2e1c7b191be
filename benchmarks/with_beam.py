"""The jobs with Apache Beam in process: RunInference, with every model of the job behind one model handler; and Motet on Beam.

Rows are Beam's elements, as RunInference wants it, and are put into batches by it. What `benchmarks.bulk` runs of the tiny job
needs no inference; its elements are whole Arrow tables. Motet's graph gets tables in all jobs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import apache_beam.runners.portability.fn_api_runner  # what a run imports is imported before the clock starts
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.parquetio import ReadFromParquetBatched, WriteToParquet, WriteToParquetBatched
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

import motet.engines.beam.engine
import motet.engines.beam.transform  # noqa: F401
from benchmarks.jobs import Job
from benchmarks.loops import CALL_ROWS, SCHEMA, TINY_SCHEMA, Models, answer
from benchmarks.with_motet import graph

__all__ = ["OPTIONS", "run", "run_graph", "run_inference", "run_motet"]

BATCH_ROWS = 2048
IN_PROCESS = "--runner=DirectRunner --direct_running_mode=in_memory --direct_num_workers=1"
OPTIONS = "MOTET_BENCHMARK_BEAM"
"""The variable that has other options of pipelines than those of Beam's runner in this process."""


class _Handler(ModelHandler[tuple[Any, ...], dict[str, Any], Models]):
    """All models of a job as one."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job

    def load_model(self) -> Models:
        return Models(self._job.models, 2, CALL_ROWS)

    def run_inference(
        self, batch: Sequence[tuple[Any, ...]], model: Models, inference_args: Any = None
    ) -> Iterable[Any]:
        columns = zip(*batch, strict=True)
        types = {"id": pa.int64(), "image": pa.binary(), "kind": pa.string(), "value": pa.int64()}
        arrays = {n: pa.array(values, types[n]) for n, values in zip(self._job.columns, columns, strict=True)}
        answers: list[dict[str, Any]] = answer(self._job.name, model, pa.record_batch(arrays)).to_pylist()
        return answers

    def batch_elements_kwargs(self) -> dict[str, int]:
        return {"min_batch_size": BATCH_ROWS, "max_batch_size": BATCH_ROWS}


def _rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """A table's rows, images as bytes."""
    columns = []
    for name in table.column_names:
        column = table[name]
        if isinstance(column.type, pa.FixedShapeTensorType):
            images = pa.concat_arrays(column.chunks).to_numpy_ndarray()
            columns.append([image.tobytes() for image in images])
        else:
            columns.append(column.to_pylist())
    return zip(*columns, strict=True)


def _pipeline() -> beam.Pipeline:
    return beam.Pipeline(options=PipelineOptions(_options()))


def _options() -> list[str]:
    return os.environ.get(OPTIONS, IN_PROCESS).split()


def _target(output: str) -> dict[str, Any]:
    """One Parquet file."""
    return {"file_path_prefix": output, "shard_name_template": "", "num_shards": 1, "codec": "zstd"}


def run(job: Job, sources: Sequence[str], output: str) -> None:
    """Write one Parquet file."""
    with _pipeline() as pipeline:
        tables = [
            pipeline | f"read {place}" >> ReadFromParquetBatched(source, columns=list(job.columns))
            for place, source in enumerate(sources)
        ]
        table = tables[0] if len(tables) == 1 else tables | beam.Flatten()
        if job.name == "tiny":
            answers = table | beam.Map(lambda each: each.rename_columns(TINY_SCHEMA.names))
            _ = answers | WriteToParquetBatched(schema=TINY_SCHEMA, **_target(output))
        else:
            answers = table | beam.FlatMap(_rows) | RunInference(_Handler(job))
            _ = answers | WriteToParquet(schema=SCHEMA, **_target(output))


def run_inference(job: Job, sources: Sequence[str], output: str) -> None:
    """Every job with RunInference, as Beam's documentation has it."""
    with _pipeline() as pipeline:
        rows = pipeline | ReadFromParquetBatched(sources[0], columns=list(job.columns)) | beam.FlatMap(_rows)
        answers = rows | RunInference(_Handler(job))
        _ = answers | WriteToParquet(schema=TINY_SCHEMA if job.name == "tiny" else SCHEMA, **_target(output))


def run_graph(job: Job, sources: Sequence[str], output: str) -> None:
    """Motet's graph as a transform of the same pipeline."""
    play = graph(job.name).as_ptransform(schema=pq.read_schema(sources[0]), keep=["id"])
    with _pipeline() as pipeline:
        played = pipeline | ReadFromParquetBatched(sources[0]) | play
        _ = played.answers | WriteToParquetBatched(schema=play.answers_schema, **_target(output))


def run_motet(job: Job, sources: Sequence[str], output: str) -> None:
    """What `motet run --engine beam` does; a folder of Parquet files."""
    graph(job.name).run(sources[0], f"{output}/", keep=["id"], overwrite=True, engine="beam", engine_options=_options())
