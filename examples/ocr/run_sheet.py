"""Read a sheet that its detector has no memory for, whole and in bands.

    python examples/ocr/run_sheet.py             a sheet of 40 lines, drawn here
    python examples/ocr/run_sheet.py SHEET.png   another

Needs Pillow and SciPy; the models (15 MB) are fetched at the first run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from ocr_files import PackageError, fetch
from PIL import Image
from sheets import draw

import motet as mt


def main(arguments: list[str] | None = None) -> None:
    """Print what becomes of it as a whole, then its text."""
    parser = argparse.ArgumentParser(description="Read a large sheet.")
    parser.add_argument("sheet", nargs="?", help="an image")
    options = parser.parse_args(arguments)
    try:
        fetch()
    except PackageError as error:
        sys.exit(f"run_sheet.py: {error}")
    sheet = np.asarray(Image.open(options.sheet).convert("RGB")) if options.sheet else draw()[0]
    print(f"A sheet of {sheet.shape[0]} x {sheet.shape[1]} pixels, and 224 MiB for its detector.\n")
    for name, how in (("sheet_whole.yaml", "As a whole"), ("sheet.yaml", "In bands")):
        graph = mt.load(Path(__file__).with_name(name))
        answers, failures = graph({"image": [sheet]}, failures="return")
        print(f"{how}: {failures[0].message if failures else answers['text'][0]}\n")


if __name__ == "__main__":
    main()
