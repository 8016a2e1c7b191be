"""Say what is on photographs.

    python examples/photos/run.py                                    those that scikit-image ships
    python examples/photos/run.py PHOTOS --output labels.parquet     a folder of images, in bulk
    python examples/photos/run.py --graph cascade

Needs PyTorch and Pillow; the weights (60 MB) are fetched at the first run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from photo_files import PackageError, fetch
from PIL import Image

import motet as mt


def main(arguments: list[str] | None = None) -> None:
    """Print what is on each photograph, or write it to a file."""
    parser = argparse.ArgumentParser(description="Say what is on photographs.")
    parser.add_argument("source", nargs="*", help="images, or with --output also a folder of them")
    parser.add_argument("--graph", choices=("ensemble", "cascade"), default="ensemble")
    parser.add_argument("--output", help="file to write, such as labels.parquet")
    options = parser.parse_args(arguments)
    try:
        photos = [str(path) for path in fetch()]
    except PackageError as error:
        sys.exit(f"run.py: {error}")
    graph = mt.load(Path(__file__).with_name(f"{options.graph}.yaml"))
    paths = options.source or photos
    if options.output:
        print(graph.run(paths if len(paths) > 1 else paths[0], options.output, overwrite=True))
        return
    answers = graph({"image": [np.asarray(Image.open(path).convert("RGB")) for path in paths]})
    for row, path in enumerate(paths):
        print(Path(path).name, *(f"{name} {column[row]}" for name, column in answers.items()), sep="  ")


if __name__ == "__main__":
    main()
