"""The admission controller: a request goes in with a ticket, and gives it back when it is done."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any

from motet.errors import (
    DeadlineError,
    ForbiddenError,
    MotetError,
    RequestError,
    TooManyRequestsError,
    UnauthorizedError,
)
from motet.serving.admission.addresses import Headers
from motet.serving.admission.callers import Caller, Callers
from motet.serving.admission.fallback import Fallback
from motet.serving.admission.limiter import Limiter, Limiters
from motet.serving.admission.locks import LockTable
from motet.serving.admission.rates import Busy, Rates, SqliteRates, Wanted
from motet.serving.admission.redis_rates import RedisRates
from motet.serving.admission.wrong import WrongCredentialsError
from motet.serving.batching.request import Identity
from motet.serving.config.admission import AdmissionConfig, ClassLimits, TotalLimits

__all__ = ["Admission", "Ticket", "reason_of"]


class Ticket:
    """Lets one request in. To be given back with `leave`, or as a context manager, in the thread of the event loop."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[tuple[Limiter, int]] = []

    def leave(self) -> None:
        """Give its slots back; a second time does nothing."""
        while self._held:
            pool, slot = self._held.pop()
            pool.release(slot)

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


class Admission:
    """Says who asks, and lets in what may be asked. There is one a process, made and used in its event loop.

    Args:
        config: what holds here.
        folder: where slots and rates are kept; the same for all processes of a server. `config.folder` goes first.
        clock: seconds since 1970.
        ticks: seconds that only go up.

    Raises:
        GraphError: when a file or the folder cannot be used.
        MissingExtraError: when something is configured that needs a package which is not installed.
    """

    def __init__(
        self,
        config: AdmissionConfig,
        *,
        folder: str | os.PathLike[str],
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self._clock, self._ticks = clock, ticks
        self.counts: Counter[tuple[str, str]] = Counter()
        """How many requests came to what end, by class and by `admitted`, `busy`, `rate` or `trouble`; those without a
        credential that holds are under the class ``, `unauthorized`."""
        self._folder = Path(config.folder or folder)
        self._callers = Callers(config, clock=clock, ticks=ticks)
        self._table = LockTable.of(self._folder)
        self._pools = Limiters(self._table, asyncio.get_running_loop())
        self.num_uncounted = 0
        """Requests that Redis could not count."""
        self._rates = self._made_rates(config)
        self._waiting = 0

    def _made_rates(self, config: AdmissionConfig) -> Rates | None:
        if not any(each.rates for limits in config.classes.values() for each in _all(limits)):
            return None
        local = None
        if config.redis is None or config.fail == "local":
            local = SqliteRates(self._folder / "rates.sqlite", ticks=self._ticks, clock=self._clock)
        if config.redis is None:
            return local
        redis = RedisRates(config.redis)
        return Fallback(redis, local, config.fail, self._not_counted, self._ticks)

    def _not_counted(self) -> None:
        self.num_uncounted += 1

    async def reload(self, config: AdmissionConfig) -> None:
        """Let another configuration hold from now on, for new requests; `folder` stays as it was.

        Raises:
            GraphError, MissingExtraError: when it cannot be used; the one before then still holds.
        """
        callers = Callers(config, clock=self._clock, ticks=self._ticks, wrong=self._callers.wrong)
        old = self._rates
        if old is None or (config.redis, config.fail) != (self.config.redis, self.config.fail):
            self._rates = self._made_rates(config)
        self.config, self._callers = config, callers
        self._pools = Limiters(self._table, asyncio.get_running_loop())
        if old is not None and old is not self._rates:
            await old.close()

    @property
    def owner(self) -> Caller:
        """The user that runs the server, who asks over its socket; of the class `admin`."""
        return self._callers.owner

    def identify(self, headers: Headers, address: str, peer: Identity | None = None) -> Caller:
        """See `Callers.identify`; counts those whose credential does not hold."""
        try:
            return self._callers.identify(headers, address, peer)
        except (UnauthorizedError, WrongCredentialsError):
            self.counts["", "unauthorized"] += 1
            raise

    def enter(self, caller: Caller) -> Ticket | Coroutine[Any, Any, Ticket]:
        """Let a request in: at once where it can be, else what is to be awaited until it is.

        Nothing is held by what is to be awaited before that begins; cancelling it gives up the place in the queue.

        Raises:
            TooManyRequestsError: when it may not go in, here or when awaited; says when to try again.
            OverloadedError: when nothing can be counted.
        """
        limits = caller.limits
        if limits.concurrent is None and not limits.rates and limits.total is None:
            self.counts[caller.klass, "admitted"] += 1
            return Ticket()
        ticket = Ticket()
        try:
            if not self._take_slots(caller, ticket):
                ticket.leave()
                return self._wait(caller)
            if self._rates is not None and (wanted := _wanted(caller)):
                self._refuse(self._rates.take_now(wanted), caller)
        except Busy:
            ticket.leave()
            return self._wait(caller)
        except BaseException as error:
            ticket.leave()
            self._count(caller, error)
            raise
        self.counts[caller.klass, "admitted"] += 1
        return ticket

    def _take_slots(self, caller: Caller, ticket: Ticket) -> bool:
        for key, limits, what in _bounds(caller):
            pool = self._pools.get(key, limits, what)
            slot = pool.take()
            if slot is None:
                return False
            ticket._held.append((pool, slot))
        return True

    async def _wait(self, caller: Caller) -> Ticket:
        ticket, wanted = Ticket(), _wanted(caller)
        self._waiting += 1
        try:
            for key, limits, what in _bounds(caller):
                pool = self._pools.get(key, limits, what)
                slot = pool.take()
                if slot is None:
                    if self._rates is not None and wanted:
                        self._refuse(await self._rates.look(wanted), caller)
                    pool = self._pools.get(key, limits, what)
                    slot = await pool.wait(caller.key)
                ticket._held.append((pool, slot))
            if self._rates is not None and wanted:
                self._refuse(await self._rates.take(wanted), caller)
        except BaseException as error:
            ticket.leave()
            self._count(caller, error)
            raise
        finally:
            self._waiting -= 1
        self.counts[caller.klass, "admitted"] += 1
        return ticket

    def _refuse(self, retry_after_s: float, caller: Caller) -> None:
        if retry_after_s:
            rates = [str(rate) for limits in _all(caller.limits) for rate in limits.rates]
            raise _RateError(f"more than {' and '.join(rates)} for class {caller.klass!r}", retry_after_s=retry_after_s)

    def _count(self, caller: Caller, error: BaseException) -> None:
        if isinstance(error, RequestError):
            self.counts[caller.klass, reason_of(error)] += 1

    async def close(self) -> None:
        """Give back what it holds; all slots of this process come free when nobody else of it uses the folder."""
        self._pools.close()
        if self._rates is not None:
            await self._rates.close()
        self._table.close()


class _RateError(TooManyRequestsError):
    """More than a rate allows."""


def reason_of(error: MotetError) -> str:
    """Why a request was not let in, as metrics call it: `credential`, `wrong_credentials`, `forbidden`, `busy`, `rate`,
    `late` or `trouble`."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    return "trouble"


_REASONS: tuple[tuple[type[MotetError], str], ...] = (
    (UnauthorizedError, "credential"),
    (ForbiddenError, "forbidden"),
    (_RateError, "rate"),
    (WrongCredentialsError, "wrong_credentials"),
    (TooManyRequestsError, "busy"),
    (DeadlineError, "late"),
)


def _all(limits: ClassLimits) -> tuple[TotalLimits, ...]:
    return (limits,) if limits.total is None else (limits, limits.total)


def _wanted(caller: Caller) -> Wanted:
    limits = caller.limits
    own = [(caller.key, rate) for rate in limits.rates]
    return own + [(caller.class_key, rate) for rate in (limits.total.rates if limits.total is not None else ())]


def _bounds(caller: Caller) -> list[tuple[bytes, TotalLimits, str]]:
    """The pools that a request needs a slot of: their keys, limits and names."""
    limits, total = caller.limits, caller.limits.total
    own = (caller.key, limits, "requests of this caller")
    bounds = (own, (caller.class_key, total, f"requests of class {caller.klass!r}"))
    return [(key, each, what) for key, each, what in bounds if each is not None and each.concurrent is not None]
