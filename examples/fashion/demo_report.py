"""The page of the demo: one file with everything in it, for a light and a dark screen, wide or narrow."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import data
from demo_charts import Bar, bars, confusion_table, picture
from demo_results import Answers, Opinion

if TYPE_CHECKING:
    from demo import Demo

STYLE = Path(__file__).with_name("demo_report.css")
SHORT_LABELS = [label.split("/")[0].removeprefix("Ankle ").capitalize() for label in data.LABELS]
NUM_RIGHT, NUM_WRONG = 6, 6


def write_report(demo: Demo, path: Path) -> Path:
    """Write the page; whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(page(demo), encoding="utf-8")
    return part.replace(path)


def page(demo: Demo) -> str:
    """The page as HTML."""
    sections = [
        _head(demo), _graph(demo), _accuracy(demo), _agreement(demo.answers), _torn(demo.answers), _confusion(demo.answers),
        _samples(demo.answers), _time(demo), _cascade(demo), _split(demo), _again(),
    ]  # fmt: skip
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Motet: three models, one answer</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def _section(title: str, lead: str, body: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n<p>{lead}</p>\n{body}\n</section>\n"


def _head(demo: Demo) -> str:
    answers, run = demo.answers, demo.run
    same = len(answers.agreed(1)) / len(answers)
    tiles = (
        (f"{answers.accuracy(answers.vote):.2%}", "of the answers are right"),
        (f"{run.rows_per_second:,.0f}", f"rows a second, Parquet to Parquet, on {_count(run.workers, 'thread')}"),
        (f"{same:.1%}", "of the rows have all three models of one mind"),
        (f"{run.failed:,}", "rows failed"),
    )
    shown = "".join(f"<li><strong>{value}</strong><span>{what}</span></li>" for value, what in tiles)
    return (
        "<header>\n<h1>Three models, one answer</h1>\n"
        f"<p>{len(answers):,} pictures of clothes went through three models at once. Each model said what it sees and how "
        "sure it is; the answer is the weighted average. This page shows what came out, and what it cost.</p>\n"
        f'<ul class="tiles">{shown}</ul>\n</header>\n'
    )


def _graph(demo: Demo) -> str:
    drawn = demo.graph.draw("svg")
    drawn = drawn[drawn.index("<svg") :]
    return _section(
        "The graph",
        "Rows go from left to right. It is declared in <code>fashion.yaml</code>; what each model said "
        "was added to its outputs for this page.",
        f'<div class="graph scroll">{drawn}</div>',
    )


def _accuracy(demo: Demo) -> str:
    answers = demo.answers
    models = {model.name: model for model in demo.run.models}
    members = demo.graph.nodes["vote"].members
    chart = [
        _accuracy_bar(member.name, answers.accuracy(answers.members[member.name]), _cost(models[member.uses]))
        for member in members
    ]
    chart.append(_accuracy_bar("all three together", answers.accuracy(answers.vote), strong=True))
    best = max(answers.accuracy(opinion) for opinion in answers.members.values())
    return _section(
        "Who is right, and how often", _compared(answers.accuracy(answers.vote), best), bars(chart, "accuracy")
    )


def _accuracy_bar(name: str, value: float, note: str = "", *, strong: bool = False) -> Bar:
    return Bar(name, value, f"{value:.2%}", note, strong)


def _cost(model: object) -> str:
    return f"{1e6 * model.seconds_compute / model.rows:.1f} µs a row"  # type: ignore[attr-defined]


def _compared(together: float, best: float) -> str:
    points = 100 * (together - best)
    if abs(points) < 0.2:
        verdict = "Together they are as good as the best of them"
    else:
        verdict = (
            f"Together they are {abs(points):.1f} points {'better' if points > 0 else 'worse'} than the best of them"
        )
    return (
        f"{verdict}: these models learned from the same pictures and share many mistakes. "
        "What the others add is below: whether they agree says how far an answer can be trusted."
    )


def _agreement(answers: Answers) -> str:
    names = {1: "all agree", 2: "two against one", 3: "three opinions"}
    chart = []
    for opinions, name in names.items():
        rows = answers.agreed(opinions)
        right = answers.accuracy(answers.vote, rows)
        chart.append(Bar(name, right, f"{right:.1%} right", f"{len(rows):,} rows", opinions == 1))
    return _section(
        "Agreement says how sure to be",
        "The same rows, by how many different answers the three models gave. Look again where they disagree, and trust "
        "the rest.",
        bars(chart, "accuracy by agreement"),
    )


def _torn(answers: Answers) -> str:
    lead = "Every one of the models is quite sure here, and they can't all be right. ✓ and ✗ say who is."
    groups = (
        ("Here the vote is right", answers.torn(NUM_RIGHT, right=True)),
        ("Here it is wrong", answers.torn(NUM_WRONG, right=False)),
    )
    body = "".join(f"<h3>{title}</h3>{_cards(answers, rows)}" for title, rows in groups if len(rows))
    return _section("Where the models disagree", lead, body)


def _samples(answers: Answers) -> str:
    lead = "The first picture of every class, with what each model said of it."
    return _section("One of each", lead, _cards(answers, answers.samples()))


def _cards(answers: Answers, rows: Iterable[int]) -> str:
    return f'<div class="cards">{"".join(_card(answers, int(row)) for row in rows)}</div>'


def _card(answers: Answers, row: int) -> str:
    truth = data.LABELS[answers.truth[row]]
    said = [(name, opinion, "") for name, opinion in answers.members.items()]
    said.append(("vote", answers.vote, ' class="vote"'))
    lines = "".join(_line(name, opinion, answers, row, kind) for name, opinion, kind in said)
    return (
        f"<figure>{picture(answers.images[row], f'row {row}: {truth}')}"
        f"<figcaption><strong>{escape(truth)}</strong> <small>row {row}</small><table>{lines}</table></figcaption></figure>"
    )


def _line(name: str, opinion: Opinion, answers: Answers, row: int, kind: str) -> str:
    label, score = int(opinion.label[row]), float(opinion.score[row])
    right = label == answers.truth[row]
    mark = '<td class="yes">✓</td>' if right else '<td class="no">✗</td>'
    what = escape(SHORT_LABELS[label])
    return f"<tr{kind}>{mark}<th>{escape(name)}</th><td>{what}</td><td>{_percent(score)}</td></tr>"


def _percent(score: float) -> str:
    """A probability in two digits; none is certain."""
    return "&gt;99%" if score >= 0.995 else f"{score:.0%}"


def _confusion(answers: Answers) -> str:
    counts = answers.confusion()
    worst = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    truth, label = np.unravel_index(int(worst.argmax()), worst.shape)
    lead = (
        "Each line is what the pictures are, each column what the three models together took them for. The most common "
        f"mistake: {int(worst.max())} times {data.LABELS[truth]} was taken for {data.LABELS[label]}."
    )
    return _section(
        "What is taken for what", lead, f'<div class="scroll">{confusion_table(counts, SHORT_LABELS)}</div>'
    )


def _time(demo: Demo) -> str:
    run = demo.run
    total = sum(node.seconds_compute for node in run.nodes)
    nodes = [
        Bar(node.name, node.seconds_compute / total, f"{1e3 * node.seconds_compute:,.1f} ms", f"{node.rows:,} rows")
        for node in run.nodes
    ]
    models = "".join(
        f"<tr><th>{escape(model.name)}</th><td>{escape(model.version)}</td><td>{model.calls:,}</td><td>{model.batch_rows:,}</td>"
        f"<td>{1e3 * model.seconds_compute:,.1f}</td></tr>"
        for model in run.models
    )
    table = (
        '<div class="scroll"><table class="plain"><thead><tr><th>model</th><th>version</th><th>calls</th><th>rows a call</th>'
        f"<th>ms</th></tr></thead><tbody>{models}</tbody></table></div>"
    )
    return _section(
        "Where the time went",
        f"{run.seconds:.2f} seconds from file to file, on {_count(run.workers, 'thread')}; the times are added over the threads. "
        "How many rows a call has was found by trying: the best number is not the largest.",
        bars(nodes, "time in each node") + table,
    )


def _cascade(demo: Demo) -> str:
    chart = [Bar(name, share, f"{share:.2%} of the rows") for name, share in demo.cascade_shares.items()]
    faster = demo.cascade.rows_per_second / demo.run.rows_per_second
    return _section(
        "Or one model after another",
        "A cascade asks the cheap model first, and the dear one only where the cheap one is less than 90 % sure "
        f"(<code>cascade.yaml</code>). It is right in {demo.cascade_accuracy:.2%} of the rows, at "
        f"{demo.cascade.rows_per_second:,.0f} rows a second: {faster:.1f} times the ensemble's.",
        bars(chart, "who answered in the cascade"),
    )


def _split(demo: Demo) -> str:
    chart = [Bar(name, share, f"{share:.2%} of the rows") for name, share in demo.split.items()]
    users, torn = demo.split_users
    who = "none of them" if not torn else f"{torn:,} of them"
    return _section(
        "Or two versions side by side",
        "An A/B split sends nine users in ten to the champion and one to the challenger (<code>ab.yaml</code>). It goes by a "
        f"fixed hash of the user, not by chance: of {users:,} users {who} met both.",
        bars(chart, "shares of the A/B split"),
    )


def _again() -> str:
    command = (
        ".venv/bin/motet run examples/fashion/fashion.yaml --input demo-output/test.parquet --output labels.parquet"
    )
    return (
        "<footer>\n<p>Made by <code>make demo</code>. The same from the command line:</p>"
        f"\n<pre>{escape(command)}</pre>\n"
        "<p>The pictures are Fashion-MNIST (Zalando, MIT licence).</p>\n</footer>\n"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
