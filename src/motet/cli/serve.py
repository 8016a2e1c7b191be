"""`motet serve`: put graphs on line."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from motet.cli.completion import GRAPH_FILE
from motet.cli.exits import EXITS, FAILED, INTERRUPTED, OK, TERMINATED, WRONG, Command, exit_code, load_graph
from motet.system.addresses import in_url

if TYPE_CHECKING:
    from motet.serving.config.server import ServeConfig
    from motet.serving.process.server import Server

__all__ = ["command"]

_LOG = logging.getLogger("motet.serving")

_EXITS = {
    OK: "stopped by a signal, and what was accepted was answered",
    FAILED: "the server itself failed, or its port cannot be had",
    WRONG: EXITS[WRONG],
    INTERRUPTED: "stopped by Ctrl-C before it was serving",
    TERMINATED: "stopped by SIGTERM before it was serving",
}


@click.command("serve", cls=Command, short_help="Serve graphs over HTTP and gRPC.", exits=_EXITS)
@click.argument("graphs", metavar="GRAPH.yaml ... [-- ENGINE OPTIONS]", nargs=-1, type=GRAPH_FILE)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port of HTTP; 0 takes a free one.  [default: 8000]")
@click.option(
    "--grpc-port",
    type=click.IntRange(-1, 65_535),
    help="Port of gRPC; 0 takes a free one, -1 is none.  [default: 8001 where it is installed]",
)
@click.option("--processes", type=click.IntRange(1), metavar="N", help="Processes that share the ports.  [default: 1]")
@click.option("--config", metavar="serve.yaml", help="How to serve.  [default: the key serve: of the graph's file]")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="What serves: this machine, or a cluster of Ray, over HTTP.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Lines of the log.  [default: text]")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="The least level of the log.  [default: info]",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    graphs: tuple[str, ...],
    config: str | None,
    engine: str,
    quiet: bool,
    log_format: str | None,
    log_level: str | None,
    **options: Any,
) -> None:
    """Serve graphs, and each of their models, over HTTP and gRPC.

    HTTP is the Open Inference Protocol under /v2, JSON for people at POST /predict/GRAPH, a page at /, and metrics at
    /metrics. SIGTERM ends the server when what it accepted is answered; SIGHUP reads the configuration again.
    """
    from motet.errors import MotetError
    from motet.serving.config.log import LogSettings
    from motet.serving.observability.server_log import set_up
    from motet.serving.process.supervisor import run

    graphs, arguments = _parted(graphs)
    if arguments and engine == "local":
        raise click.UsageError(f"the engine local takes no options of its own; got {' '.join(arguments)}", ctx)
    log = {"format": log_format, "level": log_level or ("warning" if quiet else None)}
    options["log"] = {name: value for name, value in log.items() if value is not None}
    set_up(LogSettings(**options["log"]))
    as_json = log_format == "json"
    try:
        chosen = _configured(graphs, config, options, grpc=engine == "local")
        set_up(chosen.log)
        as_json = chosen.log.format == "json"
        if not graphs and not chosen.graphs:
            raise click.UsageError("name the file of a graph, or give --config with graphs", ctx)

        if engine == "ray":
            from motet.serving.process.ray_serve import run_on_ray

            run_on_ray(graphs, chosen, arguments, lambda: None if quiet else _say_on_ray(chosen, as_json=as_json))
            return

        def say(server: Server) -> None:
            _LOG.info("%s", _begun(server)) if as_json else click.echo(_begun(server), err=True)

        run(graphs, chosen, lambda: _configured(graphs, config, options), None if quiet else say)
    except (MotetError, OSError) as error:
        if not as_json:
            raise
        _LOG.error("%s", error)
        ctx.exit(exit_code(error))


def _parted(given: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files of graphs, and the engine's own options behind them."""
    first = next((place for place, each in enumerate(given) if each.startswith("-")), len(given))
    return given[:first], given[first:]


def _say_on_ray(config: ServeConfig, *, as_json: bool) -> None:
    text = f"serving on a cluster of Ray, on http://{in_url(config.host)}:{config.port}"
    _LOG.info("%s", text) if as_json else click.echo(text, err=True)


def _configured(
    graphs: tuple[str, ...], config: str | None, options: dict[str, Any], *, grpc: bool = True
) -> ServeConfig:
    from motet.serving.config.server import read_config

    said = {path: _serving(path) for path in graphs}
    chosen = read_config(config, said)
    given = {name: value for name, value in options.items() if value is not None}
    given["log"] = replace(chosen.log, **given.get("log", {}))
    port = given.pop("grpc_port", chosen.grpc_port)
    if port is None and grpc and _has_grpc():
        port = 8001
    return replace(chosen, **given, grpc_port=None if port == -1 else port)


def _serving(path: str) -> Mapping[str, Any]:
    """What a graph's file says of how it is served; also where a store does not have its models yet."""
    from motet.errors import StoreError

    try:
        return load_graph(path).serving
    except StoreError:
        from motet.serving.repository.placeholder import awaited

        return awaited(path).serving


def _has_grpc() -> bool:
    from importlib.util import find_spec

    return find_spec("grpc") is not None and find_spec("google.protobuf") is not None


def _begun(server: Server) -> str:
    names = [f"{each.name} ({each.kind})" for name, each in server.repository.served.items() if each.name == name]
    scheme = "https" if server.config.tls else "http"
    grpc = f", grpc on port {server.grpc_port}" if server.grpc_port else ""
    return f"serving {', '.join(names)} on {scheme}://{in_url(server.config.host)}:{server.port}{grpc}"
