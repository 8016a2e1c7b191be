"""What compiled code refers to: global names and the attributes that are taken of them, and what it imports itself."""

from __future__ import annotations

import dis
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from types import CodeType

__all__ = ["CodeImport", "CodeNames", "names_of", "plain_code", "runs_unnamed"]

_FREE = ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")
_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_DOCS = frozenset({"__doc__", "getdoc", "help"})
_TEXT = frozenset(
    {
        "getsource", "getsourcelines", "getcomments", "findsource", "getline", "getlines", "f_lineno", "tb_lineno",
        "co_firstlineno", "co_lines", "co_positions",
    }
)  # fmt: skip
"""What reads the text of programs, with its comments, or where in it something is."""
_CONSTANT = frozenset(dis.opmap[name] for name in ("LOAD_CONST", "KW_NAMES", "RETURN_CONST") if name in dis.opmap)
_SILENT = frozenset(dis.opmap[name] for name in ("CACHE", "NOP"))
_STORES = ("STORE_FAST", "STORE_NAME", "STORE_GLOBAL", "STORE_DEREF")
_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")
_OPAQUE = frozenset({"eval", "exec", "compile", "globals", "vars", "locals"})
_IMPORTERS = frozenset({"import_module", "__import__"})
_UNNAMED = frozenset(
    {
        "__subclasses__", "CDLL", "LoadLibrary", "load_library", "dlopen", "run_path", "run_module", "exec_module",
        "load_module", "spec_from_file_location", "SourceFileLoader", "zipimporter", "addsitedir", "create_subprocess_exec",
        "create_subprocess_shell", "subprocess_exec", "subprocess_shell", "cpp_extension",
    }
)  # fmt: skip
"""What is called by these is code that the program does not name."""
_RUNNERS = frozenset({"subprocess", "runpy", "ctypes", "cffi", "pkgutil", "resources", "importlib_resources"})
"""Modules that run or read what the program does not name."""
_PROGRAMS = ("system", "popen", "exec", "spawn", "posix_spawn")
"""How functions of `os` begin that run programs."""


@dataclass(frozen=True, slots=True)
class CodeImport:
    """An import inside a function.

    Attributes:
        level: how many dots it begins with.
        module: the module.
        names: what is taken of it, which may be modules too.
    """

    level: int
    module: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CodeNames:
    """What code refers to.

    Attributes:
        globals: chains: a global name, and the attributes that are taken of it one after the other.
        free: the same of names of enclosing functions.
        imports: its own imports.
        opaque: whether it runs text as code, looks names up by text, or reads the text of code, so that all of its module counts.
        any_module: whether it uses code that it does not name: modules, programs, libraries, files of packages.
        used: the chains of all names; one that is assigned to, or deleted, ends with `=`.
        handed: the chains of globals that are more than called: what gets them may look at their docstrings.
        reads_docs: whether it reads docstrings itself.
        bound: what local names are other names for: chains, which begin with an empty text where they are of an import.
    """

    globals: tuple[tuple[str, ...], ...]
    free: tuple[tuple[str, ...], ...]
    imports: tuple[CodeImport, ...]
    opaque: bool
    any_module: bool
    used: frozenset[tuple[str, ...]]
    handed: frozenset[tuple[str, ...]]
    reads_docs: bool
    bound: dict[str, tuple[str, ...]]


@lru_cache(maxsize=4096)
def names_of(code: CodeType) -> CodeNames:
    """What code refers to, with the code of functions and classes inside it."""
    found: dict[str, dict[tuple[str, ...], None]] = {"globals": {}, "free": {}}
    imports: list[CodeImport] = []
    used: set[tuple[str, ...]] = set()
    handed: set[tuple[str, ...]] = set()
    reads_docs = not _DOCS.isdisjoint(code.co_names)
    bound: dict[str, tuple[str, ...]] = {}
    opaque, any_module = not _TEXT.isdisjoint(code.co_names), False
    steps = [each for each in dis.get_instructions(code) if each.opname not in ("CACHE", "EXTENDED_ARG", "PUSH_NULL")]
    for place, step in enumerate(steps):
        kind = "globals" if step.opname in _GLOBAL else "free" if step.opname in _FREE else ""
        if kind or step.opname.startswith("LOAD_FAST"):
            chain = _chain(steps, place)
            if kind:
                found[kind][chain] = None
                handed |= set() if _is_called(steps[place + len(chain) - 1]) else {chain}
            used.add((*chain, "=") if _is_assigned(steps, place + len(chain)) else chain)
            bound.update(_other_name(steps, place + len(chain), chain))
            any_module = any_module or bool(_UNNAMED & set(chain)) or (chain[0] == "os" and runs_unnamed(*chain[:2]))
            any_module = any_module or (chain[:2] == ("sys", "path") and len(chain) > 2)
            opaque = opaque or (kind == "globals" and chain[0] in _OPAQUE) or chain[:2] == ("sys", "modules")
            if _IMPORTERS & set(chain):
                target = _constant(steps, place + len(chain))
                any_module = any_module or target is None
                if target:
                    imports.append(CodeImport(0, target, ()))
        elif step.opname == "IMPORT_NAME":
            imports.append(_imported(steps, place))
            bound.update(_bound(steps, place, imports[-1]))
            taken = imports[-1].names or ("",)
            any_module = any_module or any(runs_unnamed(imports[-1].module, name) for name in taken)
    for inner in (each for each in code.co_consts if isinstance(each, CodeType)):
        names = names_of(inner)
        found["globals"].update(dict.fromkeys(names.globals))
        found["free"].update(dict.fromkeys(names.free))
        imports += names.imports
        used |= names.used
        handed |= names.handed
        reads_docs = reads_docs or names.reads_docs
        bound = {**names.bound, **bound}
        opaque, any_module = opaque or names.opaque, any_module or names.any_module
    free = tuple(chain for chain in found["free"] if chain[0] in code.co_freevars)
    local = {*code.co_varnames, *code.co_cellvars} - bound.keys()
    mine = frozenset(chain for chain in used if chain[0] not in local)
    told = tuple(found["globals"]), free, tuple(dict.fromkeys(imports)), opaque, any_module
    return CodeNames(*told, mine, frozenset(handed), reads_docs, bound)


def runs_unnamed(module: str, name: str = "") -> bool:
    """Whether what a module has under a name runs or reads code that the program does not name."""
    if module in ("os", "posix", "nt"):
        return name.startswith(_PROGRAMS)
    return not _RUNNERS.isdisjoint((*module.split("."), name))


def _chain(steps: list[dis.Instruction], place: int) -> tuple[str, ...]:
    names = [str(steps[place].argval)]
    for step in steps[place + 1 :]:
        if step.opname not in _ATTRIBUTE:
            break
        names.append(str(step.argval))
    return tuple(names)


def _is_called(step: dis.Instruction) -> bool:
    """Whether what is loaded is called and nothing else."""
    return step.opname == "LOAD_METHOD" or (step.opname in ("LOAD_GLOBAL", "LOAD_ATTR") and "NULL" in step.argrepr)


def _is_assigned(steps: list[dis.Instruction], place: int) -> bool:
    """Whether an attribute or an item of what was loaded before a place is assigned to or deleted."""
    depth = 0  # values above it on the stack
    for step in steps[place:]:
        if step.opname in ("STORE_ATTR", "DELETE_ATTR") or (step.opname == "COPY" and depth < 2):
            return depth == 0 or step.opname == "COPY"
        if step.opname in ("STORE_SUBSCR", "DELETE_SUBSCR"):
            return depth == 1
        depth += dis.stack_effect(step.opcode, step.arg if step.opcode >= dis.HAVE_ARGUMENT else None, jump=False)
        if depth < 1:
            return False
    return False


def _other_name(steps: list[dis.Instruction], place: int, chain: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The name that something gets which was loaded before a place, where it is stored as it is."""
    stored = place < len(steps) and steps[place].opname.startswith(_STORES) and len(chain) > 1
    return {str(steps[place].argval): chain} if stored else {}


def _bound(steps: list[dis.Instruction], place: int, imported: CodeImport) -> dict[str, tuple[str, ...]]:
    """The names that an import gives, and what they are names for."""
    found: dict[str, tuple[str, ...]] = {}
    parts, taken = imported.module.split("."), steps[place - 1].argval
    for before, step in pairwise(steps[place:] if not imported.level else ()):
        if step.opname.startswith(_STORES):
            way = (*parts, str(before.argval)) if taken else parts[:1] if before.opname == "IMPORT_NAME" else parts
            found[str(step.argval)] = ("", *way)
        elif step.opname not in ("IMPORT_FROM", "SWAP", "POP_TOP"):
            break
    return found


def _constant(steps: list[dis.Instruction], place: int) -> str | None:
    """The text that a function is called with, where that is the first thing it is given."""
    if place + 1 < len(steps) and steps[place].opname == "LOAD_CONST" and isinstance(steps[place].argval, str):
        after = steps[place + 1].opname
        return steps[place].argval if after.startswith(("PRECALL", "CALL", "KW_NAMES")) else None
    return None


def _imported(steps: list[dis.Instruction], place: int) -> CodeImport:
    """An import: its level and names are the constants before it, and the names that follow it."""
    level, names = 0, []
    if place >= 2 and isinstance(steps[place - 2].argval, int):
        level = steps[place - 2].argval
    for step in steps[place + 1 :]:
        if step.opname == "IMPORT_FROM":
            names.append(str(step.argval))
        elif not step.opname.startswith("STORE") or not names:
            break
    return CodeImport(level, str(steps[place].argval), tuple(names))


def plain_code(code: CodeType) -> list[object]:
    """Code as plain values, without docstrings, names of files and numbers of lines: equal for what behaves the same."""
    steps, constants = _steps(code)
    return [
        steps,
        constants,
        code.co_exceptiontable.hex(),
        list(code.co_names),
        list(code.co_varnames),
        [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags],
        [list(code.co_freevars), list(code.co_cellvars)],
    ]


def _steps(code: CodeType) -> tuple[str, list[object]]:
    """The instructions of code, those that do nothing left out, and the constants that they take, in their order."""
    data, found, constants, high = code.co_code, bytearray(), [], 0
    for place in range(0, len(data), 2):
        step, low = data[place], data[place + 1]
        if step in _CONSTANT:
            constants.append(_plain(code.co_consts[high | low]))
            low = 0
        if step not in _SILENT:
            found += bytes((step, low))
        high = (high | low) << 8 if step == dis.EXTENDED_ARG else 0
    return found.hex(), constants


def _plain(value: object) -> object:
    if isinstance(value, CodeType):
        return plain_code(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, frozenset):
        return sorted(repr(_plain(each)) for each in value)
    return f"{type(value).__name__} {value!r}"
