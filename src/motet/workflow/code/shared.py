"""What code sets that a process has once, for all of its threads: seeds, the working directory, the environment, options."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from motet.workflow.code.bytecode import CodeNames, names_of
from motet.workflow.project import is_project

__all__ = ["shared_in", "shared_in_file"]

_SETTERS = re.compile(
    r"(?!get_|initial_|check_|default_)(.*_)?seeds?(_.*)?"
    r"|set_.+|set(state|locale|err|errcall|bufsize|context|options?|recursionlimit|switchinterval|defaulttimeout"
    r"|trace|profile|priority|itimer|rlimit)|sched_set.*|reset_option|rc|rcdefaults|(option|rc)_context"
    r"|f?chdir|chroot|putenv|unsetenv|umask|nice|tzset|filterwarnings|simplefilter|resetwarnings|catch_warnings"
    r"|captureWarnings|redirect_std(out|err|in)|basicConfig|fork_rng|use|use_.+|switch_backend"
)
"""What functions of libraries are called that set what all threads share."""
_MUTATORS = frozenset({"update", "pop", "popitem", "setdefault", "clear"})
_OF_LISTS = frozenset({"append", "insert", "extend", "remove"})
_WHOLE = ("matplotlib.pyplot.", "pylab.", "seaborn.", "unittest.mock.patch", "signal.signal", "gc.disable", "gc.enable")
"""How names begin whose every use sets something: pyplot draws on the figure that was made last, whoever made it."""


def shared_in(names: CodeNames, space: Callable[[str], Any]) -> set[str]:
    """What code sets of its process, as names of libraries' functions and attributes: `numpy.random.seed`.

    Args:
        names: what the code refers to.
        space: gives what a name is that the code does not bind itself; None for what is not known.
    """
    found = set()
    for chain in names.used:
        path = _path(chain, names, space)
        if path and _is_setting(path) and path[0] not in ("builtins", "motet") and not is_project(path[0]):
            found.add(".".join(path).removesuffix(".="))
    return found


def shared_in_file(file: str) -> set[str]:
    """The same of a source file that is not loaded; nothing where it cannot be read."""
    try:
        code = compile(Path(file).read_bytes(), file, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError):
        return set()
    return shared_in(names_of(code), lambda name: None)


def _path(chain: tuple[str, ...], names: CodeNames, space: Callable[[str], Any]) -> tuple[str, ...]:
    """Where what a chain leads to is defined, from its module on; empty where that is not known."""
    for _ in names.bound:
        if chain[0] not in names.bound:
            break
        chain = (*names.bound[chain[0]], *chain[1:])
    if not chain[0]:
        return chain[1:]
    thing = space(chain[0])
    if isinstance(thing, ModuleType):
        return (*thing.__name__.split("."), *chain[1:])
    if thing is sys.modules["os"].environ:
        return ("os", "environ", *chain[1:])
    if not callable(thing):
        return ()
    home = getattr(thing, "__module__", None) or type(getattr(thing, "__self__", thing)).__module__
    return (*str(home).split("."), str(getattr(thing, "__name__", chain[0])), *chain[1:])


def _is_setting(path: tuple[str, ...]) -> bool:
    if ".".join(path).startswith(_WHOLE):
        return True
    if path[-1] in _MUTATORS:  # of a module's attribute, and not a function of a module that is called so
        return len(path) > 2 and ".".join(path[:-1]) not in sys.modules
    if path[-1] in _OF_LISTS:
        return path[0] == "sys"
    return len(path) > 1 and (path[-1] == "=" or bool(_SETTERS.fullmatch(path[-1])))
