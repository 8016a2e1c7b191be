"""How a server is asked: its address, what every call has, how often it is made, and whose mistake a wrong answer is."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from motet.client.refusals import error_of
from motet.errors import InputError, RequestError
from motet.oip.asking import Asking, LostCall, RemoteAnswer, RemoteCall, Wait, ask
from motet.oip.rest import decode_json
from motet.system.addresses import lacks_brackets
from motet.system.secrets import header_value, without_passwords
from motet.version import __version__

__all__ = ["Flow", "ServerCalls", "answer_json", "answering"]

T = TypeVar("T")
Flow = Generator[RemoteCall | Wait, RemoteAnswer | LostCall | None, T]


class ServerCalls:
    """Calls to one server, without any connection.

    Args:
        url: of the server, for example `http://localhost:8000`; what follows the port is put before every path.
        api_key: sent as `Authorization: Bearer KEY`.
        timeout_s: for a method, its retries and waits included.
        retries: how often a call is made again at most.
        clock: seconds that only go up.

    Attributes:
        origin: scheme, host and port.
        secure: whether TLS is spoken.

    Raises:
        InputError: when an argument cannot be used.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        timeout_s: float = 10.0,
        retries: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = _parts(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise InputError(f"{without_passwords(url)!r} is no server's address", hint="write http://localhost:8000")
        if parts.username or parts.password:
            raise InputError("the address holds a credential", hint="give it as api_key=")
        _check_timeout(timeout_s)
        if not isinstance(retries, int) or retries < 0:
            raise InputError(f"retries must be a whole number of at least 0; got {retries!r}")
        self.origin, self._prefix = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
        self.secure = parts.scheme == "https"
        self._timeout_s, self._retries, self._clock = timeout_s, retries, clock
        self._headers = {"User-Agent": f"motet/{__version__}", "Accept-Encoding": "identity"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {header_value(api_key, 'api_key')}"

    def _json(self, method: str, path: str, body: bytes = b"", *, repeatable: bool = True) -> Flow[Any]:
        """Ask for a JSON document; None where the answer is empty."""
        headers = {"Content-Type": "application/json"} if body else {}
        got = yield from self._ask(
            lambda left_s: self._call(method, path, left_s, body, headers, repeatable=repeatable),
            f"{method} {path}",
            self._timeout_s,
            self._timeout_s,
        )
        return answer_json(got, path) if got.body else None

    def _ask(
        self, make: Callable[[float], RemoteCall], where: str, timeout_s: float, budget_s: float
    ) -> Flow[RemoteAnswer]:
        asking: Asking = ask(make, timeout_s=timeout_s, retries=self._retries, clock=self._clock)
        got = yield from asking
        error = error_of(got, f"{self.origin}: {where}", budget_s)
        if error is not None:
            raise error
        assert isinstance(got, RemoteAnswer)
        return got

    def _call(
        self,
        method: str,
        path: str,
        timeout_s: float,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        repeatable: bool = True,
    ) -> RemoteCall:
        return RemoteCall(
            method, self._prefix + path, {**self._headers, **(headers or {})}, body, timeout_s, repeatable
        )

    def _budget(self, timeout_s: float | None) -> float:
        if timeout_s is None:
            return self._timeout_s
        _check_timeout(timeout_s)
        return timeout_s


def _parts(url: str) -> SplitResult:
    """A URL in its parts, with a port that is one."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if not (hint := lacks_brackets(parts.netloc)):
            parts.port  # noqa: B018 (raises where it is none)
            return parts
    except ValueError as error:
        hint = str(error)
    raise InputError(f"{without_passwords(url)!r} is no server's address", hint=hint)


def _check_timeout(timeout_s: float) -> None:
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 < timeout_s < 1e6:
        raise InputError(f"timeout_s must be a number of seconds more than 0; got {timeout_s!r}")


def answer_json(got: RemoteAnswer, where: str) -> Any:
    """What an answer says in JSON.

    Raises:
        RequestError: when it is none.
    """
    with answering(where):
        return decode_json(got.body, where)


@contextmanager
def answering(where: str) -> Iterator[None]:
    """Tell what is wrong with an answer as the server's mistake, and not the caller's.

    Raises:
        RequestError: in place of `InputError` and `KeyError`.
    """
    try:
        yield
    except (InputError, KeyError) as error:
        what = error.what if isinstance(error, InputError) else f"output {error} is not in all of its answers"
        raise RequestError(what, where=getattr(error, "where", where)) from error
