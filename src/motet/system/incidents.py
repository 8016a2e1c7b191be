"""Incidents: what goes wrong with the machine around answers, and that it is over. Each is a line of the log, and is counted.

A line is bounded in rate: `MOST` of one kind about one thing a minute; what is left out is counted, and told when the minute
is over. A record of the log has the kind as `incident`, and what it is about as `fields`, for those who read logs by program.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

__all__ = ["INCIDENTS", "KINDS", "Incidents", "Kind", "Outage"]

_LOG = logging.getLogger("motet.serving")
MOST = 10
"""Lines of one kind about one thing in a period."""
PERIOD_S = 60.0
MOST_KNOWN = 1024
"""Things that are told apart; further ones of a kind are one."""


class Kind(NamedTuple):
    """A kind of incident.

    Attributes:
        level: of its line in the log.
        about: when it is said.
    """

    level: int
    about: str


def _error(about: str) -> Kind:
    return Kind(logging.ERROR, about)


def _warning(about: str) -> Kind:
    return Kind(logging.WARNING, about)


def _info(about: str) -> Kind:
    return Kind(logging.INFO, about)


KINDS: Mapping[str, Kind] = {
    "replica_lost": _warning("a replica of a model has ended, was killed as it did not answer, or answered wrongly"),
    "replica_back": _info("another has taken its place, and answers"),
    "replica_given_up": _error("a replica was lost again and again, and is not started anew"),
    "deadly_rows": _error("one replica after another was lost on the same rows, which are refused"),
    "address_out": _warning("a model on another machine does not answer"),
    "address_back": _info("it answers again"),
    "process_lost": _error("a process of the server has ended"),
    "process_hung": _error("a process of the server gave no sign of life, and was killed"),
    "process_back": _info("another process serves in its place"),
    "files_out": _error("a process does not serve, since files were changed in place: others go on with those before"),
    "files_back": _info("it has the files that the others have, and serves"),
    "supervisor_lost": _error("the parent of the processes has ended; they end too"),
    "stalled": _warning("an event loop stood still: it was stopped, the machine was, or code held it"),
    "request_failed": _error("a request was answered with 500 to 504"),
    "queue_full": _warning("requests for a graph are refused, since too many rows wait"),
    "queue_over": _info("none has been refused for some seconds; says how many were"),
    "rates_out": _error("rates cannot be counted, in Redis or on this machine"),
    "rates_back": _info("they are counted again"),
    "credentials_out": _error("a file of credentials is missing or cannot be read"),
    "credentials_back": _info("it can be read again"),
    "certificate_refused": _warning("a client of HTTPS showed no certificate that holds"),
    "handshake_refused": _warning("a client of HTTPS speaks no version of TLS, or no cipher, of the server"),
    "wrong_credentials": _warning("more wrong credentials came from one network than are answered"),
    "drifted": _warning("a column of a graph has drifted from its reference, beyond chance; each process says it"),
    "drift_over": _info("it is spread as it was"),
    "sink_out": _warning("a sink cannot be written; its records go to the spool"),
    "sink_back": _info("it can be written again"),
    "spool_out": _error("the spool of a sink cannot be written"),
    "spool_back": _info("it can be written again"),
    "sink_lost": _error("records of a sink are lost, since its buffer or its spool is full or cannot be written"),
    "sink_rejected": _error("records cannot be written, and were put aside"),
    "decisions_out": _error("decisions on experiments cannot be read; those that are known hold"),
    "decisions_back": _info("they can be read again"),
    "experiment_rolled_back": _warning("a guardrail of an experiment broke, and its control gets everything"),
    "lines_out": _warning("a file of lines (access log, audit log) cannot be written; its lines are dropped"),
    "lines_back": _info("it can be written again; says how many were dropped"),
    "traces_out": _warning("nobody takes the traces; they are dropped"),
    "traces_back": _info("they are taken again"),
    "metrics_out": _error("metrics are not kept up to date, for example since no file can be opened"),
    "metrics_back": _info("they are again"),
}
"""Every kind."""


class _Said:
    """The lines about one thing in a period."""

    __slots__ = ("lines", "since")

    def __init__(self, since: float) -> None:
        self.since, self.lines = since, 0


class Incidents:
    """Says and counts incidents. Any thread may.

    Args:
        ticks: seconds that only go up.

    Attributes:
        counters: each is called with the kind of every incident, by one thread at a time.
    """

    def __init__(self, ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks, self._lock = ticks, threading.RLock()  # garbage that is collected within it may log
        self._known: dict[tuple[str, str], _Said] = {}
        self.counters: list[Callable[[str], object]] = []

    def count(self, kind: str) -> None:
        """Count an incident that somebody else has said."""
        with self._lock:
            for counter in self.counters:
                counter(kind)

    def say(
        self,
        log: logging.Logger,
        kind: str,
        text: str,
        *args: object,
        of: str = "",
        exc_info: object = None,
        **fields: object,
    ) -> None:
        """Say and count an incident.

        Args:
            log: of the part that says it.
            kind: one of `KINDS`.
            text: of the line, with `%s` for the arguments. It holds no rows, keys or passwords.
            args: the arguments.
            of: what it is about; lines about it are bounded together.
            exc_info: the exception, where its place is worth a look.
            fields: what a program reads of it.
        """
        level = KINDS[kind].level
        self.count(kind)
        if log.isEnabledFor(level) and self.lets(kind, of):
            log.log(level, text, *args, exc_info=exc_info, extra={"incident": kind, "fields": fields})  # type: ignore[arg-type]

    def lets(self, kind: str, of: str = "") -> bool:
        """Whether a line may be written; one that may not is counted, and told by `tell_rest`."""
        now = self._ticks()
        with self._lock:
            key = (kind, of) if (kind, of) in self._known or len(self._known) < MOST_KNOWN else (kind, "")
            found = self._known.get(key)
            old = found if found is not None and now - found.since >= PERIOD_S else None
            if found is None or old is not None:
                found = self._known[key] = _Said(now)
            found.lines += 1
        if old is not None:
            _tell(key, old, now)
        return found.lines <= MOST

    def tell_rest(self, *, now: bool = False) -> None:
        """Say how many lines were left out of periods that are over, or of all `now`; to be called from time to time."""
        ticks = self._ticks()
        with self._lock:
            over = {key: said for key, said in self._known.copy().items() if now or ticks - said.since >= PERIOD_S}
            for key in over:
                del self._known[key]
        for key, said in over.items():
            _tell(key, said, ticks)


def _tell(key: tuple[str, str], said: _Said, now: float) -> None:
    """Say how many lines were left out of a period that is over, where some were."""
    kind, of = key
    left_out = said.lines - MOST
    if left_out > 0:
        level = KINDS[kind].level if kind in KINDS else logging.WARNING
        extra = {"incident": kind if kind in KINDS else "", "fields": {"left_out": left_out}}
        what = f"{kind} about {of}" if of else kind
        _LOG.log(level, "%d more lines of %s were left out in %.0f s", left_out, what, now - said.since, extra=extra)


INCIDENTS = Incidents()
"""Those of this process."""
os.register_at_fork(after_in_child=lambda: INCIDENTS.__init__())  # type: ignore[misc]  # whose lock may be held


class Outage:
    """Something that others need, and that is there or not: says when it goes, and when it is back. Any thread may.

    Args:
        log: of the part that says it.
        name: of the pair of kinds: `sink` for `sink_out` and `sink_back`.
        of: what it is.
        ticks: seconds that only go up.
    """

    def __init__(
        self,
        log: logging.Logger,
        name: str,
        of: str = "",
        *,
        ticks: Callable[[], float] = time.monotonic,
        **fields: object,
    ) -> None:
        self._log, self._name, self._of, self._ticks, self._fields = log, name, of, ticks, fields
        self._since: float | None = None

    @property
    def is_out(self) -> bool:
        """Whether it is not there."""
        return self._since is not None

    def out(self, text: str, *args: object) -> None:
        """It is not there; said where that is new."""
        if self._since is None:
            self._since = self._ticks()
            INCIDENTS.say(self._log, f"{self._name}_out", text, *args, of=self._of, **self._fields)

    def back(self, text: str, *args: object) -> None:
        """It is there; said where that is new, with the seconds that it was not."""
        since = self._since
        if since is not None:
            self._since, seconds = None, self._ticks() - since
            text += ", after %.1f s"
            INCIDENTS.say(
                self._log, f"{self._name}_back", text, *args, seconds, of=self._of, seconds=seconds, **self._fields
            )
