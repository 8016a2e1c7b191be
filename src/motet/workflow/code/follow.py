"""From a function to everything of the project that its result can depend on.

Loaded functions are followed, not their text: by what their compiled code refers to, through globals, attributes of the
project's modules, closures, defaults, decorators and classes. Values count by content. What cannot be followed counts
with its whole module: the text of its file, and of the project's files that it imports. Modules outside of the project
count by their versions. So comments and unrelated functions do not matter, and a change is missed only where code is
made at run time out of something that does not count.
"""

from __future__ import annotations

import builtins
import dataclasses
import hashlib
import importlib
import os
import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from motet.workflow import project
from motet.workflow.code.bytecode import names_of, plain_code, runs_unnamed
from motet.workflow.code.parts import PROGRAM, Code
from motet.workflow.code.settings import settings_in
from motet.workflow.code.shared import shared_in, shared_in_file
from motet.workflow.code.summary import in_unicode, told_of
from motet.workflow.code.things import (
    annotations_of,
    classes_in,
    global_of,
    is_documented,
    is_found,
    is_full,
    is_made,
    members_of,
    module_of,
    name_of,
    package_of,
    pydantic_fields,
    wrapped,
)
from motet.workflow.functions import attribute
from motet.workflow.memo.artifacts import digests_of
from motet.workflow.memo.checkout import FileState
from motet.workflow.memo.encode import Encoder, find_class
from motet.workflow.memo.trees import pack

__all__ = ["Follower", "follow"]

_OF_SHELLS = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open"})
_DYNAMIC = (eval, exec, compile, globals, locals, vars, __import__, importlib.import_module)
_PLAIN_DESCRIPTORS = (
    types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType, types.MethodDescriptorType,
)  # fmt: skip


def follow(function: Callable[..., Any]) -> Code:
    """What a function stands on, now."""
    follower = Follower()
    follower.function(function)
    return follower.code()


@dataclass
class Follower:
    """Collects what functions stand on. Values of globals count as they are while it works."""

    _parts: dict[str, str] = field(default_factory=dict)
    _pins: dict[str, str] = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict)
    _bodies: dict[str, str] = field(default_factory=dict)
    _files: list[FileState] = field(default_factory=list)
    _shared: set[str] = field(default_factory=set)
    _docs: dict[str, str] = field(default_factory=dict)
    _reads_docs: bool = False
    _settled: set[str] = field(default_factory=set)
    _noted: set[str] = field(default_factory=set)
    _labels: dict[int, str] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)
    _kept: list[Any] = field(default_factory=list)
    _todo: list[tuple[str, Any]] = field(default_factory=list)

    def code(self) -> Code:
        """What was collected."""
        if self._reads_docs and any(self._docs.values()):
            self._parts["docstrings"] = hashlib.sha256(pack(sorted(self._docs.items()))).hexdigest()
        files, shared = tuple(self._files), frozenset(self._shared)
        return Code(self._parts, self._pins, self._told, self._bodies, files, shared)

    def function(self, function: Any) -> str:
        """Follow a function, or whatever can be called. Returns what stands for it."""
        found = self.describe(function, str(getattr(function, "__module__", "") or ""))
        self._work()
        if found not in self._parts:  # which of a library's, what a method is bound to, what a partial holds
            self._parts[f"{type(function).__name__} that is called"] = hashlib.sha256(found.encode()).hexdigest()
        return found

    def classes(self, names: Iterable[str]) -> None:
        """Follow classes, and functions, by their names `module:name`, as far as they are the project's."""
        for name in names:
            module = name.partition(":")[0]
            if project.is_project(module):
                try:
                    self.describe(find_class(name), module)
                except (ImportError, AttributeError):
                    self._whole(module)
            else:
                self._pin(module)
        self._work()

    def _work(self) -> None:
        while self._todo:
            label, thing = self._todo.pop()
            self._noted.clear()
            try:
                told = pack(self._class(thing, label) if isinstance(thing, type) else self._function(thing, label))
            except Exception:  # noqa: BLE001  looking at a user's values may raise anything
                told = pack(self._whole(module_of(thing)))
            self._parts[label] = hashlib.sha256(told).hexdigest()
            for digest in self._noted:
                told = told.replace(digest.encode(), b"")
            self._told[f"code {label}"] = hashlib.sha256(told).hexdigest()[:16]

    def _note(self, name: str, value: Any, digest: str) -> None:
        """Note the value of a name, so that a change of it can be told from a change of the code that uses it."""
        if len(digest) == 64 and digest.isalnum():  # no name of a function, class or module
            self._noted.add(digest)
            self._told[f"value {name}"] = f"{digest[:12]} {told_of(name, value)}"

    def describe(self, thing: Any, owner: str) -> str:
        """What stands for a thing that code refers to: the name of a part, or a digest.

        Args:
            thing: the thing.
            owner: the module whose code refers to it, or holds it.
        """
        if isinstance(thing, types.ModuleType):
            return self._whole(thing.__name__, runs=True)
        if isinstance(thing, types.FunctionType):
            own = project.is_project(module_of(thing)) or bool(thing.__closure__) or not is_found(thing)
            return self._label(thing) if own else self._outside(thing)
        if isinstance(thing, type):
            own = project.is_project(thing.__module__) or is_made(thing)
            return self._label(thing) if own else self._outside(thing)
        inner = wrapped(thing)
        if inner is not None:
            parts = (type(thing), *inner) if project.is_project(type(thing).__module__) else inner
            return f"{type(thing).__name__}({', '.join(self.describe(each, owner) for each in parts)})"
        if isinstance(thing, (types.BuiltinFunctionType, *_PLAIN_DESCRIPTORS)):
            held = getattr(thing, "__self__", None)  # of `TABLE.get` the table
            bound = "" if held is None or isinstance(held, types.ModuleType) else f"({self.describe(held, owner)})"
            return self._outside(thing) + bound
        return self._value(thing, owner)

    def _outside(self, thing: Any) -> str:
        name = getattr(thing, "__globals__", {}).get("__name__") or getattr(thing, "__module__", None)
        name = name or getattr(type(getattr(thing, "__self__", None)), "__module__", "")
        return f"{self._pin(str(name))}:{getattr(thing, '__qualname__', type(thing).__name__)}"

    def _pin(self, module: str) -> str:
        name, version = project.pin(module.partition(".")[0] or "builtins")
        self._pins[name] = version
        return module

    def _label(self, thing: Any) -> str:
        if id(thing) not in self._labels:
            module = project.module_name(module_of(thing))
            name = f"{module}.{thing.__qualname__}"
            number = self._names[name] = self._names.get(name, 0) + 1
            label = name if number == 1 else f"{name}#{number}"
            self._labels[id(thing)] = label
            self._docs[label] = str(vars(thing).get("__doc__", "") if isinstance(thing, type) else thing.__doc__ or "")
            self._kept.append(thing)
            self._todo.append((label, thing))
        return self._labels[id(thing)]

    def _function(self, function: types.FunctionType, label: str) -> list[Any]:
        owner = module_of(function)
        if not project.is_project(owner):
            return self._decorator(function)
        names = names_of(function.__code__)
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
        body = plain_code(function.__code__)
        self._bodies[label] = hashlib.sha256(pack(body)).hexdigest()[:16]
        told: list[Any] = [body, self._defaults(function, owner, label)]
        told.append([[name, name_of(each)] for name, each in annotations_of(function).items()])
        told.append([[name, self.describe(value, owner)] for name, value in sorted(vars(function).items())])
        free = {name: cell.cell_contents for name, cell in cells.items() if is_full(cell)}
        self._reads_docs |= names.reads_docs or any(is_documented(global_of(function, each)) for each in names.handed)
        used = [[*chain, self._chain(function.__globals__, chain, owner)] for chain in names.globals]
        used += [[*chain, self._chain(free, chain, owner, label)] for chain in names.free if chain[0] in free]
        told.append(sorted(used))
        self._settings(owner)
        self._shared |= shared_in(names, lambda name: free.get(name, function.__globals__.get(name)))
        for each in names.imports:
            for name in project.imported(each.level, each.module, each.names, package_of(owner)):
                self._import(name)
        if names.opaque:
            self._whole(owner, runs=True)
        if names.any_module:
            self._folder(owner)
        return told

    def _settings(self, owner: str) -> None:
        """Count what a module of the project does to libraries when it is imported: seeds, default types, options."""
        module = sys.modules.get(owner)
        for guarded in (False, True) if owner == "__main__" else (False,):
            label = f"{PROGRAM if guarded else 'settings of'} {project.module_name(owner)}"
            if label in self._settled or module is None:
                return
            self._settled.add(label)
            found = [
                [plain_code(code), [self._chain(vars(module), chain, owner) for chain in names_of(code).globals]]
                for code in settings_in(module, guarded=guarded)
            ]
            self._parts |= {label: hashlib.sha256(pack(found)).hexdigest()} if found else {}

    def _defaults(self, function: types.FunctionType, owner: str, label: str) -> str:
        """What stands for the defaults of a function's parameters."""
        places, names = function.__defaults__, function.__kwdefaults__
        found = self.describe((places, names), owner)
        code = function.__code__
        last = code.co_varnames[code.co_argcount - len(places or ()) : code.co_argcount]
        for name, value in {**dict(zip(last, places or (), strict=True)), **(names or {})}.items():
            self._note(f"the default of {name} in {label}", value, self.describe(value, owner))
        self._noted.add(found)
        return found

    def _decorator(self, function: types.FunctionType) -> list[Any]:
        """A function that is not the project's and has no name there, as a decorator makes one: what it holds may be."""
        owner, self._reads_docs = str(function.__module__), True
        held = [cell.cell_contents for cell in function.__closure__ or () if is_full(cell)]
        held += [function.__defaults__, function.__kwdefaults__]
        return [self._outside(function), plain_code(function.__code__), *(self.describe(each, owner) for each in held)]

    def _chain(self, space: dict[str, Any], chain: tuple[str, ...], owner: str, holder: str = "") -> str:
        """What stands for `name.attribute...`: as far as names are modules, only the attributes count.

        Args:
            space: where the first name is looked up.
            chain: the names.
            owner: the module whose code has them.
            holder: the function that holds the first name, where that is no global one.
        """
        home, called = owner, chain[0]
        if chain[0] not in space:
            added = vars(builtins).get(chain[0])  # what a module of the project has put there
            if isinstance(added, (types.FunctionType, type)) and project.is_project(module_of(added)):
                return self.describe(added, owner)
            return "builtin" if hasattr(builtins, chain[0]) else "missing"
        thing = space[chain[0]]
        for place, name in enumerate(chain[1:]):
            if not isinstance(thing, types.ModuleType):
                break
            if not project.is_project(thing.__name__):
                if runs_unnamed(thing.__name__, name):
                    self._folder(home)
                return self._pin(thing.__name__)
            if "__getattr__" in vars(thing):  # it may give what is in any module of the package
                self._folder(thing.__name__)
            if name not in vars(thing):
                return self._whole(thing.__name__, runs=True)
            owner, called, thing = thing.__name__, name, vars(thing)[name]
            if isinstance(thing, types.ModuleType) and place == len(chain) - 2:
                break
        if any(thing is each for each in _DYNAMIC) and chain[-1] != thing.__name__:  # under another name
            self._folder(home)
        home_of, name = str(getattr(thing, "__module__", "")), str(getattr(thing, "__name__", ""))
        if runs_unnamed(home_of, name) and not (home_of and project.is_project(home_of)):
            self._folder(home)
        found = self.describe(thing, owner)
        self._note(f"{called} in {holder}" if holder else f"{project.module_name(owner)}.{called}", thing, found)
        return found

    def _class(self, kind: type, label: str) -> list[Any]:
        owner = kind.__module__
        self._reads_docs |= type(kind).__module__.partition(".")[0] not in sys.stdlib_module_names | {"builtins"}
        told: list[Any] = [[self.describe(each, owner) for each in (*kind.__bases__, type(kind))]]
        for name, each in annotations_of(kind).items():
            inner = sorted(
                self.describe(one, owner) for one in classes_in(each, owner) if project.is_project(one.__module__)
            )
            told.append([name, name_of(each), inner])
        if dataclasses.is_dataclass(kind):
            made = [
                (each.name, each.default, each.default_factory, dict(each.metadata))
                for each in dataclasses.fields(kind)
            ]
            told.append([[name, *(self.describe(each, owner) for each in parts)] for name, *parts in made])
        fields = pydantic_fields(kind)
        if fields is not None:  # what pydantic makes of a class has no content of its own
            told.append(self._whole(owner))
            told += [
                [name, self.describe(each.default, owner), self.describe(each.default_factory, owner)]
                for name, each in fields.items()
            ]
        for name, value in members_of(kind):
            if name == "(registered)":
                told.append([name, sorted(self.describe(each, owner) for each in value)])
            elif isinstance(value, kind):  # a member of an enumeration, or an instance of the class itself
                held = self._value(vars(value), owner) if hasattr(value, "__dict__") else repr(type(value))
                told.append([name, held])
            else:
                told.append([name, self.describe(value, owner)])
                if not name.startswith("__"):
                    self._note(f"{label}.{name}", value, told[-1][1])
        return told

    def _value(self, value: Any, owner: str) -> str:
        encoder = Encoder(hook=lambda each: self._hooked(each, owner))
        try:
            packed = pack(encoder.tree(value))
            leaves, files = digests_of(encoder)
            self._files += files
        except Exception:  # noqa: BLE001  pickling a user's value may raise anything
            return self._whole(owner)
        for name in encoder.classes:
            module, _, path = name.partition(":")
            if not project.is_project(module):
                self._pin(module)
            elif (found := attribute(module, path)) is not None:
                self.describe(found, module)
            else:
                self._whole(module)
        return hashlib.sha256(packed + "".join(leaves).encode()).hexdigest()

    def _hooked(self, value: Any, owner: str) -> Any:
        kinds = (types.ModuleType, types.FunctionType, type, types.BuiltinFunctionType, *_PLAIN_DESCRIPTORS)
        if isinstance(value, kinds) or wrapped(value) is not None:
            self._reads_docs |= is_documented(value)
            return {"$code": self.describe(value, owner)}
        return None

    def _import(self, name: str) -> None:
        if not project.is_project(name):
            if name in sys.modules or project.find_file(name.partition(".")[0]):
                self._pin(name)
        elif project.module_file(name):
            self._whole(name, runs=True)

    def _whole(self, name: str, *, runs: bool = False) -> str:
        """Count a whole module: its file, and the project's files that it imports; one of others by its version.

        Args:
            name: the module.
            runs: whether any of its functions may run, so that what they set of their process counts.
        """
        if not project.is_project(name):
            return self._pin(name)
        label = f"module {project.module_name(name)}"
        todo = [name]
        while todo:
            each = todo.pop()
            part = f"module {project.module_name(each)}"
            if part in (self._settled if runs else self._parts):
                continue
            self._settled |= {part} if runs else set()
            file = project.module_file(each)
            self._parts[part] = project.source_digest(file) or f"without a file: {each}"  # so that it is met once
            if not file:
                self._parts[part] = self._namespace(each)
            elif project.is_lazy(file):
                self._folder(each)
            if runs:
                self._shared |= shared_in_file(file)
            for found in project.imports_in(file, each) if file.endswith(".py") else ():
                if project.is_project(found):
                    todo += [found] if project.module_file(found) else []
                elif found in sys.modules or project.find_file(found.partition(".")[0]):
                    self._pin(found)
        return label

    def _namespace(self, name: str) -> str:
        """What stands for a module without a file, as a notebook is one: all that it holds, but what a shell puts there."""
        module = sys.modules.get(name)
        if module is None or hasattr(module, "__path__"):
            return f"without a file: {name}"
        found = [
            [key, self.describe(value, name)]
            for key, value in sorted(vars(module).items())
            if key[:1] != "_" and key not in _OF_SHELLS
        ]
        return hashlib.sha256(pack(found)).hexdigest()

    def _folder(self, owner: str) -> None:
        file = project.module_file(owner)
        for each in project.folder_files(file) if file else ():
            inside = in_unicode(os.path.relpath(each, os.path.dirname(file)))
            self._parts[f"file {inside} beside {project.module_name(owner)}"] = project.source_digest(each)
