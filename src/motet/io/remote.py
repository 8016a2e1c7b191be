"""Errors of remote file systems, told as what they are to a user: no credentials, not allowed, not there, no answer.

fsspec has no errors of its own, so those of the libraries below it (botocore, aiohttp, google-auth) are known by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from motet.errors import InputError, MotetError, RunError

__all__ = ["RemoteFile", "asking", "check_bucket"]

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


def check_bucket(url: str, fs: Any, path: str) -> None:
    """See that an object store has the bucket of a path, and credentials for it, before work is done for it.

    Raises:
        InputError: when there is none.
        RunError: when it does not answer.
    """
    if url.partition("://")[0] not in _HOW:
        return
    bucket = path.partition("/")[0]
    with asking(url, fs):
        try:
            fs.info(bucket)
        except FileNotFoundError:
            raise InputError(f"there is no bucket {bucket!r}", where=url, hint="check its name, or make it") from None
        except PermissionError:
            return  # who may write need not be allowed to look


class RemoteFile:
    """A file of a remote file system that is read, whose errors are told by its URL."""

    def __init__(self, url: str, fs: Any, path: str) -> None:
        self._url, self._fs = url, fs
        with asking(url, fs):
            self._file = fs.open(path, "rb")

    def read(self, size: int = -1) -> bytes:
        """Read some bytes."""
        with asking(self._url, self._fs):
            return bytes(self._file.read(size))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _told(error: Exception, url: str) -> MotetError:
    scheme = url.partition("://")[0]
    text = " ".join(str(error).split()) or type(error).__name__
    if type(error).__name__ in _NO_CREDENTIALS:
        hint = _HOW.get(scheme, "give credentials, as its file system of fsspec wants them")
        return InputError(f"no credentials that hold were found: {text}", where=url, hint=hint)
    if isinstance(error, PermissionError):
        hint = f"these credentials do not allow it; give others: {_HOW[scheme]}" if scheme in _HOW else "give others"
        return InputError(f"is not allowed: {text}", where=url, hint=hint)
    if isinstance(error, FileNotFoundError):
        return InputError("there is no such file or bucket", where=url, hint="check the address and its spelling")
    hint = "check the address and the network, then try again; --resume goes on with a run"
    return RunError(f"does not answer: {type(error).__name__}: {text}", where=url, hint=hint)
