"""The night and the day of the reviews: play all of them, store them, look for copies, then serve search and new reviews.

    python examples/reviews/run.py [--each 500] [--output reviews-output] [--engine beam] [--port 8000]

    review_data.py ──► reviews.parquet ──► reviews.yaml ──► reviewed/ ──┬──► store: two vectors a review, in LanceDB
                                                                        └──► products.yaml ──► copies.parquet
    search.yaml, reviews.yaml ──► motet serve, with a page

What is there already is played again and takes the place of what was. With `--port` it serves until Ctrl-C.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile
from typing import Any, Final

import motet as mt

HERE = Path(__file__).parent.resolve()
GRAPHS: Final = ("sentiment.yaml", "reviews.yaml", "store.yaml", "products.yaml", "search.yaml")
COPIED: Final = 0.05
"""Distance of two reviews of a product below which one is taken for a copy of the other; all vectors are of length 1."""


def prepare(folder: Path, each: int) -> None:
    """Put graphs, models and reviews into a folder."""
    import review_data

    import train

    folder.mkdir(parents=True, exist_ok=True)
    for name in GRAPHS:
        copyfile(HERE / name, folder / name)
    if not (folder / "models" / "minilm").exists():
        train.train(folder / "models")
        train.embed(folder / "models")
    print(f"{review_data.write(folder / 'reviews.parquet', each):,} reviews")


def night(folder: Path, engine: str = "local") -> None:
    """Play all reviews, store them, and look for copies among those of a product."""
    reviews, source = mt.load(folder / "reviews.yaml"), folder / "reviews.parquet"
    report = reviews.run(source, f"{folder}/reviewed/", engine=engine, overwrite=True)
    print(f"{report.answered:,} of {report.rows:,} reviews played")
    stored = mt.load(folder / "store.yaml").run(f"{folder}/reviewed", f"lancedb:{folder}/store#reviews", id="id")
    print(f"{stored.answered:,} stored")
    mt.load(folder / "products.yaml").run(
        f"{folder}/reviewed", folder / "copies.parquet", group_by="product", overwrite=True
    )


def copies(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Reviews that say what another of the same product says: the product, and the ids of both."""
    import pyarrow.parquet as pq

    for row in pq.read_table(folder / "copies.parquet").to_pylist():
        for place, (nearest, distance) in enumerate(zip(row["nearest"], row["distance"], strict=True)):
            if nearest and nearest[0] > place and distance[0] < COPIED:
                yield row["product"], row["id"][place], row["id"][nearest[0]]


def search(folder: Path, text: str, most: int = 3) -> list[dict[str, Any]]:
    """The reviews that are nearest to a text."""
    found = {name: column[0] for name, column in mt.load(folder / "search.yaml")({"text": [text]}).items()}
    return [{name: column[place] for name, column in found.items()} for place in range(min(most, len(found["id"])))]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Play, store and search reviews.")
    parser.add_argument(
        "--each", type=int, default=500, metavar="N", help="how many reviews of each language; default: 500"
    )
    parser.add_argument("--output", type=Path, default=Path("reviews-output"), metavar="DIR")
    parser.add_argument("--engine", default="local", help="beam, ray or spark; default: this process")
    parser.add_argument("--port", type=int, help="serve the page of search and of new reviews there")
    given = parser.parse_args(arguments)
    folder = given.output.resolve()
    prepare(folder, given.each)
    night(folder, given.engine)
    print(f"{sum(1 for _ in copies(folder))} pairs of copies in {folder / 'copies.parquet'}")
    for text in ("terrible sound", "the battery lasts for days", "房间很干净"):
        print(text)
        for row in search(folder, text):
            print(f"  {row['score']:.4f} {row['mood']:4} {row['product']:16} {row['text'][:70]}")
    if given.port is not None:
        command = [sys.executable, "-m", "motet.cli", "serve", "search.yaml", "reviews.yaml", "--port", str(given.port)]
        subprocess.run(command, cwd=folder, check=False)


if __name__ == "__main__":
    main()
