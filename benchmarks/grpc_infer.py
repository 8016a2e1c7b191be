"""ModelInfer of one uint8[28,28] row beside an echo of the same bytes: what of the time is gRPC's own.

    python -m benchmarks.grpc_infer [--callers 16] [--seconds 3] [--rounds 3]

Prints calls a second, the CPU time of the server a call, and how many calls of the echo one ModelInfer costs.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path

import grpc
import grpc.aio
import uvloop

import motet as mt
from motet.oip.messages import SERVICE, ModelInferRequest
from motet.ops.image import scale
from motet.serving.config.server import ServeConfig
from motet.serving.grpc import GrpcServer
from motet.serving.repository.repository import ModelRepository

METHODS = {"echo": "/bench/Echo", "infer": f"/{SERVICE}/ModelInfer"}
MODELS = Path(__file__).parent.parent / "examples" / "fashion" / "models"


def graph() -> mt.Graph:
    image = mt.input("image", "uint8[28,28]")
    pixels = mt.map(scale, image, by=255)
    return mt.Graph("mlp", outputs={"scores": mt.model(mt.Model(str(MODELS / "mlp.onnx")), pixels)})


def request() -> bytes:
    message = ModelInferRequest(model_name="mlp", raw_input_contents=[bytes(784)])
    message.inputs.add(name="image", datatype="UINT8", shape=[1, 28, 28])
    return message.SerializeToString()


async def serve(pipe: Connection) -> None:
    async def echo(data: bytes, _context: object) -> bytes:
        return data

    repository = ModelRepository()
    repository.add(graph())
    await repository.load_all()
    server = GrpcServer(repository, ServeConfig(grpc_port=0))
    echoes = grpc.aio.server()
    echoes.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench", {"Echo": grpc.unary_unary_rpc_method_handler(echo)}),)
    )
    ports = {"echo": echoes.add_insecure_port("127.0.0.1:0")}
    await server.start()
    await echoes.start()
    ports["infer"] = server.port
    pipe.send(ports)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, pipe.recv):
        pipe.send(time.process_time())
    await server.stop(0)
    await echoes.stop(0)
    repository.close()


def run_server(pipe: Connection) -> None:
    uvloop.run(serve(pipe))


async def drive(kind: str, port: int, callers: int, seconds: float) -> int:
    data, done = request(), 0
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary(METHODS[kind])
        await method(data)
        end = time.perf_counter() + seconds

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < end:
                await method(data)
                done += 1

        await asyncio.gather(*(caller() for _ in range(callers)))
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    pipe, other = spawn.Pipe()
    process = spawn.Process(target=run_server, args=(other,), daemon=True)
    process.start()
    ports = pipe.recv()

    def cpu_s() -> float:
        pipe.send(True)
        return float(pipe.recv())

    figures: dict[str, list[tuple[float, float]]] = {kind: [] for kind in METHODS}
    for _ in range(options.rounds):
        for kind in METHODS:
            before = cpu_s()
            done = uvloop.run(drive(kind, ports[kind], options.callers, options.seconds))
            figures[kind].append((done / options.seconds, (cpu_s() - before) / done * 1e6))
    pipe.send(False)
    process.join(10)
    for kind, rounds in figures.items():
        rate, cost = (statistics.median(values) for values in zip(*rounds, strict=True))
        print(f"{kind:6} {rate:8,.0f} calls/s {cost:7.0f} us of CPU a call")
    ratio = statistics.median(i[1] / e[1] for i, e in zip(figures["infer"], figures["echo"], strict=True))
    print(f"ModelInfer costs {ratio:.2f} echoes")


if __name__ == "__main__":
    main()
