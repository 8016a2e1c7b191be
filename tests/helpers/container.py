"""A root like that of a container: one first process, nothing to write to but one folder, an account without a name, no home."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

MUST = "MOTET_TEST_CONTAINERS"
"""Set to 1 where these tests must be able to run, as in CI: they fail instead of being skipped."""
UID = "12345"
SRC = str(Path(__file__).parents[2] / "src")


class Container:
    """A process in a container.

    Attributes:
        process: what started it: ends when it does, with its exit code.
        first: the number of the container's first process, as this machine sees it.
    """

    def __init__(self, folder: Path, command: Sequence[str], temporary: bool, env: dict[str, str]) -> None:
        told, tell = os.pipe()
        line = [
            "bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-pid", "--as-pid-1", "--unshare-user",
            "--uid", UID, "--gid", UID, "--die-with-parent", "--info-fd", str(tell), "--bind", str(folder), str(folder),
            "--clearenv", *_temporary(folder, temporary), "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "PYTHONPATH", SRC,
            *(part for name, value in env.items() for part in ("--setenv", name, value)),
            "--chdir", "/", sys.executable, "-m", "motet.cli", *command,
        ]  # fmt: skip
        with os.fdopen(told) as info:
            self.process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=[tell]
            )  # fmt: skip
            os.close(tell)
            self.first = int(json.load(info)["child-pid"])

    def ended(self, timeout_s: float = 60.0) -> tuple[int, str, str]:
        """Its exit code, and what it said, once it has ended."""
        out, err = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, out, err


def _temporary(folder: Path, wanted: bool) -> list[str]:
    """A disk of 2 MiB for temporary files, in the folder; without it there is no place for them."""
    if not wanted:
        return []
    place = folder / "temporary"
    place.mkdir(exist_ok=True)
    return ["--size", str(2 << 20), "--tmpfs", str(place), "--setenv", "TMPDIR", str(place)]


def container(folder: Path, *command: str, temporary: bool = True, **env: str) -> Container:
    """Start `motet` as the first process of a container.

    Args:
        folder: what can be written to, under the same name inside.
        command: its arguments.
        temporary: whether there is a place for temporary files.
        env: all variables but for what Python needs.
    """
    usable()
    return Container(folder, command, temporary, env)


def usable() -> None:
    """Skip the test where there can be no containers; fail it where there must be."""
    why_not = _why_not()
    if why_not and os.environ.get(MUST) == "1":
        pytest.fail(f"{MUST}=1, and {why_not}")
    if why_not:
        pytest.skip(why_not)


@functools.cache
def _why_not() -> str:
    if shutil.which("bwrap") is None:
        return "no bubblewrap is installed; on Debian or Ubuntu: apt-get install bubblewrap"
    trial = ["bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--unshare-pid", "--unshare-user", "--uid", UID, "true"]
    tried = subprocess.run(trial, capture_output=True, text=True, check=False)
    return f"namespaces are not permitted here: {tried.stderr.strip()}" if tried.returncode else ""
