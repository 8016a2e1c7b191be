"""Event loops for tests of what serves."""

import asyncio
import threading
from typing import Any

import uvloop

from helpers.until import until_async

TIMEOUT_S = 20


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self.errors = []
        self.loop.set_exception_handler(lambda loop, context: self.errors.append(context))
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, awaitable: Any, timeout_s: Any = TIMEOUT_S) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(timeout_s)

    def start(self, awaitable: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop)

    def call(self, function: Any, *args: Any) -> Any:
        async def called() -> Any:
            return function(*args)

        return self.run(called())

    def until(self, condition: Any, timeout_s: Any = TIMEOUT_S) -> None:
        """Let the loop go on until something is so."""

        self.run(until_async(condition, timeout_s), timeout_s + 1)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(TIMEOUT_S)
        self.loop.close()
