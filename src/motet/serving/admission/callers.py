"""The caller of a request: who it is, and the limits that hold for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from motet.errors import ForbiddenError, UnauthorizedError
from motet.serving.admission.addresses import Headers, network_name
from motet.serving.admission.keys import KeyRing
from motet.serving.admission.tokens import TokenVerifier
from motet.serving.admission.wrong import WrongCredentials
from motet.serving.batching.request import OWNER, Identity
from motet.serving.config.admission import AdmissionConfig, ClassLimits
from motet.system.recent import LruCache

__all__ = ["Caller", "Callers"]

ADMIN, KNOWN = "admin", "known"
"""The classes of administrators, and of those whose certificate says who they are."""
CACHED = 65_536


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the limits that hold for it.

    Attributes:
        identity: who asks, as requests carry it.
        klass: the name of its class.
        limits: of that class.
        key: 16 bytes that tell it from every other caller of any class.
        class_key: the same for all callers of its class together.
        credential: the id of the API key; empty where it came without one.
    """

    identity: Identity
    klass: str
    limits: ClassLimits
    key: bytes
    class_key: bytes
    credential: str = ""


class Callers:
    """Says who asks.

    Args:
        config: what holds here.
        clock: seconds since 1970.
        ticks: seconds that only go up.
        wrong: counts credentials that do not hold; a new count where it is None.

    Raises:
        MissingExtraError: when tokens are configured and what checks them is not installed.
        GraphError: when the file of keys or the key set is wrong.
    """

    def __init__(
        self,
        config: AdmissionConfig,
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        wrong: WrongCredentials | None = None,
    ) -> None:
        self._config = config
        self.wrong = wrong or WrongCredentials(ticks)
        self._keys = None if config.keys is None else KeyRing(config.keys, clock=clock, ticks=ticks)
        self._tokens = None if config.tokens is None else TokenVerifier(config.tokens, clock=clock, ticks=ticks)
        self._made: LruCache[tuple[str, str, str, str], Caller] = LruCache(CACHED)

    @property
    def owner(self) -> Caller:
        """The user that runs the server."""
        return self._caller(OWNER.kind, OWNER.name, ADMIN)

    def identify(self, headers: Headers, address: str, peer: Identity | None = None) -> Caller:
        """The caller of a request.

        Args:
            headers: by lower-case names.
            address: of the client; `client_address` finds it behind proxies.
            peer: whom the client's certificate names; a credential in the headers goes before it.

        Raises:
            UnauthorizedError: when its credential does not hold, or it has none and needs one.
            WrongCredentialsError: instead, where too many that do not hold came from its network.
            ForbiddenError: when its credential names a class that does not exist here.
            NotReadyError: when credentials cannot be checked now.
        """
        authorization, key = headers.get("authorization"), headers.get("x-api-key")
        if authorization is None and key is None:
            if peer is not None:
                if not peer.name:
                    hint = "use one whose subject has a common name, or an alternative name"
                    raise UnauthorizedError("the client's certificate names nobody", hint=hint)
                return self._caller(peer.kind, peer.name, KNOWN)
            if not self._config.anonymous:
                raise UnauthorizedError(
                    "a credential is missing", hint="send Authorization: Bearer KEY, or X-API-Key: KEY"
                )
            return self._caller("anonymous", network_name(address), "anonymous")
        if authorization is not None and key is not None:
            raise UnauthorizedError("there are two credentials", hint="send Authorization or X-API-Key, not both")
        try:
            return self._by_key(key.strip()) if key is not None else self._by_bearer(authorization or "")
        except UnauthorizedError:
            self.wrong.add(network_name(address))
            raise

    def _by_bearer(self, authorization: str) -> Caller:
        scheme, _, credential = authorization.strip().partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            raise UnauthorizedError("the Authorization is malformed", hint="send Authorization: Bearer KEY")
        return self._by_key(credential) if credential.count(".") != 2 else self._by_token(credential)

    def _by_key(self, text: str) -> Caller:
        if self._keys is None:
            raise UnauthorizedError("this server takes no API keys")
        record = self._keys.verify(text)
        return self._caller("key", record.name, record.klass, record.id)

    def _by_token(self, token: str) -> Caller:
        if self._tokens is None or self._config.tokens is None:
            raise UnauthorizedError("this server takes no tokens")
        claims, tokens = self._tokens.verify(token), self._config.tokens
        if claims.classes is None:
            return self._caller("token", claims.name, tokens.default_class)
        classes = [each for each in (self._token_class(name, tokens.admin) for name in claims.classes) if each]
        if not classes and ADMIN in claims.classes:
            hint = "use a key of that class, or say under admission.tokens.admin which claim makes an administrator"
            raise ForbiddenError(f"{claims.name!r} is of class {ADMIN!r}, which no token gives here", hint=hint)
        return self._caller("token", claims.name, classes[0] if classes else ", ".join(claims.classes))

    def _token_class(self, name: str, admin: str | None) -> str:
        """The class that a claim stands for; empty for none. Only what is configured to makes an administrator."""
        if name == admin:
            return ADMIN
        return name if name in self._config.classes and name != ADMIN else ""

    def _caller(self, kind: str, name: str, klass: str, credential: str = "") -> Caller:
        asked = kind, name, klass, credential
        caller = self._made.get(asked)
        if caller is None:
            limits = self._config.classes.get(klass)
            if limits is None:
                raise ForbiddenError(
                    f"{name!r} is of class {klass!r}, which this server does not have",
                    hint="add it to admission.classes",
                )
            key = _digest(klass, kind, name)
            caller = Caller(Identity(name, kind), klass, limits, key, _digest(klass), credential)
            self._made.put(asked, caller)
        return caller


def _digest(*parts: str) -> bytes:
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
