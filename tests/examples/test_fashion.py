"""examples/fashion: the four graphs and the demo, on the first rows of Fashion-MNIST."""

from __future__ import annotations

import html.parser
import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers.example_modules import importable

FOLDER = Path(__file__).parents[2] / "examples" / "fashion"
GRAPHS = ("fashion", "cascade", "keyed", "ab")
MODULES = ("data", "demo", "demo_charts", "demo_report", "demo_results")
NUM_ROWS = 600
# Tests have a cache of their own; what a user has downloaded is in the user's.
CACHE = os.environ.get("MOTET_CACHE_DIR")


@pytest.fixture(scope="module", autouse=True)
def _example() -> Iterator[None]:
    """The example's own modules can be imported."""
    with importable([FOLDER], MODULES):
        yield


@pytest.fixture(scope="module")
def dataset() -> Any:
    """The module `data`, which can give the test split."""
    import data

    with pytest.MonkeyPatch.context() as patch:
        if CACHE is None:
            patch.delenv("MOTET_CACHE_DIR", raising=False)
        else:
            patch.setenv("MOTET_CACHE_DIR", CACHE)
        try:
            split = data.load("test")
        except data.DatasetError as error:
            pytest.skip(f"Fashion-MNIST is not here, and make data could not get it: {error}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda name: split if name == "test" else pytest.fail(f"needs split {name!r}"))
        yield data


@pytest.fixture(scope="module")
def rows(dataset: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fashion") / "test.parquet"
    dataset.write_parquet(path, "test", NUM_ROWS)
    return path


def played(name: str, rows: Path, folder: Path) -> Any:
    graph = mt.load(FOLDER / f"{name}.yaml")
    report = graph.run(rows, folder / f"{name}.parquet")
    assert (report.rows, report.failed) == (NUM_ROWS, 0)
    return pq.read_table(folder / f"{name}.parquet")


def accuracy(table: Any) -> float:
    return float(pc.mean(pc.equal(table["label"], table["truth"])).as_py())


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_comes_back_from_its_own_text(name: str, tmp_path: Path) -> None:
    graph = mt.load(FOLDER / f"{name}.yaml")
    graph.save(tmp_path / "again.yaml")
    again = mt.load(tmp_path / "again.yaml")
    assert list(again.nodes) == list(graph.nodes)
    assert again.checked.signature == graph.checked.signature


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_plays_pictures_that_are_none(name: str) -> None:
    graph = mt.load(FOLDER / f"{name}.yaml")
    given = {"image": np.zeros((3, 28, 28), dtype=np.uint8), "kind": ["app", "web", "store"], "user": ["a", "b", "c"]}
    answers = graph({name: column for name, column in given.items() if name in graph.inputs})
    assert answers["label"].shape == (3,)
    assert ((answers["score"] > 0) & (answers["score"] <= 1)).all()


def test_the_ensemble_names_what_it_sees(rows: Path, tmp_path: Path, dataset: Any) -> None:
    table = played("fashion", rows, tmp_path)
    assert accuracy(table) > 0.88
    assert table["name"].to_pylist() == [dataset.LABELS[label] for label in table["label"].to_pylist()]


def test_the_cascade_asks_the_cnn_only_where_linear_is_not_sure(rows: Path, tmp_path: Path) -> None:
    table = played("cascade", rows, tmp_path)
    linear = pc.equal(table["member"], "linear")
    assert accuracy(table) > 0.88
    assert 0.4 < pc.mean(linear).as_py() < 0.7
    assert pc.min(table.filter(linear)["score"]).as_py() >= 0.9


def test_the_route_goes_by_the_kind_of_each_row(rows: Path, tmp_path: Path) -> None:
    table = played("keyed", rows, tmp_path)
    assert table["member"].to_pylist() == table["kind"].to_pylist()


def test_the_split_keeps_every_user_to_one_arm(rows: Path, tmp_path: Path) -> None:
    table = played("ab", rows, tmp_path)
    arms = table.group_by("user").aggregate([("arm", "count_distinct")])
    assert pc.max(arms["arm_count_distinct"]).as_py() == 1
    assert 0.8 < pc.mean(pc.equal(table["arm"], "champion")).as_py() < 0.97


class _Page(html.parser.HTMLParser):
    """Finds what does not close, and what is not in the page itself."""

    VOID = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.headings = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.headings += tag == "h2"
        self.loaded += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_demo_writes_a_page_that_needs_nothing_else(rows: Path, tmp_path: Path, capsys: Any) -> None:
    import demo

    demo.main(["--output", str(tmp_path), "--rows", str(NUM_ROWS)])

    page = _Page()
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page.feed(text)
    assert page.open == []
    assert page.headings == 9
    assert all(address.startswith(("data:", "#")) for address in page.loaded)
    assert not re.search(r"@import|url\((?!#|data:)", text)
    printed = capsys.readouterr().out
    assert "ensemble  600 rows" in printed
    assert (tmp_path / "report.html").resolve().as_uri() in printed
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8").lstrip().startswith("<")


def test_the_demo_says_what_it_cannot_do(dataset: Any, tmp_path: Path) -> None:
    import demo

    with pytest.raises(SystemExit, match=r"demo\.py: rows: got 0, but split 'test' has 10000 rows"):
        demo.main(["--output", str(tmp_path), "--rows", "0"])


def test_results_of_rows_that_are_torn() -> None:
    from demo_results import Answers, Opinion

    truth = np.array([0, 1, 2])
    sure = np.full(3, 0.9, dtype=np.float32)
    members = {
        name: Opinion(np.array(labels), sure)
        for name, labels in {"a": [0, 1, 2], "b": [0, 2, 2], "c": [0, 3, 0]}.items()
    }
    answers = Answers(np.zeros((3, 28, 28), dtype=np.uint8), truth, members, Opinion(np.array([0, 2, 2]), sure))

    assert answers.num_opinions().tolist() == [1, 3, 2]
    assert answers.agreed(1).tolist() == [0]
    assert answers.torn(5, right=True).tolist() == [2]
    assert answers.torn(5, right=False).tolist() == [1]
    assert answers.confusion()[1, 2] == 1
    assert answers.accuracy(answers.vote) == pytest.approx(2 / 3)


def test_a_picture_is_a_png() -> None:
    from demo_charts import png

    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    made = png(image)
    assert made.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", made[16:24]) == (3, 2)
    size = struct.unpack(">I", made[33:37])[0]
    assert zlib.decompress(made[41 : 41 + size]) == b"\0" + bytes([0, 1, 2]) + b"\0" + bytes([3, 4, 5])
