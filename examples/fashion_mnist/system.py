"""The whole system in one command: train, select, publish, and serve what was published, with a page.

    python examples/fashion_mnist/system.py              # everything; then http://127.0.0.1:8000
    python examples/fashion_mnist/system.py --async      # the page answers as soon as the first model is published
    python examples/fashion_mnist/system.py --set cnn.num_epochs=5      # only the cnn is trained again
    python examples/fashion_mnist/system.py --models resnet,separable   # one of torch, one of Keras on TensorFlow

What has not changed is not done again. Everything is kept in one folder, `fashion-output`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import motet as mt
from workflow import HERE, MODELS, changed, data, fashion_mnist, wanted

GRAPH = "fashion_mnist"
ADDRESS = "127.0.0.1"
NUM_PICTURES = 30
QUICK = {"num_rows": 1500, "at_least": 0.3}
FEW_EPOCHS = "mlp.num_epochs=2 cnn.num_epochs=1 resnet.num_epochs=1 separable.num_epochs=1"
START_S = 60.0
ENDED = ("done", "hit", "resumed", "failed", "skipped")


def write_pictures(folder: Path) -> None:
    """Write the first pictures of the test rows as PNG files, for the page to offer; leaves those that are there."""
    if folder.is_dir():
        return
    images, labels = data.paths("test")
    batch = next(mt.data.idx(image=images, label=labels).batches(NUM_PICTURES))
    part = folder.with_name(f".{folder.name}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for number, (file, label) in enumerate(zip(mt.ops.image.encode(batch["image"]), batch["label"], strict=True)):
        name = data.LABELS[label].replace("/", "-")
        (part / f"{number:02} {name}.png").write_bytes(file)
    part.rename(folder)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as made:
        made.bind((ADDRESS, 0))
        return int(made.getsockname()[1])


class Service:
    """A server of the graph, in a process of its own.

    Args:
        folder: where the store, the graph's file and the pictures are.
        port: of HTTP; 0 takes a free one.
    """

    def __init__(self, folder: Path, port: int) -> None:
        port = port or free_port()
        self.url = f"http://{ADDRESS}:{port}"
        command = [sys.executable, "-m", "motet.cli", "serve", str(folder / f"{GRAPH}.yaml")]
        command += ["--host", ADDRESS, "--port", str(port), "--grpc-port", "-1"]
        self.log = folder / "server.log"
        with self.log.open("wb") as log:
            env = {**os.environ, "MOTET_STORE": str(folder / "store")}
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)

    def ask(self, picture: bytes) -> dict[str, Any] | None:
        """What the graph makes of a picture, with each model's opinion; None while it cannot answer."""
        boundary = "picture"
        body = io.BytesIO()
        body.write(f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'.encode())
        body.write(picture + f"\r\n--{boundary}--\r\n".encode())
        kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
        request = urllib.request.Request(f"{self.url}/predict/{GRAPH}?explain=1", body.getvalue(), kind)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (urllib.error.URLError, OSError):
            return None

    def first_answer(self, picture: bytes, until: threading.Event) -> dict[str, Any] | None:
        """Ask until there is an answer; None when `until` is set before."""
        while not until.is_set() and self.process.poll() is None:
            answer = self.ask(picture)
            if answer is not None:
                return answer
            until.wait(0.1)
        return None

    def stop(self) -> None:
        """End it, as SIGTERM does: what it accepted is answered."""
        self.process.terminate()
        self.process.wait(30)


def told(answer: dict[str, Any]) -> str:
    """An answer in one line, with who took part."""
    calls = answer["explain"]["calls"]
    members = ", ".join(f"{call.get('member') or call['uses']} ({call.get('version', '')})" for call in calls)
    return f"{answer['name']}, {answer['score']:.0%} sure; asked were {members}"


def run(options: argparse.Namespace, started: float) -> Any:
    """Run the workflow, and print what became of it."""
    settings = {**(QUICK if options.quick else {}), "change": options.set, "models": options.models}
    settings["output"] = str(options.output)
    if options.quick:
        settings["change"] = f"{FEW_EPOCHS} {options.set}"
    plan = fashion_mnist(**settings)

    def progress(state: Any) -> None:
        if state.state in ENDED:
            line = f"  {time.monotonic() - started:6.1f} s  {state.id:14} {state.state:8} {state.why}"
            print(f"{line.rstrip()}\n", end="", flush=True)  # whole: steps end in several threads

    ran = plan.run(cache=options.output / "workflow", asynchronous=options.asynchronous, progress=progress)
    found = ran.output
    print("\n".join(f"  {line}" for line in found["selection"].why))
    accuracy = ", ".join(f"{name} {value:.2%}" for name, value in found["accuracy"].items())
    print(f"  on test rows: {accuracy}")
    print(f"workflow over after {time.monotonic() - started:.1f} s")
    return found


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """What the command line says; a wrong one ends the program."""
    parser = argparse.ArgumentParser(description="Train, select, publish and serve models of Fashion-MNIST.")
    parser.add_argument(
        "--output", type=Path, default=Path("fashion-output"), help="folder for everything that is kept"
    )
    parser.add_argument(
        "--set", default="", metavar="MODEL.FIELD=VALUE", help="change recipes, such as cnn.num_epochs=5"
    )
    parser.add_argument(
        "--models", default=MODELS, help="which are trained; separable, which is Keras', needs TensorFlow"
    )
    parser.add_argument(
        "--async", dest="asynchronous", action="store_true", help="serve while models are still trained"
    )
    parser.add_argument("--quick", action="store_true", help="a few rows and an epoch: to see that it works")
    parser.add_argument("--once", action="store_true", help="end after the first answer, instead of serving on")
    parser.add_argument("--no-serve", dest="serve", action="store_false", help="end after the workflow")
    parser.add_argument("--port", type=int, default=8000, help="of the page; 0 takes a free one")
    options = parser.parse_args(arguments)
    try:
        wanted(options.models)
        changed(options.set)
    except ValueError as error:
        parser.error(str(error))
    return options


def main(arguments: list[str] | None = None) -> None:
    """Run what the command line asks for."""
    started = time.monotonic()
    options = read_options(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the server ends with it
    options.output = options.output.absolute()
    options.output.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / f"{GRAPH}.yaml", options.output)
    write_pictures(options.output / "pictures")
    if not options.serve:
        run(options, started)
        return
    picture = min((options.output / "pictures").iterdir()).read_bytes()
    service = Service(options.output, options.port) if options.asynchronous else None
    over = threading.Event()
    try:
        watching = threading.Thread(target=_watch, args=(service, picture, over, started)) if service else None
        if watching is not None:
            watching.start()
        found = run(options, started)
        if not found["selection"].chosen:
            sys.exit("no model is good enough: nothing is served")
        timer = threading.Timer(START_S, over.set)
        timer.daemon = True
        timer.start()
        service = service or Service(options.output, options.port)
        if watching is None:
            _watch(service, picture, over, started)
        else:
            watching.join()
        timer.cancel()
        if service.process.poll() is not None or over.is_set():
            sys.exit(f"the server does not answer; see {service.log}")
        if not options.once:
            print(f"the page is {service.url}; Ctrl-C ends it", flush=True)
            service.process.wait()
    except KeyboardInterrupt:
        pass
    finally:
        over.set()
        if service is not None:
            service.stop()


def _watch(service: Service, picture: bytes, over: threading.Event, started: float) -> None:
    answer = service.first_answer(picture, over)
    if answer is not None:
        print(f"first answer after {time.monotonic() - started:.1f} s: {told(answer)}", flush=True)


if __name__ == "__main__":
    main()
