"""The page about metrics names all of them."""

from pathlib import Path

from motet.serving.seen.exposition import SHOWN

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_every_metric_is_described_as_it_is_shown():
    rows = [line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    described = {row[1].strip(" `"): (row[2].strip(), tuple(filter(None, row[3].strip().split(", ")))) for row in rows}
    suffix = {"counter": "_total"}
    shown = {name + suffix.get(each.kind, ""): (each.kind, each.labels) for name, each in SHOWN.items()}
    assert described == shown | {"motet_processes": ("gauge", ())}
