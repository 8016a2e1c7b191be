"""Reports are of the experiment as it is declared now; what was seen of an earlier declaration is left out, and listed."""

import sqlite3
from contextlib import closing

import pytest
from click.testing import CliRunner

import motet as mt
from motet.cli import cli
from motet.planning.experiments.experiment import experiment_of
from motet.serving import start
from motet.serving.config.sinks import SinkConfig
from motet.serving.experiments.database import ExperimentDatabase
from motet.serving.experiments.guardian import report_now
from motet.serving.experiments.tables import (
    EXPOSURE_KINDS,
    EXPOSURES,
    OUTCOME_KINDS,
    OUTCOMES,
    Exposure,
    Outcome,
    item_of,
)
from motet.serving.sinks.targets.sql import SqlTarget
from serving.experiments.experiment_arms import Asked, predict, shop, table, until_rows
from store.store_files import write_model

KEY = "a key for tests alone"


def experiment(**said):
    return experiment_of(shop(**said).checked)


@pytest.mark.parametrize(
    "other",
    [
        {"plain": 1, "bold": 3},
        {"metric": "bought"},
        {"metric": {"name": "clicked", "control": "bold"}},
        {"metric": {"name": "clicked", "kind": "mean"}},
        {"metric": {"name": "clicked", "better": "less"}},
        {"metric": {"name": "clicked", "missing": "skip"}},
    ],
)
def test_what_is_compared_makes_an_epoch(other):
    assert experiment(**other).epoch != experiment().epoch


@pytest.mark.parametrize(
    "same",
    [
        {"plain": 50, "bold": 50},
        {"metric": {"name": "clicked", "effect": 0.2, "guardrails": {"errors": 0.1}, "control": "plain"}},
    ],
)
def test_what_is_planned_or_watched_makes_none(same):
    assert experiment(**same).epoch == experiment().epoch


def test_what_is_decided_makes_none():
    mine = experiment()
    assert mine.since(1e9, {"plain": 0.0, "bold": 1.0}).epoch == mine.epoch


def exposures(names, time, epoch):
    return [
        Exposure(f"{epoch}:{name}:ab", time, "shop", "ab", "bold", f"{name:016x}", 0.01, False, None, epoch)
        for name in names
    ]


@pytest.fixture
def kept(tmp_path):
    """A database, and what writes into it."""
    to = f"sqlite:///{tmp_path}/kept.db"
    target, database = SqlTarget(SinkConfig(to, "seen", table=EXPOSURES), tmp_path), ExperimentDatabase(to, tmp_path)
    target.prepare(EXPOSURES, EXPOSURE_KINDS)
    target.prepare(OUTCOMES, OUTCOME_KINDS)
    yield database, lambda rows: target.write([item_of(rows).records], "batch")
    database.close()
    target.close()


def test_exposures_of_an_earlier_declaration_are_left_out_and_listed(kept):
    database, write = kept
    now = experiment()
    write(exposures(range(3), 1e9, "an earlier one"))
    write(exposures(range(10, 15), 1.1e9, now.epoch))
    write(exposures(range(20, 21), 1.1e9, ""))  # of which nobody said it
    lone = [("x", 1.05e9), ("y", 1.15e9)]  # their exposures were lost, before and behind the change
    write(
        [
            Outcome(f"{id}:clicked", id, time, "shop", "ab", "plain", f"{place + 100:016x}", time, "clicked", 1.0)
            for place, (id, time) in enumerate(lone)
        ]
    )
    report = report_now(database, now)
    assert (report.rows, report.units) == (7, 7)
    (note,) = (each for each in report.notes if "--all" in each)
    assert note.startswith(
        "3 exposures from 2001-09-09 01:46 to 2001-09-09 01:46 UTC are left out: the arms, their weights"
    )
    every = report_now(database, now, every=True)
    assert every.rows == 11
    assert not [note for note in every.notes if "--all" in note]
    assert not [note for note in report_now(database, now, since=1.05e9).notes if "--all" in note]


def test_outcomes_of_answers_before_any_exposure_of_now_are_left_out(kept):
    database, write = kept
    write(exposures(range(3), 1e9, "an earlier one"))
    write([Outcome("x:clicked", "x", 9e8, "shop", "ab", "plain", f"{7:016x}", 9e8, "clicked", 1.0)])
    report = report_now(database, experiment())
    assert report.rows == 0


def test_exposures_without_a_declaration_are_of_the_first_that_was_seen(kept):
    database, write = kept
    first, second, third = experiment(), experiment(plain=1, bold=3), experiment(plain=1, bold=5)
    write(exposures(range(4), 1e9, ""))  # of an earlier version
    assert report_now(database, second).rows == 4
    write(exposures(range(10, 13), 1.1e9, first.epoch))
    write(exposures(range(20, 22), 1.2e9, second.epoch))
    assert report_now(database, first).rows == 7
    for now, rows in ((second, 2), (third, 0)):
        report = report_now(database, now)
        assert report.rows == rows
        assert report.notes[0].startswith(
            "exposures from 2001-09-09 01:46 to 2001-09-09 01:46 UTC are left out of which"
        )
    assert report_now(database, second, every=True).rows == 9
    noted = [note for note in report_now(database, second, since=1.15e9).notes if "--all" in note]
    assert noted == []


def test_a_report_counts_declarations_since_its_beginning(kept):
    database, write = kept
    write(exposures(range(3), 1e9, "an earlier one") + exposures(range(3, 5), 1.1e9, "an earlier one"))
    notes = report_now(database, experiment(), since=1.05e9).notes
    assert [note.split(" exposures")[0] for note in notes if "--all" in note] == ["2"]


def test_what_is_decided_while_a_server_runs_begins_no_other(tmp_path):
    users, said = [f"u{number}" for number in range(6)], {"to": f"sqlite:///{tmp_path}/kept.db", "key": KEY}
    begins = [
        {},
        {"action": "ramp", "arm": "bold", "steps": [5, 50], "every_s": 3600},
        {"action": "promote", "arm": "bold"},
    ]
    with start(shop(), port=0, admin="open", experiments=said) as server:
        for body in begins:
            if body:
                assert Asked(f"{server.url}/experiments/shop", body).status == 200
            predict(server.url, users)
    with start(shop(), port=0, admin="open", experiments=said) as server:  # which begins with what was decided
        predict(server.url, users)
    until_rows(tmp_path / "kept.db", "exposures", 24)
    found = table(tmp_path / "kept.db", "SELECT DISTINCT epoch FROM exposures")
    assert found == [(experiment().epoch,)]


def test_a_database_that_knows_no_epochs_is_read_whole(kept):
    database, write = kept
    write(exposures(range(3), 1e9, "an earlier one"))
    with closing(sqlite3.connect(database._engine.url.database, isolation_level=None)) as other:
        other.execute("ALTER TABLE exposures DROP COLUMN epoch")
    assert database.epochs("shop", "ab") == []
    assert report_now(database, experiment()).rows == 3


def test_a_file_that_is_edited_begins_another_experiment(tmp_path):
    to, users = f"sqlite:///{tmp_path}/kept.db", [f"u{number}" for number in range(8)]
    said = {"to": to, "key": KEY}
    with start(shop(), port=0, experiments=said) as server:
        predict(server.url, users)
    with start(shop(plain=1, bold=4), port=0, experiments=said) as server:
        predict(server.url, users[:3])
        until_rows(tmp_path / "kept.db", "exposures", 11)
        (found,) = Asked(f"{server.url}/experiments/shop").body["experiments"]
        assert found["report"]["rows"] == 3
        (every,) = Asked(f"{server.url}/experiments/shop?all=true").body["experiments"]
        assert every["report"]["rows"] == 11
        wrong = Asked(f"{server.url}/experiments/shop?all=perhaps")
        assert (wrong.status, wrong.body["error"]) == (400, "'all' is true or false; got 'perhaps'")
        live = CliRunner().invoke(cli, ["experiment", "report", "shop", "--server", server.url, "--all"])
        assert live.exit_code == 0, live.output
    path = tmp_path / "shop.yaml"
    shop(plain=1, bold=4).save(path)
    for more, rows in (([], 3), (["--all"], 11)):
        told = CliRunner().invoke(cli, ["experiment", "report", str(path), "--from", to, "--json", *more])
        assert told.exit_code == 0, told.output
        assert f'"rows": {rows}' in told.output
    assert mt.load(path).name == "shop"
    refused = CliRunner().invoke(cli, ["experiment", "report", str(path), "--input", "x.parquet", "--all"])
    assert refused.exit_code == 2
    assert "--all is for what servers keep; a file says all that it has" in refused.output


STORED = """
motet: 1
name: shop
inputs: {user: string, x: float32}
models:
  plain: {uri: "store:ranker@champion"}
  bold: {uri: "store:ranker@challenger"}
graphs:
  careful:
    inputs: {x: float32}
    nodes: {ask: {model: bold, inputs: [x]}}
    outputs: {y: ask.y}
nodes:
  ab: {route: {plain: plain, bold: careful}, inputs: [x], split: {plain: 1, bold: 1}, by: user, metric: clicked}
outputs: {score: ab.y}
"""


@pytest.fixture
def stored(tmp_path):
    """The file of a graph whose arms are two versions of a store, and the store."""
    store = mt.Store(str(tmp_path / "store"))
    for factor, alias in ((1, "champion"), (101, "challenger")):
        store.publish("ranker", write_model(tmp_path / f"{alias}.onnx", factor), aliases=[alias])
    path = tmp_path / "shop.yaml"
    path.write_text(STORED)
    return path, store


def test_arms_of_a_store_begin_another_experiment_when_an_alias_is_moved(stored, tmp_path):
    path, store = stored
    before = experiment_of(mt.load(path).checked)
    assert before.versions == {"plain": ["ranker@1"], "bold": ["ranker@2"]}
    assert experiment_of(mt.load(path).checked).epoch == before.epoch
    users, said = [f"u{number}" for number in range(8)], {"to": f"sqlite:///{tmp_path}/kept.db", "key": KEY}
    with start(path, port=0, admin="open", experiments=said) as server:

        def scores():
            return {row["score"] for row in predict(server.url, users)}

        assert scores() == {1.0, 101.0}
        assert Asked(f"{server.url}/experiments/shop", {"action": "promote", "arm": "bold"}).status == 200
        assert scores() == {101.0}
        store.promote("ranker", "challenger")
        assert Asked(f"{server.url}/v2/repository/models/shop/load", {}).status == 200
        assert scores() == {101.0}
        assert Asked(f"{server.url}/experiments/shop", {"action": "stop"}).status == 200
        assert scores() == {101.0}
        until_rows(tmp_path / "kept.db", "exposures", 32)
        (found,) = Asked(f"{server.url}/experiments/shop").body["experiments"]
        assert found["report"]["rows"] == 16
        assert [note for note in found["report"]["notes"] if note.startswith("16 exposures from")]
        store.rollback("ranker")
        assert Asked(f"{server.url}/v2/repository/models/shop/load", {}).status == 200
        assert scores() == {1.0}
    assert experiment_of(mt.load(path).checked).epoch == before.epoch
