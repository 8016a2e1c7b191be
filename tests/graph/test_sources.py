"""Graphs are read from wherever they are: paths, URLs, texts, open files, resources of packages; and saved to URLs."""

import importlib
import importlib.resources
import io
import sys
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pytest

import motet as mt
from helpers import onnxes

TEXT = """
motet: 1
name: named
inputs: {x: float32}
models: {a: {uri: models/affine.onnx}}
graphs: {inner: {file: more/inner.yaml}}
nodes:
  one: {model: a, inputs: [x]}
  two: {model: inner, inputs: [x]}
  word: {map: motet.ops.scores.label, inputs: [place], with: {labels: labels.txt}}
  place: {map: motet.ops.columns.cast, inputs: [zero], with: {dtype: int64}}
  zero: {map: motet.ops.columns.cast, inputs: [n], with: {dtype: int32}}
outputs: {one: one, two: two, word: word}
"""
TEXT = TEXT.replace("inputs: {x: float32}", "inputs: {x: float32, n: {type: int64, default: 1}}")
INNER = """
motet: 1
inputs: {x: float32}
models: {a: {uri: ../models/affine.onnx}}
nodes: {o: {model: a, inputs: [x]}}
outputs: {o: o}
"""
X = {"x": np.array([1, 2], np.float32)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the graph is made of, by relative path."""
    path = tmp_path_factory.mktemp("made") / "affine.onnx"
    onnxes.affine(path)
    return {
        "g.yaml": TEXT.encode(),
        "more/inner.yaml": INNER.encode(),
        "labels.txt": b"no\nyes\n",
        "models/affine.onnx": path.read_bytes(),
    }


@pytest.fixture
def folder(files, tmp_path):
    for name, content in files.items():
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "files"


@pytest.fixture
def memory(files):
    system = fsspec.filesystem("memory")
    for name, content in files.items():
        system.pipe_file(f"/shop/{name}", content)
    yield "memory://shop"
    system.rm("/shop", recursive=True)


@pytest.fixture
def package(files, tmp_path, monkeypatch):
    """A package in a zip file on the path."""
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("packed_graphs/__init__.py", "")
        for name, content in files.items():
            archive.writestr(f"packed_graphs/{name}", content)
    monkeypatch.syspath_prepend(str(tmp_path / "packed.zip"))
    yield importlib.resources.files("packed_graphs")
    sys.modules.pop("packed_graphs", None)


def _right(graph):
    answer = graph(X)
    assert answer["one"].tolist() == answer["two"].tolist() == [3.0, 5.0]
    assert answer["word"].tolist() == ["yes", "yes"]
    return graph


def test_paths_and_addresses_of_this_machine(folder, monkeypatch):
    first = _right(mt.load(folder / "g.yaml"))
    assert _right(mt.load(f"file://{folder}/g.yaml")) == _right(mt.load(str(folder / "g.yaml"))) == first
    monkeypatch.chdir(folder)
    assert _right(mt.load("g.yaml")) == first
    monkeypatch.chdir(folder / "more")
    assert _right(mt.load("../g.yaml")) == first


def test_a_text(folder, monkeypatch):
    text = TEXT
    for place in (folder, str(folder), f"file://{folder}"):
        assert _right(mt.load(io.StringIO(text), folder=place)).name == "named"
    _right(mt.load(io.BytesIO(b"\xef\xbb\xbf" + text.encode()), folder=folder))
    monkeypatch.chdir(folder)
    graph = _right(mt.load(io.StringIO(text)))
    again = mt.load(io.StringIO(graph.to_yaml()), folder=graph.folder)
    assert _right(again)(X)["two"].tolist() == [3.0, 5.0]


def test_an_open_file(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open(folder / "g.yaml") as file:
        _right(mt.load(file))
    with open(Path("files", "g.yaml"), "rb") as file:
        _right(mt.load(file))
    with fsspec.open(str(folder / "g.yaml")) as file:
        _right(mt.load(file, folder=folder))


def test_an_address_of_fsspec(memory):
    graph = _right(mt.load(f"{memory}/g.yaml"))
    assert graph.folder == memory
    with fsspec.open(f"{memory}/g.yaml") as file:
        _right(mt.load(file, folder=memory))
    _right(mt.load(io.StringIO(TEXT), folder=memory))


def test_a_resource_of_a_package_in_a_zip_file(package):
    assert type(package / "g.yaml").__module__ == "zipfile"
    _right(mt.load(package / "g.yaml"))


def test_a_resource_of_a_package_in_a_folder(folder, monkeypatch):
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(folder.parent))
    try:
        _right(mt.load(importlib.resources.files("files") / "g.yaml"))
    finally:
        sys.modules.pop("files", None)


def test_what_is_named_by_its_file_is_called_like_it(folder, memory):
    text = TEXT.replace("name: named\n", "")
    fsspec.filesystem("memory").pipe_file("/shop/odd.one.yaml", text.encode())
    assert mt.load(f"{memory}/odd.one.yaml").name == "odd_one"
    assert mt.load(io.StringIO(text), folder=folder).name == "graph"


def test_saved_to_an_address(memory, folder):
    graph = mt.load(f"{memory}/g.yaml")
    graph.save("memory://shop/deeper/h.yaml")
    saved = fsspec.filesystem("memory").cat_file("/shop/deeper/h.yaml").decode()
    assert "uri: ../models/affine.onnx" in saved
    again = _right(mt.load("memory://shop/deeper/h.yaml"))
    assert again == graph
    local = mt.load(folder / "g.yaml")
    local.save("memory://shop/local.yaml")
    assert f"uri: {folder}/models/affine.onnx" in fsspec.filesystem("memory").cat_file("/shop/local.yaml").decode()
    assert _right(mt.load("memory://shop/local.yaml")) == local
    local.save(f"file://{folder}/again.yaml")
    assert "uri: models/affine.onnx" in (folder / "again.yaml").read_text()


def test_saved_to_another_folder_it_is_the_same(folder, tmp_path, monkeypatch):
    graph = mt.load(folder / "g.yaml")
    graph.save(tmp_path / "other" / "deep" / "g.yaml")
    assert _right(mt.load(tmp_path / "other" / "deep" / "g.yaml")) == graph
    (tmp_path / "linked").symlink_to(tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    graph.save("linked/h.yaml")
    assert _right(mt.load(tmp_path / "other" / "h.yaml"))(X)["one"].tolist() == [3.0, 5.0]


def test_certificates_are_found_from_another_folder_too(tmp_path):
    files = {"ca": "certs/ca.pem", "certificate": "/etc/own.pem", "certificate_key": "own.key"}
    for model in ("oip+https://there/v2/models/m", "python:helpers.models:echo"):
        uris = [] if model.startswith("oip") else ["oip+https://there/v2/models/m"]
        made = mt.Model(model, "m", uris=uris, inputs={"x": "float32"}, outputs={"y": "float32"}, options=files)
        graph = mt.Graph("g", {"y": mt.model(made, mt.input("x", "float32"))}, folder=str(tmp_path))
        graph.save(tmp_path / "deep" / "g.yaml")
        saved = mt.load(tmp_path / "deep" / "g.yaml")
        assert saved == graph
        found = {"ca": "../certs/ca.pem", "certificate": "/etc/own.pem", "certificate_key": "../own.key"}
        assert saved.models["m"].options == found


def test_options_of_other_models_are_no_paths(tmp_path):
    made = mt.Model(
        "python:helpers.models:echo", "m", inputs={"x": "float32"}, outputs={"y": "float32"}, options={"ca": "b"}
    )
    mt.Graph("g", {"y": mt.model(made, mt.input("x", "float32"))}).save(tmp_path / "g.yaml")
    assert mt.load(tmp_path / "g.yaml").models["m"].options == {"ca": "b"}


def test_other_files_of_the_same_name_are_other_graphs(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "copied")
    assert mt.load(folder / "g.yaml") != mt.load(tmp_path / "copied" / "g.yaml")


def test_a_pool_is_saved_too(folder):
    text = TEXT + "pool: {max_loaded: 2}\n"
    graph = mt.load(io.StringIO(text), folder=folder)
    graph.save(folder / "pooled.yaml")
    assert mt.load(folder / "pooled.yaml") == graph
    assert mt.load(folder / "pooled.yaml").pool.max_loaded == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (TEXT, r"expected a path or a URL; got a text of several lines\n  hint: .* motet.load\(io.StringIO\(text\)"),
        (3, "expected what a graph can be read from; got int"),
        ({"motet": 1}, "expected what a graph can be read from; got dict"),
        (None, "expected what a graph can be read from; got NoneType"),
        (io.BytesIO(b"\xff\xfe"), "the open file cannot be read: 'utf-8' codec"),
        (io.StringIO(""), "expected a mapping"),
        ("memory://nowhere/g.yaml", r"memory://nowhere/g.yaml: it cannot be read: there is no memory://nowhere/g.yaml"),
        ("nothing://x/g.yaml", "unknown protocol 'nothing'"),
        ("nope.yaml", "there is no file 'nope.yaml'"),
        ("file:///nope/g.yaml", "there is no file '/nope/g.yaml'"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_read_is_said(source, message):
    with pytest.raises(mt.GraphError, match=message):
        mt.load(source)


def test_files_that_contain_each_other_behind_an_address(memory):
    text = INNER.replace("models: {a: {uri: ../models/affine.onnx}}", "graphs: {a: {file: ../more/round.yaml}}")
    fsspec.filesystem("memory").pipe_file("/shop/more/round.yaml", text.encode())
    with pytest.raises(mt.GraphError, match="contain each other in a cycle"):
        mt.load(f"{memory}/more/round.yaml")


def _with_uri(uri):
    return io.StringIO(
        f"motet: 1\ninputs: {{x: float32}}\nmodels: {{a: {uri}}}\nnodes: {{o: {{model: a, inputs: [x]}}}}\noutputs: {{o: o}}\n"
    )


@pytest.mark.parametrize(
    "uri",
    ["${FOLDER}/affine.onnx", "'{uri: \"${FOLDER}/affine.onnx\"}'", "${NOTHING:-models}/affine.onnx", "${EMPTY:-models}/${NAME}.onnx"],
)  # fmt: skip
def test_variables_of_the_environment_in_uris(uri, folder, monkeypatch):
    monkeypatch.setenv("FOLDER", "models")
    monkeypatch.setenv("NAME", "affine")
    monkeypatch.setenv("EMPTY", "")
    graph = mt.load(_with_uri(uri.strip("'") if uri.startswith("'") else f'"{uri}"'), folder=folder)
    assert graph(X)["o"].tolist() == [3.0, 5.0]
    assert graph.models["a"].uri == "models/affine.onnx"


def test_a_variable_that_is_not_set_is_named(monkeypatch):
    monkeypatch.delenv("BUCKET", raising=False)
    with pytest.raises(
        mt.GraphError, match=r"models.a.uri: the environment variable 'BUCKET' is not set\n  hint: set it, or say"
    ):
        mt.load(_with_uri('{uri: "s3://${BUCKET}/a.onnx"}'))
    with pytest.raises(mt.GraphError, match=r"models.a.uris: the environment variable 'HOST' is not set"):
        mt.load(_with_uri('{uris: ["oip+http://${HOST}/a"]}'))


def test_a_dollar_can_be_written(folder, monkeypatch):
    (folder / "${X}.onnx").write_bytes((folder / "models/affine.onnx").read_bytes())
    assert mt.load(_with_uri('"$${X}.onnx"'), folder=folder)(X)["o"].tolist() == [3.0, 5.0]
