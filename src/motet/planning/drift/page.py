"""A report of drift as a page: one file with everything in it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from motet.planning.page import header, html_table, section, whole_page

if TYPE_CHECKING:
    from motet.planning.drift.compare import ColumnDrift
    from motet.planning.drift.report import DriftReport

__all__ = ["page"]

WIDTH, HEIGHT = 240.0, 96.0


def page(found: DriftReport) -> str:
    """A report as HTML."""
    tiles = [
        (f"{len(found.drifted)} of {len(found.columns)}", "have drifted"),
        (f"{found.rows:,}", "rows now"),
        (f"{found.reference_rows:,}", "rows of the reference"),
        (f"{found.at_most:g}", "is the bound of the index"),
    ]
    lead = (
        "PSI is the population stability index; by chance alone it stays below the number beside it in 95 % of cases. "
        "Drifted is what has more than its bound and more than chance."
    )
    figures = "".join(f"<figure>{_bars(each)}</figure>" for each in found.by_distance)
    drawn = "Light bars are the reference, strong ones these rows."
    notes = "<br>".join(map(escape, found.notes))
    sections = [
        header(found.graph, found.summary, tiles),
        section("What has drifted", lead, html_table(*found.table())),
        section("Then and now", drawn, f'<div class="charts">{figures}</div>' if figures else ""),
        f"<footer><p>{notes}</p><p>Made by motet drift report.</p></footer>\n",
    ]
    return whole_page(f"Motet: drift of {found.graph}", sections)


def _bars(column: ColumnDrift) -> str:
    """Shares of the reference and of now, side by side."""
    bars: Sequence[tuple[str, float, float]] = column.bars
    most = max([share for _, was, now in bars for share in (was, now)] or [1.0]) or 1.0
    step = WIDTH / max(1, len(bars))
    parts = [f'<svg role="img" aria-label="{escape(column.name)}" viewBox="0 0 {WIDTH:.0f} {HEIGHT + 22:.0f}">']
    for place, (name, was, now) in enumerate(bars):
        title = f"<title>{escape(name)}: {was:.1%}, now {now:.1%}</title>"
        for style, share, at in (("bar", was, 0.08), ("mark strong", now, 0.5)):
            height = HEIGHT * share / most
            x, width = step * (place + at), step * 0.4
            parts.append(
                f'<rect class="{style}" x="{x:.1f}" y="{HEIGHT - height:.1f}" width="{width:.1f}" height="{height:.1f}">{title}</rect>'
            )
    name = column.name if len(column.name) <= 30 else f"{column.name[:29]}..."
    style = "strong" if column.drifted else ""
    parts.append(f'<text class="{style}" x="0" y="{HEIGHT + 18:.0f}">{escape(name)}</text>')
    parts.append(
        f'<text class="soft" x="{WIDTH:.0f}" y="{HEIGHT + 18:.0f}" text-anchor="end">PSI {column.psi:.3f}</text>'
    )
    return "".join([*parts, "</svg>"])
