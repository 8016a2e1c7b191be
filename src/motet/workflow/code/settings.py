"""What a module of the project does to libraries when it is imported: seeds, default types, options."""

from __future__ import annotations

import ast
import os
import re
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from motet.workflow.code.bytecode import names_of
from motet.workflow.code.project import is_project, module_file
from motet.workflow.code.things import module_of

__all__ = ["settings_in"]

_SETTING = re.compile(
    r"seed|^set|^use_|_use$|default|option|config|^update$|filterwarnings|simplefilter|putenv|chdir|^register"
)


def settings_in(module: ModuleType) -> list[CodeType]:
    """The statements at the top of a module that set something in libraries, or call a function of the project that does."""
    return [
        code
        for code, assigns in _statements(module_file(module.__name__))
        if any(_sets(vars(module), chain, assigns) for chain in names_of(code).globals)
    ]


def _sets(space: dict[str, Any], chain: tuple[str, ...], assigns: bool) -> bool:
    """Whether what is called, or assigned to, is a setting of a library, or a function of the project that has some."""
    thing = space.get(chain[0])
    if isinstance(thing, FunctionType) and is_project(module_of(thing)):
        return any(_SETTING.search(each[-1]) for each in names_of(thing.__code__).globals)
    if thing is None or is_project(str(getattr(thing, "__module__", None) or getattr(thing, "__name__", "builtins"))):
        return False
    return isinstance(thing, ModuleType) if assigns else bool(_SETTING.search(chain[-1]))


def _statements(file: str) -> tuple[tuple[CodeType, bool], ...]:
    """The calls and assignments that a source file makes by itself when it is imported, to things that exist already.

    Returns:
        Each as code, and whether it assigns.
    """
    try:
        found = os.stat(file)
        return _compiled(file, found.st_mtime_ns, found.st_size)
    except (OSError, SyntaxError, ValueError):
        return ()


@lru_cache(maxsize=512)
def _compiled(file: str, *_: int) -> tuple[tuple[CodeType, bool], ...]:
    found = []
    todo: list[ast.stmt] = list(ast.parse(Path(file).read_bytes()).body)
    while todo:
        each = todo.pop(0)
        targets = each.targets if isinstance(each, ast.Assign) else []
        assigns = any(isinstance(target, (ast.Attribute, ast.Subscript)) for target in targets)
        if assigns or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Call)):
            found.append((compile(ast.Module([each], []), file, "exec"), assigns))
        elif isinstance(each, (ast.If, ast.Try, ast.With)):
            todo += [*each.body, *getattr(each, "orelse", ())]
    return tuple(found)
