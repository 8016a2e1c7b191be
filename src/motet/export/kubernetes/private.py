"""Which files of a project hold secrets, whatever lies in its folders: no image may have them.

private keys            as text, also one behind a certificate, or within YAML, JSON or code, as accounts of clouds have it
key stores              by their endings; files of API keys, and private JSON Web Keys, by what is in them
passwords               in YAML, JSON, TOML, INI and `*.env`; addresses with one in any, and keys that are called so in all but JSON
what configuration names as keys and certificates, of any server

Files are looked through from end to end. Configuration is parsed; where it cannot be, is INI or has more than a mebibyte (of graphs
16), its text tells of passwords.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from motet.errors import MotetError
from motet.export.kubernetes.configuration import passwords, secret_places
from motet.serving.admission.keys import read_keys
from motet.system.secrets import SECRET_NAMES

__all__ = ["named_secrets", "why_private"]

_PRIVATE_KEY = re.compile(
    rb"""(?:^[ \t]*|["'])-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[ \t]*(?:\r?\n|\\r|\\n)(?:\s|\\r|\\n)*[\w+/]""",
    re.MULTILINE,
)
"""How a private key begins as text (RFC 7468, section 10), also one of OpenSSH, behind a certificate in the same file, or in a
text of YAML, JSON or code."""
_STORES = (".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk")
_YAML, _JSON = (".yaml", ".yml"), (".json", ".jwk", ".jwks")
_TOML, _INI = (".toml",), (".ini", ".cfg", ".conf", ".properties", ".env")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BLOCK, _OVERLAP = 1 << 20, 1 << 12
"""How much of a file is looked at at once, and what is looked at again with what comes next. What is larger is not parsed."""
_GRAPH, _LARGEST_GRAPH = re.compile(rb"^motet:", re.MULTILINE), 1 << 24
_NAMED = (
    rb"""(?:^|[{,])[ \t]*(?:- +)*(?:export +)?["']?(?:[\w.-]*[-_.])?"""
    + SECRET_NAMES.encode()
    + rb"""["']?[ \t]*[:=][ \t]*(?!["']?env:)["']?"""
)
_SAID_INI = re.compile(_NAMED + rb"""[^\s"']""", re.MULTILINE | re.IGNORECASE)
_SAID = re.compile(_NAMED + rb"""[^\s"'{[|>&*]""", re.MULTILINE | re.IGNORECASE)
"""A password by its key, in the text of YAML or TOML, where some signs begin no text."""
_ADDRESS = re.compile(rb"""//[^/@:\s"']*:[^/@\s"']+@|://[^\s"']*[?&]password=[^\s"']""")
"""A password in an address, in any text."""


def why_private(path: Path) -> str:
    """Why no image may have a file; empty for one that it may have.

    Raises:
        OSError: when it cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in _STORES:
        return "it is a key store"
    parsed = _is_parsed(path)
    block, why = (_LARGEST_GRAPH, _why_said) if parsed else (_BLOCK, _why_text)
    return next(filter(None, (_why_keys(data) or why(suffix, data) for data in _blocks(path, block))), "")


def named_secrets(files: Iterable[Path]) -> dict[Path, str]:
    """What configuration of servers among these files names as keys and certificates, and why that is private."""
    read = [file for file in files if file.suffix.lower() in _YAML + _JSON and _is_parsed(file)]
    return {
        (file.parent / path).resolve(): f"{file} names it among keys and certificates"
        for file in read
        for said in _parsed(file.suffix.lower(), file.read_bytes()) or ()
        for part in (said, said.get("serve") if isinstance(said, dict) else None)
        for path in secret_places(part)
    }


def _is_parsed(path: Path) -> bool:
    """Whether a file is small enough, or a graph's, whose inputs may be called as passwords are."""
    size = path.stat().st_size
    if size <= _BLOCK or size > _LARGEST_GRAPH or path.suffix.lower() not in _YAML:
        return size <= _BLOCK
    return _GRAPH.search(next(_blocks(path), b"")) is not None


def _blocks(path: Path, size: int = _BLOCK) -> Iterator[bytes]:
    with path.open("rb") as file:
        end = b""
        while data := file.read(size):
            yield end + data
            end = data[-_OVERLAP:]


def _why_keys(data: bytes) -> str:
    """Why no image may have what is in a file of any kind."""
    if b"PRIVATE KEY-----" in data and _PRIVATE_KEY.search(data):
        return "it has a private key"
    if b'"hash"' in data and any(b'"hash"' in line and _is_key(line) for line in data.splitlines()):
        return "it has API keys"
    return ""


def _why_said(suffix: str, data: bytes) -> str:
    """Why no image may have what a whole file of configuration says."""
    found = _parsed(suffix, data)
    if found is None:
        return _why_text(suffix, data)
    if any(map(_has_private_keys, found)):
        return "it has private keys"
    return "it holds a password" if any(any(passwords(each, names=suffix not in _JSON)) for each in found) else ""


def _why_text(suffix: str, data: bytes) -> str:
    """The same by the text of such a file, or of a part of it."""
    if suffix in _JSON and b'"kty"' in data and re.search(rb'"[dk]"\s*:\s*"', data):
        return "it has private keys"
    said = _SAID_INI if suffix in _INI else _SAID if suffix in _YAML + _TOML else None
    if (said and said.search(data)) or ((said or suffix in _JSON) and _ADDRESS.search(data)):
        return "it holds a password"
    return ""


def _parsed(suffix: str, data: bytes) -> list[Any] | None:
    """The documents of a file of YAML, JSON or TOML; None where it is none."""
    try:
        if suffix in _YAML:
            return list(yaml.load_all(data, _LOADER))
        if suffix in _JSON:
            return [msgspec.json.decode(data)]
        return [tomllib.loads(data.decode())] if suffix in _TOML else None
    except Exception:  # noqa: BLE001  parsers raise more than their own errors
        return None


def _is_key(line: bytes) -> bool:
    """Whether it is a line of a file of API keys, as `motet keys` writes it."""
    try:
        return bool(read_keys(line, ""))
    except MotetError:
        return False


def _has_private_keys(said: Any) -> bool:
    """Whether it is a private JSON Web Key, or a set with one (RFC 7517)."""
    keys = said.get("keys", said) if isinstance(said, dict) else None
    return any(
        isinstance(each, dict) and "kty" in each and not {"d", "k"}.isdisjoint(each)
        for each in (keys if isinstance(keys, list) else [keys])
    )
