"""A server as a deployment of Ray Serve: replicas of it on the nodes of a cluster, behind Ray's own HTTP."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from motet.engines.needs import models_of, need_of
from motet.engines.ray.engine import RayEngine
from motet.engines.ray.play import own_error
from motet.engines.splits.engine import SPLIT_BYTES, imported
from motet.engines.splits.run import connected
from motet.errors import InputError, RunError
from motet.facade import Graph, load
from motet.graph.graph import GraphParts, GraphSpec
from motet.runtime.resources.need import Need
from motet.serving.config.server import ServeConfig
from motet.serving.process.application import Application
from motet.tracebacks import summary

__all__ = ["run_on_ray"]

NAME = "motet"
"""Of the application of Ray Serve, and of its deployment."""
LOGS = "/tmp/ray/session_latest/logs/serve"
"""Where Ray writes what replicas of a node say."""
SAME_S = 0.5
"""Signals that come this soon after the first are the same."""
ONGOING = 256
"""Requests that a replica has at a time: they fill its batches."""


def run_on_ray(graphs: Sequence[str], config: ServeConfig, arguments: Sequence[str], told: Callable[[], Any]) -> None:
    """Serve on a cluster of Ray until a signal ends it.

    Args:
        graphs: the files of the graphs, at paths or URLs that all nodes reach.
        config: how; its host and port are those of Ray's proxies.
        arguments: those of the engine `ray`.
        told: called when it is ready.

    Raises:
        InputError: when Ray does not serve what the configuration asks for, or has no room for the fewest replicas.
        RunError: when the cluster cannot be connected to, or replicas cannot begin.
    """
    engine = RayEngine(arguments)
    if engine.one_stage or engine.split_bytes != SPLIT_BYTES:
        raise InputError("--split-bytes and --one-stage are of runs", where="engine ray", hint="leave them out")
    _check(config)
    paths = [path if "://" in path else os.path.abspath(path) for path in (*graphs, *config.graphs)]
    loaded = [load(path) for path in paths]
    need, (least, most) = _need(loaded), _bounds(loaded)
    serve = imported("ray.serve", "ray")
    with connected(engine.name, partial(engine.connected, [need])):
        room = engine.room(need)
        room.check_room(imported("ray", "ray"), least, "replicas")
        begun = not _is_there(serve, config)
        made = serve.deployment(serve.ingress(_builder(paths, replace(config, graphs=())))(_Replica)).options(
            name=NAME,
            autoscaling_config={"min_replicas": least, "max_replicas": most},
            max_ongoing_requests=ONGOING,
            max_constructor_retry_count=1,  # what a replica cannot load, others cannot either
            ray_actor_options=room.options,
        )
        with _signals():
            try:
                if begun:
                    _begin(serve, config)
                _deploy(serve, made.bind())
                told()
                _wait()
            finally:
                if begun:
                    serve.shutdown()
                else:
                    serve.delete(NAME)


def _is_there(serve: Any, config: ServeConfig) -> bool:
    """Whether Ray's HTTP listens already, where it is to.

    Raises:
        InputError: when it listens elsewhere, or another program serves so.
    """
    ray = imported("ray", "ray")
    try:
        controller = ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
    except ValueError:
        return False
    there = ray.get(controller.get_http_config.remote())
    if (there.host, there.port) != (config.host, config.port):
        hint = f"say --host {there.host} --port {there.port}"
        raise InputError(f"Ray Serve listens on {there.host}:{there.port} already", where="engine ray", hint=hint)
    if NAME in serve.status().applications:
        raise InputError(
            "another command serves on this cluster already", where="engine ray", hint="end that one first"
        )
    return True


def _begin(serve: Any, config: ServeConfig) -> None:
    """Have Ray's HTTP listen.

    Raises:
        RunError: when it cannot.
    """
    try:
        serve.start(http_options={"host": config.host, "port": config.port})
    except Exception as error:
        what, hint = f"Ray Serve cannot begin: {summary(error)}", f"the logs of its nodes say why, in {LOGS}"
        raise RunError(what, where="engine ray", hint=hint) from error


def _deploy(serve: Any, application: Any) -> None:
    """Have replicas begin, and wait for the fewest that there must be.

    Raises:
        RunError: when they cannot, with what is wrong with a graph or a model of theirs.
    """
    try:
        serve.run(application, name=NAME, route_prefix="/")
    except Exception as error:
        found = serve.status().applications.get(NAME)
        messages = [] if found is None else [each.message for each in found.deployments.values()]
        what, hint = f"replicas cannot begin: {summary(error)}", f"the logs of their nodes say why, in {LOGS}"
        raise (own_error("\n".join(messages)) or RunError(what, where="engine ray", hint=hint)) from error


class _ReplicaApplication(Application):
    """The server of a replica, which begins whatever becomes of its graphs: of a lifespan that fails Ray tells nobody why.

    Attributes:
        failure: what its graphs cannot be loaded for.
    """

    failure: Exception | None = None

    @asynccontextmanager
    async def lifespan(self, host: Any = None) -> AsyncIterator[None]:
        """See `Application.lifespan`."""
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(super().lifespan(host))
            except Exception as error:  # noqa: BLE001  a user's model may raise anything; `check_health` tells of it
                self.failure = error
            yield


class _Replica:
    """What Ray asks of a replica, whose `app` it has, but for answers."""

    app: Any

    def check_health(self) -> None:
        """Called before a replica counts: what it raises, the controller tells of the deployment."""
        if self.app.failure is not None:
            raise self.app.failure


def _builder(paths: Sequence[str], config: ServeConfig) -> Callable[[], Application]:
    """What makes the server in a replica, where modules are found in the same folders as here."""
    folders = tuple(sys.path)

    def build() -> Application:
        sys.path += [each for each in folders if each not in sys.path]
        return _ReplicaApplication([_single(load(path)) for path in paths], config)

    return build


def _single(graph: Graph) -> Graph:
    """The graph with one replica of each model: Ray has the others."""
    return graph.anew(**_parts(graph))


def _parts(graph: GraphSpec) -> GraphParts:
    models = {name: replace(model, replicas=1) for name, model in graph.models.items()}
    return {"models": models, "graphs": {name: each.changed(**_parts(each)) for name, each in graph.graphs.items()}}


def _need(graphs: Sequence[Graph]) -> Need:
    """What a replica must have, which has all graphs: their models share its cores."""
    needs = [need_of(_single(graph).checked) for graph in graphs]
    return replace(sum(needs, Need()), cpu=max(need.cpu for need in needs))


def _bounds(graphs: Sequence[Graph]) -> tuple[int, int]:
    """The fewest and the most replicas: as many as the model has that has most."""
    models = [model for graph in graphs for model, _ in models_of(graph.checked, graph.checked.order)]
    least = max((model.num_replicas for model in models), default=1)
    return max(1, least), max((model.max_replicas for model in models), default=1)


def _check(config: ServeConfig) -> None:
    """See that nothing is asked for that is Ray's own.

    Raises:
        InputError: when something is.
    """
    refused = {
        "processes": config.processes > 1,
        "tls": config.tls is not None,
        "port 0": config.port == 0,
        "grpc_port": config.grpc_port not in (None, -1),
    }
    for name, asked in refused.items():
        if asked:
            what = f"{name} is not served by Ray's HTTP"
            raise InputError(what, where="engine ray", hint="leave it out, or serve with the engine local")


@contextmanager
def _signals() -> Iterator[None]:
    """Have a signal end what goes on, and leave time to end it on the cluster; another one, that does not come at once, ends that."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    told: list[float] = []

    def put_back() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    def stop(number: int, frame: Any) -> None:
        now = time.monotonic()
        if told and now - told[0] <= SAME_S:
            return
        if told:
            put_back()
        told.append(now)
        if callable(handler := before[signal.Signals(number)]):
            handler(number, frame)
        raise KeyboardInterrupt

    for each in before:
        signal.signal(each, stop)
    try:
        yield
    finally:
        put_back()


def _wait() -> None:
    """Wait for a signal that ends a server."""
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
