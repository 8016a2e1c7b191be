"""Worker processes of Beam's runner in this process: one that ends before its work does ends the pipeline.

Beam itself waits for it without an end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TypeVar

import grpc
from apache_beam.portability import python_urns
from apache_beam.runners.portability.fn_api_runner.worker_handlers import SubprocessSdkWorkerHandler, WorkerHandler
from apache_beam.runners.portability.local_job_service import SubprocessSdkWorker

__all__ = ["watch_workers"]

T = TypeVar("T")
AGAIN_S = 0.2
"""How often what is asked of a worker that has ended is answered with that."""


def watch_workers() -> None:
    """Have Beam's runner in this process watch the processes that it starts from now on."""
    WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)(_WatchedWorkerHandler)


class _WatchedWorkerHandler(SubprocessSdkWorkerHandler):  # type: ignore[misc]
    """Beam's handler of a worker process, which also tells of its end."""

    def start_worker(self) -> None:
        """Start the process, and watch it."""
        self._closed = threading.Event()
        for connection, name in ((self.control_conn, "set_input"), (self.data_conn, "set_inputs")):
            setattr(connection, name, partial(_take_until_lost, getattr(connection, name)))
        self.worker = SubprocessSdkWorker(
            self._worker_command_line, self.control_address, self.provision_info, self.worker_id
        )
        self.worker_thread = threading.Thread(name="run_worker", target=self._watch, daemon=True)
        self.worker_thread.start()

    def close(self) -> None:
        """Tell it that all is done, and wait for its end."""
        self._closed.set()
        super().close()

    def _watch(self) -> None:
        said = "it has ended by itself"
        try:
            self.worker.run()
        except RuntimeError as error:
            said = str(error)
        lost = RuntimeError(f"a worker process of Beam is lost: {said}")
        while not self._closed.wait(AGAIN_S):
            with suppress(RuntimeError):  # something was asked meanwhile
                self.control_conn.abort(lost)


def _take_until_lost(take: Callable[[Iterator[T]], None], said: Iterator[T]) -> None:
    """Have what a worker says taken, until it is lost."""
    take(_until_lost(said))


def _until_lost(said: Iterator[T]) -> Iterator[T]:
    with suppress(grpc.RpcError):
        yield from said
