"""Which files of a project hold secrets, whatever lies in its folders: no image may have them.

private keys            as text, also one behind a certificate, or within YAML, JSON or code, as accounts of clouds have it
key stores              by their endings; files of API keys and private JSON Web Keys by what is in them
passwords               in YAML, JSON, TOML, INI and `*.env`; addresses with one in any, and keys that are called so in all but JSON
what configuration names as keys and certificates, of any server

Of large files the beginning tells whether they are keys; passwords are looked for in those that are read whole.
"""

from __future__ import annotations

import configparser
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

__all__ = ["named_secrets", "why_private"]

_PRIVATE_KEY = re.compile(
    rb"""(?:^[ \t]*|["'])-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[ \t]*(?:\r?\n|\\r|\\n)(?:\s|\\r|\\n)*[\w+/]""",
    re.MULTILINE,
)
"""How a private key begins as text (RFC 7468, section 10), also one of OpenSSH, behind a certificate in the same file, or in a
text of YAML, JSON or code."""
_STORES = (".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk")
_YAML, _JSON = (".yaml", ".yml"), (".json", ".jwks")
_TOML, _INI = (".toml",), (".ini", ".cfg", ".conf", ".properties", ".env")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_BYTES = 1 << 20
"""How far files are looked into."""


def why_private(path: Path) -> str:
    """Why no image may have a file; empty for one that it may have.

    Raises:
        OSError: when it cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in _STORES:
        return "it is a key store"
    with path.open("rb") as file:
        data, more = file.read(_MOST_BYTES), file.read(1)
    if _PRIVATE_KEY.search(data):
        return "it has a private key"
    if any(b'"hash"' in line and _is_key(line) for line in data.splitlines()):
        return "it has API keys"
    if more:
        return ""
    if suffix in _JSON:
        return _why_json(data)
    return "it holds a password" if any(any(passwords(each)) for each in _values(suffix, data)) else ""


def named_secrets(files: Iterable[Path]) -> dict[Path, str]:
    """What configuration of servers among these files names as keys and certificates, and why that is private."""
    found = {}
    for file in files:
        if file.suffix.lower() in _YAML and file.stat().st_size <= _MOST_BYTES:
            for said in _documents(file.read_bytes()):
                for part in (said, said.get("serve") if isinstance(said, dict) else None):
                    for path in secret_places(part):
                        found[(file.parent / path).resolve()] = f"{file} names it among keys and certificates"
    return found


def _values(suffix: str, data: bytes) -> Iterator[Any]:
    """What a file of configuration says; nothing where it is none."""
    try:
        if suffix in _YAML:
            yield from _documents(data)
        elif suffix in _TOML:
            yield tomllib.loads(data.decode())
        elif suffix in _INI:
            read = configparser.RawConfigParser(strict=False, allow_no_value=True)
            read.read_string(f"[-]\n{data.decode()}")  # such files may begin without a section
            yield {name: dict(section) for name, section in read.items()}
    except (ValueError, configparser.Error, RecursionError):
        return


def _documents(data: bytes) -> Iterator[Any]:
    """The documents that a file of YAML has."""
    try:
        yield from yaml.load_all(data, _LOADER)
    except (yaml.YAMLError, ValueError, RecursionError):  # it is none
        return


def _is_key(line: bytes) -> bool:
    """Whether it is a line of a file of API keys, as `motet keys` writes it."""
    try:
        return bool(read_keys(line, ""))
    except MotetError:
        return False


def _why_json(data: bytes) -> str:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    keys = found.get("keys", found) if isinstance(found, dict) else None
    keys = keys if isinstance(keys, list) else [keys]
    if any(isinstance(each, dict) and "kty" in each and {"d", "k"} & each.keys() for each in keys):
        return "it has private keys"
    return "it holds a password" if any(passwords(found, names=False)) else ""
