"""One place under many spellings; what is written is never what is read, and no file is read twice."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as fs
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import motet as mt
from helpers.number_graph import GRAPH
from motet.cli import cli
from motet.errors import InputError
from motet.io import open_source
from motet.io.places import place_of


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / ".cache"))
    Path("g.yaml").write_text(GRAPH)
    return tmp_path


def write(path: str | Path, *values: int) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"x": pa.array(values, pa.int64())}), path)
    return Path(path)


def run(source: object, output: object, *more: str) -> Result:
    return CliRunner().invoke(cli, ["run", "g.yaml", "--input", str(source), "--output", str(output), *more])


def read(what: object) -> list[int]:
    return [value for batch in open_source(what).batches(2) for value in batch["x"].to_pylist()]


@pytest.mark.parametrize(
    "spelling",
    [
        "in put.parquet", "./in put.parquet", "{here}/in put.parquet", "{here}//in put.parquet", "{here}/../{name}/in put.parquet",
        "file://{here}/in%20put.parquet", "FILE://{here}/in%20put.parquet", "file:{here}/in%20put.parquet",
        "file://localhost{here}/in%20put.parquet", "file://{here}/in put.parquet", "local://{here}/in%20put.parquet",
        "link.parquet", "folder_link/in put.parquet", "~/in put.parquet", "hard.parquet",
        "simplecache::file://{here}/in put.parquet", "simplecache::file://{here}/hard.parquet",
    ],
)  # fmt: skip
def test_a_file_is_read_and_not_written_over_however_it_is_spelled(
    here: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    monkeypatch.setenv("HOME", str(here))
    source = write("in put.parquet", 1, 2)
    before = source.read_bytes()
    Path("link.parquet").symlink_to("in put.parquet")
    Path("folder_link").symlink_to(".")
    os.link(source, "hard.parquet")
    text = spelling.format(here=here, name=here.name)
    assert read(text) == [1, 2]
    told = run(text, "out.parquet")
    assert told.exit_code == 0, told.output
    for one, other in ((text, source), (source, text), (text, f"file://{here}/in%20put.parquet")):
        refused = run(one, other, "--overwrite")
        assert refused.exit_code == 2
        assert "the run reads" in refused.stderr
        assert "would write over it" in refused.stderr
    for option in ("--failed", "--report"):
        refused = run(text, "other.parquet", option, str(source))
        assert refused.exit_code == 2
        assert source.read_bytes() == before


@pytest.mark.parametrize(
    "spelling", ["file://{here}/o.parquet", "./o.parquet", "link/o.parquet", "{here}/x/../o.parquet"]
)
@pytest.mark.parametrize("option", ["--failed", "--report"])
def test_what_is_written_goes_to_different_places(here: Path, spelling: str, option: str) -> None:
    write("in.parquet", 1)
    Path("link").symlink_to(".")
    Path("x").mkdir()
    refused = run("in.parquet", "o.parquet", option, spelling.format(here=here))
    assert refused.exit_code == 2
    assert not Path("o.parquet").exists()


@pytest.mark.parametrize("report", ["o.parquet.failed.parquet", "failed.parquet", "file://{here}/g.yaml", "in.parquet"])
def test_a_report_takes_the_place_of_nothing(here: Path, report: str) -> None:
    write("in.parquet", 1)
    pq.write_table(pa.table({"row": [0]}), "failed.parquet")
    before = {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()}
    refused = run("in.parquet", "o.parquet", "--only-failed", "failed.parquet", "--report", report.format(here=here))
    assert (refused.exit_code, "is an input or an output of the run" in refused.stderr) == (2, True), refused.output
    assert {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()} == before


def test_a_folder_that_is_written_holds_nothing_that_is_read_nor_the_failures(here: Path) -> None:
    write("out/deep/in.parquet", 1)
    Path("again").symlink_to("out")
    for output in ("out/", "again/", f"file://{here}/out/", "out"):
        refused = run("out/deep/in.parquet", output, "--overwrite")
        assert refused.exit_code == 2
        assert "would write over it" in refused.stderr
    refused = run("g.yaml", "new/", "--failed", "new/failed.parquet", "--format", "csv")
    assert refused.exit_code == 2
    assert "lies in the folder of the output" in refused.stderr


@pytest.mark.parametrize(
    "url",
    ["dir://x.parquet", "github://x.csv", "dbfs://x.csv", "reference://x.parquet", "jupyter://x.csv", "https://[::1/x.csv",
     "zip://x.csv::g.yaml", "tar://x.csv::g.yaml", "zip://x.csv"],
)  # fmt: skip
def test_what_a_file_system_cannot_open_is_refused_by_its_address(url: str) -> None:
    with pytest.raises(InputError, match="cannot open"):
        open_source(url)
    Path("in.csv").write_text("x\n1\n")
    refused = run("in.csv", url, "--overwrite")
    assert (refused.exit_code, "Traceback" in refused.stderr) == (2, False), refused.output


@pytest.mark.parametrize("what", ["folder", "folder/", "folder/*.parquet"])
def test_a_link_to_nothing_among_tables_is_refused_by_its_name(what: str) -> None:
    write("folder/a.parquet", 1)
    Path("folder/b.parquet").symlink_to("gone.parquet")
    refused = run(what, "o.parquet")
    assert (refused.exit_code, "folder/b.parquet" in refused.stderr) == (2, True), refused.output


@pytest.mark.parametrize("spelling", ["memory://in.parquet", "memory:///in.parquet", "MEMORY://in.parquet"])
def test_so_it_is_on_other_file_systems(spelling: str) -> None:
    import fsspec

    files = fsspec.filesystem("memory")
    files.store.clear()
    with files.open("/in.parquet", "wb") as file:
        pq.write_table(pa.table({"x": [1]}), file)
    before = files.cat_file("/in.parquet")
    refused = run(spelling, "memory:///in.parquet", "--overwrite")
    assert (refused.exit_code, "would write over it" in refused.stderr) == (2, True)
    assert run(spelling, "out.parquet").exit_code == 0
    assert files.cat_file("/in.parquet") == before
    files.store.clear()


def test_a_file_url_of_another_machine_or_without_a_whole_path_is_refused() -> None:
    with pytest.raises(InputError, match=r"'file://elsewhere/x.csv' names the machine 'elsewhere'"):
        open_source("file://elsewhere/x.csv")


def test_an_output_may_be_spelled_as_a_url(here: Path) -> None:
    write("in.parquet", 1, 2)
    assert run("in.parquet", f"FILE://localhost{here}/o%20o.parquet").exit_code == 0
    assert pq.read_table("o o.parquet")["y"].to_pylist() == [1.0, 2.0]
    assert "is there already" in run("in.parquet", "o o.parquet").stderr


@pytest.mark.parametrize("spelling", ["S3://bucket/a/b", "s3a://bucket/a/b", "s3://bucket/a/b/"])
def test_protocols_of_one_store_have_one_name(spelling: str) -> None:
    assert place_of(spelling).key == place_of("s3://bucket/a/b").key == ("s3", "bucket/a/b")
    assert place_of("simplecache::s3://bucket/a/b").is_same(place_of(spelling))
    assert not place_of("s3://bucket/A/b").is_same(place_of(spelling))


@pytest.mark.parametrize(
    "pattern", ["sp", "sp/", "sp/**/*.parquet", "sp/**", "./sp/*", "{here}/sp/**/*.parquet", "s[p]/**/*.parquet"]
)
def test_what_is_not_committed_is_not_read(here: Path, pattern: str) -> None:
    write("sp/part-0.parquet", 1)
    write("sp/_temporary/0/t/part-0.parquet", 1)
    write("sp/.staging/part-0.parquet", 1)
    write("sp/o.parquet.unfinished/part-0.parquet", 1)
    source: Any = open_source(pattern.format(here=here))
    assert [value for batch in source.batches(2) for value in batch["x"].to_pylist()] == [1]
    assert "hidden" in source.left_out or pattern == "./sp/*"


def test_what_is_spelled_out_is_read() -> None:
    write("_in/.a/part.parquet", 1)
    write("_in/_b.parquet", 2)
    for pattern in ("_in/.a/part.parquet", "_in/.a/*.parquet", "_in/.a", "_in/.*/*.parquet"):
        assert read(pattern) == [1]
    assert read("_in/_*.parquet") == [2]


@pytest.mark.parametrize("pattern", ["lp", "lp/**/*.parquet", "lp/**", "lp/*/*.parquet"])
def test_no_link_is_followed_in_circles(pattern: str) -> None:
    write("lp/sub/a.parquet", 1, 2, 3)
    Path("lp/sub/up").symlink_to("..")
    Path("lp/sub/same").symlink_to(".")
    Path("lp/other").symlink_to("sub")
    assert read(pattern) == [1, 2, 3]


@pytest.mark.parametrize("pattern", ["in", "in/*", "in/**/*.parquet"])
def test_a_file_is_read_once_whatever_links_lead_to_it(pattern: str) -> None:
    write("in/a.parquet", 1)
    write("elsewhere/b.parquet", 2)
    Path("in/c.parquet").symlink_to("a.parquet")
    Path("in/_0.parquet").symlink_to("a.parquet")
    for link in ("in/d.parquet", "in/e.parquet"):
        Path(link).symlink_to("../elsewhere/b.parquet")
    source: Any = open_source(pattern)
    assert read(pattern) == [1, 2]
    assert "2 found twice, by another name or a link, and read once" in source.left_out
    assert [file.path for file in source.reads] == ["in/a.parquet", "in/d.parquet"]


def test_a_linked_folder_is_read_though_what_it_leads_to_is_hidden() -> None:
    write("in/_data/a.parquet", 1)
    Path("in/data").symlink_to("_data")
    assert read("in") == read("in/**/*.parquet") == [1]


def test_inputs_that_overlap_are_read_once_and_it_is_said() -> None:
    write("sp/part-0.parquet", 1)
    write("sp/part-1.parquet", 2)
    for what, values in (
        (["sp", "sp/part-0.parquet"], [2, 1]), (["sp/part-0.parquet", "sp"], [1, 2]), (["sp", "sp/*.parquet"], [1, 2]),
        (["sp/*-1.parquet", f"file://{Path.cwd()}/sp"], [2, 1]),
    ):  # fmt: skip
        assert read(what) == values
        assert "found twice" in open_source(what).left_out  # type: ignore[attr-defined]
    Path("link.parquet").symlink_to("sp/part-0.parquet")
    for twice in (["sp/part-0.parquet"] * 2, ["sp/part-0.parquet", "link.parquet"]):
        with pytest.raises(InputError, match="is named twice"):
            open_source(twice)


@pytest.mark.parametrize(
    "pattern", ["in/*.parquet", "in/*/*.parquet", "in/**/*.parquet", "in/[ab]*", "in/?.parquet", "in/d?/*"]
)
def test_patterns_mean_what_they_mean_elsewhere(pattern: str) -> None:
    for number, path in enumerate(
        ["in/a.parquet", "in/bb.parquet", "in/d1/c.parquet", "in/d1/e/f.parquet", "in/d2/g.parquet"]
    ):
        write(path, number)
    expected = duckdb.sql(f"select x from read_parquet('{pattern}') order by filename").fetchall()
    assert read(pattern) == [value for (value,) in expected]


def test_folders_that_a_pattern_fits_are_read_where_it_fits_nothing_else() -> None:
    write("sales/year=2020/a.parquet", 1)
    write("sales/year=2021/deep/b.parquet", 2)
    write("sales/all.parquet", 3)
    assert read("sales/year=*") == [1, 2]
    source: Any = open_source("sales/*")
    assert read("sales/*") == [3]
    assert "2 folders left out that the pattern fits" in source.left_out


def test_names_may_be_any_bytes(here: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    write("plain/a.parquet", 1)
    Path("plain").rename(name)
    for what in (f"{name}/a.parquet", name, f"{name}/*.parquet", f"file://{here}/caf%E9/a.parquet"):
        assert read(what) == [1]
    told = run(f"{name}/a.parquet", "o.parquet")
    assert told.exit_code == 0, told.output
    assert "caf\\xe9/b.parquet" in run(f"{name}/b.parquet", "o.parquet").stderr


@pytest.mark.parametrize(
    ("log", "kind"),
    [
        ("_delta_log/00000000000000000000.json", "Delta Lake"),
        (".hoodie/hoodie.properties", "Hudi"),
        ("metadata/v1.metadata.json", "Iceberg"),
    ],
)
def test_a_table_whose_log_says_which_files_count_is_refused(log: str, kind: str) -> None:
    write("table/data/a.parquet", 1)
    Path("table", log).parent.mkdir(parents=True)
    Path("table", log).write_text("{}")
    with pytest.raises(InputError, match=f"table: is a table of {kind}, whose log says which of its files count"):
        open_source("table")
    assert read("table/data/*.parquet") == [1]


@pytest.mark.parametrize("pattern", ["nothing/*.parquet", "in/*.csv", "in/*/x.parquet", "nothing", "", "in/nothing/"])
def test_what_is_not_there_is_said(pattern: str) -> None:
    write("in/a.parquet", 1)
    with pytest.raises(InputError, match=r"there is no file|no file fits"):
        open_source(pattern)


def test_files_of_datasets_and_of_failures_are_not_written_over(here: Path) -> None:
    import fsspec

    before = write("in/a.parquet", 1, 2).read_bytes()
    graph = mt.load("g.yaml")
    for dataset in (
        ds.dataset("in"),
        ds.dataset(here / "in", format="parquet"),
        ds.dataset("in", filesystem=fs.SubTreeFileSystem(str(here), fs.LocalFileSystem())),
        ds.dataset("in", filesystem=fsspec.filesystem("file")),
        ds.dataset([ds.dataset("in")]),
    ):
        for output in ("in/a.parquet", f"file://{here}/in/a.parquet", "in/"):
            with pytest.raises(InputError, match="would write over it"):
                graph.run(dataset, output, overwrite=True)
    pq.write_table(pa.table({"row": [1]}), "failed.parquet")
    failed = Path("failed.parquet").read_bytes()
    for output, more in (("failed.parquet", []), ("o.parquet", ["--failed", f"file://{here}/failed.parquet"])):
        told = run("in", output, "--only-failed", "failed.parquet", "--overwrite", *more)
        assert (told.exit_code, "would write over it" in told.stderr) == (2, True), told.output
    assert run("in", "o.parquet", "--only-failed", "failed.parquet").exit_code == 0
    assert (Path("in/a.parquet").read_bytes(), Path("failed.parquet").read_bytes()) == (before, failed)


def test_files_in_archives_are_read_and_those_of_two_are_two() -> None:
    for number in range(2):
        with zipfile.ZipFile(f"{number}.zip", "w") as archive:
            archive.writestr("in/a.csv", f"x\n{number}\n")
            archive.writestr("in/_b.csv", "x\n9\n")
    for what in ("zip://in/a.csv::1.zip", "zip://in/*.csv::1.zip", "ZIP://::1.zip", "zip://**/*.csv::1.zip"):
        assert read(what) == ["1"]
    assert read(["zip://in/a.csv::0.zip", "zip://in/a.csv::1.zip"]) == ["0", "1"]
    with pytest.raises(InputError, match=r"zip://\*.csv::1.zip"):
        open_source("1.zip")


def test_links_to_nothing_are_said(here: Path) -> None:
    Path("in").mkdir()
    Path("in/a.csv").write_text("x\n1\n")
    Path("in/gone.csv").symlink_to("nowhere")
    for what in ("in", "in/*.csv"):
        told = run(what, "o.csv")
        assert told.exit_code in (1, 2)
        assert "gone.csv" in told.stderr
    assert "'in/gone.csv' is a link to nowhere, which is not there" in run("in/gone.csv", "o.csv").stderr
    Path("in/gone.csv").unlink()
    Path("in/self.csv").symlink_to("self.csv")
    assert "self.csv" in run("in", "o.csv").stderr


@pytest.mark.parametrize("what", ["a\0b", "s3://", "http://", "file://", "://x", "x" * 5000])
def test_what_names_nothing_is_said(what: str) -> None:
    with pytest.raises(InputError):
        open_source(what)


@pytest.mark.parametrize("output", [".", "./", "../here", "../here/", "../here/.", "{here}/here/../here/"])
def test_the_current_folder_may_be_written(here: Path, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    source = write("in.parquet", 1, 2).absolute()
    graph = mt.load("g.yaml")
    Path("here").mkdir()
    monkeypatch.chdir("here")
    assert graph.run(source, output.format(here=here)).rows == 2
    assert sorted(path.name for path in Path().iterdir()) == ["_finished.json", "part-00000.parquet"]
