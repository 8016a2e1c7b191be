from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from motet.errors import ModelLoadError, UnknownNameError
from motet.models import find_handler, handler_by_name, known_schemes, known_suffixes, registry


@pytest.mark.parametrize(
    ("uri", "name", "location"),
    [
        ("models/a.onnx", "onnx", "models/a.onnx"),
        ("onnx:models/a.bin", "onnx", "models/a.bin"),
        ("A.ONNX", "onnx", "A.ONNX"),
        ("s3://bucket/a.onnx", "onnx", "s3://bucket/a.onnx"),
        ("https://host/a.onnx?key=b.txt", "onnx", "https://host/a.onnx?key=b.txt"),
        ("zip://a.onnx::s3://bucket/b.zip", "onnx", "zip://a.onnx::s3://bucket/b.zip"),
        ("simplecache::s3://bucket/a.onnx", "onnx", "simplecache::s3://bucket/a.onnx"),
        ("sklearn:s3://bucket/x.bin", "sklearn", "s3://bucket/x.bin"),
        ("x.joblib", "sklearn", "x.joblib"),
        ("x.pkl", "sklearn", "x.pkl"),
        ("x.pt2", "torch", "x.pt2"),
        ("x.pth", "torch", "x.pth"),
        ("x.ubj", "xgboost", "x.ubj"),
        ("xgboost:x.json", "xgboost", "x.json"),
        ("x.lgb", "lightgbm", "x.lgb"),
        ("x.jax", "jax", "x.jax"),
        ("lightgbm:x.txt", "lightgbm", "x.txt"),
        ("python:pkg.mod:Name", "python", "pkg.mod:Name"),
        ("./odd:name.onnx", "onnx", "./odd:name.onnx"),
    ],
)
def test_a_scheme_decides_else_the_suffix(uri: str, name: str, location: str) -> None:
    handler, found = find_handler(uri)
    assert (handler.name, found) == (name, location)


def test_the_table_says_what_the_handlers_say() -> None:
    said = {suffix: name for name in registry._CLASSES for suffix in handler_by_name(name).suffixes}
    assert said == registry._SUFFIXES
    assert all(handler_by_name(name).name == name for name in registry._CLASSES)


def test_an_unknown_suffix_lists_the_known_ones_and_says_how_to_name_the_framework() -> None:
    with pytest.raises(UnknownNameError) as caught:
        find_handler("models/a.onx")
    assert str(caught.value).startswith("models/a.onx: unknown model suffix '.onx'; did you mean '.onnx'? known: ")
    frameworks = str(caught.value).partition("write SCHEME:models/a.onx, SCHEME one of ")[2].split(", ")
    assert frameworks == sorted(frameworks)
    assert {"beam", "huggingface", "jax", "keras", "onnx", "python", "sklearn", "torch", "xgboost"} <= {*frameworks}
    assert "oip+http" not in frameworks


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown model scheme 'skleran'; did you mean 'sklearn'"):
        find_handler("skleran:x.joblib")


@pytest.mark.parametrize("uri", ["x.json", "x.txt", "x", ""])
def test_suffixes_that_say_too_little_need_a_scheme(uri: str) -> None:
    with pytest.raises(UnknownNameError, match=f"write SCHEME:{uri}"):
        find_handler(uri)


def test_a_scheme_alone_names_nothing() -> None:
    with pytest.raises(ModelLoadError, match="the model URI 'onnx:' names nothing\n  hint: write onnx:path"):
        find_handler("onnx:")


class Echo:
    name, suffixes, has_file, runs_code, batch_invariant = "echo", (".echo",), True, False, True


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        metadata.EntryPoint("echo", f"{__name__}:Echo", registry.GROUP),
        metadata.EntryPoint("broken", "no_such_package:Handler", registry.GROUP),
    ]
    found = {entry.name: entry for entry in entries}
    monkeypatch.setattr(registry, "_installed", lambda: found)
    monkeypatch.setattr(registry, "_other_suffixes", lambda: {".echo": "echo"})


@pytest.mark.usefixtures("installed")
def test_other_packages_add_handlers_by_entry_points() -> None:
    assert isinstance(find_handler("echo:somewhere")[0], Echo)
    assert isinstance(find_handler("s3://bucket/x.echo")[0], Echo)
    assert "echo" in known_schemes()
    assert ".echo" in known_suffixes()


@pytest.mark.usefixtures("installed")
def test_a_broken_handler_of_another_package_is_named() -> None:
    with pytest.raises(ModelLoadError) as caught:
        find_handler("broken:x")
    assert str(caught.value).startswith(
        "model scheme 'broken': the handler no_such_package:Handler cannot be loaded: ModuleNotFound"
    )


def test_entry_points_are_scanned_only_for_what_is_not_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> dict[str, metadata.EntryPoint]:
        raise AssertionError("scanned")

    monkeypatch.setattr(registry, "_installed", refuse)
    assert find_handler("a.onnx")[0].name == "onnx"
    assert find_handler("sklearn:s3://bucket/x")[0].name == "sklearn"


def test_the_entry_points_of_other_packages_are_read() -> None:
    assert all(isinstance(entry, metadata.EntryPoint) for entry in registry._installed().values())
    assert set(registry._installed()).isdisjoint(registry._CLASSES)


def test_what_a_server_is_begun_with_imports_no_arrow() -> None:
    code = (
        "import sys, motet.serving.process.server, motet.serving.grpc, motet.store, motet.runtime.predict\n"
        "bad = {'pyarrow','pandas','onnxruntime','fsspec'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(bad)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_finding_handlers_imports_no_framework() -> None:
    code = (
        "import sys, motet.models as m\n"
        "[m.handler_by_name(name) for name in ('onnx','sklearn','torch','xgboost','lightgbm','jax','python')]\n"
        "bad = {'torch','onnxruntime','sklearn','xgboost','lightgbm','jax','onnx','fsspec','pandas','joblib'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(bad)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
