"""Folders of programs go with them, also with those that were killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from motet.system.run_folders import RunFolder

KILLED = """
import os, signal
from motet.system.run_folders import RunFolder
print(RunFolder("motet-test-").path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_folder_of_a_killed_program_goes_when_the_next_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mine = RunFolder("motet-test-")
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", KILLED], env=env, capture_output=True, text=True, check=False)
    left = done.stdout.strip()
    assert done.returncode == -signal.SIGKILL
    (tmp_path / "motet-testing").mkdir()
    RunFolder("motet-test-").close()
    assert sorted(os.listdir(tmp_path)) == sorted(["motet-testing", *map(os.path.basename, (mine.path, left))])
    for each in (mine.path, left, tmp_path / "motet-testing"):
        os.utime(each, (0, 0))  # long ago: what it had started has ended, too
    RunFolder("motet-test-").close()
    assert sorted(os.listdir(tmp_path)) == sorted(["motet-testing", os.path.basename(mine.path)])
    mine.close()
    assert os.listdir(tmp_path) == ["motet-testing"]
