"""The OCR chain of examples/ocr, on a real page with real models."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import motet as mt

Image = pytest.importorskip("PIL.Image", reason="the OCR example needs Pillow")
pytest.importorskip("scipy", reason="the OCR example needs SciPy")

CACHE = os.environ.get("MOTET_CACHE_DIR", "")
"""The user's cache, where large files are kept from run to run; tests have one of their own."""
FOLDER = Path(__file__).parents[2] / "examples" / "ocr"
KNOWN = ("Region-based segmentation", "determine markers of the coins and the", "pixels that we can label", "histogram")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _fetched(fetch: Callable[[], Any]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTET_CACHE_DIR", CACHE)
        return fetch()


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """The picture of a page, uint8 `[191, 384, 3]`; the models are in place."""
    before = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        from ocr_files import PackageError, fetch

        try:
            path = _fetched(fetch)
        except PackageError as error:
            pytest.skip(f"the models of the OCR example cannot be had: {error}")
        yield np.asarray(Image.open(path).convert("RGB"))
    finally:
        sys.path[:] = before


@pytest.fixture(scope="module")
def graph(page: Any) -> mt.Graph:
    return mt.load(FOLDER / "page.yaml")


@pytest.fixture(scope="module")
def pictures(page: Any) -> dict[str, Any]:
    """Pages of different sizes by the names of their files."""
    blank = np.full((100, 160, 3), 255, dtype=np.uint8)
    return {"a_page": page, "b_blank": blank, "c_top": page[:75, :310], "d_on_its_head": page[::-1, ::-1]}


@pytest.fixture(scope="module")
def read(graph: mt.Graph, pictures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What one call reads on all of them."""
    answers = graph({"image": list(pictures.values())})
    return {
        name: {output: answers[output][row] for output in ("text", "score", "pieces")}
        for row, name in enumerate(pictures)
    }


def test_a_page_is_read_in_order(read: dict[str, dict[str, Any]]) -> None:
    found = read["a_page"]
    places = [found["text"].find(words) for words in KNOWN]
    assert -1 not in places, found["text"]
    assert places == sorted(places)
    assert found["text"].count("\n") == 6
    assert found["pieces"] == 7
    assert found["score"] > 0.9


def test_a_blank_page_has_no_pieces_and_an_empty_text(read: dict[str, dict[str, Any]]) -> None:
    assert read["b_blank"] == {"text": "", "score": 0, "pieces": 0}


def test_a_page_of_another_size_in_the_same_batch_is_read(read: dict[str, dict[str, Any]]) -> None:
    assert "Region-based segmentation" in read["c_top"]["text"]
    assert "histogram" not in read["c_top"]["text"]


def test_a_page_on_its_head_is_turned(read: dict[str, dict[str, Any]]) -> None:
    text = read["d_on_its_head"]["text"]
    assert "determine markers of the coins and the" in text
    assert text.index("determine") < text.index("background") < text.index("histogram")


def test_a_page_alone_is_read_as_in_a_batch(graph: mt.Graph, page: Any, read: dict[str, dict[str, Any]]) -> None:
    answer = graph({"image": page[np.newaxis]})
    assert answer["text"][0] == read["a_page"]["text"]


def test_a_folder_of_images_is_read_as_called_and_a_corrupt_one_fails_alone(
    graph: mt.Graph, pictures: dict[str, Any], read: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(scans / f"{name}.png")
    whole = (scans / "a_page.png").read_bytes()
    (scans / "b_corrupt.png").write_bytes(whole[: len(whole) // 2])

    report = graph.run(scans, tmp_path / "texts.parquet")

    assert (report.rows, report.answered, report.failed) == (5, 4, 1)
    rows = pq.read_table(tmp_path / "texts.parquet").to_pylist()
    assert [Path(row["path"]).stem for row in rows] == sorted(pictures)
    for row in rows:
        expected = read[Path(row["path"]).stem]
        assert (row["text"], row["pieces"]) == (expected["text"], expected["pieces"])
        assert row["score"] == pytest.approx(expected["score"], abs=1e-4)
    (failure,) = pq.read_table(report.failed_output).to_pylist()
    assert (failure["row"], failure["node"], failure["error"]) == (2, "input", "InputError")
    assert "image" in failure["message"]


def test_the_graph_says_what_it_gives(graph: mt.Graph) -> None:
    assert {name: str(kind) for name, kind in graph.checked.signature.outputs.items()} == {
        "text": "string",
        "score": "float32",
        "pieces": "int64",
    }
