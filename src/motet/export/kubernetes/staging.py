"""The folder that an image is built from: copies of what belongs into it, and nothing else.

DIR/image/Containerfile
DIR/image/install/    the list of packages, and Motet as a wheel
DIR/image/app/        the project's files, at the places that they have in the project
DIR/image/state/      how graphs are served, where one says so
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from motet.errors import InputError
from motet.export.kubernetes.private import named_secrets, why_private
from motet.export.kubernetes.project import Project

__all__ = ["digest_of", "let_read", "stage"]

_LEFT_OUT = (
    ".git", ".venv", "venv", "__pycache__", "*.pyc", ".hypothesis", ".*_cache", "node_modules",
    ".env", ".env.*", ".netrc", ".pypirc", ".ssh", ".aws", ".kube", ".docker",
)  # fmt: skip
_LINKED_BYTES = 16 << 20
"""Larger files are hard links where that can be: models are not kept twice."""
_READ, _ENTER = 0o044, 0o055
"""What everybody may do with a file and with a folder of an image."""


def stage(project: Project, target: Path, left_out: Collection[Path]) -> list[str]:
    """Put the project's files into a folder, which is made anew; everybody may read them there. Gives what is to be known of
    files that hold secrets, and were left out.

    Args:
        project: what is copied.
        target: the folder.
        left_out: files and folders that stay where they are, such as keys, and what lies beside them by the same name (older
            logs, locks, journals); beside what never belongs into an image.

    Raises:
        InputError: when a file cannot be read, or a link leads round in a circle.
    """
    shutil.rmtree(target, ignore_errors=True)
    without = {str(each.resolve()) for each in left_out}
    notes = []
    try:
        files = [pair for path in project.paths for pair in _files(project.root / path, target / path, without)]
        named = named_secrets(source for source, _ in files)
        for source, place in files:
            why = why_private(source) or named.get(source.resolve(), "")
            if why:
                notes.append(f"{source} was left out of the image, since {why}; what needs it takes it from a Secret")
            else:
                _copy_file(source, place)
    except OSError as error:
        raise InputError(f"{error.filename} cannot be copied: {error.strerror}") from None
    return notes


def _files(source: Path, target: Path, without: set[str]) -> Iterator[tuple[Path, Path]]:
    """The files to copy, and where to; the folders are made."""
    names = (str(source.resolve()), str(source.parent.resolve() / source.name))
    if not without.isdisjoint(part for name in names for part in _stems(name)):
        return
    if any(fnmatch.fnmatch(source.name, each) for each in _LEFT_OUT):
        return
    if source.is_dir():
        if source.is_symlink() and source.parent.resolve().is_relative_to(source.resolve()):
            raise InputError(f"{source} leads round in a circle", hint="remove the link, or name a smaller folder")
        target.mkdir(parents=True, exist_ok=True)
        for each in sorted(source.iterdir()):
            yield from _files(each, target / each.name, without)
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        yield source, target


def _stems(name: str) -> list[str]:
    """A path, and what is left of it without endings: `access.jsonl` of `access.jsonl.1`."""
    start = name.rfind(os.sep) + 2
    return [name, *(name[:place] for place in range(start, len(name)) if name[place] in ".-")]


def _copy_file(source: Path, target: Path) -> None:
    about = source.stat()
    if about.st_size >= _LINKED_BYTES and about.st_mode & _READ == _READ:  # so that `let_read` leaves its mode alone
        try:
            os.link(source.resolve(), target)
            return
        except OSError:  # another disk, or a disk without links
            target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if about.st_mode & 0o100 else 0o644)


def let_read(folder: Path) -> None:
    """Let everybody read what is in a folder, whatever the umask was: an image keeps modes, and its user owns nothing."""
    for path in (folder, *folder.rglob("*")):
        mode = path.stat().st_mode & 0o777
        wanted = mode | (_ENTER if path.is_dir() else _READ)
        if wanted != mode:
            path.chmod(wanted)


def digest_of(folder: Path) -> str:
    """What names the content of a folder: 12 hexadecimal digits."""
    found = hashlib.sha256()
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        found.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return found.hexdigest()[:12]
