"""The project's classes that files and bytes name: a pickle holds values and the names of classes, not their code.

Any file that is made by pickle, joblib, torch or Keras, and any that names a class as text, holds the name of its module
and its own, whatever is between them. So both are looked for as they are, in what is packed (gzip, zlib, bzip2, xz and
zip) too. A name that is there by chance makes a result count with a class that it does not need.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import types
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, BinaryIO

from motet.workflow.project import is_project

__all__ = ["classes_named_in"]

_CHUNK = 1 << 20
_MOST = 4 << 30
"""Bytes of a file that are looked through."""
_PACKED: tuple[tuple[bytes, Callable[[], Any]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(31)),
    (b"x\x01", zlib.decompressobj),
    (b"x\x5e", zlib.decompressobj),
    (b"x\x9c", zlib.decompressobj),
    (b"x\xda", zlib.decompressobj),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ", lzma.LZMADecompressor),
)


def classes_named_in(file: BinaryIO) -> set[str]:
    """The project's loaded classes and functions, as `module:name`, whose names are in a file."""
    names = {module: _defined(module) for module in _found(file, _project(tuple(sys.modules)))}
    words = _found(file, frozenset(name for inside in names.values() for name in inside)) if names else frozenset()
    return {f"{module}:{name}" for module, inside in names.items() for name in inside & words}


@lru_cache(maxsize=4)
def _project(modules: tuple[str, ...]) -> frozenset[str]:
    """The project's modules among some that are loaded."""
    return frozenset(name for name in modules if is_project(name))


def _defined(name: str) -> frozenset[str]:
    """The names of the classes and functions that a loaded module defines."""
    things = list(vars(sys.modules[name]).items()) if isinstance(sys.modules.get(name), types.ModuleType) else []
    kinds = (type, types.FunctionType)
    return frozenset(key for key, thing in things if isinstance(thing, kinds) and thing.__module__ == name)


def _found(file: BinaryIO, words: frozenset[str]) -> frozenset[str]:
    """The words that are in a file."""
    left = {each: each.encode() for each in words}
    overlap = max(map(len, left.values()), default=0)
    last = b""
    for chunk in _contents(file) if left else ():
        data = last + chunk
        left = {each: word for each, word in left.items() if word not in data}
        if not left:
            break
        last = data[-overlap:]
    return words - left.keys()


def _contents(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of a file, and what they hold where they are packed."""
    left = _MOST
    file.seek(0)
    start = file.read(8)
    file.seek(0)
    if start[:2] == b"PK" and zipfile.is_zipfile(file):
        yield from _unzipped(file)
        return
    packer = next((make() for magic, make in _PACKED if start.startswith(magic)), None)
    while left > 0 and (data := file.read(_CHUNK)):
        left -= len(data)
        yield data
        if packer is not None and not packer.eof:
            try:
                yield packer.decompress(data)
            except (zlib.error, OSError, lzma.LZMAError):
                packer = None  # it only begins alike


def _unzipped(file: BinaryIO) -> Iterator[bytes]:
    left = _MOST
    try:
        with zipfile.ZipFile(file) as archive:
            for each in archive.infolist():
                yield each.filename.encode()
                for data in _chunks(archive, each, left):
                    left -= len(data)
                    yield data
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error):
        return  # damaged, or locked by a password: nobody reads classes out of it


def _chunks(archive: zipfile.ZipFile, member: zipfile.ZipInfo, left: int) -> Iterator[bytes]:
    """What is in a member, until at least `left` bytes of it are read."""
    with archive.open(member) as inner:
        while left > 0 and (data := inner.read(_CHUNK)):
            left -= len(data)
            yield data
