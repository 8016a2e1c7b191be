"""`motet evaluate`: say what a graph and each of its members are worth, on rows whose right answers are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from motet.cli.completion import GRAPH_FILE
from motet.cli.exits import EXITS, FAILED, OK, ROWS_FAILED, WRONG, Command, load_graph
from motet.cli.run import column_names, input_option, limit_option, source_options
from motet.cli.shown import html_option, json_option, print_report

if TYPE_CHECKING:
    from motet.engines.engine import Engine
    from motet.facade import Graph

__all__ = ["command", "label_options"]


def _prices(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, float] | None:
    """`member=price` separated by commas; None where the option is not given."""
    if value is None:
        return None
    found: dict[str, float] = {}
    for name, _, price in (each.rpartition("=") for each in value.split(",")):
        try:
            found[name.strip()] = float(price)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not of the form member=1.5,member=2") from None
        if not name.strip() or not 0 <= found[name.strip()] < float("inf"):
            raise click.BadParameter(f"{value!r} is not of the form member=1.5,member=2")
    return found


def label_options(command: Any) -> Any:
    """The options that say what right answers are, and how answers are compared with them."""
    for option in reversed(_LABEL_OPTIONS):
        command = option(command)
    return command


_LABEL_OPTIONS = (
    input_option,
    click.option("--label", metavar="COLUMN", required=True, help="The right answers: names of classes, places, or numbers."),
    source_options,
    click.option("--of", metavar="OUTPUT", help="The output, or column, that labels are for.  [default: the only one]"),
    click.option("--by-unit", metavar="COLUMN", help="Draw its values whole for intervals: users, documents.  [default: rows]"),
    click.option("--prices", callback=_prices, metavar="a=1,b=20", help="What a row costs, by member.  [default: measured seconds]"),
    limit_option,
    click.option("--reference", metavar="REF.json", type=click.Path(), help="Write how these rows are spread, for motet drift."),
)  # fmt: skip


@click.command(
    "evaluate",
    cls=Command,
    short_help="Say what a graph and its members are worth.",
    exits={OK: "all rows answered", FAILED: EXITS[FAILED], WRONG: EXITS[WRONG], ROWS_FAILED: "some rows failed; they are counted"},
)  # fmt: skip
@click.argument("graph", metavar="GRAPH.yaml", type=GRAPH_FILE)
@click.argument("engine_options", nargs=-1, metavar="[-- ENGINE OPTIONS]")
@label_options
@click.option(
    "--metric",
    multiple=True,
    metavar="NAME",
    help="accuracy, f1, auc, log_loss, rmse, mae or package.function; may be repeated.  [default: those that fit]",
)
@click.option("--by", metavar="COLUMN", help="Also for each value of this column, of the input or of the graph.")
@html_option
@click.option(
    "--teach", metavar="OUT.parquet", help="Write the rows' answers and scores (soft), for a student; a run of its own."
)
@click.option(
    "--keep",
    callback=column_names,
    metavar="a,b",
    help="With --teach: columns of the input to write, as for motet run.",
)
@click.option(
    "--engine", metavar="NAME", help="With --teach: what runs it: local, beam, ray or spark.  [default: local]"
)
@click.option("--overwrite", is_flag=True, help="With --teach: write over an output that is there.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    graph: str,
    engine_options: tuple[str, ...],
    input_: tuple[str, ...],
    label: str,
    metric: tuple[str, ...],
    html: str | None,
    as_json: bool,
    teach: str | None,
    **options: Any,
) -> None:
    """Say what a graph and each of its members are worth, on rows whose right answers are known.

    Every member of its cascades and ensembles answers each row, once. Prints metrics with 95 % intervals, confusions,
    calibration, how far members agree, and what a row costs. Members are asked on this machine; --teach is a run, which any
    engine plays.
    """
    taught = {name: options.pop(name) for name in ("keep", "engine", "overwrite")}
    if teach is None and (given := [*(f"--{name}" for name, value in taught.items() if value), *engine_options]):
        raise click.UsageError(
            f"{given[0]} means nothing without --teach: members are asked one by one, on this machine"
        )
    found = load_graph(graph)
    source, chosen = split_options(input_, options)
    if teach is not None:  # what cannot be taught is said before anything is played
        taught["column"], taught["engine"] = _checked_teacher(found, chosen["of"], taught["engine"], engine_options)
        _check_absent(teach, overwrite=taught["overwrite"])
    done = found.evaluate(source, label=label, metric=metric, **chosen)
    print_report(done, html, as_json=as_json)
    if teach is not None:
        _teach(found, source, teach, chosen, taught)
    if done.failures:
        ctx.exit(ROWS_FAILED)


def _checked_teacher(
    graph: Graph, of: str | None, engine: str | None, engine_options: tuple[str, ...]
) -> tuple[str, Engine]:
    """The column of soft labels, and what writes it.

    Raises:
        InputError: when the graph has no such column, or the engine does not know an option.
        UnknownNameError: when there is no such output or engine.
    """
    from motet.engines.engine import find_engine
    from motet.planning.teach import SOFT, teacher_outputs

    return teacher_outputs(graph.checked, of)[SOFT], find_engine(engine or "local", engine_options)


def _check_absent(output: str, *, overwrite: bool) -> None:
    """See that nothing would be written over.

    Raises:
        OutputExistsError: when the output is there, and nobody said that it may be replaced.
    """
    from motet.engines.local.options import BulkOptions
    from motet.errors import OutputExistsError

    if not overwrite and BulkOptions().destination(output).exists():
        raise OutputExistsError(f"{output} is there already", where="--teach", hint="--overwrite replaces it")


def _teach(graph: Graph, source: Any, output: str, chosen: dict[str, Any], options: dict[str, Any]) -> None:
    """Write soft labels, and say what they are."""
    from motet.planning.teach import SOFT

    column = options["column"]
    told = {name: value for name, value in chosen["reading"].items() if value is not None}
    keep = {} if options["keep"] is None else {"keep": options["keep"]}
    done = graph.teach(
        source,
        output,
        of=chosen["of"],
        engine=options["engine"],
        limit=chosen["limit"],
        overwrite=options["overwrite"],
        **told,
        **keep,
    )
    labels = graph.checked.columns[column].labels
    classes = f" ({', '.join(labels)})" if labels else ""
    click.echo(f"{SOFT} is {column}{classes} of {done.rows - done.failed:,} rows, in {output}", err=True)


def split_options(input_: tuple[str, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The source, and options of Python for those of the command line."""
    reading = {name: options.pop(name) for name in ("format", "encoding", "delimiter", "types", "empty", "decrypt")}
    return input_[0] if len(input_) == 1 else list(input_), {**options, "reading": reading}
