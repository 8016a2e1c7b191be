"""Promote, stop and ramp: every process and machine follows, a restart keeps it, and guardrails give back."""

import asyncio
import json
import sqlite3
import threading
import urllib.request
from contextlib import closing
from dataclasses import replace
from functools import partial

import pytest
from click.testing import CliRunner

import motet as mt
from helpers.until import until, until_async
from motet.cli import cli
from motet.errors import InputError, ModelLoadError, UnknownNameError
from motet.nodes.route import Route
from motet.planning.experiments.experiment import experiment_of
from motet.serving import start
from motet.serving.config.experiments import ExperimentsConfig
from motet.serving.config.sinks import SinkConfig
from motet.serving.experiments.answer_ids import IdSigner
from motet.serving.experiments.database import ExperimentDatabase
from motet.serving.experiments.decisions import (
    Decision,
    latest,
    next_step,
    promoted,
    ramped,
    rolled_back,
    stopped,
    with_periods,
)
from motet.serving.experiments.experiments import Experiments
from motet.serving.experiments.guardian import followed_up
from motet.serving.experiments.tables import EXPOSURE_KINDS, EXPOSURES, Exposure, item_of
from motet.serving.sinks.targets.sql import SqlTarget
from serving.experiments.experiment_arms import Asked, feedback, predict, shop, table, until_rows

KEY = "a key for tests alone"
SIGNER = IdSigner(KEY.encode())
USERS = [f"u{number}" for number in range(60)]


@pytest.fixture(scope="module")
def experiment():
    return experiment_of(shop(metric={"name": "clicked", "guardrails": {"errors": 0.05}}).checked)


def config(folder, **more):
    return {"to": f"sqlite:///{folder}/kept.db", "key": KEY, "poll_s": 0.05, "check_s": 3600, **more}


def arms(url, x=1.0):
    return [SIGNER.read(row["feedback_id"]).met[0].arm for row in predict(url, USERS, x)]


def decide(url, **body):
    return Asked(f"{url}/experiments/shop", body)


def until_arms(url, wanted):
    until(lambda: set(arms(url)) == wanted)


def test_decisions_are_made_of_what_is_there(experiment):
    assert promoted(experiment, "bold", "ann").weights == {"plain": 0.0, "bold": 1.0}
    assert stopped(experiment, "ann").weights == {"plain": 1.0, "bold": 0.0}
    ramp = ramped(experiment, "bold", "ann", [1, 5, 25])
    assert ramp.weights == {"plain": 99.0, "bold": 1.0}
    second = next_step(experiment, ramp)
    assert (second.weights, second.step, second.goes_on) == ({"plain": 95.0, "bold": 5.0}, 1, True)
    assert next_step(experiment, second).goes_on is False
    assert next_step(experiment, second).id == next_step(experiment, second).id
    back = rolled_back(experiment, second, "it fails")
    assert (back.weights, back.action, back.why) == ({"plain": 1.0, "bold": 0.0}, "rollback", "it fails")
    assert latest([back, ramp, second])["shop", "ab"] == back
    periods = with_periods(experiment, [second, back, ramp]).periods
    assert [each.share("bold") for each in periods] == [0.5, 0.01, 0.05, 0.0]
    with pytest.raises(UnknownNameError, match="arm 'bald'"):
        promoted(experiment, "bald", "ann")
    with pytest.raises(InputError, match="'plain' is the control"):
        ramped(experiment, "plain", "ann")
    for steps in ([], [5, 1], [0], [1, 101], [5, 5]):
        with pytest.raises(InputError, match="steps are percent that grow, at most 100"):
            ramped(experiment, "bold", "ann", steps)


def test_a_decision_that_is_there_is_not_taken_twice(tmp_path, experiment):
    database = ExperimentDatabase(f"sqlite:///{tmp_path}/kept.db", tmp_path)
    made = ramped(experiment, "bold", "ann")
    assert database.decide(made)
    assert not database.decide(made)
    assert database.decisions() == [made]
    assert database.decisions("other") == []
    assert database.mark() == (1, made.time)
    database.close()


def test_what_is_decided_is_played_by_all_and_after_a_restart(tmp_path):
    """Two servers that share a database stand for two machines."""
    with (
        start(shop(), port=0, admin="open", experiments=config(tmp_path), cache={"max_bytes": 1 << 20}) as first,
        start(shop(), port=0, admin="open", experiments=config(tmp_path)) as second,
    ):
        before = arms(first.url)
        assert set(before) == {"plain", "bold"}
        told = decide(first.url, action="promote", arm="bold").body
        assert told["shares"] == {"plain": 0.0, "bold": 1.0}
        assert set(arms(first.url)) == {"bold"}  # at once, whatever was cached
        assert {row["score"] for row in predict(first.url, USERS)} == {101.0}
        until_arms(second.url, {"bold"})
        assert decide(second.url, action="stop").body["shares"] == {"plain": 1.0, "bold": 0.0}
        until_arms(first.url, {"plain"})
        decide(first.url, action="ramp", arm="bold", steps=[30, 100], every_s=0, units=1)
        ramped_now = arms(first.url)
        assert {was for was, now in zip(before, ramped_now, strict=True) if now == "bold"} <= {"bold"}
        id = predict(first.url, ["ann"])[0]["feedback_id"]
    with start(shop(), port=0, admin="open", experiments=config(tmp_path)) as again:
        assert arms(again.url) == ramped_now
        assert feedback(again.url, {"id": id, "outcome": True}).status == 200
        assert Asked(f"{again.url}/experiments/shop").body["experiments"][0]["decision"]["action"] == "ramp"


def test_without_the_database_what_is_known_holds(tmp_path):
    path = tmp_path / "kept.db"
    with start(shop(), port=0, admin="open", experiments=config(tmp_path, timeout_s=0.5)) as server:
        until(lambda: decide(server.url, action="promote", arm="bold").status == 200)
        feedback(server.url, [{"id": predict(server.url, ["first"])[0]["feedback_id"], "outcome": True}])
        until_rows(path, "outcomes", 1)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # nobody else can write
            rows = predict(server.url, USERS)
            assert {row["score"] for row in rows} == {101.0}
            assert feedback(server.url, [{"id": rows[0]["feedback_id"], "outcome": True}]).body["accepted"] == 1
            refused = decide(server.url, action="stop")
            assert refused.status == 503
            assert "the database of experiments cannot be reached" in refused.body["error"]
            assert "locked" not in refused.body["error"]  # which of a database on another machine would name that
            assert table(path, "SELECT count(*) FROM outcomes") == [(1,)]
            other.execute("ROLLBACK")
        until(lambda: decide(server.url, action="stop").status == 200)
        assert set(arms(server.url)) == {"plain"}
        until_rows(path, "outcomes", 2)


def test_who_asks_for_a_report_is_not_told_why_the_database_cannot_be_read(tmp_path, caplog):
    path = tmp_path / "kept.db"
    with start(shop(), port=0, experiments=config(tmp_path)) as server:
        until(lambda: table(path, "SELECT name FROM sqlite_master WHERE name = 'exposures'"))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("ALTER TABLE exposures RENAME COLUMN unit TO somebody")
            refused = Asked(f"{server.url}/experiments/shop")
            said = "the database of experiments cannot be reached; hint: the log of the server says why"
            assert (refused.status, refused.body["error"]) == (503, said)
            assert "no such column: e.unit" in caplog.text
            other.execute("ALTER TABLE exposures RENAME COLUMN somebody TO unit")
        assert Asked(f"{server.url}/experiments/shop").status == 503  # which was found a moment ago
        assert Asked(f"{server.url}/experiments/shop?since=1h").status == 200


def test_exposures_are_found_by_their_time(tmp_path):
    with start(shop(), port=0, experiments=config(tmp_path)):
        names = table(tmp_path / "kept.db", "SELECT name FROM sqlite_master WHERE type = 'index'")
    assert {("exposures_by_time",), ("outcomes_by_time",)} <= set(names)


def test_only_administrators_decide(tmp_path):
    with start(shop(), port=0, experiments=config(tmp_path)) as server:
        assert decide(server.url, action="stop").status == 403
        assert "ab" in Asked(f"{server.url}/experiments/shop").body["experiments"][0]["text"]
        result = CliRunner().invoke(
            cli, ["experiment", "promote", "shop", "bold", "--server", server.url, "--key", "k"]
        )
        assert result.exit_code == 2
        assert "the server answered 403" in result.output


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"action": "begin"}, 400, "'action' must be promote, stop or ramp; got 'begin'"),
        ({"action": "promote", "arm": "bald"}, 400, "unknown arm 'bald'"),
        ({"action": "promote", "node": "ba"}, 400, "unknown experiment 'ba'"),
        ({"action": "ramp", "arm": "bold", "steps": "1,2"}, 400, "'steps' must be a list of percent; got '1,2'"),
        ({"action": "ramp", "arm": "bold", "every_s": "1h"}, 400, "'every_s' is seconds"),
        ({"action": "ramp", "arm": "bold", "units": 2**63}, 400, "needs 0 to 1,000,000,000,000 units"),
        ({"action": "promote", "arm": 5}, 400, "'arm' must be the name of an arm; got 5"),
        ({"acton": "stop"}, 400, "unknown key 'acton'"),
    ],
)
def test_what_cannot_be_decided_is_said(deciding, body, status, said):
    found = decide(deciding.url, **body)
    assert found.status == status
    assert said in found.body["error"]


@pytest.fixture(scope="module")
def deciding(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deciding")
    with start(shop(), port=0, admin="open", experiments=config(folder)) as server:
        yield server


def test_commands_decide_and_write_the_split(deciding, tmp_path):
    path = tmp_path / "shop.yaml"
    shop().save(path)
    text = path.read_text()
    path.write_text(f"# mine\n{text}")

    def invoke(*words):
        return CliRunner().invoke(cli, ["experiment", *words, "--server", deciding.url])

    done = invoke("promote", "shop", "bold", "--write", str(path))
    assert done.output == f"shop.ab: plain 0, bold 1\n{path} is written\n"
    assert done.exit_code == 0
    assert path.read_text().startswith("# mine\n")
    assert "# Split by motet experiment promote on 20" in path.read_text()
    node = mt.load(path).nodes["ab"]
    assert isinstance(node, Route)
    assert node.split == {"plain": 0.0, "bold": 1.0}
    done = invoke("ramp", "shop", "bold", "1,5", "--every", "10m", "--units", "7")
    assert (
        done.output == "shop.ab: plain 0.99, bold 0.01\nbold gets 1 %, 5 %; a step lasts 600 s and 7 units at least\n"
    )
    done = invoke("stop", "shop", "--json")
    assert json.loads(done.output)["shares"] == {"plain": 1.0, "bold": 0.0}
    assert invoke("promote", "shop", "bald").exit_code == 2
    assert invoke("ramp", "shop", "bold", "one").exit_code == 2
    assert invoke("stop", "shop", "--node", "x").exit_code == 2
    done = CliRunner().invoke(cli, ["experiment", "stop", "shop", "--server", "http://127.0.0.1:1"])
    assert done.exit_code == 1


def test_reports_are_of_a_server_or_of_its_database(tmp_path):
    path = tmp_path / "shop.yaml"
    shop().save(path)
    to = f"sqlite:///{tmp_path}/kept.db"
    invoke = partial(CliRunner().invoke, cli)
    with start(shop(), port=0, admin="open", experiments=config(tmp_path)) as server:
        rows = predict(server.url, USERS)
        feedback(server.url, [{"id": row["feedback_id"], "outcome": row["score"] > 100} for row in rows])
        until(lambda: len(table(f"{tmp_path}/kept.db", "SELECT * FROM exposures")) == len(USERS))
        until(lambda: len(table(f"{tmp_path}/kept.db", "SELECT * FROM outcomes")) == len(USERS))
        live = invoke(["experiment", "report", "shop", "--server", server.url])
        as_json = invoke(["experiment", "report", "shop", "--server", server.url, "--json", "--node", "ab"])
        decide(server.url, action="stop")
        again = invoke(["experiment", "report", "shop", "--server", server.url])
        refused = [
            invoke(["experiment", "report", "shop", "--server", server.url, *more])
            for more in (["--label", "clicked"], ["--html", "x.html"], ["--node", "ba"], ["--since", "yesterday"])
        ]
    kept = invoke(
        ["experiment", "report", str(path), "--from", to, "--since", "1h", "--html", str(tmp_path / "x.html")]
    )
    assert live.exit_code == kept.exit_code == 0, (live.output, kept.output)
    clicked = sum(row["score"] > 100 for row in rows)
    (report,) = json.loads(as_json.output)
    assert [(arm["name"], arm["units"], arm["outcomes"]) for arm in report["arms"]] == [
        ("plain", 60 - clicked, 60 - clicked), ("bold", clicked, clicked),
    ]  # fmt: skip
    assert report["arms"][1]["metric"]["value"] == 1.0
    assert "clicked of 60 units (user) in 60 exposures" in live.output
    assert "clicked of 60 units (user) in 60 exposures" in kept.output
    assert "Last decision: stop at 20" in again.output
    assert (tmp_path / "x.html").read_text().startswith("<!")
    assert [each.exit_code for each in refused] == [2, 2, 2, 2]
    assert "--label is for --input; a server knows it" in refused[0].output
    assert "--html needs --input or --from" in refused[1].output
    for more, message in (
        (["--delimiter", ";"], "--delimiter says how --input is read, and there is none"),
        (["--server", "http://127.0.0.1:1"], "--server is not asked where --input or --from is given"),
    ):
        ignored = invoke(["experiment", "report", str(path), "--from", to, *more])
        assert (ignored.exit_code, message in ignored.output) == (2, True), ignored.output
    none = invoke(["experiment", "report", str(path), "--from", f"sqlite:///{tmp_path}/none.db"])
    assert none.exit_code == 2
    assert "there is no database" in none.output


class Seen:
    """A database with exposures as a server would have written them."""

    def __init__(self, folder, experiment):
        self.experiment, self.to = experiment, f"sqlite:///{folder}/kept.db"
        self.database = ExperimentDatabase(self.to, folder)
        self._target = SqlTarget(SinkConfig(self.to, "seen", table=EXPOSURES), folder)
        self._target.prepare(EXPOSURES, EXPOSURE_KINDS)
        self._number = 0

    def add(self, arm, count, failed=0, time=1e9):
        rows = []
        for each in range(count):
            self._number += 1
            unit = f"{self._number:016x}"
            rows.append(Exposure(f"k:{self._number}:ab", time, "shop", "ab", arm, unit, 0.01, each < failed, None))
        self._target.write([item_of(rows).records], "batch")

    def next(self, *decisions, now):
        current = with_periods(self.experiment, decisions)
        return followed_up(self.database, current, list(decisions), now)

    def close(self):
        self.database.close()
        self._target.close()


@pytest.fixture
def seen(tmp_path, experiment):
    made = Seen(tmp_path, experiment)
    yield made
    made.close()


def test_a_ramp_goes_on_by_time_and_by_units(seen):
    ramp = replace(ramped(seen.experiment, "bold", "ann", [10, 50], every_s=60, units=20), time=1e9)
    assert seen.next(ramp, now=1e9 + 100) is None  # no units
    seen.add("bold", 19, time=1e9 + 1)
    assert seen.next(ramp, now=1e9 + 100) is None
    seen.add("bold", 1, time=1e9 + 2)
    assert seen.next(ramp, now=1e9 + 59) is None  # too soon
    step = seen.next(ramp, now=1e9 + 61)
    assert (step.action, step.weights, step.why) == ("step", {"plain": 50.0, "bold": 50.0}, "guardrails held at 10 %")
    assert seen.next(ramp, replace(step, time=1e9 + 61), now=1e9 + 1000) is None  # it is at its end


def test_a_guardrail_that_breaks_gives_back(seen):
    ramp = replace(ramped(seen.experiment, "bold", "ann", [10, 50], every_s=0, units=1), time=1e9)
    seen.add("plain", 500, failed=5, time=1e9 + 1)
    seen.add("bold", 300, failed=150, time=1e9 + 1)
    back = seen.next(ramp, now=1e9 + 10)
    assert (back.action, back.arm, back.weights) == ("rollback", "plain", {"plain": 1.0, "bold": 0.0})
    assert back.why == "bold: its share of rows that fail is 0.490 above the control's; at most 0.05 is allowed"
    assert back.who == "guardrail"
    assert seen.next(ramp, replace(back, time=1e9 + 10), now=1e9 + 20) is None


def test_an_experiment_without_decisions_is_guarded_too(seen):
    seen.add("plain", 400, time=1e9)
    seen.add("bold", 400, failed=200, time=1e9)
    assert seen.next(now=1e9 + 10).action == "rollback"


def test_a_ramp_of_arms_that_are_there_no_more_does_not_go_on_and_guardrails_hold(seen):
    ramp = ramped(seen.experiment, "bold", "ann", [10, 50], every_s=0, units=0)
    ramp = replace(ramp, time=1e9, arm="old", weights={"plain": 90.0, "old": 10.0})
    seen.add("plain", 400, time=1e9 + 1)
    seen.add("bold", 40, time=1e9 + 1)
    assert seen.next(ramp, now=1e9 + 10) is None
    seen.add("bold", 360, failed=200, time=1e9 + 1)
    assert seen.next(ramp, now=1e9 + 10).action == "rollback"


def test_what_is_decided_is_tried_again_where_it_cannot_be_played(tmp_path):
    graph, failing = shop(), [True]

    async def play_anew(name):
        experiments.played(name, graph.checked)
        if failing:
            raise ModelLoadError("the machine is full")
        experiments.hook(name, None)

    def share():
        return next(
            value
            for _, name, labels, value in experiments.numbers()
            if name.endswith("share") and labels["arm"] == "bold"
        )

    async def play():
        experiments.played("shop", graph.checked)
        experiments.hook("shop", None)
        await experiments.guard()  # where nothing was kept yet
        assert (tmp_path / "spool" / "experiments.lock").exists()
        await experiments.decide(promoted(experiments.experiments("shop")[0], "bold", "ann"))
        assert share() == 0.5  # what is played, and not what was decided
        await experiments.follow()
        assert share() == 0.5
        failing.clear()
        await experiments.follow()
        assert share() == 1.0
        await experiments.close(1)

    experiments = Experiments(ExperimentsConfig.read(config(tmp_path), "experiments"), tmp_path, play_anew)
    asyncio.run(play())


def test_the_database_is_asked_to_the_end_before_it_is_closed(tmp_path, monkeypatch):
    graph, asked, gate, order = shop(), threading.Event(), threading.Event(), []

    async def play_anew(name):
        pass

    def mark():
        asked.set()
        gate.wait(60)
        order.append("asked")

    async def play():
        experiments.played("shop", graph.checked)
        experiments.hook("shop", None)
        close = experiments.database.close
        monkeypatch.setattr(experiments.database, "mark", mark)
        monkeypatch.setattr(experiments.database, "close", lambda: order.append("closed") or close())
        experiments.start()
        await until_async(asked.is_set)
        closing = asyncio.ensure_future(experiments.close(60))
        await asyncio.sleep(0)
        gate.set()
        await closing

    experiments = Experiments(ExperimentsConfig.read(config(tmp_path), "experiments"), tmp_path, play_anew)
    asyncio.run(play())
    assert order == ["asked", "closed"]


def test_the_last_exposures_are_looked_at(seen):
    seen.add("plain", 30, time=1e9)
    seen.add("bold", 20, time=1e9 + 1)
    rows = [row for rows in seen.database.seen("shop", "ab", "clicked", 0.0, 25) for row in rows]
    assert [row[1] for row in rows].count("bold") == 20
    assert len(rows) == 25


def test_what_no_bound_is_broken_of_goes_on(seen):
    seen.add("plain", 400, failed=4)
    seen.add("bold", 400, failed=4)
    assert seen.next(now=1e9 + 10) is None


def test_a_server_takes_steps_and_gives_back_by_itself(tmp_path):
    graph = shop(metric={"name": "clicked", "guardrails": {"errors": 0.05}})
    folder = tmp_path
    with start(graph, port=0, admin="open", experiments=config(folder, check_s=0.05)) as server:
        decide(server.url, action="ramp", arm="bold", steps=[40, 60], every_s=0, units=5)
        until(lambda: "bold" in arms(server.url) and _actions(folder)[-1] == "step")
        for _ in range(30):
            users = [f"v{number}" for number in range(_ * 40, _ * 40 + 40)]
            _failing_bold(server.url, users)
            if _actions(folder)[-1] == "rollback":
                break
        until(lambda: _actions(folder)[-1] == "rollback")
        until_arms(server.url, {"plain"})
        until(lambda: 'motet_incidents_total{incident="experiment_rolled_back"} 1' in _metrics(server.url))


def _failing_bold(url, users):
    """Rows whose challenger fails: it does at -2."""
    predict(url, users, -2.0)


def _actions(folder):
    return [each for (each,) in table(f"{folder}/kept.db", "SELECT action FROM experiment_decisions ORDER BY time")]


def _metrics(url):
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        return answer.read().decode()


def test_a_decision_reads_as_it_was_written(experiment):
    made = ramped(experiment, "bold", "ann")
    assert isinstance(made, Decision)
    assert made.steps == (1.0, 5.0, 25.0, 50.0, 100.0)
