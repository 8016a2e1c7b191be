"""Values taken apart: a tree of plain values, which is JSON, and leaves, which are written in formats of their own.

Plain values stand for themselves. What JSON cannot say is a dict with one key that begins with `$`:

    {"$tuple": [...]}  {"$set": [...]}  {"$frozenset": [...]}  {"$dict": [[key, value], ...]}  {"$int": "..."}
    {"$ordered": a dict, "about": its attributes}
    {"$float": "nan"}  {"$bytes": base64}  {"$path": text}  {"$numpy": [dtype, base64]}
    {"$enum": class, "name": ...}  {"$data": class, "fields": {...}}  {"$named": class, "fields": [...]}
    {"$leaf": number}  {"$file": path, "$leaf": number, "as": ...}  {"$folder": path, "files": {...}, "as": ...}

and with `files` also `"runs": [...]` in the last two, where files may be executed: their names in the folder, of a lone file an
empty one.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import importlib
import io
import math
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from motet.system.folders import files_below
from motet.workflow.files import File
from motet.workflow.functions import attribute
from motet.workflow.memo.codecs import codec_of, is_state, pickled
from motet.workflow.memo.named import classes_named_in
from motet.workflow.memo.trees import pack

__all__ = ["Encoder", "Leaf", "decode", "may_run", "part_of"]

LONGEST_BYTES = 512
"""Longer bytes are leaves."""
_MOST_INT = 2**53
_PLAIN = (str, bool, type(None))


@dataclass(slots=True)
class Leaf:
    """A value that is written in a format of its own.

    Attributes:
        codec: the name of the format, or `file`.
        value: the value; of a file its path.
    """

    codec: str
    value: Any


@dataclass(slots=True)
class Encoder:
    """Takes values apart.

    Attributes:
        hook: is asked first about what is no plain value; what it gives stands for the value, unless that is None.
        files: whether the content of files counts, not only that of `File` but also of paths, and which may be executed.
        named: gives what the path of a file is called in the tree.
        leaves: the leaves so far.
        classes: classes of what was met, as `module:name`.
        paths: files and folders that count with their content.
    """

    hook: Callable[[Any], Any] | None = None
    files: bool = False
    named: Callable[[str], str] = str
    leaves: list[Leaf] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)
    paths: list[str] = field(default_factory=list)

    def tree(self, value: Any) -> Any:
        """The tree of a value. Raises whatever pickling raises, where a value has to be pickled."""
        kind = type(value)
        if kind in _PLAIN:
            return value if kind is not str or value.isascii() or _is_unicode(value) else self._leaf("pickle", value)
        if kind is int:
            return value if -_MOST_INT <= value <= _MOST_INT else {"$int": str(value)}
        if kind is float:
            sign = "-" if math.isnan(value) and math.copysign(1.0, value) < 0 else ""
            return value if math.isfinite(value) else {"$float": f"{sign}{value!r}"}
        if kind is list:
            return [self.tree(each) for each in value]
        if kind is dict:
            return self._dict(value)
        if kind is OrderedDict:
            return {"$ordered": self._dict(dict(value)), "about": self.tree(vars(value))}
        if kind is tuple:
            return {"$tuple": [self.tree(each) for each in value]}
        if self.hook is not None and (found := self.hook(value)) is not None:
            return found
        return self._other(value, kind)

    def _dict(self, value: dict[Any, Any]) -> Any:
        if is_state(value):
            return self._leaf("safetensors", value)
        if all(type(name) is str and name[:1] != "$" and (name.isascii() or _is_unicode(name)) for name in value):
            return {name: self.tree(each) for name, each in value.items()}
        return {"$dict": [[self.tree(name), self.tree(each)] for name, each in value.items()]}

    def _other(self, value: Any, kind: type) -> Any:
        if kind in (set, frozenset):
            return {f"${kind.__name__}": sorted((self.tree(each) for each in value), key=pack)}
        if kind is bytes:
            self.classes |= classes_named_in(io.BytesIO(value))
            return (
                {"$bytes": base64.b64encode(value).decode()}
                if len(value) <= LONGEST_BYTES
                else self._leaf("bytes", value)
            )
        if kind is File or isinstance(value, Path):
            return self._path(value)
        if isinstance(value, enum.Enum) and _found(kind) and value.name in type(value).__members__:
            return {"$enum": self._class(kind), "name": value.name}
        if _is_scalar(value, kind):
            return {"$numpy": [value.dtype.str, base64.b64encode(value.tobytes()).decode()]}
        named = isinstance(value, tuple) and hasattr(kind, "_make") and not getattr(value, "__dict__", None)
        if named and _found(kind) and not _own_pickling(kind):
            return {"$named": self._class(kind), "fields": [self.tree(each) for each in value]}
        if dataclasses.is_dataclass(value) and _found(kind) and not _own_pickling(kind):
            fields = {each.name: getattr(value, each.name, None) for each in dataclasses.fields(value)}
            if getattr(value, "__dict__", fields).keys() == fields.keys():
                return {"$data": self._class(kind), "fields": {name: self.tree(each) for name, each in fields.items()}}
        codec = codec_of(value)
        if codec != "pickle":
            return self._leaf(codec, value)
        found = pickled(value)
        self.classes.update(found.classes)
        return self._leaf("pickle", found)

    def _path(self, value: File | Path) -> Any:
        kind = "File" if isinstance(value, File) else "Path"
        text = os.fspath(value)
        if kind == "Path" and not (self.files and os.path.exists(text)):
            return {"$path": self.named(text)}
        self.paths.append(text)
        if not os.path.isdir(text):
            return {"$file": self.named(text), **self._file(text), "as": kind, **self._runs({"": text})}
        inside = files_below(text)
        files = {name: None if name.endswith("/") else self._file(path)["$leaf"] for name, path in inside.items()}
        return {"$folder": self.named(text), "files": files, "as": kind, **self._runs(inside)}

    def _runs(self, files: dict[str, str]) -> dict[str, list[str]]:
        paths = {name: path for name, path in files.items() if self.files and name[-1:] != "/"}
        found = [name for name, path in paths.items() if may_run(path)]
        return {"runs": found} if found else {}

    def _file(self, path: str) -> dict[str, Any]:
        with open(path, "rb") as file:
            self.classes |= classes_named_in(file)
        return self._leaf("file", path)

    def _leaf(self, codec: str, value: Any) -> dict[str, Any]:
        if codec == "pickle" and not hasattr(value, "classes"):
            value = pickled(value)
        self.leaves.append(Leaf(codec, value))
        return {"$leaf": len(self.leaves) - 1}

    def _class(self, kind: type) -> str:
        name = f"{kind.__module__}:{kind.__qualname__}"
        self.classes.add(name)
        return name


def may_run(path: str) -> bool:
    """Whether the owner of a file may execute it. Raises OSError where it is not there."""
    return bool(os.stat(path).st_mode & stat.S_IXUSR)


def part_of(tree: Any, keys: Sequence[str | int]) -> tuple[Any, Sequence[str | int]]:
    """Go into a tree as far as lists, tuples and dicts lead. Returns where that ends, and the keys that are left."""
    for place, key in enumerate(keys):
        inner = tree
        if isinstance(tree, dict):
            inner = tree.get("$tuple") if next(iter(tree), "")[:1] == "$" else tree
        try:
            tree = inner[key]
        except (LookupError, TypeError):
            return tree, keys[place:]
    return tree, ()


def decode(tree: Any, leaf: Callable[[int], Any], file: Callable[[dict[str, Any]], str]) -> Any:
    """Put a value together again.

    Args:
        tree: its tree.
        leaf: gives the value of a leaf by number.
        file: puts a file or folder where it belongs, and gives its path.
    """
    kind = type(tree)
    if kind is list:
        return [decode(each, leaf, file) for each in tree]
    if kind is not dict:
        return tree
    name = next(iter(tree), "")
    if name[:1] != "$":
        return {name: decode(each, leaf, file) for name, each in tree.items()}
    if name == "$leaf":
        return leaf(tree[name])
    if name in ("$file", "$folder"):
        path = file(tree)
        return File(path) if tree["as"] == "File" else Path(path)
    return _DECODERS[name](tree, lambda each: decode(each, leaf, file))


def _numpy(tree: dict[str, Any], _: Any) -> Any:
    import numpy as np

    kind, data = tree["$numpy"]
    return np.frombuffer(base64.b64decode(data), dtype=kind)[0]


def _data(tree: dict[str, Any], inner: Callable[[Any], Any]) -> Any:
    kind = find_class(tree["$data"])
    value = object.__new__(kind)
    for name, each in tree["fields"].items():
        object.__setattr__(value, name, inner(each))
    return value


def _ordered(tree: dict[str, Any], inner: Callable[[Any], Any]) -> Any:
    value = OrderedDict(inner(tree["$ordered"]))
    vars(value).update(inner(tree["about"]))
    return value


_DECODERS: dict[str, Callable[[dict[str, Any], Callable[[Any], Any]], Any]] = {
    "$tuple": lambda tree, inner: tuple(map(inner, tree["$tuple"])),
    "$set": lambda tree, inner: set(map(inner, tree["$set"])),
    "$frozenset": lambda tree, inner: frozenset(map(inner, tree["$frozenset"])),
    "$dict": lambda tree, inner: {inner(name): inner(each) for name, each in tree["$dict"]},
    "$ordered": _ordered,
    "$int": lambda tree, inner: int(tree["$int"]),
    "$float": lambda tree, inner: float(tree["$float"]),
    "$bytes": lambda tree, inner: base64.b64decode(tree["$bytes"]),
    "$path": lambda tree, inner: Path(tree["$path"]),
    "$numpy": _numpy,
    "$enum": lambda tree, inner: find_class(tree["$enum"])[tree["name"]],
    "$data": _data,
    # `_make` asks no constructor
    "$named": lambda tree, inner: find_class(tree["$named"])._make(map(inner, tree["fields"])),
}


def find_class(name: str) -> Any:
    """The class of a name `module:name`."""
    module, _, path = name.partition(":")
    return attrgetter(path)(importlib.import_module(module))


def _is_scalar(value: Any, kind: type) -> bool:
    """Whether a value is a single number of numpy."""
    if kind.__module__ != "numpy" or kind.__name__ == "ndarray" or not hasattr(value, "dtype"):
        return False
    return not value.dtype.hasobject and value.dtype.fields is None and value.ndim == 0


def _found(kind: type) -> bool:
    """Whether a class can be found under its name."""
    return attribute(kind.__module__, kind.__qualname__) is kind


def _own_pickling(kind: type) -> bool:
    """Whether a class says itself how it is pickled."""
    names: Sequence[str] = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__")
    own = (base for base in kind.__mro__ if base.__module__ != "builtins")
    return any(name in vars(base) and not _generated(vars(base)[name]) for base in own for name in names)


def _generated(function: Any) -> bool:
    """Whether a method was written by `dataclasses` or `collections`."""
    return getattr(function, "__module__", "") in ("dataclasses", "collections") or (
        getattr(getattr(function, "__code__", None), "co_filename", "") == "<string>"
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
