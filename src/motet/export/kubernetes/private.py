"""Which files of a project hold secrets, whatever lies in its folders: no image may have them.

private keys            as text, also one behind a certificate, or within YAML or JSON, as accounts of clouds have it
key stores              by their endings; files of API keys and private JSON Web Keys by what is in them
passwords               in YAML and JSON; addresses with one in either, and in YAML keys that are called so
what configuration names as keys and certificates, of any server
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from motet.errors import MotetError
from motet.export.kubernetes.configuration import passwords, secret_places
from motet.serving.admission.keys import read_keys

__all__ = ["named_secrets", "why_private"]

_PRIVATE_KEY = re.compile(rb"""(?:^[ \t]*|["'])-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?:\s*$|\\n)""", re.MULTILINE)
"""How a private key begins as text (RFC 7468, section 10), also one of OpenSSH, behind a certificate in the same file, or in a
text of YAML or JSON."""
_STORES = (".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk")
_YAML, _JSON = (".yaml", ".yml"), (".json", ".jwks")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_BYTES = 1 << 20
"""Larger files are not looked into."""


def why_private(path: Path) -> str:
    """Why no image may have a file; empty for one that it may have.

    Raises:
        OSError: when it cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in _STORES:
        return "it is a key store"
    if suffix == ".py" or path.stat().st_size > _MOST_BYTES:
        return ""
    data = path.read_bytes()
    if _PRIVATE_KEY.search(data):
        return "it has a private key"
    if b'"hash"' in data and _are_keys(data):
        return "it has API keys"
    if suffix in _YAML and any(any(passwords(each)) for each in _documents(data)):
        return "it holds a password"
    if suffix in _JSON:
        return _why_json(data)
    return ""


def named_secrets(files: Iterable[Path]) -> dict[Path, str]:
    """What configuration of servers among these files names as keys and certificates, and why that is private."""
    found = {}
    for file in files:
        if file.suffix.lower() in _YAML and file.stat().st_size <= _MOST_BYTES:
            for said in _documents(file.read_bytes()):
                for part in (said, said.get("serve")):
                    for path in secret_places(part):
                        found[(file.parent / path).resolve()] = f"{file} names it among keys and certificates"
    return found


def _documents(data: bytes) -> Iterator[dict[str, Any]]:
    """The mappings that a file of YAML has."""
    try:
        yield from (each for each in yaml.load_all(data, _LOADER) if isinstance(each, dict))
    except (yaml.YAMLError, ValueError, RecursionError):  # it is none
        return


def _are_keys(data: bytes) -> bool:
    """Whether it is a file of API keys, as `motet keys` writes it."""
    try:
        return bool(read_keys(data, ""))
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
