"""Results that name code: what is pickled to a file or to bytes counts with the classes that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

LIB = """
class T:
    def __init__(self, by): self.by = by
    def play(self, x): return x * self.by * {factor}
class Unused:
    by = {other}
def scale(x): return x * {factor}
def unused(x): return x * {other}
"""
FLOW = """
import base64, bz2, gzip, io, json, lzma, os, pickle, zipfile, zlib
from pathlib import Path
import motet as mt
import lib

PACKERS = {"gzip": gzip, "bz2": bz2, "lzma": lzma, "zlib": zlib}

@mt.step(cache=True)
def make(kind):
    data = pickle.dumps([lib.T(2), lib.T(3)], protocol=int(kind) if kind.isdigit() else 4)
    if kind in ("file", "folder", "named"):
        Path("made").mkdir(exist_ok=True)
        Path("made/m.pkl").write_bytes(b"x" * (1 << 20) + data if kind == "folder" else data)
        return Path("made") if kind == "folder" else mt.File("made/m.pkl") if kind == "named" else Path("made/m.pkl")
    if kind in ("gzip", "bz2", "lzma", "zlib"):
        return PACKERS[kind].compress(data)
    if kind == "zip":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data.pkl", data)
        return file.getvalue()
    if kind == "joblib":
        import joblib
        joblib.dump([lib.T(2), lib.T(3)], "m.joblib", compress=3)
        return Path("m.joblib")
    if kind == "function":
        return pickle.dumps(lib.scale)
    if kind == "in a list":
        return [{"a": (data,)}]
    if kind == "long":
        return data + b"0" * 5000
    return data

@mt.step(cache=True)
def use(made, kind):
    if kind == "function":
        return pickle.loads(made)(5)
    if kind == "joblib":
        import joblib
        return joblib.load(made)[0].play(5)
    if kind == "zip":
        data = zipfile.ZipFile(io.BytesIO(made)).read("data.pkl")
    elif kind in ("gzip", "bz2", "lzma", "zlib"):
        data = PACKERS[kind].decompress(made)
    elif kind == "in a list":
        data = made[0]["a"][0]
    elif isinstance(made, bytes):
        data = made
    else:
        data = (Path(made) / "m.pkl" if kind == "folder" else Path(made)).read_bytes().lstrip(b"x")
    return pickle.loads(data)[0].play(5)

@mt.workflow
def flow(kind):
    return use(make(kind), kind)
"""
KINDS = [
    "0", "1", "2", "3", "4", "5", "file", "folder", "named", "gzip", "bz2", "lzma", "zlib", "zip", "function", "in a list",
    "long", "joblib",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_packed_counts_with_the_code_that_it_names(
    project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    if kind == "joblib":
        pytest.importorskip("joblib")
    monkeypatch.chdir(tmp_path)
    by = 1 if kind == "function" else 2

    def run(factor: Any, other: Any) -> Any:
        project.write(lib=LIB.format(factor=factor, other=other), flow=FLOW)
        return project.load("flow").flow(kind).run(resume=False)

    assert run(1, 1).output == 5 * by
    hit = run(1, 2)  # what nobody uses
    assert [each.state for each in hit.steps] == ["hit", "hit"]
    changed = run(2, 2)
    assert (changed.output, changed.steps[1].state) == (10 * by, "done")
    again = run(1, 2)
    assert (again.output, again.steps[1].state) == (5 * by, "hit")


def test_a_named_file_counts_with_the_code_that_it_names(
    project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickle

    monkeypatch.chdir(tmp_path)
    flow = FLOW.replace("use(make(kind), kind)", "use(mt.File('given.pkl'), kind)")
    project.write(lib=LIB.format(factor=1, other=1), flow=flow)
    (tmp_path / "given.pkl").write_bytes(pickle.dumps([project.load("lib").T(2)]))
    assert project.load("flow").flow("named").run().output == 10
    project.write(lib=LIB.format(factor=3, other=1))
    run = project.load("flow").flow("named").run()
    assert (run.output, run.steps[0].state) == (30, "done")
