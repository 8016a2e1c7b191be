"""Files of remote file systems that must not be there yet, made by one request where that can be."""

from __future__ import annotations

from typing import Any

__all__ = ["commits_uploads", "create_file", "creates_files"]

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
