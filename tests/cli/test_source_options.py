"""How text is read, said on the command line."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from motet.cli import cli

GRAPH = """
motet: 1
inputs: {x: float64}
nodes: {y: {map: motet.ops.columns.cast, inputs: [x], with: {dtype: float32}}}
outputs: {y: y}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "g.yaml").write_text(GRAPH)
    return tmp_path


def motet(folder: Path, command: str, source: str, *options: str) -> Result:
    arguments = [command, str(folder / "g.yaml"), "--input", str(folder / source), *options]
    return CliRunner().invoke(cli, arguments)


def test_options_reach_the_reader(folder: Path) -> None:
    (folder / "rows.txt").write_bytes("x;zip;acc;städte\n1.5;00123;40.0;Genève\n2;;;\n".encode("cp1252"))
    options = ["--format", "csv", "--encoding", "cp1252", "--delimiter", "semicolon", "--empty", "text"]
    types = ["--types", "zip=string, acc=int64"]
    result = motet(folder, "run", "rows.txt", "--output", str(folder / "out.parquet"), "--quiet", *options, *types)
    assert result.exit_code == 0, result.output
    table = pq.read_table(folder / "out.parquet")
    assert table.to_pydict() == {
        "x": [1.5, 2.0], "zip": ["00123", ""], "acc": [40, None], "städte": ["Genève", ""], "y": [1.5, 2.0],
    }  # fmt: skip
    result = motet(folder, "explain", "rows.txt", "--row", "0", *options)
    assert result.exit_code == 0, result.output
    assert "y = 1.5" in result.output


def test_a_header_in_another_encoding_is_no_traceback(folder: Path) -> None:
    (folder / "head.csv").write_bytes(b"x,gr\xf6sse\n1,a\n")
    result = motet(folder, "run", "head.csv", "--output", str(folder / "out.csv"))
    assert result.exit_code == 2
    assert "head.csv: line 1: names a column b'gr\\xf6sse', which is no text in UTF-8" in result.output
    assert "--encoding cp1252" in result.output


def test_an_unclosed_quote_is_exit_code_3(folder: Path) -> None:
    lines = [f'{row},"3/4\n' if row == 5 else f"{row},s\n" for row in range(1, 1001)]
    (folder / "q.csv").write_text("x,size\n" + "".join(lines))
    result = motet(folder, "run", "q.csv", "--output", str(folder / "out.csv"))
    assert result.exit_code == 3
    assert "line 6: a quote opens in field 2 and does not close" in result.output
    assert len(pd.read_csv(folder / "out.csv")) == 999


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--types", "zip"], "is not of the form name=type"),
        (["--types", "zip=text"], "types: zip"),
        (["--types", "zap=string"], "types: unknown column 'zap'; did you mean 'zip'? known: x, zip"),
        (["--types", "x=int64"], "types: column 'x' is int64, and float64 is wanted of it"),
        (["--encoding", "klingon"], "there is no encoding 'klingon'"),
        (["--delimiter", ";;"], "';;' is no delimiter"),
        (["--empty", "null"], "'null' is not one of 'missing', 'text'"),
        (["--format", "xls"], "unknown source format 'xls'"),
        (["--format", "parquet", "--delimiter", ";"], "delimiter is an option of csv; this is parquet"),
        (["--format", "jsonl", "--empty", "text"], "empty is an option of csv; this is jsonl"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, options: list[str], message: str) -> None:
    (folder / "x.csv").write_text("x,zip\n1,00123\n")
    result = motet(folder, "run", "x.csv", "--output", str(folder / "out.csv"), *options)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_a_suffix_that_is_unknown_names_the_option(folder: Path) -> None:
    (folder / "x.tsv").write_text("x\tzip\n1\t00123\n")
    result = motet(folder, "run", "x.tsv", "--output", str(folder / "out.csv"))
    assert "hint: name one with --format (format=)" in result.output
    result = motet(folder, "run", "x.tsv", "--output", str(folder / "out.csv"), "--format", "csv", "--delimiter", "tab")
    assert result.exit_code == 0
    assert pd.read_csv(folder / "out.csv", dtype=str)["zip"].tolist() == ["00123"]
