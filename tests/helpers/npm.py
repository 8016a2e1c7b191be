"""Suites of other people that come as packages of npm, kept outside the tree from one run of the tests to the next."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

__all__ = ["package"]

TIMEOUT_S = 60


def package(name: str, version: str) -> Path:
    """The folder of a package's files; what asks for it is skipped where it cannot be had."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "motet-tests" / "npm"
    folder = cache / f"{name}-{version}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            _fetch(f"{name}@{version}", Path(scratch)).rename(folder)
    return folder


def _fetch(name: str, scratch: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"{name} comes by npm, which is not installed")
    command = [npm, "pack", "--silent", name, "--pack-destination", str(scratch)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"{name} cannot be fetched by npm: {error}")
    with tarfile.open(next(scratch.glob("*.tgz"))) as archive:
        archive.extractall(scratch, filter="data")
    return scratch / "package"
