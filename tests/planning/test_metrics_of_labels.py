"""Metrics and intervals beside scikit-learn's and scipy's."""

from typing import Any

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import InputError
from motet.planning.calibration import calibration
from motet.planning.intervals import num_resamples, percentiles, resamples, wilson
from motet.planning.metrics import METRICS, confusion, f1_for, metric_named


def drawn(seed: int, rows: int, classes: int) -> Any:
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, rows)
    truth[:classes] = np.arange(classes)  # the oracle's AUC wants every class
    scores = random.dirichlet(np.ones(classes), rows).round(2) + 1e-3  # rounded, so that there are ties
    return truth, scores / scores.sum(axis=1, keepdims=True)


@given(st.integers(0, 1000), st.integers(8, 60), st.integers(2, 5))
def test_metrics_are_those_of_scikit_learn(seed: int, rows: int, classes: int) -> None:
    truth, scores = drawn(seed, rows, classes)
    said = scores.argmax(axis=1)
    many: Any = {"average": "macro"} if classes > 2 else {}
    auc = oracle.roc_auc_score(truth, scores if classes > 2 else scores[:, 1], multi_class="ovr")
    assert METRICS["accuracy"].compute(truth, said) == pytest.approx(oracle.accuracy_score(truth, said))
    assert f1_for(classes).compute(truth, said) == pytest.approx(oracle.f1_score(truth, said, **many, zero_division=0))
    assert METRICS["auc"].compute(truth, scores) == pytest.approx(auc)
    assert METRICS["log_loss"].compute(truth, scores) == pytest.approx(oracle.log_loss(truth, scores))
    assert (confusion(truth, said, classes) == oracle.confusion_matrix(truth, said, labels=range(classes))).all()


def test_metrics_of_numbers_are_those_of_scikit_learn() -> None:
    truth, answer = np.random.default_rng(0).normal(size=(2, 50))
    assert METRICS["rmse"].compute(truth, answer) == pytest.approx(oracle.root_mean_squared_error(truth, answer))
    assert METRICS["mae"].compute(truth, answer) == pytest.approx(oracle.mean_absolute_error(truth, answer))


def test_an_auc_of_one_class_is_no_number() -> None:
    assert np.isnan(METRICS["auc"].compute(np.zeros(3, dtype=np.int64), np.full((3, 2), 0.5)))


def test_a_metric_may_be_any_function_of_labels_and_answers() -> None:
    found = metric_named("sklearn.metrics.balanced_accuracy_score")
    assert found.compute(["a", "b", "b"], ["a", "b", "a"]) == pytest.approx(0.75)
    with pytest.raises(InputError, match=r"no metric 'acuracy'; there are accuracy, f1, auc, log_loss, rmse, mae"):
        metric_named("acuracy")
    with pytest.raises(InputError, match=r"numpy.array must return a number; got ndarray"):
        metric_named("numpy.array").compute([1, 2], None)


@pytest.mark.parametrize(("right", "count"), [(0, 10), (3, 10), (920, 1000), (10, 10)])
def test_the_interval_of_a_share_is_that_of_wilson(right: int, count: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(right, count).proportion_ci(method="wilson")
    found = wilson(right, count)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_intervals_of_resampled_rows_hold_what_is_true_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        rows = random.normal(3, 1, 80)
        found = percentiles(rows.mean(), [rows[some].mean() for some in resamples(80, None)])
        hits += found.low <= 3 <= found.high
    assert 85 <= hits <= 100


def test_units_are_drawn_whole_which_widens_intervals() -> None:
    units = np.repeat(np.arange(20), 10)
    rows = np.random.default_rng(2).normal(size=20)[units]
    drawn_rows = [rows[some].mean() for some in resamples(200, None)]
    drawn_units = [rows[some].mean() for some in resamples(200, units)]
    assert np.std(drawn_units) > 2 * np.std(drawn_rows)
    some = next(resamples(200, units))
    assert (np.bincount(some, minlength=200).reshape(20, 10) == np.bincount(some, minlength=200)[::10, None]).all()


def test_the_number_of_draws_is_bounded() -> None:
    assert [num_resamples(rows) for rows in (0, 1000, 10**6, 10**9)] == [200, 200, 50, 50]


def test_a_model_that_means_what_it_says_is_calibrated() -> None:
    random = np.random.default_rng(3)
    sure = random.uniform(0.5, 1, 50_000)
    right = random.random(50_000) < sure
    assert calibration(sure, right).ece < 0.01
    assert calibration(np.full(100, 0.95), np.arange(100) < 60).ece == pytest.approx(0.35)
    assert sum(each.rows for each in calibration(sure, right).bins) == 50_000
