"""What notebooks, shells and programs are shown of explanations, reports and progress."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import motet as mt
from motet.errors import InputError
from motet.system import progress_log
from motet.system.progress import followed
from motet.testing import Affine, Failing, Scores, fake

x = mt.input("x", "float32")


def graph() -> mt.Graph:
    members = {n: fake(Scores, n, "float32", "float32[3]", output="p", seed=n == "a") for n in "ab"}
    return mt.Graph("g", {"p": mt.ensemble(members, x).p, "y": mt.model(fake(Affine, "m", scale=2.0), x)})


class Cells(HTMLParser):
    def __init__(self, text: Any) -> None:
        super().__init__()
        self.open, self.cells, self.tags = [], [], set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: Any, attrs: Any) -> None:
        self.tags.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: Any) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: Any) -> None:
        self.cells.append(data)


def shown_as_text(thing: Any) -> Any:
    parts = []
    thing._repr_pretty_(SimpleNamespace(text=parts.append), False)
    return "".join(parts)


def test_an_explanation_is_short_and_complete() -> None:
    told = graph().explain({"x": np.array([1, 2], np.float32)}, row=1)
    assert repr(told).startswith("<Explanation of row 1: 3 calls, p=[")
    assert len(repr(told)) < 200
    assert shown_as_text(told) == str(told)
    assert "ensemble_1: a" in str(told)
    page = Cells(told._repr_html_())
    assert page.tags <= {"p", "br", "table", "thead", "tbody", "tr", "th", "td"}
    assert {"row 1", "y", "4", "a", "b", "m"} <= set(page.cells)
    assert len(told._repr_html_()) < 4000
    read = json.loads(told.to_json())
    assert read["outputs"]["y"] == 4.0
    assert [call["uses"] for call in read["calls"]] == ["a", "b", "m"]


def test_an_explanation_of_a_row_that_fails_says_why() -> None:
    failing = mt.Graph("g", {"y": mt.model(fake(Failing, "f", bad=[3.0]), x)})
    told = failing.explain({"x": [3.0]})
    assert "failed" in repr(told)
    assert "cannot take 3" in told._repr_html_()
    assert "cannot take 3" in json.loads(told.to_json())["failures"][0]["message"]


def test_what_is_shown_is_escaped() -> None:
    text = mt.Graph("g", {"t": mt.input("t", "string")})
    assert "<script>" not in text.explain({"t": ["<script>"]})._repr_html_()


def test_a_report_is_a_small_table(tmp_path: Path) -> None:
    report = graph().run({"x": np.arange(5, dtype="f4")}, str(tmp_path / "out.parquet"))
    page = Cells(report._repr_html_())
    assert {"ensemble_1", "model_1", "a", "b", "m", "rows a call"} <= set(page.cells)
    assert any("5 rows, 5 answered, 0 failed" in cell for cell in page.cells)
    assert shown_as_text(report) == str(report)
    assert json.loads(report.to_json())["rows"] == 5


def test_progress_true_shows_a_line_in_a_notebook(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(progress_log, "CELL_S", 0.001)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1)))
    seen = progress_log.threading.Event()  # type: ignore[attr-defined]
    said = progress_log.ProgressCell._say
    monkeypatch.setattr(progress_log.ProgressCell, "_say", lambda self, line: (said(self, line), seen.set()))
    waits = mt.Graph("g", {"y": mt.map(lambda x: (seen.wait(30), x)[1], x, outputs="float32")})
    table = waits.run({"x": np.arange(5, dtype="f4")}, progress=True)
    assert table.num_rows == 5
    shown = capsys.readouterr().err
    assert re.match(r"\r\x1b\[K\S", shown)
    assert shown.endswith("\r\x1b[K")


def test_progress_is_a_function_or_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    rows = {"x": np.arange(5, dtype="f4")}
    graph().run(rows, progress=lambda done, total, failed: told.append((done, total, failed)))
    assert told[-1] == (5, 5, 0)
    for nothing in (False, None):
        graph().run(rows, progress=nothing)
    odd: tuple[Any, ...] = ("bar", 1, [print])
    for wrong in odd:
        with pytest.raises(InputError, match="progress must be a function, True or False"):
            graph().run(rows, progress=wrong)
    graph().run(rows, progress=True)  # no terminal: a line every ten seconds
    assert capsys.readouterr().err == ""
    with followed(True) as line:
        assert isinstance(line, progress_log.ProgressLog)
