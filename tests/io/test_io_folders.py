"""What a folder holds is read, or counted and named; one odd entry ends nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

import motet as mt
from motet.cli import cli
from motet.errors import InputError
from motet.io import open_source, split_faults

CAFE = os.fsdecode(b"caf\xe9")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six pictures that can be read, two of them in folders, and what else lies about in folders."""
    folder = tmp_path / "pictures"
    (folder / "more" / "deep").mkdir(parents=True)
    picture = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2))
    for name, kind in (("a.png", "PNG"), ("b.jfif", "JPEG"), ("c.tif", "TIFF"), ("more/d.JPE", "JPEG")):
        picture.save(folder / name, kind)
    picture.save(folder / "more" / "deep" / "e.bmp")
    picture.save(folder / "f.webp", lossless=True)
    for name in ("Thumbs.db", "x.heic", "y.heic", "no_suffix", "._a.png", "_b.png", ".DS_Store"):
        (folder / name).write_bytes(b"x")
    return folder


def graph() -> mt.Graph:
    return mt.Graph("same", outputs={"y": mt.map(mt.ops.image.flip, mt.input("image", "uint8[2,2]"))})


def names(source: Any) -> list[str]:
    batches = (split_faults(batch)[0] for batch in source.batches(4, ["path"]))
    return [Path(path).name for batch in batches for path in batch["path"].to_pylist()]


def test_what_is_left_out_is_counted_and_named(pictures: Path, tmp_path: Path) -> None:
    source: Any = open_source(pictures)
    assert names(source) == ["a.png", "b.jfif", "c.tif", "f.webp", "d.JPE", "e.bmp"]
    assert source.left_out == "6 files left out: 2 .heic, 2 hidden, 1 .db, 1 without suffix"
    report = graph().run(pictures, tmp_path / "out.parquet", batch_rows=2)
    assert (report.rows, report.failed, report.files_left_out) == (6, 0, source.left_out)
    assert source.left_out in str(report)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_so_it_is_for_tables(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / "in"
    source.mkdir()
    pq.write_table(pa.table({"y": [1.0, 2.0, 3.0]}), tmp_path / "rows.parquet")
    rows = {"csv": b"y\n1\n2\n3\n", "jsonl": b'{"y":1}\n' * 3, "parquet": (tmp_path / "rows.parquet").read_bytes()}
    for part in ("a", CAFE, ".c", "d"):
        (source / f"{part}.{suffix}").write_bytes(rows[suffix])
    (source / "notes.txt").write_text("not a table")
    for what in (source, source / "*"):
        opened: Any = open_source(what)
        assert sum(batch.num_rows for batch in opened.batches(2)) == 9
        assert opened.left_out == (
            "2 files left out: 1 .txt, 1 hidden" if what is source else "1 file left out: 1 .txt"
        )
        assert opened.fingerprint() == open_source(what).fingerprint()


def test_nothing_is_said_where_nothing_is_left_out(pictures: Path) -> None:
    assert open_source(pictures / "a.png").left_out == ""  # type: ignore[attr-defined]
    assert open_source(pictures / "more").left_out == ""  # type: ignore[attr-defined]


def test_files_that_are_named_are_never_left_out(pictures: Path) -> None:
    with pytest.raises(InputError, match=r"x\.heic: cannot tell the format of 'x\.heic' by its suffix"):
        open_source([pictures / "a.png", pictures / "x.heic"])
    both = open_source([pictures / "a.png", pictures / "x.heic"], format="images")
    assert names(both) == ["a.png", "x.heic"]


def test_odd_entries_are_failed_rows(pictures: Path, tmp_path: Path) -> None:
    (pictures / "gone.png").symlink_to("nowhere")
    (pictures / f"{CAFE}.png").write_bytes((pictures / "a.png").read_bytes())
    os.mkfifo(pictures / "pipe.png")
    (pictures / "loop").symlink_to(".")
    source: Any = open_source(pictures)
    assert source.fingerprint() == open_source(pictures).fingerprint()
    report = graph().run(pictures, tmp_path / "out.parquet", batch_rows=2)
    assert (report.rows, report.answered, report.failed) == (9, 6, 3)
    failed = pq.read_table(report.failed_output).to_pylist()
    shown = str(pictures / "caf\\xe9.png")
    assert [(each["path"], each["message"]) for each in failed] == [
        (shown, f"{shown}: the name is no UTF-8, so `path` cannot hold it; rename the file"),
        (str(pictures / "gone.png"), f"{pictures / 'gone.png'} cannot be read: No such file or directory"),
        (str(pictures / "pipe.png"), f"{pictures / 'pipe.png'} cannot be read: is no regular file"),
    ]
    assert {Path(path).name for path in pq.read_table(tmp_path / "out.parquet")["path"].to_pylist()} == set(
        names(open_source(pictures))
    ) - {"caf\\xe9.png", "gone.png", "pipe.png"}


def test_a_failed_row_names_its_file_in_the_terminal_too(pictures: Path, tmp_path: Path) -> None:
    (pictures / "b2.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    graph().save(tmp_path / "g.yaml")
    asked = ["run", str(tmp_path / "g.yaml"), "--input", str(pictures), "--output", str(tmp_path / "o.parquet")]
    told = CliRunner().invoke(cli, asked)
    assert "6 files left out: 2 .heic, 2 hidden, 1 .db, 1 without suffix" in told.stdout
    assert f"row 2 ({pictures}/b2.png): node input: InputError: column 'image' is " in told.stderr


def test_linked_folders_are_read_once(pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (pictures / "a.png").rename(other / "a.png")
    for link in ("one", "two"):
        (pictures / link).symlink_to(other)
    (other / "back").symlink_to(pictures)
    assert sorted(names(open_source(pictures))) == ["a.png", "b.jfif", "c.tif", "d.JPE", "e.bmp", "f.webp"]


def test_a_folder_that_cannot_be_read_is_said(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("more"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(InputError, match=r"the folder '.*/more' cannot be read: Permission denied"):
        open_source(pictures)


def test_columns_that_only_names_of_folders_have_are_read(tmp_path: Path) -> None:
    table = pa.table({"x": [1.0, 2.0], "year": [2023, 2024]})
    pq.write_to_dataset(table, tmp_path / "sales", partition_cols=["year"])
    for what in (tmp_path / "sales", ds.dataset(tmp_path / "sales", partitioning="hive")):
        assert open_source(what).schema.names == ["x", "year"]


def test_names_of_folders_are_no_columns_of_pictures_and_it_is_said(pictures: Path) -> None:
    (pictures / "more").rename(pictures / "kind=shoe")
    source: Any = open_source(pictures)
    assert source.schema.names == ["image", "path"]
    assert source.left_out.endswith("names of folders are no columns of pictures: kind")


@pytest.mark.parametrize("name", ["a[1]", "a?b", "a*b"])
def test_a_folder_is_read_under_its_own_name_though_it_looks_like_a_pattern(tmp_path: Path, name: str) -> None:
    for place, folder in enumerate((name, "a1", "axb")):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table({"x": [place]}), tmp_path / folder / "p.parquet")
    for spelled in (f"{tmp_path}/{name}", f"{tmp_path}/{name}/", f"{tmp_path}/{name}/../{name}/."):
        assert [row for batch in open_source(spelled).batches(9) for row in batch["x"].to_pylist()] == [0]
    fit = [row for batch in open_source(f"{tmp_path}/a*/p.parquet").batches(9) for row in batch["x"].to_pylist()]
    assert sorted(fit) == [0, 1, 2]
