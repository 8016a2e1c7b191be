"""Places: where something is, however it is spelled; a path, `file:///a%20b`, `S3://bucket/key`, `~/rows.csv`, or a link.

A spelling is taken apart here and nowhere else, so whoever asks whether two of them are one asks places.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urlsplit

from motet.errors import InputError, MissingExtraError, cut
from motet.io.remote import HTTP, ask, open_file_system

__all__ = ["STANDARD", "Place", "file_system", "is_same_file", "place_of", "shown_path", "split_url"]

STANDARD = "-"
"""How standard input, or output, is spelled."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*(?:::[^:/]+)*)://")
_LOCAL_URL = re.compile(r"(?:file:|local:)(//[^/]*)?(?=/|$)", re.IGNORECASE)
_HINTS = {
    "": "use a path or a URL that fsspec knows; rows of a database come as frames: pandas.read_sql(query, connection)",
    "kafka": "a topic is the one input of a run of the engine local, whose output is a folder, or a topic too; nothing else reads or "
    "writes one",
}
"""What to do instead, by scheme, where a URL cannot be opened."""
_ONE_STORE = ("s3", "gs", "gcs", "memory")
"""Protocols whose paths say all; of others, such as archives and servers, there are several."""
_EXTRAS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}


@dataclass(frozen=True)
class Place:
    """A file or a folder, whether it is there or not.

    Attributes:
        text: how it was spelled.
        path: its path in its file system.
        fs: the fsspec file system, None for this machine's own.
    """

    text: str
    path: str
    fs: Any = None

    def __str__(self) -> str:
        return shown_path(self.text)

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return self.fs is None

    @cached_property
    def key(self) -> tuple[str, str]:
        """The file system and the path in it, the same for all spellings: links are followed, protocols have one name."""
        if self.fs is None:
            return "file", os.path.realpath(self.path)
        fs = self.fs
        while type(fs).__module__.startswith("fsspec.implementations.cached"):
            fs = fs.fs
        protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
        if protocol in HTTP:
            url = urlsplit(self.path)
            return "http", f"{url.netloc.lower()}{url.path}?{url.query}"
        if protocol in ("file", "local"):
            return "file", os.path.realpath(self.path)
        return protocol if protocol in _ONE_STORE else f"{protocol} {fs._fs_token}", self.path.rstrip("/")

    @property
    def plain(self) -> str:
        """The path on this machine, however it was spelled; the URL of anything else. What is named `.` or `..` has its name."""
        if self.fs is not None:
            return self.text
        has_name = os.path.basename(self.path.rstrip("/")) not in (".", "..")
        return self.path if has_name else f"{os.path.abspath(self.path)}/"

    def exists(self) -> bool:
        """Whether something is there.

        Raises:
            InputError, RunError: when a remote file system refuses, or does not answer.
        """
        if self.fs is not None:
            return bool(ask(self.text, self.fs, "exists", self.path))
        return os.path.exists(self.path)

    @property
    def names_folder(self) -> bool:
        """Whether it is spelled as a folder, with a slash at its end, or is one on this machine."""
        return self.text.endswith("/") or (self.fs is None and os.path.isdir(self.path))

    def is_same(self, other: Place) -> bool:
        """Whether both are one place: the same path when links are followed, or the same file under two names."""
        if self.fs is None and other.fs is None:
            with suppress(OSError):  # one of them cannot be looked at
                one, another = _found(self.path), _found(other.path)
                if one is not None or another is not None:
                    return one is not None and another is not None and os.path.samestat(one, another)
        if self.key == other.key:
            return True
        return self.key[0] == other.key[0] == "file" and is_same_file(self.key[1], other.key[1])

    def holds(self, other: Place) -> bool:
        """Whether the other place lies in this one, were it a folder."""
        return self.key[0] == other.key[0] and other.key[1].startswith(f"{self.key[1].rstrip('/')}/")


def is_same_file(path: str, other: str) -> bool:
    """Whether two paths of this machine are one file under two names; one that cannot be looked at is none."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def _found(path: str) -> os.stat_result | None:
    """What is at a path; None where nothing is."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def place_of(what: str | os.PathLike[str]) -> Place:
    """The place that a path or a URL names.

    `file:` URLs are percent-decoded; `~` is the home folder; a scheme may be written in capitals.

    Raises:
        InputError: when a URL cannot be opened.
        MissingExtraError: when its file system is not installed.
    """
    text = os.fspath(what)
    if "\0" in text:
        raise InputError(f"{text!r} is no path: it has a zero byte")
    if text == STANDARD:
        return Place(text, text)
    if (local := _local_path(text)) is not None:
        return Place(text, local)
    scheme, rest = split_url(text)
    if not scheme:
        return Place(text, os.path.expanduser(text) if text.startswith("~") else text)
    try:
        if scheme in HTTP:
            urlsplit(text)  # raises of one that is no address
        fs, path = open_file_system(f"{scheme}://{rest}")
    except ImportError as error:
        if scheme in _EXTRAS:
            raise MissingExtraError(*_EXTRAS[scheme], needed_for=f"opening {scheme}:// addresses") from None
        raise InputError(f"cannot open {text!r}: {error}") from None
    except ValueError as error:
        hint = _HINTS.get(scheme, _HINTS[""])
        raise InputError(f"cannot open {text!r}: {error}", hint=hint) from None
    except Exception as error:  # noqa: BLE001 (file systems raise what they like of a URL that lacks what they need)
        hint = "its file system needs something that is not installed here, or does not answer; or copy the files"
        raise InputError(f"cannot open {text!r}: {cut(' '.join(str(error).split()), 120)}", hint=hint) from None
    return Place(text, path) if type(fs).__name__ == "LocalFileSystem" else Place(text, path, fs)


def split_url(text: str) -> tuple[str, str]:
    """The scheme of a URL in small letters, with those it is chained to, and what is behind `://`; of a path, empty and all."""
    found = _SCHEME.match(text) if "://" in text else None
    return (found[1].lower(), text[found.end() :]) if found else ("", text)


def _local_path(text: str) -> str | None:
    """The path in a `file:` URL; None for what is none.

    Raises:
        InputError: when it names another machine.
    """
    found = _LOCAL_URL.match(text)
    if found is None:
        return None
    host = (found[1] or "//")[2:]
    if host.lower() not in ("", "localhost"):
        raise InputError(
            f"{text!r} names the machine {host!r}",
            hint="a file: URL has a whole path, as file:///folder/rows.csv has; write a path that is not whole without file://",
        )
    return unquote(text[found.end() :], errors="surrogateescape")


def shown_path(path: str) -> str:
    """A path of this machine as people see it: what is no UTF-8 in it as `\\xe9`; of a URL, without the secrets of its query."""
    if split_url(path)[0] in HTTP and "?" in path:
        return f"{path.partition('?')[0]}?..."
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def file_system(text: str) -> tuple[Any, str]:
    """The fsspec file system of a place, None for this machine's own; and the path in it. Raises as `place_of` does."""
    place = place_of(text)
    return place.fs, place.path
