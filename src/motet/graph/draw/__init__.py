"""Drawing a graph: a tree for a terminal, a Mermaid diagram, or an SVG image.

parts.py    what is drawn, whatever the form: inputs, nodes with their members, outputs, and what joins them
text.py     mermaid.py     svg.py
"""

from __future__ import annotations

from motet.errors import UnknownNameError
from motet.graph.check import CheckedGraph
from motet.graph.draw.mermaid import draw_mermaid
from motet.graph.draw.svg import draw_svg
from motet.graph.draw.text import draw_text

__all__ = ["FORMATS", "draw"]

FORMATS = {"text": draw_text, "mermaid": draw_mermaid, "svg": draw_svg}
"""The forms of a drawing by name."""


def draw(checked: CheckedGraph, format: str = "text") -> str:
    """Draw a graph; the same graph gives the same drawing.

    Raises:
        UnknownNameError: when there is no such form.
    """
    if format not in FORMATS:
        raise UnknownNameError("form of a drawing", format, list(FORMATS))
    return FORMATS[format](checked)
