"""The middleware by itself: the order of what a request passes, and what it is given."""

import asyncio
import contextlib
import gc
from types import SimpleNamespace
from typing import Any

import pytest

from motet.errors import ForbiddenError
from motet.serving.config.server import ServeConfig
from motet.serving.middleware.call import HeaderFields, IncomingCall
from motet.serving.middleware.middleware import Middleware

EMPTY: Any = SimpleNamespace(served={})
"""A repository of nothing."""


async def _turn():
    raise AssertionError("nobody awaits it")


@pytest.mark.parametrize(
    ("protocol", "method", "path"),
    [("http", "POST", "/v2/repository/models/m/load"), ("grpc", "RepositoryModelLoad", "")],
)
def test_a_turn_is_given_up_by_who_may_not_administer(protocol, method, path):
    """One that is left would be a warning, which is an error here."""
    middleware = Middleware(EMPTY)
    caller = SimpleNamespace(klass="", identity=None)
    admission: Any = SimpleNamespace(identify=lambda headers, address, peer: caller, enter=lambda caller: _turn())
    middleware.use(ServeConfig(), admission, None)
    with pytest.raises(ForbiddenError):
        middleware.enter(IncomingCall(protocol, method, path, "m", {}, "192.0.2.7", admin=True))
    gc.collect()


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, 200), (ForbiddenError("no"), 403), (asyncio.CancelledError(), 499), (ZeroDivisionError("oh"), 500)],
)
def test_the_status_follows_from_the_error_that_ends_a_request(error, status):
    context = Middleware(EMPTY).enter(IncomingCall("http", "POST", "/predict/m?a=1", "m", {}, ""))
    with contextlib.suppress(BaseException), context:
        if error is not None:
            raise error
    assert (context.status, context.error) == (status, error)
    context.end(ForbiddenError("a second time"))
    assert (context.status, context.call.operation) == (status, "POST /predict/m")


def test_fields_that_came_several_times_are_joined():
    fields = [(b"x-forwarded-for", b"6.6.6.6"), (b"host", b"\xe4"), (b"x-forwarded-for", b"192.0.2.7")]
    headers = HeaderFields(fields)
    assert dict(headers) == {"x-forwarded-for": "6.6.6.6, 192.0.2.7", "host": "ä"}
    assert (len(headers), headers.get("origin"), "host" in headers) == (2, None, True)
