"""The demo: 10,000 clothing pictures through three models at once, and a page that shows what came out.

test.parquet ──► fashion.yaml, with a column for each member ──► answers.parquet ──► report.html
            ├──► cascade.yaml ──► cascade.parquet ─────────────────────────────────────┤
            └──► ab.yaml ──────► ab.parquet ────────────────────────────────────────────┘

python examples/fashion/demo.py --output demo-output
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import data
import motet as mt
from demo_report import write_report
from demo_results import Answers, read_answers

HERE = Path(__file__).parent
console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Demo:
    """What the demo found out.

    Attributes:
        graph: the ensemble's graph.
        run: the report of the ensemble's run.
        answers: its answers.
        cascade: the report of the cascade's run.
        cascade_accuracy: the share of rows that the cascade had right, 0 to 1.
        cascade_shares: the share of rows that each of its members answered.
        split: the share of rows that each arm of the A/B split got.
        split_users: how many users there are, and how many of them met more than one arm.
    """

    graph: mt.Graph
    run: mt.RunReport
    answers: Answers
    cascade: mt.RunReport
    cascade_accuracy: float
    cascade_shares: dict[str, float]
    split: dict[str, float]
    split_users: tuple[int, int]


def with_members(graph: mt.Graph, node: str) -> mt.Graph:
    """The same graph, which also gives what each member of an ensemble said, as a column of the member's name."""
    opinions = {member.name: f"{node}.{member.name}.probabilities" for member in graph.nodes[node].members}
    return mt.Graph(
        graph.name,
        {**graph.outputs, **opinions},
        inputs=graph.inputs,
        models=graph.models,
        nodes=graph.nodes,
        folder=graph.folder,
    )


def play(graph: mt.Graph, source: Path, output: Path, title: str, **options: object) -> mt.RunReport:
    """Run a graph over a file, and show how far it is."""
    with _bar(title) as progress:
        return graph.run(source, output, overwrite=True, progress=progress, **options)


@contextmanager
def _bar(title: str) -> Iterator[object]:
    columns = (TextColumn(f"{title:28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=None)

        def show(done: int, total: int | None, _failed: int) -> None:
            progress.update(task, completed=done, total=total)

        yield show


def shares(path: Path, column: str) -> dict[str, float]:
    """How large a part of the rows each value of a column has, largest first."""
    counts = pq.read_table(path, columns=[column])[column].value_counts()
    names, sizes = counts.field("values").to_pylist(), counts.field("counts").to_numpy()
    return {names[place]: float(sizes[place] / sizes.sum()) for place in np.argsort(-sizes)}


def accuracy(path: Path) -> float:
    """The share of rows, 0 to 1, whose label is the truth."""
    table = pq.read_table(path, columns=["label", "truth"])
    return float(pc.mean(pc.equal(table["label"], table["truth"])).as_py())


def users_of_two_arms(path: Path) -> tuple[int, int]:
    """How many users there are, and how many of them met more than one arm."""
    arms = pq.read_table(path, columns=["user", "arm"]).group_by("user").aggregate([("arm", "count_distinct")])
    return len(arms), int(pc.sum(pc.greater(arms["arm_count_distinct"], 1)).as_py())


def play_all(folder: Path, rows: int | None) -> Demo:
    """Write the rows, play them through the graphs, and read the answers."""
    source = folder / "test.parquet"
    num_rows = data.write_parquet(source, "test", rows)
    console.print(f"{source}: {num_rows:,} pictures with their true labels\n")

    graph = with_members(mt.load(HERE / "fashion.yaml"), "vote")
    console.print(graph.draw("text"), markup=False)
    (folder / "graph.svg").write_text(graph.draw("svg"), encoding="utf-8")

    members = [member.name for member in graph.nodes["vote"].members]
    play(graph, source, folder / "answers.parquet", "finding batch sizes")
    run = play(graph, source, folder / "answers.parquet", "ensemble of three")
    cascade = play(mt.load(HERE / "cascade.yaml"), source, folder / "cascade.parquet", "cascade")
    play(mt.load(HERE / "ab.yaml"), source, folder / "ab.parquet", "A/B split by user")
    images = data.load("test")[0][:num_rows]
    return Demo(
        graph,
        run,
        read_answers(folder / "answers.parquet", members, images),
        cascade,
        accuracy(folder / "cascade.parquet"),
        shares(folder / "cascade.parquet", "member"),
        shares(folder / "ab.parquet", "arm"),
        users_of_two_arms(folder / "ab.parquet"),
    )


def print_results(demo: Demo) -> None:
    """The numbers, for a terminal."""
    console.print()
    console.print(_models(demo))
    console.print(_nodes(demo.run))
    run, answers = demo.run, demo.answers
    console.print(
        f"ensemble  {run.rows:,} rows in {run.seconds:.2f} s: {run.rows_per_second:,.0f} rows/s, {run.failed} failed"
    )
    same = answers.agreed(1)
    console.print(
        f"          the members agree on {len(same) / len(answers):.1%} of the rows: there {answers.accuracy(answers.vote, same):.1%} "
        f"are right; elsewhere {answers.accuracy(answers.vote, np.setdiff1d(np.arange(len(answers)), same)):.1%}"
    )
    by = ", ".join(f"{name} answers {share:.2%} of the rows" for name, share in demo.cascade_shares.items())
    console.print(f"cascade   {by}; accuracy {demo.cascade_accuracy:.2%} at {demo.cascade.rows_per_second:,.0f} rows/s")
    by = ", ".join(f"{arm} {share:.2%} of the rows" for arm, share in demo.split.items())
    users, torn = demo.split_users
    console.print(f"A/B       {by}; {users:,} users, {torn} of them met more than one arm")


def _models(demo: Demo) -> Table:
    answers = demo.answers
    table = Table("model", title="Accuracy", title_justify="left", title_style="bold")
    for heading in ("accuracy", "µs a row", "rows a call"):
        table.add_column(heading, justify="right")
    models = {model.name: model for model in demo.run.models}
    for name, opinion in answers.members.items():
        model = models[demo.graph.nodes["vote"].members[list(answers.members).index(name)].uses]
        cost = f"{1e6 * model.seconds_compute / model.rows:.1f}"
        table.add_row(name, f"{answers.accuracy(opinion):.2%}", cost, f"{model.batch_rows:,}")
    table.add_section()
    table.add_row("ensemble", f"{answers.accuracy(answers.vote):.2%}")
    table.add_row("cascade", f"{demo.cascade_accuracy:.2%}")
    return table


def _nodes(run: mt.RunReport) -> Table:
    table = Table("node", title="Time in each node", title_justify="left", title_style="bold")
    for heading in ("rows", "batches", "ms", "share"):
        table.add_column(heading, justify="right")
    total = sum(node.seconds_compute for node in run.nodes)
    for node in run.nodes:
        seconds = node.seconds_compute
        table.add_row(
            node.name, f"{node.rows:,}", f"{node.batches:,}", f"{1e3 * seconds:.1f}", f"{seconds / total:.1%}"
        )
    return table


def main(arguments: list[str] | None = None) -> None:
    """Play, print, and write the page."""
    parser = argparse.ArgumentParser(description="Play Fashion-MNIST through three models and show what came out.")
    parser.add_argument(
        "--output", type=Path, default=Path("demo-output"), help="folder to write (default: demo-output)"
    )
    parser.add_argument("--rows", type=int, help="number of rows, from the first (default: all 10,000)")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    try:
        demo = play_all(options.output, options.rows)
    except (mt.MotetError, data.DatasetError, ValueError, OSError) as error:
        sys.exit(f"demo.py: {error}")
    print_results(demo)
    page = write_report(demo, options.output / "report.html")
    console.print(f"\nThe whole story, with pictures: {page.resolve().as_uri()}")


if __name__ == "__main__":
    main()
