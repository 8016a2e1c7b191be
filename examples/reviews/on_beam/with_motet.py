"""The same with `sentiment.yaml`."""

from pathlib import Path
from typing import Any

import motet as mt


def sentiment(rows: Any, graph: Path) -> Any:
    return rows | mt.load(graph).as_ptransform()
