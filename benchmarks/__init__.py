"""Benchmarks: each runs its peers in the same minutes and prints ratios. See docs/benchmarks.md."""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("motet") is None:  # so that an interpreter that has the peers needs no Motet installed
    sys.path.append(str(Path(__file__).resolve().parent.parent / "src"))
