"""Every engine passes the suite."""

from pathlib import Path
from typing import Any

import pytest

from helpers.split_engines import Here
from motet.testing import conformance


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("engine", ["local", Here()], ids=["local", "splits"])
def test_the_engine_conforms(check: Any, engine: Any, tmp_path: Path) -> None:
    check(engine, tmp_path)


def test_the_suite_finds_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite that cannot fail would say nothing."""

    def wrong(engine: Any, graph: Any, columns: Any, folder: Any, **options: Any) -> Any:
        bulk = right(engine, graph, columns, folder, **options)
        return conformance.Bulk({name: rows[::-1] for name, rows in bulk.answers.items()}, bulk.failures, bulk.rows)

    right = conformance.run_in_bulk
    monkeypatch.setattr(conformance, "run_in_bulk", wrong)
    for check in conformance.CHECKS[:3]:
        with pytest.raises(AssertionError):
            check("local", tmp_path)
