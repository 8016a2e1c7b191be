"""A replica that is started after the model's file was changed is refused: it would answer otherwise under the same version."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motet as mt
from helpers.trained import FRAMEWORKS, X
from helpers.until import until
from motet.errors import ModelLoadError, MotetError
from motet.models.keras import KerasHandler
from motet.runtime.host import Host
from motet.runtime.resolve import ModelResolver

CODE = "import numpy as np\n\ndef times(x):\n    return (x * {}).astype(np.float32)\n"


def overwrite(path: Path, other: Path, how: str) -> None:
    """Have another model in the place of one, of which its size alone may tell."""
    before = path.stat()
    if how == "in place":
        path.write_bytes(other.read_bytes())
    else:
        os.replace(other, path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def saved(folder: Path, framework: str, **settings):
    """A model that is loaded, what it answers itself, its file, and that of another one."""
    said, oracle = FRAMEWORKS[framework](folder, 0)
    other, _ = FRAMEWORKS[framework](folder, 1)
    model = mt.Model(
        said["uri"], "m", inputs=said.get("inputs", {}), outputs=said.get("outputs", {}), options=said.get("with", {}),
        **settings,
    )  # fmt: skip
    return Host(), model, oracle, folder / said["uri"], folder / other["uri"]


def right(hosted, oracle) -> bool:
    answer = hosted.play([X[:8]], 8)
    return np.allclose(next(iter(answer.columns.values())), oracle(X[:8]), atol=1e-5)


@pytest.mark.parametrize("how", ["in place", "by another"])
@pytest.mark.parametrize("framework", ["onnx", "sklearn", "torch", "xgboost", "lightgbm"])
def test_a_copy_in_this_process_is_not_added(tmp_path, framework, how):
    host, model, oracle, path, other = saved(tmp_path, framework, replicas={"min": 1, "max": 2})
    hosted = host.model(model, str(tmp_path))
    overwrite(path, other, how)
    hosted.scale(2)
    until(lambda: any(each.reason for each in hosted.replicas.status()))
    (refused,) = [each for each in hosted.replicas.status() if each.reason]
    assert f"{path} was changed since the graph was loaded with its version {hosted.located.version}" in refused.reason
    assert all(right(hosted, oracle) for _ in range(8))
    anew = host.model(model, str(tmp_path))
    assert anew is not hosted
    assert anew.located.version != hosted.located.version
    assert not right(anew, oracle)
    host.close()


@pytest.mark.parametrize("declared", ["", "3"])
def test_one_in_a_process_is_not_replaced(tmp_path, caplog, declared):
    host, model, oracle, path, other = saved(tmp_path, "onnx", placement="process", replicas=2, version=declared)
    hosted = host.model(model, str(tmp_path))
    overwrite(path, other, "in place")
    os.kill(hosted.replicas.status()[0].pid, signal.SIGKILL)
    until(lambda: "was changed" in hosted.replicas.status()[0].reason)
    assert all(right(hosted, oracle) for _ in range(8))
    (line,) = {each.getMessage() for each in caplog.records if "was changed" in each.getMessage()}
    assert line.startswith("model m, replica 0 is lost: ")
    assert "load the graph anew" in line
    host.resolver.forget([model])
    anew = host.model(model, str(tmp_path))
    assert not right(anew, oracle)
    host.close()


def test_it_is_replaced_once_the_file_is_what_it_was(tmp_path):
    host, model, oracle, path, other = saved(tmp_path, "onnx", placement="process", replicas=2)
    first = path.read_bytes()
    hosted = host.model(model, str(tmp_path))
    overwrite(path, other, "in place")
    os.kill(hosted.replicas.status()[0].pid, signal.SIGKILL)
    until(lambda: "was changed" in hosted.replicas.status()[0].reason)
    path.write_bytes(first)
    hosted.replicas.revive()
    until(lambda: [each.state for each in hosted.replicas.status()] == ["READY", "READY"])
    assert all(right(hosted, oracle) for _ in range(8))
    host.close()


def test_a_file_that_was_only_touched_is_the_same(tmp_path):
    host, model, oracle, path, _ = saved(tmp_path, "onnx", placement="process", replicas=2)
    hosted = host.model(model, str(tmp_path))
    os.utime(path)
    os.kill(hosted.replicas.status()[0].pid, signal.SIGKILL)
    until(lambda: hosted.replicas.status()[0].restarts == 1 and hosted.replicas.status()[0].state == "READY")
    assert all(right(hosted, oracle) for _ in range(8))
    host.close()


def test_code_that_was_changed_is_not_run_beside_that_of_before(tmp_path, monkeypatch):
    (tmp_path / "changing.py").write_text(CODE.format(2))
    monkeypatch.syspath_prepend(tmp_path)
    kinds: dict[str, Any] = {"inputs": {"x": "float32"}, "outputs": {"y": "float32"}}
    model, host = mt.Model("python:changing:times", "m", placement="process", replicas=2, **kinds), Host()
    hosted = host.model(model, "")
    (tmp_path / "changing.py").write_text(CODE.format(3))
    os.kill(hosted.replicas.status()[0].pid, signal.SIGKILL)
    until(lambda: "was changed" in hosted.replicas.status()[0].reason)
    x = np.arange(4, dtype=np.float32)
    for _ in range(8):
        assert hosted.play([x], 4).columns["y"].tolist() == [0, 2, 4, 6]
    host.close()
    sys.modules.pop("changing")


def test_what_is_changed_while_it_is_loaded_is_refused(tmp_path, monkeypatch):
    host, model, _, path, other = saved(tmp_path, "onnx")
    handler = type(host.resolver.locate(model, str(tmp_path)).handler)
    load = handler.load

    def overwritten(self, source):
        overwrite(path, other, "in place")
        return load(self, source)

    monkeypatch.setattr(handler, "load", overwritten)
    with pytest.raises(ModelLoadError, match="was changed since the graph was loaded"):
        host.model(model, str(tmp_path))
    monkeypatch.undo()
    host.model(model, str(tmp_path))
    host.close()


@pytest.mark.parametrize("named", ["", "saved_model.pb"])
def test_all_files_of_a_folder_count(tmp_path, named):
    assert KerasHandler.has_file
    weights = tmp_path / "saved" / "variables" / "variables.data-00000-of-00001"
    weights.parent.mkdir(parents=True)
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"graph")
    weights.write_bytes(b"old")
    located = ModelResolver().locate(mt.Model(f"keras:{tmp_path / 'saved' / named}", "m"), "")
    located.refuse_changed()
    before = weights.stat()
    weights.write_bytes(b"new")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ModelLoadError, match="was changed"):
        located.refuse_changed()


def test_models_that_come_and_go_are_those_of_their_graph(tmp_path):
    """One that was let go is not loaded again from another file."""
    for name in ("a", "b"):
        FRAMEWORKS["onnx"](tmp_path, 0)
        (tmp_path / "onnx0.onnx").rename(tmp_path / f"{name}.onnx")
    _, oracle = FRAMEWORKS["onnx"](tmp_path, 0)
    (tmp_path / "g.yaml").write_text(
        "motet: 1\nname: g\npool: {max_loaded: 1}\ninputs: {x: 'float32[4]'}\nmodels: {a: a.onnx, b: b.onnx}\n"
        "nodes: {p: {model: a, inputs: [x]}, q: {model: b, inputs: [x]}}\noutputs: {p: p, q: q}\n"
    )
    graph = mt.load(tmp_path / "g.yaml")
    assert np.allclose(graph({"x": X[:4]})["p"], oracle(X[:4]), atol=1e-5)
    FRAMEWORKS["onnx"](tmp_path, 1)
    overwrite(tmp_path / "a.onnx", tmp_path / "onnx1.onnx", "in place")
    with pytest.raises(MotetError, match="was changed"):
        graph({"x": X[:4]})
    assert not np.allclose(mt.load(tmp_path / "g.yaml")({"x": X[:4]})["p"], oracle(X[:4]), atol=1e-5)
