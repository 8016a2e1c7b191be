"""Reports of experiments: what is decided and said, from arrays and from labelled files, in Python and on the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

import motet as mt
from motet.cli import cli
from motet.errors import InputError, UnknownNameError
from motet.graph.experiment import ExperimentMetric, GuardrailBounds
from motet.planning.experiments.experiment import Experiment, SplitPeriod, experiment_of
from motet.planning.experiments.exposures import Exposures
from motet.planning.experiments.report import ExperimentReport, report_of
from motet.planning.experiments.since import read_since

GRAPH = """
motet: 1
name: shop
inputs: {user: string, x: float32, country: string}
models:
  one: {uri: "python:motet.testing.fakes:Affine", inputs: {x: float32}, outputs: {output: float32}}
  two: {uri: "python:motet.testing.fakes:Affine", inputs: {x: float32}, outputs: {output: float32}, with: {scale: 2.0}}
nodes:
  ab:
    route: {old: one, new: two}
    inputs: [x]
    split: {old: 1, new: 1}
    by: user
    salt: may
    metric: {name: clicked, effect: 0.2, guardrails: {errors: 0.05, seconds: 1.5}, segments: [country]}
outputs: {y: ab, arm: ab.member}
"""


def _experiment(arms: tuple[str, ...] = ("old", "new"), kind: Any = "rate", **said: Any) -> Experiment:
    metric = ExperimentMetric("clicked", kind, **{"effect": 0.1, **said})
    period = SplitPeriod(-np.inf, dict.fromkeys(arms, 1.0))
    return Experiment("shop", "ab", "user", arms, metric.control or arms[0], metric, (period,))


def _report(experiment: Experiment, rates: dict[str, float], rows: int = 40_000, **more: Any) -> ExperimentReport:
    random = np.random.default_rng(0)
    arm = random.integers(0, len(rates), rows)
    outcome = (random.random(rows) < np.array(list(rates.values()))[arm]).astype(float)
    found = {key: value(random, arm) for key, value in more.items()}
    return report_of(experiment, Exposures.of(experiment.arms, np.arange(rows), arm, outcome=outcome, **found))


@pytest.mark.parametrize(
    ("rates", "said", "decision", "arm", "sentence"),
    [
        ((0.2, 0.24), {}, "promote", "new", "Promote new: clicked is 18.3% higher with new than with old (11.6% to 25.4%)."),
        ((0.24, 0.2), {}, "keep", "old", "Keep old: clicked is 16.9% lower with new than with old (11.9% to 21.8%)."),
        ((0.24, 0.2), {"better": "less"}, "promote", "new", "Promote new: clicked is 16.9% lower with new than with old (11.9% to 21.8%)."),
        ((0.2, 0.24), {"control": "new"}, "keep", "new", "Keep new: clicked is 15.4% lower with old than with new (10.3% to 20.3%)."),
        ((0.5, 0.5), {}, "keep", "old", "Keep old: new gains at most 3.2% of clicked, less than the 10.0% that is worth finding."),
        ((0.02, 0.021), {}, "undecided", "", "Undecided: clicked is between 9.2% lower and 51.3% higher with new than with old; about 310,000 more units are needed."),
    ],
)  # fmt: skip
def test_what_is_decided_and_said(
    rates: tuple[float, float], said: dict[str, Any], decision: str, arm: str, sentence: str
) -> None:
    found = _report(_experiment(**said), {"old": rates[0], "new": rates[1]})
    assert (found.decision, found.arm) == (decision, arm)
    assert found.sentence.startswith(sentence)
    assert found.sentence in str(found)
    assert (found.more > 0) == (decision == "undecided")


def test_undecided_says_about_how_many_more_units_it_takes() -> None:
    found = _report(_experiment(), {"old": 0.02, "new": 0.02}, rows=10_000)
    comparison = found.comparison("new")
    assert found.more == pytest.approx(comparison.planned - 10_000)
    # twice p (1 - p) over the square of the difference, at 3.035 + 0.842 standard errors, for both arms
    rate = (found.arms[0].metric.value * found.arms[0].units + 1) / (found.arms[0].units + 2)
    everybody = sum(each.metric.value * each.units for each in found.arms) / 10_000
    right = 4 * everybody * (1 - everybody) * ((3.035209 + 0.841621) / (0.1 * rate)) ** 2
    assert comparison.planned == pytest.approx(right, rel=0.01)
    assert f"about {np.ceil(found.more / 1e4) * 1e4:,.0f} more units are needed." in found.sentence


def test_of_several_arms_the_best_is_promoted() -> None:
    found = _report(_experiment(("a", "b", "c", "d")), {"a": 0.2, "b": 0.24, "c": 0.28, "d": 0.2})
    assert [each.verdict for each in found.comparisons] == ["better", "better", "no gain"]
    assert found.sentence.startswith("Promote c: clicked is 4")


def test_a_split_that_is_broken_decides_nothing() -> None:
    random = np.random.default_rng(1)
    arm = (random.random(20_000) < 0.53).astype(np.int64)
    found = report_of(_experiment(), Exposures.of(("old", "new"), np.arange(20_000), arm, outcome=arm.astype(float)))
    assert found.ratio.broken
    assert found.decision == "undecided"
    assert found.sentence == (
        "Undecided: units do not meet the arms as the split says (p < 0.0001), so nothing can be concluded. Find out why first."
    )
    assert "The split is broken (p < 0.0001)." in str(found)


def test_means_may_be_negative_and_fewer_losses_are_more() -> None:
    """Profit a unit: both arms lose, one of them less."""
    random = np.random.default_rng(3)
    arm = random.integers(0, 2, 20_000)
    profit = random.normal(-1, 1, 20_000) + 0.2 * arm
    found = report_of(_experiment(kind="mean"), Exposures.of(("old", "new"), np.arange(20_000), arm, outcome=profit))
    assert found.decision == "promote"
    assert found.sentence.startswith("Promote new: clicked is 19.0% higher with new than with old (14.9% to 22.9%).")
    comparison = found.comparison("new")
    assert 0 < comparison.lift.low < comparison.lift.value < comparison.lift.high
    same = report_of(
        _experiment(kind="mean"), Exposures.of(("old", "new"), np.arange(20_000), arm, outcome=profit - 0.2 * arm)
    )
    assert same.comparison("new").verdict == "no gain"
    assert same.sentence.startswith("Keep old: new gains at most ")


def test_nothing_seen_yet_is_undecided() -> None:
    found = report_of(_experiment(), Exposures.of(("old", "new"), [], np.array([], dtype=np.int64)))
    assert (found.decision, found.units, found.ratio.probability) == ("undecided", 0, 1.0)
    assert "0 units (user) in 0 exposures" in str(found)
    assert "too little is known of new" in found.html()


def test_guardrails_hold_break_or_stay_open() -> None:
    experiment = _experiment(guardrails=GuardrailBounds(0.02, 1.5))
    rates = {"old": 0.2, "new": 0.3}

    def seconds(factor: float) -> Any:
        return lambda random, arm: np.exp(random.normal(0, 0.5, len(arm))) * np.where(arm == 1, factor, 1.0)

    def failures(rate: float) -> Any:
        return lambda random, arm: random.random(len(arm)) < np.where(arm == 1, rate, 0.01)

    good = _report(experiment, rates, seconds=seconds(1.2), failed=failures(0.011))
    assert [each.state for each in good.comparison("new").guardrails] == ["holds", "holds"]
    assert good.decision == "promote"
    slow = _report(experiment, rates, seconds=seconds(2.0), failed=failures(0.011))
    assert slow.comparison("new").broken == ["seconds"]
    assert slow.comparison("new").guardrails[1].value.value == pytest.approx(2.0, rel=0.02)
    assert slow.sentence.startswith("Keep old: new breaks the guardrail of seconds, 2.0")
    failing = _report(experiment, rates, failed=failures(0.06))
    assert failing.comparison("new").broken == ["errors"]
    assert failing.sentence.startswith(
        "Keep old: new breaks the guardrail of errors, +4.95% (+4.23% to +5.67%), bound +2.00%."
    )
    assert failing.comparison("new").guardrails[1].state == "open"
    unknown = _report(experiment, rates)
    assert unknown.sentence.endswith("It is not known yet whether it keeps the guardrail of seconds.")


def test_a_unit_that_is_asked_often_is_one_observation() -> None:
    """Users with clicks of their own that come back: rows of one are alike, and only units are independent."""
    random, wrong = np.random.default_rng(7), 0
    for _ in range(60):
        user = random.integers(0, 60, 3000)
        likes, arm = random.beta(0.3, 0.7, 60), random.integers(0, 2, 60)
        outcome = (random.random(3000) < likes[user]).astype(float)
        seen = Exposures.of(("old", "new"), user, arm[user], outcome=outcome)
        reports = [report_of(_experiment(), seen.take(np.arange(end))) for end in (200, 1000, 3000)]
        wrong += any(each.decision == "promote" for each in reports)
        assert reports[-1].units == 60
    assert wrong <= 4


def test_segments_are_looked_at_with_intervals_for_all_of_them() -> None:
    found = _report(
        _experiment(segments=("land", "age")), {"old": 0.2, "new": 0.26},
        segments=lambda random, arm: {"land": random.choice(["de", "fr"], len(arm)), "age": [None] * len(arm)},
    )  # fmt: skip
    assert {(e.column, e.value) for e in found.segments} == {("land", "de"), ("land", "fr"), ("age", "none")}
    whole = found.comparison("new").lift
    assert found.segments[-1].lift.value == pytest.approx(whole.value)
    assert found.segments[-1].lift.low < whole.low  # of three at once
    assert "land = de" in str(found)


def test_what_counts_for_nothing_is_said() -> None:
    seen = Exposures.of(("old", "new"), ["a", "a", None, "b"], ["old", "new", "old", None], outcome=[1, 0, 1, None])
    found = report_of(_experiment(), seen)
    assert found.units == 0
    assert found.sentence == "Undecided: too little is known of new; how many units it takes is not known yet."
    assert found.notes == [
        "2 exposures without 'user' or without an arm count for nothing",
        "1 units were seen in several arms although the split stayed; they are left out",
    ]
    assert json.loads(found.to_json())["comparisons"][0]["difference"]["low"] is None
    with pytest.raises(InputError, match="alpha must be above 0 and below 1; got 1.5"):
        report_of(_experiment(), seen, alpha=1.5)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7d", 1000 - 7 * 86400),
        ("1970-01-02", 86400),
        ("1970-01-01T00:00:10+00:00", 10),
        (5, 5),
        (datetime(1970, 1, 2), 86400),
        (datetime(1970, 1, 1, 0, 1, tzinfo=UTC), 60),
    ],
)
def test_since_when(said: Any, seconds: float) -> None:
    assert read_since(said, 1000.0) == seconds


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a graph, its input with outcomes, and its answers."""
    folder = tmp_path_factory.mktemp("experiment")
    (folder / "graph.yaml").write_text(GRAPH)
    random, rows = np.random.default_rng(0), 6000
    graph = mt.load(folder / "graph.yaml")
    user = [f"user {n}" for n in range(rows)]
    table = {
        "user": user,
        "x": np.arange(rows, dtype=np.float32),
        "country": random.choice(["de", "fr"], rows),
        "at": [datetime.fromtimestamp(n * 60, UTC) for n in range(rows)],
        "took": random.random(rows) + 0.1,
    }
    arms = graph({name: table[name] for name in ("user", "x", "country")})["arm"]
    clicked = random.random(rows) < np.where(arms == "new", 0.4, 0.25)
    pq.write_table(pa.table({**table, "clicked": clicked}), folder / "input.parquet")
    graph.run(folder / "input.parquet", folder / "answers.parquet")
    return folder


def _run(*arguments: Any) -> Any:
    return CliRunner().invoke(cli, ["experiment", "report", *map(str, arguments)])


def test_answers_of_a_run_and_its_input_say_the_same(answered: Path) -> None:
    graph = mt.load(answered / "graph.yaml")
    found = graph.experiment(str(answered / "answers.parquet"))
    again = graph.experiment(str(answered / "input.parquet"), unit="user")
    assert found.decision == "promote"
    assert (found.rows, found.units) == (6000, 6000)
    assert [each.metric for each in found.arms] == [each.metric for each in again.arms]
    assert again.notes == ["no column says the arm; it was computed from 'user' by the split"]
    assert found.notes == []
    assert {each.state for each in found.comparisons[0].guardrails} == {"open"}
    seen = pq.read_table(answered / "answers.parquet")
    right = np.array(seen["clicked"])[np.array(seen["arm"]) == "new"].mean()
    assert found.arms[1].metric.value == pytest.approx(right)


def test_the_command_prints_and_writes_it(answered: Path, tmp_path: Path) -> None:
    answers = answered / "answers.parquet"
    done = _run(answered / "graph.yaml", "--input", answers, "--seconds", "took", "--html", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("Promote new: clicked is ")
    assert "Guardrail of seconds for new: holds" in done.output
    assert "country = de" in done.output
    assert "<h2>Beside old</h2>" in (tmp_path / "page.html").read_text()
    later = _run(answered / "graph.yaml", "--input", answers, "--time", "at", "--since", "1970-01-03", "--json")
    assert json.loads(later.output)["rows"] == 6000 - 2 * 24 * 60


def test_text_is_read_as_what_it_says(answered: Path, tmp_path: Path) -> None:
    table = pq.read_table(answered / "input.parquet", columns=["user", "clicked", "country"])
    pa.csv.write_csv(table, tmp_path / "rows.csv")
    graph = mt.load(answered / "graph.yaml")
    found = graph.experiment(str(tmp_path / "rows.csv"))
    assert [each.metric for each in found.arms] == [each.metric for each in graph.experiment(table).arms]


def test_units_of_a_column_that_is_named_are_texts_where_the_graph_takes_texts(answered: Path, tmp_path: Path) -> None:
    graph = mt.load(answered / "graph.yaml")
    users = [f"{n:04d}" for n in range(400)]
    (tmp_path / "rows.csv").write_text("id,clicked\n" + "".join(f"{user},1\n" for user in users))
    found = graph.experiment(str(tmp_path / "rows.csv"), unit="id")
    arms = graph({"user": users, "x": np.zeros(400, np.float32), "country": ["de"] * 400})["arm"].tolist()
    assert [each.units for each in found.arms] == [arms.count("old"), arms.count("new")]


def test_units_of_a_graph_inside_are_named(tmp_path: Path) -> None:
    """The graph inside calls `user` what this one calls `session`."""
    inside = {key: value for key, value in yaml.safe_load(GRAPH).items() if key not in ("motet", "name")}
    whole = {
        "motet": 1,
        "name": "outer",
        "inputs": {"user": "string", "session": "string", "x": "float32", "country": "string"},
        "graphs": {"shop": inside},
        "nodes": {"inner": {"model": "shop", "inputs": {"user": "session", "x": "x", "country": "country"}}},
        "outputs": {"arm": "inner.arm"},
    }
    (tmp_path / "outer.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
    graph = mt.load(tmp_path / "outer.yaml")
    sessions, count = [f"s{n}" for n in range(200)], 200
    columns = {
        "user": ["ann"] * count,
        "session": sessions,
        "x": np.zeros(count, np.float32),
        "country": ["de"] * count,
    }
    arms = graph(columns)["arm"].tolist()
    table = pa.table({**columns, "clicked": [True] * count})
    with pytest.raises(InputError, match="'shop.ab' is in a graph inside, whose 'user' may be another column here"):
        graph.experiment(table)
    found = graph.experiment(table, unit="session")
    assert [each.units for each in found.arms] == [arms.count("old"), arms.count("new")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "bought"], "unknown column 'bought'"),
        (["--node", "ba"], "unknown experiment 'ba'"),
        (["--since", "7d"], "since needs a column of times"),
        (["--since", "soon", "--time", "at"], "'soon' is no time"),
        (["--label", "user"], "the column 'user' is string; an outcome is true or false, or a number"),
        (["--arm", "country"], "unknown arm"),
        (["--label", "x"], "an outcome of 'clicked' must be from 0 to 1; got 2 in row 2"),
    ],
)
def test_what_cannot_be_is_refused(answered: Path, arguments: list[str], message: str) -> None:
    done = _run(answered / "graph.yaml", "--input", answered / "answers.parquet", *arguments)
    assert done.exit_code == 2, done.output
    assert message in done.output


def test_a_graph_without_an_experiment_or_a_file_without_units_says_so(answered: Path) -> None:
    graph = mt.load(answered / "graph.yaml")
    with pytest.raises(InputError, match="no column has 'user', by which the split goes; there are arm, clicked"):
        graph.experiment({"arm": ["old"], "clicked": [1]})
    plain = mt.Graph("plain", {"y": mt.map("motet.ops.columns.cast", mt.input("x", "float32"), dtype="float64")})
    with pytest.raises(InputError, match="the graph has no experiment\n  hint: write metric: NAME beside split"):
        plain.experiment({"x": [1.0]})
    assert experiment_of(graph).salt == "may"
    with pytest.raises(UnknownNameError, match="unknown column 'clicked'"):
        graph.experiment({"user": ["a"], "arm": ["old"]})
