"""The ensemble and the cascade of examples/photos, on real photographs with real networks."""

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

Image = pytest.importorskip("PIL.Image", reason="the example with photographs needs Pillow")
pytest.importorskip("torch", reason="the example with photographs needs PyTorch")

CACHE = os.environ.get("MOTET_CACHE_DIR", "")
"""The user's cache, where large files are kept from run to run; tests have one of their own."""
FOLDER = Path(__file__).parents[2] / "examples" / "photos"
NAMES = ("astronaut", "chelsea", "coffee", "rocket")
CATS = {281, 282, 285}
"""ImageNet's tabby, its tiger cat and its Egyptian Mau; chelsea is a tabby."""
CUPS = {504, 967, 968}
"""Its coffee mug, its espresso and its cup."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _fetched(fetch: Callable[[], Any]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTET_CACHE_DIR", CACHE)
        return fetch()


@pytest.fixture(scope="module")
def paths() -> Iterator[dict[str, Path]]:
    """The files of the photographs, by name; the weights are in place."""
    before = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        from photo_files import PackageError, fetch

        try:
            found = _fetched(fetch)
        except PackageError as error:
            pytest.skip(f"the weights of the example with photographs cannot be had: {error}")
        yield {path.stem: path for path in found}
    finally:
        sys.path[:] = before


@pytest.fixture(scope="module")
def photos(paths: dict[str, Path]) -> list[Any]:
    """The photographs, uint8 `[h, w, 3]`, in the order of `NAMES`."""
    return [np.asarray(Image.open(paths[name]).convert("RGB")) for name in NAMES]


@pytest.fixture(scope="module")
def ensemble(paths: dict[str, Path]) -> mt.Graph:
    return mt.load(FOLDER / "ensemble.yaml")


@pytest.fixture(scope="module")
def cascade(paths: dict[str, Path]) -> mt.Graph:
    return mt.load(FOLDER / "cascade.yaml")


@pytest.fixture(scope="module")
def voted(ensemble: mt.Graph, photos: list[Any]) -> dict[str, Any]:
    answers: dict[str, Any] = ensemble({"image": photos})
    return answers


@pytest.fixture(scope="module")
def cascaded(cascade: mt.Graph, photos: list[Any]) -> dict[str, Any]:
    answers: dict[str, Any] = cascade({"image": photos})
    return answers


def test_the_ensemble_sees_a_cat_and_a_cup_of_coffee(voted: dict[str, Any]) -> None:
    assert voted["index"][NAMES.index("chelsea")] in CATS
    assert voted["index"][NAMES.index("coffee")] in CUPS
    assert voted["label"][NAMES.index("coffee")] == "espresso"
    assert min(voted["score"][NAMES.index(name)] for name in ("chelsea", "coffee")) > 0.6


def test_each_member_sees_them_too(voted: dict[str, Any]) -> None:
    for member in ("near", "middle", "far"):
        assert voted[member][NAMES.index("chelsea")] in CATS
        assert voted[member][NAMES.index("coffee")] in CUPS


def test_the_average_is_that_of_the_members_columns(ensemble: mt.Graph, photos: list[Any]) -> None:
    columns = ensemble.explain({"image": photos[1:2]}).columns
    members = np.stack([columns[f"vote.{member}.output"] for member in ("near", "middle", "far")])
    assert members.shape == (3, 1000)
    assert members.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert np.abs(members[0] - members[2]).max() > 0.01
    (average,) = (column for name, column in columns.items() if name in ("vote", "vote.output"))
    np.testing.assert_allclose(average, members.mean(axis=0), atol=1e-6)


def test_members_look_in_sizes_of_their_own(ensemble: mt.Graph, photos: list[Any]) -> None:
    columns = ensemble.explain({"image": photos[:1]}).columns
    assert [columns[name].shape for name in ("x224", "x240", "x260")] == [(224, 224, 3), (240, 240, 3), (260, 260, 3)]


def test_the_cascade_stops_where_the_small_network_is_sure(cascaded: dict[str, Any], voted: dict[str, Any]) -> None:
    assert dict(zip(NAMES, cascaded["member"], strict=True)) == {
        "astronaut": "lite2",
        "chelsea": "lite0",
        "coffee": "lite0",
        "rocket": "lite2",
    }
    for name, member in (("chelsea", "near"), ("coffee", "near"), ("astronaut", "far"), ("rocket", "far")):
        assert cascaded["index"][NAMES.index(name)] == voted[member][NAMES.index(name)]


def test_the_large_network_runs_only_for_the_rest(cascade: mt.Graph, photos: list[Any]) -> None:
    assert [call.uses for call in cascade.explain({"image": photos}, row=2).calls] == ["lite0"]
    assert [call.uses for call in cascade.explain({"image": photos}, row=0).calls] == ["lite0", "lite2"]


def test_a_folder_gives_the_same_answers(
    cascade: mt.Graph, paths: dict[str, Path], cascaded: dict[str, Any], tmp_path: Path
) -> None:
    report = cascade.run([str(paths[name]) for name in NAMES], tmp_path / "labels.parquet")
    assert (report.answered, report.failed) == (4, 0)
    rows = pq.read_table(tmp_path / "labels.parquet").to_pylist()
    assert [Path(row["path"]).stem for row in rows] == list(NAMES)
    for name in ("label", "index", "member"):
        assert [row[name] for row in rows] == cascaded[name].tolist()
    assert [row["score"] for row in rows] == pytest.approx(cascaded["score"].tolist(), abs=1e-5)
