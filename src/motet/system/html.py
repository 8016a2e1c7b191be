"""Small tables for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["paragraph", "table"]

_CELL = "text-align:right;padding:1px 8px;font-variant-numeric:tabular-nums"


def paragraph(lines: Iterable[str]) -> str:
    """Lines of text."""
    return f"<p>{'<br>'.join(map(_escaped, lines))}</p>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, its first column to the left, the others to the right; nothing without rows."""
    if not rows:
        return ""
    head = "".join(f'<th style="{_style(place)}">{_escaped(name)}</th>' for place, name in enumerate(header))
    body = "".join(
        f"<tr>{''.join(f'<td style={chr(34)}{_style(place)}{chr(34)}>{_escaped(cell)}</td>' for place, cell in enumerate(row))}</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _escaped(text: str) -> str:
    from html import escape

    return escape(text)


def _style(place: int) -> str:
    return _CELL.replace("right", "left") if place == 0 else _CELL
