"""The jobs with Motet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy  # noqa: F401  (what a run imports is imported before the clock starts, as for the loops)
import onnxruntime  # noqa: F401
import pyarrow.compute
import pyarrow.parquet  # noqa: F401

import motet as mt
import motet.engines.local.engine
import motet.models.onnx
import motet.ops.image
import motet.ops.scores
from benchmarks.jobs import CONFIDENCE, MODELS, ROUTES, WEIGHTS, Job

__all__ = ["graph", "identity", "run"]


@mt.returns("int64")
def identity(value: Any) -> Any:
    """The value as it is."""
    return value


def graph(job: str) -> mt.Graph:
    """The job as a graph."""
    if job == "tiny":
        return mt.Graph("tiny", {"answer": mt.map(identity, mt.input("value", "int64"))})
    models = {name: mt.Model(uri) for name, uri in MODELS.items()}
    pixels = mt.map(mt.ops.image.scale, mt.input("image", "uint8[28,28]"), by=255)
    if job == "ensemble":
        answer = mt.ensemble(list(models.values()), pixels, weights=list(WEIGHTS.values()))
    elif job == "cascade":
        answer = mt.cascade([models["linear"], models["cnn"]], pixels, confidence=CONFIDENCE)
    else:
        answer = _keyed(models, pixels)
    top = mt.map(mt.ops.scores.top1, answer.probabilities)
    return mt.Graph(job, {"label": top.index, "score": top.score})


def _keyed(models: Mapping[str, mt.Model], pixels: Any) -> Any:
    """The job that `benchmarks.engines` does not have."""
    arms = {kind: models[name] for kind, name in ROUTES.items()}
    return mt.route(arms, pixels, key=mt.input("kind", "string"))


def run(job: Job, sources: Sequence[str], output: str) -> None:
    """Run the graph with the defaults of `Graph.run`."""
    source = sources[0] if len(sources) == 1 else list(sources)
    graph(job.name).run(source, output, keep=["id"], overwrite=True)
