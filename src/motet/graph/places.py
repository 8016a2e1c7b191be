"""Where files are that graph files name: paths of this machine, and URLs, also chained ones (`zip://a.onnx::/x/models.zip`)."""

from __future__ import annotations

import os
import posixpath
import re

from motet.errors import GraphError

__all__ = ["expanded", "folder_of", "joined", "relative"]


_VARIABLE = re.compile(r"(\$?)\$\{([^}:]*)(?::-([^}]*))?\}")


def expanded(text: str, where: str) -> str:
    """A place in which variables of the environment stand: `${NAME}`, `${NAME:-what stands in where it is not set, or empty}`.

    `$${` stands for `${`.

    Raises:
        GraphError: when one is not set, and nothing stands in for it.
    """

    def value(match: re.Match[str]) -> str:
        escaped, name, default = match.groups()
        if escaped:
            return match[0][1:]
        found = os.environ.get(name, "") or default
        if found is None:
            hint = f"set it, or say what stands in for it: ${{{name}:-...}}"
            raise GraphError(f"the environment variable {name!r} is not set", where=where, hint=hint)
        return found

    return _VARIABLE.sub(value, text)


def folder_of(name: str) -> str:
    """The folder of a file; empty for one that is named alone."""
    place, path, chain = _parts(name)
    return place + posixpath.dirname(path.partition("?")[0] if place.startswith("http") else path) + chain


def joined(folder: str, name: str) -> str:
    """A file as it is named in a folder: relative to it, absolute, or a URL."""
    if "://" in name or name.startswith("/") or not folder:
        return name
    place, path, chain = _parts(folder)
    return place + posixpath.normpath(posixpath.join(path, name)) + chain


def relative(name: str, folder: str) -> str:
    """A file as it is named in a folder of the same place (machine, bucket, host, archive); in one of another place as it is."""
    (place, path, chain), (other, within, others) = _parts(name), _parts(folder)
    if (place, chain) != (other, others) or (place and path.split("/")[0] != within.split("/")[0]):
        return name
    return posixpath.relpath(path, within or ".")


def _parts(name: str) -> tuple[str, str, str]:
    """What stands before a path, up to `://`, the path, and what follows from `::` on."""
    first, mark, chain = name.partition("::")
    place, separator, path = first.rpartition("://")
    return place + separator, path, mark + chain
