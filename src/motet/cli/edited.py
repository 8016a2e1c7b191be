"""A graph file as it would be with other settings: its own text, where that can be kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motet.facade import Graph

__all__ = ["check_absent", "edited_text"]


def check_absent(output: str, option: str, *, overwrite: bool) -> None:
    """See that nothing is written over that should stay.

    Raises:
        OutputExistsError: when the file is there.
    """
    from motet.errors import OutputExistsError

    if os.path.exists(output) and not overwrite:
        raise OutputExistsError(f"{output!r} is there", where=option, hint="name another file, or say --overwrite")


def edited_text(path: str, changed: Graph, output: str, edit: Callable[[str], str], head: str) -> str:
    """The text of a graph that was changed: that of its file, edited, where both lie in the same folder; else written anew.

    Args:
        path: the file.
        changed: what the text is to mean.
        output: where it is to lie.
        edit: changes the text of the file; raises `GraphError` where it cannot.
        head: the first line of a text that is written anew.
    """
    from motet.errors import GraphError
    from motet.graph.graph import GraphSpec
    from motet.graph.yaml import load_graph as read

    here, there = (os.path.realpath(os.path.dirname(each) or ".") for each in (path, output))
    if here == there:
        try:
            text = edit(Path(path).read_text(encoding="utf-8"))
            texts = {os.fspath(path): text}
            made = read(path, GraphSpec, read_text=lambda n: texts.get(n) or Path(n).read_text(encoding="utf-8"))
        except GraphError:
            made = None
        if made is not None and made.changed(folder=changed.folder) == changed.changed():
            return text
    return f"{head}\n{changed.text_in(there)}"
