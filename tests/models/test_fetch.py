from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import onnx
import pytest

from motet.errors import InputError, MissingExtraError, ModelLoadError
from motet.models import ModelSource, copies, digest, local_path, locate
from motet.models.cache import FileCache
from motet.models.remote import RemoteModelFile


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def get(uri: str, **more: Any) -> Path:
    return Path(local_path(uri, base=None, runs_code=False, **more))


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache" / "models").glob("*/*/files/*"))


def test_local_files_are_returned_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    file = tmp_path / "m" / "a.onnx"
    file.write_bytes(b"1")
    for uri, base in [
        (str(file), None),
        ("m/a.onnx", tmp_path),
        ("../m/a.onnx", tmp_path / "m"),
        (f"file://{file}", None),
    ]:
        assert local_path(uri, base=base, runs_code=True) == str(file)
    assert local_path("m/a.onnx", base=f"file://{tmp_path}", runs_code=True) == str(file)


def test_a_missing_file_names_the_files_near(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx", "c.ubj"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelLoadError) as caught:
        local_path("x.onnx", base=tmp_path, runs_code=False)
    assert (
        str(caught.value)
        == f"{tmp_path}/x.onnx: there is no such model file (from 'x.onnx')\n  hint: {tmp_path} has a.onnx, b.onnx"
    )
    with pytest.raises(
        ModelLoadError, match=r"has no \.pt2 files; relative paths are relative to the graph file's folder"
    ):
        local_path("x.pt2", base=tmp_path, runs_code=False)
    with pytest.raises(ModelLoadError, match=r"there is no folder .*/none either"):
        local_path("none/x.pt2", base=tmp_path, runs_code=False)


def test_a_remote_file_is_fetched_once_and_again_when_it_changed(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/models/a.onnx", b"one")
    first = get("memory://models/a.onnx")
    assert (first.read_bytes(), first.name) == (b"one", "a.onnx")
    before = first.stat().st_mtime_ns
    assert get("memory://models/a.onnx") == first
    assert first.stat().st_mtime_ns == before
    memory.pipe("/models/a.onnx", b"two")
    second = get("memory://models/a.onnx")
    assert (second.read_bytes(), first.read_bytes()) == (b"two", b"one")


def test_paths_are_relative_to_a_remote_graph_file(memory: Any) -> None:
    memory.pipe("/graphs/models/a.onnx", b"one")
    for uri in ("models/a.onnx", "../graphs/models/a.onnx"):
        assert Path(local_path(uri, base="memory://graphs", runs_code=False)).read_bytes() == b"one"


def test_a_damaged_copy_is_fetched_again(memory: Any) -> None:
    memory.pipe("/a.onnx", b"one")
    path = get("memory://a.onnx")
    for damage in (b"1", b"eno"):
        path.write_bytes(damage)
        assert get("memory://a.onnx").read_bytes() == b"one"
    path.unlink()
    assert get("memory://a.onnx").read_bytes() == b"one"
    (path.parents[1] / "manifest.json").write_bytes(b"{")
    assert get("memory://a.onnx").read_bytes() == b"one"


def test_a_missing_remote_file_and_a_folder_are_named(memory: Any) -> None:
    memory.pipe("/models/a.onnx", b"one")
    with pytest.raises(
        ModelLoadError, match=r"memory://b\.onnx: the model cannot be fetched: there is no memory://b\.onnx"
    ):
        get("memory://b.onnx")
    with pytest.raises(ModelLoadError, match="cannot be fetched: it is a folder\n  hint: name a file"):
        get("memory://models")


def test_an_unknown_protocol_lists_the_known_ones() -> None:
    with pytest.raises(ModelLoadError, match="unknown protocol 's33'; did you mean 's3'"):
        get("s33://bucket/a.onnx")


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(
        MissingExtraError,
        match=r"fetching s3://b/a needs s3fs, which is not installed\n  hint: pip install 'motet\[s3\]'",
    ):
        get("s3://b/a")


def test_files_that_run_code_are_refused_from_remote_places_unless_allowed(memory: Any) -> None:
    memory.pipe("/a.joblib", b"one")
    with pytest.raises(ModelLoadError) as caught:
        local_path("memory://a.joblib", base=None, runs_code=True)
    assert "memory://a.joblib: loading this file runs any code that it carries (unpickling does)" in str(caught.value)
    assert "say `unpickle: allow` in the model's declaration" in str(caught.value)
    with pytest.raises(ModelLoadError, match="runs any code"):
        local_path("a.joblib", base="memory://", runs_code=True)
    allowed = local_path("memory://a.joblib", base=None, runs_code=True, allow_unpickle=True)
    assert Path(allowed).read_bytes() == b"one"


def test_a_remote_that_does_not_answer_is_an_error_unless_offline_is_said(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe("/a.onnx", b"one")
    path = get("memory://a.onnx")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(type(memory), "info", refuse)
    with pytest.raises(
        ModelLoadError, match=r"OSError: no route to host\n  hint: check the address, .* MOTET_OFFLINE=1 uses the copy"
    ):
        get("memory://a.onnx")
    monkeypatch.setenv("MOTET_OFFLINE", "1")
    assert get("memory://a.onnx") == path
    with pytest.raises(
        ModelLoadError, match=r"MOTET_OFFLINE is set and the cache has no whole copy .*\n  hint: unset MOTET_OFFLINE"
    ):
        get("memory://b.onnx")


def test_offline_uses_the_copy_that_was_used_last(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"one", b"two"):
        memory.pipe("/a.onnx", content)
        path = get("memory://a.onnx")
    os.utime(path.parents[1] / "manifest.json", (4e9, 4e9))
    monkeypatch.setenv("MOTET_OFFLINE", "1")
    assert get("memory://a.onnx").read_bytes() == b"two"


@pytest.mark.parametrize(
    ("name", "value"), [("MOTET_CACHE_BYTES", "10GB"), ("MOTET_CACHE_BYTES", "0"), ("MOTET_OFFLINE", "yes")]
)
def test_a_bad_environment_value_is_an_error(
    memory: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    memory.pipe("/a.onnx", b"one")
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"environment variable {name}: '{value}' is n"):
        get("memory://a.onnx")


def test_a_file_that_changes_while_it_is_fetched_is_fetched_again(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe("/a.onnx", b"0")
    real, changes = RemoteModelFile.get, iter(range(1, 100))

    def change(remote: RemoteModelFile, target: Path) -> None:
        real(remote, target)
        number = next(changes)
        if number <= most:
            memory.pipe("/a.onnx", b"%d" % number)

    monkeypatch.setattr(RemoteModelFile, "get", change)
    most = 2
    assert get("memory://a.onnx").read_bytes() == b"2"
    most = 99
    memory.pipe("/a.onnx", b"0")
    with pytest.raises(ModelLoadError, match="the file changed 3 times while it was fetched"):
        get("memory://a.onnx")


def test_a_remote_that_tells_only_the_size_is_fetched_anew_by_each_process(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe("/a.onnx", b"one")
    monkeypatch.setattr(type(memory), "info", lambda *_: {"size": 3, "type": "file"})
    assert get("memory://a.onnx").read_bytes() == b"one"
    memory.pipe("/a.onnx", b"two")
    assert get("memory://a.onnx").read_bytes() == b"one"
    monkeypatch.setattr(copies, "_fetched", set())
    assert get("memory://a.onnx").read_bytes() == b"two"


def test_a_copy_that_came_cut_off_is_refused(memory: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    memory.pipe("/a.onnx", b"one")
    monkeypatch.setattr(type(memory), "get_file", lambda _, path, target: Path(target).write_bytes(b"o"))
    with pytest.raises(ModelLoadError, match="1 of its 3 bytes came\n  hint: try again"):
        get("memory://a.onnx")
    assert cached(tmp_path) == []
    assert list((tmp_path / "cache" / "models").glob(".new-*")) == []


def test_threads_that_want_the_same_file_fetch_it_once(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe("/a.onnx", b"one")
    real, fetched, together = RemoteModelFile.get, [], threading.Barrier(4)

    def count(remote: RemoteModelFile, target: Path) -> None:
        fetched.append(remote.uri)
        real(remote, target)

    def wanted(_: int) -> bytes:
        together.wait()
        return get("memory://a.onnx").read_bytes()

    monkeypatch.setattr(RemoteModelFile, "get", count)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(wanted, range(4))) == [b"one"] * 4
    assert fetched == ["memory://a.onnx"]


def _fill(root: Path, names: list[str], bound: int) -> None:
    """Add entries of 10 bytes, each used a second after the one before, long ago."""
    cache = FileCache(root, bound)
    for age, name in enumerate(names):
        with cache.locked(name):
            path = cache.add(name, "1", _ten_bytes)
        os.utime(path.parents[1] / "manifest.json", (1000 + age, 1000 + age))


def _ten_bytes(folder: Path) -> list[str]:
    (folder / "f").write_bytes(b"x" * 10)
    return ["f"]


def _elsewhere(root: Path, names: list[str], bound: int) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_fill, args=(root, names, bound))
    process.start()
    process.join()
    assert process.exitcode == 0


def test_the_cache_is_bounded_and_keeps_what_is_in_use(tmp_path: Path) -> None:
    _elsewhere(tmp_path, ["oldest_but_in_use", "old", "new"], 1000)
    cache = FileCache(tmp_path, 30)
    used = cache.find("oldest_but_in_use", "1")
    assert used is not None
    os.utime(used.parents[1] / "manifest.json", (0, 0))
    with cache.locked("newest"):
        cache.add("newest", "1", _ten_bytes)
    assert [cache.find(name, "1") is not None for name in ("oldest_but_in_use", "old", "new", "newest")] == [
        True,
        False,
        True,
        True,
    ]
    FileCache(tmp_path, 1).shrink()
    assert cache.find("new", "1") is not None, "this process holds it by now"


def test_the_cache_lets_go_of_what_only_ended_processes_used(tmp_path: Path) -> None:
    _elsewhere(tmp_path, ["a", "b", "c"], 1000)
    FileCache(tmp_path, 25).shrink()
    assert len(list(tmp_path.glob("*/*/files/f"))) == 2
    assert FileCache(tmp_path, 25).find("a", "1") is None
    assert list(tmp_path.glob("*/.*")) == []


def _killed_while_it_writes(root: Path, name: str) -> None:
    def write(folder: Path) -> list[str]:
        (folder / "half").write_bytes(b"x" * 5)
        os.kill(os.getpid(), signal.SIGKILL)
        return []

    cache = FileCache(root, 1000)
    with cache.locked(name):
        cache.add(name, "1", write)


def _killed_while_it_removes(root: Path, bound: int) -> None:
    shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    FileCache(root, bound).shrink()


def _killed(target: Callable[..., None], *arguments: Any) -> None:
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_what_killed_processes_left_in_the_cache_goes_with_the_next_entry(tmp_path: Path) -> None:
    _elsewhere(tmp_path, ["a", "b"], 1000)
    _killed(_killed_while_it_removes, tmp_path, 15)
    _killed(_killed_while_it_writes, tmp_path, "c")
    _killed(_killed_while_it_writes, tmp_path, "b")
    cache = FileCache(tmp_path, 1000)
    assert len(list(tmp_path.glob("*/.*"))) == 3
    assert cache.find("a", None) is None, "half removed"
    assert cache.find("c", None) is None, "half written"
    with cache.locked("c"), cache.locked("a"):  # the folder of "a" is another's, who has not done with it
        path = cache.add("c", "1", _ten_bytes)
        assert path == cache.find("c", "1")
        assert len(list(tmp_path.glob("*/.*"))) == 1
    cache.shrink()
    assert list(tmp_path.glob("*/.*")) == []
    assert [cache.find(name, "1") is not None for name in ("a", "b", "c")] == [False, True, True]


def test_entries_whose_uri_another_process_writes_stay(tmp_path: Path) -> None:
    _elsewhere(tmp_path, ["a", "b"], 1000)
    cache = FileCache(tmp_path, 5)
    with cache.locked("a"):
        cache.shrink()
        assert [cache.find(name, "1") is not None for name in ("a", "b")] == [True, False]


def test_digests_are_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "a").write_bytes(b"abcd")
    assert digest(str(tmp_path / "a")) == "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589"
    folders = [tmp_path / name for name in ("x", "y", "z")]
    for folder, inner in zip(folders, ("f", "f", "g"), strict=True):
        folder.mkdir()
        (folder / inner).write_bytes(b"1")
    assert digest(folders[0]) == digest(folders[1]) != digest(folders[2])


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 server on a socket, with a bucket: the storage options, and a client."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket="bucket")
    yield {"endpoint_url": endpoint}, client
    client.close()
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_models_come_from_s3(bucket: Any, linear: str, tmp_path: Path) -> None:
    storage, client = bucket
    client.upload_file(linear, "bucket", "models/linear.onnx")
    found = locate("s3://bucket/models/linear.onnx", base=None, storage=storage)
    assert found.digest == digest(linear)
    model = found.handler.load(ModelSource("linear", found.location))
    assert model({"x": np.ones((1, 3), np.float32)})["y"].tolist() == [[6, 9]]
    assert locate("models/linear.onnx", base="s3://bucket", storage=storage) == found
    content = Path(linear).read_bytes() + b"\x1a\x01p"
    client.put_object(Bucket="bucket", Key="models/linear.onnx", Body=content)
    again = locate("s3://bucket/models/linear.onnx", base=None, storage=storage)
    assert Path(again.location).read_bytes() == content
    client.put_object(Bucket="bucket", Key="models/linear.onnx", Body=content[:60])
    with pytest.raises(ModelLoadError, match=r"^s3://bucket/models/linear\.onnx: not a whole ONNX file: field 7"):
        locate("s3://bucket/models/linear.onnx", base=None, storage=storage)
    client.delete_object(Bucket="bucket", Key="models/linear.onnx")
    with pytest.raises(ModelLoadError, match=r"there is no s3://bucket/models/linear\.onnx"):
        locate("s3://bucket/models/linear.onnx", base=None, storage=storage)


def test_the_weights_beside_a_model_are_fetched_with_it(memory: Any, save_onnx: Any, tmp_path: Path) -> None:
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    shapes = [[("x", 1, ["n", 100])], [("y", 1, ["n", 100])]]
    weights = {"w": np.eye(100, dtype=np.float32)}
    path = save_onnx([node], *shapes, weights, save_as_external_data=True, location="m.data", size_threshold=1)
    memory.pipe("/models/m.onnx", Path(path).read_bytes())
    memory.pipe("/models/m.data", (tmp_path / "m.data").read_bytes())
    found = locate("memory://models/m.onnx", base=None)
    model = found.handler.load(ModelSource("m", found.location))
    assert model({"x": np.full((1, 100), 7, np.float32)})["y"][0, 99] == 7
    assert [Path(file).name for file in found.files] == ["m.onnx", "m.data"]
    assert found.digest == locate(path, base=None).digest
    before = found.digest
    (tmp_path / "m.data").write_bytes(bytes(40_000))
    assert locate(path, base=None).digest != before


def test_a_model_may_not_name_files_outside_its_folder(memory: Any, save_onnx: Any, tmp_path: Path) -> None:
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    shapes = [[("x", 1, ["n", 100])], [("y", 1, ["n", 100])]]
    weights = {"w": np.eye(100, dtype=np.float32)}
    path = save_onnx([node], *shapes, weights, save_as_external_data=True, location="secret", size_threshold=1)
    memory.pipe("/models/m.onnx", Path(path).read_bytes().replace(b"secret", b"../abc"))
    with pytest.raises(
        ModelLoadError, match=r"names a file outside its folder: '\.\./abc'\n  hint: save it as one file"
    ):
        locate("memory://models/m.onnx", base=None)
