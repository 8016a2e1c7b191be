"""Sockets that only this user's processes can reach: where they lie, made by who listens, found by who asks.

A socket lies in a folder that belongs to the user, and that nobody else may enter. Who may connect is so decided by the
system, and not by an address: what a proxy, a sidecar or a tunnel hands on comes over TCP. There are no such sockets on
Windows.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["FOLDER", "OwnSocket", "own_sockets", "socket_folders"]

FOLDER = "MOTET_RUNTIME_DIR"
"""The variable that names the folder of sockets; the only one that is looked at where it is set."""
SUFFIX = ".sock"
BACKLOG = 128
CONNECT_S = 1.0


class OwnSocket:
    """A socket that listens.

    Args:
        name: what its file's name begins with; several may have the same.

    Attributes:
        path: its file.
        socket: it.

    Raises:
        OSError: when no folder can have it; says why.
    """

    def __init__(self, name: str) -> None:
        self.path, self.socket = _listening(name)

    def close(self) -> None:
        """Listen no more, and leave no file."""
        self.socket.close()
        with contextlib.suppress(OSError):
            self.path.unlink()


def socket_folders() -> list[Path]:
    """Where sockets of this user may lie, the first choice first.

    `/tmp` goes first: what `XDG_RUNTIME_DIR` names is emptied when the user logs out, while the server goes on, and neither
    it nor a home need be there in a container.
    """
    if named := os.environ.get(FOLDER):
        return [Path(named).absolute()]
    own, session = f"motet-{os.geteuid()}-run", os.environ.get("XDG_RUNTIME_DIR", "")
    found = [Path("/tmp", own), Path("/run/user", str(os.geteuid()), "motet")]
    if os.path.isabs(session):
        found.append(Path(session, "motet"))
    with contextlib.suppress(OSError):  # where there is no folder for temporary files
        found.append(Path(tempfile.gettempdir(), own))
    return list(dict.fromkeys(found))


def private_folder() -> Path:
    """The first of these folders that only this user can enter, made where it is not there.

    Raises:
        OSError: when there is none.
    """
    reasons = []
    for folder in socket_folders():
        try:
            _make_private(folder)
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror or error}")
        else:
            return folder
    raise OSError(f"no folder can have a socket ({'; '.join(reasons)})")


def own_sockets() -> Iterator[Path]:
    """The sockets of this user that somebody listens at, the last one made first; files that others left behind are removed."""
    for folder in socket_folders():
        if _is_private(folder):
            for path in sorted(folder.glob(f"*{SUFFIX}"), key=_made_at, reverse=True):
                if is_heard(path):
                    yield path


def _listening(name: str) -> tuple[Path, socket.socket]:
    reasons = []
    for folder in socket_folders():
        made = socket.socket(socket.AF_UNIX)
        temporary = folder / f".{secrets.token_hex(4)}"
        try:
            _make_private(folder)
            made.bind(str(temporary))
            temporary.chmod(0o600)
            made.listen(BACKLOG)
            path = folder / f"{name}-{secrets.token_hex(4)}{SUFFIX}"
            temporary.rename(path)  # only now, since what does not listen yet would be taken for left behind
        except OSError as error:
            made.close()
            with contextlib.suppress(OSError):
                temporary.unlink()
            reasons.append(f"{folder}: {error.strerror or error}")
        else:
            list(own_sockets())
            return path, made
    raise OSError(f"no folder can have a socket ({'; '.join(reasons)})")


def _make_private(folder: Path) -> None:
    """Make a folder of this user alone.

    Raises:
        OSError: when there is something else, or nothing can be made there.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if _is_own(folder):
        folder.chmod(0o700)
    if not _is_private(folder):
        raise OSError("it is no folder of this user")


def _is_own(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _is_private(folder: Path) -> bool:
    """Whether a folder is of this user, and nobody else can enter it: who puts another one in its place owns that one."""
    return _is_own(folder) and not folder.lstat().st_mode & 0o077


def is_heard(path: Path) -> bool:
    """Whether somebody listens at a socket; one that was left behind is removed."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(CONNECT_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                path.unlink()
            return False
        except (TimeoutError, BlockingIOError):  # it hangs or is overrun, and is there
            return True
        except OSError:
            return False
    return True


def _made_at(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0
