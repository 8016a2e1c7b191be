"""A sheet that a detector has no memory for is read in bands, and fails with a clear word as a whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import motet as mt
from motet.errors import RowErrors

pytest.importorskip("PIL.Image", reason="the OCR example needs Pillow")
pytest.importorskip("scipy", reason="the OCR example needs SciPy")

CACHE = os.environ.get("MOTET_CACHE_DIR", "")
"""The user's cache, where large files are kept from run to run; tests have one of their own."""
FOLDER = Path(__file__).parents[2] / "examples" / "ocr"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def sheets() -> Iterator[ModuleType]:
    """The functions of the example; the models are in place."""
    before = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        import sheets
        from ocr_files import PackageError, fetch

        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("MOTET_CACHE_DIR", CACHE)
                fetch()
        except PackageError as error:
            pytest.skip(f"the models of the OCR example cannot be had: {error}")
        yield sheets
    finally:
        sys.path[:] = before


def test_bands_share_pixels_and_cover_the_sheet(sheets: ModuleType) -> None:
    images = [np.arange(height * 2 * 3).reshape(height, 2, 3).astype(np.uint8) for height in (1, 320, 321, 1000)]
    pieces, counts = sheets.bands(images)
    assert counts.tolist() == [1, 1, 2, 5]
    first = 0
    for image, count in zip(images, counts.tolist(), strict=True):
        end = 0
        for place in range(first, first + count):
            top, bottom = max(0, pieces["top"][place]), pieces["bottom"][place]
            assert (pieces["band"][place] == image[top : top + sheets.HEIGHT]).all()
            assert top <= end - sheets.OVERLAP or place == first
            end = top + len(pieces["band"][place])
            assert bottom == (-1 if place == first + count - 1 else end)
        assert end == len(image)
        first += count


def strip(left: float, right: float, middle: float, height: float = 40) -> list[float]:
    return [left, right, height, 0, 0, middle]


def test_what_two_bands_found_is_kept_once_and_what_an_edge_cut_off_only_where_nobody_has_more(
    sheets: ModuleType,
) -> None:
    upper = [strip(10, 200, 200), strip(10, 200, 250), strip(10, 90, 310, 20)]
    lower = [strip(10, 90, 4, 16), strip(10, 205, 42), strip(300, 400, 104), strip(10, 200, 105)]
    found = sheets.joined(
        [np.array(upper), np.array(lower), np.zeros((0, 6))], np.array([-1, 208, -1]), np.array([320, -1, -1]),
        np.array([2, 1]),
    )  # fmt: skip
    kept = [[(each[0], each[1], each[5]) for each in row] for row in found["strip"]]
    assert kept == [[(10, 200, 200), (10, 205, 250), (10, 200, 313), (300, 400, 312)], []]
    assert [row.tolist() for row in found["line"]] == [[0, 1, 2, 2], []]


def test_text_that_is_taller_than_bands_share_is_not_lost(sheets: ModuleType) -> None:
    tall = sheets.joined(
        [np.array([strip(10, 90, 270, 110)]), np.array([strip(10, 90, 50, 130)])],
        np.array([-1, 208]), np.array([320, -1]), np.array([2]),
    )  # fmt: skip
    assert len(tall["strip"][0]) == 1


def test_a_sheet_beyond_the_memory_of_its_detector_fails_whole_and_is_read_in_bands(sheets: ModuleType) -> None:
    sheet, texts = sheets.draw()
    small = sheet[:300]
    whole, apart = mt.load(FOLDER / "sheet_whole.yaml"), mt.load(FOLDER / "sheet.yaml")
    try:
        with pytest.raises(RowErrors) as caught:
            whole({"image": [sheet]})
        assert whole({"image": [small]})["text"][0].split("\n") == texts[:5]
        read = apart({"image": [sheet, small]})
    finally:
        for graph in (whole, apart):
            graph.executor.host.close()

    (failure,) = caught.value.failures
    assert (failure.row, failure.node, failure.model, failure.error) == (0, "found", "detect", "MemoryError")
    assert failure.message.startswith(
        "1 row of x: float32[3,2144,640] need more memory than the 224 MiB that the model's process may take "
        "(resources: {memory: ...}); allow it more, or take such rows apart with a shard. The model said: "
    )
    assert [text.split("\n") for text in read["text"]] == [texts, texts[:5]]
    assert read["pieces"].tolist() == [40, 5]
    assert read["score"].min() > 0.95
