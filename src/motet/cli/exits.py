"""How commands end: errors of users in one line without a traceback, and the exit code that scripts rely on."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from motet.errors import MotetError
    from motet.facade import Graph

__all__ = [
    "EXITS", "FAILED", "INTERRUPTED", "OK", "ROWS_FAILED", "WRONG", "Command", "Group", "load_graph",
    "write_exits",
]  # fmt: skip

OK, FAILED, WRONG, ROWS_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
EXITS = {
    OK: "all went well",
    FAILED: "the run itself failed",
    WRONG: "a wrong graph, wrong arguments, or a package that is not installed",
    ROWS_FAILED: "finished, but some rows failed",
    INTERRUPTED: "stopped by Ctrl-C",
}
"""What each exit code means, for all commands together."""


def write_exits(formatter: click.HelpFormatter, exits: Mapping[int, str]) -> None:
    """Write what exit codes mean, as help shows it."""
    with formatter.section("Exit codes"):
        formatter.write_dl([(str(code), text) for code, text in exits.items()])


class Command(click.Command):
    """A command that turns Motet's errors into messages and exit codes.

    `MOTET_TRACEBACK=1` shows tracebacks of users' errors too.

    Args:
        exits: what its exit codes mean, for its help.
    """

    def __init__(self, *args: Any, exits: Mapping[int, str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.exits = exits

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog, and the exit codes."""
        super().format_epilog(ctx, formatter)
        write_exits(formatter, self.exits)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        from motet.errors import MotetError

        with _Interrupts() as interrupts:
            try:
                return super().invoke(ctx)
            except BrokenPipeError:
                sys.stdout = None  # nobody reads it any more
                ctx.exit(FAILED)
            except (click.exceptions.Exit, click.ClickException):
                raise
            except (KeyboardInterrupt, Exception) as error:
                if interrupts.came or isinstance(error, KeyboardInterrupt):
                    click.echo(f"stopped{ctx.obj or ''}", err=True)
                    ctx.exit(INTERRUPTED)
                if isinstance(error, MotetError) or (isinstance(error, OSError) and error.errno is not None):
                    _say(error)
                    ctx.exit(exit_code(error))
                raise


class Group(click.Group):
    """A group of commands.

    Args:
        exits: what their exit codes mean, for its help.
    """

    def __init__(self, *args: Any, exits: Mapping[int, str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.exits = exits

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes."""
        write_exits(formatter, self.exits)


class _Interrupts:
    """Knows of Ctrl-C, also where a library that was just being imported has made another error of it."""

    came = False

    def __enter__(self) -> _Interrupts:
        self._before = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: Any) -> None:
        self.came = True
        raise KeyboardInterrupt

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)


def _say(error: MotetError | OSError) -> None:
    if os.environ.get("MOTET_TRACEBACK", "") not in ("", "0"):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, OSError):
        place = "".join(f"{name}: " for name in (error.filename, error.filename2) if name is not None)
        click.echo(f"error: {place}{error.strerror}", err=True)
    else:
        notes = "".join(f"\n  note: {note}" for note in getattr(error, "__notes__", ()))
        click.echo(f"error: {error}{notes}", err=True)


def exit_code(error: Exception) -> int:
    """The exit code of an error: a wrong graph or argument is 2, all else is 1."""
    from motet.errors import GraphError, InputError, MissingExtraError

    return WRONG if isinstance(error, (GraphError, InputError, MissingExtraError)) else FAILED


def load_graph(path: str) -> Graph:
    """The graph of a file; whatever keeps it from being read or checked is a wrong graph.

    Functions and classes that it names are also looked for in the working directory and beside the file.
    """
    from motet.errors import GraphError, ModelError
    from motet.facade import load

    for folder in (os.getcwd(), os.path.dirname(os.path.abspath(path))):
        if folder not in sys.path:
            sys.path.append(folder)
    try:
        return load(path)
    except ModelError as error:
        raise GraphError(error.what, where=error.where, hint=error.hint) from error
