"""How commands end: errors of users in one line without a traceback, and the exit code that scripts rely on."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from motet.cli.signals import Stopping, name_of
from motet.system import garbage
from motet.system.streams import ready

if TYPE_CHECKING:
    from motet.facade import Graph

__all__ = [
    "BEYOND", "BROKEN_PIPE", "EXITS", "FAILED", "HUNG_UP", "INTERRUPTED", "OK", "ROWS_FAILED", "STOPPED", "TERMINATED", "WRONG",
    "Command", "CommandGroup", "LazyGroup", "exit_code", "load_graph",
    "say_error", "say_finished", "write_exits",
]  # fmt: skip

OK, FAILED, WRONG, ROWS_FAILED, BEYOND = 0, 1, 2, 3, 4
BROKEN_PIPE = 141
STOPPED = INTERRUPTED, TERMINATED, HUNG_UP = 130, 143, 129
EXITS = {
    OK: "all went well",
    FAILED: "the run itself failed",
    WRONG: "a wrong graph, wrong arguments, or a package that is not installed",
    ROWS_FAILED: "finished, but some rows failed",
    BEYOND: "finished, and what was measured is beyond the bound that was given",
    INTERRUPTED: "stopped by Ctrl-C",
    TERMINATED: "stopped by SIGTERM",
    HUNG_UP: "stopped by SIGHUP, as a terminal that is closed sends it",
    BROKEN_PIPE: "nobody reads standard output any more, as behind | head",
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
        starts_long: whether it calls `garbage.look` itself, once it has imported what it needs.
    """

    def __init__(self, *args: Any, exits: Mapping[int, str], starts_long: bool = False, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.exits, self.starts_long = exits, starts_long

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog, and the exit codes."""
        super().format_epilog(ctx, formatter)
        write_exits(formatter, self.exits)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        from motet.errors import MotetError

        if not self.starts_long:
            garbage.look()

        def say_stopped() -> None:
            by = f" by {name_of(stopping.number)}" if stopping.code != INTERRUPTED else ""
            click.echo(f"stopped{by}{ctx.obj or ''}", err=True)

        with Stopping(say_stopped) as stopping:
            try:
                return super().invoke(ctx)
            except BrokenPipeError:
                sys.stdout = None  # nobody reads it any more
                ctx.exit(BROKEN_PIPE)
            except (click.exceptions.Exit, click.ClickException):
                raise
            except (KeyboardInterrupt, Exception) as error:
                if stopping.number or isinstance(error, KeyboardInterrupt):
                    say_stopped()
                    ctx.exit(stopping.code)
                if isinstance(error, MotetError) or (isinstance(error, OSError) and error.errno is not None):
                    say_error(error)
                    ctx.exit(exit_code(error))
                raise


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for.

    Args:
        homes: where each is, as `module:name` of this package.
    """

    def __init__(self, *args: Any, homes: Mapping[str, str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.homes = homes

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(self.homes)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """One of them."""
        module, _, attribute = self.homes.get(name, "").partition(":")
        return getattr(importlib.import_module(f"motet.cli.{module}"), attribute) if module else None


class CommandGroup(click.Group):
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


def say_error(error: Exception) -> None:
    """Say what went wrong, in a line and its hints; with `MOTET_TRACEBACK=1` also where."""
    from motet.errors import MotetError

    if os.environ.get("MOTET_TRACEBACK", "") not in ("", "0"):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, OSError) and error.errno is not None:
        from motet.system.places import current_folder

        place = "".join(f"{name}: " for name in (error.filename, error.filename2) if name is not None)
        if not place and current_folder() is None:
            click.echo("error: the current folder was deleted\n  hint: name all files from /", err=True)
            return
        click.echo(f"error: {place}{error.strerror}", err=True)
    else:
        from motet.tracebacks import summary

        notes = "".join(f"\n  note: {note}" for note in getattr(error, "__notes__", ()))
        click.echo(f"error: {error if isinstance(error, MotetError) else summary(error)}{notes}", err=True)


def say_finished(text: str, *, err: bool = False) -> None:
    """Say what a run came to that is finished: that nobody can or will read it makes nothing of it fail."""
    if err:
        click.echo(text, err=True)
        return
    if sys.stdout is None:
        return
    try:
        if not ready(sys.stdout):
            raise BlockingIOError(errno.EAGAIN, "nobody reads it")
        click.echo(text)
    except OSError as error:
        sys.stdout = None
        if not isinstance(error, BrokenPipeError):
            click.echo(f"the report cannot be written to standard output: {error.strerror}", err=True)


def exit_code(error: Exception) -> int:
    """The exit code of an error: a wrong graph or argument is 2, all else is 1."""
    from motet.errors import GraphError, InputError, MissingExtraError, RunError

    wrong = isinstance(error, (GraphError, InputError, MissingExtraError)) and not isinstance(error, RunError)
    return WRONG if wrong else FAILED


def load_graph(path: str) -> Graph:
    """The graph of a file; whatever keeps it from being read or checked is a wrong graph.

    Functions and classes that it names are also looked for in the working directory and beside the file.
    """
    from motet.errors import GraphError, ModelError
    from motet.facade import load
    from motet.system.places import current_folder

    here = current_folder()
    for folder in (here, os.path.dirname(os.path.join(here or "/", path))):
        if folder is not None and folder not in sys.path:
            sys.path.append(folder)
    try:
        return load(path)
    except ModelError as error:
        raise GraphError(error.what, where=error.where, hint=error.hint) from error
