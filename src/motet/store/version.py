"""A version of a model: what its manifest says, and how it is referred to."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from motet.errors import InputError, StoreError

__all__ = ["ABANDONED", "ALIAS", "NAME", "Reference", "StoredFile", "Version"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""Names of models and aliases; an alias is no number."""
ALIAS = re.compile(r"(?!\d+$)[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
FORMAT = 1
ABANDONED = b'{"abandoned": true}'
"""In the place of a manifest: what was begun here was swept away, and can be published no more."""


class StoredFile(msgspec.Struct, frozen=True):
    """A file of a version.

    Attributes:
        path: relative to the version's `files`.
        size_bytes: of its content.
        sha256: of its content, 64 hex digits.
    """

    path: str
    size_bytes: int
    sha256: str


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A published version; its manifest.

    Attributes:
        name: of the model.
        number: from 1.
        files: the model's own file first.
        handler: the scheme of the handler that loads it, for example `onnx`.
        inputs, outputs: its signature, types as they are written in graphs; empty where it was not known.
        before, after: functions around it, each as it is written in graphs.
        code: digests of what those functions did when it was published, by import path; see `parts.code_of`.
        metrics: what was measured of it.
        lineage: where it comes from: the run, digests of data and code, and what else the publisher says.
        published_at: seconds since 1970, by the publisher's clock.
        digest: of everything that decides what it answers: files, handler, signature, functions; 64 hex digits.
    """

    name: str
    number: int
    files: list[StoredFile]
    handler: str = ""
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}
    before: list[Any] = []
    after: list[Any] = []
    code: dict[str, str] = {}
    metrics: dict[str, Any] = {}
    lineage: dict[str, Any] = {}
    published_at: float = 0.0
    digest: str = ""
    format: int = FORMAT

    def __str__(self) -> str:
        return f"{self.name}@{self.number}"

    @property
    def folder(self) -> str:
        """Where it is in the store."""
        return f"{self.name}/{self.number}"

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.size_bytes for file in self.files)

    def content_digest(self) -> str:
        """What `digest` must be."""
        said = [
            [[file.path, file.sha256] for file in self.files], self.handler, self.inputs, self.outputs, self.before,
            self.after, self.code,
        ]  # fmt: skip
        return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()

    @classmethod
    def read(cls, data: bytes, where: str) -> Version:
        """The version that a manifest describes.

        Raises:
            StoreError: when it is none, or of a later format.
        """
        try:
            found = msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise StoreError(f"the manifest is damaged: {error}", where=where, hint="remove the version") from error
        if found.format > FORMAT:
            raise StoreError(f"the manifest has format {found.format}", where=where, hint="install a newer motet")
        return found


@dataclass(frozen=True)
class Reference:
    """What a version is referred to by: `NAME` (its latest), `NAME@ALIAS` or `NAME@NUMBER`.

    Attributes:
        name: of the model.
        number: of the version; None where an alias says it.
        alias: says the version; empty where the number does.
    """

    name: str
    number: int | None = None
    alias: str = ""

    @classmethod
    def parse(cls, text: str, where: str = "") -> Reference:
        """A reference as it is written.

        Raises:
            InputError: when it is none.
        """
        name, at, which = text.partition("@")
        which = which if at else "latest"
        if not NAME.fullmatch(name) or not NAME.fullmatch(which):
            hint = "write NAME, NAME@ALIAS or NAME@NUMBER; names have letters, digits and . _ -"
            raise InputError(f"{text!r} refers to no version of a model", where=where, hint=hint)
        return cls(name, int(which)) if which.isdecimal() else cls(name, None, which)

    def __str__(self) -> str:
        return f"{self.name}@{self.alias or self.number}"
