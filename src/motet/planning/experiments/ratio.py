"""Whether units met the arms as the split says: looked for at all times, over all periods of the split."""

from __future__ import annotations

import math

import numpy as np

from motet.batch import Indices
from motet.planning.experiments.experiment import Experiment, SplitPeriod
from motet.planning.experiments.sequential import log_evidence
from motet.planning.experiments.standing import RatioCheck
from motet.planning.experiments.units import ExposedUnits

__all__ = ["BROKEN_BELOW", "check_ratio"]

BROKEN_BELOW = 0.01
"""A split is said to be broken where what was seen is less probable, by chance, at any time."""
MOST_LOOKS = 200
"""Into how many parts the units of a period are cut, behind each of which the test looks."""


def check_ratio(experiment: Experiment, units: ExposedUnits) -> RatioCheck:
    """Compare the arms that units met with the split, after every part of them."""
    evidence, highest, outside = 0.0, 0.0, 0
    for place, period in enumerate(experiment.periods):
        arm = units.arm[units.period == place]
        open_arms = [number for number, name in enumerate(experiment.arms) if period.weights.get(name, 0.0) > 0]
        met = arm[np.isin(arm, open_arms)]
        outside += len(arm) - len(met)
        found = _evidence(met, open_arms, experiment, period)
        highest = max(highest, *(evidence + each for each in found))
        evidence += found[-1]
    probability = math.exp(-highest)
    return RatioCheck(probability, probability < BROKEN_BELOW, outside)


def _evidence(arm: Indices, open_arms: list[int], experiment: Experiment, period: SplitPeriod) -> list[float]:
    """What speaks against the split after parts of a period's units, the last after all of them."""
    shares = [period.share(experiment.arms[each]) for each in open_arms]
    if len(arm) == 0 or len(open_arms) == 1:
        return [0.0]
    ends = np.unique(np.linspace(1, len(arm), min(MOST_LOOKS, len(arm))).round().astype(np.int64))
    counts = np.stack([np.cumsum(arm == each)[ends - 1] for each in open_arms], axis=1)
    return [log_evidence(each, shares) for each in counts.tolist()]
