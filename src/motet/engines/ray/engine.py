"""Ray: a split is a task. Ray plays tasks of workers and nodes that die again, and keeps processes, and what they loaded."""

from __future__ import annotations

import math
import os
import socket
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from motet.engines.needs import PLAIN
from motet.engines.ray.room import TaskRoom, is_amount
from motet.engines.splits.engine import EngineOptions, SplitEngine, imported, needed
from motet.errors import InputError
from motet.runtime.resources.need import Need
from motet.system.signals import kept_signals

__all__ = ["RayEngine"]

T = TypeVar("T")
R = TypeVar("R")

RETRIES = 3
"""Times that a task is played again whose process or node died, or that something kept from its data."""
CONNECT_S = 10.0
"""How long an address is waited for."""
MOST_WAITING = 1000
"""Tasks that Ray holds at a time."""


class RayEngine(SplitEngine):
    """Runs splits as tasks on Ray: the cluster that the program is connected to, that of an address, or one begun here.

    Args:
        arguments: `--address ADDRESS` of a cluster, where the program is not connected to one; `--num-cpus N` and
            `--num-gpus N`, what a task has to itself: by itself what the models ask for; `--split-bytes`.
    """

    name = "ray"

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self._ray = imported("ray", self.name)
        options = EngineOptions(self.name)
        options.add_argument("--address")
        options.add_argument("--num-cpus", type=_amount)
        options.add_argument("--num-gpus", type=_amount)
        self._options = options.parse_args(arguments)
        self.split_bytes, self.one_stage = self._options.split_bytes, self._options.one_stage

    @contextmanager
    def connected(self, needs: Sequence[Need] = ()) -> Iterator[None]:
        """A cluster: that of the program, or one that is connected to.

        Raises:
            InputError: when options say what the program's own has decided, or no node has what a task asks for.
        """
        ray = self._ray
        begun = not ray.is_initialized()
        if not begun and self._options.address:
            what = f"--address {self._options.address} is not used: the program is connected to a cluster already"
            raise InputError(what, where="engine ray", hint="leave it out, or call ray.shutdown() first")
        if begun:
            check_reached(self._options.address or os.environ.get("RAY_ADDRESS", ""))
            path = os.environ.get("PYTHONPATH")  # without one here that of a node counts
            env = {"env_vars": {"PYTHONPATH": path}} if path else None
            with kept_signals():
                ray.init(self._options.address, log_to_driver=False, runtime_env=env)
        try:
            for need in needs or [PLAIN]:
                self.room(need).check_task(ray)
            yield
        finally:
            if begun:
                ray.shutdown()

    def room(self, need: Need) -> TaskRoom:
        """What a task has to itself: what options say, else what its models ask for."""
        return TaskRoom.of(need, self._options.num_cpus, self._options.num_gpus)

    def hints(self, need: Need) -> Mapping[str, float]:
        """See `SplitEngine.hints`."""
        return self.room(need).options

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """See `SplitEngine.map`."""
        ray, room = self._ray, self.room(needed(function))
        call = ray.remote(_call).options(**room.options, max_retries=RETRIES, retry_exceptions=True)
        shared, left = ray.put(function), iter(items)
        waiting: list[Any] = []
        try:
            while True:
                waiting += [call.remote(shared, item) for item in islice(left, MOST_WAITING - len(waiting))]
                if not waiting:
                    return
                done, waiting = ray.wait(waiting)
                try:
                    found = ray.get(done)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from None
                yield from found
        finally:
            for each in waiting:
                ray.cancel(each, force=True)


def check_reached(address: str) -> None:
    """See that something listens at a cluster's address, which Ray tries for more than a minute.

    Args:
        address: `HOST:PORT` or `ray://HOST:PORT`; `auto`, `local` and the like are of this machine.

    Raises:
        InputError: when nothing does.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        what = f"no cluster answers at {address}: {error}"
        raise InputError(what, where="engine ray", hint="see that its head runs there: ray status --address") from error


def _amount(text: str) -> float:
    """A number of CPUs or GPUs."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not is_amount(number):
        raise ArgumentTypeError(f"must be a part of 1 such as 0.5, or a whole number; got {text!r}")
    return number


def _call(function: Callable[[T], R], item: T) -> R:
    return function(item)
