"""Drift: sizes and probabilities are scipy's, chance raises no alarm, and a reference of another graph is refused."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from scipy import stats

import motet as mt
from helpers import labelled
from motet.cli import cli
from motet.errors import InputError
from motet.planning.drift.bins import bins_for
from motet.planning.drift.compare import compare
from motet.planning.drift.features import Feature, MemberRows
from motet.planning.drift.reference import DriftReference, ReferenceColumn
from motet.planning.drift.statistics import (
    chi2_quantile,
    chi2_sf,
    kolmogorov_sf,
    ks_distance,
    psi,
    psi_by_chance,
    same_spread,
    total_variation,
)

X, Y = labelled.rows(3000, 1)
LATER = labelled.rows(2000, 2)[0]
SHIFTED = LATER + np.array([1, 0, 0, 0], dtype=np.float32)


@pytest.fixture(scope="module", params=["cascade", "ensemble"])
def graph(request: pytest.FixtureRequest) -> Any:
    return labelled.graph(request.param, **({"weights": [1, 2, 0]} if request.param == "ensemble" else {}))


@pytest.fixture(scope="module")
def reference(graph: Any) -> Any:
    return graph.drift_reference({"x": X})


@pytest.mark.parametrize("df", [1, 2, 3, 4, 9, 10, 49, 50])
def test_chi_squared_is_that_of_scipy(df: int) -> None:
    for x in (0.01, 0.5, 1.0, df / 2, df, 2.0 * df, 3.0 * df + 20):
        assert chi2_sf(x, df) == pytest.approx(stats.chi2.sf(x, df), rel=1e-9)
    for part in (0.5, 0.95, 0.999):
        assert chi2_quantile(part, df) == pytest.approx(stats.chi2.ppf(part, df), rel=1e-9)


def test_kolmogorov_is_that_of_scipy() -> None:
    for x in (0.1, 0.3, 0.5, 0.8, 1.0, 1.36, 2.0, 3.0):
        assert kolmogorov_sf(x) == pytest.approx(stats.kstwobign.sf(x), abs=1e-9)


def test_probability_of_counts_is_that_of_a_contingency_table() -> None:
    one, other = np.array([120.0, 80, 40, 9]), np.array([100.0, 95, 30, 12])
    expected = stats.chi2_contingency(np.stack([one, other]), correction=False).pvalue
    for ordered in (True, False):
        assert same_spread(one, other, ordered=ordered) == pytest.approx(expected)


def test_rare_cells_are_put_together_and_too_few_rows_tell_nothing() -> None:
    one, other = np.array([500.0, 1, 400, 2, 0]), np.array([50.0, 0, 45, 0, 1])
    pooled = np.array([[3.0 + 400, 500], [1.0 + 45, 50]])  # the three rare ones, and what is next larger
    assert same_spread(one, other, ordered=False) == pytest.approx(
        stats.chi2_contingency(pooled, correction=False).pvalue
    )
    last = np.array([500.0, 400, 3]), np.array([50.0, 45, 1])
    joined = np.array([[500.0, 403], [50.0, 46]])
    assert same_spread(*last, ordered=True) == pytest.approx(stats.chi2_contingency(joined, correction=False).pvalue)
    assert same_spread(one, np.array([1.0, 0, 1, 0, 0]), ordered=False) == 1
    assert same_spread(one, np.zeros(5), ordered=True) == 1


def test_index_and_total_variation_are_their_sums() -> None:
    one, other = np.array([400.0, 600]), np.array([100.0, 900])
    p, q = (one + 0.5) / 1001, (other + 0.5) / 1001
    assert psi(one, other) == pytest.approx(float(((q - p) * np.log(q / p)).sum()))
    assert total_variation(one, other) == pytest.approx(0.3)
    assert psi(one, np.zeros(2)) == total_variation(one, np.zeros(2)) == 0


def test_distance_at_bins_is_that_between_all_values_within_a_bin() -> None:
    rng: Any = np.random.default_rng(3)
    for shift in (0.0, 0.1, 0.5, 2.0):
        one, other = rng.normal(size=5000), rng.normal(shift, 1.3, size=700)
        bins = bins_for(one)
        assert bins is not None
        found = ks_distance(bins.count(one)[:-1], bins.count(other)[:-1])
        exact = stats.ks_2samp(one, other).statistic
        assert exact - 0.011 <= found <= exact + 1e-9  # at edges alone it cannot be more


def _drifts(rng: Any, rows: int, columns: int, now: Any) -> list[Any]:
    def column(place: int) -> ReferenceColumn:
        values = rng.normal(size=1000)
        bins = bins_for(values)
        assert bins is not None
        return ReferenceColumn(
            Feature(str(place), "input", str(place), "value"), bins, tuple(bins.count(values).tolist())
        )

    reference = DriftReference("g", "", 0.0, 1000, tuple(column(place) for place in range(columns)), {}, {})
    counts = {each.feature.name: each.bins.count(now(rows)) for each in reference.columns}
    return compare(reference, counts, 0.0)


@pytest.mark.parametrize("rows", [30, 100, 3000])
def test_chance_alone_is_called_drift_in_less_than_one_report_of_twenty(rows: int) -> None:
    """Also where any index at all would do: so it is chi-squared that decides, all columns of a report together."""
    rng = np.random.default_rng(rows)
    tries = 200
    reports = [_drifts(rng, rows, 5, lambda n: rng.normal(size=n)) for _ in range(tries)]
    assert sum(any(each.drifted for each in report) for report in reports) <= 0.05 * tries
    indices = np.array([[each.psi, each.by_chance] for report in reports for each in report])
    assert 0.91 <= (indices[:, 0] <= indices[:, 1]).mean() <= 0.99  # what is said of chance is true


def test_drift_of_half_a_deviation_is_seen_in_a_few_hundred_rows() -> None:
    rng = np.random.default_rng(1)
    found = [_drifts(rng, 300, 5, lambda n: rng.normal(0.5, size=n)) for _ in range(20)]
    assert all(each.drifted for report in found for each in report)


def test_more_by_chance_with_fewer_rows() -> None:
    had = np.full(10, 100.0)
    few, many = (psi_by_chance(had, np.full(10, rows)) for rows in (3.0, 300.0))
    assert few == pytest.approx(stats.chi2.ppf(0.95, 9) * (1 / 1000 + 1 / 30))
    assert many == pytest.approx(stats.chi2.ppf(0.95, 9) * (1 / 1000 + 1 / 3000))


def test_numbers_lie_in_bins_that_hold_their_upper_edge_and_missing_ones_apart() -> None:
    bins = bins_for(np.arange(1.0, 1001))
    assert bins is not None
    assert bins.size == 101
    counts = bins.count(np.array([-5.0, 10, 10.5, 2000, np.nan, np.nan]))
    assert counts[[0, 1, 99, 100]].tolist() == [2, 1, 1, 2]
    few = bins_for(np.array([1.0, 2, 2, 2, np.nan] * 10))
    assert few is not None
    assert few.categories == ("2", "1")
    assert few.count(np.array([2.0, 3, np.nan])).tolist() == [1, 0, 1, 1]


def test_infinite_values_are_counted_and_a_reference_of_them_is_read_again(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=400)
    x[:40], x[40:80] = np.inf, -np.inf
    graph = mt.Graph("one", outputs={"y": mt.input("x", "float64")})
    graph.drift_reference({"x": x}).write(tmp_path / "ref.json")
    found = graph.drift({"x": x}, str(tmp_path / "ref.json"))
    assert {each.name: each.psi for each in found.columns}["y"] == 0
    wide = mt.Graph("wide", outputs={"y": mt.input("x", "float64[20]")})
    rows = np.random.default_rng(0).normal(size=(60, 20))
    rows[0, :2], rows[1, 0], rows[2, 0] = (np.inf, -np.inf), np.inf, np.nan
    spread = {each.feature.name: each for each in wide.drift_reference({"x": rows}).columns}["spread of y"]
    assert spread.counts[-1] == 3  # missing


def test_texts_that_most_rows_have_alone_stand_in_no_reference() -> None:
    assert bins_for(np.array([f"user {n % 40}" for n in range(60)], dtype=object)) is None
    assert bins_for(np.array([f"user {n % 40}" for n in range(120)], dtype=object)) is not None


def test_texts_are_categories_where_few_are_frequent() -> None:
    words = np.array(["yes", "no", None, "yes"] * 10, dtype=object)
    bins = bins_for(words)
    assert bins is not None
    assert bins.categories == ("yes", "no")
    assert bins.count(np.array(["maybe", "yes", None], dtype=object)).tolist() == [1, 0, 1, 1]
    assert bins_for(np.array([f"text {n}" for n in range(400)], dtype=object)) is None


def test_rows_like_those_of_the_reference_have_not_drifted_and_others_have(graph: Any, reference: Any) -> None:
    same = graph.drift({"x": LATER}, reference)
    assert same.drifted == []
    found = graph.drift({"x": SHIFTED}, reference)
    assert found.drifted[0] == "x[0]"
    assert {"name", "place", "class of scores"} <= set(found.drifted)
    assert found.column("x[1]").psi < 0.05
    moved = found.column("x[0]")
    exact = stats.ks_2samp(X[:, 0], SHIFTED[:, 0])
    assert moved.ks == pytest.approx(exact.statistic, abs=0.011)
    assert moved.ks_p_value < 1e-6
    assert moved.rows == 2000
    assert moved.reference_rows == 3000
    answer = graph({"x": SHIFTED})
    shares = {name: now for name, _, now in found.column("class of scores").bars}
    for place, name in enumerate(labelled.NAMES):
        assert shares[name] == pytest.approx((answer["scores"].argmax(axis=1) == place).mean())


def test_agreement_of_members_is_that_of_rows_that_both_answer(graph: Any, reference: Any) -> None:
    estimators = labelled.estimators()
    scores = {name: each.predict_proba(X) for name, each in estimators.items()}
    said = {name: each.argmax(axis=1) for name, each in scores.items()}
    cascade = "cascade_1" in graph.nodes
    node = "cascade_1" if cascade else "ensemble_1"
    found = {each.feature.name: each for each in reference.columns if each.feature.side == "members"}
    asked = np.ones(len(X), dtype=bool)
    names = list(estimators)
    for one, other in itertools.pairwise(names):
        asked &= (scores[one].max(axis=1) < 0.8) | (not cascade)
        each = found[f"{node}: {one} = {other}"]
        counts = dict(zip(each.bins.categories, each.counts, strict=False))
        assert counts["agree"] == (said[one] == said[other])[asked].sum()
        assert counts["differ"] == (said[one] != said[other])[asked].sum()


def test_a_row_that_is_asked_again_counts_once_by_its_first_answer() -> None:
    def call(ids: list[int], **columns: list[Any]) -> tuple[Any, dict[str, Any]]:
        return np.array(ids), {name: np.array(each) for name, each in columns.items()}

    calls = [call([4, 2], y=[0.4, 0.2], once=[1, 1]), call([2, 7, 0], y=[9.0, 0.7, 0.0])]
    found = MemberRows.of_calls(calls)
    assert found.ids.tolist() == [0, 2, 4, 7]
    assert {name: np.asarray(each).tolist() for name, each in found.columns.items()} == {"y": [0.0, 0.2, 0.4, 0.7]}


def test_what_evaluate_writes_is_what_playing_the_rows_gives(graph: Any, reference: Any, tmp_path: Path) -> None:
    path = tmp_path / "ref.json"
    graph.evaluate({"x": X, "truth": Y}, label="truth", of="place", reference=str(path))
    read = DriftReference.read(path)
    assert [(each.feature.name, each.bins, each.counts) for each in read.columns] == [
        (each.feature.name, each.bins, each.counts) for each in reference.columns
    ]
    assert graph.drift({"x": LATER}, str(path)).drifted == []
    assert DriftReference.read(path).digest == read.digest


def test_answers_of_a_run_are_compared_as_they_are(graph: Any, reference: Any, tmp_path: Path) -> None:
    rows, answers = tmp_path / "rows.parquet", tmp_path / "answers.parquet"
    pq.write_table(pa.table({"x": list(SHIFTED)}), rows)
    graph.run(str(rows), str(answers), keep=["x"])
    found = graph.drift(str(answers), reference)
    played = graph.drift(str(rows), reference)
    for each in found.columns:
        assert each == played.column(each.name)
    assert len(found.notes) == 1
    assert found.notes[0].startswith("not in these rows, and not compared: ")
    log = pq.read_table(answers)
    log = log.rename_columns([f"input_{name}" if name == "x" else f"output_{name}" for name in log.column_names])
    assert graph.drift(log, reference).column("name") == played.column("name")  # as a sink names them
    with pytest.raises(InputError, match="nothing of what the reference has is in these rows"):
        graph.drift({"other": [1, 2]}, reference, play=False)


def test_missing_values_and_categories_that_were_never_seen_are_told() -> None:
    age = mt.input("age", "float64", default=None)
    town = mt.input("town", "string", default=None)
    text = mt.input("text", "string")
    graph = mt.Graph("kept", outputs={"age": age, "town": town, "text": text})
    rng = np.random.default_rng(0)

    def rows(count: int, towns: list[Any], missing: float) -> dict[str, Any]:
        ages = np.where(rng.random(count) < missing, np.nan, rng.normal(40, 10, count))
        texts = ["word " * int(n) + str(k) for k, n in enumerate(rng.integers(1, 40, count))]
        return {"age": ages, "town": [towns[k] for k in rng.integers(0, len(towns), count)], "text": texts}

    reference = graph.drift_reference(rows(1000, ["Bonn", "Kyiv"], 0.1))
    names = [each.feature.name for each in reference.columns]
    assert {"age (input)", "town (input)", "length of text (input)", "age", "town", "length of text"} < set(names)
    assert graph.drift(rows(500, ["Bonn", "Kyiv"], 0.1), reference).drifted == []
    found = graph.drift(rows(500, ["Bonn", "Kyiv", "Oslo", None], 0.6), reference)
    assert set(found.drifted) == {
        "age (input)",
        "age",
        "town (input)",
        "town",
        "rows that fail",
    }  # no output may be missing
    assert found.column("age").missing == pytest.approx(0.6, abs=0.07)
    assert found.column("age").reference_missing < 0.15
    assert found.column("town (input)").unseen == pytest.approx(0.25, abs=0.06)
    assert found.column("town (input)").reference_unseen == 0
    assert "anything else" in str(found)


def test_reference_of_another_graph_is_refused_with_what_differs(reference: Any, tmp_path: Path) -> None:
    x = mt.input("x", "float32[4]")
    other = mt.Graph("other", outputs={"y": mt.map(mt.ops.columns.cast, x, dtype="float64")})
    with pytest.raises(
        InputError, match="does not fit graph 'other': it has the output 'name', which the graph has not"
    ):
        other.drift({"x": X}, reference)
    narrow = mt.input("x", "float32[3]")
    less = mt.Graph("less", outputs={"y": mt.map(mt.ops.columns.cast, narrow, dtype="float64")})
    with pytest.raises(InputError, match=r"input 'x' was float32\[4\], and is float32\[3\]"):
        less.drift({"x": X[:, :3]}, reference)
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"motet_drift": 1}')
    with pytest.raises(InputError, match="this is no reference of drift"):
        other.drift({"x": X}, str(wrong))
    with pytest.raises(InputError, match="the reference cannot be read: No such file"):
        other.drift({"x": X}, str(tmp_path / "none.json"))
    wrong.write_text(reference.to_json().replace('"motet_drift": 1', '"motet_drift": 2'))
    with pytest.raises(InputError, match="a reference of format 2; this version reads 1"):
        other.drift({"x": X}, str(wrong))
    bad = json.loads(reference.to_json())
    bad["columns"][0]["counts"].pop()
    wrong.write_text(json.dumps(bad))
    with pytest.raises(InputError, match=r"has 100 counts for 101 bins"):
        other.drift({"x": X}, str(wrong))


def test_only_so_many_rows_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from motet.planning.drift.collect import Collector
    from motet.planning.drift.features import DriftSample

    graph = mt.Graph("one", outputs={"y": mt.input("x", "float64")})
    collector = Collector(graph.checked, "", most=500)
    for first in range(0, 10_000, 100):
        ids = np.arange(first, first + 100)
        collector.add(DriftSample(mt.batch.Batch.of({"x": ids.astype(float)}, ids), None, {}, 100))
    (column, *_) = collector.finish().columns
    assert column.array.sum() == 500
    assert np.mean(column.bins.edges) == pytest.approx(5000, rel=0.1)


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.yaml").write_text(
        "motet: 1\nname: g\ninputs: {x: float64}\nnodes:\n  y: {map: motet.ops.columns.cast, inputs: [x], with: {dtype: float64}}\n"
        "outputs: {y: y}\n"
    )
    rng = np.random.default_rng(0)
    for name, shift in (("then", 0.0), ("now", 0.0), ("far", 3.0)):
        pq.write_table(pa.table({"x": rng.normal(shift, size=1000)}), f"{name}.parquet")

    def run(*words: str) -> Any:
        return CliRunner().invoke(cli, ["drift", *words])

    made = run("reference", "g.yaml", "--input", "then.parquet", "-o", "ref.json")
    assert made.exit_code == 0
    assert made.output == "3 columns of 1,000 rows are in ref.json\n"
    common = ("report", "g.yaml", "--reference", "ref.json", "--input")
    assert run(*common, "now.parquet", "--at-most", "0.2").exit_code == 0
    far = run(*common, "far.parquet", "--html", "far.html", "--json")
    assert far.exit_code == 0
    assert json.loads(far.output)["drifted"] == ["x", "y"]
    page = (tmp_path / "far.html").read_text()
    assert "2 of 3" in page
    assert page.count("<svg") == 3
    beyond = run(*common, "far.parquet", "--at-most", "0.2")
    assert beyond.exit_code == 4
    assert "2 of 3 have drifted: x, y" in beyond.output
    assert run(*common, "now.parquet", "--at-most", "-1").exit_code == 2
    missing = run("report", "g.yaml", "--reference", "no.json", "--input", "now.parquet")
    assert missing.exit_code == 2
    assert "motet drift reference GRAPH.yaml" in missing.output
