"""The jobs with Spark: `predict_batch_udf`, as its documentation has it for models; and Motet on Spark."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import SparkSession
from pyspark.sql.functions import col
from pyspark.sql.types import FloatType, LongType, StructField, StructType

import motet.engines.spark.engine  # noqa: F401  (what a run imports is imported before the clock starts)
from benchmarks import loops
from benchmarks.jobs import Job
from benchmarks.with_motet import graph

__all__ = ["begin", "run", "run_graph", "run_motet"]

BATCH_ROWS = 2048
ANSWER = StructType([StructField("label", LongType()), StructField("score", FloatType())])


def begin() -> None:
    """Start Spark on this machine, with a worker for each of two cores."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    begun = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    begun.config("spark.sql.parquet.compression.codec", "zstd").getOrCreate()


def _loaded(job: Job) -> Callable[[Any], Any]:
    """What answers a batch, its models loaded."""
    if job.name == "tiny":
        return lambda values: values
    models = loops.Models(job.models, 1, loops.CALL_ROWS)
    combine = {"ensemble": loops.ensemble, "cascade": loops.cascade}[job.name]

    def predict(images: Any) -> dict[str, Any]:
        found = combine(models, np.multiply(images, np.float32(1 / 255), dtype=np.float32))
        labels = found.argmax(axis=1)
        return {"label": labels, "score": found[np.arange(len(found)), labels]}

    return predict


def run(job: Job, sources: Sequence[str], output: str) -> None:
    """Write a folder of Parquet files."""
    rows = SparkSession.active().read.parquet(*sources)
    if job.name == "tiny":
        udf = predict_batch_udf(lambda: _loaded(job), return_type=LongType(), batch_size=BATCH_ROWS)
        answered = rows.select("id", udf("value").alias("answer"))
    else:
        shapes = [[28, 28]]
        udf = predict_batch_udf(
            lambda: _loaded(job), return_type=ANSWER, batch_size=BATCH_ROWS, input_tensor_shapes=shapes
        )
        found = rows.withColumn("found", udf("image"))
        answered = found.select("id", col("found.label").alias("label"), col("found.score").alias("score"))
    answered.write.parquet(output)


def run_graph(job: Job, sources: Sequence[str], output: str) -> None:
    """Motet's graph over the same frame."""
    rows = SparkSession.active().read.parquet(*sources)
    graph(job.name).on_spark(rows, keep=["id"]).answers.write.parquet(output)


def run_motet(job: Job, sources: Sequence[str], output: str) -> None:
    """What `motet run --engine spark` does."""
    graph(job.name).run(sources[0], f"{output}/", keep=["id"], overwrite=True, engine="spark")
