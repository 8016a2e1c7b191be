"""Statistics of experiments: formulas against other libraries and exact sums, and their errors over all looks by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from motet.graph.experiment import ExperimentMetric
from motet.planning.experiments.arms import ArmSums, Pair
from motet.planning.experiments.experiment import Experiment, SplitPeriod
from motet.planning.experiments.exposures import Exposures
from motet.planning.experiments.ratio import check_ratio
from motet.planning.experiments.sequential import (
    MOST_PLANNED,
    Means,
    boundary,
    difference,
    lift,
    log_evidence,
    planned_units,
    spread,
    tuning,
)
from motet.planning.experiments.units import units_of


@pytest.mark.parametrize(
    ("units", "planned", "alpha", "factor"),
    [
        (1000, 5000, 0.05, 3.363887725782781),
        (5000, 5000, 0.05, 3.035208990376253),
        (40000, 5000, 0.05, 3.212157829924239),
        (1000, 1024, 0.025, 3.279340246811012),
    ],
)
def test_the_boundary_is_what_growthbook_computes(units: int, planned: int, alpha: float, factor: float) -> None:
    """Half the width of `SequentialTwoSidedTTest` of gbstats 0.8.0 over the standard error."""
    assert boundary(units, planned, alpha) == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize(("units", "planned", "alpha"), [(100, 1000, 0.05), (5000, 1000, 0.01)])
def test_at_the_boundary_the_mixture_of_likelihood_ratios_is_one_over_alpha(
    units: int, planned: int, alpha: float
) -> None:
    """Robbins' mixture: the integral of exp(l s - l^2 t / 2) over l from N(0, rho^2), by quadrature."""
    total = boundary(units, planned, alpha) * np.sqrt(units)
    rho = float(np.sqrt(tuning(planned, alpha)))
    middle = total / (units + rho**-2)

    def ratio(slope: float) -> float:
        return float(np.exp(slope * total - slope**2 * units / 2) * stats.norm.pdf(slope, scale=rho))

    found, _ = integrate.quad(ratio, -10 * rho, 10 * rho, points=[middle, -middle], limit=500)
    assert found == pytest.approx(1 / alpha, rel=1e-6)


def test_the_boundary_is_lowest_near_the_planned_size() -> None:
    sizes = np.geomspace(10, 1e7, 2000)
    assert sizes[np.argmin(boundary(sizes, 5000, 0.05))] == pytest.approx(5000, rel=0.1)


@given(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=2, max_size=30))
def test_the_spread_is_the_variance(values: list[float]) -> None:
    array = np.array(values)
    n, total, squares = len(array), array.sum(), (array**2).sum()
    assert spread(n, total, squares, rate=False) == pytest.approx(array.var(ddof=1), abs=1e-12)
    assert spread(n, total, squares, rate=True) == pytest.approx(np.append(array, [0.0, 1.0]).var(ddof=1), abs=1e-12)


@given(
    st.floats(0.01, 1), st.floats(0.01, 1), st.floats(1e-7, 1e-3), st.floats(1e-7, 1e-3), st.floats(1.5, 4)
)  # fmt: skip
def test_the_lift_holds_what_may_be_and_leaves_0_out_where_the_difference_does(
    arm: float, control: float, arm_error: float, control_error: float, factor: float
) -> None:
    one, other = Means(arm, arm_error), Means(control, control_error)
    low, high = lift(one, other, factor)
    away = difference(one, other, factor)
    if np.isnan(low):
        assert control**2 <= factor**2 * control_error
        return
    for end in (low, high):  # at the ends the mean of arm - (1 + r) control is exactly so many errors off 0
        off = abs(arm - (1 + end) * control)
        assert off == pytest.approx(factor * np.sqrt(arm_error + (1 + end) ** 2 * control_error), rel=1e-6, abs=1e-9)
    assert low <= arm / control - 1 <= high
    if min(abs(low), abs(high)) > 1e-9:
        assert (low > 0 or high < 0) == (away.low > 0 or away.high < 0)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.2, 0.3, 0.5)])
def test_evidence_against_a_split_that_is_right_is_1_in_the_mean(shares: tuple[float, ...]) -> None:
    """Exact: the sum over everything that can come of 6 units."""
    n = 6
    counts = [c for c in np.ndindex(*[n + 1] * len(shares)) if sum(c) == n]
    chances = stats.multinomial(n, shares).pmf(counts)
    evidence = np.exp([log_evidence(each, shares, 3.0) for each in counts])
    assert (chances * evidence).sum() == pytest.approx(1.0)
    assert evidence.max() > 1


def _looks(rates: tuple[float, ...], looks: int, every: int, runs: int, share: float = 0.5, seed: int = 0) -> ArmSums:
    """Experiments that are looked at after every so many units: sums of shape `[runs, looks, 1, arms]`."""
    random = np.random.default_rng(seed)
    split = [1 - share, share] if len(rates) == 2 else [1 / len(rates)] * len(rates)
    units = random.multinomial(every, split, (runs, looks))
    total = random.binomial(units, rates)
    grown = [np.cumsum(each, axis=1)[:, :, None].astype(float) for each in (units, total)]
    return ArmSums(grown[0], grown[1], grown[1], rate=True)


def _found(sums: ArmSums, arm: int, effect: float, share: float, alpha: float) -> tuple[Any, Any, Pair]:
    """For each run and look whether the arm is better, and the size that is foretold there."""
    pair = sums.pair(arm, 0)
    planned = pair.planned(effect, share, alpha)
    return pair.difference(pair.factor(planned, alpha)).low > 0, planned, pair


@pytest.mark.parametrize(("rate", "share"), [(0.05, 0.5), (0.3, 0.1), (0.95, 0.1), (0.99, 0.05), (0.7, 0.02)])
def test_of_1000_experiments_without_a_difference_5_percent_at_most_promote(rate: float, share: float) -> None:
    sums = _looks((rate, rate), looks=300, every=100, runs=1000, share=share)
    better, _, pair = _found(sums, 1, 0.1, share, 0.05)
    worse = pair.difference(pair.factor(pair.planned(0.1, share, 0.05), 0.05)).high < 0
    assert better.any(axis=1).mean() <= 0.03
    assert worse.any(axis=1).mean() <= 0.03


@pytest.mark.parametrize(("rate", "share"), [(0.001, 0.5), (0.0001, 0.1)])
def test_of_1000_experiments_of_what_hardly_happens_5_percent_at_most_promote(rate: float, share: float) -> None:
    sums = _looks((rate, rate), looks=300, every=2000, runs=1000, share=share)
    better, planned, _ = _found(sums, 1, 0.02, share, 0.05)
    assert (planned > 2 * MOST_PLANNED).mean() > 0.9
    assert better.any(axis=1).mean() <= 0.03


def test_what_never_happens_with_the_control_is_plain_to_see() -> None:
    units, clicked = np.array([[2000.0, 2000.0]]), np.array([[0.0, 1600.0]])
    sums = ArmSums(units, clicked, clicked, rate=True)
    better, planned, _ = _found(sums, 1, 0.05, 0.5, 0.05)
    assert planned > 1e8
    assert better


def test_of_1000_experiments_of_four_like_arms_5_percent_at_most_promote_any() -> None:
    sums = _looks((0.3,) * 4, looks=300, every=100, runs=1000)
    promoted = np.any([_found(sums, arm, 0.1, 0.5, 0.05 / 3)[0].any(axis=1) for arm in (1, 2, 3)], axis=0)
    assert promoted.mean() <= 0.05


@pytest.mark.parametrize(("rate", "looks"), [(0.3, 200), (0.05, 300)])
def test_a_difference_of_10_percent_is_found_in_80_percent_within_the_size_foretold(rate: float, looks: int) -> None:
    every = 100 if rate == 0.3 else 500
    sums = _looks((rate, 1.1 * rate), looks=looks, every=every, runs=1000)
    better, planned, _ = _found(sums, 1, 0.1, 0.5, 0.05)
    foretold = planned[:, 9]  # after ten looks
    sizes = every * np.arange(1, looks + 1)
    assert foretold.max() < 2 * np.median(planned[:, -1])
    assert (better & (sizes <= np.median(foretold))).any(axis=1).mean() >= 0.8


def test_means_of_skewed_values_hold_too() -> None:
    """Log-normal spending of three in ten units, half of them in each arm or a tenth."""
    random, runs, looks, every = np.random.default_rng(5), 300, 100, 200
    for share in (0.5, 0.1):
        value = np.exp(random.normal(0, 1, (runs, looks, every))) * (random.random((runs, looks, every)) < 0.3)
        arm = random.random((runs, looks, every)) < share
        met = np.stack([~arm, arm], axis=-1)

        def grown(values: Any) -> Any:
            return np.cumsum(values.sum(axis=2), axis=1)[:, :, None].astype(float)

        units, total, squares = (grown(met * value[..., None] ** power) for power in (0, 1, 2))
        better, planned, pair = _found(ArmSums(units, total, squares, rate=False), 1, 0.3, share, 0.05)
        worse = pair.difference(pair.factor(planned, 0.05)).high < 0
        assert better.any(axis=1).mean() <= 0.04
        assert worse.any(axis=1).mean() <= 0.04


def test_the_planned_size_holds_for_a_test_at_one_look() -> None:
    """The power there is at least what is foretold, by the normal distribution."""
    for effect, exact in ((0.02, 1e-6), (0.0001, 0.02)):
        size = float(planned_units(effect, 0.2, 0.05))
        away = effect / np.sqrt(0.2 / size)
        factor = boundary(size, min(size, MOST_PLANNED), 0.05)
        assert stats.norm.sf(factor - away) == pytest.approx(0.8, abs=exact)


def _experiment(periods: tuple[SplitPeriod, ...] = (SplitPeriod(-np.inf, {"a": 1.0, "b": 1.0}),)) -> Experiment:
    return Experiment("g", "ab", "user", ("a", "b"), "a", ExperimentMetric("clicked"), periods)


def _ratio(experiment: Experiment, arm: Any, time: Any = None) -> Any:
    return check_ratio(experiment, units_of(experiment, Exposures.of(("a", "b"), np.arange(len(arm)), arm, time=time)))


def test_a_split_that_is_broken_is_caught_and_one_that_is_not_is_left_alone() -> None:
    random = np.random.default_rng(3)
    broken = [_ratio(_experiment(), (random.random(4000) < 0.55).astype(np.int64)).broken for _ in range(50)]
    right = [_ratio(_experiment(), (random.random(4000) < 0.5).astype(np.int64)).broken for _ in range(200)]
    assert np.mean(broken) > 0.95
    assert np.mean(right) <= 0.02


def test_the_split_may_change_and_units_of_arms_without_weight_are_told() -> None:
    random = np.random.default_rng(4)
    early, late = (random.random(2000) < 0.05).astype(np.int64), (random.random(2000) < 0.5).astype(np.int64)
    arm, time = np.concatenate([early, late]), np.repeat([1.0, 3.0], 2000)
    ramp = _experiment((SplitPeriod(-np.inf, {"a": 95.0, "b": 5.0}), SplitPeriod(2.0, {"a": 1.0, "b": 1.0})))
    assert not _ratio(ramp, arm, time).broken
    assert _ratio(_experiment(), arm, time).broken
    stopped = _experiment((SplitPeriod(-np.inf, {"a": 1.0, "b": 0.0}),))
    found = _ratio(stopped, np.array([0, 0, 1]))
    assert (found.broken, found.outside, found.probability) == (False, 1, 1.0)


def test_arms_are_compared_within_periods() -> None:
    """Rates doubled when most units began to meet the new arm: over all units it would look twice as good."""
    sums = ArmSums(
        np.array([[9000.0, 1000.0], [1000.0, 9000.0]]), np.array([[900.0, 100.0], [200.0, 1800.0]]),
        np.array([[900.0, 100.0], [200.0, 1800.0]]), rate=True,
    )  # fmt: skip
    pair = sums.pair(1, 0)
    assert pair.arm.value == pytest.approx(pair.control.value)
    assert pair.arm.value == pytest.approx(0.15)
    low, high = pair.lift(2.0)
    assert low < 0 < high
    assert pair.units == 20000
