"""What may be configured of admission: the key `admission:` of a server's configuration.

admission:
  anonymous: true                     # false: every request needs a credential
  keys: keys.jsonl                    # written by `motet keys`
  tokens: {jwks: jwks.json, issuer: "https://id.example.org", audience: motet, name: sub, class: role}
  classes:
    anonymous: {concurrent: 2, queue: 4, rate: 1/hour}
    known: {concurrent: 3, queue: 10, rate: [10/second, 100/minute], total: {concurrent: 20}}
  redis: redis://localhost:6379/0     # rates of several machines; without it those of one
  folder: state/admission             # slots and rates; shared by the processes of a server
  audit: {file: audit.jsonl}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from motet.errors import GraphError
from motet.graph.capacity import read_bytes
from motet.graph.fields import Fields, check_name, from_environment, of_kind, show

__all__ = ["CLASSES", "AdmissionConfig", "AuditConfig", "ClassLimits", "Rate", "TokenConfig"]

MAX_CONCURRENT = 4096
"""Slots of one pool: what the layout of the lock files allows."""
MAX_QUEUE = 16_384
_RATE = re.compile(r"\s*(\d+)\s*(?:/|per)\s*(\d+)?\s*(second|minute|hour|day|week)s?\s*")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_KEYS = ("anonymous", "keys", "tokens", "classes", "redis", "fail", "folder", "audit")
FAIL = ("closed", "open", "local")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in any period of this length: the period moves, it is not one of the calendar.

    Attributes:
        amount: how many, from 1 to 100,000.
        period_s: seconds, from 1.
    """

    amount: int
    period_s: int

    @classmethod
    def read(cls, value: object, where: str) -> Rate:
        """A rate as it is written: `100/minute`, `5 per 2 hours`.

        Raises:
            GraphError: when it is none, or out of bounds.
        """
        match = _RATE.fullmatch(of_kind(value, str, where))
        if match is None:
            raise GraphError(
                f"{value!r} is no rate", where=where, hint="write 100/minute, 1/hour or 5 per 30 seconds; or a list"
            )
        rate = cls(int(match[1]), int(match[2] or 1) * _SECONDS[match[3]])
        if not 1 <= rate.amount <= 100_000 or not 1 <= rate.period_s <= 366 * 86_400:
            raise GraphError(f"{value!r} is out of bounds: 1 to 100000 in 1 second to 366 days", where=where)
        return rate

    def __str__(self) -> str:
        for name, seconds in reversed(_SECONDS.items()):
            if self.period_s % seconds == 0:
                times = self.period_s // seconds
                return f"{self.amount}/{name}" if times == 1 else f"{self.amount} per {times} {name}s"
        raise AssertionError(self.period_s)


@dataclass(frozen=True)
class ClassLimits:
    """How much the callers of a class may ask, each of them.

    Attributes:
        concurrent: requests at once; None for no bound.
        queue: requests that wait for one of those, at most; with `concurrent` only.
        rates: requests a period; all of them hold.
        wait_s: the longest that a request waits.
        total: the same for all callers of the class together; None for no bound.
    """

    concurrent: int | None = None
    queue: int = 10
    rates: tuple[Rate, ...] = ()
    wait_s: float = 60.0
    total: ClassLimits | None = None

    @classmethod
    def read(cls, value: object, where: str, *, within: bool = False) -> ClassLimits:
        """The limits of a class as they were written.

        Args:
            within: whether these are the limits of a class as a whole, which have no `total`.

        Raises:
            GraphError: when a key is unknown, or a value wrong.
        """
        fields = Fields(value, where, ("concurrent", "queue", "rate", "wait_s") + (() if within else ("total",)))
        taken: dict[str, Any] = {}
        for key, low, high in (("concurrent", 1, MAX_CONCURRENT), ("queue", 0, MAX_QUEUE)):
            if key in fields:
                taken[key] = fields.take(key, int)
                if not low <= taken[key] <= high:
                    raise GraphError(f"must be from {low} to {high}; got {taken[key]}", where=fields.place(key))
        for key in ("queue", "wait_s"):
            if key in fields and "concurrent" not in fields:
                raise GraphError(f"{key!r} means nothing without 'concurrent'", where=where)
        if "wait_s" in fields:
            taken["wait_s"] = float(fields.take("wait_s", float))
            if not 0 < taken["wait_s"] <= 86_400:
                raise GraphError(f"must be more than 0, at most a day; got {taken['wait_s']}", where=f"{where}.wait_s")
        if "rate" in fields:
            written = fields.raw("rate")
            listed = written if isinstance(written, list) else [written]
            taken["rates"] = tuple(Rate.read(each, fields.place("rate")) for each in listed)
        if "total" in fields:
            taken["total"] = cls.read(fields.raw("total"), fields.place("total"), within=True)
        return cls(**taken)


CLASSES: Mapping[str, ClassLimits] = {
    "anonymous": ClassLimits(concurrent=2, queue=4, rates=(Rate(60, 60),)),
    "known": ClassLimits(concurrent=8, queue=64),
    "admin": ClassLimits(),
}
"""The classes that there always are; a configuration may say others, and other limits of these."""


@dataclass(frozen=True)
class TokenConfig:
    """What a token must say.

    Attributes:
        jwks: the file of the key set.
        issuer: what `iss` must be; None where anything will do.
        audience: what `aud` must contain; None where tokens must have no `aud`.
        name: the claim that is the caller's name.
        klass: the claim that gives the class, a text or a list of texts; the first one that is a class counts.
        default_class: of tokens without that claim.
        admin: what that claim must be, or contain, for the class `admin`; None where no token gives it.
        leeway_s: how far clocks may be apart.
    """

    jwks: str
    issuer: str | None = None
    audience: str | None = None
    name: str = "sub"
    klass: str = "class"
    default_class: str = "known"
    admin: str | None = None
    leeway_s: float = 30.0

    @classmethod
    def read(cls, value: object, where: str, folder: str = "") -> TokenConfig:
        """The keys of `tokens:` as they were written.

        Raises:
            GraphError: when a key is unknown, or a value wrong.
        """
        keys = ("jwks", "issuer", "audience", "name", "class", "default_class", "admin", "leeway_s")
        fields = Fields(value, where, keys)
        texts = {"class": "klass", **{key: key for key in keys if key not in ("class", "leeway_s", "jwks")}}
        taken: dict[str, Any] = {name: fields.take(key, str) for key, name in texts.items() if key in fields}
        leeway_s = float(fields.take("leeway_s", float, cls.leeway_s))
        if not 0 <= leeway_s <= 300:
            raise GraphError(f"must be from 0 to 300; got {leeway_s}", where=fields.place("leeway_s"))
        return cls(jwks=_within(folder, fields.take("jwks", str)), leeway_s=leeway_s, **taken)


@dataclass(frozen=True)
class AuditConfig:
    """Where the audit log is written.

    Attributes:
        file: JSON Lines; older ones are FILE.1, FILE.2, ...
        file_bytes: a file that is longer is put aside.
        files: how many are kept, the one that is written among them.
        waiting: entries that wait to be written, at most; beyond it they are dropped and counted.
    """

    file: str
    file_bytes: int = 64 << 20
    files: int = 8
    waiting: int = 10_000

    @classmethod
    def read(cls, value: object, where: str, folder: str = "") -> AuditConfig:
        """The keys of `audit:` as they were written.

        Raises:
            GraphError: when a key is unknown, or a value wrong.
        """
        fields = Fields(value, where, ("file", "file_bytes", "files", "waiting"))
        taken = {"file_bytes": read_bytes(fields.raw("file_bytes", cls.file_bytes), fields.place("file_bytes"))}
        for key in ("files", "waiting"):
            taken[key] = fields.take(key, int, getattr(cls, key))
        for key, number in taken.items():
            if number < 1:
                raise GraphError(f"must be 1 or more; got {number}", where=fields.place(key))
        return cls(file=_within(folder, fields.take("file", str)), **taken)


@dataclass(frozen=True)
class AdmissionConfig:
    """Who may ask, and how much.

    Attributes:
        anonymous: whether requests without a credential are answered.
        keys: the file of API keys; None where there are none.
        tokens: what tokens must say; None where there are none.
        classes: limits by the name of the class; always has `anonymous`, `known` and `admin`.
        redis: the address of a Redis that counts rates; None counts them in a file of this machine. `env:NAME` takes what
            the environment variable holds, so that no password is in a file.
        fail: what is done while that Redis does not answer: `closed` refuses requests that have a rate, `open` lets them in
            uncounted, `local` counts them on this machine.
        folder: where slots and rates are kept; None leaves it to the server.
        audit: where the audit log is written; None for none.
    """

    anonymous: bool = True
    keys: str | None = None
    tokens: TokenConfig | None = None
    classes: Mapping[str, ClassLimits] = field(default_factory=lambda: dict(CLASSES))
    redis: str | None = None
    fail: str = "closed"
    folder: str | None = None
    audit: AuditConfig | None = None

    @classmethod
    def read(cls, value: object, where: str, folder: str = "") -> AdmissionConfig:
        """The key `admission:` as it was written.

        Args:
            where: its place, for messages.
            folder: what relative paths in it are relative to.

        Raises:
            GraphError: when a key is unknown, a value wrong, or nobody could ever be let in.
        """
        fields = Fields(value, where, _KEYS)
        taken: dict[str, Any] = {"anonymous": fields.take("anonymous", bool, True), "classes": _classes(fields)}
        for key in ("keys", "folder"):
            if key in fields:
                taken[key] = _within(folder, fields.take(key, str))
        if "tokens" in fields:
            taken["tokens"] = TokenConfig.read(fields.raw("tokens"), fields.place("tokens"), folder)
        if "audit" in fields:
            taken["audit"] = AuditConfig.read(fields.raw("audit"), fields.place("audit"), folder)
        if "redis" in fields:
            taken["redis"] = _redis(fields.raw("redis"), fields.place("redis"))
        if "fail" in fields:
            taken["fail"] = _fail(fields)
        config = cls(**taken)
        if not config.anonymous and config.keys is None and config.tokens is None:
            raise GraphError(
                "nobody could be let in: anonymous is false, and there are neither keys nor tokens",
                where=where,
                hint="add keys: keys.jsonl, and make a key with motet keys add",
            )
        if config.tokens is not None and config.tokens.default_class not in config.classes:
            raise GraphError(
                f"unknown class {config.tokens.default_class!r}; known: {', '.join(config.classes)}",
                where=f"{where}.tokens.default_class",
            )
        return config

    def check_keys(self) -> None:
        """See that the file of keys is there, without which none of them would hold.

        Raises:
            GraphError: when it is not.
        """
        if self.keys is not None and not Path(self.keys).exists():
            hint = f"make it by motet keys add NAME --keys {self.keys}"
            raise GraphError(f"{self.keys!r} does not exist", where="admission.keys", hint=hint)


def _classes(fields: Fields) -> Mapping[str, ClassLimits]:
    classes = dict(CLASSES)
    for name, value in fields.take("classes", dict, {}).items():
        place = f"{fields.place('classes')}.{name}"
        classes[check_name(name, "a class", place)] = ClassLimits.read(value, place)
    return classes


def _redis(value: object, where: str) -> str:
    text = from_environment(of_kind(value, str, where), where)
    if not text.startswith(("redis://", "rediss://", "redis+unix://")):
        raise GraphError(f"{show(text)} is no address of a Redis", where=where, hint="write redis://HOST:PORT/NUMBER")
    return text


def _fail(fields: Fields) -> str:
    found: str = fields.take("fail", str)
    if found not in FAIL:
        raise GraphError(f"{found!r} is none of {', '.join(FAIL)}", where=fields.place("fail"))
    if "redis" not in fields:
        raise GraphError(
            "says what is done while Redis does not answer, and means nothing without 'redis'",
            where=fields.place("fail"),
        )
    return found


def _within(folder: str, path: str) -> str:
    return str(Path(folder) / path) if folder else path
