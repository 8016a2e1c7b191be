"""What the handlers of models behind an address share: options, connections, metadata that are kept, and errors."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from motet.errors import GraphError, InputError, ModelError, ModelLoadError, ModelUnavailableError, RequestError
from motet.graph.fields import from_environment
from motet.models.common import ADDRESS_OPTIONS, FILE_OPTIONS, check_options, declared_over, load_error, place
from motet.models.handler import ModelSource
from motet.oip.asking import FIRST_WAIT_S, LostCall, RemoteAnswer, RemoteCall, Wait, ask
from motet.system.addresses import in_url, lacks_brackets
from motet.system.patience import check_waited_for, left_s
from motet.system.recent import LruCache
from motet.system.secrets import header_value
from motet.system.tls import client_context
from motet.types import Signature

__all__ = [
    "MAX_ANSWER_BYTES",
    "METADATA_S",
    "Line",
    "RemoteCaller",
    "RemoteOptions",
    "Signatures",
    "host_and_port",
    "name_of",
]

METADATA_S = 2.0
"""How long a server may take to say what a model takes and gives."""
KEPT_S = 30.0
"""How long that is kept."""
DOWN_S = 1.0
"""How long calls fail at once after a server could not be reached."""
LOG_S = 1.0
"""How long further failures of a model's server are not logged after one was."""
PAST_S = 0.01
"""How much longer a call may take than its caller waits, so that it is surely too late then."""
SHORTEST_SECRET = 4
"""Shorter values of headers may be words that anybody says."""
_LOG = logging.getLogger("motet.models")
MAX_KEPT = 256
MAX_ANSWER_BYTES = 2**31
_NOT_THE_ROWS = {
    401: "give its credential: `with: {api_key: env:NAME}`",
    403: "the credential does not allow this; give another one",
    404: "check the name and the version in the URI, and that the server has loaded it",
}
_LATER = (408, 429, 502, 503, 504)


@dataclass(frozen=True)
class RemoteOptions:
    """How a remote model is called.

    Attributes:
        timeout_s, retries: of a call.
        headers: sent with each call.
        ca: a file of certificates to believe; empty for the system's.
        certificate: the file of a certificate to show; empty for none.
        certificate_key: the file of its private key; empty where that is in the file of the certificate.
        first_wait_s: the longest wait before the second try of a call; it doubles with each further one.
    """

    timeout_s: float
    retries: int
    headers: Mapping[str, str]
    ca: str = ""
    certificate: str = ""
    certificate_key: str = ""
    first_wait_s: float = FIRST_WAIT_S

    @classmethod
    def read(cls, source: ModelSource, *more: str) -> RemoteOptions:
        """The options of a model.

        Args:
            source: the model.
            more: the options that its handler has beside the common ones.

        Raises:
            UnknownNameError: when there is an option that the handler does not have.
            ModelLoadError: when one is not what it must be.
        """
        check_options(source, (*ADDRESS_OPTIONS, *more))
        options = source.options
        timeout_s, retries = options.get("timeout_s", 5.0), options.get("retries", 2)
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 < timeout_s <= 3600:
            raise load_error(source, f"timeout_s must be more than 0 and at most 3600 seconds; got {timeout_s!r}")
        if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= 100:
            raise load_error(source, f"retries must be a whole number from 0 to 100; got {retries!r}")
        given = options.get("headers", {})
        if not isinstance(given, Mapping):
            raise load_error(source, f"headers must be a mapping; got a value of type {type(given).__name__}")
        headers = {str(name): _secret(value, f"the header {name}", source) for name, value in given.items()}
        if options.get("api_key"):
            headers["Authorization"] = f"Bearer {_secret(options['api_key'], 'api_key', source)}"
        files = {name: str(options[name]) for name in FILE_OPTIONS if options.get(name)}
        if "certificate_key" in files and "certificate" not in files:
            hint = "give its file too: `with: {certificate: ...}`"
            raise load_error(source, "there is the key of a certificate and no certificate", hint)
        ca, certificate, key = (files.get(name, "") for name in FILE_OPTIONS)
        return cls(float(timeout_s), retries, headers, ca, certificate, key)

    def context(self, source: ModelSource) -> ssl.SSLContext:
        """What speaks TLS so.

        Raises:
            ModelLoadError: when a file cannot be read, or is something else.
        """
        try:
            return client_context(self.ca, self.certificate, self.certificate_key)
        except InputError as error:
            raise load_error(source, error.what, error.hint) from error


def _secret(value: object, name: str, source: ModelSource) -> str:
    """A value for a header, or what the environment variable holds that it names."""
    try:
        return header_value(from_environment(str(value), place(source)), name)
    except (GraphError, InputError) as error:
        raise load_error(source, error.what, error.hint) from None


class Line(Protocol):
    """A line to a server: sends calls, from several threads at once."""

    def send(self, call: RemoteCall) -> RemoteAnswer | LostCall:
        """Send a call, and wait for what becomes of it."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


def host_and_port(host: str, source: ModelSource) -> tuple[str, int | None]:
    """The two parts of an address.

    Raises:
        ModelLoadError: when it is none, or holds a credential.
    """
    if "@" in host:
        raise load_error(source, "the URI holds a credential", "give it as `with: {api_key: env:NAME}`")
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname, parts.port
    except ValueError as error:
        hint = lacks_brackets(host) or "write HOST:PORT"
        raise load_error(source, f"{host!r} is no address: {error}", hint) from error
    if not name:
        raise load_error(source, f"{host!r} is no address", lacks_brackets(host) or "write HOST:PORT")
    return in_url(name), port


class RemoteCaller:
    """Calls a remote model: makes calls again where that is safe, and says what kind of failure it was.

    After its server could not be reached, calls fail at once for a second, so that a server that is down is not asked
    by everybody who waits.

    What it raises names the model alone, since it may reach the callers of a server, who need not know what is behind
    it. The address, and what the network said, are in a note of the error and in the log.

    Args:
        line: to its server.
        remote: how it is called.
        where: the model, for messages.
        address: of the model, for the log; empty for none.
        clock: seconds that only go up.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        line: Line,
        remote: RemoteOptions,
        where: str,
        *,
        address: str = "",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._line, self.remote, self._where, self._clock, self._sleep = line, remote, where, clock, sleep
        self._address = address
        self._down_until = self._logged = -LOG_S
        self._down_why = ""

    @classmethod
    def of(cls, line: Line, remote: RemoteOptions, source: ModelSource) -> RemoteCaller:
        """What calls a model."""
        return cls(line, remote, name_of(source), address=source.location)

    def __call__(self, make: Callable[[float], RemoteCall]) -> RemoteAnswer:
        """Make a call.

        Args:
            make: makes the call for the seconds that are left.

        Returns:
            An answer that is well.

        Raises:
            InputError: when the server refuses what it was given: some row may be at fault.
            RequestError: when the server failed.
            MemoryError: when the call was too large for it.
            ModelLoadError: when it has no such model, or does not let us.
            ModelUnavailableError: when it cannot be reached, is too busy, or does not answer in time.
        """
        return self.checked(self.ask(make))

    def ask(self, make: Callable[[float], RemoteCall]) -> RemoteAnswer | LostCall:
        """Make a call, and say what became of it, whatever that is.

        Raises:
            ModelUnavailableError: when the server could not be reached just now.
            DeadlineError: when nobody waits for what this is a part of.
        """
        check_waited_for()
        if self._clock() < self._down_until:
            raise self._noted(
                ModelUnavailableError(_LOST["connect"], where=self._where, hint=_HINTS["connect"]), self._down_why
            )
        remote = self.remote
        asking = ask(
            make,
            timeout_s=min(remote.timeout_s, left_s() + PAST_S),
            retries=remote.retries,
            first_wait_s=remote.first_wait_s,
            clock=self._clock,
        )
        got: RemoteAnswer | LostCall | None = None
        while True:
            try:
                step = asking.send(got)
            except StopIteration as done:
                result: RemoteAnswer | LostCall = done.value
                if isinstance(result, LostCall):
                    check_waited_for()  # where that is too late, the server is not to blame
                return result
            if isinstance(step, Wait):
                self._sleep(step.seconds)
                got = None
            else:
                got = self._line.send(step)

    def checked(self, got: RemoteAnswer | LostCall) -> RemoteAnswer:
        """The answer, where it is well; raises what `__call__` does."""
        if isinstance(got, LostCall):
            if got.kind == "connect":
                self._down_why, self._down_until = got.what, self._clock() + DOWN_S
            what = _LOST[got.kind].format(timeout_s=self.remote.timeout_s)
            raise self._noted(ModelUnavailableError(what, where=self._where, hint=_HINTS[got.kind]), got.what)
        if 200 <= got.status < 300:
            return got
        raise self._error(got)

    def _error(self, got: RemoteAnswer) -> Exception:
        answered = f"its server answered {got.status}"
        said = self.told(f"{answered}: {got.error}")
        if got.status == 413:
            return MemoryError(said)
        if got.status in _NOT_THE_ROWS:
            hint = _NOT_THE_ROWS[got.status]
            return self._noted(ModelLoadError(answered, where=self._where, hint=hint), said)
        if got.status in _LATER:
            return self._noted(ModelUnavailableError(answered, where=self._where, hint="try again later"), said)
        kind = InputError if 400 <= got.status < 500 else RequestError
        return kind(said, where=self._where)

    def told(self, text: str) -> str:
        """What a server said, with `***` in place of the credentials that it was sent."""
        for value in self.remote.headers.values():
            secret = value.removeprefix("Bearer ")
            text = text.replace(secret, "***") if len(secret) >= SHORTEST_SECRET else text
        return text

    def _noted(self, error: ModelError, detail: str) -> ModelError:
        """An error with its detail as a note, which is logged too: at most once in `LOG_S`."""
        note = f"{self._address}: {detail}" if self._address else detail
        error.add_note(note)
        if self._clock() >= self._logged + LOG_S:
            self._logged = self._clock()
            _LOG.warning("%s cannot be called: %s", self._where, note)
        return error

    def close(self) -> None:
        """Close the line."""
        self._line.close()


_LOST = {
    "connect": "the server cannot be reached",
    "busy": "no connection was free within {timeout_s:g} s",
    "broken": "the connection broke before the answer came",
    "timeout": "no answer within {timeout_s:g} s",
}
_HINTS = {
    "connect": "check the address, and that the server runs",
    "busy": "allow more time with `with: {timeout_s: ...}`",
    "broken": "look into the server's log",
    "timeout": "allow more time with `with: {timeout_s: ...}`, or give it fewer rows with `batch: {max_rows: ...}`; "
    "the next call makes a new connection",
}


def name_of(source: ModelSource) -> str:
    """A model as its callers know it, without its address."""
    return "the model" if source.name == source.location else f"model {source.name!r}"


class Signatures:
    """What servers said of their models, kept for a while so that a graph is checked and loaded with one question."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: LruCache[str, tuple[float, Signature]] = LruCache(MAX_KEPT)

    def find(self, source: ModelSource, read: Callable[[], Signature]) -> Signature:
        """What a model takes and gives; its server is not asked where all of it is declared.

        Args:
            source: the model.
            read: asks its server.

        Raises:
            ModelLoadError: when the server must be asked and does not say it.
            UnknownNameError, TypeMismatchError: when what is declared is not so.
        """
        if source.inputs and source.outputs:
            return Signature(dict(source.inputs), dict(source.outputs))
        key = f"{source.location} {sorted(source.options.items(), key=str)}"
        kept = self._kept.get(key)
        if kept is None or self._clock() - kept[0] > KEPT_S:
            known = self._asked(source, read)
            kept = self._kept.put(key, (self._clock(), known))
        return declared_over(kept[1], source)

    def _asked(self, source: ModelSource, read: Callable[[], Signature]) -> Signature:
        hint = "declare its inputs and outputs in the graph; then its server is not asked for them"
        try:
            found = read()
        except ModelError as error:
            unreachable = isinstance(error, ModelUnavailableError)
            what = "; ".join([error.what, *getattr(error, "__notes__", ())])
            raise type(error)(what, where=place(source), hint=hint if unreachable else error.hint) from error
        except (InputError, RequestError) as error:
            raise load_error(source, f"its server does not say what it takes and gives: {error.what}", hint) from error
        if not found.inputs or not found.outputs:
            raise load_error(source, "its server does not say what it takes and gives", hint)
        return found
