"""Files that are written to remote file systems: whole or not at all, once, and without anything left behind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

__all__ = ["abort_uploads", "commits_uploads", "create_file", "creates_files", "move_file", "remove_files"]

_COMMITTING = frozenset(("s3", "s3a", "gs", "gcs"))
"""Protocols whose files appear when an upload is committed."""
_CREATING = _COMMITTING | {"abfs", "abfss", "az", "memory"}
"""Protocols whose file systems make a file only where there is none."""


def _protocols(fs: Any) -> frozenset[str]:
    return frozenset((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def commits_uploads(fs: Any) -> bool:
    """Whether a file that is being written appears when its upload is committed, and not before."""
    return not _COMMITTING.isdisjoint(_protocols(fs))


def creates_files(fs: Any) -> bool:
    """Whether it can make a file only where there is none; fsspec's other file systems look, and then write."""
    return not _CREATING.isdisjoint(_protocols(fs))


def create_file(fs: Any, path: str, data: bytes) -> bool:
    """Make a file, whole or not at all, that must not be there yet; False where it is, whoever made it.

    By a conditional request where the file system has one. Others look first, and then write.
    """
    if not creates_files(fs):
        if fs.exists(path):
            return False
        fs.pipe_file(path, data)
        return True
    try:
        fs.pipe_file(path, data, mode="create")
    except FileExistsError:
        return False
    except OSError as error:
        if "PreconditionFailed" in str(error) or "ConditionalRequestConflict" in str(error):
            return False
        raise
    return True


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
