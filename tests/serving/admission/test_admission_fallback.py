"""What holds while the Redis that counts rates does not answer."""

import asyncio
import logging
import socket

import pytest

from motet.errors import GraphError, OverloadedError, TooManyRequestsError
from motet.serving.admission import Admission, AdmissionConfig
from motet.serving.admission.fallback import TRY_S, Fallback
from motet.serving.config.admission import Rate

WANTED = [(b"k" * 16, Rate(2, 60))]


class Counts:
    """Counts up to so many; or is away."""

    def __init__(self, most=1000):
        self.most, self.taken, self.asked, self.away = most, 0, 0, False

    async def take(self, wanted):
        self.asked += 1
        if self.away:
            raise OverloadedError("Redis does not answer", retry_after_s=1.0)
        self.taken += 1
        return 0.0 if self.taken <= self.most else 30.0

    async def look(self, wanted):
        self.asked += 1
        if self.away:
            raise OverloadedError("Redis does not answer", retry_after_s=1.0)
        return 0.0

    async def close(self):
        self.closed = True


@pytest.fixture
def made(clock):
    """What falls back, by what it does."""

    def make(fail):
        make.redis, make.local, make.uncounted = Counts(), Counts(2) if fail == "local" else None, []  # type: ignore[attr-defined]
        return Fallback(make.redis, make.local, fail, lambda: make.uncounted.append(1), clock)  # type: ignore[attr-defined]

    return make


def run(coroutine):
    return asyncio.run(coroutine)


@pytest.mark.parametrize("fail", ["closed", "open", "local"])
def test_what_is_configured_holds_until_redis_answers_again_which_the_log_says(made, clock, caplog, fail):
    rates = made(fail)
    caplog.set_level(logging.INFO, "motet.serving")

    async def taken():
        try:
            return await rates.take(WANTED)
        except OverloadedError:
            return "refused"

    assert run(taken()) == 0
    made.redis.away = True
    expected = {"closed": ["refused"] * 3, "open": [0.0] * 3, "local": [0.0, 0.0, 30.0]}[fail]
    assert [run(taken()) for _ in range(3)] == expected
    assert len(made.uncounted) == 3
    assert made.redis.asked == 2  # the others did not wait for it
    clock.now += TRY_S
    assert run(taken()) == expected[-1]
    assert made.redis.asked == 3
    made.redis.away = False
    assert run(taken()) == expected[-1]
    clock.now += TRY_S
    assert [run(taken()) for _ in range(2)] == [0.0, 0.0]
    assert len(made.uncounted) == 5
    lost, back = caplog.messages
    assert lost.startswith("Redis does not answer; until it does, requests ")
    assert back == "Redis answers again, and counts requests, after 2.0 s"


def test_looking_is_no_request(made):
    rates = made("open")
    made.redis.away = True
    assert run(rates.look(WANTED)) == 0
    assert not made.uncounted


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"redis": "redis://h:1/0", "fail": "ajar"}, "expected closed, open or local; got 'ajar'"),
        ({"fail": "open"}, "means nothing without 'redis'"),
    ],
)
def test_what_cannot_be_meant_is_refused(written, said):
    with pytest.raises(GraphError, match=said):
        AdmissionConfig.read(written, "admission")


@pytest.mark.parametrize(("fail", "admitted"), [("open", 5), ("local", 2), ("closed", 0)])
def test_a_server_whose_redis_is_away(tmp_path, fail, admitted):
    pytest.importorskip("redis")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    classes = {"anonymous": {"rate": "2/hour"}}
    written = {"redis": f"redis://127.0.0.1:{port}/0", "fail": fail, "classes": classes}

    async def main():
        admission = Admission(AdmissionConfig.read(written, "admission"), folder=tmp_path)
        caller, found = admission.identify({}, "192.0.2.1"), 0
        for _ in range(5):
            try:
                (await admission.enter(caller)).leave()  # type: ignore[misc]
                found += 1
            except (OverloadedError, TooManyRequestsError):
                pass
        await admission.close()
        return found, admission.num_uncounted

    assert run(main()) == (admitted, 5)
