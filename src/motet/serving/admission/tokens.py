"""JSON Web Tokens (RFC 7519), checked with a JSON Web Key Set (RFC 7517) in a file.

PyJWT checks the signature, the issuer and the audience. The algorithm is the key's, never the token's: `none`, and a
public key used as a shared secret, are refused whatever the header says. Shared secrets (`kty: oct`) count only where the
key set says `alg: HS256`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec

from motet.errors import GraphError, MissingExtraError, UnauthorizedError
from motet.serving.admission.watched import Watched
from motet.serving.config.admission import TokenConfig
from motet.system.recent import LruCache

__all__ = ["Claims", "TokenVerifier"]

ALGORITHMS = ("RS256", "ES256", "EdDSA", "HS256")
MAX_CHARACTERS = 8192
MAX_KEYS = 100
CACHED = 4096
_DEFAULT_ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
_PRIVATE = "d"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says that holds.

    Attributes:
        name: the caller's name.
        classes: the classes it names; None where it has no such claim.
        begins: when it begins to hold, the leeway taken off, in seconds since 1970.
        ends: when it ceases to hold, the leeway added.
    """

    name: str
    classes: tuple[str, ...] | None
    begins: float
    ends: float


class TokenVerifier:
    """Says who sends a token. What was verified is kept until it expires or the key set changes, 4,096 tokens of it.

    Args:
        config: what a token must say.
        clock: seconds since 1970.
        ticks: seconds that only go up.

    Raises:
        MissingExtraError: when PyJWT or cryptography is not installed.
        GraphError: when the key set is wrong.
    """

    def __init__(
        self,
        config: TokenConfig,
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            import cryptography  # noqa: F401
            import jwt
        except ImportError as error:
            raise MissingExtraError("PyJWT[crypto]", "auth", "admission by tokens") from error
        self._jwt, self._config, self._clock = jwt, config, clock
        self.file: Watched[_KeySet] = Watched(config.jwks, _KeySet.read, missing=None, clock=ticks)
        self._verified: LruCache[bytes, Claims] = LruCache(CACHED)
        self._reads = self.file.num_reads

    def verify(self, token: str) -> Claims:
        """What the token says.

        Raises:
            UnauthorizedError: when it is malformed, not signed by a key of the set, expired, not valid yet, or for
                somebody else.
            NotReadyError: when the key set cannot be read now.
        """
        keys, now = self.file.get(), self._clock()
        if self._reads != self.file.num_reads:
            self._verified = LruCache(CACHED)
            self._reads = self.file.num_reads
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        claims = self._verified.get(digest)
        if claims is None:
            claims = self._verified.put(digest, self._check(token, keys))
        if not now < claims.ends:
            raise UnauthorizedError("the token has expired")
        if not claims.begins <= now:
            raise UnauthorizedError("the token is not valid yet")
        return claims

    def _check(self, token: str, keys: _KeySet) -> Claims:
        if len(token) > MAX_CHARACTERS:
            raise UnauthorizedError(f"the token is longer than {MAX_CHARACTERS} characters")
        jwt, config = self._jwt, self._config
        try:
            found = keys.find(jwt.get_unverified_header(token))
            said = jwt.decode(
                token,
                key=found,
                algorithms=[found.algorithm_name],
                issuer=config.issuer,
                audience=config.audience,
                options={
                    "verify_exp": False, "verify_nbf": False, "verify_iat": False,  # by our own clock, below
                    "verify_iss": config.issuer is not None,
                    "require": [name for name in ("iss", "aud") if getattr(config, _MUST[name]) is not None],
                },
            )  # fmt: skip
        except (jwt.InvalidTokenError, jwt.InvalidKeyError) as error:
            raise UnauthorizedError(f"the token does not hold: {_reason(error)}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise UnauthorizedError("the token is malformed") from None
        return self._claims(said)

    def _claims(self, said: Mapping[str, Any]) -> Claims:
        config = self._config
        name = said.get(config.name)
        if not isinstance(name, str) or not 0 < len(name) <= 256 or not name.isprintable():
            raise UnauthorizedError(f"the token's claim {config.name!r} is no name: 1 to 256 printable characters")
        if "exp" not in said:
            raise UnauthorizedError("the token has no 'exp': it would never expire")
        begins = max((_seconds(said, name) for name in ("nbf", "iat") if name in said), default=0.0)
        return Claims(name, self._classes(said), begins - config.leeway_s, _seconds(said, "exp") + config.leeway_s)

    def _classes(self, said: Mapping[str, Any]) -> tuple[str, ...] | None:
        value = said.get(self._config.klass)
        if value is None:
            return None
        listed = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) for each in listed):
            raise UnauthorizedError(f"the token's claim {self._config.klass!r} is neither a text nor a list of texts")
        return tuple(listed)


_MUST = {"iss": "issuer", "aud": "audience"}


@dataclass(frozen=True)
class _KeySet:
    keys: tuple[tuple[str | None, Any], ...]
    """The `kid` and the `jwt.PyJWK` of each key that signatures may be checked with."""

    @classmethod
    def read(cls, data: bytes, path: str) -> _KeySet:
        """The key set of a file.

        Raises:
            GraphError: when it is none, or holds a private or a weak key; says which.
        """
        try:
            found = msgspec.json.decode(data, type=dict[str, Any]).get("keys")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise GraphError(f"is no JSON Web Key Set: {error}", where=path) from None
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise GraphError("is no JSON Web Key Set: expected {'keys': [{...}, ...]}", where=path)
        if len(found) > MAX_KEYS:
            raise GraphError(f"has {len(found)} keys, more than {MAX_KEYS}", where=path)
        made = (_key(each, f"{path}: keys[{number}]") for number, each in enumerate(found))
        keys = tuple(each for each in made if each is not None)
        if not keys:
            raise GraphError(f"has no key for one of {', '.join(ALGORITHMS)}", where=path)
        return cls(keys)

    def find(self, header: Mapping[str, Any]) -> Any:
        """The key that a token with this header is signed with.

        Raises:
            UnauthorizedError: when there is none, or the header does not say which.
        """
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise UnauthorizedError(f"the token's algorithm is none of {', '.join(ALGORITHMS)}")
        if "crit" in header:
            raise UnauthorizedError("the token's header has 'crit', which is not understood here")
        fitting = [key for key_id, key in self.keys if key.algorithm_name == algorithm and kid in (None, key_id)]
        if len(fitting) != 1:
            raise UnauthorizedError("the token does not name one key of the key set")
        return fitting[0]


def _key(jwk: dict[str, Any], where: str) -> tuple[str | None, Any] | None:
    """A key that signatures are checked with; None for one that is for something else."""
    import jwt

    kind, kid = jwk.get("kty"), jwk.get("kid")
    algorithm = jwk.get("alg") or _DEFAULT_ALGORITHMS.get((str(kind), jwk.get("crv") if kind != "RSA" else None))
    operations = jwk.get("key_ops")
    if algorithm not in ALGORITHMS or jwk.get("use", "sig") != "sig":
        return None
    if operations is not None and "verify" not in operations:
        return None
    if _PRIVATE in jwk:
        raise GraphError("is a private key, which a server must not have", where=where, hint="give the public one")
    if kid is not None and not isinstance(kid, str):
        raise GraphError("'kid' is no text", where=where)
    try:
        made = jwt.PyJWK(jwk, algorithm)
        weak = made.Algorithm.check_key_length(made.key)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        raise GraphError(f"is no key for {algorithm}: {error}", where=where) from None
    if weak:
        raise GraphError(f"is too weak a key: {weak}", where=where)
    return kid, made


def _seconds(said: Mapping[str, Any], name: str) -> float:
    value = said[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UnauthorizedError(f"the token's {name!r} is no number of seconds")
    return float(value)


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
