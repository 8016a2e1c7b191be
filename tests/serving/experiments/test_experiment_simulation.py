"""Traffic with known click rates against `motet serve`: the better arm wins, though the server is killed in the middle."""

import json
import os
import signal
import sqlite3
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from helpers.live_server import Live
from helpers.processes import below
from helpers.until import until
from motet.planning.experiments.experiment import experiment_of
from motet.serving.experiments.answer_ids import IdSigner
from motet.serving.experiments.database import ExperimentDatabase
from motet.serving.experiments.guardian import report_now
from serving.experiments.experiment_arms import feedback, predict, shop, table

KEY = "a key for tests alone"
RATES = {"plain": 0.2, "bold": 0.4}
USERS, REQUEST = 2400, 60


class Traffic:
    """Users who ask once each, and click as often as their arm has them; what of it was acknowledged."""

    def __init__(self):
        self._random = np.random.default_rng(7)
        self.answered = dict.fromkeys(RATES, 0)
        self.clicked = dict.fromkeys(RATES, 0)
        self.refused = []

    def go(self, url, first, end):
        """Rows of these users, asked and told; some feedback doubled, late, forged, or of nobody."""
        for start in range(first, end, REQUEST):
            rows = predict(url, [f"user {number}" for number in range(start, start + REQUEST)])
            arms = ["bold" if row["score"] > 100 else "plain" for row in rows]
            clicks = [bool(self._random.random() < RATES[arm]) for arm in arms]
            told = [{"id": row["feedback_id"], "outcome": click} for row, click in zip(rows, clicks, strict=True)]
            answer = feedback(url, [*told, *told[:20], *self._bad(rows[0]["feedback_id"])]).body
            assert answer["accepted"] == REQUEST + 20
            self.refused += [each["reason"] for each in answer["refused"]]
            for arm, click in zip(arms, clicks, strict=True):
                self.answered[arm] += 1
                self.clicked[arm] += click

    @staticmethod
    def _bad(id):
        signer = IdSigner(KEY.encode())
        answer = signer.read(id)
        late = signer.sign(answer._replace(key="late", time_ms=answer.time_ms - 8 * 86_400_000))
        forged = IdSigner(b"somebody else's key").sign(answer._replace(key="forged"))
        return [{"id": each, "outcome": True} for each in (late, forged, "nobody")]


def killed(server):
    """End a server at once, with all its processes."""
    pids = [*below(server.process.pid), server.process.pid]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.process.wait(30)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A folder with the database of a server of two processes, killed and started again; and the traffic that it had."""
    folder = tmp_path_factory.mktemp("simulation")
    graph = folder / "shop.yaml"
    shop().save(graph)
    config = {"experiments": {"to": "sqlite:///kept.db", "key": KEY, "durable": True, "poll_s": 0.1}, "processes": 2}
    (folder / "serve.yaml").write_text(json.dumps(config))
    traffic, places = Traffic(), np.linspace(0, USERS, 3).astype(int)
    for first, end in pairwise(places):
        server = Live(folder, graph, "--config", folder / "serve.yaml")
        try:
            server.until_ready()
            traffic.go(server.url, first, end)
            if end < USERS:
                killed(server)
            else:
                until(lambda: count(folder, "outcomes") == USERS, otherwise=lambda: str(count(folder, "outcomes")))
                until(lambda: count(folder, "exposures") == USERS)
        finally:
            if server.process.poll() is None:
                server.close()
    return folder, traffic


def count(folder, name):
    with suppress(sqlite3.OperationalError):
        return table(folder / "kept.db", f"SELECT count(*) FROM {name}")[0][0]


def report(folder):
    database = ExperimentDatabase(f"sqlite:///{folder}/kept.db", Path())
    with closing(database):
        return report_now(database, experiment_of(shop().checked))


def test_nothing_that_was_acknowledged_is_lost_or_counted_twice(played):
    folder, traffic = played
    found = {arm.name: arm for arm in report(folder).arms}
    assert {name: arm.units for name, arm in found.items()} == traffic.answered
    assert {name: arm.outcomes for name, arm in found.items()} == traffic.answered
    rates = {name: traffic.clicked[name] / traffic.answered[name] for name in RATES}
    assert {name: arm.metric.value for name, arm in found.items()} == pytest.approx(rates)


def test_the_better_arm_wins(played):
    folder, _ = played
    found = report(folder)
    assert (found.decision, found.arm) == ("promote", "bold"), found.sentence
    assert not found.ratio.broken


def test_bad_feedback_is_refused_and_changes_nothing(played):
    _, traffic = played
    requests = USERS // REQUEST
    assert sorted(traffic.refused) == sorted(["late", "forged", "forged"] * requests)


def test_a_broken_split_is_caught(played):
    folder, _ = played
    with (
        closing(sqlite3.connect(folder / "kept.db")) as source,
        closing(sqlite3.connect(folder / "broken.db")) as broken,
    ):
        source.backup(broken)
        broken.execute("DELETE FROM outcomes WHERE arm = 'bold' AND unit < '4'")
        broken.execute("DELETE FROM exposures WHERE arm = 'bold' AND unit < '4'")
        broken.commit()
    database = ExperimentDatabase(f"sqlite:///{folder}/broken.db", Path())
    with closing(database):
        found = report_now(database, experiment_of(shop().checked))
    assert found.ratio.broken
    assert found.decision == "undecided"
    assert "units do not meet the arms as the split says" in found.sentence
