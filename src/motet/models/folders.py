"""Models that are folders: which of the files in one are the model's, here and at a remote.

A handler of such models says by `folder_heads` the files that stand for one, and by `folder_files` what else belongs to it:
`huggingface:bert` and `huggingface:bert/config.json` are the same model, and a `README.md` beside it is none of it.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from motet.errors import ModelLoadError
from motet.models.handler import Handler
from motet.system.folders import files_below

__all__ = ["FolderRule", "folder_rule", "refused_code"]


@dataclass(frozen=True)
class FolderRule:
    """What a handler says of folders that are models.

    Attributes:
        scheme: the handler's name.
        heads: the files that stand for the folder, of which the first that is there is the model's own.
        choose: from the relative paths of all files those that belong to the model.
        code: suffixes of files that may run code when they are loaded.
    """

    scheme: str
    heads: tuple[str, ...]
    choose: Callable[[Sequence[str]], Sequence[str]]
    code: tuple[str, ...] = ()

    def folder(self, location: str) -> str:
        """The folder that a path or URI means: itself, or that of the file that stands for it."""
        first, *chain = location.split("::")
        head, _, last = first.rpartition("/")
        return "::".join([(head or "/") if last in self.heads else first.rstrip("/") or "/", *chain])

    def files(self, names: Sequence[str], where: str) -> list[str]:
        """The files of a model by their relative paths, its own first.

        Args:
            names: of all files of the folder and below.
            where: the folder, for messages.

        Raises:
            ModelLoadError: when no file stands for a model.
        """
        own = next((head for head in self.heads if head in names), None)
        if own is None:
            there = ", ".join(sorted(names)[:10]) or "nothing"
            what = f"the folder is no model of {self.scheme}: it has no {' and no '.join(self.heads)}, but {there}"
            raise ModelLoadError(what, where=where, hint="name the folder that the model was saved into")
        return [own, *sorted(name for name in self.choose(names) if name != own)]

    def local(self, folder: str) -> list[str]:
        """The files of a model of this machine.

        Raises:
            ModelLoadError: when the folder cannot be read, or is no model.
        """
        try:
            names = [name for name in files_below(folder) if not name.endswith("/")]
        except OSError as error:
            what = f"{error.filename or folder} cannot be read: {error.strerror}"
            raise ModelLoadError(what, where=folder, hint="check the path, and links that lead in a circle") from error
        return self.files(names, folder)

    def carries_code(self, names: Sequence[str]) -> bool:
        """Whether loading one of these files can run code."""
        return any(posixpath.splitext(name)[1].lower() in self.code for name in names)

    def own(self, path: str) -> str:
        """The model's own file, of a local folder or of the file that stands for it."""
        folder = self.folder(path)
        return os.path.join(folder, self.local(folder)[0])


def folder_rule(handler: Handler) -> FolderRule | None:
    """What a handler says of folders, None where its models are files."""
    choose = getattr(handler, "folder_files", None)
    if choose is None:
        return None
    return FolderRule(handler.name, tuple(handler.folder_heads), choose, tuple(getattr(handler, "code_suffixes", ())))  # type: ignore[attr-defined]


def refused_code(where: str) -> ModelLoadError:
    """The error of a remote file that would run code."""
    return ModelLoadError(
        "loading this file runs any code that it carries (unpickling does); remote files are refused",
        where=where,
        hint="if you trust whoever can write there, say `unpickle: allow` in the model's declaration; "
        "or export the model to ONNX, which carries no code",
    )
