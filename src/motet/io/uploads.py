"""Files that are written to remote file systems: whole or not at all, once, and without anything left behind."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa

from motet.io.remote import asking
from motet.system.created_files import commits_uploads

__all__ = [
    "StoreTarget",
    "abort_uploads",
    "move_file",
    "remove_files",
]

SMALL_BYTES = 8 << 20
"""What fits into it is uploaded by one request."""


class StoreTarget:
    """A file of a remote file system, uploaded while it is written: see `DiskTarget` (target.py).

    Args:
        url: what errors call it.
        fs: the file system.
        path: the file in it.
        partial: the file that becomes it where the file system shows files that are not whole yet; None writes in place
            there, for what nobody reads.
    """

    is_stream = False

    def __init__(self, url: str, fs: Any, path: str, partial: str | None) -> None:
        self._url, self._fs, self._path = url, fs, path
        self._partial = path if partial is None or commits_uploads(fs) else partial
        self._upload: _Upload | None = None

    def open(self) -> Any:
        """See `DiskTarget`."""
        self._upload = _Upload(self._url, self._fs, self._partial)
        return pa.PythonFile(self._upload, mode="w")

    def publish(self) -> None:
        """See `DiskTarget`."""
        assert self._upload is not None
        with asking(self._url, self._fs):
            self._upload.commit()
            if self._partial != self._path:
                move_file(self._fs, self._partial, self._path)
        self._upload = None

    def probe(self) -> None:
        """See `DiskTarget`."""
        folder, _, name = self._path.rpartition("/")
        with asking(self._url, self._fs):
            self._fs.pipe_file(f"{folder}/.{name}.part", b"")
            remove_files(self._fs, [f"{folder}/.{name}.part"])

    def discard(self) -> None:
        """See `DiskTarget`."""
        upload, self._upload = self._upload, None
        if upload is not None:
            with asking(self._url, self._fs):
                upload.discard()


class _Upload(io.RawIOBase):
    """Takes bytes; what is small is held and put at the end, by one request."""

    def __init__(self, url: str, fs: Any, path: str) -> None:
        super().__init__()
        self._url, self._fs, self._path = url, fs, path
        self._held = io.BytesIO()
        self._file: Any = None
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:
        """Take bytes."""
        with asking(self._url, self._fs):
            if self._file is None and self._held.tell() + len(data) > SMALL_BYTES:
                self._file = self._fs.open(
                    self._path, "wb", **({"autocommit": False} if commits_uploads(self._fs) else {})
                )
                self._file.write(self._held.getbuffer())
                self._held = io.BytesIO()
            (self._file or self._held).write(data)
        self._size += len(data)
        return len(data)

    def commit(self) -> None:
        """Let the file appear."""
        if self._file is None:
            self._fs.pipe_file(self._path, self._held.getvalue())
            return
        self._file.close()
        if commits_uploads(self._fs):
            self._file.commit()

    def discard(self) -> None:
        """Leave nothing."""
        if self._file is None:
            return
        if commits_uploads(self._fs):
            self._file.discard()
            self._file.closed = True  # else it would be flushed when it is forgotten
        else:
            self._file.close()
            self._fs.rm_file(self._path)


def abort_uploads(fs: Any, path: str) -> None:
    """Give up what was uploaded to a file, or below a folder, and never committed; S3 keeps, and bills, that for ever."""
    if not hasattr(fs, "abort_mpu"):
        return
    bucket, key, _ = fs.split_path(path)
    try:
        found = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key).get("Uploads", [])
    except PermissionError:
        return  # who may write need not be allowed to look
    for upload in found:
        if upload["Key"] == key or upload["Key"].startswith(f"{key.rstrip('/')}/"):
            fs.abort_mpu(bucket, upload["Key"], upload["UploadId"])


def move_file(fs: Any, source: str, target: str) -> None:
    """Let a file appear under another name; by the file system's own rename where it has one."""
    from fsspec import AbstractFileSystem

    if type(fs).mv is not AbstractFileSystem.mv:
        fs.mv(source, target)
        return
    fs.copy([source], [target])  # lists, for one path would be a pattern
    fs.rm_file(source)


def remove_files(fs: Any, paths: Sequence[str]) -> None:
    """Remove files, those that are there; by a request for a thousand where the file system is S3."""
    if len(paths) > 1 and hasattr(fs, "call_s3"):
        for start in range(0, len(paths), 1000):
            split = [fs.split_path(path) for path in paths[start : start + 1000]]
            objects = [{"Key": key} for _, key, _ in split]
            said = fs.call_s3("delete_objects", Bucket=split[0][0], Delete={"Objects": objects, "Quiet": True})
            for error in said.get("Errors", ()):
                raise PermissionError(f"{error.get('Key')} cannot be removed: {error.get('Message')}")
        fs.invalidate_cache()
        return
    for path in paths:
        with suppress(FileNotFoundError):
            fs.rm_file(path)
