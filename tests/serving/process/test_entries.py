"""What lets requests in, where one that may not administer would have to wait for its turn."""

import asyncio
import gc
from types import SimpleNamespace

import pytest

from motet.errors import ForbiddenError
from motet.serving.middleware.entries import AppDesk, Desk
from motet.serving.middleware.rest_entry import RestCall


async def _turn():
    raise AssertionError("nobody awaits it")


@pytest.fixture
def services():
    nothing = lambda *_, **__: None  # noqa: E731
    return SimpleNamespace(
        address=lambda peer, headers: peer,
        config=SimpleNamespace(admin="key", cors=()),
        enter=lambda visit, headers, **_: _turn(),
        rejected=nothing,
        write_down=nothing,
        seen=SimpleNamespace(tracing=None, grpc_answered=nothing),
    )


def test_a_turn_is_given_up_by_who_may_not_administer(services):
    """One that is left would be a warning, which is an error here."""
    asked = RestCall("POST", "/v2/repository/models/m/load", "m", {}, "192.0.2.7", True, 0)
    with pytest.raises(ForbiddenError):
        asyncio.run(AppDesk(services).enter(asked))
    with pytest.raises(ForbiddenError):
        Desk(services).enter("RepositoryModelLoad", "m", {}, "192.0.2.7")
    gc.collect()
