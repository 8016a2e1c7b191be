"""The functions of the graph: `features`, which `train.py` has too, and `halfway`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

import motet as mt

__all__ = ["CUSTOMERS", "FEATURES", "MEALS", "NUM_FEATURES", "ROOMS", "features", "halfway"]

ROOMS: Final = ("a", "b", "c", "d", "e", "f", "g", "h")
MEALS: Final = ("no_meal_package", "bed_and_breakfast", "breakfast_and_one_other_meal", "breakfast_lunch_and_dinner")
CUSTOMERS: Final = ("transient", "transient_party", "contract", "group")
FEATURES: Final = (
    "arrival", "days_ahead", "weekend_nights", "week_nights", "adults", "children", "requests", "usual_rate",
    "room", "meal", "customer",
)  # fmt: skip
NUM_FEATURES: Final = len(FEATURES) + 1  # of the arrival the year, and the day in it


@mt.returns(f"float64[{NUM_FEATURES}]")
def features(*columns: Any) -> npt.NDArray[np.float64]:
    """Numbers for each booking; a word that nobody knows is -1.

    Args:
        columns: the columns of `FEATURES`, in that order; `arrival` is a date, 2016-07-02.

    Returns:
        float64, `[bookings, NUM_FEATURES]`.
    """
    arrival, *numbers = columns[:8]
    day = np.asarray(arrival).astype("datetime64[D]")
    year = day.astype("datetime64[Y]")
    whole = [year.astype(np.int64) + 1970, (day - year).astype(np.int64), *numbers]
    words = zip(columns[8:], (ROOMS, MEALS, CUSTOMERS), strict=True)
    return np.stack([*(np.asarray(each, np.float64) for each in whole), *(_places(*each) for each in words)], axis=1)


def _places(words: Any, known: tuple[str, ...]) -> npt.NDArray[np.float64]:
    places = {word: float(place) for place, word in enumerate(known)}
    return np.array([places.get(word, -1.0) for word in words])


@mt.returns("float64")
def halfway(market: Any, usual: Any) -> npt.NDArray[np.float64]:
    """Between what the market's own model says and what is usual: less wrong than either.

    Args:
        market, usual: euros a night, `[bookings]`.
    """
    return np.round((np.asarray(market) + np.asarray(usual)) / 2, 2)
