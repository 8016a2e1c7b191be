"""Requests a period, counted by Redis for all machines that use it."""

from __future__ import annotations

import asyncio
from typing import Any

from motet.errors import GraphError, MissingExtraError, OverloadedError
from motet.serving.admission.rates import AskedRates, Wanted

__all__ = ["RedisRates"]

TIMEOUT_S = 2.0
AT_ONCE = 32
"""Connections to Redis, at most; requests wait for one of them."""
SCRIPT = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local left = 0
for place, key in ipairs(KEYS) do
  local amount, period = tonumber(ARGV[2 * place]), tonumber(ARGV[2 * place + 1])
  local ahead = tonumber(redis.call('LINDEX', key, 0) or '0') - now
  if ahead > 0 then
    local entries = redis.call('LRANGE', key, 0, -1)
    redis.call('DEL', key)
    for _, entry in ipairs(entries) do
      redis.call('RPUSH', key, string.format('%.0f', entry - ahead))
    end
    redis.call('PEXPIRE', key, math.ceil(period / 1000))
  end
  local entry = redis.call('LINDEX', key, amount - 1)
  if entry then
    left = math.max(left, entry + period - now)
  end
end
if left == 0 and ARGV[1] == 'take' then
  for place, key in ipairs(KEYS) do
    redis.call('LPUSH', key, string.format('%.0f', now))
    redis.call('LTRIM', key, 0, ARGV[2 * place] - 1)
    redis.call('PEXPIRE', key, math.ceil(ARGV[2 * place + 1] / 1000))
  end
end
return string.format('%.0f', left)
"""
"""Looks at the rates of a request, and counts it in all of them if each has a place: KEYS are the rates, ARGV `take` or `look`,
then amount and period of each in microseconds. A key is the list of the times when requests began, the last one first, on
the clock of Redis. Where that was set back, what then lies ahead is moved, so that the newest is now."""


class RedisRates(AskedRates):
    """Rates of all machines that use the same Redis, on its clock: those of the machines may differ.

    Each rate is exact, and a request counts in all of its rates or in none, by a script that Redis runs (5 or newer).

    Args:
        address: `redis://HOST:PORT/NUMBER`.

    Raises:
        MissingExtraError: when `redis` is not installed.
        GraphError: when the address is none.
    """

    def __init__(self, address: str) -> None:
        try:
            import redis
            from redis.asyncio import Redis
        except ImportError as error:
            raise MissingExtraError("redis", "redis", "admission by rates that Redis counts") from error
        self._errors, self._broken = (redis.RedisError, OSError, TimeoutError), redis.ConnectionError
        try:
            self._client: Redis = Redis.from_url(
                address.removeprefix("redis+") if address.startswith("redis+unix:") else address,
                socket_timeout=TIMEOUT_S,
                socket_connect_timeout=TIMEOUT_S,
            )
        except ValueError:  # which may say a part of the password
            hint = "write redis://HOST:PORT/NUMBER, and signs of a password as in any URL: %2F for /"
            raise GraphError("is no address of a Redis", where="admission.redis", hint=hint) from None
        self._script: Any = self._client.register_script(SCRIPT)
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def _ask(self, how: str, wanted: Wanted) -> float:
        keys = [f"motet/{key.hex()}/{rate.amount}/{rate.period_s}" for key, rate in wanted]
        bounds = [number for _, rate in wanted for number in (rate.amount, round(rate.period_s * 1e6))]
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._at_once,
            ):  # those that wait for a connection wait no longer than it does
                left = int(await self._run(keys, [how, *bounds]))
        except self._errors as error:
            raise OverloadedError(
                f"requests cannot be counted now: Redis does not answer ({type(error).__name__})", retry_after_s=1.0
            ) from None
        return max(left / 1e6, 0.001) if left else 0.0

    async def _run(self, keys: list[str], args: list[Any]) -> Any:
        """Run the script: a second time where the connection was of a Redis that has ended, as all that are kept may be."""
        try:
            return await self._script(keys=keys, args=args)
        except self._broken:
            await self._client.connection_pool.disconnect(inuse_connections=False)
            return await self._script(keys=keys, args=args)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
