"""Folders that a process may write to: for what is kept, for what is needed for a while, and the current one.

None of them need be there: a container may have no home, a read-only root, and an account without a name.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import tempfile
from functools import cache, lru_cache
from pathlib import Path
from urllib.parse import quote

from motet.errors import RunError

__all__ = ["cache_folder", "changed_at", "current_folder", "file_name", "free_bytes", "not_kept", "temporary_folder"]

_LOG = logging.getLogger("motet")
CACHE = "MOTET_CACHE_DIR"
_MOST_NAME = 150


def cache_folder() -> Path:
    """Where what is worth keeping is kept: `$MOTET_CACHE_DIR`, else `~/.cache/motet`.

    Where there is no home, or its folder cannot be written to, it is `motet-UID` among temporary files. Who writes there
    must be ready to find that this is impossible, and say so with `not_kept`.
    """
    named = os.environ.get(CACHE)
    if named:
        return Path(named)
    home = _home()
    found = os.path.join(home or "/", ".cache", "motet")
    if home is not None and _writable(found):
        return Path(found)
    own = _own_temporary()
    if own is None:
        return Path(found)
    why = "there is no home folder" if home is None else f"{home} cannot be written to"
    _say_once(f"{why}: what is kept between runs is in {own}; {CACHE} names another folder")
    return own


def not_kept(what: str, error: OSError) -> None:
    """Say that something worth keeping is not kept, and which variable names another folder; once for each reason."""
    _say_once(f"{what} cannot be kept: {error.strerror} ({error.filename}); {CACHE} names another folder")


def temporary_folder() -> str:
    """The folder for what is needed for a while: `$TMPDIR`, else the system's.

    Raises:
        RunError: when there is none that can be written to.
    """
    found = _temporary()
    if found is None:
        raise RunError("no folder for temporary files can be written to", hint="set TMPDIR to one that can")
    return found


def free_bytes(folder: str = "") -> int:
    """Bytes that are free on the disk of a folder; of that for temporary files where it is empty, 0 where there is none."""
    among = folder or _temporary()
    return 0 if among is None else shutil.disk_usage(among).free


def changed_at(path: str | os.PathLike[str]) -> float:
    """When a file or a folder itself was last changed, seconds since 1970; 0 where it has just gone."""
    try:
        return os.lstat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def current_folder() -> str | None:
    """The current folder; None where it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return None


@lru_cache(256)  # reasons may name files that are other ones each time
def _say_once(text: str) -> None:
    _LOG.warning("%s", text)


def _home() -> str | None:
    found = os.path.expanduser("~")
    return None if found.startswith("~") else found


def _temporary() -> str | None:
    try:
        return tempfile.gettempdir()
    except OSError:
        return None


@cache
def _own_temporary() -> Path | None:
    """A folder of this user alone among temporary files, the same for all its processes where nobody has taken the name."""
    among = _temporary()
    if among is None:
        return None
    folder = Path(among, f"motet-{os.geteuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
        return folder if own else Path(tempfile.mkdtemp(prefix="motet-"))
    except OSError:
        return None


def _writable(folder: str) -> bool:
    """Whether a folder can be written to, or made."""
    while not os.path.exists(folder) and folder != (above := os.path.dirname(folder) or "."):
        folder = above
    return os.access(folder, os.W_OK | os.X_OK)


def file_name(name: str) -> str:
    """A name as the name of a file or a folder: one part of a path, another one for every name."""
    found = quote(name, safe=" +,=@", errors="surrogatepass")
    if found.startswith("."):
        found = f"%2E{found[1:]}"
    if len(found) <= _MOST_NAME:
        return found
    return f"{found[:_MOST_NAME]}%%{hashlib.sha256(found.encode()).hexdigest()[:32]}"
