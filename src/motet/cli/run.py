"""`motet run`: play a graph over a data set, on this machine."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from motet.cli.completion import GRAPH_FILE
from motet.cli.exits import (
    BROKEN_PIPE,
    EXITS,
    FAILED,
    HUNG_UP,
    INTERRUPTED,
    OK,
    ROWS_FAILED,
    TERMINATED,
    WRONG,
    Command,
    load_graph,
    say_finished,
)
from motet.system import garbage
from motet.system.streams import STANDARD_OUTPUT, only_output

if TYPE_CHECKING:
    from motet.engines.local.estimate import Estimate
    from motet.engines.local.report import RunReport

__all__ = ["column_names", "command", "input_option", "limit_option", "source_options"]


def column_names(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    """Names separated by commas; None where the option is not given."""
    return None if value is None else [name.strip() for name in value.split(",") if name.strip()]


def _types(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, str] | None:
    """`name=type` separated by commas; None where the option is not given."""
    if value is None:
        return None
    pairs = [each.rpartition("=") for each in re.split(r",(?![^\[]*\])", value) if each.strip()]
    for name, _, kind in pairs:
        if not name.strip() or not kind.strip():
            raise click.BadParameter(f"{value!r} is not of the form name=type,name=type")
    return {name.strip(): kind.strip() for name, _, kind in pairs}


def source_options(command: Any) -> Any:
    """The options that say how an input is read."""
    for option in reversed(_SOURCE_OPTIONS):
        command = option(command)
    return command


input_option = click.option("--input", "input_", metavar="PATH", multiple=True, required=True, help="As for motet run.")
limit_option = click.option("--limit", type=click.IntRange(1), metavar="N", help="Read only the first N rows.")
_SOURCE_OPTIONS = (
    click.option("--format", metavar="NAME", help="Format of the input: parquet, arrow, csv, jsonl, images.  [default: by suffix]"),
    click.option("--encoding", metavar="NAME", help="Encoding of CSV and JSON Lines, such as cp1252.  [default: UTF-8, or as marked]"),
    click.option("--delimiter", metavar="C", help="What stands between fields of CSV: ';', tab, ...  [default: a comma]"),
    click.option("--types", callback=_types, metavar="a=TYPE,...", help="Types of columns of text that the graph does not take."),
    click.option(
        "--empty", type=click.Choice(["missing", "text"]), help="What an empty field of CSV is where text is wanted.  [default: missing]"
    ),
    click.option(
        "--decrypt", metavar="FILE", type=click.Path(), help="File (or env:NAME) of the key of encrypted Parquet, or JSON of master keys."
    ),
)  # fmt: skip

_EPILOG = """
The best number of rows of a model's calls is found while running and remembered for the model and the machine in
batch-sizes.json in $MOTET_CACHE_DIR (else ~/.cache/motet); delete the file to start anew.
"""
_EXITS = {
    OK: "all rows answered",
    FAILED: "the run itself failed; --resume goes on with what is finished",
    WRONG: EXITS[WRONG],
    ROWS_FAILED: "finished, but some rows failed: how many is printed, and they are written",
    INTERRUPTED: "stopped by Ctrl-C; --resume goes on with what is finished",
    TERMINATED: "the same by SIGTERM",
    HUNG_UP: "the same by SIGHUP",
    BROKEN_PIPE: "nobody reads what is written to standard output any more, as behind | head",
}


@click.command(
    "run", cls=Command, short_help="Play a graph over a data set.", epilog=_EPILOG, exits=_EXITS, starts_long=True
)
@click.argument("graph", metavar="GRAPH.yaml", type=GRAPH_FILE)
@click.argument("engine_options", nargs=-1, metavar="[-- ENGINE OPTIONS]")
@click.option(
    "--input",
    "input_",
    metavar="PATH",
    multiple=True,
    required=True,
    help="File, folder, pattern or URL; - is standard input; may be repeated; or a table, such as delta:FOLDER; or a topic: "
    "kafka://HOST:PORT/TOPIC.",
)
@click.option(
    "--output",
    metavar="PATH",
    help="File to write (.parquet, .arrow, .csv, .jsonl); PATH/ is a folder of parts, - standard output; "
    "lancedb:///FOLDER#NAME, delta:FOLDER and others are tables.",
)
@source_options
@click.option("--failed", metavar="PATH", help="Where failures go.  [default: OUTPUT.failed.parquet]")
@click.option(
    "--engine",
    default="local",
    show_default=True,
    help="What runs the graph: local, beam, ray or spark.",
)
@click.option(
    "--batch-rows", type=click.IntRange(1), metavar="N", help="Most rows of a batch.  [default: by size and cost]"
)
@click.option("--skip", type=click.IntRange(0), metavar="N", default=0, help="Leave out the first N rows.")
@click.option("--sample", metavar="N|P%", help="Play N rows, or about P % of them, taken by chance.")
@click.option("--seed", type=int, metavar="N", help="Of that chance: the same rows for the same number.  [default: 0]")
@click.option("--shard", metavar="I/N", help="Play the stretch I of N equal ones; I is from 0.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Play only the first N of these rows.")
@click.option("--row-ids", metavar="NAME", help="Write the row's position in the input to a column of this name.")
@click.option("--id", metavar="NAME", help="Of a table: the column that tells its rows apart.  [default: id]")
@click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="Threads that play batches.  [default: one a core]"
)
@click.option(
    "--output-format",
    metavar="NAME",
    help="Format of the output: parquet, arrow, csv, jsonl, csv.gz, ...  [default: by suffix; of parts Parquet]",
)
@click.option(
    "--partition-by",
    callback=column_names,
    default="",
    metavar="a,b",
    help="Columns by whose values an output folder has folders.",
)
@click.option(
    "--part-rows",
    type=click.IntRange(1),
    default=1_000_000,
    show_default=True,
    metavar="N",
    help="Rows of a part of a folder.",
)
@click.option("--report", metavar="FILE.json", type=click.Path(), help="Write the report of the run.")
@click.option("--resume", is_flag=True, help="Go on where an earlier run of the same command stopped.")
@click.option(
    "--append", is_flag=True, help="Play only files that no run before has played, and add parts to a folder."
)
@click.option("--overwrite", is_flag=True, help="Write over an output, or an unfinished run, that is there.")
@click.option("--keep", callback=column_names, metavar="a,b", help="Columns of the input to write beside the outputs.")
@click.option("--drop", callback=column_names, metavar="c", default="", help="Columns of the input to leave out.")
@click.option("--only-failed", metavar="FILE", type=click.Path(), help="Play only the rows of a file of failures.")
@click.option(
    "--into", metavar="PATH", help="With --only-failed: put the answers into the output that its rows failed in."
)
@click.option(
    "--any-input", is_flag=True, help="With --only-failed: take its rows from another input than they failed in."
)
@click.option("--max-failures", metavar="N|P%", help="End the run when more rows fail.")
@click.option(
    "--pool",
    metavar="FOLDER",
    type=click.Path(),
    help="Take turns with what else shares this folder; live work goes first.  [default: $MOTET_POOL]",
)
@click.option(
    "--ship", is_flag=True, help="Send the files of local models along, to workers of a cluster that lack them."
)
@click.option(
    "--window-rows",
    type=click.IntRange(1),
    metavar="N",
    help="Of a topic: messages that are answered and committed together.  [default: 10000; to a folder 100000]",
)
@click.option(
    "--window-s",
    type=click.FloatRange(0),
    metavar="S",
    help="Of a topic: seconds that a window waits for more.  [default: 0.1; to a folder 60]",
)
@click.option("--until-end", is_flag=True, help="Of a topic: read what is there, and end.")
@click.option(
    "--dry-run", is_flag=True, help="Check all, play a few rows and say what the run would take; write nothing."
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    graph: str,
    input_: tuple[str, ...],
    output: str | None,
    report: str | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Play a graph over a data set.

    Writes the plain columns of the input and the outputs of the graph, in the order of the input. Rows that fail go to a
    file of their own, with the node, model and reason.
    """
    from motet.engines.engine import find_engine

    if output is None and (output := options["into"]) is None:
        raise click.UsageError("Missing option '--output'.")
    with only_output(output), _warnings(shown=not quiet):
        if report is not None:
            failed = options["failed"] or _failed_beside(output)
            others = [output, failed, options["only_failed"], graph]
            _check_report(report, others, input_)
        found = load_graph(graph)
        options["engine"] = find_engine(options["engine"], options.pop("engine_options"))
        garbage.look()
        ctx.obj = "; --resume goes on with what is finished"
        source = input_[0] if len(input_) == 1 else list(input_)
        done = found.run(source, output, progress=not quiet, **options)
    if report is not None:
        _save_report(done, report)
    if not quiet:
        say_finished(str(done), err=output in STANDARD_OUTPUT)
    if not options["dry_run"] and done.failed:
        _say_failures(done)
        ctx.exit(ROWS_FAILED)


@contextmanager
def _warnings(*, shown: bool) -> Iterator[None]:
    """What a run logs, unless only errors are wanted."""
    logger = logging.getLogger("motet")
    level = logger.level
    logger.setLevel(level if shown else logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _failed_beside(output: str) -> str | None:
    """Where failures go unless something else is said; None where that is no file that is known yet."""
    from motet.engines.local.options import BulkOptions

    return None if _is_address(output, topic=True) else BulkOptions().destination(output).failed


def _is_address(what: str, *, topic: bool = False) -> bool:
    """Whether a topic, or else also a table, is named, which is no file."""
    from motet.engines.local.streams.address import is_topic
    from motet.lake.address import names_table

    return is_topic(what) or (not topic and names_table(what))


def _check_report(report: str, others: Sequence[str | None], inputs: Sequence[str]) -> None:
    """See that the report can be written, before hours go by, and takes the place of nothing else."""
    from motet.errors import InputError
    from motet.io.files import look_for
    from motet.io.places import place_of
    from motet.io.target import target_of, writing

    place = place_of(report)
    inputs = [each for each in inputs if not _is_address(each)]
    taken = [place_of(other) for other in (*others, *inputs) if other is not None and not _is_address(other)]
    if place.exists():
        taken += [file.place for each in inputs for file in look_for(each).files]
    if any(place.is_same(each) for each in taken):
        raise InputError(f"{report!r} is an input or an output of the run", where="--report", hint="name another file")
    if place.is_local:
        with writing(report):
            os.makedirs(os.path.dirname(place.path) or ".", exist_ok=True)
    target_of(report).probe()


def _save_report(done: RunReport | Estimate, report: str) -> None:
    """Write the report; where that fails, the run is still finished, and what the report says is not lost."""
    from motet.errors import MotetError

    try:
        done.save(report)
    except (MotetError, OSError) as error:
        click.echo(f"the run is finished, but its report cannot be written: {error}\n{done.to_json()}", err=True)


def _say_failures(done: RunReport) -> None:
    where = f"they are in {done.failed_output}" if done.failed_output else "--failed FILE keeps which, and why"
    click.echo(f"{done.failed:,} of {done.rows:,} rows failed; {where}", err=True)
    for failure in done.first_failures:
        click.echo(f"  {failure}", err=True)
