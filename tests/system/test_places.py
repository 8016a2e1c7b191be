"""Folders to write to, where a container has no home, a read-only root, or an account without a name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from motet.errors import ModelLoadError, RunError
from motet.models.fetch import local_path
from motet.runtime.resources.need import machine
from motet.runtime.sizes import RememberedSizes
from motet.system import places


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing was said yet, and no variable names a folder."""
    monkeypatch.delenv("MOTET_CACHE_DIR")
    for cached in (places._say_once, places._own_temporary):
        cached.cache_clear()
    yield
    for cached in (places._say_once, places._own_temporary):
        cached.cache_clear()


def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account without a name, a variable HOME, or a home."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)


def no_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)


def test_a_variable_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTET_CACHE_DIR", "/nowhere/at/all")
    assert places.cache_folder() == Path("/nowhere/at/all")


def test_a_home_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert places.cache_folder() == tmp_path / ".cache/motet"
    assert not (tmp_path / ".cache").exists()


def test_without_a_home_it_is_among_temporary_files_of_this_user_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nobody(monkeypatch)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    found = places.cache_folder()
    assert found == tmp_path / f"motet-{os.geteuid()}" == places.cache_folder()
    assert found.stat().st_mode & 0o777 == 0o700
    assert [record.message for record in caplog.records] == [
        f"there is no home folder: what is kept between runs is in {found}; MOTET_CACHE_DIR names another folder"
    ]


@pytest.mark.parametrize("taken", ["link", "open to all"])
def test_a_folder_that_another_could_have_made_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, taken: str
) -> None:
    nobody(monkeypatch)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    name = tmp_path / f"motet-{os.geteuid()}"
    (tmp_path / "theirs").mkdir()
    if taken == "link":
        name.symlink_to(tmp_path / "theirs")
    else:
        name.mkdir()
        name.chmod(0o777)
    found = places.cache_folder()
    assert found != name
    assert found.parent == tmp_path
    assert found.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("cache", ["", "/proc/nothing/here"])
def test_where_nothing_can_be_written_sizes_are_not_kept_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, cache: str
) -> None:
    if cache:
        monkeypatch.setenv("MOTET_CACHE_DIR", cache)
    else:
        nobody(monkeypatch)
        no_temporary(monkeypatch)
        monkeypatch.setattr(
            os, "open", lambda *_, **__: (_ for _ in ()).throw(OSError(30, "Read-only file system", "/.cache"))
        )
    for _ in range(3):
        RememberedSizes().put({"model": 64})
        assert RememberedSizes().get("model") is None
    (said,) = [record.message for record in caplog.records]
    assert said.startswith("batch sizes cannot be kept: ")
    assert said.endswith("; MOTET_CACHE_DIR names another folder")


def test_without_temporary_files_there_is_no_scratch_disk_and_what_needs_one_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_temporary(monkeypatch)
    assert machine().scratch_bytes == 0
    with pytest.raises(
        RunError, match="no folder for temporary files can be written to\n  hint: set TMPDIR to one that can"
    ):
        places.temporary_folder()


def test_a_model_that_cannot_be_kept_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe("/models/m.onnx", b"model")
    monkeypatch.setenv("MOTET_CACHE_DIR", "/proc/nothing")
    with pytest.raises(ModelLoadError, match="cannot be kept in /proc/nothing/models: .*\n  hint: set MOTET_CACHE_DIR"):
        local_path("memory://models/m.onnx", base=None, runs_code=False)


def test_a_cache_in_an_image_is_read_without_being_written_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import fsspec

    from motet.models import cache, copies

    fsspec.filesystem("memory").pipe("/models/m.onnx", b"model")
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path))
    first = local_path("memory://models/m.onnx", base=None, runs_code=False)

    def refuse(*args: object, **settings: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(cache.fcntl, "flock", lambda file, how: refuse() if how == cache.fcntl.LOCK_EX else None)  # type: ignore[attr-defined]
    assert local_path("memory://models/m.onnx", base=None, runs_code=False) == first
    assert copies._fetched


def test_a_folder_that_was_deleted_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    assert places.current_folder() == str(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert places.current_folder() is None
    monkeypatch.chdir(tmp_path)


@given(st.lists(st.text(alphabet="aA./\\%2Eé\0\ud800 ~-" + "z" * 3, max_size=400), unique=True, max_size=20))
@example(["a/b", "a.b", "a%2Fb", "", ".", "..", "%2E", "é" * 300, "é" * 301])
def test_a_name_of_a_file_is_one_part_of_a_path_and_another_one_for_every_name(names: list[str]) -> None:
    found = [f"{places.file_name(name)}.log" for name in names]
    assert len(set(found)) == len(names)
    for each in found:
        assert each.isascii()
        assert each == os.path.basename(each)
        assert len(each) <= 255
        assert not each.startswith(".") or each == ".log"


@pytest.mark.parametrize("name", ["train", "train-cnn-2", "fit_a.b", "a b", "lr=0.1"])
def test_a_common_name_is_that_of_its_file(name: str) -> None:
    assert places.file_name(name) == name
