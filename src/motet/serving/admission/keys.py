"""API keys: a file of their hashes.

A key is `mk_ID_SECRET`: the id, 12 hexadecimal digits, finds its line; the secret is 256 random bits, so that its SHA-256
is as good as any slow hash: there is nothing to guess. The file has a line of JSON for each key, and is replaced by
rename, its writers one after the other. Compared with SQLite: a server reads it whole and looks keys up in memory,
without a query a request; it can be mounted read-only, as a secret; and it can be read by people.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import msgspec

from motet.errors import GraphError, InputError, UnauthorizedError
from motet.serving.admission.watched import Watched
from motet.system.whole_files import write_whole

__all__ = ["KeyRecord", "KeyRing", "KeyStore", "age_s", "read_keys"]

_KEY = re.compile(r"mk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[^\s/\x00-\x1f\x7f]{1,100}")
_AGE = re.compile(r"(\d+)([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class KeyRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key, without its secret.

    Attributes:
        id: 12 hexadecimal digits, part of the key.
        name: whose it is; limits hold for all keys of a name and class together.
        klass: the class of limits, `class` in the file.
        hash: SHA-256 of the secret, hexadecimal.
        created: when, in seconds since 1970.
        expires: when it holds no longer; None for never.
        revoked: when it was revoked; None where it was not.
    """

    id: str
    name: str
    klass: str = msgspec.field(name="class")
    hash: str
    created: float
    expires: float | None = None
    revoked: float | None = None

    def state(self, now: float) -> str:
        """`active`, `revoked` or `expired`."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and not now < self.expires else "active"


def age_s(text: str) -> float:
    """Seconds of a duration such as `90d`, `12h` or `2w`.

    Raises:
        InputError: when it is none.
    """
    match = _AGE.fullmatch(text.strip())
    if match is None or not int(match[1]):
        raise InputError(f"{text!r} is no duration", where="--expires", hint="write 90d, 12h, 30m or 2w")
    return float(int(match[1]) * _UNITS[match[2]])


def read_keys(data: bytes, path: str) -> Mapping[str, KeyRecord]:
    """The keys of a file, by their ids.

    Raises:
        GraphError: when a line is no key, or two have the same id; says which.
    """
    decoder = msgspec.json.Decoder(KeyRecord)
    try:
        listed = decoder.decode_lines(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GraphError(f"is no key: {error}", where=f"{path}, line {_first_wrong(data, decoder)}") from None
    records = {record.id: record for record in listed}
    if len(records) < len(listed):
        twice = next(each.id for each in listed if records[each.id] is not each)
        raise GraphError(f"two keys have the id {twice!r}", where=path)
    for record in listed:
        if len(record.hash) != 64 or not record.hash.isascii():
            raise GraphError(f"the hash of key {record.id!r} is no SHA-256", where=path)
    return records


def _first_wrong(data: bytes, decoder: msgspec.json.Decoder[KeyRecord]) -> int:
    """The number of the first line that is no key, from 1."""
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            if line.strip():
                decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return number
    return 1


class KeyRing:
    """The keys that a server lets in, as the file has them now or had them half a second ago.

    Args:
        path: the file; may not exist yet.
        clock: seconds since 1970.
        ticks: seconds that only go up.
        same: compares a secret's hash with a key's, in a time that does not depend on where they differ.

    Raises:
        GraphError: when the file is wrong.
    """

    def __init__(
        self,
        path: str,
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        same: Callable[[str, str], bool] = hmac.compare_digest,
    ) -> None:
        self._clock, self._same = clock, same
        self._nobody = KeyRecord(id="", name="", klass="", hash=secrets.token_hex(32), created=0.0)
        self.file: Watched[Mapping[str, KeyRecord]] = Watched(path, read_keys, missing={}, clock=ticks)

    def verify(self, text: str) -> KeyRecord:
        """The key that `text` is.

        An unknown id and a wrong secret take the same steps, and are answered with the same words.

        Raises:
            UnauthorizedError: when it is malformed, unknown, wrong, revoked or expired.
            NotReadyError: when the file cannot be read now.
        """
        match = _KEY.fullmatch(text)
        if match is None:
            raise UnauthorizedError(
                "the API key is malformed", hint="a key is mk_ID_SECRET, as motet keys add prints it"
            )
        record = self.file.get().get(match[1], self._nobody)
        if not self._same(sha256(match[2].encode()).hexdigest(), record.hash) or record is self._nobody:
            raise UnauthorizedError("the API key does not hold")
        state = record.state(self._clock())
        if state != "active":
            raise UnauthorizedError(f"the API key {record.id} is {state}")
        return record


class KeyStore:
    """The file of keys, for the commands that change it.

    Args:
        path: the file; made when a key is added.
        clock: seconds since 1970.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> None:
        self.path, self._clock = Path(path), clock

    def records(self) -> list[KeyRecord]:
        """All keys, the oldest first; none where there is no file.

        Raises:
            GraphError: when the file is wrong.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        return list(read_keys(data, str(self.path)).values())

    def add(self, name: str, klass: str = "known", expires_s: float | None = None) -> tuple[str, KeyRecord]:
        """Make a key; gives it, which nobody can do again, and its record.

        Args:
            name: whose it is.
            klass: its class.
            expires_s: seconds that it holds; None for ever.

        Raises:
            InputError: when the name or the class is none.
        """
        for what, text in (("name", name), ("class", klass)):
            if not _NAME.fullmatch(text):
                raise InputError(f"{text!r} is no {what}", hint="1 to 100 characters without spaces and slashes")
        secret, now = secrets.token_urlsafe(32), self._clock()
        with self._change() as records:
            key_id = secrets.token_hex(6)
            while any(record.id == key_id for record in records):
                key_id = secrets.token_hex(6)
            expires = None if expires_s is None else now + expires_s
            digest = sha256(secret.encode()).hexdigest()
            records.append(KeyRecord(id=key_id, name=name, klass=klass, hash=digest, created=now, expires=expires))
        return f"mk_{key_id}_{secret}", records[-1]

    def revoke(self, who: str) -> list[KeyRecord]:
        """Revoke the key with this id, else all keys of this name; gives those that held until now.

        Raises:
            InputError: when there is no such key, or all of them are revoked already.
        """
        now = self._clock()
        with self._change() as records:
            found = [each for each in records if each.id == who] or [each for each in records if each.name == who]
            held = [each for each in found if each.revoked is None]
            if not held:
                what = "is revoked already" if found else "is neither the id nor the name of a key"
                raise InputError(f"{who!r} {what}", where=str(self.path), hint="motet keys list shows all keys")
            for each in held:
                records[records.index(each)] = msgspec.structs.replace(each, revoked=now)
        return held

    @contextmanager
    def _change(self) -> Iterator[list[KeyRecord]]:
        """All keys, to be changed; written when the block ends well."""
        import fcntl

        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{self.path}.lock", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            records = self.records()
            yield records
            lines = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
            write_whole(self.path, lines, mode=self._mode(), sync=True)

    def _mode(self) -> int:
        return self.path.stat().st_mode & 0o777 if self.path.exists() else 0o600
