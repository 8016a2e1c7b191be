"""How commands end: errors of users in one line without a traceback, and the exit code that scripts rely on."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

__all__ = ["FAILED", "INTERRUPTED", "ROWS_FAILED", "WRONG", "Command"]

FAILED, WRONG, ROWS_FAILED, INTERRUPTED = 1, 2, 3, 130


class Command(click.Command):
    """A command that turns Motet's errors into messages and exit codes.

    `MOTET_TRACEBACK=1` shows tracebacks of users' errors too.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        from motet.errors import MotetError

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(f"stopped{ctx.obj or ''}", err=True)
            ctx.exit(INTERRUPTED)
        except MotetError as error:
            if os.environ.get("MOTET_TRACEBACK", "") not in ("", "0"):
                raise
            click.echo(f"error: {error}", err=True)
            ctx.exit(exit_code(error))
        except BrokenPipeError:
            sys.stdout = None  # nobody reads it any more
            ctx.exit(FAILED)


def exit_code(error: Exception) -> int:
    """The exit code of an error: a wrong graph or argument is 2, all else is 1."""
    from motet.errors import GraphError, InputError, MissingExtraError

    return WRONG if isinstance(error, (GraphError, InputError, MissingExtraError)) else FAILED


def load_graph(path: str) -> Any:
    """The graph of a file; whatever keeps it from being read or checked is a wrong graph.

    Functions and classes that it names are also looked for in the working directory and beside the file.
    """
    from motet.errors import GraphError, ModelError, MotetError
    from motet.facade import load

    for folder in (os.getcwd(), os.path.dirname(os.path.abspath(path))):
        if folder not in sys.path:
            sys.path.append(folder)
    try:
        return load(path)
    except ModelError as error:
        wrong: MotetError = GraphError(error.what, where=error.where, hint=error.hint)
        raise wrong from error
