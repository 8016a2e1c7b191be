"""Failed rows played again and put back where they belong: the output is what a run without failures would have given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import motet as mt
from motet.cli import cli
from motet.engines.local import merge, pending
from motet.errors import InputError, MotetError, ResumeError
from motet.io.lines import lines_of

ROWS = 60
FORMATS = ["out.parquet", "out.arrow", "out.csv", "out.jsonl", "out.csv.gz", "out.jsonl.zst", "out/"]
bad: set[int] = set()
"""The rows that fail now."""


@mt.returns({"y": "int64", "text": "string", "p": "float32[2]"})
def answer(x: np.ndarray) -> dict[str, Any]:
    """Refuses those rows."""
    if any(int(value) in bad for value in x):
        raise ValueError("off")
    return {
        "y": x * 10,
        "text": [f'a "{value}",\nb' if value % 3 else "" for value in x],
        "p": np.stack([x, x / 7], axis=1).astype(np.float32),
    }


def graph(function: Any = answer) -> mt.Graph:
    answers = mt.map(function, mt.input("x", "int64"))
    return mt.Graph("g", {"y": answers["y"], "text": answers["text"], "p": answers["p"]})


def source(folder: Path) -> Path:
    table = pa.table({"x": np.arange(ROWS), "name": [f"n, {row}" if row % 4 else None for row in range(ROWS)]})
    pq.write_table(table, folder / "in.parquet", row_group_size=10)
    return folder / "in.parquet"


def content(output: Path) -> Any:
    """What an output holds: to the byte for text, as a table for others."""
    if output.is_dir():
        return pa.concat_tables([pq.read_table(path) for path in sorted(output.glob("part-*"))])
    if output.suffix == ".parquet":
        return pq.read_table(output)
    if output.suffix == ".arrow":
        return pa.ipc.open_file(output).read_all()
    codec = {".gz": "gzip", ".zst": "zstd"}.get(output.suffix)
    raw = pa.OSFile(str(output))
    return (pa.CompressedInputStream(raw, codec) if codec else raw).read()


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "READ_ROWS", 7)


@pytest.fixture(autouse=True)
def none_bad() -> None:
    bad.clear()


def failed_run(folder: Path, name: str, rows: set[int], **options: Any) -> str:
    """A run in which rows fail, beside what a run without failures gives; the file of failures."""
    bad.clear()
    graph().run(source(folder), f"{folder}/whole-{name}", batch_rows=9, **options)
    bad.update(rows)
    report = graph().run(source(folder), f"{folder}/{name}", batch_rows=9, max_failures="100%", **options)
    assert report.failed == len(rows)
    return report.failed_output


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rows", [{0, 1, 2, 30, 31, 59}, {5}, set(range(ROWS)), set(range(0, ROWS, 2)), {59}])
def test_answers_go_to_their_places(tmp_path: Path, name: str, rows: set[int]) -> None:
    failed = failed_run(tmp_path, name, rows)
    bad.clear()
    report = graph().run(tmp_path / "in.parquet", only_failed=failed, into=f"{tmp_path}/{name}", batch_rows=4)
    assert (report.rows, report.failed) == (len(rows), 0)
    assert content(tmp_path / name) == content(tmp_path / f"whole-{name}")
    if name == "out/":
        finished = json.loads((tmp_path / "out" / "_finished.json").read_text())
        assert finished == json.loads((tmp_path / "whole-out" / "_finished.json").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        {"in.parquet", name.strip("/"), f"whole-{name}".strip("/")}
    )


@pytest.mark.parametrize("name", FORMATS)
def test_only_what_fails_again_stays_among_the_failures(tmp_path: Path, name: str) -> None:
    failed = failed_run(tmp_path, name, {3, 4, 20, 40, 59})
    for still in ({4, 59}, {59}, {59}, set()):
        bad.clear()
        bad.update(still)
        report = graph().run(tmp_path / "in.parquet", only_failed=failed, into=f"{tmp_path}/{name}")
        assert report.failed == len(still)
        assert Path(failed).exists() == bool(still)
        if still:
            assert set(pq.read_table(failed)["row"].to_pylist()) == still
    assert content(tmp_path / name) == content(tmp_path / f"whole-{name}")


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
@pytest.mark.parametrize("options", [
    {"skip": 7}, {"limit": 31}, {"shard": "1/3"}, {"sample": "60%"}, {"sample": 33, "seed": 2}, {"row_ids": "row"},
    {"skip": 5, "sample": "80%", "shard": "0/2", "limit": 20, "keep": ["name"]}, {"drop": ["x", "name"]},
])  # fmt: skip
def test_it_goes_by_the_choice_of_rows(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    bad.clear()
    ids = graph().run(source(tmp_path), **{**options, "row_ids": "id"})["id"].to_pylist()
    rows = set(ids[::3])
    failed = failed_run(tmp_path, name, rows, **options)
    bad.clear()
    if not {"row_ids", "drop"} & set(options):
        with pytest.raises(InputError, match=r"were played|is none of those chosen"):
            graph().run(tmp_path / "in.parquet", only_failed=failed, into=f"{tmp_path}/{name}")
    graph().run(tmp_path / "in.parquet", only_failed=failed, into=f"{tmp_path}/{name}", **options)
    assert content(tmp_path / name) == content(tmp_path / f"whole-{name}")


@pytest.mark.parametrize("name", ["f.csv", "f.jsonl", "f.arrow", "f.csv.gz"])
def test_failures_may_be_of_any_format(tmp_path: Path, name: str) -> None:
    bad.update({3, 7})
    graph().run(source(tmp_path), tmp_path / "out.parquet", failed=f"{tmp_path}/{name}")
    bad.remove(3)
    again = graph().run(tmp_path / "in.parquet", only_failed=f"{tmp_path}/{name}", into=tmp_path / "out.parquet")
    assert (again.rows, again.failed, again.failed_output) == (2, 1, f"{tmp_path}/{name}")
    bad.clear()
    graph().run(tmp_path / "in.parquet", only_failed=f"{tmp_path}/{name}", into=tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet")["y"].to_pylist() == [10 * row for row in range(ROWS)]
    (tmp_path / "bad.csv").write_text("row\n1\nx\n")
    with pytest.raises(InputError, match="names no row in a line of it"):
        graph().run(tmp_path / "in.parquet", tmp_path / "o.csv", only_failed=f"{tmp_path}/bad.csv")


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
def test_text_is_an_input_too(tmp_path: Path, name: str) -> None:
    pa.csv.write_csv(pq.read_table(source(tmp_path)), tmp_path / "in.csv")
    bad.clear()
    graph().run(tmp_path / "in.csv", tmp_path / f"whole-{name}")
    bad.update({2, 30})
    failed = graph().run(tmp_path / "in.csv", tmp_path / name).failed_output
    bad.clear()
    graph().run(tmp_path / "in.csv", only_failed=failed, into=f"{tmp_path}/{name}")
    assert content(tmp_path / name) == content(tmp_path / f"whole-{name}")


class Stopped(BaseException):
    """What stops a run from outside."""


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("where", ["playing", "before a part", "after a part", "failures", "end"])
def test_a_merge_that_is_killed_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, where: str
) -> None:
    from motet.engines.local.failure_file import FailureFile
    from motet.engines.local.journal import PieceJournal

    rows = {0, 7, 8, 22, 41, 59}
    options: dict[str, Any] = {"part_rows": 20} if name.endswith("/") else {}
    failed = failed_run(tmp_path, name, rows, **options)
    bad.clear()
    bad.add(8)
    monkeypatch.setattr(pending, "COMMIT_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        calls: list[int] = []

        def stop(*given: Any) -> Any:
            calls.append(1)
            if where == "after a part" or (where == "playing" and len(calls) < 2):
                original(*given)
            if where != "playing" or len(calls) > 1:
                raise Stopped

        target: Any = {"failures": (FailureFile, "close"), "end": (PieceJournal, "remove")}.get(
            where, (merge.MergedOutput, "_merge")
        )
        progress = None
        if where == "playing":
            original, progress = (lambda *_: None), stop
        else:
            original = getattr(*target)
            patched.setattr(*target, stop)  # type: ignore[call-overload]
        with pytest.raises(Stopped):
            graph().run(
                tmp_path / "in.parquet",
                only_failed=failed,
                into=f"{tmp_path}/{name}",
                batch_rows=2,
                workers=1,
                progress=progress,
            )
    if where in ("failures", "after a part"):
        with pytest.raises(MotetError, match=r"rows were played|were played|merge"):
            graph().run(tmp_path / "in.parquet", only_failed=failed, into=f"{tmp_path}/{name}", overwrite=True)
    report = graph().run(tmp_path / "in.parquet", only_failed=failed, into=f"{tmp_path}/{name}", batch_rows=2)
    assert (report.rows, report.failed) == (1 if where == "end" else len(rows), 1)
    bad.clear()
    graph().run(tmp_path / "in.parquet", only_failed=failed, into=f"{tmp_path}/{name}")
    assert content(tmp_path / name) == content(tmp_path / f"whole-{name}")
    assert not Path(failed).exists()


def test_a_merge_that_stopped_goes_on_with_the_same_graph_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = failed_run(tmp_path, "out.parquet", {1, 20, 30})
    bad.clear()
    monkeypatch.setattr(pending, "COMMIT_SECONDS", 0.0)

    def stop(*_: Any) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        graph().run(
            tmp_path / "in.parquet", only_failed=failed, into=tmp_path / "out.parquet", batch_rows=1, progress=stop
        )

    @mt.returns({"y": "int64", "text": "string", "p": "float32[2]"})
    def other(x: np.ndarray) -> dict[str, Any]:
        return {"y": x * 11, "text": ["t"] * len(x), "p": np.zeros((len(x), 2), np.float32)}

    with pytest.raises(ResumeError, match="the graph, or a function it names"):
        graph(other).run(tmp_path / "in.parquet", only_failed=failed, into=tmp_path / "out.parquet")
    graph(other).run(tmp_path / "in.parquet", only_failed=failed, into=tmp_path / "out.parquet", overwrite=True)
    found = pq.read_table(tmp_path / "out.parquet")["y"].to_pylist()
    assert found == [row * (11 if row in (1, 20, 30) else 10) for row in range(ROWS)]


def test_what_the_rows_did_not_fail_in_is_refused_and_stays(tmp_path: Path) -> None:
    failed = failed_run(tmp_path, "out.parquet", {1, 20, 30})
    bad.clear()
    kept = pq.read_table(tmp_path / "out.parquet")
    few = tmp_path / "few.parquet"
    pq.write_table(pq.read_table(failed).slice(1), few)
    pq.write_table(kept.slice(1), tmp_path / "short.parquet")
    pq.write_table(kept.drop_columns("y"), tmp_path / "less.parquet")
    pq.write_table(kept.set_column(0, "x", pa.array(["t"] * len(kept))), tmp_path / "typed.parquet")
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"x": np.arange(ROWS) + 1, "name": ["n"] * ROWS}), other)
    for file, target, message in [
        (few, "out.parquet", "has 57 rows; 60 were played, and 2 of them failed"),
        (failed, "short.parquet", "has 56 rows"),
        (failed, "less.parquet", "has the columns x, name, text, p; the answers have x, name, y, text, p"),
        (failed, "typed.parquet", "column 'x' is string; that of the answers is int64"),
        (failed, "missing.parquet", "there is no file"),
    ]:
        with pytest.raises(InputError, match=message):
            graph().run(tmp_path / "in.parquet", only_failed=str(file), into=tmp_path / target)
    with pytest.raises(InputError, match="failed in another input"):
        graph().run(other, only_failed=failed, into=tmp_path / "out.parquet")
    with pytest.raises(InputError, match=r"would throw away(.|\n)*--into"):
        graph().run(tmp_path / "in.parquet", tmp_path / "out.parquet", only_failed=failed, overwrite=True)
    for options, message in [
        ({}, "into is for only_failed"),
        ({"only_failed": failed, "failed": "f.parquet"}, "failed"),
        ({"only_failed": failed, "output": tmp_path / "x.parquet"}, "into names the output"),
    ]:
        with pytest.raises(InputError, match=message):
            graph().run(tmp_path / "in.parquet", into=tmp_path / "out.parquet", **options)  # type: ignore[arg-type]
    assert pq.read_table(tmp_path / "out.parquet").equals(kept)
    assert pq.read_table(failed)["row"].to_pylist() == [1, 20, 30]
    graph().run(tmp_path / "in.parquet", tmp_path / "again.parquet", only_failed=failed)
    again = graph().run(tmp_path / "in.parquet", tmp_path / "again.parquet", only_failed=failed, overwrite=True)
    assert again.rows == 3


def test_types_that_nobody_declared_become_wider(tmp_path: Path) -> None:
    def loose(x: np.ndarray) -> list[Any]:
        if any(int(value) in bad for value in x):
            raise ValueError("off")
        return [value / 2 if value >= 50 else int(value) for value in x.tolist()]

    what = mt.Graph("g", {"y": mt.map(loose, mt.input("x", "int64"))})
    bad.update(range(50, ROWS))
    failed = what.run(source(tmp_path), tmp_path / "out.parquet", batch_rows=5).failed_output
    assert pq.read_table(tmp_path / "out.parquet").schema.field("y").type == pa.int64()
    bad.clear()
    what.run(tmp_path / "in.parquet", only_failed=failed, into=tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet")["y"].to_pylist() == [
        row / 2 if row >= 50 else float(row) for row in range(ROWS)
    ]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet='ab",\n\r é', max_size=6), min_size=1, max_size=8), st.booleans())
def test_rows_of_text_are_cut_where_they_end(fields: list[str], quotes: bool) -> None:
    if quotes:
        rows = ['"' + field.replace('"', '""') + '",1\n' for field in fields]
    else:
        rows = [field.replace("\n", "") + "\n" for field in fields]
    batch = lines_of("".join(rows).encode(), quotes=quotes)
    assert [row.decode() for row in batch.column(0).to_pylist()] == rows


def test_the_command_merges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    failed = failed_run(tmp_path, "out.csv", {2, 5})
    graph().save("g.yaml")
    arguments = ["run", "g.yaml", "--input", "in.parquet", "--only-failed", failed]
    wrong = CliRunner().invoke(cli, arguments)
    assert (wrong.exit_code, "Missing option '--output'" in wrong.stderr) == (2, True)
    bad.clear()
    bad.add(5)
    some = CliRunner().invoke(cli, [*arguments, "--into", "out.csv"])
    assert (some.exit_code, "1 of 2 rows failed" in some.stderr) == (3, True)
    bad.clear()
    assert CliRunner().invoke(cli, [*arguments, "--into", "out.csv"]).exit_code == 0
    assert content(tmp_path / "out.csv") == content(tmp_path / "whole-out.csv")


def test_partitions_are_not_merged_into(tmp_path: Path) -> None:
    bad.add(3)
    failed = graph().run(source(tmp_path), f"{tmp_path}/out/", partition_by=["name"]).failed_output
    bad.clear()
    with pytest.raises(InputError, match="in a folder that cannot be merged into"):
        graph().run(tmp_path / "in.parquet", only_failed=failed, into=f"{tmp_path}/out/", partition_by=["name"])
    assert pq.read_table(failed)["row"].to_pylist() == [3]


def test_parts_of_text_are_merged_into(tmp_path: Path) -> None:
    failed = failed_run(tmp_path, "out/", {0, 21, 59}, output_format="csv", part_rows=20)
    bad.clear()
    graph().run(tmp_path / "in.parquet", only_failed=failed, into=f"{tmp_path}/out/", output_format="csv")
    texts = []
    for folder in ("out", "whole-out"):
        parts = [path.read_text().partition("\n") for path in sorted((tmp_path / folder).glob("part-*"))]
        texts.append("".join(rows for _, _, rows in parts))
    assert texts[0] == texts[1] != ""
