"""Keys of encrypted Parquet files, and what Arrow reads these with.

A file is encrypted with one key for all of it, or with keys of its own, which stand in it wrapped by master keys: the
service that keeps the master keys (KMS) unwraps them. Keys are in no message, no `repr` and nothing that a run writes.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import pyarrow as pa

from motet.errors import InputError, MissingExtraError, MotetError
from motet.io.files import FoundFile, find_files
from motet.tracebacks import said

__all__ = ["Decrypt", "ParquetKeys", "is_encrypted"]

Decrypt = str | bytes | Mapping[str, str | bytes] | Callable[[bytes, str], bytes]
"""What `ParquetKeys.of` takes."""
_SIZES = (16, 24, 32)
_NONCE = 12
_ENV = "env:"
_SIGNS = ("crypt", "footer key", "key material")


class ParquetKeys:
    """What files are decrypted with.

    Args:
        key: of files that have one key for all of them; None where keys are unwrapped.
        unwrap: given a wrapped key and the id of its master key, gives the key.
    """

    def __init__(self, key: bytes | None, unwrap: Callable[[bytes, str], bytes] | None) -> None:
        self._key, self._unwrap = key, unwrap

    def __getstate__(self) -> dict[str, Any]:
        """All but what Arrow made of them in this process."""
        return {name: value for name, value in self.__dict__.items() if name != "_factory"}

    @classmethod
    def of(cls, what: Decrypt) -> ParquetKeys:
        """Read keys.

        Args:
            what: the key, as bytes; master keys by id; a function that is given a wrapped key and the id of its master key, and
                gives the key; or a path, URL or `env:NAME` of the key, or of a JSON object of master keys. Keys that are text
                are base64 where that gives 16, 24 or 32 bytes, else the text itself.

        Raises:
            InputError: when there are none, or one is no key.
        """
        if callable(what):
            return cls(None, what)
        if isinstance(what, str):
            what = _stored(what)
        if isinstance(what, Mapping):
            return cls(None, _Unwrapper({name: _key_of(each, f"master key {name!r}") for name, each in what.items()}))
        return cls(_key_of(what, "the key"), None)

    def properties(self, file: FoundFile) -> Any:
        """What Arrow's reader of a file is given; files that are not encrypted are read with it too.

        Raises:
            InputError: when Arrow was built without it.
        """
        encryption = _encryption()
        if encryption is None or (self._key is not None and not hasattr(encryption, "create_decryption_properties")):
            raise InputError(
                f"pyarrow {pa.__version__} cannot decrypt Parquet so", where="decrypt", hint="install a newer pyarrow"
            )
        if self._key is not None:
            return encryption.create_decryption_properties(self._key, allow_plaintext_files=True)
        place = {"parquet_file_path": file.path, "filesystem": _filesystem(file)} if file.is_utf8 else {}
        return self._factory.file_decryption_properties(encryption.KmsConnectionConfig(), **place)

    @cached_property
    def _factory(self) -> Any:
        encryption: Any = _encryption()
        methods = {"unwrap_key": lambda client, wrapped, name: self._unwrapped(wrapped, name)}
        client = type("Client", (encryption.KmsClient,), methods)
        return encryption.CryptoFactory(lambda config: client())

    def _unwrapped(self, wrapped: bytes, name: str) -> bytes:
        assert self._unwrap is not None
        try:
            return self._unwrap(wrapped, name)
        except MotetError:
            raise
        except Exception as error:
            what = f"no key was given for master key {name!r}: {said(error)}"
            raise InputError(what, where="decrypt") from error


class _Unwrapper:
    """Unwraps keys by master keys: as Arrow's example of a KMS does, and as those of parquet-mr and Arrow for local use do.

    Args:
        keys: master keys by id.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = keys

    def __call__(self, wrapped: bytes, name: str) -> bytes:
        if name not in self._keys:
            known = ", ".join(self._keys) or "none"
            raise InputError(
                f"master key {name!r} is needed, which was not given; given: {known}",
                where="decrypt",
                hint="add it, or leave out columns that it is for with drop",
            )
        master = self._keys[name]
        raw = base64.b64decode(wrapped)
        if raw.startswith(master) and len(raw) - len(master) in _SIZES:
            return raw[len(master) :]
        return _unsealed(raw, master, name)


def _unsealed(raw: bytes, master: bytes, name: str) -> bytes:
    """A key that is encrypted by AES GCM with its master key, whose id is authenticated."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise MissingExtraError("cryptography", "auth", "unwrapping a key of a Parquet file") from None
    try:
        return bytes(AESGCM(master).decrypt(raw[:_NONCE], raw[_NONCE:], name.encode()))
    except (InvalidTag, ValueError):
        hint = "check the key; where a service wraps keys in its own way, give a function that unwraps them"
        raise InputError(f"master key {name!r} does not unwrap the file's key", where="decrypt", hint=hint) from None


def _stored(where: str) -> str | bytes | Mapping[str, str | bytes]:
    """What stands in an environment variable or a file."""
    if where.startswith(_ENV):
        name = where.removeprefix(_ENV)
        if name not in os.environ:
            raise InputError(f"there is no environment variable {name!r}", where="decrypt")
        raw = os.environb[os.fsencode(name)]
    else:
        raw = find_files(where)[0].read()
    try:
        text = raw.decode().strip()
    except UnicodeDecodeError:
        return raw
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, str | dict) else text  # such as a key of digits


def _key_of(what: Any, name: str) -> bytes:
    found = _of_text(what) if isinstance(what, str) else what
    if isinstance(found, bytes) and len(found) in _SIZES:
        return found
    raise InputError(f"{name} is no key of 16, 24 or 32 bytes", where="decrypt", hint="give it as base64")


def _of_text(text: str) -> bytes:
    """A key that is text: base64 where that gives one, else the text itself."""
    try:
        found = base64.b64decode(text, validate=True)
    except ValueError:
        return text.encode()
    return found if len(found) in _SIZES else text.encode()


def _encryption() -> Any:
    """Arrow's module; None where Arrow was built without it."""
    try:
        import pyarrow.parquet.encryption as encryption
    except ImportError:
        return None
    return encryption


def _filesystem(file: FoundFile) -> Any:
    """Where Arrow finds keys that stand beside a file."""
    from pyarrow import fs

    return fs.LocalFileSystem() if file.fs is None else fs.PyFileSystem(fs.FSSpecHandler(file.fs))


def without_keys() -> Any:
    """What a file is opened with where there are no keys, so that one that needs them is refused at once; None for nothing.

    Arrow ends the process where it is asked for the metadata of an encrypted column of a file whose footer is not encrypted.
    """
    create = getattr(_encryption(), "create_decryption_properties", None)
    return None if create is None else create(bytes(_SIZES[0]), allow_plaintext_files=True)


def is_encrypted(file: FoundFile, error: BaseException) -> bool:
    """Whether a file that could not be read is encrypted: by its end, or by what Arrow says."""
    if any(sign in str(error) for sign in _SIGNS):
        return True
    raw = file.open()
    try:
        size = raw.size()
        raw.seek(max(0, size - 4))
        return bytes(raw.read(4)) == b"PARE"
    finally:
        raw.close()
