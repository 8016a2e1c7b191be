"""A program that type checkers have nothing to say of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.applications import Starlette
from starlette.routing import Mount

import motet as mt
from motet import serving, testing
from motet.errors import Failure, RowErrors

Floats = npt.NDArray[np.float32]


@mt.returns("float32")
def doubled(x: Floats) -> Floats:
    return x * 2


def build() -> mt.Graph:
    image = mt.input("image", "uint8[28,28]")
    pixels = mt.map(mt.ops.image.scale, image, by=255)
    vote = mt.ensemble([mt.Model("a.onnx"), mt.Model("b.onnx")], pixels, weights=[1, 2], name="vote")
    top = mt.map(mt.ops.scores.top1, vote)
    route = mt.route({"a": mt.Model("a.onnx"), "b": mt.Model("b.onnx")}, pixels, key=mt.input("key", "string"))
    return mt.Graph("g", {"label": top.index, "score": top.score, "arm": route.member})


def ask(graph: mt.Graph, images: npt.NDArray[np.uint8]) -> list[str]:
    answers = graph({"image": images})
    whole: dict[str, Any] = graph({"image": images}, failures="raise")
    some, failures = graph({"image": images}, failures="return")
    first: Failure = failures[0]
    rows: list[dict[str, Any]] = graph.predict([{"image": image} for image in images])
    row: dict[str, Any] = graph.predict({"image": images[0]})
    try:
        graph({"image": images})
    except RowErrors as error:
        causes: list[BaseException] = list(error.exceptions.values())
        print(causes, error.failures[0].message)
    return [*answers, *whole, *some, first.message, *rows[0], *row]


async def later(graph: mt.Graph, images: npt.NDArray[np.uint8]) -> Failure:
    answers: dict[str, Any] = await graph.acall({"image": images}, timeout=3)
    _, failures = await graph.acall(answers, failures="return")
    with graph as same:
        same({"image": images}, timeout=1.5)
    return failures[0]


def bulk(graph: mt.Graph) -> float:
    report = graph.run("in.parquet", Path("out.parquet"), batch_rows=100, keep=["id"], overwrite=True, progress=print)
    table, failures = graph.run("in.parquet", failures="return", limit=10)
    print(table.num_rows, failures[0].row)
    graph.run("in.parquet", only_failed="out.parquet.failed.parquet", into=Path("out.parquet"))
    return report.rows_per_second


def serve(graph: mt.Graph) -> str:
    app = serving.asgi(graph, limits={"rows": 10}, cors=["*"])
    host = Starlette(routes=[Mount("/models", app)], lifespan=app.lifespan)
    print(host.routes)
    app.close()
    with graph.serve(block=False, port=0, grpc_port=None) as server:
        url: str = server.url
    with mt.serving.start(graph, "other.yaml", config="serve.yaml", host="::1") as server:
        return url + server.url


def replaced(graph: mt.Graph) -> mt.Graph:
    mt.testing.check_golden(graph, "golden.jsonl", tolerance=1e-4)
    return graph.with_models(a=doubled, b=testing.constant(0.5))


@mt.step(cache=True, retries=2)
def train(kind: str, epochs: int = 3) -> dict[str, float]:
    return {kind: float(epochs)}


@mt.step
def best(models: list[dict[str, float]]) -> str:
    return max(models[0])


@mt.workflow
def flow(epochs: int = 3) -> str:
    return best([train(kind, epochs) for kind in ("a", "b")])


def run() -> str:
    one, two = flow(epochs=5).run().id, flow(epochs=6).run().id
    losses: Sequence[float] = mt.workflow.metrics(one)["train"]["loss"].values
    return f"{losses}{mt.workflow.compare(one, two).to_json()}"


if __name__ == "__main__":
    graph = build()
    graph.serve(port=8000)
