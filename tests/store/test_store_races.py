"""What is done to a store at the same time: the sweep under a publisher, removal before a rollback, moves that come late."""

import itertools
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import motet as mt
from motet.errors import InputError, NotPublishedError, StoreError
from motet.store.aliases import KEPT, Aliases
from motet.store.storage import DiskStorage
from store.store_files import write_model


def test_the_sweep_never_takes_the_files_of_what_is_published(tmp_path: Path, model: Any) -> None:
    """A publisher that is swept away as left behind, between copying and publishing, is told; nobody sees half of it."""
    store, sweeper = mt.Store(tmp_path / "store"), mt.Store(tmp_path / "store")
    put = store._storage.put

    def slow(path: Any, source: Any) -> None:
        put(path, source)
        assert sweeper.gc(0) == [("times", 1)]

    store._storage.put = slow  # type: ignore[method-assign]
    with pytest.raises(
        StoreError, match="times@1 was swept away as left behind before it was whole\n.*publish it again"
    ):
        store.publish("times", model(1))
    assert sweeper.names() == []
    store._storage.put = put  # type: ignore[method-assign]
    assert store.publish("times", model(1)).number == 2
    assert sweeper.gc(0) == []
    assert [version.number for version in sweeper.versions("times")] == [2]
    with pytest.raises(NotPublishedError, match="no version 1; it has 2"):
        sweeper.resolve("times@1")


KILLED = """
import os, signal, sys
from pathlib import Path
import motet as mt
os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
mt.Store(sys.argv[1]).publish("times", Path(sys.argv[2]))
"""


def test_the_sweep_takes_what_was_being_written_by_a_publisher_that_was_killed(tmp_path: Path, model: Any) -> None:
    place, published = tmp_path / "store", model(2)
    store = mt.Store(place)
    store.publish("times", model(1))
    ended = subprocess.run([sys.executable, "-c", KILLED, str(place), str(published)], timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL
    (draft,) = place.rglob(".new-*")
    store.gc()  # it may still be on its way
    store.gc(0, dry_run=True)
    assert draft.exists()
    store.gc(0)
    assert not draft.exists()
    assert [version.number for version in store.versions("times")] == [1]


def test_a_rollback_passes_over_versions_that_are_removed(tmp_path: Path, model: Any) -> None:
    store = mt.Store(tmp_path / "store")
    for factor in (1, 2, 3):
        store.publish("times", model(factor), aliases=("latest", "champion"))
    store.remove("times", 2)
    assert store.rollback("times").number == 1
    store.promote("times", 3)
    store.remove("times", 1)
    with pytest.raises(NotPublishedError, match="has not pointed at another version"):
        store.rollback("times")
    assert store.aliases("times")["champion"] == 3


def test_a_move_that_comes_late_is_made_anew(tmp_path: Path) -> None:
    """Its place was given up long ago: to take that would be to lose it."""
    storage = DiskStorage(tmp_path)
    slow, quick = Aliases(storage, "times"), Aliases(storage, "times")
    slow.move("champion", lambda now: 1)
    held_up = iter([True])

    def choose(now: Any) -> Any:
        if next(held_up, False):
            for step in range(2 * KEPT + 1):
                quick.move("champion", lambda now, step=step: 10 + step)  # type: ignore[misc]
        return 3

    assert slow.move("champion", choose) == 3
    assert quick.get("champion") == 3


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 4)),
        st.tuples(st.sampled_from(["promote", "remove"]), st.integers(1, 6)),
        st.tuples(st.sampled_from(["rollback", "gc"]), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(ACTIONS)
def test_a_store_is_what_a_table_of_versions_is(tmp_path_factory: pytest.TempPathFactory, actions: Any) -> None:
    """Whatever is done to it, one after the other."""
    folder = tmp_path_factory.mktemp("table")
    store, files = mt.Store(folder / "store"), {n: write_model(folder / f"{n}.onnx", n) for n in range(1, 5)}
    numbers, versions, moves = itertools.count(1), {}, []  # content by number; where champion pointed
    cursor = 0  # which of the moves holds
    for action, given_number in actions:
        if action == "publish":
            known = [number for number, content in versions.items() if content == given_number]
            expected = max(known) if known else next(numbers)
            versions[expected] = given_number
            assert store.publish("m", files[given_number], aliases=()).number == expected
        elif action == "gc":
            assert store.gc(0) == []
        elif action == "rollback":
            if not moves:
                with pytest.raises(NotPublishedError):
                    store.rollback("m")
                continue
            earlier = [at for at in range(cursor) if moves[at] in versions and moves[at] != moves[cursor]]
            if earlier:
                cursor = earlier[-1]
                assert store.rollback("m").number == moves[cursor]
            else:
                with pytest.raises(NotPublishedError):
                    store.rollback("m")
        elif given_number not in versions:
            with pytest.raises(NotPublishedError):
                store.promote("m", given_number) if action == "promote" else store.remove("m", given_number)
        elif action == "promote":
            store.promote("m", given_number)
            if not moves or moves[cursor] != given_number:
                moves[cursor + 1 :] = [given_number]
                cursor = len(moves) - 1
        elif moves and moves[cursor] == given_number:
            with pytest.raises(InputError, match="is what champion points at"):
                store.remove("m", given_number)
        else:
            store.remove("m", given_number)
            del versions[given_number]
        assert store.aliases("m") == ({"champion": moves[cursor]} if moves else {})
        if versions:
            assert [version.number for version in store.versions("m")] == sorted(versions)
        assert store.names() == (["m"] if versions else [])


def test_a_storage_that_writes_over_files_is_not_published_to(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would not know of two who publish at the same time."""
    from fsspec.implementations.memory import MemoryFileSystem

    message = "cannot make a file only where there is none, so nothing can be published to it"
    with pytest.raises(StoreError, match=message):
        mt.Store("dir::memory://x", options={"dir": {"path": "/x"}}).publish("times", model(1))
    monkeypatch.setattr(
        MemoryFileSystem, "pipe_file", lambda self, path, value, mode="overwrite": self.store.update({path: value})
    )
    with pytest.raises(StoreError, match=message):
        mt.Store("memory://writes-over").publish("times", model(1))
