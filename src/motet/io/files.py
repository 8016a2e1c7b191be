"""Files: found by path, pattern, folder or URL, opened, and told apart."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import unquote

import pyarrow as pa

from motet.errors import InputError
from motet.io.compression import COMPRESSIONS, MAGIC_BYTES, codec_of, decompressed, sniffed
from motet.io.content_cache import FETCHED_AT_ONCE, ContentCache
from motet.io.once import ByteReader, Content, Passing, Spooled, open_pipe
from motet.io.places import STANDARD, Place, place_of, shown_path, split_url
from motet.io.remote import HTTP, Download, RemoteFile, ask, ask_bytes, ask_info, asking, check_bucket, is_asynchronous
from motet.io.search import FolderEntry, Searched, is_pattern, search, split_pattern
from motet.threads import side_by_side

__all__ = [
    "COMPRESSIONS",
    "TABLE_SUFFIXES",
    "Found",
    "FoundFile",
    "State",
    "asked",
    "find_files",
    "fingerprint_files",
    "look_for",
    "states_now",
    "suffix_of",
]

TABLE_SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
"""The built-in formats of tables by suffix, read and written; text formats may be compressed (`.csv.gz`)."""
_TAGS = ("ETag", "etag", "md5Hash", "md5", "checksum", "crc32c")
"""What tells one content from another, in what fsspec says of a file."""
_TIMES = ("mtime", "LastModified", "last_modified", "Last-Modified", "updated", "created")
"""What tells a change where there is no such tag; a listing and a question for one file may give them at another precision."""
_HASHED_BYTES = 1 << 20
_HASHED_FILES = 64
_SMALL_BYTES = 4 << 20
"""A remote file of no more is fetched whole."""

State = tuple[int, str]
"""See `FoundFile.state`."""
_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that exists.

    Attributes:
        path: its path in its file system.
        fs: the fsspec file system, None for this machine's own.
        info: what its file system said of it when it was found; None where that was not asked.
        is_regular: whether it is no pipe, socket or device.
        held: where what was fetched of it is kept; None for nowhere.
        root: the folder that was searched, which its path begins with.
        content: what can be read of it where that is once; None for all others.
    """

    path: str
    fs: Any = None
    info: Mapping[str, Any] | None = field(default=None, compare=False)
    is_regular: bool = True
    held: ContentCache | None = field(default=None, compare=False)
    root: str = field(default="", compare=False)
    content: Content | None = field(default=None, compare=False)

    def __str__(self) -> str:
        if self.path == STANDARD:
            return "standard input"
        return shown_path(self.path if self.fs is None else str(self.fs.unstrip_protocol(self.path)))

    @property
    def name(self) -> str:
        """The last part of the path; of an address, without its query."""
        return _last(self.path)

    @property
    def place(self) -> Place:
        """Where it is."""
        return Place(str(self), "/dev/stdin" if self.path == STANDARD else self.path, self.fs)

    @property
    def is_utf8(self) -> bool:
        """Whether the path is text, as Arrow has it; on this machine it may be any bytes."""
        return self.path.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in self.path)

    @property
    def is_local(self) -> bool:
        """Whether it lies on this machine."""
        return self.fs is None

    @property
    def size(self) -> int | None:
        """Bytes in it when it was found, where that is known."""
        size = (self.info or {}).get("size")
        return None if size is None else int(size)

    def open(self) -> Any:
        """Open for random access, as Arrow reads files; what can be read once may have to be read in order.

        No file is mapped into memory: one that is cut off meanwhile would end the process by a signal.
        """
        if self.content is not None:
            return self.content.open()
        if self.fs is None:
            return pa.OSFile(os.fsencode(self.path))
        if self.is_small:
            return pa.BufferReader(self.read())
        return RemoteFile(str(self), self.fs, self.path, self.size)

    @property
    def is_small(self) -> bool:
        """Whether it is a remote file that is fetched whole."""
        return self.size is not None and self.size <= _SMALL_BYTES and is_asynchronous(self.fs)

    def read(self) -> bytes:
        """The whole content."""
        if self.content is not None:
            return bytes(self.content.open().read())
        if self.fs is not None:
            return self._fetched()
        if not stat.S_ISREG(os.stat(self.path).st_mode):
            raise InputError("is no regular file")
        with open(self.path, "rb") as file:
            return file.read()

    def _fetched(self) -> bytes:
        if self.held is not None and self.is_small:
            return self.held.read(self, FoundFile._fetch)
        return self._fetch()

    def _fetch(self) -> bytes:
        size = self.size or 0
        return ask_bytes(str(self), self.fs, self.path, (0, size) if self.is_small and size else None)

    def stream(self) -> Any:
        """Open for reading from the start, decompressed as the suffix says. An Arrow `NativeFile`."""
        if self.content is not None:
            codec = sniffed(self.content.open().read(MAGIC_BYTES)) or (
                "brotli" if codec_of(self.name) == "brotli" else None
            )
            return decompressed(self.content.open(), codec)
        raw = pa.OSFile(os.fsencode(self.path)) if self.fs is None else self.open()
        raw = pa.PythonFile(raw, mode="r") if isinstance(raw, RemoteFile) else raw
        return decompressed(raw, codec_of(self.name))

    @property
    def is_listed(self) -> bool:
        """Whether it was found with so many others on a store that a listing tells more cheaply what they are now."""
        return self.held is not None and len(self.held.files) > FETCHED_AT_ONCE and is_asynchronous(self.fs)

    def state(self) -> State:
        """Size in bytes, and what changes when the content does: the time of change, or an object's tag."""
        if self.content is not None:
            return 0, ""
        if self.fs is None:
            found = os.stat(self.path)
            return found.st_size, str(found.st_mtime_ns)
        options = {"refresh": True} if type(self.fs).__name__ == "S3FileSystem" else {}
        return _state_of(ask_info(str(self), self.fs, self.path, **options))

    def state_found(self) -> State:
        """Its state when it was found, where that is known, else now."""
        return self.state() if self.info is None else _state_of(self.info)

    @property
    def reads_once(self) -> bool:
        """Whether it can be read only once: standard input, a pipe, a device, or an answer of which no parts can be asked for."""
        return (self.fs is None and not self.is_regular) or (
            self.info is not None and self.info.get("partial") is False
        )

    def once(self, *, in_order: bool) -> FoundFile:
        """The same file with what can be read of it.

        Args:
            in_order: whether it is read in order, its beginning twice at most; anything else needs a temporary file.

        Raises:
            InputError: when that file would be too large, or nobody writes to the pipe.
        """
        where = str(self)

        def reader() -> ByteReader:
            return open_pipe(self.path) if self.fs is None else Download(where, self.fs, self.path)

        return replace(self, content=Passing(reader, where) if in_order else Spooled(reader(), where))


def states_now(files: Sequence[FoundFile]) -> list[State | Exception]:
    """The state of each file now, or what was raised instead; files of a long listing are listed again, and not asked for.

    Raises:
        RunError: when a remote file system does not answer.
    """
    listed: dict[int, Mapping[str, Mapping[str, Any]]] = {}
    for file in files:
        if file.is_listed and id(file.held) not in listed:
            file.fs.invalidate_cache()
            listed[id(file.held)] = ask(str(file), file.fs, "find", file.root, detail=True)

    def now(file: FoundFile) -> State | Exception:
        try:
            return file.state() if not file.is_listed else _state_of(listed[id(file.held)][file.path])
        except KeyError:
            return FileNotFoundError(file.path)
        except (OSError, InputError) as error:
            return error

    return asked(now, files, remote=any(not file.is_local for file in files))


def _state_of(info: Mapping[str, Any]) -> State:
    tags = [f"{key}={info[key]}" for key in _TAGS if info.get(key)]
    stamps = tags or [f"{key}={info[key]}" for key in _TIMES if info.get(key) is not None]
    return int(info.get("size") or 0), ";".join(stamps)


def suffix_of(path: str) -> str:
    """The suffix in small letters, with what is under a compression's: `.csv` of `rows.csv.gz` and `http://host/rows.csv?key=1`."""
    stem, suffix = os.path.splitext(_last(path).lower())
    return os.path.splitext(stem)[1] if suffix in COMPRESSIONS else suffix


def _last(path: str) -> str:
    scheme, rest = split_url(path)
    if scheme in HTTP:
        path = unquote(rest.partition("?")[0].partition("#")[0].partition("/")[2])
    return path.rstrip("/").rsplit("/", 1)[-1]


def asked(function: Callable[[_T], _R], files: Sequence[_T], *, remote: bool) -> list[_R]:
    """What a function gives for each of these, some at once where they are on another machine."""
    return side_by_side(function, files, FETCHED_AT_ONCE if remote else 1, most=FETCHED_AT_ONCE)


@dataclass(frozen=True)
class Found:
    """What a path, a pattern or a folder holds.

    Attributes:
        files: sorted by path.
        named: whether it was one file, named as such.
        hidden: those whose name, or a folder's in between, begins with `_` or `.`.
        again: links that were passed over, since what they lead to was found under another name.
        folders: folders that a pattern fits beside files, which are not gone into.
    """

    files: list[FoundFile]
    named: bool = False
    hidden: list[FoundFile] = field(default_factory=list)
    again: int = 0
    folders: int = 0


def find_files(what: str | os.PathLike[str]) -> list[FoundFile]:
    """The files of a path, a pattern (`*`, `?`, `[..]`, `**`), a folder or an fsspec URL, sorted by path.

    See `motet.io.search` for which those are.

    Raises:
        InputError: when there are none; names the nearest. When credentials are missing, or do not allow it.
        MissingExtraError: when the URL's file system is not installed.
        RunError: when a remote file system does not answer.
    """
    return look_for(what).files


def look_for(what: str | os.PathLike[str]) -> Found:
    """What `find_files` finds, and what it leaves out; raises as it does."""
    place = place_of(what)
    with asking(str(place), place.fs):
        return _found(place) if place.is_local else _found_elsewhere(place)


def _found(place: Place) -> Found:
    if place.text == STANDARD:
        return Found([FoundFile(STANDARD, is_regular=False)], named=True)
    if os.path.isdir(place.path):
        return _of(search(place), place, f"the folder {place!s} holds no files")
    if os.path.exists(place.path):
        root = os.path.dirname(place.path)
        return Found([FoundFile(place.path, is_regular=os.path.isfile(place.path), root=root)], named=True)
    if os.path.islink(place.path):
        raise InputError(f"'{place}' is a link to {shown_path(os.readlink(place.path))}, which is not there")
    if not is_pattern(place):
        raise InputError(f"there is no file '{place}'", hint=_near(place))
    return _of(search(place), place, f"no file fits '{place}'")


def _found_elsewhere(place: Place) -> Found:
    """Ask whether it is a file; list it, if it is none."""
    place.fs.invalidate_cache()
    pattern = is_pattern(place)
    info = _info(place, split_pattern(place.path)[0] if pattern else place.path)
    if info is not None and info["type"] != "directory" and not pattern:
        root = place.path.partition("?")[0].rpartition("/")[0] if place.key[0] in HTTP else os.path.dirname(place.path)
        return Found([FoundFile(place.path, place.fs, info, held=ContentCache(), root=root)], named=True)
    searched = Searched() if info is None else search(place)
    if not searched.files:
        check_bucket(str(place), place.fs, place.path)
    if info is None and not pattern:
        raise InputError(f"there is no file '{place}'", hint=_near(place))
    return _of(searched, place, f"no file fits '{place}'" if pattern else f"the folder '{place}' holds no files")


def _info(place: Place, path: str) -> Mapping[str, Any] | None:
    """What a file system says of a path; None where nothing is there. Folders of web servers are not told from files."""
    if place.key[0] == "http" and (is_pattern(place) or place.text.endswith("/")):
        return {"type": "directory"}
    try:
        found = ask_info(str(place), place.fs, path)
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    return found


def _of(searched: Searched, place: Place, missing: str) -> Found:
    held, root = ContentCache(), split_pattern(place.path)[0] if is_pattern(place) else place.path

    def file(entry: FolderEntry) -> FoundFile:
        return FoundFile(entry.path, place.fs, entry.info, entry.is_regular, held, root)

    if not searched.files:
        there = place.fs is not None or os.path.isdir(root or ".")
        hint = "check the pattern" if there else f"the folder {root!r} does not exist either"
        raise InputError(missing, hint=hint if is_pattern(place) else _near(place))
    held.files = [file(entry) for entry in searched.files]
    hidden = [file(entry) for entry in searched.hidden]
    return Found(list(held.files), hidden=hidden, again=searched.again, folders=searched.folders)


def fingerprint_files(files: Sequence[FoundFile], options: Iterable[object] = ()) -> str:
    """A digest that changes when a file does: of names, sizes, times or tags, and the content of few small files.

    Raises:
        InputError: when one can be read only once.
    """
    digest = hashlib.sha256(repr(tuple(options)).encode())
    for file in files:
        if file.content is not None:
            hint = "write it to a file first, or run without resuming"
            raise InputError("can be read only once, so a run over it cannot be resumed", where=str(file), hint=hint)
        digest.update(os.fsencode(file.name) + b"\0")
        try:
            size, stamp = file.state_found()
            digest.update(f"{size}\0{stamp}\0".encode())
            if size <= _HASHED_BYTES and len(files) <= _HASHED_FILES and not stamp.startswith(_TAGS):
                digest.update(hashlib.sha256(file.read()).digest())
        except (OSError, InputError) as error:  # whoever reads it says so; if it is mended it is another file
            digest.update(f"{type(error).__name__}\0".encode())
    return digest.hexdigest()


def _near(place: Place) -> str:
    if place.key[0] == "http":
        return "check the address"
    folder, name = os.path.split(place.path.rstrip("/"))
    try:
        names = os.listdir(folder or ".") if place.is_local else place.fs.ls(folder, detail=False)
    except OSError:
        return f"the folder {folder!r} does not exist either"
    names = [os.path.basename(entry.rstrip("/")) for entry in names]
    import difflib  # for those alone that name a file wrong

    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"near it: {', '.join(near)}" if near else f"the folder {folder or '.'!r} holds no name like it"
