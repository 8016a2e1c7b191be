"""Names that are no ASCII where the locale is C, and names that are no UTF-8, as files and in what is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
GRAPH = "motet: 1\nname: g\ninputs: {x: int64}\nnodes: {a: {map: functions_of_names.add, inputs: [x], outputs: int64}}\noutputs: {y: a}\n"


@pytest.fixture(params=["grün".encode(), b"gr\xfcn"], ids=["UTF-8", "Latin-1"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    """A folder with a graph, its function and its input, all of them in a name of these bytes."""
    made = os.path.join(os.fsencode(tmp_path), request.param)
    os.mkdir(made)
    for name, text in {b"g.yaml": GRAPH, b"functions_of_names.py": "def add(x):\n    return x + 1\n"}.items():
        with open(os.path.join(made, name), "w") as file:
            file.write(text)
    pq.write_table(pa.table({"x": [1, 2, 3]}), tmp_path / "in.parquet")
    os.rename(tmp_path / "in.parquet", os.path.join(made, b"in.parquet"))
    return made


def motet(*args: str | bytes, **env: str) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable.encode(), b"-m", b"motet.cli", *map(os.fsencode, args)]
    return subprocess.run(line, capture_output=True, check=False, timeout=60, env={**os.environ, **env})


@pytest.mark.parametrize("env", [{}, C_LOCALE], ids=["UTF-8", "C"])
@pytest.mark.parametrize("suffix", [b".parquet", b".csv", b".jsonl", b".arrow", b"/"])
def test_a_run_from_and_to_names_of_any_bytes(folder: bytes, suffix: bytes, env: dict[str, str]) -> None:
    output, report = folder + b"/answers" + suffix, folder + b"/report.json"
    args = [b"run", folder + b"/g.yaml", b"--input", folder + b"/in.parquet", b"--output", output, b"--report", report]
    done = motet(*args, **env)
    assert done.returncode == 0, done.stderr
    assert b"3 rows, 3 answered, 0 failed" in done.stdout
    assert os.path.exists(output)
    assert os.path.exists(report)
    if suffix == b".parquet":
        with open(output, "rb") as file:
            assert pq.read_table(file).to_pydict() == {"x": [1, 2, 3], "y": [2, 3, 4]}


@pytest.mark.parametrize("env", [{}, C_LOCALE], ids=["UTF-8", "C"])
@pytest.mark.parametrize(
    "command", [[b"check", b"nothing.yaml"], [b"run", b"g.yaml", b"--input", b"nothing.csv", b"--output", b"o.csv"]]
)
def test_what_is_not_there_is_said(folder: bytes, command: list[bytes], env: dict[str, str]) -> None:
    done = motet(*(folder + b"/" + each if b"." in each else each for each in command), **env)
    assert (done.returncode, done.stderr.count(b"there is no file")) == (2, 1), done.stderr


def test_what_tells_python_to_keep_to_ascii_ends_nothing(folder: bytes) -> None:
    """Options of Python go before its variables: it is begun anew once, and then goes on as it is."""
    line = [sys.executable, "-X", "utf8=0", "-m", "motet.cli", "check", os.fsdecode(folder) + "/g.yaml"]
    assert subprocess.run(
        line, check=False, timeout=60, env={**os.environ, **C_LOCALE}, capture_output=True
    ).returncode in (0, 2)
