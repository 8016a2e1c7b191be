"""Ids of answers: what is known of an exposure, signed, so that feedback can be believed without asking a database.

An id is base64url of MessagePack and 16 bytes of BLAKE2b keyed with the server's key (RFC 7693, section 2.9).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from motet.errors import InputError

__all__ = ["MAX_ID", "AnswerId", "BadIdError", "IdSigner", "Met", "signing_key"]

MAX_ID = 4096
"""Letters of an id, at most."""
_MAC_BYTES, _UNIT_BYTES = 16, 8
_VERSION: Literal[1] = 1
_KEY_FILE = "experiments.key"
_ALPHABET = re.compile(rb"[A-Za-z0-9_-]+")


class BadIdError(InputError):
    """An id that no server with this key has given."""


class Met(NamedTuple):
    """An arm that a row met.

    Attributes:
        node: the route.
        arm: its member.
        unit: hashes the split's key, in hexadecimal.
    """

    node: str
    arm: str
    unit: str


class AnswerId(NamedTuple):
    """What an id says.

    Attributes:
        graph: which graph answered.
        key: names the request.
        row: of the request.
        time_ms: when, in milliseconds since 1970.
        met: the arms that the row met.
    """

    graph: str
    key: str
    row: int
    time_ms: int
    met: tuple[Met, ...]


_Wired = tuple[Literal[1], str, str, int, int, tuple[Met, ...]]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Wired).decode


class IdSigner:
    """Makes ids, and reads them.

    Args:
        key: of the server; any number of bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.blake2b(key, digest_size=32, person=b"motet answer id").digest()
        self._units = hashlib.blake2b(key, digest_size=32, person=b"motet unit").digest()

    def unit(self, key: bytes) -> str:
        """What stands for a split's key, of which nobody without the server's key can tell what it was."""
        return hashlib.blake2b(key, digest_size=_UNIT_BYTES, key=self._units).hexdigest()

    def sign(self, answer: AnswerId) -> str:
        """The id."""
        data = _encode((_VERSION, *answer))
        return base64.urlsafe_b64encode(data + self._mac(data)).rstrip(b"=").decode()

    def read(self, text: str) -> AnswerId:
        """What an id says.

        Raises:
            BadIdError: when it was not signed with this key, or is of another version of Motet.
        """
        try:
            raw = text.encode("ascii")
            if len(raw) > MAX_ID or not _ALPHABET.fullmatch(raw):
                raise BadIdError("it is no id of an answer")
            data = base64.urlsafe_b64decode(raw + b"=" * (-len(raw) % 4))
        except (UnicodeError, binascii.Error):
            raise BadIdError("it is no id of an answer") from None
        data, mac = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(data)):
            raise BadIdError("this server has not given that id")
        try:
            _, *answer = _decode(data)
        except msgspec.MsgspecError:  # of a server with this key, but of another version
            raise BadIdError("it is an id of another version of Motet") from None
        return AnswerId(*answer)

    def _mac(self, data: bytes) -> bytes:
        return hashlib.blake2b(data, digest_size=_MAC_BYTES, key=self._key).digest()


def signing_key(said: str, folder: Path) -> bytes:
    """The key of a server: as it was said, or the one of a file in a folder, which the first process makes.

    Raises:
        InputError: when the file can be neither read nor made.
    """
    if said:
        return said.encode()
    path = folder / _KEY_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            made = path.with_name(f"{_KEY_FILE}.{secrets.token_hex(4)}")
            with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(made, path)  # whole, and only where no other process was first
            except FileExistsError:
                pass
            finally:
                made.unlink()
        return path.read_bytes()
    except OSError as error:
        hint = "say experiments: {key: env:NAME}, or mend the folder"
        raise InputError(f"the key of experiments cannot be had: {error}", where=str(path), hint=hint) from error
