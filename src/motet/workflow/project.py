"""Which modules belong to the project, what they import, and the versions of all others."""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType

__all__ = [
    "find_file",
    "folder_files",
    "imports_in",
    "is_lazy",
    "is_project",
    "module_file",
    "module_name",
    "pin",
    "source_digest",
]

MOST_FILES = 5_000
_CODE = (".py", ".pyx", ".sh", ".so", ".dylib", ".dll", ".pyd", ".r", ".R", ".jl", ".pl", ".js", ".sql")
"""How files end that programs are made of."""
_OWN = "motet"


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(os.path.realpath(paths[name]) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def is_project(name: str) -> bool:
    """Whether a module, by its name, is the project's own: not Python's, not installed, and not Motet's."""
    top = name.partition(".")[0]
    if top == _OWN or top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return False
    if name == "__main__":
        return True
    file = module_file(name)
    if file:
        return _own_file(file)
    loaded = sys.modules.get(name)
    if loaded is None:
        return True  # made at run time: nothing says that it is another's
    folders = list(getattr(loaded, "__path__", ()))
    frozen = getattr(getattr(loaded, "__spec__", None), "origin", None) in ("built-in", "frozen")
    return not frozen and (not folders or _own_file(folders[0]))


@lru_cache(maxsize=8192)
def _own_file(file: str) -> bool:
    path = os.path.realpath(file)
    if "site-packages" in path or "dist-packages" in path or path.startswith(_installed()):
        return False
    return not any(_names_installed(os.path.dirname(at)) & {os.path.basename(at)} for at in _parents(path))


def _parents(path: str) -> Iterator[str]:
    """A path and the folders that it is in."""
    while path != os.path.dirname(path):
        yield path
        path = os.path.dirname(path)


@lru_cache(maxsize=4096)
def _names_installed(folder: str) -> frozenset[str]:
    """The files and folders in a folder that an installer has put there, as `pip install --target` does."""
    found = set()
    for record in Path(folder).glob("*.dist-info/RECORD"):
        try:
            lines = record.read_text(errors="replace").splitlines()
        except OSError:
            continue
        found |= {line.split(",", 1)[0].strip('"').split("/", 1)[0] for line in lines}
    return frozenset(found)


def module_file(name: str) -> str:
    """The file of a module, found without importing it; empty where there is none."""
    loaded = sys.modules.get(name)
    if isinstance(loaded, ModuleType):  # and not what a module has put in its own place
        return getattr(loaded, "__file__", None) or ""
    return find_file(name)


def find_file(name: str) -> str:
    """The file that an import of a name would load; empty where there is none."""
    where: list[str] | None = None
    found, at = None, ""
    for part in name.split("."):  # by its last name alone: a package without `__init__.py` would ask for its parent
        at = f"{at}.{part}" if at else part
        try:
            found = importlib.machinery.PathFinder.find_spec(part, where)
            if found is None and where is None:  # of an editable install a finder of its own knows
                found = importlib.util.find_spec(at)
        except (ImportError, ValueError, AttributeError, KeyError):
            return ""
        if found is None:
            return ""
        where = list(getattr(sys.modules.get(at), "__path__", None) or found.submodule_search_locations or ())
    origin = found.origin if found is not None else None
    return origin if origin and _container(origin) else ""


def _container(file: str) -> str:
    """The file that a module is in: itself, or an archive; empty where there is none."""
    while file and not os.path.isfile(file):
        parent = os.path.dirname(file)
        file = parent if parent != file else ""
    return file


def module_name(module: str) -> str:
    """A module's name, the same whether it is run as a script, loaded as one by another process, or imported."""
    if module not in ("__main__", "__mp_main__"):
        return module
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(file).stem if file else module


def source_digest(file: str) -> str:
    """A digest of a file's content; empty for one that cannot be read."""
    try:
        return hashlib.sha256(Path(_container(file)).read_bytes()).hexdigest()
    except OSError:
        return ""


def is_lazy(file: str) -> bool:
    """Whether a module may load others when something is taken of it: it has, or makes, a `__getattr__` of its own."""
    if os.path.basename(file) != "__init__.py":
        return False
    try:
        return b"__getattr__" in Path(file).read_bytes()
    except OSError:
        return False


def imports_in(file: str, name: str) -> list[str]:
    """The modules that a source file imports, anywhere in it; also those whose attributes it may only take.

    Args:
        file: the file.
        name: the module's name.
    """
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    package = name if os.path.basename(file) == "__init__.py" else name.rpartition(".")[0]
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(dict.fromkeys(each.name for each in node.names))
        elif isinstance(node, ast.ImportFrom):
            found.update(dict.fromkeys(imported(node.level, node.module or "", [a.name for a in node.names], package)))
    return list(found)


def imported(level: int, module: str, names: list[str] | tuple[str, ...], package: str) -> list[str]:
    """The modules that `from MODULE import NAMES` may load, in a module of a package."""
    if level:
        parts = package.split(".") if package else []
        base = ".".join(parts[: len(parts) - level + 1])
        module = f"{base}.{module}" if module and base else module or base
    return [module, *(f"{module}.{name}" for name in names if name != "*")] if module else []


def folder_files(file: str) -> list[str]:
    """All files of code in the folder of a file and below, at most 5,000."""
    found: list[str] = []
    for at, folders, names in os.walk(os.path.dirname(os.path.abspath(file))):
        folders[:] = sorted(each for each in folders if not each.startswith((".", "__pycache__")))
        found += [os.path.join(at, name) for name in sorted(names) if name.endswith(_CODE)]
        if len(found) >= MOST_FILES:
            break
    return found[:MOST_FILES]


@lru_cache(maxsize=1024)
def pin(top: str) -> tuple[str, str]:
    """What a module outside of the project counts by: a name and a version."""
    if top in sys.stdlib_module_names or top in ("builtins", "__builtin__"):
        return "python", f"{sys.version_info[0]}.{sys.version_info[1]}"
    version = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(version, str):
        return top, version
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return top, installed(top)
    except PackageNotFoundError:
        pass
    file = module_file(top)
    return top, source_digest(file)[:16] if file else "unknown"
