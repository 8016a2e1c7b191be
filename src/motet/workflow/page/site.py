"""The runs of this machine as pages: a list, each run with its curves, logs and results, and two runs side by side.

Nothing here knows how it is asked for: `motet workflow ui` answers on a port of its own, `motet serve` for administrators.

    /            the last runs          /runs.json   the same for programs
    /run/RUN     one run                /run/RUN/log/STEP   what a step has printed
    /compare?run=RUN&run=RUN            two runs
"""

from __future__ import annotations

import json
import shlex
import time
from ast import literal_eval
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote, unquote

from motet.errors import UnknownNameError
from motet.workflow.comparison import RunComparison, compare
from motet.workflow.memo.cache import Cache, home_folder
from motet.workflow.page.curves import draw_curves
from motet.workflow.page.dag import seconds_told
from motet.workflow.page.page import head_of, run_page
from motet.workflow.record.logs import log_size, log_tail
from motet.workflow.record.metrics import seen_run, seen_steps
from motet.workflow.record.runs import RunRecord, RunRow, StepRow

__all__ = ["HEADERS", "RunPage", "answer"]

MOST_RUNS = 200
_LIVE_S = 2
_HTML, _TEXT, _JSON = "text/html; charset=utf-8", "text/plain; charset=utf-8", "application/json"
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
"""What every answer says of itself: no script runs, and nothing of it is kept."""


@dataclass(frozen=True)
class RunPage:
    """An answer: its status as HTTP has it, its type and its text."""

    status: int
    kind: str
    text: str


def answer(path: str, runs: Sequence[str] = (), base: str = "") -> RunPage:
    """Answer a question.

    Args:
        path: behind the base, as it was asked for.
        runs: the values of `run` in the query.
        base: what addresses of the pages begin with, without a slash at the end.
    """
    parts = [unquote(part) for part in path.strip("/").split("/") if part]
    try:
        match parts:
            case []:
                return RunPage(200, _HTML, _list(base))
            case ["runs.json"]:
                return RunPage(200, _JSON, json.dumps([asdict(each) for each in _runs()], indent=2))
            case ["run", run]:
                return RunPage(200, _HTML, _run(run, base))
            case ["run", run, "log", *step]:
                return RunPage(200, _TEXT, _log(run, "/".join(step)))
            case ["compare"] if len(runs) == 2:
                return RunPage(200, _HTML, _compared(compare(*runs), base))
            case ["compare"]:
                return RunPage(400, _TEXT, "choose two runs\n")
    except UnknownNameError as error:
        return RunPage(404, _TEXT, f"{error}\n")
    return RunPage(404, _TEXT, "there is no such page\n")


def _runs() -> list[RunRow]:
    with closing(RunRecord.of(home_folder())) as record:
        return [record.as_it_is(each) for each in record.runs(MOST_RUNS)]


def _list(base: str) -> str:
    runs = _runs()
    rows = []
    for each in runs:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.started))
        took = seconds_told(each.seconds if each.state != "running" else time.time() - each.started)
        rows.append(
            f'<tr><td><input type="checkbox" name="run" value="{escape(each.id)}" aria-label="compare {escape(each.id)}"></td>'
            f'<td><a href="{_address(base, "run", each.id)}">{escape(each.id)}</a></td><td>{_chip(each.state)}</td>'
            f'<td>{when}</td><td class="n">{took}</td><td>{escape(_parameters(each))}</td><td>{escape(each.error)}</td></tr>'
        )
    table = (
        f'<form action="{base}/compare"><table><tr><th></th><th>run</th><th>state</th><th>began</th><th>took</th>'
        f"<th>parameters</th><th>error</th></tr>{''.join(rows)}</table><p><button>compare two</button></p></form>"
    )
    live = any(each.state == "running" for each in runs)
    return _page("Runs", [f"<h1>Runs</h1>{table if runs else '<p>no runs yet</p>'}"], live)


def _run(name: str, base: str) -> str:
    run, steps, metrics = seen_run(home_folder(), name)
    top = f'<p><a href="{base}/">all runs</a></p>'
    logs = {
        each.id: _address(base, "run", run.id, "log", each.id) for each in steps if log_size(_logs(run.id), each.id)
    }
    again = {each.id: _command(run, each.id) for each in steps}
    return run_page(
        run, steps, metrics, top=top, logs=logs, again=again, results=_results(run, steps),
        refresh_s=_LIVE_S if run.state == "running" else 0,
    )  # fmt: skip


def _results(run: RunRow, steps: Sequence[StepRow]) -> dict[str, str]:
    """The beginnings of the digests of results that are kept."""
    cache = Cache(Path(run.cache))
    entries = ((each.id, cache.peek(each.key)) for each in steps[:MOST_RUNS] if each.key)
    return {name: entry.kept.digest[:12] for name, entry in entries if entry is not None}


def _command(run: RunRow, step: str) -> str:
    """The command that runs a step of a run again, with the same parameters as far as they are known in full."""
    given = []
    for name, value in json.loads(run.parameters or "{}").items():
        with suppress(ValueError, SyntaxError, TypeError):  # what was told in short is not given
            found = literal_eval(value)
            given += ["--set", f"{name}={found if isinstance(found, str) else json.dumps(found)}"]
    return shlex.join(["motet", "workflow", "run", f"{run.file}:{run.workflow}", *given, "--again", step])


def _log(name: str, step: str) -> str:
    run, steps = seen_steps(home_folder(), name)
    names = [each.id for each in steps]
    if step not in names:
        raise UnknownNameError("step", step, names, where=f"run {run.id}")
    return log_tail(_logs(run.id), step)


def _logs(run: str) -> Path:
    return home_folder() / "runs" / run / "logs"


def _compared(found: RunComparison, base: str) -> str:
    one, two = (f'<a href="{_address(base, "run", each)}">{escape(each)}</a>' for each in found.runs)
    rows = [_row("", (one, two)), _row("state", [_chip(each) for each in found.states])]
    rows.append(_row("took", [seconds_told(each) for each in found.seconds]))
    for name, pair in found.parameters.items():
        rows.append(_row(escape(name), [escape(each or "-") for each in pair], differs=pair[0] != pair[1]))
    steps = []
    for step in found.steps:
        name, *values = step.line()
        changes = "".join(f"<br>{escape(change)}" for change in step.changes)
        steps.append(_row(escape(name[2:]) + changes, [escape(each) for each in values], differs=name.startswith("*")))
    drawn = [draw_curves(f"{each.step} {each.name}", each.series) for each in found.metrics]
    head = "<tr><th></th><th>one</th><th>the other</th></tr>"
    parts = [
        f'<p><a href="{base}/">all runs</a></p><h1>Two runs</h1><table>{head}{"".join(rows)}</table>',
        f'<h2>Metrics</h2><div class="curves">{"".join(drawn)}</div>' if drawn else "",
        f"<h2>Steps</h2><table>{head}{''.join(steps)}</table>",
    ]
    return _page("Two runs", parts, live="running" in found.states)


def _row(name: str, values: Sequence[str], *, differs: bool = False) -> str:
    cells = "".join(f"<td>{each}</td>" for each in values)
    return f"<tr{' class=differs' if differs else ''}><td>{name}</td>{cells}</tr>"


def _chip(state: str) -> str:
    return f'<span class="chip {state}" data-run-state="{state}">{state}</span>'


def _parameters(run: RunRow) -> str:
    return ", ".join(f"{name}={value}" for name, value in json.loads(run.parameters or "{}").items())


def _address(base: str, *parts: str) -> str:
    return "/".join([base, *(quote(part, safe="") for part in parts)])


def _page(title: str, parts: Sequence[str], live: bool) -> str:
    return "\n".join([*head_of(title, _LIVE_S if live else 0), *parts, "</body></html>", ""])
