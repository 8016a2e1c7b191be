"""Draw a package from its imports: each part on the floor above those that it imports, arrows that run back in red.

imports() ──► backward() ──► floors() ──► svg()

python docs/house.py motet.serving > serving.svg

A part is a folder or a module of the package. An import inside a function counts, one for type checking alone does not.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
ROW, HEIGHT, GAP, LETTER, WIDTH = 74, 30, 18, 7.8, 760
STYLE = """
  text { font: 13px ui-monospace, monospace; fill: #1f2328; text-anchor: middle; }
  rect { fill: #f3f4f6; stroke: #8b949e; rx: 6px; } .folder { fill: #e8effd; stroke: #4078c0; }
  path { fill: none; stroke: #8b949e; stroke-opacity: .7; } .back { stroke: #d1242f; stroke-width: 2; stroke-opacity: 1; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } rect { fill: #21262d; } .folder { fill: #14233f; } .back { stroke: #ff7b72; }
  }
"""

Imports = Mapping[str, frozenset[str]]


def picture(package: str) -> str:
    """The picture of a package, as SVG; `motet.serving` for example."""
    return svg(package, imports(package))


def imports(package: str) -> Imports:
    """What each part of a package imports of its other parts."""
    folder = SOURCE.joinpath(*package.split("."))
    found: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).with_suffix("").parts[0]
        if name != "__init__":  # which only hands on what the others have
            parts = {_part(each, package, folder) for each in _named(ast.parse(path.read_text(encoding="utf-8")))}
            found.setdefault(name, set()).update(parts - {"", name})
    return {name: frozenset(each & found.keys()) for name, each in found.items()}


def _named(node: ast.AST) -> Iterator[str]:
    """The modules and what of them is imported, as `module.name`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    children: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        children = node.orelse
    for child in children:
        yield from _named(child)


def _part(name: str, package: str, folder: Path) -> str:
    """The part of a package that an imported name is of; empty for others."""
    if not name.startswith(f"{package}."):
        return ""
    part = name.removeprefix(f"{package}.").partition(".")[0]
    return part if (folder / part).is_dir() or (folder / f"{part}.py").is_file() else ""


def backward(found: Imports) -> set[tuple[str, str]]:
    """The fewest arrows, as far as a greedy search finds them, without which no part imports itself through others.

    Eades, Lin and Smyth, 1993, "A fast and effective heuristic for the feedback arc set problem".
    """
    left, first, last = set(found), list[str](), list[str]()
    while left:
        out = {name: len(found[name] & left) for name in left}
        into = {name: sum(name in found[other] for other in left) for name in left}
        if sinks := sorted(name for name in left if not out[name]):
            last[:0] = sinks[:1]
        else:
            first.append(min(left, key=lambda name: (into[name] > 0, into[name] - out[name], name)))
        left -= {*first, *last}
    place = {name: number for number, name in enumerate([*first, *last])}
    return {(name, other) for name in found for other in found[name] if place[other] < place[name]}


def floors(found: Imports) -> dict[str, int]:
    """On which floor each part is, 0 the lowest: one above the highest that it imports; nothing may import itself."""
    made: dict[str, int] = {}

    def floor(name: str) -> int:
        if name not in made:
            made[name] = 1 + max(map(floor, found[name]), default=-1)
        return made[name]

    return {name: floor(name) for name in sorted(found)}


def _reached(name: str, found: Imports) -> set[str]:
    """What a part imports, and what those import, and so on."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        new = found[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def _direct(name: str, found: Imports) -> list[str]:
    """What a part imports and does not reach through others: the arrows that are drawn."""
    through = {each for other in found[name] for each in _reached(other, found)}
    return sorted(found[name] - through)


def svg(package: str, found: Imports) -> str:
    """Parts by floor, the highest at the top, with arrows to what they import."""
    back = sorted(backward(found))
    onward = {name: frozenset(other for other in found[name] if (name, other) not in back) for name in found}
    on = floors(onward)
    rows = [sorted(name for name in on if on[name] == floor) for floor in range(max(on.values()), -1, -1)]
    widths = {name: len(name) * LETTER + 22 for name in on}
    whole = max(WIDTH, *(sum(widths[name] + GAP for name in row) + 2 * GAP for row in rows))
    at = _places(rows, found, widths, whole)
    arrows = [(name, other) for name in sorted(found) for other in _direct(name, onward)]
    folder = SOURCE.joinpath(*package.split("."))
    count = sum(map(len, found.values()))
    said = f"{len(on)} parts on {len(rows)} floors; of {count} imports {len(back) or 'none'} {'run' if len(back) > 1 else 'runs'} back"
    height = len(rows) * ROW + 24
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole:.0f}" height="{height}" viewBox="0 0 {whole:.0f} {height}" role="img">',
            f"  <title>{package}: {said}</title>\n  <style>{STYLE}</style>",
            *(_arrow(at[name], at[other], "") for name, other in arrows),
            *(_arrow(at[name], at[other], ' class="back"') for name, other in back),
            *(_box(name, at[name], widths[name], (folder / name).is_dir()) for name in sorted(on)),
            f'  <text x="{whole / 2:.0f}" y="{height - 8}">{said}</text>\n</svg>\n',
        ]
    )


def _places(
    rows: Sequence[Sequence[str]], found: Imports, widths: Mapping[str, float], whole: float
) -> dict[str, tuple[float, float]]:
    """The middle of each part's upper edge: under those that import it, as far as there is room."""
    at: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        wanted = {}
        for name in row:
            above = [at[other][0] for other in at if name in found[other]]
            wanted[name] = sum(above) / len(above) if above else whole / 2
        free = whole - 2 * GAP - sum(widths[name] for name in row)
        space = free / (len(row) + 1)
        left = GAP + space
        for name in sorted(row, key=lambda name: (wanted[name], name)):
            at[name] = (left + widths[name] / 2, number * ROW + 10)
            left += widths[name] + space
    return at


def _arrow(start: tuple[float, float], end: tuple[float, float], kind: str) -> str:
    (x, y), (to_x, to_y) = start, end
    if to_y > y:
        y += HEIGHT
    else:  # runs back
        to_y += HEIGHT
    bend = (to_y - y) / 2
    return f'  <path{kind} d="M{x:.0f} {y:.0f}C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y:.0f}"/>'


def _box(name: str, place: tuple[float, float], width: float, folder: bool) -> str:
    x, y = place
    kind = ' class="folder"' if folder else ""
    box = f'<rect{kind} x="{x - width / 2:.1f}" y="{y:.0f}" width="{width:.1f}" height="{HEIGHT}"/>'
    return f'  {box}<text x="{x:.1f}" y="{y + 20:.0f}">{name}</text>'


if __name__ == "__main__":
    sys.stdout.write(picture(sys.argv[1] if len(sys.argv) > 1 else "motet"))
