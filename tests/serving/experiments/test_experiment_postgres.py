"""Experiments in a real PostgreSQL, which two servers share as two machines would."""

import tempfile
import warnings
from contextlib import closing
from pathlib import Path

import pytest

from helpers.until import until
from motet.planning.experiments.experiment import experiment_of
from motet.serving import start
from motet.serving.experiments.answer_ids import IdSigner
from motet.serving.experiments.database import ExperimentDatabase
from motet.serving.experiments.decisions import with_periods
from motet.serving.experiments.guardian import report_now
from serving.experiments.experiment_arms import Asked, feedback, predict, shop

psycopg = pytest.importorskip("psycopg")
pgserver = pytest.importorskip("pgserver")
KEY = "a key for tests alone"
USERS = [f"u{number}" for number in range(50)]


@pytest.fixture(scope="module")
def postgres():
    """The address of a server of its own, ended with the module."""
    control = pgserver.postgres_server.pg_ctl

    def patient(*arguments, **named):
        return control(*arguments, **{**named, "timeout": 120})

    with (
        tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder,
        warnings.catch_warnings(action="ignore"),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(pgserver.postgres_server, "pg_ctl", patient)
        found = pgserver.get_server(f"{folder}/data")
        yield found.get_uri()
        found.cleanup()


def rows_of(postgres, statement):
    with psycopg.connect(postgres) as connection:
        return connection.execute(statement).fetchall()


def test_two_servers_share_an_experiment(postgres):
    metric = {"name": "clicked", "segments": ["user"]}
    config = {"to": postgres, "key": KEY, "poll_s": 0.1}
    with (
        start(shop(metric=metric), port=0, admin="open", experiments=config) as first,
        start(shop(metric=metric), port=0, admin="open", experiments=config) as second,
    ):
        rows = predict(first.url, USERS)
        told = [{"id": row["feedback_id"], "outcome": False} for row in rows]
        assert feedback(second.url, told).body == {"accepted": 50, "refused": []}
        changed = [{"id": row["feedback_id"], "outcome": row["score"] > 100} for row in rows]
        assert feedback(first.url, [*changed, *changed[:5]]).body["accepted"] == 55
        wanted = sum(each["outcome"] for each in changed)
        until(lambda: rows_of(postgres, "SELECT count(*), sum(value) FROM outcomes") == [(50, wanted)])
        until(lambda: rows_of(postgres, "SELECT count(*) FROM exposures") == [(50,)])
        assert Asked(f"{first.url}/experiments/shop", {"action": "promote", "arm": "bold"}).status == 200
        until(lambda: {row["score"] for row in predict(second.url, USERS)} == {101.0})
        live = Asked(f"{second.url}/experiments/shop?since=1h").body["experiments"][0]
    assert [arm["units"] for arm in live["report"]["arms"]] == [50 - wanted, wanted]
    with closing(ExperimentDatabase(postgres, Path())) as database:
        decisions = database.decisions("shop")
        assert [each.action for each in decisions] == ["promote"]
        found = report_now(database, with_periods(experiment_of(shop(metric=metric).checked), decisions))
    assert sum(arm.outcomes for arm in found.arms) == 50
    assert IdSigner(KEY.encode()).read(rows[0]["feedback_id"]).graph == "shop"
