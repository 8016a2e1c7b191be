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
from typing import Annotated, Literal

from motet.errors import GraphError
from motet.graph.fields import from_environment, of_kind, show
from motet.graph.forms import NAME, TEXT
from motet.graph.section import Bytes, Converter, FilePath, KeyRule, Section, between, matching, one_or_list

__all__ = ["CLASSES", "AdmissionConfig", "AuditConfig", "ClassLimits", "Rate", "TokenConfig", "TotalLimits"]

MAX_CONCURRENT = 4096
"""Slots of one pool: what the layout of the lock files allows."""
MAX_QUEUE = 16_384
_RATE = re.compile(r"\s*(\d+)\s*(?:/|per)\s*(\d+)?\s*(second|minute|hour|day|week)s?\s*")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}


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


_RATES = Annotated[
    tuple[
        Annotated[
            Rate,
            Converter(lambda value, where, folder: Rate.read(value, where), {**TEXT, "pattern": f"^{_RATE.pattern}$"}),
        ],
        ...,
    ],
    one_or_list,
]
_WAITS = KeyRule(needs=("concurrent",))


@dataclass(frozen=True)
class TotalLimits(Section):
    """How much may be asked.

    Attributes:
        concurrent: requests at once; None for no bound.
        queue: requests that wait for one of those, at most; with `concurrent` only.
        rates: requests a period; all of them hold.
        wait_s: the longest that a request waits.
    """

    concurrent: Annotated[int, between(1, MAX_CONCURRENT)] | None = None
    queue: Annotated[int, between(0, MAX_QUEUE), _WAITS] = 10
    rates: Annotated[_RATES, KeyRule("rate")] = ()
    wait_s: Annotated[float, between(0, 86_400, above=True), _WAITS] = 60.0


@dataclass(frozen=True)
class ClassLimits(TotalLimits):
    """How much the callers of a class may ask, each of them.

    Attributes:
        concurrent: requests at once; None for no bound.
        queue: requests that wait for one of those, at most; with `concurrent` only.
        rates: requests a period; all of them hold.
        wait_s: the longest that a request waits.
        total: the same for all callers of the class together; None for no bound.
    """

    total: TotalLimits | None = None


CLASSES: Mapping[str, ClassLimits] = {
    "anonymous": ClassLimits(concurrent=2, queue=4, rates=(Rate(60, 60),)),
    "known": ClassLimits(concurrent=8, queue=64),
    "admin": ClassLimits(),
}
"""The classes that there always are; a configuration may say others, and other limits of these."""


@dataclass(frozen=True)
class TokenConfig(Section):
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

    jwks: FilePath
    issuer: str | None = None
    audience: str | None = None
    name: str = "sub"
    klass: Annotated[str, KeyRule("class")] = "class"
    default_class: str = "known"
    admin: str | None = None
    leeway_s: Annotated[float, between(0, 300)] = 30.0


@dataclass(frozen=True)
class AuditConfig(Section):
    """Where the audit log is written.

    Attributes:
        file: JSON Lines; older ones are FILE.1, FILE.2, ...
        file_bytes: a file that is longer is put aside.
        files: how many are kept, the one that is written among them.
        waiting: entries that wait to be written, at most; beyond it they are dropped and counted.
    """

    file: FilePath
    file_bytes: Annotated[Bytes, between(1)] = 64 << 20
    files: Annotated[int, between(1)] = 8
    waiting: Annotated[int, between(1)] = 10_000


def _redis(value: object, where: str, folder: str) -> str:
    text = from_environment(of_kind(value, str, where), where)
    if not text.startswith(("redis://", "rediss://", "redis+unix://")):
        raise GraphError(f"{show(text)} is no address of a Redis", where=where, hint="write redis://HOST:PORT/NUMBER")
    return text


_ClassName = Annotated[
    str,
    matching(
        NAME.pattern,
        "cannot be the name of a class",
        "a name begins with a letter or _ and goes on with letters, digits, _ and -",
    ),
]


@dataclass(frozen=True)
class AdmissionConfig(Section):
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
    keys: FilePath | None = None
    tokens: TokenConfig | None = None
    classes: Mapping[_ClassName, ClassLimits] = field(default_factory=dict)
    redis: Annotated[str, Converter(_redis, {**TEXT, "pattern": r"^(rediss?://|redis\+unix://|env:)"})] | None = None
    fail: Annotated[Literal["closed", "open", "local"], KeyRule(needs=("redis",))] = "closed"
    folder: FilePath | None = None
    audit: AuditConfig | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", {**CLASSES, **self.classes})
        if not self.anonymous and self.keys is None and self.tokens is None:
            raise GraphError(
                "nobody could be let in: anonymous is false, and there are neither keys nor tokens",
                hint="add keys: keys.jsonl, and make a key with motet keys add; where clients have certificates nobody is anonymous",
            )
        if self.tokens is not None and self.tokens.default_class not in self.classes:
            raise GraphError(
                f"unknown class {self.tokens.default_class!r}; known: {', '.join(self.classes)}",
                where="tokens.default_class",
            )

    def check_keys(self) -> None:
        """See that the file of keys is there, without which none of them would hold.

        Raises:
            GraphError: when it is not.
        """
        if self.keys is not None and not Path(self.keys).exists():
            hint = f"make it by motet keys add NAME --keys {self.keys}"
            raise GraphError(f"{self.keys!r} does not exist", where="admission.keys", hint=hint)
