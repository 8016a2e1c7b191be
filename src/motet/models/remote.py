"""One remote file, or the files of one remote folder, read with fsspec."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from motet.errors import MissingExtraError, known_names

__all__ = ["RemoteError", "RemoteModelFile", "RemoteModelFolder"]

_EXTRAS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}
_STATE_FIELDS = (
    "etag", "e_tag", "md5hash", "content_md5", "content-md5", "checksum", "digest", "crc", "crc32c", "version_id",
    "generation", "mtime", "modified", "last_modified", "lastmodified", "last-modified", "updated", "created",
)  # fmt: skip


class RemoteError(Exception):
    """A remote that does not answer, or not with the file."""

    def __init__(self, what: str, hint: str) -> None:
        self.hint = hint
        super().__init__(what, hint)

    def __str__(self) -> str:
        return str(self.args[0])


def state_of(info: Mapping[str, Any]) -> str:
    """What a remote says of a file's state in one text, empty where it says no more than the size."""
    state = {key.lower(): str(value) for key, value in info.items() if value and key.lower() in _STATE_FIELDS}
    return " ".join(f"{key}={state[key]}" for key in sorted(state))


class RemoteModelFile:
    """A remote file.

    Args:
        uri: what fsspec opens, `s3://bucket/key` for example.
        storage: options of its file system.
    """

    def __init__(self, uri: str, storage: Mapping[str, Any]) -> None:
        self.uri, self.storage = uri, dict(storage)
        self.unversioned = False

    @property
    def key(self) -> str:
        """What tells this file from others: its URI, and the endpoint where one is given."""
        client = self.storage.get("client_kwargs") or {}
        endpoint = self.storage.get("endpoint_url") or client.get("endpoint_url")
        return f"{self.uri} at {endpoint}" if endpoint else self.uri

    @property
    def name(self) -> str:
        """The file's own name."""
        path = self.uri.split("::")[0]
        if path.startswith(("http://", "https://")):
            path = path.partition("?")[0].partition("#")[0]
        return posixpath.basename(path.rstrip("/")) or "model"

    def beside(self, other: str) -> RemoteModelFile:
        """Another file, by its path relative to this one's folder."""
        first, *chain = self.uri.split("::")
        return RemoteModelFile("::".join([posixpath.join(posixpath.dirname(first), other), *chain]), self.storage)

    def version(self) -> str:
        """What the remote says of the file's state now; sets `unversioned` where it says no more than the size.

        Raises:
            RemoteError: when the remote has no such file or does not answer.
        """
        info = self._asked("info")
        if info.get("type") == "directory":
            raise RemoteError("it is a folder", "name a file; a model of several files has to be copied here first")
        state = state_of(info)
        self.unversioned = not state
        return f"size={info.get('size')} {state}"

    def get(self, target: Path) -> None:
        """Copy the file to a local path.

        Raises:
            RemoteError: when it cannot be read, or not whole.
        """
        size = self._asked("info").get("size")
        self._asked("get_file", str(target))
        got = target.stat().st_size
        if size is not None and got != size:
            raise RemoteError(f"{got} of its {size} bytes came", "try again")

    def read(self) -> bytes:
        """What the file holds.

        Raises:
            RemoteError: when it cannot be read.
        """
        content: bytes = self._asked("cat_file")
        return content

    def write(self, content: bytes) -> None:
        """Put a file there, in the place of one that is there.

        Raises:
            RemoteError: when it cannot be written.
        """
        self._asked("pipe_file", content)

    def listed(self) -> dict[str, Mapping[str, Any]]:
        """What the remote says of each file below a folder, by its path in it.

        Raises:
            RemoteError: when there is none, or it cannot be listed.
        """
        found = self._asked("find", detail=True)
        root = self._system[1].rstrip("/") + "/"
        return {name.removeprefix(root).lstrip("/"): info for name, info in found.items() if name.startswith(root)}

    def _asked(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        system, path = self._system
        try:
            system.invalidate_cache(path)
            return getattr(system, method)(path, *arguments, **keywords)
        except FileNotFoundError as error:
            raise RemoteError(f"there is no {self.uri}", "check the address and its spelling") from error
        except Exception as error:
            hint = "check the address, the credentials and the network; MOTET_OFFLINE=1 uses the copy fetched before"
            raise RemoteError(f"{type(error).__name__}: {error}", hint) from error

    @cached_property
    def _system(self) -> tuple[Any, str]:
        import fsspec

        protocol = self.uri.partition("://")[0]
        try:
            system, path = fsspec.core.url_to_fs(self.uri, **self.storage)
        except ImportError as error:
            package, extra = _EXTRAS.get(protocol, ("", ""))
            if package:
                raise MissingExtraError(package, extra, f"fetching {self.uri}") from error
            raise RemoteError(str(error), "install the package that it names") from error
        except ValueError as error:
            known = known_names(protocol, sorted(fsspec.available_protocols()))
            raise RemoteError(f"unknown protocol {protocol!r}; {known}", "check the address") from error
        return system, path


class RemoteModelFolder:
    """The files of a model in a remote folder.

    Args:
        uri: of the folder.
        storage: options of its file system.
        choose: from the names of all its files, and where it is, those of the model, its own first.
    """

    _MOST_FILES = 10_000

    def __init__(
        self, uri: str, storage: Mapping[str, Any], choose: Callable[[Sequence[str], str], Sequence[str]]
    ) -> None:
        self.uri, self.unversioned, self._choose = uri, False, choose
        self._folder = RemoteModelFile(uri, storage)

    @property
    def key(self) -> str:
        """What tells this folder from others."""
        return self._folder.key

    def names(self) -> list[str]:
        """The relative paths of the model's files, its own first.

        Raises:
            RemoteError: when the folder cannot be listed.
            ModelLoadError: when no model is in it.
        """
        return list(self._listed())

    def version(self) -> str:
        """What the remote says of the state of all these files now; sets `unversioned` where it says no more than sizes.

        Raises:
            RemoteError: when the folder cannot be listed.
            ModelLoadError: when no model is in it.
        """
        files = self._listed()
        states = {name: state_of(info) for name, info in files.items()}
        self.unversioned = not all(states.values())
        return "\n".join(f"{name} size={info.get('size')} {states[name]}" for name, info in files.items())

    def file(self, name: str) -> RemoteModelFile:
        """One of its files."""
        first, *chain = self.uri.split("::")
        return RemoteModelFile("::".join([posixpath.join(first, name), *chain]), self._folder.storage)

    def _listed(self) -> dict[str, Mapping[str, Any]]:
        found = self._folder.listed()
        if not found:
            what = f"there is no folder {self.uri}, or it cannot be listed"
            raise RemoteError(what, "check the address; a web server must list its folders, or copy the folder here")
        if len(found) > self._MOST_FILES:
            raise RemoteError(f"the folder has more than {self._MOST_FILES} files", "name the folder of one model")
        return {name: found[name] for name in self._choose(list(found), self.uri)}
