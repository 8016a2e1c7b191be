"""An evaluation as a page: one file with everything in it, for a light and a dark screen, wide or narrow."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from motet.planning.charts import Point, interval_chart, metric_by_cost, reliability
from motet.planning.wording import mistakes, shown_cost, shown_interval, shown_number, standings_table

if TYPE_CHECKING:
    from motet.planning.evaluation import Evaluation

__all__ = ["header", "html_table", "page", "section", "whole_page"]

MOST_CLASSES = 40
MOST_CHARTS = 12


def whole_page(title: str, sections: Sequence[str]) -> str:
    """A page of sections, with its style."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def page(found: Evaluation) -> str:
    """An evaluation as HTML."""
    sections = [_head(found), _standings(found), _costs(found), _calibration(found), _confusion(found)]
    sections += [_agreement(found), _segments(found), _foot(found)]
    return whole_page(f"Motet: {found.graph}", sections)


def header(title: str, lead: str, tiles: Sequence[tuple[str, str]]) -> str:
    """The top of a page: what it is of, what it says in a few sentences, and its most important numbers with what they are."""
    shown = "".join(f"<li><strong>{escape(value)}</strong><span>{escape(what)}</span></li>" for value, what in tiles)
    return f'<header>\n<h1>{escape(title)}</h1>\n<p>{escape(lead)}</p>\n<ul class="tiles">{shown}</ul>\n</header>\n'


def section(title: str, lead: str, body: str) -> str:
    """A part of a page; nothing where it has no body."""
    return f"<section>\n<h2>{escape(title)}</h2>\n<p>{escape(lead)}</p>\n{body}\n</section>\n" if body else ""


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, its first column to the left."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _points(found: Evaluation) -> list[Point]:
    metric = next(iter(found.standings[0].metrics))
    return [
        Point(each.name, each.metrics[metric], shown_cost(each.cost, priced=found.priced), each.cost, place == 0)
        for place, each in enumerate(found.standings)
        if metric in each.metrics
    ]


def _head(found: Evaluation) -> str:
    graph = found.standings[0]
    tiles = [(shown_number(each.value), name) for name, each in graph.metrics.items()]
    tiles.append((shown_cost(graph.cost, priced=found.priced), "a row"))
    tiles.append((f"{sum(found.failures.values()):,}", f"of {found.rows:,} rows failed"))
    return header(found.graph, found.summary, tiles)


def _standings(found: Evaluation) -> str:
    metric = next(iter(found.standings[0].metrics))
    drawn = "units" if found.units else "rows"
    lead = (
        f"{metric} of the graph, and of each member as if it answered alone, with 95 % intervals from resampled {drawn}. "
        "All of them answered the same rows; what failed is not in the metrics, but counted beside them."
    )
    return section(
        "The graph and its members", lead, interval_chart(_points(found), metric) + html_table(*standings_table(found))
    )


def _costs(found: Evaluation) -> str:
    metric = next(iter(found.standings[0].metrics))
    what = "Prices as they were given" if found.priced else "Seconds as they were measured, one call at a time"
    return section("What it costs", f"{what}; {metric} upwards.", metric_by_cost(_points(found), f"{metric} by cost"))


def _calibration(found: Evaluation) -> str:
    charts = [reliability(each.calibration, each.name) for each in found.standings if each.calibration][:MOST_CHARTS]
    lead = (
        "How often answers are right, by how sure they were. Bars below the line are of answers that claim too much; dark bars "
        "have many rows. ECE is the mean distance from the line."
    )
    body = "".join(f"<figure>{each}</figure>" for each in charts)
    return section("How far confidence can be trusted", lead, f'<div class="charts">{body}</div>' if charts else "")


def _confusion(found: Evaluation) -> str:
    if not found.confusion:
        return ""
    worst = mistakes(found)
    lead = "Each line is what is right, each column what was answered."
    if worst:
        lead += " Most often, " + ", ".join(f"{one} was taken for {other} ({n:,})" for one, other, n in worst[:2]) + "."
    if len(found.classes) > MOST_CLASSES:
        rows = [[one, other, f"{count:,}"] for one, other, count in worst]
        return section("What is taken for what", lead, html_table(["right", "answered", "rows"], rows))
    head = "".join(f'<th scope="col"><span>{escape(label)}</span></th>' for label in found.classes)
    lines = zip(found.classes, found.confusion, strict=True)
    body = "".join(
        f'<tr><th scope="row">{escape(label)}</th>{"".join(_cell(line, row, column) for column in range(len(line)))}</tr>'
        for row, (label, line) in enumerate(lines)
    )
    table = f'<table class="confusion"><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>'
    return section("What is taken for what", lead, f'<div class="scroll">{table}</div>')


def _cell(line: Sequence[int], row: int, column: int) -> str:
    part = line[column] / max(1, sum(line))
    right = row == column
    # Mistakes are few: the root makes them visible beside the diagonal.
    shade = 0.12 + 0.68 * part if right else 0.9 * min(1.0, part / 0.2) ** 0.5
    style = f' style="--shade:{shade:.2f}"' if line[column] else ""
    return f'<td class="{"right" if right else "wrong"}"{style}>{line[column] or ""}</td>'


def _agreement(found: Evaluation) -> str:
    rows = [[f"{e.one}, {e.other}", f"{e.same:.1%}", f"{e.both_wrong:.1%}"] for e in found.agreement]
    lead = "Members that are often wrong on the same rows have little to add to each other."
    body = html_table(["members", "say the same", "both wrong"], rows) if rows else ""
    return section("How far members agree", lead, body)


def _segments(found: Evaluation) -> str:
    if not found.segments:
        return ""
    metric = next(iter(found.standings[0].metrics))
    points = [Point(each.value, each.metric) for each in found.segments]
    head = [str(found.by), "rows", "failed", metric, *found.segments[0].members]
    rows = [
        [s.value, f"{s.rows:,}", f"{s.failed:,}", shown_interval(s.metric), *map(shown_number, s.members.values())]
        for s in found.segments
    ]
    return section(
        f"By {found.by}",
        f"{metric} of the graph, and of each member.",
        interval_chart(points, metric) + html_table(head, rows),
    )


def _foot(found: Evaluation) -> str:
    lines = [f"{count:,} rows failed: {reason}" for reason, count in found.failures.items()]
    lines += [f"{each.name}: {each.note}" for each in found.standings if each.note]
    lines += found.notes
    said = "<br>".join(map(escape, lines))
    return f"<footer><p>{said}</p><p>Made by motet evaluate.</p></footer>\n"
