"""Asking over a network: when a call is made again, and when not. Nothing here sends anything.

`ask` is a generator: it yields the calls to send and the times to wait, and is sent what became of each call. Whoever
drives it owns the connections, so the same rules hold for blocking and for asynchronous clients.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from motet.oip.rest import decode_json

__all__ = ["Asking", "LostCall", "RemoteAnswer", "RemoteCall", "Wait", "ask", "error_of"]

FIRST_WAIT_S = 0.05
"""The longest wait before the second try; it doubles with each further one."""
LONGEST_WAIT_S = 2.0
MAX_TEXT = 1000
"""Letters of a server's error that are shown."""
_REFUSED = (429, 503)
"""What was refused before anything was done."""
_BROKEN_ON_THE_WAY = (502,)


@dataclass(frozen=True, slots=True)
class RemoteCall:
    """What is to be sent.

    Attributes:
        method, path: of the request; the path begins with /.
        headers: of the request.
        body: of the request.
        timeout_s: how long it may take, in all.
        repeatable: whether it may be made again when it is not known what became of it.
        listen: is given headers and body of an answer that is well (2xx), part by part and decompressed, and says whether it is
            whole; the answer has no body then. What it raises ends the call; where the connection ends after the first part, it
            is not made again.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    timeout_s: float = 10.0
    repeatable: bool = True
    listen: Callable[[Mapping[str, str], bytes], bool] | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """How long to wait, in seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class RemoteAnswer:
    """What a server answered.

    Attributes:
        status: of HTTP.
        headers: by lower-case names.
        body: decompressed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes | bytearray

    @property
    def error(self) -> str:
        """What the server says is wrong: `error`, `detail` or `message` of its JSON, else the body itself."""
        try:
            said = decode_json(self.body, "")
        except ValueError:
            said = None
        if found := error_of(said):
            return found
        text = " ".join(bytes(self.body[: 4 * MAX_TEXT]).decode(errors="replace").split())[:MAX_TEXT]
        return text or f"status {self.status}"

    @property
    def retry_after_s(self) -> float | None:
        """When the server says that trying again may help, in seconds from now; None where it does not."""
        said = self.headers.get("retry-after", "").strip()
        if not said:
            return None
        try:
            return max(0.0, float(said))
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
        except (ValueError, OverflowError):
            return None


def error_of(said: Any) -> str:
    """What JSON says is wrong: its `error`, `detail` or `message`, or the `message` of such an object; empty for nothing."""
    for key in ("error", "detail", "message"):
        value = said.get(key) if isinstance(said, dict) else None
        if isinstance(value, dict) and isinstance(value.get("message"), str) and value["message"]:
            value = value["message"]  # as OpenAI says it
        if value:
            return str(value)[:MAX_TEXT]
    return ""


@dataclass(frozen=True, slots=True)
class LostCall:
    """A call that was not answered.

    Attributes:
        kind: `connect` (nothing was sent), `busy` (nor here, since all connections were in use for the whole time), `broken` (the
            connection ended before the answer did), or `timeout`.
        what: the reason.
        begun: whether a part of the answer has been listened to.
    """

    kind: Literal["connect", "busy", "broken", "timeout"]
    what: str
    begun: bool = False


Asking = Generator[RemoteCall | Wait, RemoteAnswer | LostCall | None, RemoteAnswer | LostCall]
"""Yields calls, which are answered by `RemoteAnswer` or `LostCall`, and waits, which are answered by None."""


def ask(
    make: Callable[[float], RemoteCall],
    *,
    timeout_s: float,
    retries: int,
    first_wait_s: float = FIRST_WAIT_S,
    clock: Callable[[], float] = time.monotonic,
    chance: Callable[[], float] = random.random,
) -> Asking:
    """Make a call, and make it again where that is safe and there is time.

    It is safe when the call was never sent or was refused (429, 503), and for repeatable calls also when the connection
    broke (or a proxy's did: 502). The waits double, with jitter; a server's Retry-After is kept to, and where it is
    longer than what is left, the refusal is the answer.

    Args:
        make: makes the call for the seconds that are left; the first time these are exactly `timeout_s`.
        timeout_s: for everything together.
        retries: how often it is made again at most.
        first_wait_s: the longest wait before the second try.
        clock: seconds that only go up.
        chance: a number from 0 to 1.

    Returns:
        The last answer, whatever its status, or how the last call was lost.
    """
    end, left = clock() + timeout_s, timeout_s
    for tried in range(retries + 1):
        call = make(left)
        got = yield call
        assert got is not None
        pause = _pause(got, call, first_wait_s * 2**tried, chance)
        left = end - clock()
        if tried == retries or pause is None or pause >= left:
            return got
        yield Wait(pause)
        left = end - clock()
        if left <= 0:
            return got
    raise AssertionError("the last try returns")


def _pause(
    got: RemoteAnswer | LostCall, call: RemoteCall, longest_s: float, chance: Callable[[], float]
) -> float | None:
    """How long to wait before the next try; None where there must be none."""
    if isinstance(got, LostCall):
        again = got.kind == "connect" or (got.kind == "broken" and call.repeatable and not got.begun)
        asked_s = None
    else:
        again = got.status in _REFUSED or (got.status in _BROKEN_ON_THE_WAY and call.repeatable)
        asked_s = got.retry_after_s
    if not again:
        return None
    pause = min(longest_s, LONGEST_WAIT_S) * (0.5 + chance() / 2)
    return pause if asked_s is None else asked_s + pause * 0.2
