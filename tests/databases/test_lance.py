"""Tables of LanceDB: what a run writes is there once, whatever ends it, and a search finds what brute force finds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from helpers.nearest import check_search, killed_and_resumed, rows_of, scores_of, searching, storing
from motet.cli import cli
from motet.databases import retry
from motet.databases.address import METRICS, QUERIED, TableAddress
from motet.errors import InputError, ModelLoadError

lancedb = pytest.importorskip("lancedb")


def rows_in(folder: Path, table: str = "songs") -> dict[Any, dict[str, Any]]:
    """The rows of a table by id, as LanceDB itself reads them; each once."""
    found = lancedb.connect(folder).open_table(table).to_arrow().to_pylist()
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: row for row in found}


def written(rows: pa.Table) -> dict[Any, dict[str, Any]]:
    return {row["id"]: {**row, "less": -row["price"]} for row in rows.to_pylist()}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    """A folder with the same rows in a table for each metric."""
    folder, rows = tmp_path_factory.mktemp("lance") / "store", rows_of(60)
    for metric in METRICS:
        report = storing().run(rows, f"lancedb://{folder}?metric={metric}#{metric}")
        assert (report.rows, report.answered, report.failed_output) == (60, 60, "")
    return folder, rows


def test_a_run_writes_all_rows_and_again_in_their_places(tmp_path: Path) -> None:
    rows = rows_of(40)
    address = f"lancedb://{tmp_path}/store#songs"
    storing().run(rows, address, batch_rows=7)
    assert rows_in(tmp_path / "store") == written(rows)
    other = rows_of(30, seed=1).slice(10)
    storing().run(other, address)
    assert rows_in(tmp_path / "store") == {**written(rows), **written(other)}
    assert os.listdir(tmp_path) == ["store"]  # and no journal


def test_of_rows_with_one_id_the_last_one_stays(tmp_path: Path) -> None:
    rows = rows_of(9)
    twice = pa.concat_tables([rows, rows_of(9, seed=5).slice(0, 4)])
    report = storing().run(twice, f"lancedb://{tmp_path}/store#songs")
    assert report.answered == 13
    assert rows_in(tmp_path / "store") == {**written(rows), **written(twice.slice(9))}


def test_positions_and_texts_are_ids(tmp_path: Path) -> None:
    rows = rows_of(5).drop_columns(["id"])
    storing().run(rows, f"lancedb://{tmp_path}/a#songs", row_ids="place", id="place")
    found = lancedb.connect(tmp_path / "a").open_table("songs").to_arrow()
    assert found["place"].to_pylist() == list(range(5))
    storing().run(
        rows.append_column("key", pa.array(["a", "b", "ç", "", "a"])), f"lancedb://{tmp_path}/b#songs", id="key"
    )
    assert sorted(lancedb.connect(tmp_path / "b").open_table("songs").to_arrow()["key"].to_pylist()) == [
        "",
        "a",
        "b",
        "ç",
    ]


def test_rows_that_no_table_can_take_fail_alone(tmp_path: Path) -> None:
    rows = rows_of(6).to_pylist()
    rows[1]["id"] = None
    rows[2]["image"] = [0.0] * 4
    rows[3]["words"] = [1.0, float("nan"), 0.0, 0.0]
    rows[4]["words"] = None
    report = storing().run(pa.Table.from_pylist(rows, schema=rows_of(1).schema), f"lancedb://{tmp_path}/store#songs")
    assert (report.answered, report.failed) == (3, 3)
    assert report.failed_output == f"{tmp_path}/store.songs.failed.parquet"
    failed = pq.read_table(report.failed_output).to_pylist()
    assert [(row["row"], row["node"], row["message"]) for row in failed] == [
        (1, "output", "column 'id' has no value, which is the row's id"),
        (2, "output", "column 'image' is all zeros, which has no direction"),
        (3, "output", "column 'words' has numbers that are not finite"),
    ]
    assert {id: row["words"] for id, row in rows_in(tmp_path / "store").items()} == {
        id: rows[id]["words"] for id in (0, 4, 5)
    }


def test_what_is_acknowledged_stays_when_a_run_is_killed(tmp_path: Path) -> None:
    killed_and_resumed(tmp_path, f"lancedb://{tmp_path}/store#songs", lambda: rows_in(tmp_path / "store"))


@given(st.data())
def test_a_search_finds_what_brute_force_finds(filled: tuple[Path, pa.Table], data: st.DataObject) -> None:
    metric = data.draw(st.sampled_from(METRICS))
    check_search(f"lancedb:{filled[0]}#{metric}", filled[1], metric, data)


def test_several_vectors_are_fused_by_rank(filled: tuple[Path, pa.Table]) -> None:
    folder, rows = filled
    graph = searching(f"lancedb:{folder}#l2", {"image": "float32[4]", "words": "float32[4]"}, k=5, candidates=60)
    image, words = np.array([[1.3, 2.1, -0.7, 0.1]], np.float32), np.array([[-3.3, 0.2, 1.9, 2.7]], np.float32)
    got = graph({"image": image, "words": words})
    scores = np.zeros(60)
    for name, query in (("image", image[0]), ("words", words[0])):
        order = np.argsort(-scores_of(rows, name, query, "l2"), kind="stable")
        scores[order] += 1 / (61 + np.arange(60))
    assert np.allclose(got["score"][0], np.sort(scores)[::-1][:5])
    assert np.allclose(scores[got["id"][0]], got["score"][0])


def test_rows_whose_vectors_have_no_direction_fail_alone(filled: tuple[Path, pa.Table]) -> None:
    graph = searching(f"lancedb:{filled[0]}#cosine", {"image": "float32[4]"}, vectors="image", k=1)
    with pytest.raises(mt.RowErrors, match="'image' is all zeros, which has no direction") as raised:
        graph({"image": np.array([[1, 0, 0, 0], [0, 0, 0, 0]], np.float32)})
    assert [failure.row for failure in raised.value.failures] == [1]
    assert [len(ids) for ids in raised.value.columns["id"]] == [1]


def test_what_is_written_is_found_by_the_next_call(tmp_path: Path) -> None:
    address = f"lancedb:{tmp_path}/store#songs"
    rows = rows_of(10)
    storing().run(rows, address)
    graph = searching(address, {"image": "float32[4]"}, vectors="image", k=1)
    query = np.array([[100.0, 0, 0, 0]], np.float32)
    before = graph({"image": query})["id"][0]
    new = pa.Table.from_pylist([{**rows.to_pylist()[0], "id": 99, "image": [5.0, 0, 0, 0]}], schema=rows.schema)
    storing().run(new, address)
    assert (before.tolist(), graph({"image": query})["id"][0].tolist()) != ([99], [99])
    assert np.isclose(graph({"image": query})["score"][0][0], 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: rows.rename_columns(["key", *rows.column_names[1:]]),
            r"unknown id column 'id'[^\n]*\n  hint: name a column with --id; --row-ids NAME",
        ),
        (lambda rows: rows_of(3, size=5), "vectors 'image' have 4 numbers in the table, and 5 in the rows"),
        (lambda rows: rows.drop_columns(["new"]), "column 'new' is not in the rows, which has id, image"),
        (lambda rows: rows.append_column("more", pa.array([1] * 3)), "column 'more' is not in the table, which has id"),
        (
            lambda rows: rows.set_column(5, "new", pa.array(["a"] * 3)),
            "column 'new' is bool in the table, and string in the rows",
        ),
        (
            lambda rows: rows.append_column("t", pa.array([pa.scalar(3, pa.time32("s"))] * 3, pa.time32("s"))),
            "LanceDB cannot hold column 't', which is time32",
        ),
    ],
)
def test_what_does_not_fit_a_table_is_said_before_a_row_is_played(
    filled: tuple[Path, pa.Table], change: Any, message: str
) -> None:
    def play(price: np.ndarray) -> np.ndarray:
        raise AssertionError("a row was played")

    with pytest.raises((InputError, mt.GraphError), match=message):
        storing(play).run(change(rows_of(3)), f"lancedb://{filled[0]}#cosine")


def test_another_metric_than_that_of_the_table_is_refused(filled: tuple[Path, pa.Table]) -> None:
    with pytest.raises(InputError, match="its vectors are compared by l2, and metric=dot is asked for"):
        storing().run(rows_of(3), f"lancedb://{filled[0]}?metric=dot#l2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"append": True}, "append: is for files, and the output is a table"),
        ({"partition_by": ["genre"]}, "partition_by: is for files, and the output is a table"),
        ({"into": "lancedb:x#t", "only_failed": "a.parquet"}, "into: is for files, and the output is a table"),
    ],
)
def test_options_of_files_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        storing().run(rows_of(3), f"lancedb:{tmp_path}/x#t", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.b", "b`b", "_distance", "query_index"])
def test_names_that_it_has_for_itself_are_refused(tmp_path: Path, name: str) -> None:
    rows = rows_of(2).append_column(name, pa.array([1, 2]))
    with pytest.raises(InputError, match=f"LanceDB cannot have a column called '{name}'"):
        storing().run(rows, f"lancedb:{tmp_path}/x#t")


def test_a_table_that_is_gone_is_not_gone_on_with(tmp_path: Path) -> None:
    rows, address = rows_of(50), f"lancedb:{tmp_path}/x#t"

    def stop(rows: int, total: int | None, failed: int) -> None:
        if rows >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storing().run(rows, address, batch_rows=10, workers=1, progress=stop)
    shutil.rmtree(tmp_path / "x")
    for _ in range(2):
        with pytest.raises(mt.RunError, match=r"x#t: the table is not there any more[^\n]*\n  hint: begin anew"):
            storing().run(rows, address, batch_rows=10, workers=1, resume=True)
    storing().run(rows, address, batch_rows=10, overwrite=True)
    assert rows_in(tmp_path / "x", "t") == written(rows)


def test_what_has_no_value_is_no_other_value(tmp_path: Path) -> None:
    rows = rows_of(3).append_column("flag", pa.array([True, None, False])).append_column("n", pa.array([1.5, None, 2]))
    storing().run(rows, f"lancedb:{tmp_path}/x#t")

    def found(column: str) -> Any:
        graph = searching(f"lancedb:{tmp_path}/x#t", {"image": "float32[4]"}, vectors="image", columns=[column])
        got = graph({"image": np.ones((1, 4), np.float32)})
        return dict(zip(got["id"][0].tolist(), got[column][0].tolist(), strict=True))

    with pytest.raises(mt.RowErrors, match="column 'flag' has no value in a row that was found, and bool has none"):
        found("flag")
    assert np.isnan(found("n")[1])


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    estimate = storing().run(rows_of(30), f"lancedb:{tmp_path}/x#t", dry_run=True)
    assert estimate.rows == 30
    assert not list(tmp_path.iterdir())


def test_an_id_is_for_tables(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="id: id is for tables of databases"):
        storing().run(rows_of(3), str(tmp_path / "a.parquet"), id="id")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("lancedb://store#t", "two slashes, behind which no path begins"),
        ("lancedb:store", "names no table"),
        ("lancedb:#t", "names no database"),
        ("lancedb:store#a/b", "'a/b' cannot be the name of a table"),
        ("lancedb:store?metrc=dot#t", "unknown option 'metrc'"),
        ("lancedb:store?metric=angle#t", "metric is 'angle'; it must be cosine, dot, l2"),
        ("qdrant://localhost:6333#t", r"a folder by its scheme, and a server by its slashes"),
    ],
)
def test_addresses_that_are_none_say_so(address: str, message: str) -> None:
    with pytest.raises((InputError, mt.GraphError), match=message):
        TableAddress.parse(address)


def test_a_password_is_in_no_name() -> None:
    address = TableAddress.parse("postgresql://ann:secret@host:5432/base?sslmode=require#t")
    assert (str(address), address.place) == (
        "postgresql://...@host:5432/base#t",
        "//ann:secret@host:5432/base?sslmode=require",
    )
    assert "secret" not in address.beside + repr(address)


@pytest.mark.parametrize("password", ["se@cret", "se/cret", "se%zcret"])
def test_a_password_that_was_to_be_encoded_is_in_no_name(password: str) -> None:
    address = TableAddress.parse(f"postgresql://ann:{password}@host:5432/base#t")
    assert "cret" not in f"{address} {address.beside} {address!r}"


def test_a_model_does_not_tell_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.0)
    for address in ("qdrant+http://127.0.0.1:1?api_key=geheim#t", "postgresql://ann:geheim@127.0.0.1:1/base#t"):
        with pytest.raises(Exception, match="127") as raised:
            searching(address, {"v": "float32[4]"})
        assert "geheim" not in str(raised.value)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("query=SELECT a+b, '100%25' FROM t&order=id", "SELECT a+b, '100%25' FROM t"),
        ("query=SELECT%20a%2Bb&order=id", "SELECT a+b"),
        ("query=SELECT+a%2Bb+FROM+t+WHERE+a+%26+1&order=id", "SELECT a+b FROM t WHERE a & 1"),
    ],
)
def test_a_query_is_as_it_is_written_or_encoded(query: str, wanted: str) -> None:
    address = TableAddress.parse(f"sqlite:///a.db?{query}", QUERIED)
    assert address.options == {"query": wanted, "order": "id"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be a whole number from 1 to 10,000; got 0"),
        ({"vectors": "picture"}, "unknown column of vectors 'picture'"),
        ({"columns": ["gener"]}, "unknown column 'gener'"),
        ({"where": {"prize": 3}}, "unknown column 'prize'"),
        ({"where": {"price": {"=>": 3}}}, "unknown operator '=>'"),
        ({"where": {"price": {"<": [3]}}}, r"'<' is followed by one value; got \[3\]"),
        ({"where": [3]}, r"\[3\] are no conditions by column"),
        ({"exact": 1}, "exact must be true or false; got 1"),
    ],
)
def test_options_of_a_search_are_checked_with_the_graph(
    filled: tuple[Path, pa.Table], options: dict[str, Any], message: str
) -> None:
    with pytest.raises((mt.GraphError, ModelLoadError), match=message):
        searching(f"lancedb:{filled[0]}#cosine", {"image": "float32[4]"}, **{"vectors": "image", **options})


def test_a_table_that_is_not_there_is_not_searched(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="there is no such table"):
        searching(f"lancedb:{tmp_path}/none#songs", {"image": "float32[4]"})
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_table(tmp_path: Path) -> None:
    pq.write_table(rows_of(8), tmp_path / "in.parquet")
    storing(np.sqrt).save(tmp_path / "store.yaml")
    args = [
        "run",
        str(tmp_path / "store.yaml"),
        "--input",
        str(tmp_path / "in.parquet"),
        "--id",
        "id",
        "--report",
        str(tmp_path / "r.json"),
    ]
    result = CliRunner().invoke(cli, [*args, "--output", f"lancedb://{tmp_path}/store#songs"])
    assert result.exit_code == 0, result.output
    assert "8 rows" in result.output
    assert len(rows_in(tmp_path / "store")) == 8


def test_a_table_is_found_beside_the_graph_file_wherever_that_is_saved(
    filled: tuple[Path, pa.Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(filled[0].parent)
    query = {"image": np.ones((1, 4), np.float32)}
    graph = searching("lancedb:store#l2", {"image": "float32[4]"}, vectors="image", k=3)
    wanted = graph(query)["id"][0].tolist()
    graph.save("search.yaml")
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path)
    mt.load(filled[0].parent / "search.yaml").save(tmp_path / "deep" / "search.yaml")
    for path in (filled[0].parent / "search.yaml", Path("deep/search.yaml")):
        assert mt.load(path)(query)["id"][0].tolist() == wanted
