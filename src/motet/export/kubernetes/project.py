"""What goes into the image: files of the project, and the packages that they import.

targets ──► their folders, whole ──┐
models, modules elsewhere ─────────┼─► the smallest folder around all of them: where places in the image begin
                                   └─► paths in it, which are copied to the same places under /app
"""

from __future__ import annotations

import ast
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from motet.errors import InputError

__all__ = [
    "APP",
    "Project",
    "find_project",
    "module_file",
    "modules_imported",
    "modules_named",
    "packages_imported",
]

APP = "/app"
MOST_SOURCES = 2000
"""Python files that are looked through for what they import."""
_PATH = re.compile(r"(?!store:)(?:python:)?([A-Za-z_]\w*(?:\.\w+)*)[.:][A-Za-z_]\w*")


@dataclass(frozen=True)
class Project:
    """What goes into the image.

    Attributes:
        root: the folder where places in the image begin.
        paths: what of it is copied, relative to it; `.` is all of it.
        python_path: folders that modules are imported from, relative to it.
    """

    root: Path
    paths: tuple[str, ...]
    python_path: tuple[str, ...]

    def place(self, path: str | os.PathLike[str]) -> str:
        """Where a file of the project is in the image.

        Raises:
            InputError: when it is not in the folder that the image is built from.
        """
        found = Path(os.path.abspath(path))
        if not found.is_relative_to(self.root):
            raise InputError(f"{found} is outside of {self.root}", hint="give a folder around both with --context")
        return f"{APP}/{found.relative_to(self.root).as_posix()}".removesuffix("/.")

    def find(self, module: str, beside: Path) -> Path | None:
        """The file of a module that is copied; None for others.

        Args:
            module: its whole name.
            beside: the folder that it is looked for in first.
        """
        for folder in (beside, *(self.root / path for path in self.python_path)):
            place = folder.joinpath(*module.split("."))
            for file in (place.with_suffix(".py"), place / "__init__.py"):
                if file.is_file() and self._has(file):
                    return file
        return None

    def _has(self, file: Path) -> bool:
        return any(file.is_relative_to(self.root / path) for path in self.paths)


def find_project(folders: Iterable[Path], files: Iterable[Path], context: Path | None) -> Project:
    """What an image must hold.

    Args:
        folders: those of what is exported; they are copied whole.
        files: models and modules, wherever they are.
        context: the folder to build from; None finds the smallest one.

    Raises:
        InputError: when something is outside of `context`, or the files have no folder in common.
    """
    wholes = [folder.resolve() for folder in folders]
    singles = [Path(os.path.abspath(each)) for each in files]
    every = [*wholes, *(path.parent for path in singles)]
    root = context.resolve() if context else Path(os.path.commonpath([str(path) for path in every]))
    if root == Path(root.anchor):
        raise InputError(
            f"{', '.join(sorted({str(path) for path in every}))} have no folder in common",
            hint="put models and modules beside what is exported, or give --context",
        )
    outside = [str(path) for path in (*wholes, *singles) if not path.is_relative_to(root)]
    if outside:
        raise InputError(f"{outside[0]} is outside of {root}", hint="give a folder around both with --context")
    top: list[Path] = []
    for path in sorted({*wholes, *singles}, key=lambda each: len(each.parts)):
        if not any(path.is_relative_to(other) for other in top):
            top.append(path)
    relative = sorted(path.relative_to(root).as_posix() for path in top)
    roots = {folder.relative_to(root).as_posix() for folder in _import_roots(singles) if folder.is_relative_to(root)}
    return Project(root, tuple(relative), tuple(sorted(roots)))


def _import_roots(files: Iterable[Path]) -> Iterator[Path]:
    """The folders that top-level modules and packages among these files were found in."""
    for file in files:
        if file.suffix == ".py" or (file / "__init__.py").exists():
            yield file.parent


def modules_named(value: object, folder: Path) -> set[Path]:
    """The project's modules that import paths in plain values name: `pkg.mod.function`, `python:pkg.mod:Name`.

    Args:
        value: dicts, lists and texts.
        folder: of the file that they come from.
    """
    if isinstance(value, dict):
        return {path for each in value.values() for path in modules_named(each, folder)}
    if isinstance(value, (list, tuple)):
        return {path for each in value for path in modules_named(each, folder)}
    match = _PATH.fullmatch(value) if isinstance(value, str) else None
    found = module_file(match[1].partition(".")[0], folder) if match else None
    return {found} if found else set()


def modules_imported(file: Path) -> set[Path]:
    """The project's modules and packages that a file imports, also through each other, wherever they were found.

    Args:
        file: one that is imported, so that `sys.path` is as it wants it.
    """
    found: set[Path] = set()
    waiting, seen = [file], {file}
    while waiting:
        each = waiting.pop()
        for name in {module.partition(".")[0] for module in _imported(each)}:
            place = _loaded_file(name) or module_file(name, each.parent)
            if place is None or place in found or len(found) >= MOST_SOURCES:
                continue
            found.add(place)
            inside = sorted(place.rglob("*.py")) if place.is_dir() else [place]
            waiting += [path for path in inside if path not in seen]
            seen.update(inside)
    return found - {file}


def _loaded_file(name: str) -> Path | None:
    """The file of a top-level module of the project that is loaded, or the folder of a package."""
    place = getattr(sys.modules.get(name), "__file__", None)
    if not place or is_installed(place) or name in sys.stdlib_module_names or name == "motet":
        return None
    path = Path(os.path.abspath(place))
    return path.parent if path.name == "__init__.py" else path


def module_file(name: str, folder: Path) -> Path | None:
    """The file of a top-level module of the project, or the folder of a package; None for installed ones.

    It is looked for where commands do: on `sys.path`, in the working directory, and in `folder`.
    """
    if name in sys.builtin_module_names or name in sys.stdlib_module_names or name == "motet":
        return None
    spec = PathFinder.find_spec(name, [*sys.path, os.getcwd(), str(folder)])
    if spec is None:
        return None
    place = next(iter(spec.submodule_search_locations or ()), None) or spec.origin
    return Path(place) if place and os.path.exists(place) and not is_installed(place) else None


def is_installed(path: str) -> bool:
    """Whether a module's file belongs to Python or to an installed package."""
    whole = os.path.abspath(path)
    own = os.path.dirname(os.path.abspath(sys.modules["motet"].__file__ or ""))
    return any(whole.startswith(folder + os.sep) for folder in (*_installed_folders(), own))


@cache
def _installed_folders() -> tuple[str, ...]:
    return tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def packages_imported(project: Project, files: Iterable[Path]) -> set[str]:
    """The top-level names of what is installed that files import, also through other files of the project."""
    names: set[str] = set()
    waiting = [file / "__init__.py" if file.is_dir() else file for file in files]
    seen = set(waiting)
    while waiting:
        file = waiting.pop()
        for module in _imported(file):
            found = project.find(module, file.parent)
            if found is None:
                names.add(module.partition(".")[0])
            elif found not in seen and len(seen) < MOST_SOURCES:
                seen.add(found)
                waiting.append(found)
    return names - set(sys.stdlib_module_names) - {"motet"}


def _imported(file: Path) -> Iterator[str]:
    """The modules that a file imports anywhere in it, by whole names; those of its own package from its folder."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)
