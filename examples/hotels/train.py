"""Train a model for each market of `hotels.yaml`: `python examples/hotels/train.py [--output DIR]`.

    MARKET.joblib   one for each arm of the route: what guests of one country who book one way pay
    rest.joblib     for every other market: from the bookings of all
    usual.joblib    what such a stay costs as a rule, whoever books: from the bookings of all, with more trees

A quarter of the bookings is kept for testing, and used for nothing else. It takes about ten seconds of one core.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are small: more threads are in each other's way

import numpy as np
from hotel_data import PackageError, load, split
from pricing import FEATURES, features, halfway

HERE = Path(__file__).parent.resolve()
MODELS: Final = HERE / "models"
MIN_ROWS: Final = 30
"""Bookings that a market must have for a model of its own."""


def markets(columns: Mapping[str, Any]) -> list[str]:
    """The markets that have a model of their own, the largest first."""
    names, counts = np.unique(columns["market"], return_counts=True)
    order = np.lexsort((names, -counts))
    return [str(names[place]) for place in order if counts[place] >= MIN_ROWS]


def train(folder: Path) -> dict[str, float]:
    """Write all models into a folder, each whole or not at all.

    Returns:
        How right they are on the bookings that were kept: `own_r2` and `own_error_eur` (mean, absolute) of the models by
        market, with `rest` for the others; the same as `usual_` of `usual`, and as `halfway_` of what the graph answers.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor as Trees

    folder.mkdir(parents=True, exist_ok=True)
    columns, test = load(), split()
    x, price, market = features(*(columns[name] for name in FEATURES)), columns["price"], np.array(columns["market"])
    usual = _save(Trees(max_iter=150, random_state=0).fit(x[~test], price[~test]), folder / "usual.joblib").predict(x)
    rest = Trees(max_iter=60, random_state=0).fit(x[~test], price[~test])
    said = _save(rest, folder / "rest.joblib").predict(x)
    for name in markets(columns):
        mine = market == name
        trees = Trees(max_iter=60, min_samples_leaf=5, max_leaf_nodes=15, random_state=0)
        said[mine] = _save(trees.fit(x[mine & ~test], price[mine & ~test]), folder / f"{name}.joblib").predict(x[mine])
    answers = {"own": said, "usual": usual, "halfway": halfway(said, usual)}
    return {key: each for name, answer in answers.items() for key, each in _errors(name, price[test], answer[test])}


def _errors(name: str, price: Any, said: Any) -> Iterator[tuple[str, float]]:
    off = said - price
    yield f"{name}_r2", 1 - float((off**2).sum() / ((price - price.mean()) ** 2).sum())
    yield f"{name}_error_eur", float(np.abs(off).mean())


def _save(model: Any, path: Path) -> Any:
    import joblib

    part = path.with_suffix(".part")
    joblib.dump(model, part)
    part.replace(path)
    return model


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train a model for each market.")
    parser.add_argument("--output", type=Path, default=MODELS, metavar="DIR", help="default: models/ of the example")
    folder: Path = parser.parse_args(arguments).output
    began = time.monotonic()
    try:
        right = train(folder)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}: pip install 'motet[sklearn]' pandas") from None
    except PackageError as error:
        raise SystemExit(str(error)) from None
    count = len(list(folder.glob("*.joblib")))
    print(f"{count} models in {folder}, in {time.monotonic() - began:.1f} s")
    for name in ("own", "usual", "halfway"):
        print(f"{name:8} R2 {right[f'{name}_r2']:.3f}, {right[f'{name}_error_eur']:.1f} euros off in the mean")


if __name__ == "__main__":
    main()
