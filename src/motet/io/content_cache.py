"""Contents of small remote files, so that what is looked at to begin with is not fetched again to be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from motet.threads import side_by_side

if TYPE_CHECKING:
    from motet.io.files import FoundFile

__all__ = ["FETCHED_AT_ONCE", "ContentCache"]

FETCHED_AT_ONCE = 16
_HELD_BYTES = 64 << 20
"""The most that is kept."""


class ContentCache:
    """Contents of small remote files that were found together: those of the first ones are kept; others are fetched some at
    once when they are read one after another, behind a first look at each."""

    def __init__(self) -> None:
        self.files: list[FoundFile] = []
        self._kept: dict[str, bytes] = {}
        self._ahead: dict[str, bytes] = {}
        self._seen: set[str] = set()
        self._bytes = 0

    def __reduce__(self) -> tuple[type[ContentCache], tuple[()]]:
        """Another process fetches for itself."""
        return ContentCache, ()

    def read(self, file: FoundFile, fetch: Callable[[FoundFile], bytes]) -> bytes:
        """The content of a file, which `fetch` fetches where it is not held."""
        for held in (self._kept, self._ahead):
            if file.path in held:
                return held[file.path]
        if file.path in self._seen:
            return self._look_ahead(file, fetch)
        content = fetch(file)
        self._seen.add(file.path)
        if self._bytes + len(content) <= _HELD_BYTES:
            self._bytes += len(content)
            self._kept[file.path] = content
        return content

    def _look_ahead(self, file: FoundFile, fetch: Callable[[FoundFile], bytes]) -> bytes:
        start = next((place for place, each in enumerate(self.files) if each is file), None)
        following = [file] if start is None else self.files[start : start + FETCHED_AT_ONCE]
        wanted = [each for each in following if each.is_small and each.path not in self._kept]
        contents = side_by_side(fetch, wanted, FETCHED_AT_ONCE)
        self._ahead = {each.path: content for each, content in zip(wanted, contents, strict=True)}
        return self._ahead[file.path]
