"""Engines whose workers are other processes pass the suite, with workers that are killed."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from motet.engines.engine import find_engine
from motet.errors import InputError, UnknownNameError
from motet.testing import engines

EXTENDING = Path(__file__).parents[2] / "docs" / "extending.md"


def documented_engine() -> Any:
    """The engine of the page, in a module of its own."""
    text = re.search(r"```python\n# file: pools.py\n(.*?)```", EXTENDING.read_text(encoding="utf-8"), re.DOTALL)
    assert text is not None
    module = types.ModuleType("pools")
    exec(text[1], module.__dict__)
    return module.PoolEngine


@pytest.fixture(params=["pool", "beam"])
def engine(request: pytest.FixtureRequest) -> Any:
    if request.param == "pool":
        return documented_engine()()
    pytest.importorskip("apache_beam")
    return find_engine("beam")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("check", engines.CHECKS, ids=lambda check: check.__name__)
def test_the_engine_passes_the_suite(check: Any, engine: Any, tmp_path: Path) -> None:
    if engine.name == "beam" and "killed" in check.__name__:
        pytest.skip("Beam's runner in this process has no worker to kill")
    check(engine, tmp_path)


def test_engines_are_found_by_name_and_know_their_options() -> None:
    with pytest.raises(UnknownNameError, match="unknown engine 'sparc'.*spark"):
        find_engine("sparc")
    with pytest.raises(InputError, match="engine local: takes no options of its own here; got --fast"):
        find_engine("local", ["--fast"])
    made = documented_engine()
    assert made(["--processes", "3", "--split-bytes", "2KiB"]).split_bytes == 2048
    with pytest.raises(InputError, match="engine pool: unrecognized arguments: --fast\n  hint: known: .*--processes"):
        made(["--fast"])
    with pytest.raises(InputError, match="argument --split-bytes: invalid"):
        made(["--split-bytes", "many"])


def test_engines_of_packages_are_found_by_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "pools-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pools\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[motet.engines]\npool = pools_of_tests:Engine\n")
    monkeypatch.setitem(sys.modules, "pools_of_tests", types.SimpleNamespace(Engine=documented_engine()))
    monkeypatch.syspath_prepend(tmp_path)
    assert find_engine("pool", ["--processes", "5"]).processes == 5  # type: ignore[attr-defined]
