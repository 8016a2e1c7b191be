"""A real gateway behind a real gRPC port, on a uvloop of its own."""

import asyncio
import threading
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton
import uvloop

import motet as mt
from helpers.until import until_async
from motet.oip.messages import HEALTH_SERVICE, SERVICE, message_class
from motet.serving.batching.request import Identity
from motet.serving.config.server import ServeConfig
from motet.serving.grpc import GrpcServer
from motet.serving.middleware.middleware import Middleware
from motet.serving.repository.repository import ModelRepository
from motet.serving.wire.errors import grpc_code
from motet.testing.fakes import Failing, Scores, fake
from serving.grpc import grpc_functions

DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "string", "bytes",
)  # fmt: skip
"""Every dtype that a column can have."""


class Live:
    """A loop in a thread of its own, with a gateway and its servers."""

    def __init__(self):
        self.loop = uvloop.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.servers = []
        self.gateways = []

    def run(self, awaitable, timeout_s=20):
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(timeout_s)

    def start(self, awaitable):
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop)

    def call(self, function, *args):
        async def called():
            return function(*args)

        return self.run(called())

    def until(self, condition, timeout_s=20):
        """Let the loop go on until something is so."""

        self.run(until_async(condition, timeout_s), timeout_s + 1)

    def repository(self, *graphs, limits=None, **options):
        async def made():
            repository = ModelRepository(limits, **options)
            for graph in graphs:
                repository.add(graph)
            await repository.load_all()
            assert repository.ready, [served.reason for served in repository.served.values()]
            return repository

        repository = self.run(made())
        self.gateways.append(repository)
        return repository

    def serve(self, repository, middleware=None, numbers=None, reuse_port=False, **config):
        """A server; `config` are fields of `ServeConfig`."""
        fields: dict[str, Any] = {"admin": "open", "grpc_port": 0, **config}
        settings = ServeConfig(**fields)

        async def started():
            let_in = middleware or Middleware(repository, settings)
            server = GrpcServer(repository, settings, let_in, numbers, reuse_port=reuse_port)
            await server.start()
            return server

        server = self.run(started())
        self.servers.append(server)
        return server

    def close(self):
        for channel in channels.values():
            channel.close()
        channels.clear()
        for gate in grpc_functions.gates.values():
            gate.set()
        for server in self.servers:
            self.run(server.stop(0))
        for repository in self.gateways:
            self.call(repository.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(20)
        self.loop.close()


class Door(Middleware):
    """Notes what comes in, whose it is by its key, and what becomes of it."""

    def __init__(self, repository, error=None):
        super().__init__(repository, ServeConfig(admin="open"))
        self.error, self.ended, self.entered = error, [], []

    def enter(self, call, deadline=None):
        self.entered.append((call.method, call.target, call.headers.get("traceparent"), call.peer))
        if self.error is not None:
            raise self.error
        context = super().enter(call, deadline)
        context.identity = Identity(call.headers.get("x-api-key", "nobody"), "key")
        return context

    def finished(self, context):
        self.ended.append(context)

    @property
    def codes(self):
        return [grpc_code(each.status) for each in self.ended]


def echo(dtype):
    x = mt.input("x", dtype)
    return mt.Graph(
        f"echo_{dtype.replace('[', '_').replace(']', '').replace(',', '_').replace('?', 'n')}",
        outputs={"y": mt.map(grpc_functions.same, x)},
    )


def gated_graph():
    """What answers when it may: see `grpc_functions.shut`."""
    gated = mt.Model(
        "python:serving.grpc.grpc_functions:Gated",
        "gated",
        inputs={"x": "float32"},
        outputs={"y": "float32"},
        options={"gate": "gate"},
        placement="thread",
    )
    return mt.Graph("gated", outputs={"y": mt.model(gated, mt.input("x", "float32"))})


def graphs():
    image = mt.input("image", "uint8[28,28]")
    mixed = [mt.input("a", "float32[2]"), mt.input("b", "int64", default=7)]
    number = mt.input("x", "float32")
    picky = fake(Failing, "failing", bad=[13.0])
    scores = fake(Scores, "scores", "float32[4]", "float32[3]", output="probabilities")
    features = mt.input("x", "float32[4]")
    yield from (echo(dtype) for dtype in DTYPES)
    yield from (echo(kind) for kind in ("uint8[28,28]", "float32[?,2]", "string[2]", "any"))
    yield mt.Graph("image", outputs={"image": mt.map(grpc_functions.same, image)})
    yield mt.Graph(
        "two", outputs={"a": mt.map(grpc_functions.same, mixed[0]), "b": mt.map(grpc_functions.same, mixed[1])}
    )
    yield mt.Graph("picky", outputs={"y": mt.model(picky, number)})
    yield mt.Graph("classes", outputs={"probabilities": mt.model(scores, features)})
    yield mt.Graph("lists", outputs={"y": mt.map(grpc_functions.counted, number)})
    yield mt.Graph("half", outputs={"y": mt.map(grpc_functions.half, number)})
    yield mt.Graph("odd", outputs={"y": mt.map(grpc_functions.anything, number)})


OIP = {
    "bool": "BOOL", "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64", "uint8": "UINT8",
    "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "float16": "FP16", "float32": "FP32", "float64": "FP64",
    "string": "BYTES", "bytes": "BYTES",
}  # fmt: skip

NUMPY = {datatype: dtype for dtype, datatype in OIP.items() if datatype != "BYTES"}


def tensor(name, array):
    """An input of the stock client."""
    kind = "BYTES" if array.dtype == object else OIP[array.dtype.name]
    made = triton.InferInput(name, list(array.shape), kind)
    made.set_data_from_numpy(array)
    return made


def as_sent(array):
    """What the stock client makes of the answer to a column: texts are bytes."""
    if array.dtype != object:
        return array
    texts = [value.encode() if isinstance(value, str) else value for value in array.flat]
    return np.array([*texts, None], dtype=object)[:-1].reshape(array.shape)


FIELDS = {
    "BOOL": "bool", "INT8": "int", "INT16": "int", "INT32": "int", "INT64": "int64", "UINT8": "uint", "UINT16": "uint",
    "UINT32": "uint", "UINT64": "uint64", "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes",
}  # fmt: skip


def contents(message, name, array):
    """Add an input as typed contents."""
    kind = "BYTES" if array.dtype == object else OIP[array.dtype.name]
    made = message.inputs.add(name=name, datatype=kind, shape=array.shape)
    elements = as_sent(array).reshape(-1).tolist()
    getattr(made.contents, f"{FIELDS[kind]}_contents").extend(elements)


STREAM = f"/{SERVICE}/ModelStreamInfer"
WATCH = f"/{HEALTH_SERVICE}/Watch"
SERVICES = {"Check": HEALTH_SERVICE}


def ask(server, method, message, **options):
    """Call a method by hand; `message` may be any bytes."""
    data = message if isinstance(message, bytes) else message.SerializeToString()
    service = SERVICES.get(method, SERVICE)
    answers = message_class(f"{service.rpartition('.')[0]}.{'HealthCheck' if method == 'Check' else method}Response")
    if server not in channels:
        channels[server] = grpc.insecure_channel(f"127.0.0.1:{server.port}")
    return channels[server].unary_unary(f"/{service}/{method}", response_deserializer=answers.FromString)(
        data, timeout=20, **options
    )


channels = {}
"""Channels of `ask`, by server; closed with the servers."""


def values(dtype, rows=3, shape=(), seed=0):
    """A column of a dtype, with its extreme values where there is place."""
    random = np.random.default_rng(seed)
    shape = (rows, *shape)
    if dtype == "string":
        texts = np.array(["", "häß\n", "日本語" * 50, "a", "b", "c\0d"], dtype=object)
        return random.choice(texts, shape)
    if dtype == "bytes":
        return random.choice(np.array([b"", b"\xff\x00", bytes(range(256)), b"a"], dtype=object), shape)
    if dtype == "bool":
        return random.random(shape) < 0.5
    if dtype.startswith("float"):
        array = random.normal(size=shape).astype(dtype)
        if array.size > 2:
            array.flat[:3] = [np.inf, -0.0, np.nan]
        return array
    bounds = np.iinfo(dtype)
    array = random.integers(bounds.min, bounds.max, shape, dtype=dtype, endpoint=True)
    if array.size > 1:
        array.flat[:2] = [bounds.min, bounds.max]
    return array
