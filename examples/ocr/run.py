"""Read pages.

    python examples/ocr/run.py                                the page that scikit-image ships
    python examples/ocr/run.py SCANS --output texts.parquet   a folder of images, in bulk

Needs Pillow and SciPy; the models (15 MB) are fetched at the first run. `motet run examples/ocr/page.yaml --input SCANS --output
texts.parquet` does the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from ocr_files import PackageError, fetch
from PIL import Image

import motet as mt


def main(arguments: list[str] | None = None) -> None:
    """Print the text of one page, or write those of many."""
    parser = argparse.ArgumentParser(description="Read the text of pages.")
    parser.add_argument("source", nargs="?", help="an image, or with --output also a folder of images")
    parser.add_argument("--output", help="file to write, such as texts.parquet")
    options = parser.parse_args(arguments)
    try:
        page = fetch()
    except PackageError as error:
        sys.exit(f"run.py: {error}")
    graph = mt.load(Path(__file__).with_name("page.yaml"))
    source = options.source or page
    if options.output:
        print(graph.run(source, options.output, overwrite=True))
    else:
        answer = graph({"image": [np.asarray(Image.open(source).convert("RGB"))]})
        print(answer["text"][0])


if __name__ == "__main__":
    main()
