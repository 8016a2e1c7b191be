"""What a module of the project does to libraries when it is imported: seeds, default types, options."""

from __future__ import annotations

import ast
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from motet.workflow.code.bytecode import names_of
from motet.workflow.code.things import module_of
from motet.workflow.project import is_project, module_file

__all__ = ["settings_in"]

_SETTING = re.compile(
    r"seed|^set|^use_|_use$|default|option|config|^update$|filterwarnings|simplefilter|putenv|chdir|tzset|^register|^add(?!_arg)|^pop$|^clear$"
)
"""How functions and methods are called that set something of a library or a process."""
_TELLS = re.compile(
    r"^(print|debug|info|warn|warning|error|critical|exception|log|write|writelines|flush|echo|sleep|mkdir|makedirs)$"
)
"""How those are called that are called for their effect alone, and set nothing."""
_FILES = ("builtins", "shutil")
"""Modules whose functions are called for an effect elsewhere than in libraries: texts, files."""
_AT_END = "atexit"
"""The module whose functions have an effect when all results are there; often of a file with a name of this process."""
_GUARD = "__name__ == '__main__'"
_BLOCKS = ("body", "orelse", "finalbody")
_SETTERS = (("setattr",), ("delattr",))
_CALLED = (ModuleType, FunctionType, BuiltinFunctionType, type)


def settings_in(module: ModuleType, *, guarded: bool) -> list[CodeType]:
    """The statements at the top of a module that set something in libraries, or call a function of the project that does.

    Args:
        module: the module.
        guarded: whether those under `if __name__ == "__main__"` are asked for, or the others.
    """
    known: dict[FunctionType, bool] = {}
    return [
        each.code
        for each in _statements(module_file(module.__name__))
        if each.guarded is guarded and any(_sets(vars(module), chain, each, known) for chain in each.chains)
    ]


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement, or a decorator as the call that it is.

    Attributes:
        code: it alone.
        chains: the names that lead to what it calls, or assigns to, one after the other: of
            `logging.getLogger("a").setLevel(10)` `logging`, `getLogger` and `setLevel`.
        assigns: whether it assigns to a thing that exists already.
        guarded: whether it runs only where the module is run as a program.
        decorates: whether it is a decorator, which may register what it decorates with a library.
        effect: whether its last chain is called for its effect alone: nothing is made of what it gives.
    """

    code: CodeType
    chains: tuple[tuple[str, ...], ...]
    guarded: bool
    assigns: bool = False
    decorates: bool = False
    effect: bool = False


def _sets(
    space: dict[str, Any], chain: tuple[str, ...], statement: _Statement, known: dict[FunctionType, bool]
) -> bool:
    """Whether what is called, or assigned to, is a setting of a library, or a function of the project that has some.

    `known` keeps what was found of the functions that a module calls at its top.
    """
    thing = _found(space, chain)
    if thing is None:
        return chain in _SETTERS
    if is_project(_home(thing)):
        functions = () if statement.decorates else _functions(thing)
        known |= {each: _does(each, set()) for each in functions if each not in known}
        return any(known[each] for each in functions)
    if _home(thing) == _AT_END:
        return False
    if statement.decorates:
        return chain[-1].startswith("register")
    if statement.assigns:
        return isinstance(thing, ModuleType)
    if statement.effect and chain == statement.chains[-1] and isinstance(thing, _CALLED) and _home(thing) not in _FILES:
        return not _TELLS.search(chain[-1])
    return bool(_SETTING.search(chain[-1]))


def _found(space: dict[str, Any], chain: tuple[str, ...]) -> Any:
    """What the first names of a chain lead to, as far as they are modules of the project; None where that is nothing."""
    thing: Any = None
    for name in chain:
        if thing is not None and not (isinstance(thing, ModuleType) and is_project(thing.__name__)):
            break
        thing = (space if thing is None else vars(thing)).get(name)
        if thing is None:
            break
    return thing


def _functions(thing: Any) -> list[FunctionType]:
    """The functions of the project that a call of a thing, or of what it has, may run: itself, or those of its class."""
    if isinstance(thing, FunctionType):
        return [thing] if is_project(module_of(thing)) else []
    if isinstance(thing, ModuleType):
        return []
    kind = thing if isinstance(thing, type) else type(thing)
    held = [each for base in kind.__mro__ if is_project(base.__module__) for each in vars(base).values()]
    plain = (getattr(each, "__func__", each) for each in held)
    return [each for each in plain if isinstance(each, FunctionType)]


def _does(function: FunctionType, seen: set[FunctionType]) -> bool:
    """Whether a function of the project, or one that it calls, sets something in libraries."""
    seen.add(function)
    names, space = names_of(function.__code__), function.__globals__
    if any(_SETTING.search(each[-1]) and not _is_own(_found(space, each)) for each in names.globals):
        return True
    if any(each[-1] == "=" and not is_project(_home(space.get(each[0]))) for each in names.used if each[0] in space):
        return True
    called = (_found(space, each) for each in names.globals)
    own = [one for each in called if _is_own(each) for one in _functions(each)]
    return any(_does(each, seen) for each in own if each not in seen)


def _is_own(thing: Any) -> bool:
    """Whether a thing is a function, a class or an object of the project."""
    return thing is not None and is_project(_home(thing))


def _home(thing: Any) -> str:
    """The module that a thing is, or is of."""
    return str(getattr(thing, "__module__", None) or getattr(thing, "__name__", "builtins"))


def _statements(file: str) -> tuple[_Statement, ...]:
    """What a source file does by itself when it is imported to things that exist already: calls, assignments, decorators."""
    try:
        found = os.stat(file)
        return _compiled(file, found.st_mtime_ns, found.st_size)
    except (OSError, SyntaxError, ValueError):
        return ()


@lru_cache(maxsize=512)
def _compiled(file: str, *_: int) -> tuple[_Statement, ...]:
    found = []
    todo: list[tuple[ast.stmt, bool]] = [(each, False) for each in ast.parse(Path(file).read_bytes()).body]
    while todo:
        each, guarded = todo.pop(0)
        if not isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inner = (each, *getattr(each, "handlers", ()), *getattr(each, "cases", ()))
            guard = isinstance(each, ast.If) and ast.unparse(each.test) == _GUARD
            for name in _BLOCKS:
                below = guarded or (guard and name == "body")  # what is under else runs where the module is imported
                todo += [(one, below) for part in inner for one in getattr(part, name, ())]
        if isinstance(each, (ast.If, ast.Try, ast.With, ast.For, ast.While, ast.Match)):
            continue
        code = compile(ast.Module([each], []), file, "exec")
        calls = [_called(decorator) for decorator in getattr(each, "decorator_list", ())]
        found += [_Statement(code, (chain,), guarded, decorates=True) for chain in calls]
        targets = getattr(each, "targets", None) or [getattr(each, "target", None)]
        if any(isinstance(target, (ast.Attribute, ast.Subscript)) for target in targets):
            found.append(_Statement(code, names_of(code).globals, guarded, assigns=True))
        elif isinstance(each, ast.Expr):
            called = _called(each.value) if isinstance(each.value, ast.Call) else ()
            found.append(_Statement(code, (*names_of(code).globals, called), guarded, effect=True))
        elif isinstance(each, (ast.Assign, ast.AnnAssign)) and isinstance(each.value, ast.Call):
            found.append(_Statement(code, (_called(each.value),), guarded))
    return tuple(found)


def _called(expression: ast.expr) -> tuple[str, ...]:
    """The names that lead to what is called last, whatever is called on the way."""
    names: list[str] = []
    while not isinstance(expression, ast.Name):
        if isinstance(expression, ast.Attribute):
            names.insert(0, expression.attr)
            expression = expression.value
        elif isinstance(expression, (ast.Call, ast.Subscript)):
            expression = expression.func if isinstance(expression, ast.Call) else expression.value
        else:
            return ()
    return (expression.id, *names)
