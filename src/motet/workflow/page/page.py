"""The page of a run: what became of it, its steps as a drawing, when they ran, and why."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

import orjson

from motet.workflow.page.curves import draw_curves
from motet.workflow.page.dag import MOST_BOXES, boxes_of, draw_steps, seconds_told
from motet.workflow.page.gantt import MOST_BARS, draw_gantt
from motet.workflow.record.metrics import RunMetrics
from motet.workflow.record.runs import RunRow, StepRow
from motet.workflow.steps import StepGraph

__all__ = ["framed", "head_of", "plan_page", "run_page"]

MOST_ROWS, MOST_CURVES = 1000, 200
_STYLE = """
:root{color-scheme:light dark;--page:#fff;--text:#1d2330;--dim:#5c6675;--line:#9aa5b5;--grid:#e6e9ee;--panel:#f6f7f9}
@media(prefers-color-scheme:dark){:root{--page:#14171d;--text:#e8ebf0;--dim:#a3adbb;--line:#657083;--grid:#2a2f38;--panel:#1b1f27}}
body{margin:0 auto;padding:24px;max-width:1160px;background:var(--page);color:var(--text);font:14px/1.5 system-ui,sans-serif}
h1{font-size:22px;margin:0}h2{font-size:15px;margin:28px 0 8px}p{margin:4px 0;color:var(--dim)}
.scroll{overflow-x:auto;border:1px solid var(--grid);border-radius:10px;padding:4px}
svg{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;display:block}
.name{fill:var(--text)}.dim{fill:var(--dim)}.edge{fill:none;stroke:var(--line);stroke-width:1.5}.tip{fill:var(--line)}
.grid{stroke:var(--grid)}.box{stroke-width:1.4;fill:var(--panel);stroke:var(--line)}
.done{fill:#3d8b5733;stroke:#3d8b57}.hit{fill:#4a78c233;stroke:#4a78c2}.resumed{fill:#2a8c9a33;stroke:#2a8c9a}
.failed{fill:#c0392b33;stroke:#c0392b}.running{fill:#c98a1b44;stroke:#c98a1b}.skipped,.cancelled{fill:#b5532f22;stroke:#b5532f}
.left-out,.waiting{stroke-dasharray:4 3}
table{border-collapse:collapse;width:100%;font-size:13px}td,th{text-align:left;padding:5px 10px 5px 0;vertical-align:top;
border-bottom:1px solid var(--grid)}th{color:var(--dim);font-weight:500}td.n{text-align:right;font-variant-numeric:tabular-nums}
.chip{display:inline-block;border:1.4px solid;border-radius:9px;padding:0 8px;font-size:12px;color:var(--text)}
.chip.done{background:#3d8b5733}.chip.hit{background:#4a78c233}.chip.failed{background:#c0392b33}
.curves{display:flex;flex-wrap:wrap;gap:8px}.curve{fill:none;stroke:#4a78c2;stroke-width:1.6}circle.curve{fill:#4a78c2}
.c1{stroke:#c98a1b}circle.c1{fill:#c98a1b}.differs td{background:#c98a1b22}a{color:#4a78c2}summary{color:var(--dim);cursor:pointer}
.chip.running{background:#c98a1b44}.chip.killed{background:#c0392b33}
pre{white-space:pre-wrap;margin:4px 0;font-size:12px;color:var(--dim)}
"""


def run_page(
    run: RunRow,
    steps: Sequence[StepRow],
    metrics: RunMetrics | None = None,
    *,
    top: str = "",
    logs: Mapping[str, str] | None = None,
    again: Mapping[str, str] | None = None,
    results: Mapping[str, str] | None = None,
    refresh_s: int = 0,
) -> str:
    """The page of a run, as HTML that needs nothing else: no script, font or other file; light and dark.

    Args:
        run, steps, metrics: what is known of it.
        top: HTML above it.
        logs, again, results: by step the address of its log, the command that runs it again, and its result's digest.
        refresh_s: after how long a browser is to ask again; 0 for never.
    """
    by_function = len(steps) > MOST_BOXES
    parts = [
        *head_of(run.id, refresh_s),
        top,
        f'<h1>{escape(run.workflow)} <span class="chip {run.state}" data-run-state="{run.state}">{run.state}</span></h1>',
        *(f"<p>{each}</p>" for each in _about(run, steps)),
        f"<h2>Steps{', by function' if by_function else ''}</h2>",
        f'<div class="scroll">{draw_steps(boxes_of(steps))}</div>',
    ]
    curves = [
        draw_curves(f"{step} {name}", [each]) for step, own in (metrics or {}).items() for name, each in own.items()
    ]
    if curves:
        parts.append(f'<h2>Metrics</h2><div class="curves">{"".join(curves[:MOST_CURVES])}</div>')
    gantt = draw_gantt(steps)
    if gantt:
        more = f", the first {MOST_BARS}" if sum(bool(each.started) for each in steps) > MOST_BARS else ""
        parts.append(f'<h2>When they ran{more}</h2><div class="scroll">{gantt}</div>')
    parts.append(_table(steps[:MOST_ROWS], logs or {}, again or {}, results or {}))
    if len(steps) > MOST_ROWS:
        parts.append(f"<p>and {len(steps) - MOST_ROWS:,} more: motet workflow show {escape(run.id)}</p>")
    return "\n".join([*parts, "</body></html>", ""])


def plan_page(plan: StepGraph) -> str:
    """The steps of a workflow that has not run, drawn, as a page like that of a run."""
    rows = [
        StepRow(
            "", node.id, node.place, node.step.place, "waiting", "", 0.0, 0.0, 0.0, 0, 0, "", "", (), 0,
            tuple(each.id for each in (*node.needs(), *node.follows())), (),
        )
        for node in plan.nodes
    ]  # fmt: skip
    drawn = f'<div class="scroll">{draw_steps(boxes_of(rows))}</div>'
    return "\n".join([*head_of(plan.name), f"<h1>{escape(plan.name)}</h1>", drawn, "</body></html>", ""])


def framed(page: str) -> str:
    """A page inside another one, as the output of a notebook's cell: their styles do not meet."""
    style = "width:100%;height:28em;border:0;resize:vertical;overflow:auto"
    return f'<iframe srcdoc="{escape(page)}" style="{style}"></iframe>'


def head_of(title: str, refresh_s: int = 0) -> list[str]:
    """How a page begins; a browser asks for it again after `refresh_s`, unless that is 0."""
    return [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        f'<meta http-equiv="refresh" content="{refresh_s}">' if refresh_s else "",
        '<meta name="viewport" content="width=device-width"><style>',
        f"{_STYLE.strip()}</style></head><body>",
    ]


def _about(run: RunRow, steps: Sequence[StepRow]) -> list[str]:
    counts = Counter(each.state for each in steps)
    parameters = orjson.loads(run.parameters or "{}")
    saved = sum(each.made_s for each in steps if each.state in ("hit", "resumed"))
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started))
    return [
        f"{escape(run.id)} · {when} · {seconds_told(run.seconds)} · {escape(run.file)}",
        ", ".join(f"{escape(name)}={escape(str(value))}" for name, value in parameters.items()),
        ", ".join(f"{count:,} {state}" for state, count in counts.items())
        + (f"; what was kept saved {seconds_told(saved)}" if saved else ""),
        f"<b>{escape(run.error)}</b>" if run.error else "",
    ]


def _table(
    steps: Sequence[StepRow], logs: Mapping[str, str], again: Mapping[str, str], results: Mapping[str, str]
) -> str:
    rows = []
    for each in steps:
        size = f"{each.size_bytes:,} B {' '.join(each.formats)}" if each.size_bytes else ""
        size += f"<br>{results[each.id]}" if each.id in results else ""
        log = f' <a href="{escape(logs[each.id])}">log</a>' if each.id in logs else ""
        command = (
            f"<details><summary>run it again</summary><pre>{escape(again[each.id])}</pre></details>"
            if each.id in again
            else ""
        )
        why = escape(each.why) + "".join(f"<br>{escape(change)}" for change in each.changes[3:8])
        error = f"<pre>{escape(each.error)}</pre>" if each.error else ""
        tries = f" × {each.attempts}" if each.attempts > 1 else ""
        rows.append(
            f"<tr><td>{escape(each.id)}{log}{command}</td>"
            f'<td><span class="chip {each.state.replace(" ", "-")}">{each.state}</span>{tries}</td>'
            f'<td class="n">{seconds_told(each.seconds) if each.started else ""}</td><td>{why}{error}</td><td class="n">{size}</td></tr>'
        )
    head = "<tr><th>step</th><th>state</th><th>time</th><th>why</th><th>result</th></tr>"
    return f"<h2>What became of each</h2><table>{head}{''.join(rows)}</table>"
