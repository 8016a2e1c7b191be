"""Versions are published whole or not at all, keep what they are, and are found by name, number and alias."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motet as mt
from motet.errors import InputError, ModelLoadError, NotPublishedError, StoreError
from motet.models.digest import digest
from motet.store.storage import DiskStorage


def test_what_is_published_is_found_and_fetched(store: Any, open_store: Any, model: Any) -> None:
    path = model(2)
    version = store.publish("times", path, metrics={"accuracy": np.float64(0.5)}, lineage={"run": "r1"})
    assert str(version) == "times@1"
    found = open_store().resolve("times")
    assert found == version
    assert (found.handler, found.inputs, found.outputs) == ("onnx", {"x": "float32"}, {"y": "float32"})
    assert (found.metrics, found.lineage) == ({"accuracy": 0.5}, {"run": "r1"})
    assert digest(store.fetch(found)) == digest(path)
    assert store.names() == ["times"]


def test_versions_are_numbered_and_the_latest_is_the_last(store: Any, model: Any) -> None:
    versions = [store.publish("times", model(factor)) for factor in (1, 2, 3)]
    assert [version.number for version in versions] == [1, 2, 3]
    assert store.versions("times") == versions
    assert store.resolve("times") == store.resolve("times@latest") == versions[2]
    assert store.resolve("times@2") == versions[1]


def test_the_same_content_is_the_version_that_has_it(store: Any, model: Any) -> None:
    first = store.publish("times", model(1))
    store.publish("times", model(2))
    again = store.publish("times", model(1), metrics={"more": 1}, aliases=("champion",))
    assert again == first
    assert store.aliases("times") == {"latest": 2, "champion": 1}
    other = store.publish("times", model(1), after="motet.ops.scores.softmax")
    assert other.number == 3, "the functions around a model are a part of what it is"


def test_what_is_published_again_is_what_its_aliases_mean(
    store: Any, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (store.publish("times", model(factor), aliases=("latest", "champion")) for factor in (1, 2))
    assert store.publish("times", model(1)) == old
    assert (store.resolve("times"), store.resolve("times@champion")) == (old, new)
    assert store.rollback("times", "latest") == new
    point = mt.Store._point

    def slow(self: Any, *given: Any, **named: Any) -> None:
        with monkeypatch.context() as other:
            other.setattr(mt.Store, "_point", point)
            store.publish("times", model(4))
        point(self, *given, **named)

    monkeypatch.setattr(mt.Store, "_point", slow)
    assert store.publish("times", model(3)).number == 3
    assert store.resolve("times").number == 4, "who was slow does not hide what is later"


def test_aliases_are_moved_and_taken_back(store: Any, model: Any) -> None:
    for factor in (1, 2, 3):
        store.publish("times", model(factor), aliases=("latest", "champion"))
    assert store.rollback("times").number == 2
    assert store.rollback("times").number == 1
    with pytest.raises(NotPublishedError, match="alias 'champion' of model 'times' has not pointed at another version"):
        store.rollback("times")
    assert store.promote("times", 3).number == 3
    assert store.promote("times", "champion", "challenger").number == 3
    assert store.rollback("times").number == 1
    assert store.aliases("times") == {"latest": 3, "champion": 1, "challenger": 3}
    assert [move.number for move in store.history("times", "champion")] == [1, 2, 3, 2, 1, 3, 1]


def test_an_alias_is_withdrawn_and_taken_back(store: Any, model: Any) -> None:
    store.publish("times", model(1), aliases=("latest", "champion"))
    store.publish("times", model(2), aliases=("latest", "champion"))
    store.withdraw("times")
    assert store.aliases("times") == {"latest": 2}
    assert (store.number("times@champion"), store.number("times@none")) == (0, None)
    for again in (lambda: store.resolve("times@champion"), lambda: store.withdraw("times")):
        with pytest.raises(NotPublishedError, match="model 'times' has no alias 'champion'; known: latest"):
            again()
    assert store.rollback("times").number == 2
    store.withdraw("times")
    assert store.promote("times", 1).number == 1
    assert store.aliases("times") == {"latest": 2, "champion": 1}


def test_what_is_not_there(store: Any, model: Any) -> None:
    with pytest.raises(NotPublishedError, match="the store has no model 'times'; there are none"):
        store.resolve("times")
    store.publish("times", model(1))
    with pytest.raises(NotPublishedError, match="no model 'time'; did you mean 'times'"):
        store.versions("time")
    with pytest.raises(NotPublishedError, match="model 'times' has no alias 'lates'; did you mean 'latest'"):
        store.resolve("times@lates")
    with pytest.raises(NotPublishedError, match="model 'times' has no version 9; it has 1"):
        store.resolve("times@9")
    assert store.number("times@9") == 9
    assert store.number("other@champion") is None


@pytest.mark.parametrize("reference", ["", "@", "times@", "a/b", "../a", "a@b@c", "a b"])
def test_references_that_are_none(store: Any, reference: str) -> None:
    with pytest.raises(InputError, match="refers to no version of a model"):
        store.resolve(reference)


def test_a_version_that_is_removed_is_gone_and_its_number_stays_taken(store: Any, model: Any) -> None:
    store.publish("times", model(1))
    store.publish("times", model(2))
    with pytest.raises(InputError, match="times@2 is what latest points at\n.*promote another"):
        store.remove("times", 2)
    store.remove("times", 2, force=True)
    with pytest.raises(NotPublishedError, match="no version 2; it has 1"):
        store.resolve("times@2")
    with pytest.raises(NotPublishedError):
        store.resolve("times@latest")
    assert store.publish("times", model(2)).number == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "a/b"}, "'a/b' is no name for a model"),
        ({"name": "7"}, "'7' is no name for a model"),
        ({"aliases": ("7",)}, "'7' is no name for an alias"),
        ({"metrics": {"a": float("nan")}}, "metrics cannot be written as JSON"),
        ({"lineage": {"a": object()}}, "lineage cannot be written as JSON"),
        ({"files": {"../m.onnx": "m.onnx"}}, "'../m.onnx' is no path inside a version"),
        ({"files": "nothing.onnx"}, "there is no file nothing.onnx"),
    ],
)
def test_bad_publications_leave_nothing(store: Any, model: Any, arguments: Any, message: str) -> None:
    given = {"name": "times", "files": model(1), **arguments}
    with pytest.raises(InputError, match=message):
        store.publish(**given)
    assert store.names() == []


def test_a_file_that_is_no_model_is_not_published(store: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"nonsense")
    with pytest.raises(ModelLoadError, match="not a whole ONNX file"):
        store.publish("times", path)
    assert store.names() == []


def test_a_model_of_several_files(store: Any, model: Any, tmp_path: Path) -> None:
    extra = tmp_path / "labels.txt"
    extra.write_text("a b")
    version = store.publish("times", {"m.onnx": model(1), "more/labels.txt": extra})
    path = store.fetch(version)
    assert path.name == "m.onnx"
    assert (path.parent / "more" / "labels.txt").read_text() == "a b"


def test_publishers_at_the_same_time_get_versions_of_their_own(open_store: Any, model: Any) -> None:
    paths = [model(factor) for factor in range(8)]
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda path: open_store().publish("times", path), paths))
    assert sorted(version.number for version in versions) == list(range(1, 9))
    store = open_store()
    assert store.resolve("times").number == 8
    for version, path in zip(versions, paths, strict=True):
        assert digest(store.fetch(version)) == digest(path)


def test_moves_of_an_alias_at_the_same_time_come_one_after_the_other(open_store: Any, model: Any) -> None:
    store = open_store()
    for factor in range(4):
        store.publish("times", model(factor), aliases=())
    ready = threading.Barrier(4)

    def promote(number: Any) -> None:
        ready.wait()
        open_store().promote("times", number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(promote, range(1, 5)))
    moved = [move.number for move in store.history("times", "champion")]
    assert sorted(moved) == [1, 2, 3, 4]
    assert store.aliases("times") == {"champion": moved[-1]}


def test_a_file_that_changed_in_the_store_is_not_loaded(tmp_path: Path, model: Any) -> None:
    store = mt.Store(tmp_path / "store")
    version = store.publish("times", model(1))
    path = store.fetch(version)
    path.write_bytes(model(2).read_bytes())
    with pytest.raises(StoreError, match=r"file 'times1.onnx' of times@1 is not what was published"):
        store.fetch(version)
    path.unlink()
    with pytest.raises(StoreError, match="is not what was published"):
        store.fetch(version)


def test_a_damaged_manifest_is_said(tmp_path: Path, model: Any) -> None:
    store = mt.Store(tmp_path / "store")
    store.publish("times", model(1))
    manifest = tmp_path / "store" / "times" / "1" / "manifest.json"
    whole = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps({**whole, "format": 2}))
    with pytest.raises(StoreError, match=r"the manifest has format 2\n.*newer motet"):
        store.resolve("times")
    manifest.write_text("{")
    with pytest.raises(StoreError, match="the manifest is damaged"):
        store.resolve("times")


class Dying(DiskStorage):
    """A storage whose process ends, as by `kill -9`, before it does a thing for the n-th time."""

    def __init__(self, folder: Any, left: Any) -> None:
        super().__init__(folder)
        self.left = left

    def _tick(self) -> None:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def create(self, path: Any, data: Any) -> Any:
        self._tick()
        return super().create(path, data)

    def put(self, path: Any, source: Any) -> None:
        self._tick()
        super().put(path, source)
        self._tick()


def test_a_publisher_that_is_killed_leaves_no_half_of_a_version(tmp_path: Path, model: Any) -> None:
    """Whatever the last thing was that it did; the next one publishes, and what was left behind is swept away."""
    store = mt.Store(tmp_path / "store")
    store.publish("times", model(1))
    path = model(2)
    code = (
        "import sys, motet as mt; from pathlib import Path; from store.test_store import Dying\n"
        "store = mt.Store(sys.argv[1]); store._storage = Dying(Path(sys.argv[1]), int(sys.argv[3]))\n"
        "store.publish('times', sys.argv[2])"
    )
    ended = []
    for left in range(6):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "store"), str(path), str(left)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            timeout=60,
        )
        ended.append(done.returncode)
        for version in store.versions("times"):
            store.fetch(version)
        seen = store.resolve("times")
        assert seen.number == 1 or digest(store.fetch(seen)) == digest(path)
    assert set(ended) == {-signal.SIGKILL, 0}
    assert store.publish("times", path) == store.resolve("times")
    left = store.gc(0, dry_run=True)  # type: ignore[assignment]
    assert left
    assert store.gc(3600) == []
    assert store.gc(0) == left
    assert store.gc(0) == []
    assert store.versions("times")[0].number == 1


def test_a_store_that_cannot_be_reached(tmp_path: Path, model: Any, s3_endpoint: Any) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"store .*file: (NotADirectory|FileExists)Error.*\n.*check the folder"):
        mt.Store(tmp_path / "file").publish("times", model(1))
    gone = mt.Store("s3://no-bucket/x", options={"endpoint_url": s3_endpoint})
    with pytest.raises((StoreError, NotPublishedError)):
        gone.publish("times", model(1))
