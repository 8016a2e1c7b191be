"""A graph where `RunInference` wants a model."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from motet.engines.batch_worker import BatchWorker
from motet.engines.beam.refresh import refreshed
from motet.engines.beam.rows import Kept, play_values, telling
from motet.engines.beam.workers import watch_workers
from motet.engines.job import Job
from motet.graph.check import CheckedGraph
from motet.graph.graph import GraphSpec

__all__ = ["GraphHandler"]


class GraphHandler(ModelHandler):  # type: ignore[misc]
    """A graph as a model handler of Beam; see `motet.Graph.as_model_handler`.

    Args:
        checked: the graph.
        batch_rows: how many rows are played together at most; None goes by their size.
        goes_on: whether to go on where a model fails on everything.
        ship: whether the files of local models go with the pipeline.
        graph: as it was declared, for `model_metadata_pcoll` of `RunInference`.
    """

    def __init__(
        self,
        checked: CheckedGraph,
        graph: GraphSpec,
        *,
        batch_rows: int | None = None,
        goes_on: bool = False,
        ship: bool = False,
    ) -> None:
        super().__init__()
        watch_workers()
        self._path, self._run = "", uuid.uuid4().hex
        self._job = Job.of_values(checked, batch_rows=batch_rows, goes_on=goes_on, ship=ship)
        self._graph = self._job.checked.graph if ship else graph
        self._kept = Kept(keep=())

    @telling()
    def load_model(self) -> BatchWorker:
        """What plays the graph, its models loaded, once a process."""
        job = refreshed(self._job, self._graph, self._path) if self._path else self._job
        worker = BatchWorker.shared(job, run=self._run)
        worker.load()
        BatchWorker.forget(self._job, but=job)
        return worker

    @telling()
    def run_inference(
        self, batch: Sequence[Any], model: BatchWorker, inference_args: Mapping[str, Any] | None = None
    ) -> Iterable[Any]:
        """For each row its outputs, or why it failed."""
        found: list[Any] = []
        for _, alike in groupby(batch, type):
            played = play_values(model, self._kept, list(alike))
            for place, failure in played.failures:
                played.answers[place] = failure
            found += played.answers
        return [PredictionResult(row, answer) for row, answer in zip(batch, found, strict=True)]

    def update_model_path(self, model_path: str | None = None) -> None:
        """Have the next model that is loaded be another one; see `refreshed`."""
        self._path = model_path or self._path

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """How many rows a batch has at most."""
        return {"max_batch_size": self._job.batch_rows}

    def get_metrics_namespace(self) -> str:
        """Where Beam counts what it measures."""
        return f"motet.{self._job.checked.graph.name}"
