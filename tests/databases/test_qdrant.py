"""Collections of Qdrant in a folder, by its client's local mode: written by ids, and searched as brute force does."""

from __future__ import annotations

import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import motet as mt
from helpers.nearest import check_search, killed_and_resumed, rows_of, searching, storing
from motet.databases import retry
from motet.databases.address import METRICS, TableAddress
from motet.databases.filters import Filter
from motet.databases.layout import TableLayout
from motet.databases.qdrant import NAMESPACE, QdrantTable, _as_stored, point_id
from motet.errors import InputError

qdrant_client = pytest.importorskip("qdrant_client")


def points_in(folder: Path, name: str = "songs") -> dict[Any, dict[str, Any]]:
    """The points of a collection by the ids of their rows, as Qdrant's own client reads them."""
    client = qdrant_client.QdrantClient(path=str(folder))
    try:
        points, _ = client.scroll(name, limit=10_000, with_vectors=True)
    finally:
        client.close()
    return {point.payload["id"]: {**point.payload, **point.vector} for point in points}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    folder, rows = tmp_path_factory.mktemp("qdrant") / "store", rows_of(25)
    for metric in METRICS:
        assert storing().run(rows, f"qdrant:{folder}?metric={metric}#{metric}").answered == 25
    return folder, rows


def test_rows_are_written_in_their_places(tmp_path: Path) -> None:
    rows, other = rows_of(8), rows_of(9, seed=1).slice(4)
    address = f"qdrant://{tmp_path}/store?metric=dot#songs"
    storing().run(rows, address)
    storing().run(other, address)
    wanted = {row["id"]: {**row, "less": -row["price"]} for row in [*rows.to_pylist(), *other.to_pylist()]}
    assert points_in(tmp_path / "store") == wanted


def test_ids_of_texts_are_uuids_of_version_5(tmp_path: Path) -> None:
    rows = rows_of(3).set_column(0, "id", pa.array(["a", "ü", "7"]))
    storing().run(rows, f"qdrant:{tmp_path}/store#songs")
    client = qdrant_client.QdrantClient(path=str(tmp_path / "store"))
    points, _ = client.scroll("songs")
    client.close()
    assert {point.payload["id"]: point.id for point in points} == {
        text: str(uuid.uuid5(NAMESPACE, text)) for text in ("a", "ü", "7")
    }
    assert (point_id(7), point_id(-7)) == (7, str(uuid.uuid5(NAMESPACE, "-7")))


def test_what_is_acknowledged_stays_when_a_run_is_killed(tmp_path: Path) -> None:
    def found() -> dict[Any, dict[str, Any]]:
        points = points_in(tmp_path / "store")
        return {
            id: {name: value for name, value in row.items() if name not in ("image", "words")}
            for id, row in points.items()
        }

    killed_and_resumed(
        tmp_path, f"qdrant:{tmp_path}/store#songs", found, without=("image", "words")
    )  # which are normalised


@settings(max_examples=12)  # each opens the folder, which takes its client long
@given(st.data())
def test_a_search_finds_what_brute_force_finds(filled: tuple[Path, pa.Table], data: st.DataObject) -> None:
    metric = data.draw(st.sampled_from(METRICS))
    graph_of = f"qdrant:{filled[0]}#{metric}"
    check_search(graph_of, filled[1], metric, data)


@pytest.mark.parametrize(
    ("filter", "test"),
    [
        (Filter("price", "==", 3.5), lambda row: row["price"] == 3.5),
        (Filter("price", "in", [3.5, 4.0]), lambda row: row["price"] in (3.5, 4.0)),
        (Filter("price", ">=", 3), lambda row: row["price"] >= 3),
        (Filter("genre", "==", "rock"), lambda row: row["genre"] == "rock"),
        (Filter("id", "<", 7), lambda row: row["id"] < 7),
    ],
)
def test_conditions_are_those_of_qdrant(filled: tuple[Path, pa.Table], filter: Filter, test: Any) -> None:
    where = {filter.column: {filter.operator: filter.value}}
    graph = searching(f"qdrant:{filled[0]}#dot", {"image": "float32[4]"}, vectors="image", where=where, k=25)
    got = graph({"image": np.ones((1, 4), np.float32)})
    assert sorted(got["id"][0].tolist()) == [row["id"] for row in filled[1].to_pylist() if test(row)]


def test_a_whole_number_is_a_float_where_the_column_is() -> None:
    schema = pa.schema({"price": pa.float32(), "n": pa.int64()})
    there = TableLayout("id", {}, schema)
    stored = [
        _as_stored(Filter(name, operator, value), there).value
        for name, operator, value in (("price", "==", 3), ("price", "in", [3, 0.1]), ("n", "==", 3))
    ]
    assert [repr(each) for each in stored] == ["3.0", repr([3.0, float(np.float32(0.1))]), "3"]


def test_names_that_would_be_paths_are_refused(tmp_path: Path) -> None:
    rows = rows_of(2).append_column("a.b", pa.array([1, 2]))
    with pytest.raises(InputError, match=r"Qdrant would take the column 'a\.b' for a path"):
        storing().run(rows, f"qdrant:{tmp_path}/store#songs")


def test_what_it_cannot_hold_is_said_before_a_row_is_played(tmp_path: Path) -> None:
    rows = rows_of(2).append_column("data", pa.array([b"a", b"b"]))
    with pytest.raises(InputError, match="Qdrant cannot hold column 'data', which is binary"):
        storing().run(rows, f"qdrant:{tmp_path}/store#songs")


def test_times_and_lists_are_held(tmp_path: Path) -> None:
    when = pa.array(np.array(["2024-01-01T10:00", "2025-01-01T10:00"], "datetime64[us]"))
    rows = rows_of(2).append_column("when", when).append_column("tags", pa.array([["a"], None]))
    storing().run(rows, f"qdrant:{tmp_path}/store#songs")
    storing().run(rows, f"qdrant:{tmp_path}/store#songs")  # its columns are what they were
    found = points_in(tmp_path / "store")
    assert [(found[id]["when"], found[id]["tags"]) for id in (0, 1)] == [
        ("2024-01-01T10:00:00Z", ["a"]),
        ("2025-01-01T10:00:00Z", None),
    ]
    graph = searching(
        f"qdrant:{tmp_path}/store#songs",
        {"image": "float32[4]"},
        vectors="image",
        where={"when": {">": "2024-06-01T00:00:00Z"}},
    )
    assert graph({"image": np.ones((1, 4), np.float32)})["id"][0].tolist() == [1]


def test_a_server_is_asked_over_a_real_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.0)
    with warnings.catch_warnings(action="ignore"):
        table = QdrantTable(TableAddress.parse("qdrant+http://127.0.0.1:1#songs"))
    with pytest.raises(mt.RunError, match=r"qdrant\+http://127.0.0.1:1#songs: cannot be reached, after 5 tries"):
        table.layout()
    table.close()
