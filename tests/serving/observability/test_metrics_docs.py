"""The page about metrics names all of them."""

import logging
from pathlib import Path

from motet.serving.observability.exposition import SHOWN
from motet.system.incidents import KINDS

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def described_rows():
    return [line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]


def test_every_metric_is_described_as_it_is_shown():
    rows = [row for row in described_rows() if len(row) == 6]
    described = {row[1].strip(" `"): (row[2].strip(), tuple(filter(None, row[3].strip().split(", ")))) for row in rows}
    suffix = {"counter": "_total"}
    shown = {name + suffix.get(each.kind, ""): (each.kind, each.labels) for name, each in SHOWN.items()}
    assert described == shown | {"motet_processes": ("gauge", ())}


def test_every_incident_is_described_as_it_is_said():
    described = {row[1].strip(" `"): (row[2].strip(), row[3].strip()) for row in described_rows() if len(row) == 5}
    assert described == {name: (logging.getLevelName(each.level).lower(), each.about) for name, each in KINDS.items()}
