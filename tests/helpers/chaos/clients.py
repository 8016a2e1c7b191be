"""Clients that check every answer, and know which process they were connected to."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .world import World

WEIGHTS = np.arange(6, dtype=np.float32).reshape(2, 3)
PATIENCE_S = 30.0
UNREADY = "is being loaded"
"""What a server says that was begun anew, before it is ready."""
FALL_S = 8.0
"""How long before the end of a call over gRPC, whose process is not known, one may have been killed."""


@dataclass
class Told:
    """What became of requests."""

    right: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    unconnected: int = 0
    unready: int = 0
    """Requests to a server that was about to load."""
    excused: int = 0
    """Requests that were lost with the process that they were on."""
    lost: list[str] = field(default_factory=list)
    """Those that were lost on a process that nobody has killed."""
    wrong: list[str] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)


class Clients:
    """Threads that ask until they are told to stop.

    Args:
        world: has the server.
        count: how many over HTTP; one more asks over gRPC.
        seed: of what they ask.
    """

    def __init__(self, world: World, count: int, seed: int) -> None:
        self.world, self.told, self._lock, self._over = world, Told(), threading.Lock(), threading.Event()
        self.falls: list[float] = []
        """When processes that serve were killed or stopped."""
        asks = [self._over_http] * count + [self._over_grpc]
        self._threads = [
            threading.Thread(target=ask, args=(random.Random(f"{seed} {number}"), number), daemon=True)
            for number, ask in enumerate(asks)
        ]

    def start(self) -> None:
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        self._over.set()
        for each in self._threads:
            each.join(2 * PATIENCE_S)
            assert not each.is_alive(), "a client waits for ever"

    def _over_http(self, chance: random.Random, number: int) -> None:
        connection, pid, asked = None, None, 0
        while not self._over.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.world.port, timeout=PATIENCE_S)
                try:
                    connection.connect()
                except OSError:
                    self._count("unconnected")
                    connection.close()
                    connection = None
                    time.sleep(0.1)
                    continue
                pid = self._server_of(connection.sock.getsockname()[1])
            asked += 1
            id, x = f"h{number}-{asked}", rows(chance)
            try:
                status, text = post(connection, id, x)
            except (OSError, http.client.HTTPException) as error:
                self._lost(f"{id} on {pid}: {error!r}", excused=pid in self.world.fallen, accepted=pid is not None)
                connection.close()
                connection = None
                continue
            if status == 200:
                self._answered(id, x, text)
            elif UNREADY in text:  # as a balancer does, which looks whether a server is ready
                self._count("unready")
                time.sleep(0.1)
            else:
                self._refused(f"{status} {text[:200]}")
            if chance.random() < 0.02:
                connection.close()
                connection = None
            time.sleep(chance.random() * 0.01)
        if connection is not None:
            connection.close()

    def _over_grpc(self, chance: random.Random, number: int) -> None:
        import grpc
        from tritonclient import grpc as triton

        client, asked = triton.InferenceServerClient(f"127.0.0.1:{self.world.grpc_port}"), 0
        while not self._over.is_set():
            asked += 1
            id, x = f"r{number}-{asked}", rows(chance)
            tensor = triton.InferInput("x", list(x.shape), "FP32")
            tensor.set_data_from_numpy(x)
            begun = time.monotonic()
            try:
                found = client.infer("g", [tensor], request_id=id, client_timeout=PATIENCE_S)
            except triton.InferenceServerException as error:
                said = f"{error.status()} {error.message()[:200]}"
                if UNREADY in said:
                    self._count("unready")
                elif "is not ready" in said or "not answered in time" in said or "replica" in said:
                    self._refused(said)
                elif "onnect" in said and "reset" not in said.lower() and "refused" in said.lower():
                    self._count("unconnected")
                else:
                    near = any(begun - FALL_S < fall < time.monotonic() for fall in self.falls)
                    self._lost(f"{id}: {said}", excused=near, accepted=True)
                time.sleep(0.05)
                continue
            except grpc.RpcError as error:  # pragma: no cover (tritonclient wraps them)
                self._lost(f"{id}: {error!r}", excused=False, accepted=True)
                continue
            self._compared(id, x, found.as_numpy("y"), found.as_numpy("z"))
            time.sleep(chance.random() * 0.02)
        client.close()

    def _answered(self, id: str, x: np.ndarray, text: str) -> None:
        found = {
            each["name"]: np.array(each["data"], np.float32).reshape(each["shape"])
            for each in json.loads(text)["outputs"]
        }
        self._compared(id, x, found["y"], found["z"])

    def _compared(self, id: str, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> None:
        right = np.array_equal(y, x * 3 + 1) and np.array_equal(z, x @ WEIGHTS)
        with self._lock:
            if right:
                self.told.right += 1
                self.told.answered.add(id)
            else:
                self.told.wrong.append(f"{id}: {x.tolist()} {y.tolist()} {z.tolist()}")

    def _count(self, name: str) -> None:
        with self._lock:
            setattr(self.told, name, getattr(self.told, name) + 1)

    def _refused(self, said: str) -> None:
        with self._lock:
            self.told.refused[said] += 1

    def _lost(self, said: str, *, excused: bool, accepted: bool) -> None:
        if excused or not accepted:
            self._count("excused" if accepted else "unconnected")
            return
        with self._lock:
            self.told.lost.append(said)

    def _server_of(self, port: int) -> int | None:
        """The process that has accepted a connection from a port; None where none does soon."""
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            inode = _inode(self.world.port, port)
            for pid in self.world.gateways() if inode else ():
                if inode in _sockets(pid):
                    return pid
            time.sleep(0.005)
        return None


def rows(chance: random.Random) -> np.ndarray:
    """Some rows of whole numbers, for which every answer is exact."""
    return np.array([[chance.randrange(1000) for _ in range(2)] for _ in range(chance.randrange(1, 9))], np.float32)


def post(connection: http.client.HTTPConnection, id: str, x: np.ndarray) -> tuple[int, str]:
    tensor = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
    connection.request("POST", "/v2/models/g/infer", json.dumps({"id": id, "inputs": [tensor]}))
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def _inode(server: int, client: int) -> str:
    """The server's end of a connection, of whoever has accepted it; empty where nobody has."""
    ends = f":{server:04X} ", f":{client:04X} "
    for line in Path("/proc/net/tcp").read_text().splitlines():
        fields = line.split()
        if f"{fields[1]} ".endswith(ends[0]) and f"{fields[2]} ".endswith(ends[1]):
            return fields[9] if fields[9] != "0" else ""
    return ""


def _sockets(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                link = os.readlink(f"/proc/{pid}/fd/{name}")
                if link.startswith("socket:["):
                    found.add(link[8:-1])
    return found
