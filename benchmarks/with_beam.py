"""The jobs with Apache Beam in process: RunInference, with every model of the job behind one model handler.

Rows are Beam's elements, as RunInference wants it, and are put into batches by it. The tiny job needs no inference; its
elements are whole Arrow tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.parquetio import ReadFromParquetBatched, WriteToParquet, WriteToParquetBatched
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.jobs import Job
from benchmarks.loops import CALL_ROWS, SCHEMA, TINY_SCHEMA, Models, play

__all__ = ["run"]

BATCH_ROWS = 2048


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
        types = {"id": pa.int64(), "image": pa.binary(), "kind": pa.string()}
        arrays = {n: pa.array(values, types[n]) for n, values in zip(self._job.columns, columns, strict=True)}
        answers: list[dict[str, Any]] = play(self._job.name, model, pa.record_batch(arrays)).to_pylist()
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


def run(job: Job, sources: Sequence[str], output: str) -> None:
    """Write one Parquet file."""
    options = PipelineOptions(["--runner=DirectRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1"])
    target = {"file_path_prefix": output, "shard_name_template": "", "num_shards": 1, "codec": "zstd"}
    with beam.Pipeline(options=options) as pipeline:
        tables = [
            pipeline | f"read {place}" >> ReadFromParquetBatched(source, columns=list(job.columns))
            for place, source in enumerate(sources)
        ]
        table = tables[0] if len(tables) == 1 else tables | beam.Flatten()
        if job.name == "tiny":
            answers = table | beam.Map(lambda each: each.rename_columns(TINY_SCHEMA.names))
            _ = answers | WriteToParquetBatched(schema=TINY_SCHEMA, **target)
        else:
            answers = table | beam.FlatMap(_rows) | RunInference(_Handler(job))
            _ = answers | WriteToParquet(schema=SCHEMA, **target)
