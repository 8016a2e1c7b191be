"""What happens to a server, and what its log must say of it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .clients import Clients
from .world import World, until

Line = Mapping[str, object]


class Faults:
    """Does one thing after the other to the server, each over before the next begins.

    Args:
        world: has the server.
        clients: ask meanwhile.
        chance: chooses.
    """

    def __init__(self, world: World, clients: Clients, chance: random.Random) -> None:
        self.world, self.clients, self.chance = world, clients, chance
        self.done: list[str] = []
        self.expected: list[str] = []
        """Lines that the log had to have, and has."""
        self.missed: list[str] = []
        """What did not come about that had to."""
        every: dict[str, Callable[[], None]] = {
            "a replica is killed": lambda: self._replica(signal.SIGKILL),
            "a replica is stopped": lambda: self._replica(signal.SIGSTOP),
            "a process is killed": self._process_killed,
            "a process is stopped": self._process_stopped,
            "a process is stopped for a moment": self._process_pauses,
            "the supervisor is stopped for a while": self._supervisor_pauses,
            "a process is killed while the supervisor is stopped": self._killed_unseen,
            "the configuration is read again": self._read_again,
            "the disk is full": self._disk,
            "the database is away": self._database,
        }
        if world.redis.there:
            every |= {"Redis is killed": self._redis_killed, "Redis hangs": self._redis_hangs}
        if world.clock:
            every["the clock steps"] = self._clock
        self.every = every

    def all(self) -> None:
        """Everything once, in an order by chance, and the supervisor last."""
        names = list(self.every)
        self.chance.shuffle(names)
        for name in names:
            self.do(name)
        self.supervisor_killed()

    def some(self, count: int) -> None:
        """A process and a replica are killed, and some other things happen, which chance chooses."""
        first = ["a process is killed", "a replica is killed"]
        names = [*first, *self.chance.sample(sorted(self.every.keys() - set(first)), count)]
        self.chance.shuffle(names)
        for name in names:
            self.do(name)

    def do(self, name: str) -> None:
        """One of them; returns when the server is whole again."""
        self._quietly(name)
        until(self.world.whole, 60)

    def any(self) -> None:
        self.do(self.chance.choice(list(self.every)))

    def _expect(self, kind: str, about: str, holds: Callable[[Line], bool]) -> int:
        """Wait for a line of the log; gives its place."""
        found: list[int] = []

        def said() -> bool:
            lines = [line for line in self.world.lines() if line.get("incident") == kind and holds(line)]
            found.extend(int(str(line["at"])) for line in lines)
            return bool(found)

        until(said, 60, f"no {kind} of {about}")
        self.expected.append(f"{kind}: {about}")
        return found[0]

    def _gateway(self) -> int:
        return self.chance.choice(self.world.gateways())

    def _replica(self, number: signal.Signals) -> None:
        gateway = self._gateway()
        pid = self.chance.choice(self.world.replicas(gateway))
        os.kill(pid, number)
        lost = self._expect("replica_lost", f"replica {pid}", lambda line: f"pid {pid})" in str(line["message"]))
        self._expect(
            "replica_back", f"after {pid}", lambda line: line["pid"] == gateway and int(str(line["at"])) > lost
        )

    def _falls(self, pid: int, number: signal.Signals) -> None:
        self.world.fallen.add(pid)
        self.clients.falls.append(time.monotonic())
        os.kill(pid, number)

    def _process_killed(self) -> None:
        pid, backs = self._gateway(), self._said("process_back")
        self._falls(pid, signal.SIGKILL)
        self._expect("process_lost", f"process {pid}", lambda line: line["process"] == pid)
        until(lambda: self._said("process_back") > backs, 60)

    def _process_stopped(self) -> None:
        pid, backs = self._gateway(), self._said("process_back")
        self._falls(pid, signal.SIGSTOP)
        self._expect("process_hung", f"process {pid}", lambda line: line["process"] == pid)
        until(lambda: self._said("process_back") > backs, 60)

    def _process_pauses(self) -> None:
        pid = self._gateway()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(2.0)
        os.kill(pid, signal.SIGCONT)
        self._expect("stalled", f"process {pid}", lambda line: line["pid"] == pid)

    @contextlib.contextmanager
    def _supervisor_stopped(self) -> Iterator[None]:
        """Longer than a process may be silent, which go on to serve."""
        assert self.world.supervisor is not None
        self.world.supervisor.send_signal(signal.SIGSTOP)
        try:
            yield
            time.sleep(4.0)
        finally:
            self.world.supervisor.send_signal(signal.SIGCONT)

    def _supervisor_pauses(self) -> None:
        lost = self._said("process_hung") + self._said("process_lost")
        with self._supervisor_stopped():
            pass
        time.sleep(4.0)
        assert self._said("process_hung") + self._said("process_lost") == lost, "processes were blamed"

    def _killed_unseen(self) -> None:
        with self._supervisor_stopped():
            pid, backs = self._gateway(), self._said("process_back")
            self._falls(pid, signal.SIGKILL)
        self._expect("process_lost", f"process {pid}", lambda line: line["process"] == pid)
        until(lambda: self._said("process_back") > backs, 60)

    def pair(self) -> None:
        """Something that the server depends on fails, and within it one of its own processes."""
        own = [name for name in self.every if name.startswith("a ")]
        inner = self.chance.choice(own)
        beside = ("the configuration is read again", "the supervisor is stopped for a while")
        outer = self.chance.choice([name for name in self.every if name not in (*own, *beside)])
        thread = threading.Thread(target=self._quietly, args=(outer,))
        thread.start()
        time.sleep(self.chance.random())
        self._quietly(inner)
        thread.join()
        until(self.world.whole, 60)

    def _quietly(self, name: str) -> None:
        self.done.append(name)
        try:
            self.every[name]()
        except AssertionError as error:
            self.missed.append(f"{name}: {error}")

    def _said(self, kind: str) -> int:
        return sum(line.get("incident") == kind for line in self.world.lines())

    def _outage(self, name: str, begin: Callable[[], object], end: Callable[[], object], **about: Any) -> None:
        def fits(line: Line) -> bool:
            return all(str(value) in str(line.get(key, "")) for key, value in about.items())

        def count(kind: str) -> int:
            return sum(line.get("incident") == kind and fits(line) for line in self.world.lines())

        def all_back() -> bool:
            """Whether every process that lives has said that it is back, if it has said that it was not."""
            alive, lost = set(self.world.gateways()), Counter[tuple[object, object]]()
            for line in self.world.lines():
                if line.get("incident") in (f"{name}_out", f"{name}_back") and line["pid"] in alive and fits(line):
                    key = line["pid"], line.get("sink", line.get("file"))
                    lost[key] += 1 if line["incident"] == f"{name}_out" else -1
            return not any(lost.values())

        until(all_back, 60)
        outs, backs = count(f"{name}_out"), count(f"{name}_back")
        begin()
        try:
            until(lambda: count(f"{name}_out") > outs, 60)
            time.sleep(self.chance.random())
        finally:
            end()
        until(lambda: count(f"{name}_back") > backs and all_back(), 60)
        self.expected += [f"{name}_out: {about}", f"{name}_back: {about}"]

    def _disk(self) -> None:
        def full() -> None:
            self._outage("sink", self.world.fill_disk, self.world.empty_disk, sink="disk")

        self._outage("lines", full, self.world.empty_disk, file="access")

    def _database(self) -> None:
        if self.world.postgres is not None:
            self._outage("sink", self.world.postgres.kill, self.world.postgres.start, sink="base")
            return
        with contextlib.closing(sqlite3.connect(self.world.folder / "records.db", isolation_level=None)) as base:
            self._outage("sink", lambda: base.execute("BEGIN EXCLUSIVE"), lambda: base.execute("ROLLBACK"), sink="base")

    def _redis_killed(self) -> None:
        self._outage("rates", self.world.redis.kill, self.world.redis.start)

    def _redis_hangs(self) -> None:
        process = self.world.redis.process
        assert process is not None
        self._outage("rates", lambda: process.send_signal(signal.SIGSTOP), lambda: process.send_signal(signal.SIGCONT))

    def _clock(self) -> None:
        for seconds in (self.chance.choice([-86_400, -60, 60, 86_400]), 0):
            self.world.step_clock(seconds)
            time.sleep(1.5)

    def _read_again(self) -> None:
        def said() -> int:
            return sum(line.get("message") == "the configuration was read again" for line in self.world.lines())

        before, count = said(), len(self.world.gateways())
        assert self.world.supervisor is not None
        self.world.supervisor.send_signal(signal.SIGHUP)
        until(lambda: said() >= before + count, 60)

    def supervisor_killed(self) -> None:
        """The parent of the processes is killed: they end with all that they have started, and the server is begun anew."""
        self.done.append("the supervisor is killed")
        self.world.counted = self.world.incidents()
        gateways = self.world.gateways()
        left = [*gateways, *(pid for each in gateways for pid in self.world.replicas(each))]
        self.world.fallen.update(gateways)
        self.clients.falls.append(time.monotonic())
        assert self.world.supervisor is not None
        self.world.supervisor.kill()
        self.world.supervisor.wait()
        for pid in gateways:
            self._expect("supervisor_lost", f"process {pid}", lambda line, pid=pid: line["pid"] == pid)  # type: ignore[misc]
        until(lambda: not any(os.path.exists(f"/proc/{pid}") and not _is_zombie(pid) for pid in left), 60)
        self.world.start()
        self.clients.falls.append(time.monotonic())


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
