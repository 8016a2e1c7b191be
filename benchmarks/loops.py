"""The bar: the four jobs as loops that a good engineer writes by hand, without a framework.

    loop1   one thread; ONNX Runtime spreads each call over two threads
    loop2   two threads, each plays whole batches with single-threaded ONNX Runtime sessions; the main thread reads
            ahead and writes in order, so that reading, preprocessing, compute and writing overlap

Images become floats once a batch. Each model is called with the number of rows that suits it; sessions are shared by the
threads. Rows that a member does not answer are not given to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.jobs import CONFIDENCE, MODELS, ROUTES, WEIGHTS, Job

with suppress(ImportError):  # pyarrow imports it, where it is installed, at its first conversion from or to numpy
    import pandas  # noqa: F401

__all__ = ["Models", "answer", "cascade", "ensemble", "floats", "play", "run_loop1", "run_loop2"]

Array = npt.NDArray[Any]

BATCH_ROWS = 2048
TINY_BATCH_ROWS = 65_536
CALL_ROWS = {"linear": 1024, "mlp": 1024, "cnn": 32}
CALL_ROWS_TWO_THREADS = {"linear": 1024, "mlp": 1024, "cnn": 1024}
SCHEMA = pa.schema([("id", pa.int64()), ("label", pa.int64()), ("score", pa.float32())])
TINY_SCHEMA = pa.schema([("id", pa.int64()), ("answer", pa.int64())])


@dataclass
class Models:
    """Loaded models.

    Args:
        names: which ones.
        threads: of each session.
        call_rows: how many rows a call has, by model.
    """

    names: Sequence[str]
    threads: int
    call_rows: dict[str, int]

    def __post_init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        self._sessions = {
            name: ort.InferenceSession(MODELS[name], options, providers=["CPUExecutionProvider"]) for name in self.names
        }

    def __call__(self, name: str, pixels: Array) -> Array:
        """Probabilities `[rows, 10]` of float32 pixels `[rows, 28, 28]`."""
        session, step = self._sessions[name], self.call_rows[name]
        answers = [session.run(None, {"image": pixels[at : at + step]})[0] for at in range(0, len(pixels), step)]
        return answers[0] if len(answers) == 1 else np.concatenate(answers)


def floats(images: pa.Array) -> Array:
    """Stored images, tensors or bytes, as float32 `[rows, 28, 28]` in 0..1."""
    if isinstance(images, pa.FixedShapeTensorArray):
        pixels = images.to_numpy_ndarray()
    else:
        offsets = np.frombuffer(images.buffers()[1], np.int32)[images.offset : images.offset + len(images) + 1]
        pixels = np.frombuffer(images.buffers()[2], np.uint8, offsets[-1] - offsets[0], offsets[0])
    scaled: Array = np.multiply(pixels.reshape(len(images), 28, 28), np.float32(1 / 255), dtype=np.float32)
    return scaled


def ensemble(models: Models, pixels: Array) -> Array:
    """The weighted average of all models."""
    total = models("cnn", pixels) * np.float32(WEIGHTS["cnn"])
    for name in ("linear", "mlp"):
        total += models(name, pixels) * np.float32(WEIGHTS[name])
    return total


def cascade(models: Models, pixels: Array) -> Array:
    """The linear model, and the cnn where it is not sure."""
    answer = models("linear", pixels)
    unsure = np.flatnonzero(answer.max(axis=1) < CONFIDENCE)
    if len(unsure):
        answer[unsure] = models("cnn", pixels[unsure])
    return answer


def keyed(models: Models, pixels: Array, kinds: pa.Array) -> Array:
    """To each row the model of its kind."""
    answer = np.empty((len(pixels), 10), dtype=np.float32)
    for kind, name in ROUTES.items():
        chosen = np.flatnonzero(pc.equal(kinds, kind).to_numpy(zero_copy_only=False))
        if len(chosen):
            answer[chosen] = models(name, pixels[chosen])
    return answer


def play(job: str, models: Models, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Answer a batch."""
    pixels = floats(batch.column("image"))
    if job == "keyed":
        answer = keyed(models, pixels, batch.column("kind"))
    else:
        answer = (ensemble if job == "ensemble" else cascade)(models, pixels)
    labels = answer.argmax(axis=1)
    scores = answer[np.arange(len(answer)), labels]
    return pa.record_batch([batch.column("id"), pa.array(labels), pa.array(scores)], schema=SCHEMA)


def _tiny(batch: pa.RecordBatch) -> pa.RecordBatch:
    values = batch.column("value").to_numpy()
    return pa.record_batch([batch.column("id"), pa.array(values)], schema=TINY_SCHEMA)


def answer(job: str, models: Models, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Answer a batch of any job."""
    return _tiny(batch) if job == "tiny" else play(job, models, batch)


def _read(job: Job, sources: Sequence[str]) -> Iterator[pa.RecordBatch]:
    rows = TINY_BATCH_ROWS if job.name == "tiny" else BATCH_ROWS
    for source in sources:
        with pq.ParquetFile(source) as file:
            yield from file.iter_batches(rows, columns=list(job.columns))


def _writer(job: Job, output: str) -> pq.ParquetWriter:
    schema = TINY_SCHEMA if job.name == "tiny" else SCHEMA
    return pq.ParquetWriter(output, schema, compression="zstd", use_dictionary=False)


def run_loop1(job: Job, sources: Sequence[str], output: str) -> None:
    """One thread, two threads a session."""
    models = Models(job.models, 2, CALL_ROWS_TWO_THREADS)
    with _writer(job, output) as writer:
        for batch in _read(job, sources):
            writer.write_batch(answer(job.name, models, batch))


def run_loop2(job: Job, sources: Sequence[str], output: str) -> None:
    """Two threads, one thread a session; answers are written in the order of the input."""
    models = Models(job.models, 1, CALL_ROWS)
    waiting: deque[Future[pa.RecordBatch]] = deque()
    with _writer(job, output) as writer, ThreadPoolExecutor(2) as pool:
        for batch in _read(job, sources):
            waiting.append(pool.submit(answer, job.name, models, batch))
            if len(waiting) > 4:
                writer.write_batch(waiting.popleft().result())
        while waiting:
            writer.write_batch(waiting.popleft().result())
