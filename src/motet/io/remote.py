"""Errors of remote file systems, told as what they are to a user: no credentials, not allowed, not there, no answer.

fsspec has no errors of its own, so those of the libraries below it (botocore, aiohttp, google-auth) are known by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from motet.errors import InputError, MotetError, RunError
from motet.io.read_only import SeekableFile

__all__ = [
    "HTTP",
    "Download",
    "RemoteFile",
    "ask",
    "ask_bytes",
    "ask_info",
    "asking",
    "check_bucket",
    "is_asynchronous",
    "open_file_system",
]

HTTP = ("http", "https")
SILENCE_S = 60.0
"""How long a server may say nothing."""
_LISTING_S = 600.0
"""How long a listing may take, of as many pages as there are."""
_SLOWEST = 64 << 10
"""Bytes a second of the slowest connection that is waited for."""
_SIGNED = re.compile(r"(https?://[^\s'?]+)\?[^\s']*")
"""An address with a query, which may hold what is secret."""
_AS_IT_IS = {"Accept-Encoding": "identity"}
_BLOCK_BYTES = 8 << 20
"""What is asked for at once where less is read, so that reading on asks rarely."""

_NO_CREDENTIALS = frozenset(
    (
        "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError",
        "ProfileNotFound", "UnauthorizedSSOTokenError", "SSOTokenLoadError", "DefaultCredentialsError", "RefreshError",
    )
)  # fmt: skip
_HOW = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where the machine has a role",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or run gcloud auth application-default login",
}
_HOW |= {"s3a": _HOW["s3"], "gcs": _HOW["gs"]}


@contextmanager
def asking(url: str, fs: Any) -> Iterator[None]:
    """Tell whatever a remote file system raises meanwhile as an error of a URL; `fs` None, of this machine, tells nothing.

    Raises:
        InputError: when credentials, the bucket or the file are missing, or do not allow it.
        RunError: when it does not answer, or breaks off.
    """
    try:
        yield
    except MotetError:
        raise
    except Exception as error:
        if fs is None:
            raise
        raise _told(error, url) from error


def open_file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it; one over HTTP waits as long as bytes come."""
    import fsspec

    options: dict[str, Any] = {}
    if url.startswith(tuple(f"{scheme}://" for scheme in HTTP)):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE_S, sock_read=SILENCE_S)
        options = {"client_kwargs": {"timeout": timeout}}
    fs, path = fsspec.core.url_to_fs(url, **options)
    return fs, str(path)


def is_asynchronous(fs: Any) -> bool:
    """Whether a file system asks a server, many things at once: those of object stores and of HTTP."""
    from fsspec.asyn import AsyncFileSystem

    return isinstance(fs, AsyncFileSystem) and not fs.asynchronous


def ask(url: str, fs: Any, method: str, *arguments: Any, num_bytes: int = 0, **options: Any) -> Any:
    """Call a method of a file system, and bound how long that takes where it is a server's.

    Args:
        url: what errors call it.
        fs: the file system.
        method: the name of the method, such as `info`.
        arguments: what it is called with.
        num_bytes: how much will come.
        options: keywords of the method.

    Raises:
        InputError, RunError: as `asking` tells what went wrong.
    """
    with asking(url, fs):
        if not is_asynchronous(fs):
            return getattr(fs, method)(*arguments, **options)
        from fsspec.asyn import sync

        bound = _LISTING_S if method == "find" else SILENCE_S + num_bytes / _SLOWEST
        return sync(fs.loop, getattr(fs, f"_{method}"), *arguments, timeout=bound, **options)


def ask_bytes(url: str, fs: Any, path: str, part: tuple[int, int] | None = None) -> bytes:
    """The bytes of a file, or those from a place to another. Raises as `ask` does, and where it gives others."""
    start, stop = part or (None, None)
    options = {} if _is_http(fs) is False else {"headers": dict(_AS_IT_IS)}
    size = 0 if part is None else part[1] - part[0]
    data = bytes(ask(url, fs, "cat_file", path, start=start, end=stop, num_bytes=size, **options))
    if part is not None and len(data) != size:
        raise RunError(
            f"gave {len(data):,} bytes of {size:,}", where=url, hint="it has changed, or broke off; try again"
        )
    return data


def ask_info(url: str, fs: Any, path: str, **options: Any) -> Mapping[str, Any]:
    """What a file system says of a path: its `type`, `size`, tags and times; of an address, whether parts can be asked for
    (`partial`). Raises as `ask` does."""
    if not _is_http(fs):
        found: Mapping[str, Any] = ask(url, fs, "info", path, **options)
        return found
    from fsspec.asyn import sync

    with asking(url, fs):
        return dict(sync(fs.loop, _address_info, fs, path, timeout=SILENCE_S))


def _is_http(fs: Any) -> bool:
    return is_asynchronous(fs) and type(fs).__name__ == "HTTPFileSystem"


async def _address_info(fs: Any, url: str) -> dict[str, Any]:
    """Ask for one byte: addresses that are signed for reading know no HEAD, and the answer shows whether there are parts."""
    session = await fs.set_session()
    headers = {**fs.kwargs.get("headers", {}), **_AS_IT_IS, "Range": "bytes=0-0"}
    async with session.get(fs.encode_url(url), **{**fs.kwargs, "headers": headers}) as answer:
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        stamps = {name: answer.headers[name] for name in ("ETag", "Last-Modified") if name in answer.headers}
        if answer.status == 416 and total == "0":
            return {"name": url, "type": "file", "size": 0, **stamps}
        if answer.status in (404, 410):
            raise FileNotFoundError(url)
        if answer.status in (401, 403, 407):
            raise PermissionError(f"{answer.status} {answer.reason}")
        if answer.status >= 400:
            raise ConnectionError(f"{answer.status} {answer.reason}")
        if answer.status == 206 and total.isdecimal() and "Content-Encoding" not in answer.headers:
            return {"name": url, "type": "file", "size": int(total), "partial": True, **stamps}
        return {"name": url, "type": "file", "size": None, "partial": False, **stamps}


class Download:
    """An answer over HTTP, as it comes."""

    def __init__(self, url: str, fs: Any, path: str) -> None:
        self._url, self._fs = url, fs
        with asking(url, fs):
            self._file = fs.open(path, "rb", block_size=0, size=1, headers=dict(_AS_IT_IS))

    def read(self, size: int) -> bytes:
        """Some bytes, at most so many; none at the end."""
        data = b""
        try:
            with asking(self._url, self._fs):
                data = b"" if self._file.closed else bytes(self._file.read(size))
        finally:
            if not data:
                self.stop()
        return data

    def stop(self) -> None:
        """Ask for no more. A read that waits ends by itself where nothing comes."""
        if not self._file.closed:
            self._file.close()


def check_bucket(url: str, fs: Any, path: str) -> None:
    """See that an object store has the bucket of a path, and credentials for it, before work is done for it.

    Raises:
        InputError: when there is none.
        RunError: when it does not answer.
    """
    if url.partition("://")[0].lower() not in _HOW:
        return
    bucket = path.partition("/")[0]
    try:
        ask(url, fs, "info", bucket)
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise InputError(f"there is no bucket {bucket!r}", where=url, hint="check its name, or make it") from None
        if not isinstance(error.__cause__, PermissionError):  # who may write need not be allowed to look
            raise


class RemoteFile(SeekableFile):
    """A file of a remote file system that is read, whose errors are told by its URL.

    Of a server that gives parts of files, 8 MiB are asked for at once, or what is read where that is more.

    Args:
        url: what errors call it.
        fs: the file system.
        path: the path in it.
        size: bytes in it, where that is known.
    """

    def __init__(self, url: str, fs: Any, path: str, size: int | None = None) -> None:
        self._url, self._fs, self._path = url, fs, path
        self._start = 0
        self._block = b""
        self._file = None
        if size is None or not is_asynchronous(fs):
            with asking(url, fs):
                self._file = fs.open(path, "rb")
                size = _size_of(self._file, url) if size is None else size
        super().__init__(int(size))

    def read(self, size: int = -1) -> bytes:
        """Read some bytes; fewer only at the end."""
        if self._file is not None:
            with asking(self._url, self._fs):
                return bytes(self._file.read(size))
        stop = self._size if size is None or size < 0 else min(self._size, self._place + size)
        parts = []
        while self._place < stop:
            if not self._start <= self._place < self._start + len(self._block):
                self._fetch(stop)
            part = self._block[self._place - self._start : stop - self._start]
            self._place += len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _fetch(self, stop: int) -> None:
        start, stop = self._place, min(self._size, max(stop, self._place + _BLOCK_BYTES))
        self._start, self._block = start, ask_bytes(self._url, self._fs, self._path, (start, stop))

    def seek(self, place: int, whence: int = 0) -> int:
        """Go to a byte, counted from the start, from here, or from the end."""
        if self._file is not None:
            return int(self._file.seek(place, whence))
        return super().seek(place, whence)

    def tell(self) -> int:
        """The byte that is read next."""
        return self._place if self._file is None else int(self._file.tell())

    def close(self) -> None:
        """Let go of it."""
        super().close()
        self._block = b""
        if self._file is not None:
            self._file.close()


def _size_of(file: Any, url: str) -> int:
    """The bytes in an open file, which is at its start."""
    try:
        size = file.seek(0, 2)
        file.seek(0)
        return int(size)
    except (TypeError, ValueError) as error:  # the former where it counts from a size that it does not know
        file.close()
        what = "its file system does not tell how many bytes it has, nor goes to places in it"
        raise InputError(what, where=url, hint="copy it to this machine, or to an object store") from error


def _told(error: Exception, url: str) -> MotetError:
    scheme = url.partition("://")[0].lower()
    text = _SIGNED.sub(r"\1?...", " ".join(str(error).split())) or type(error).__name__
    if type(error).__name__ in _NO_CREDENTIALS:
        hint = _HOW.get(scheme, "give credentials, as its file system of fsspec wants them")
        return InputError(f"no credentials that hold were found: {text}", where=url, hint=hint)
    if isinstance(error, PermissionError):
        hint = f"these credentials do not allow it; give others: {_HOW[scheme]}" if scheme in _HOW else "give others"
        return InputError(f"is not allowed: {text}", where=url, hint=hint)
    if isinstance(error, FileNotFoundError):
        return InputError("there is no such file or bucket", where=url, hint="check the address and its spelling")
    if isinstance(error, (ValueError, NotImplementedError)):
        return InputError(f"is nothing that can be opened: {text}", where=url, hint="check the address")
    hint = "check the address and the network, then try again; --resume goes on with a run"
    if type(error).__name__ in ("FSTimeoutError", "SocketTimeoutError"):
        return RunError(f"does not answer: nothing came within {SILENCE_S:.0f} s", where=url, hint=hint)
    return RunError(f"does not answer: {type(error).__name__}: {text}", where=url, hint=hint)
