"""The client, and models behind an address, against `motet serve`."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import motet as mt
from helpers import served_functions
from helpers.live_server import Live
from helpers.tfserving_server import EXAMPLES
from motet.client import Client
from motet.errors import InputError, NotFoundError, RowErrors
from motet.types import ColumnType

FASHION = EXAMPLES / "fashion" / "fashion.yaml"
VALUES: dict[str, Any] = {
    "bool": [True, False, True], "string": ["", "ü", "漢字 a"], "bytes": [b"", b"\xff\x00", b"abc"],
    "float16": [0.5, -2, 65504], "float32": [0.1, np.nan, -np.inf], "float64": [0.1, 1e300, np.inf],
    "int8": [-128, 0, 127], "int16": [-(2**15), 0, 1], "int32": [-(2**31), 0, 1], "int64": [-(2**63), 0, 2**63 - 1],
    "uint8": [0, 1, 255], "uint16": [0, 1, 65535], "uint32": [0, 1, 2**32 - 1], "uint64": [0, 1, 2**64 - 1],
}  # fmt: skip


def echo(name: Any, kind: Any) -> mt.Graph:
    return mt.Graph(name, outputs={"y": mt.map(served_functions.same, mt.input("x", kind), outputs=kind)})


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("live")
    strict = mt.map(served_functions.strict, mt.input("x", "float32"), outputs="float32")
    halves = mt.map(served_functions.halves, mt.input("x", "int64[?]"), outputs="int64[?]")
    graphs = [
        *(echo(dtype, dtype) for dtype in VALUES), echo("square", "float32[2,2]"), echo("wide", "float32[?,2]"),
        mt.Graph("strict", outputs={"y": strict}), mt.Graph("halves", outputs={"y": halves}),
    ]  # fmt: skip
    for graph in graphs:
        graph.save(folder / f"{graph.name}.yaml")
    (folder / "serve.yaml").write_text("admin: open")
    files = [folder / f"{graph.name}.yaml" for graph in graphs]
    live = Live(folder, FASHION, *files, "--config", folder / "serve.yaml")
    live.until_ready()
    yield live
    live.close()


@pytest.fixture
def client(make_client: Any, live: Any) -> Any:
    return make_client(live.url)


@pytest.fixture(scope="module")
def images() -> Any:
    return np.random.default_rng(0).integers(0, 256, (100, 28, 28), np.uint8)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("dtype", list(VALUES))
def test_every_dtype_comes_back_as_it_went(client: Any, dtype: Any, binary: bool) -> None:
    kind = ColumnType.parse(dtype)
    x = np.array([*VALUES[dtype], None], object)[:-1] if kind.is_object else np.array(VALUES[dtype], dtype)
    if not binary and dtype in ("bytes", "float32", "float64"):
        x = x[[0, 2]] if dtype == "bytes" else x[:1]  # JSON of an answer has no form for the others
    got = client.infer(dtype, {"x": x}, binary=binary)["y"]
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, x)


@pytest.mark.parametrize(
    "options", [{}, {"binary": False}, {"compress": "gzip"}, {"compress": "deflate", "binary": False}]
)
def test_answers_are_those_of_the_graph_to_the_bit(client: Any, images: Any, options: Any) -> None:
    here = mt.load(FASHION)({"image": images})
    got = client.infer("fashion", {"image": images}, **options)
    assert list(got) == list(here)
    for name, column in here.items():
        assert got[name].dtype == column.dtype
        np.testing.assert_array_equal(got[name], column)


def test_outputs_can_be_chosen(client: Any, images: Any) -> None:
    assert list(client.infer("fashion", {"image": images[:2]}, outputs=["score", "label"])) == ["score", "label"]


def test_models_of_a_graph_are_served_too(client: Any, images: Any) -> None:
    pixels = images[:3].astype(np.float32) / 255
    assert client.infer("fashion.cnn", {"image": pixels}, version="1")["probabilities"].shape == (3, 10)


def test_rows_of_different_shapes(client: Any) -> None:
    rows = [np.full((n, 2), n, np.float32) for n in (3, 1, 3, 2)]
    got = client.infer("wide", {"x": rows})["y"]
    for row, back in zip(rows, got, strict=True):
        np.testing.assert_array_equal(row, back)
    halves = client.infer("halves", {"x": [np.arange(4), np.arange(2), np.arange(4) + 1]})["y"]
    assert [row.tolist() for row in halves] == [[0, 1], [0], [1, 2]]


def test_a_bad_row_is_named(client: Any) -> None:
    with pytest.raises(InputError, match=r"(?s)row 2.*13 is unlucky"):
        client.infer("strict", {"x": np.array([1, 2, 13, 4], np.float32)})
    with pytest.raises(NotFoundError):
        client.infer("nothing", {"x": [1]})


def test_mistakes_are_said_before_they_are_sent(client: Any) -> None:
    with pytest.raises(InputError, match=r"input 'x': is float32\[2,2\] a row; got float32\[3,2\] a row"):
        client.infer("square", {"x": np.zeros((1, 3, 2), np.float32)})


def test_rows_for_people(client: Any, images: Any) -> None:
    here = mt.load(FASHION)({"image": images[:2]})
    got = client.predict("fashion", [{"image": image} for image in images[:2]])
    assert [row["name"] for row in got] == here["name"].tolist()
    assert client.predict("fashion", {"image": images[0]}) == got[0]
    answers = client.predict("strict", [{"x": 1}, {"x": 13}, {"x": 3}])
    assert [answers[0], answers[2]] == [{"y": 2}, {"y": 6}]
    assert "13 is unlucky" in str(answers[1]["error"])


def test_a_row_is_explained(client: Any, images: Any) -> None:
    explained = client.explain("fashion", {"image": images[0]})
    assert {"label", "name", "score"} <= set(explained)
    for member in ("linear", "mlp", "cnn"):
        assert member in str(explained)


def test_the_server_tells_of_itself(client: Any) -> None:
    assert client.live()
    assert client.ready()
    assert client.ready("fashion")
    assert not client.ready("nothing")
    assert client.server()["name"] == "motet"
    assert {"fashion", "fashion.cnn", "strict"} <= {each["name"] for each in client.models()}
    assert str(client.metadata("fashion").inputs["image"].type) == "uint8[28,28]"
    assert client.config("fashion")["name"] == "fashion"
    assert client.statistics("fashion")["model_stats"][0]["name"] == "fashion"


def test_models_are_unloaded_and_loaded(client: Any) -> None:
    client.unload("square")
    assert not client.ready("square")
    client.load("square")
    assert client.ready("square")
    assert client.infer("square", {"x": np.zeros((1, 2, 2), np.float32)})["y"].shape == (1, 2, 2)


def remote(live: Any, name: Any, over: Any, **options: Any) -> mt.Model:
    uri = f"oip+http://127.0.0.1:{live.port}/v2/models/{name}"
    return mt.Model(uri if over == "http" else f"oip+grpc://127.0.0.1:{live.grpc_port}/{name}", "far", **options)


OVER = pytest.mark.parametrize("over", ["http", "grpc"])


@OVER
@pytest.mark.parametrize("dtype", list(VALUES))
def test_a_graph_calls_models_of_another_server(live: Any, dtype: Any, over: Any) -> None:
    kind = ColumnType.parse(dtype)
    x = np.array([*VALUES[dtype], None], object)[:-1] if kind.is_object else np.array(VALUES[dtype], dtype)
    declared = {"inputs": {"x": dtype}, "outputs": {"y": dtype}} if kind.is_object else {}
    graph = mt.Graph("near", outputs={"y": mt.model(remote(live, dtype, over, **declared), mt.input("x", dtype))})
    got = graph({"x": x})["y"]
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, x)


@OVER
def test_a_graph_of_graphs_on_other_servers_is_right_to_the_bit(live: Any, images: Any, over: Any) -> None:
    far = mt.model(remote(live, "fashion", over), mt.input("image", "uint8[28,28]"))
    graph = mt.Graph("near", outputs={"label": far.label, "score": far.score})
    here = mt.load(FASHION)({"image": images})
    for name, column in graph({"image": images}).items():
        np.testing.assert_array_equal(column, here[name])


@OVER
def test_rows_that_fail_far_away_fail_alone(live: Any, over: Any) -> None:
    graph = mt.Graph("near", outputs={"y": mt.model(remote(live, "strict", over), mt.input("x", "float32"))})
    x = np.arange(40, dtype=np.float32)
    with pytest.raises(RowErrors) as caught:
        graph({"x": x})
    assert [failure.row for failure in caught.value.failures] == [13]
    np.testing.assert_array_equal(caught.value.columns["y"], np.delete(x, 13) * 2)


def test_many_at_once(live: Any) -> None:
    with Client(live.url) as client, ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda n: client.infer("int64", {"x": [n, -n]})["y"].tolist(), range(300)))
    assert got == [[n, -n] for n in range(300)]
