"""How an exported server is set up: the key `serve:` of its graph, with files where a container has them.

keys, tokens' key set, certificate ──► Secrets, mounted as folders, so that new ones come without a new pod
what the server writes             ──► one volume: logs, files of sinks, their spool, counters
passwords                          ──► environment variables from a Secret; in the file they are refused
"""

from __future__ import annotations

import copy
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from motet.errors import GraphError
from motet.system.secrets import is_secret

__all__ = [
    "SECRETS",
    "STATE",
    "TLS",
    "Configuration",
    "SecretFile",
    "passwords",
    "read_configuration",
    "refuse_passwords",
    "secret_places",
    "variables",
]

STATE = "/var/lib/motet/state"
SECRETS = "/etc/motet/secrets"
TLS = "/etc/motet/tls"
_READ = {
    ("tls", "certificate"): f"{TLS}/tls.crt",
    ("tls", "key"): f"{TLS}/tls.key",
    ("admission", "keys"): f"{SECRETS}/keys.jsonl",
    ("admission", "tokens", "jwks"): f"{SECRETS}/jwks.json",
}
_WRITTEN = (("observability", "access_log"), ("admission", "audit"), ("admission", "folder"), ("pool", "folder"))
_WRITABLE = ("/tmp", "/var/lib/motet")
_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)([^?]+)(.*)")
_PASSWORD = re.compile(r"//[^/@:\s]*:[^/@\s]+@|://.*[?&]password=")


@dataclass(frozen=True)
class SecretFile:
    """A file that only a Secret has.

    Attributes:
        place: where the container has it.
        source: where it is here; it need not be.
    """

    place: str
    source: Path


@dataclass(frozen=True)
class Configuration:
    """A server's configuration in a container.

    Attributes:
        said: what its file says.
        secrets: files that it reads.
        written: where it writes, by what was written in the graph's file.
        sources: files and folders of this machine that it writes here, which are no part of an image.
    """

    said: Mapping[str, Any]
    secrets: tuple[SecretFile, ...] = ()
    written: Mapping[str, str] | None = None
    sources: tuple[Path, ...] = ()

    @property
    def text(self) -> str:
        """As a file."""
        return yaml.safe_dump(dict(self.said), sort_keys=False, allow_unicode=True)


def read_configuration(said: Mapping[str, Any], folder: Path, place: Callable[[Path], str]) -> Configuration:
    """What a container's server is told.

    Args:
        said: the key `serve:`, which was checked before.
        folder: of the graph's file.
        place: where a file of the project is in the image.
    """
    found: dict[str, Any] = copy.deepcopy(dict(said))
    secrets, written = [], {}
    for path, target in _READ.items():
        holder, key = _find(found, path)
        if holder is not None:
            secrets.append(SecretFile(target, folder / holder[key]))
            holder[key] = target
    for holder, key in _places(found):
        kept = _writable(holder[key])
        if kept != holder[key]:
            written[holder[key]] = holder[key] = kept
    if found.get("samples"):
        found["samples"] = place(folder / found["samples"])
    mine = (folder / (match[2] if (match := _SQLITE.fullmatch(each)) else each) for each in written)
    spools = [folder / "spool"] if found.get("sinks") or found.get("experiments") else []
    return Configuration(found, tuple(secrets), written, (*mine, *spools))


def secret_places(said: Any) -> Iterator[str]:
    """The files that a server's configuration names as keys and certificates, as they are written there."""
    for path in _READ:
        holder, key = _find(said, path)
        if holder is not None:
            yield str(holder[key])


def passwords(value: object, *, names: bool = True) -> Iterator[tuple[str, ...]]:
    """The keys that lead to passwords within plain values: addresses with one, and with `names` what is called so."""
    graph = isinstance(value, dict) and "motet" in value
    for path, text in _texts(value):
        named = names and is_secret(path[-1]) and "inputs" not in path
        named = named and (not graph or path[0] in ("models", "serve"))
        if (named and text and not text.startswith("env:")) or _PASSWORD.search(text):
            yield path


def _find(found: Any, path: Sequence[str]) -> tuple[Any, str] | tuple[None, str]:
    """What has the last of these keys, and that key."""
    for key in path[:-1]:
        found = found.get(key) if isinstance(found, dict) else None
    return (found, path[-1]) if isinstance(found, dict) and isinstance(found.get(path[-1]), str) else (None, path[-1])


def _places(found: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Where paths that are written stand: what holds each, and its key."""
    for path in _WRITTEN:
        for each in (path, (*path, "file")):
            holder, key = _find(found, each)
            if holder is not None:
                yield holder, key
    for more in (["experiments"], ["experiments", "to"]):
        holder, key = _find(found, more)
        if holder is not None:
            yield holder, key
    sinks = found.get("sinks")
    if sinks is not None and not isinstance(sinks, list):
        sinks = found["sinks"] = [sinks]
    for number, sink in enumerate(sinks or ()):
        yield (sink, "to") if isinstance(sink, dict) else (sinks, number)


def _writable(path: str) -> str:
    """The same path where a container may write; addresses, variables and the standard error stream are what they are."""
    if (match := _SQLITE.fullmatch(path)) is not None:
        return f"{match[1]}{_writable(match[2])}{match[3]}"
    if path == "stderr" or path.startswith("env:") or "://" in path:
        return path
    whole = posixpath.normpath(path)
    if any(whole.startswith(f"{folder}/") for folder in _WRITABLE):
        return whole
    return posixpath.join(STATE, *(part for part in whole.split("/") if part not in ("", "..", ".")))


def variables(value: object) -> set[str]:
    """The environment variables that values name: `env:NAME`, and those of language models, `key_env: NAME`."""
    named = (f"env:{text}" if path[-1] == "key_env" else text for path, text in _texts(value) if path)
    return {text[4:] for text in named if re.fullmatch(r"env:[A-Za-z_]\w*", text)}


def refuse_passwords(value: object, where: str) -> None:
    """See that no value holds a password, since it would be in the image and in a ConfigMap.

    Raises:
        GraphError: when one does.
    """
    for path in passwords(value):
        raise GraphError(
            "holds a password, which would be in the image and in a ConfigMap",
            where=f"{where}: {'.'.join(path)}",
            hint="write env:NAME, and put it into that variable; the export takes it from a Secret",
        )


def _texts(value: object) -> Iterator[tuple[tuple[str, ...], str]]:
    """All texts and numbers in plain values, with the keys that lead to each.

    What has many names, as aliases of YAML give them, comes once for each kind of place that `passwords` tells apart.
    """
    left: list[tuple[tuple[str, ...], object]] = [((), value)]
    seen = set()
    while left:
        path, each = left.pop()
        if isinstance(each, (str, int, float)) and not isinstance(each, bool):
            yield path or ("",), str(each)
        elif isinstance(each, (dict, list)) and (kind := (id(each), path[:1], "inputs" in path)) not in seen:
            seen.add(kind)
            inside = each.items() if isinstance(each, dict) else enumerate(each)
            left += reversed([((*path, str(key)), part) for key, part in inside])
