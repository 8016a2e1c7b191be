"""The example of many models by key on one pool: its models, its graph, and the one command that runs all of it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import motet as mt

HOTELS = Path(__file__).parents[2] / "examples" / "hotels"
pytest.importorskip("pandas")
pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def parts() -> Iterator[dict[str, Any]]:
    """The modules of the example, and the bookings."""
    sys.path.insert(0, str(HOTELS))
    try:
        import hotel_data
        import pricing
        import traffic

        import train

        try:
            columns = hotel_data.load()
        except hotel_data.PackageError as error:
            pytest.skip(str(error))
        yield {"data": hotel_data, "pricing": pricing, "train": train, "traffic": traffic, "columns": columns}
    finally:
        sys.path.remove(str(HOTELS))


@pytest.fixture(scope="module")
def declared() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((HOTELS / "hotels.yaml").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def ran(parts: dict[str, Any]) -> str:
    """What the one command of the README prints; it trains the models where they are not there."""
    command = [sys.executable, str(HOTELS / "run.py"), "--seconds", "14", "--rate", "20", "--bulk-times", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_market_with_bookings_enough_has_an_arm_and_a_model(
    parts: dict[str, Any], declared: dict[str, Any]
) -> None:
    markets = parts["train"].markets(parts["columns"])
    assert len(markets) == 60
    arms = declared["nodes"]["own"]["route"]
    assert arms == {**{name: name for name in markets}, "*": "rest"}
    assert set(declared["models"]) == {*markets, "rest", "usual"}


def test_a_word_that_nobody_knows_and_a_date_are_numbers(parts: dict[str, Any]) -> None:
    given = [["2016-02-29"], [3], [0], [1], [2], [0], [0], [80.0], ["c"], ["a picnic"], ["transient"]]
    (row,) = parts["pricing"].features(*given)
    assert row.tolist() == [2016, 59, 3, 0, 1, 2, 0, 0, 80, 2, -1, 0]


def test_two_spikes_and_a_night_are_a_day(parts: dict[str, Any]) -> None:
    day = parts["traffic"].day(100, 50)
    assert sum(phase.seconds for phase in day) == pytest.approx(100)
    assert [phase.rate for phase in day] == [5, 50, 5, 0, 50]


def test_the_command_of_the_readme_serves_spikes_beside_a_bulk_run(ran: str) -> None:
    assert re.search(r"[1-9]\d+ requests, 0 failed", ran)
    loads = re.search(r"61 models, 8 places: (\d+) loads", ran)
    assert loads is not None
    assert int(loads[1]) > 8
    assert re.search(r"cores borrowed, in the mean: \d\.\d+ of \d", ran)
    assert re.search(r"replicas of usual: from \d to [12]", ran)
    bulk = [float(line.split()[-2]) for line in ran.splitlines() if re.match(r"\s*\d+\s+(quiet|spike|night)\s", line)]
    assert set(bulk) <= {0.0, 1.0}  # how often it has its core depends on the machine


def test_the_price_is_that_of_the_market_and_what_is_usual_halfway(ran: str, parts: dict[str, Any]) -> None:
    columns = {name: column[:200] for name, column in parts["columns"].items() if name != "price"}
    found = mt.load(HOTELS / "hotels.yaml")(columns)
    np.testing.assert_allclose(found["price"], (found["own"] + found["usual"]) / 2, atol=0.006)
    assert set(found["model"]) > {"prt-direct", "*"}
    off = np.abs(found["price"] - parts["columns"]["price"][:200]).mean()
    assert off < 20
