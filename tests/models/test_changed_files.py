"""A model of several files is looked at again when any of them changes, whichever of them its graph names."""

import os
from pathlib import Path

import pytest

import motet as mt
from motet.models.handler import ModelSource
from motet.models.keep import LoadCache
from motet.models.keras import KerasHandler
from motet.runtime.resolve import ModelResolver

WEIGHTS = Path("variables") / "variables.data-00000-of-00001"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / WEIGHTS).write_bytes(b"old")
    return folder


def change(path: Path) -> None:
    path.write_bytes(b"new")
    os.utime(path, ns=(1, os.stat(path).st_mtime_ns + 10**9))


@pytest.mark.parametrize("named", ["", "saved_model.pb"])
def test_other_weights_are_another_version(saved: Path, named: str) -> None:
    model, resolver = mt.Model(f"keras:{saved / named}", "m"), ModelResolver()
    before = resolver.locate(model, "")
    assert resolver.locate(model, "") is before
    change(saved / WEIGHTS)
    assert resolver.locate(model, "").version != before.version


@pytest.mark.parametrize("named", ["", "saved_model.pb"])
def test_what_was_loaded_to_learn_the_signature_is_not_kept_then(saved: Path, named: str) -> None:
    kept = KerasHandler()._kept
    kept = LoadCache(lambda source: (saved / WEIGHTS).read_bytes(), whole=kept._whole)
    source = ModelSource("m", str(saved / named))
    assert kept.look(source) == b"old"
    change(saved / WEIGHTS)
    assert kept.take(source) == b"new"
