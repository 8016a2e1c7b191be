"""`motet tune`: choose thresholds, orders, weights and members by labelled rows, and write the graph with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from motet.cli.completion import GRAPH_FILE
from motet.cli.edited import check_absent, edited_text
from motet.cli.evaluate import label_options, split_options
from motet.cli.exits import EXITS, FAILED, OK, WRONG, Command, load_graph
from motet.cli.shown import html_option, json_option, print_report

if TYPE_CHECKING:
    from motet.planning.tuning import Tuning

__all__ = ["command"]


def _at_least(ctx: click.Context, param: click.Parameter, value: str | None) -> float | str | None:
    if value is None or value == "best":
        return value
    try:
        return float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a number nor best") from None


@click.command(
    "tune",
    cls=Command,
    short_help="Choose thresholds, weights and members.",
    exits={OK: "the tuned graph is written", FAILED: EXITS[FAILED], WRONG: EXITS[WRONG]},
)
@click.argument("graph", metavar="GRAPH.yaml", type=GRAPH_FILE)
@label_options
@click.option("--metric", metavar="NAME", help="As for motet evaluate.  [default: accuracy, or rmse of numbers]")
@click.option(
    "--at-least",
    callback=_at_least,
    metavar="X|best",
    help="The metric to reach as cheaply as possible; best: of members and graph.",
)
@click.option(
    "--at-most-cost", type=click.FloatRange(0), metavar="X", help="What a row may cost: seconds, or in prices."
)
@click.option("-o", "--output", metavar="TUNED.yaml", required=True, type=click.Path(), help="The graph file to write.")
@html_option
@click.option("--overwrite", is_flag=True, help="Write over a file that is there.")
@json_option
def command(
    graph: str,
    input_: tuple[str, ...],
    label: str,
    output: str,
    overwrite: bool,
    html: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Choose thresholds, order and members of cascades, and weights, combiner and members of ensembles, by labelled rows.

    Every member answers each row once; every setting is played from these answers. One half of the rows chooses, the
    other half says what it came to. Prints settings from the cheapest to the best, and writes the graph with the chosen one.
    """
    from motet.system.whole_files import write_whole

    check_absent(output, "--output", overwrite=overwrite)
    found = load_graph(graph)
    source, chosen = split_options(input_, options)
    done = found.tune(source, label=label, **chosen)
    write_whole(output, _text(graph, done, output).encode())
    print_report(done, html, as_json=as_json)


def _text(path: str, done: Tuning, output: str) -> str:
    """The text of the tuned graph."""
    from motet.planning.tuned_file import MARK, with_settings

    said = done.comment.removeprefix(MARK.removeprefix("# "))
    return edited_text(path, done.tuned, output, lambda text: with_settings(text, done.changes, said), f"{MARK}{said}")
