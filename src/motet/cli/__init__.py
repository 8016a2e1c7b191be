"""The commands: `motet check`, `motet draw`, `motet run`, `motet explain`.

A command imports what it needs when it runs, so that `motet --help` is instant.

Exit codes: 0 all went well; 1 the run itself failed; 2 a wrong graph or wrong arguments; 3 finished, but some rows
failed; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import click

from motet.cli.exits import Command

__all__ = ["cli", "main"]

_HELP = """Answer with many models instead of one.

A graph file says how models play together: motet check reads it, motet draw shows it, motet run plays it over a
data set, motet explain says how the answer of one row came about.

\b
Exit codes: 0 all went well, 1 the run itself failed, 2 a wrong graph or wrong arguments,
3 finished but some rows failed, 130 stopped by Ctrl-C.
"""


class _Lazy(click.Group):
    """A group whose commands are imported when they are asked for."""

    COMMANDS = ("check", "draw", "run", "explain")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.COMMANDS:
            return None
        import importlib

        found: Command = importlib.import_module(f"motet.cli.{name}").command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.COMMANDS:
            from motet.errors import known_names

            raise click.UsageError(f"no command {args[0]!r}; {known_names(args[0], self.COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)


@click.command(
    cls=_Lazy, help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="motet", message="motet %(version)s")
def cli() -> None:
    """Answer with many models instead of one."""


def main() -> None:
    """The console script."""
    cli.main(prog_name="motet")
