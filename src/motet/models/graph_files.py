"""Graph files, wherever they are: paths, URLs, open files, resources of packages; and the places of models that they name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from motet.errors import GraphError
from motet.graph.graph import GraphSpec
from motet.graph.model import Model
from motet.graph.places import joined, relative
from motet.models.common import FILE_OPTIONS
from motet.models.fetch import is_remote, resolve
from motet.models.registry import find_handler, is_address
from motet.models.remote import RemoteError, RemoteModelFile
from motet.system.whole_files import write_whole

__all__ = ["opened", "placed", "read_text", "write_text"]


def opened(source: Any) -> tuple[str, Callable[[str], str], bool]:
    """What a graph is read from: its name, what gives the text of this file and of those that it names, and whether it has a folder.

    Args:
        source: a path, a URL, an open file, or a resource of a package.

    Raises:
        GraphError: when it is none of these, or holds no text.
    """
    in_zip: Any = getattr(sys.modules.get("zipfile"), "Path", ())
    if isinstance(source, in_zip):  # a resource of a package that lies in a zip file
        archive = str(source.root.filename)
        source = f"zip://{source.at}::{os.path.abspath(archive)}"
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if isinstance(source, str):
        if "\n" in source:
            hint = "to read a graph from a text, write motet.load(io.StringIO(text), folder=...)"
            raise GraphError("expected a path or a URL; got a text of several lines", hint=hint)
        return (resolve(source, None) if source.startswith(("file://", "local://")) else source), read_text, True
    read = getattr(source, "read", None) or getattr(source, "read_text", None)
    if read is None or isinstance(source, type):
        hint = "give a path, a URL, an open file, or importlib.resources.files(package) / 'graph.yaml'"
        raise GraphError(f"expected what a graph can be read from; got {type(source).__name__}", hint=hint)
    return _of_open(source, read)


def _of_open(source: Any, read: Callable[[], Any]) -> tuple[str, Callable[[str], str], bool]:
    given = getattr(source, "name", None)
    name = given if isinstance(given, str) and given[:1] != "<" else ""
    has_folder = hasattr(source, "read") and os.path.isfile(name)
    name = os.path.abspath(name) if has_folder else name
    try:
        text = read()
        text = text.decode("utf-8-sig") if isinstance(text, (bytes, bytearray)) else text
    except (OSError, ValueError) as error:
        raise GraphError(f"{name or 'the open file'} cannot be read: {error}") from error
    if not isinstance(text, str):
        raise GraphError(f"expected a file that gives text; it gave {type(text).__name__}", where=name)
    return name, lambda other: text if other == name else read_text(other), has_folder


def read_text(name: str) -> str:
    """The text of a file of this machine, or behind a URL.

    Raises:
        OSError, UnicodeDecodeError: when it cannot be read.
        GraphError: when a URL does not answer.
    """
    if not is_remote(name):
        return Path(resolve(name, None)).read_text(encoding="utf-8")
    try:
        return RemoteModelFile(name, {}).read().decode("utf-8")
    except RemoteError as error:
        raise GraphError(f"it cannot be read: {error}", where=name, hint=error.hint) from error


def write_text(name: str, text: str) -> None:
    """Write a file whole, or not at all, to this machine or behind a URL.

    Raises:
        OSError: when it cannot be written.
        GraphError: when a URL does not take it.
    """
    if is_remote(name):
        try:
            RemoteModelFile(name, {}).write(text.encode())
        except RemoteError as error:
            raise GraphError(f"it cannot be written: {error}", where=name, hint=error.hint) from error
        return
    write_whole(resolve(name, None), text.encode())


def placed(graph: GraphSpec, folder: str | None) -> GraphSpec:
    """The same graph with the files that its models name relative to a folder, or absolute where that is None."""
    base = graph.folder if "://" in graph.folder else str(Path(graph.folder or ".").resolve())
    models = {name: _placed(each, base, folder) for name, each in graph.models.items()}
    graphs = {name: placed(each, folder) for name, each in graph.graphs.items()}
    return graph.changed(models=models, graphs=graphs, folder=folder or "")


def _placed(model: Model, base: str, folder: str | None) -> Model:
    uri, options = model.uri, model.options
    if model.uris or is_address(uri):
        options = {k: _path(str(v), base, folder) if v and k in FILE_OPTIONS else v for k, v in options.items()}
    return replace(model, uri=_uri(uri, base, folder), options=options)


def _uri(uri: str, base: str, folder: str | None) -> str:
    """A URI, with the path in it as `_path` gives it."""
    if uri.startswith("store:"):
        location, mark, reference = uri.removeprefix("store:").rpartition("#")
        scheme, mark = "store:", f"#{reference}" if mark else ""
        has_path = bool(mark) and not location.startswith("~")
    else:
        handler, location = find_handler(uri)
        scheme, mark = uri.removesuffix(location), ""
        has_path = handler.has_file or hasattr(handler, "absolute")
    return f"{scheme}{_path(location, base, folder)}{mark}" if has_path else uri


def _path(name: str, base: str, folder: str | None) -> str:
    """A path that is relative to a base, relative to another folder where both are in one place, else absolute."""
    if name.startswith("/") or "://" in name:
        return name
    absolute = joined(base, name)
    return absolute if folder is None else relative(absolute, folder)
