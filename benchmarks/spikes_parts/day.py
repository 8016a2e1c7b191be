"""Who asks what when: models whose requests follow a day's curve, with spikes that come at once, and chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["MODELS", "Asked", "Kind", "asked"]

BIN_S: Final = 1.0
DAY_S: Final = 86_400.0
SPREAD: Final = 0.35
"""Of the logarithm of what a request takes."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """A model of the day.

    Attributes:
        name: its own.
        row_s: seconds that a replica spends on a request, in the mean.
        load_s: seconds until a replica that is started can answer.
        mean_s: requests a second, in the mean of a day without spikes.
        peak_hour: when most ask.
        night: the part of the busiest hour's requests that come in the quietest.
        spikes: how many there are a day.
        height: how many times as many requests come in a spike as the model has in the mean: from and to.
        length_s: how long a spike is: from and to.
        hours: outside of these nobody asks.
    """

    name: str
    row_s: float
    load_s: float
    mean_s: float
    peak_hour: float
    night: float = 0.1
    spikes: int = 12
    height: tuple[float, float] = (3.0, 6.0)
    length_s: tuple[float, float] = (60.0, 600.0)
    hours: tuple[float, float] = (0.0, 24.0)


MODELS: Final = (
    Kind("tabular", 0.2, 1.5, 2.4, 20.0, spikes=16, height=(4.0, 10.0)),
    Kind("vision", 0.5, 6.0, 1.8, 13.0),
    Kind("language", 0.6, 20.0, 1.2, 16.0, spikes=10),
    Kind("reports", 0.3, 10.0, 0.02, 11.0, spikes=6, height=(50.0, 200.0), length_s=(120.0, 900.0), hours=(7.0, 19.0)),
)


@dataclass(frozen=True)
class Asked:
    """The requests of one model.

    Attributes:
        at_s: when each comes, going up.
        takes_s: what each takes of a replica.
    """

    at_s: Floats
    takes_s: Floats

    def work(self, hours: float) -> Floats:
        """Seconds of work that come in each second."""
        return np.histogram(self.at_s, round(hours * 3600), (0, round(hours * 3600)), weights=self.takes_s)[0]


def asked(kind: Kind, hours: float, random: np.random.Generator) -> Asked:
    """The requests of a model from midnight on."""
    rates = _rates(kind, hours, random)
    counts = random.poisson(rates * BIN_S)
    at_s = np.sort(np.repeat(np.arange(len(rates)) * BIN_S, counts) + random.random(counts.sum()) * BIN_S)
    takes_s = kind.row_s * random.lognormal(-(SPREAD**2) / 2, SPREAD, len(at_s))
    return Asked(at_s, takes_s)


def _rates(kind: Kind, hours: float, random: np.random.Generator) -> Floats:
    """Requests a second, second by second."""
    at_s: Any = np.arange(round(hours * 3600 / BIN_S)) * BIN_S
    hour = at_s / 3600 % 24
    curve = kind.night + (1 - kind.night) * ((1 + np.cos((hour - kind.peak_hour) / 24 * 2 * np.pi)) / 2) ** 2
    whole = np.arange(0, 24, 0.05)
    mean = kind.night + (1 - kind.night) * (((1 + np.cos(whole / 24 * 2 * np.pi)) / 2) ** 2).mean()
    rates = kind.mean_s * curve / mean
    for _ in range(max(1, round(kind.spikes * hours / 24))):
        begin, length_s = random.random() * hours * 3600, random.uniform(*kind.length_s)
        rates[(at_s >= begin) & (at_s < begin + length_s)] += kind.mean_s * random.uniform(*kind.height)
    rates[(hour < kind.hours[0]) | (hour >= kind.hours[1])] = 0.0
    found: Floats = rates
    return found
