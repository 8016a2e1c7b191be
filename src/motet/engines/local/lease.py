"""One run at a time may write an output in a store, which has no locks that die with who holds them.

The owner's object says who it is, and changes every few seconds as long as it lives. Who finds one that does not change
for long enough, or whose process is gone from this machine, takes it over; who has lost its own ends. No clocks are
compared.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Any

from motet.errors import MotetError, RunError
from motet.io.remote import asking
from motet.system.created_files import create_file

__all__ = ["OutputLease"]

_LOG = logging.getLogger("motet.run")
BEAT_S = 3.0
"""How often the owner's object changes."""
LEASE_S = 20.0
"""An owner whose object has not changed for so long is dead."""
POLL_S = 1.0
TRIES = 10
"""How often somebody else may get it first."""


class OutputLease:
    """The right to write an output in a store.

    Args:
        fs: its fsspec file system.
        path: the owner's object in it.
        where: the output, for messages.
    """

    def __init__(self, fs: Any, path: str, where: str) -> None:
        self._fs, self._path, self._where = fs, path, where
        self._said = _this_process() | {"run": secrets.token_hex(8), "beats": 0}
        self._ended = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._beat, name="motet-lease", daemon=True)

    def take(self) -> bool:
        """Take it; whether another run had it, and died.

        Raises:
            RunError: when another run is alive that has it, or others get it again and again.
        """
        died = False
        for _ in range(TRIES):
            with asking(self._where, self._fs):
                found = self._read()
                if found is None:
                    if create_file(self._fs, self._path, self._bytes()):
                        self._thread.start()
                        return died
                    continue
            if not _is_dead(found) and self._changes(found):
                raise RunError(
                    "another run is writing this output",
                    where=f"{self._where} ({found.get('host')}, process {found.get('pid')})",
                    hint="wait for it, or write elsewhere",
                )
            with asking(self._where, self._fs):
                if self._read() == found:
                    died = True
                    self._fs.rm_file(self._path)
        raise RunError(
            "other runs begin it again and again", where=self._where, hint="begin one at a time, or write elsewhere"
        )

    def check(self) -> None:
        """See that it was not taken over, as far as is known.

        Raises:
            RunError: when it was.
        """
        if self._lost:
            raise RunError(
                "another run has taken this output over", where=self._where, hint="let one run at a time write it"
            )

    def verify(self) -> None:
        """Look whether it was taken over; raises as `check` does."""
        with asking(self._where, self._fs):
            self._lost = self._lost or not self._is_mine(self._read())
        self.check()

    def release(self) -> None:
        """Let others have it."""
        self._ended.set()
        if self._thread.ident is None:
            return
        self._thread.join()
        with asking(self._where, self._fs):
            if self._is_mine(self._read()):
                self._fs.rm_file(self._path)

    def _beat(self) -> None:
        """Change the object until the run ends. A store that does not answer now is asked again later."""
        while not self._ended.wait(BEAT_S):
            try:
                with asking(self._where, self._fs):
                    if not self._is_mine(self._read()):
                        self._lost = True
                        return
                    self._said["beats"] += 1
                    self._fs.pipe_file(self._path, self._bytes())
            except MotetError:
                continue

    def _changes(self, found: dict[str, Any]) -> bool:
        """Whether an owner's object changes; one on this machine that is not dead does."""
        if _is_here(found):
            return True
        _LOG.warning("%s: another run has begun it; looking for %.0f s whether it is alive", self._where, LEASE_S)
        until = time.monotonic() + LEASE_S
        while time.monotonic() < until:
            self._ended.wait(POLL_S)
            with asking(self._where, self._fs):
                now = self._read()
            if now is None:
                return False
            if now != found:
                return True
        return False

    def _is_mine(self, found: dict[str, Any] | None) -> bool:
        return found is not None and found.get("run") == self._said["run"]

    def _bytes(self) -> bytes:
        return json.dumps(self._said).encode()

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._fs.cat_file(self._path))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def _this_process() -> dict[str, Any]:
    """What tells this process from all others."""
    return {"host": socket.gethostname(), "machine": _machine(), "pid": os.getpid(), "started": _started(os.getpid())}


def _machine() -> str:
    """This machine since it was started, and the namespace of its processes; empty where the system does not say."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process began, as the system counts; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _is_here(found: dict[str, Any]) -> bool:
    return bool(found.get("machine")) and found["machine"] == _machine()


def _is_dead(found: dict[str, Any]) -> bool:
    """Whether an owner was a process of this machine, and is gone."""
    return _is_here(found) and found.get("started") != _started(int(found.get("pid", 0)))
