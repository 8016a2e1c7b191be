"""The commands: `motet check`, `motet draw`, `motet run`, `motet explain`.

A command imports what it needs when it runs, so that `motet --help` is instant.

exits.py      how commands end, and with which code
completion.py what shells offer for their arguments
signals.py    what ends them from outside, and the first process of a container
check.py      draw.py      run.py      explain.py      keys.py      store.py ...     one command each, its click command named `command`
call.py       status.py     repository.py             commands that talk to a running server, by talk.py
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from typing import NoReturn

import click

from motet.cli.exits import EXITS, STOPPED, LazyGroup, write_exits
from motet.cli.signals import LEAVE_S, SIGNALS, be_init
from motet.system import garbage
from motet.system.limits import limit_threads
from motet.system.streams import open_streams
from motet.version import __version__

__all__ = ["cli", "main"]


_COMMANDS = (
    "check", "draw", "run", "explain", "evaluate", "tune", "experiment", "drift", "plan", "schema", "serve", "keys", "store", "export",
    "workflow", "cache", "call", "status", "load", "unload", "scale",
)  # fmt: skip


class _Commands(LazyGroup):
    """All commands."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS and not ctx.resilient_parsing:
            from motet.errors import known_names

            raise click.UsageError(f"no command {args[0]!r}; {known_names(args[0], _COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_exits(formatter, EXITS)


@click.command(
    cls=_Commands,
    homes={
        name: f"repository:{name}" if name in ("load", "unload", "scale") else f"{name}:command" for name in _COMMANDS
    },
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="motet %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Answer with many models instead of one.

    A graph file says how models play together: motet check reads it, motet draw shows it, motet run plays it over a
    data set, motet serve answers over HTTP and gRPC, motet explain says how the answer of one row came about. motet
    workflow trains and chooses models, and motet store keeps what it publishes.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> NoReturn:
    """The console script: runs the command that the arguments name, and ends the process with its code.

    The process ends as soon as its threads and exit functions have: taking hundreds of modules apart would take as long
    as a small run.
    """
    _speak_utf8()
    garbage.put_off()
    be_init()
    open_streams()
    limit_threads()
    code: list[int] = []
    atexit.register(_leave, code)  # the first to be registered is the last to be called
    try:
        cli.main(prog_name="motet")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            code.append(end.code or 0)
            for number in SIGNALS:  # what it came to is known: being told to end makes nothing else of it
                signal.signal(number, lambda *_: _leave(code))
            if code[0] in STOPPED:
                from motet.threads import begun

                late = threading.Timer(LEAVE_S, _leave, (code,))  # a thread may play what nobody waits for
                late.daemon = True
                begun(late)
        raise


def _speak_utf8() -> None:
    """Begin anew with UTF-8 where names are ASCII: in the C locale, when Python was told to leave it at that."""
    if sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "PYTHONUTF8": "1"})


def _leave(code: list[int]) -> None:
    if code:
        with contextlib.suppress(OSError, ValueError):  # Python itself says what became of a closed output
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            os._exit(code[0])
