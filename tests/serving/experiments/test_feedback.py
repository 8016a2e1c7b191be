"""Answers of experiments carry ids, and feedback that names them is kept: once, late, doubled, forged, in floods."""

import asyncio
import json
import re
import time
import urllib.request

import numpy as np
import pytest

import motet as mt
from helpers.until import until
from motet.client import Client
from motet.errors import GraphError, ModelLoadError, OverloadedError
from motet.nodes.split import choose_arms
from motet.oip.messages import ModelInferRequest, ModelInferResponse
from motet.planning.experiments.experiment import experiments_of
from motet.serving import start
from motet.serving.admission.keys import KeyStore
from motet.serving.experiments import answer_ids
from motet.serving.experiments.answer_ids import AnswerId, BadIdError, IdSigner, Met
from motet.serving.experiments.feedback import UNDER_WAY, Feedback
from serving.experiments.experiment_arms import Asked, feedback, models, predict, shop, table, until_rows

KEY = "a key for tests alone"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("feedback")


@pytest.fixture(scope="module")
def database(folder):
    return folder / "kept.db"


@pytest.fixture(scope="module")
def url(database):
    config = {"to": f"sqlite:///{database}", "key": KEY}
    more = shop("other", {"name": "bought", "kind": "mean"})
    with start(shop(), more, port=0, experiments=config, limits={"rows": 200}) as server:
        yield server.url


@pytest.fixture(scope="module")
def signer():
    return IdSigner(KEY.encode())


def met(signer, row):
    return signer.read(row["feedback_id"]).met[0]


def outcome_of(database, id, signer):
    answer = signer.read(id)
    return table(database, "SELECT value FROM outcomes WHERE exposure = ?", f"{answer.key}:{answer.row}:ab")


def test_ids_say_the_arm_that_the_split_has_chosen(url, signer):
    users = [f"u{number}" for number in range(40)]
    rows = predict(url, users, 1.0)
    chosen = [("plain", "bold")[arm] for arm in choose_arms(np.array(users, object), {"plain": 1, "bold": 1}, "")]
    assert [met(signer, row).arm for row in rows] == chosen
    assert [row["score"] for row in rows] == [1.0 if arm == "plain" else 101.0 for arm in chosen]
    assert len({row["feedback_id"] for row in rows}) == 40


def test_one_unit_is_one_whatever_row_it_stands_in(url, signer):
    rows = predict(url, ["ann", "ben", "ann"])
    assert met(signer, rows[0]).unit == met(signer, rows[2]).unit != met(signer, rows[1]).unit


def test_one_row_has_its_id_in_a_header_too(url):
    found = Asked(f"{url}/predict/shop", {"user": "ann", "x": 2})
    assert found.headers["x-feedback-id"] == found.body["feedback_id"]


def test_exposures_are_kept_with_what_the_arm_took(url, database, signer):
    row = predict(url, ["kept"])[0]
    answer = signer.read(row["feedback_id"])
    name = f"{answer.key}:0:ab"
    found = until(lambda: table(database, "SELECT * FROM exposures WHERE id = ?", name))
    _, time, graph, node, arm, unit, seconds, failed, segments, _ = found[0]
    assert (graph, node, arm, unit, failed, segments) == ("shop", *answer.met[0], 0, None)
    assert abs(time - answer.time_ms / 1000) < 0.01
    assert 0 < seconds < 5


def test_rows_that_failed_count_for_the_arm_that_they_would_have_met(url, database):
    before = len(table(database, "SELECT * FROM exposures WHERE failed"))
    rows = predict(url, ["ann", "ben"], -1)
    assert all("error" in row and "feedback_id" not in row for row in rows)
    until(lambda: len(table(database, "SELECT * FROM exposures WHERE failed")) == before + 2)


@pytest.mark.parametrize(("given", "kept"), [(True, 1.0), (False, 0.0), (0.5, 0.5), ({"clicked": True}, 1.0)])
def test_outcomes_are_kept(url, database, signer, given, kept):
    row = predict(url, ["ann"])[0]
    assert feedback(url, {"id": row["feedback_id"], "outcome": given}).body == {"accepted": 1, "refused": []}
    until(lambda: outcome_of(database, row["feedback_id"], signer) == [(kept,)])


def test_doubled_feedback_is_the_same_and_the_last_one_counts(url, database, signer):
    id = predict(url, ["ann"])[0]["feedback_id"]
    for given in (True, True, False, True):
        assert feedback(url, {"id": id, "outcome": given}).status == 200
    assert feedback(url, [{"id": id, "outcome": True}, {"id": id, "outcome": False}]).body["accepted"] == 2
    until(lambda: outcome_of(database, id, signer) == [(0.0,)])


def test_an_id_of_another_version_is_refused(signer, monkeypatch):
    monkeypatch.setattr(answer_ids, "_VERSION", 2)
    id = signer.sign(AnswerId("shop", "k", 0, 1, (Met("ab", "plain", "00"),)))
    with pytest.raises(BadIdError, match="an id of another version of Motet"):
        signer.read(id)


def test_each_row_is_refused_alone_and_says_why(url, signer):
    good = predict(url, ["ann"])[0]["feedback_id"]
    other = predict(url, ["ann"], graph="other")[0]["feedback_id"]
    answer = signer.read(good)
    late = signer.sign(answer._replace(time_ms=answer.time_ms - 8 * 86_400_000))
    early = signer.sign(answer._replace(time_ms=answer.time_ms + 3_600_000))
    gone = signer.sign(answer._replace(met=(Met("gone", "plain", "0" * 16),)))
    forged = IdSigner(b"another key of somebody").sign(answer)
    rows = [
        {"id": good, "outcome": True},
        {"id": forged, "outcome": True},
        {"id": other, "outcome": True},
        {"id": late, "outcome": True},
        {"id": early, "outcome": True},
        {"id": gone, "outcome": True},
        {"id": good, "outcome": {"bought": 1}},
        {"id": good, "outcome": 2},
        {"id": good, "outcome": "yes"},
        {"id": good, "outcome": None},
        {"id": good},
        {"id": good, "outcome": True, "more": 1},
        "text",
        {"id": "é", "outcome": True},
        {"id": "", "outcome": True},
        {"id": good, "outcome": {}},
    ]
    found = feedback(url, rows).body
    assert found["accepted"] == 1
    assert [each["row"] for each in found["refused"]] == list(range(1, 16))
    assert [each["reason"] for each in found["refused"]] == [
        "forged", "other_graph", "late", "late", "no_experiment", "unknown_metric", "bad_value", "bad_value", "bad_value",
        "malformed", "malformed", "malformed", "forged", "forged", "malformed",
    ]  # fmt: skip
    assert found["refused"][0]["error"] == "this server has not given that id"
    assert found["refused"][1]["error"] == "the id is of an answer of graph 'other'"
    assert found["refused"][5]["error"] == "'bought' is no metric of it; known: clicked"
    assert found["refused"][6]["error"] == "clicked must be true or false, or a number from 0 to 1"
    assert found["refused"][9]["error"] == 'expected {"id": ID, "outcome": VALUE}'


def test_every_letter_of_an_id_counts(url, signer):
    id = predict(url, ["ann"])[0]["feedback_id"]
    rows = [
        {"id": id[:at] + ("A" if id[at] != "A" else "B") + id[at + 1 :], "outcome": True} for at in range(len(id) - 1)
    ]
    refused = feedback(url, rows).body["refused"]
    assert {each["reason"] for each in refused} == {"forged"}
    assert len(refused) == len(rows)


def test_numbers_are_outcomes_of_a_mean(url, database):
    id = predict(url, ["ann"], graph="other")[0]["feedback_id"]
    assert feedback(url, {"id": id, "outcome": 12.5}, "other").status == 200
    until(lambda: table(database, "SELECT value FROM outcomes WHERE metric = 'bought'") == [(12.5,)])


def test_one_row_that_is_refused_is_an_error(url):
    found = feedback(url, {"id": "nobody", "outcome": True})
    assert found.status == 422
    assert found.body == {"error": "forged: this server has not given that id"}


def test_what_is_no_feedback_is_refused(url):
    assert feedback(url, [{"id": "x", "outcome": 1}] * 201).status == 413
    assert feedback(url, 7).status == 400
    assert Asked(f"{url}/feedback/shop", b"{").status == 400
    assert feedback(url, [], "none").status == 404
    assert feedback(url, []).body == {"accepted": 0, "refused": []}


def test_a_server_that_keeps_no_experiments_says_how_to():
    with start(shop(), port=0) as server:
        assert "feedback_id" not in predict(server.url, ["ann"])[0]
        found = feedback(server.url, [])
    assert found.status == 404
    assert "experiments: {to: sqlite:///predictions.db}" in found.body["error"]


def test_refused_rows_and_exposures_are_counted(url):
    predict(url, ["counted"])
    feedback(url, [{"id": "nobody", "outcome": True}])

    def read():
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            text = answer.read().decode()
        wanted = (
            r'motet_feedback_refused_total\{(graph="shop",?|reason="forged",?){2}\} [1-9]',
            r"motet_experiment_exposures_total\{.*\} [1-9]",
            r'motet_experiment_share\{.*arm="plain".*\} 0\.5',
            r'motet_sink_written_total\{sink="experiment-outcomes"\} [1-9]',
        )
        return all(re.search(each, text) for each in wanted)

    until(read)


def test_too_much_feedback_at_once_is_told_so(signer):
    async def flood():
        held = asyncio.Event()

        async def keep(rows):
            await held.wait()
            return True

        desk = Feedback(signer, 60.0, keep)
        known = experiments_of(shop().checked)
        id = signer.sign(AnswerId("shop", "k", 0, int(time.time() * 1000), (Met("ab", "plain", "0" * 16),)))
        rows = [{"id": id, "outcome": True}]
        waiting = [asyncio.ensure_future(desk.take("shop", rows, known, 10)) for _ in range(UNDER_WAY)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="too much feedback is under way"):
            await desk.take("shop", rows, known, 10)
        held.set()
        return [each.accepted for each in await asyncio.gather(*waiting)]

    assert asyncio.run(flood()) == [1] * UNDER_WAY


def test_feedback_that_cannot_be_kept_is_not_acknowledged(signer):
    async def full():
        async def keep(rows):
            return False

        id = signer.sign(AnswerId("shop", "k", 0, int(time.time() * 1000), (Met("ab", "plain", "0" * 16),)))
        desk = Feedback(signer, 60.0, keep)
        with pytest.raises(OverloadedError, match="feedback cannot be kept now"):
            await desk.take("shop", [{"id": id, "outcome": True}], experiments_of(shop().checked), 10)
        return desk.taken

    assert not asyncio.run(full())


def test_an_output_may_not_have_the_name_of_ids(tmp_path):
    user, x = mt.input("user", "string"), mt.input("x", "float32")
    arm = mt.route(models(), x, split={"plain": 1, "bold": 1}, by=user, metric="clicked", name="ab")
    graph = mt.Graph("named", outputs={"feedback_id": arm})
    config = {"to": f"sqlite:///{tmp_path}/kept.db", "key": KEY}
    with pytest.raises(ModelLoadError, match="'feedback_id' is what answers of experiments carry"):
        start(graph, port=0, experiments=config)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("jsonl:here", "experiments are kept in a database"),
        ({"to": "sqlite:///a.db", "window": "7"}, "'7' is no time"),
        ({"to": "sqlite:///a.db", "window": 0}, "must be more than 0; got 0"),
        ({"to": "sqlite:///a.db", "key": "short"}, "a key has at least 16 letters"),
        ({"to": "sqlite:///:memory:"}, "a database in memory keeps nothing"),
        ({}, "'to' is missing"),
    ],
)
def test_what_is_wrong_in_the_configuration_is_said(config, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GraphError) as raised:
        start(shop(), port=0, experiments=config).close()
    assert said in str(raised.value)


def test_a_key_is_made_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ids = []
    for _ in range(2):
        with start(shop(), port=0, experiments="sqlite:///kept.db") as server:
            ids.append(predict(server.url, ["ann"])[0]["feedback_id"])
            assert feedback(server.url, [{"id": id, "outcome": True} for id in ids]).body["refused"] == []
    assert (tmp_path / "spool" / "experiments.key").stat().st_mode & 0o777 == 0o600
    assert len(until_rows(tmp_path / "kept.db", "exposures", 2)) == 2
    assert len(until_rows(tmp_path / "kept.db", "outcomes", 2)) == 2


def test_an_answer_that_was_kept_is_an_exposure_of_its_arm(tmp_path, signer):
    config = {"to": f"sqlite:///{tmp_path}/kept.db", "key": KEY}
    with start(shop(), port=0, experiments=config, cache={"max_bytes": 1 << 20}) as server:
        rows = [predict(server.url, ["ann"])[0] for _ in range(2)]
        first, second = (signer.read(row.pop("feedback_id")) for row in rows)
        assert rows[0] == rows[1]
        assert first.met == second.met
        assert first.key != second.key
        found = until_rows(tmp_path / "kept.db", "exposures", 2)
    assert sorted(seconds is None for *_, seconds, _, _, _ in found) == [False, True]


def test_every_protocol_gives_the_id(tmp_path, signer):
    grpc = pytest.importorskip("grpc")
    config = {"to": f"sqlite:///{tmp_path}/kept.db", "key": KEY}
    names = ["ann", "", "ben"]
    users = {"name": "user", "datatype": "BYTES", "shape": [3], "data": names}
    given = {"name": "x", "datatype": "FP32", "shape": [3], "data": [1, 2, 3]}
    graph = mt.Graph("shop", outputs={"score": _with_missing()})
    with start(graph, port=0, grpc_port=0, experiments=config) as server:
        rest = Asked(f"{server.url}/v2/models/shop/infer", {"inputs": [users, given]}).body["parameters"]["feedback_id"]
        v1 = Asked(f"{server.url}/v1/models/shop:predict", {"instances": [{"user": "ann", "x": 1}]})
        message = ModelInferRequest(model_name="shop")
        for each in (users, given):
            tensor = message.inputs.add(name=each["name"], datatype=each["datatype"], shape=each["shape"])
            if each is users:
                tensor.contents.bytes_contents.extend(name.encode() for name in names)
            else:
                tensor.contents.fp32_contents.extend(given["data"])
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            ask = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer",
                request_serializer=ModelInferRequest.SerializeToString,
                response_deserializer=ModelInferResponse.FromString,
            )
            said = ask(message, timeout=30).parameters["feedback_id"].string_param
        for ids in (rest.split(","), said.split(",")):
            assert len(ids) == 3
            assert ids[1] == ""
            assert {signer.read(ids[at]).row for at in (0, 2)} == {0, 2}
            assert feedback(server.url, [{"id": ids[at], "outcome": True} for at in (0, 2)]).body["accepted"] == 2
        assert signer.read(v1.headers["x-feedback-id"]).met == signer.read(rest.split(",")[0]).met


def _with_missing():
    """Two arms, the first of which takes users without a name."""
    user, x = mt.input("user", "string"), mt.input("x", "float32")
    split = {"plain": 1, "bold": 1}
    return mt.route(models(), x, split=split, by=user, missing="plain", metric="clicked", name="ab")


def test_the_api_is_described(url):
    found = Asked(f"{url}/openapi.json").body["paths"]
    (name,) = found["/feedback/{name}"]["post"]["parameters"]
    assert name["schema"]["enum"] == ["shop", "other"]
    assert set(found["/experiments/{name}"]) == {"get", "post"}


def test_clients_tell_what_became_of_answers(url):
    with Client(url) as client:
        rows = client.predict("shop", [{"user": "ann", "x": 1}, {"user": "ben", "x": 1}])
        told = {row["feedback_id"]: True for row in rows} | {"nobody": False}
        assert client.feedback("shop", told) == {"nobody": "forged: this server has not given that id"}
        assert client.feedback("shop", {}) == {}


def test_keys_and_limits_hold_for_feedback_as_for_inference(tmp_path):
    keys = tmp_path / "keys.jsonl"
    key, _ = KeyStore(keys).add("ann")
    admission = {"anonymous": False, "keys": str(keys), "classes": {"known": {"rate": "3/hour"}}}
    config = {"to": f"sqlite:///{tmp_path}/kept.db", "key": KEY}
    with start(shop(), port=0, experiments=config, admission=admission) as server:
        asked = Asked(f"{server.url}/predict/shop", {"user": "ann", "x": 1}, key)
        rows = [{"id": asked.body["feedback_id"], "outcome": True}]
        statuses = [Asked(f"{server.url}/feedback/shop", rows, each).status for each in (None, key, key, key)]
        assert statuses == [401, 200, 200, 429]
        assert Asked(f"{server.url}/experiments/shop").status == 401


def test_rows_that_are_explained_or_streamed_have_ids_too(url, database, signer):
    explained = Asked(f"{url}/predict/shop?explain=1", {"user": "ann", "x": 1}).body
    assert "experiment:" not in str(explained)
    with urllib.request.urlopen(
        urllib.request.Request(
            f"{url}/predict/shop?stream=1", b'{"user": "ann", "x": 1}', {"content-type": "application/json"}
        )
    ) as answer:
        streamed = answer.read().decode()
    (said,) = re.findall(r'"feedback_id":"([^"]+)"', streamed)
    for id in (explained["feedback_id"], said):
        assert signer.read(id).met[0].arm == ("bold" if explained["score"] > 100 else "plain")
        assert feedback(url, {"id": id, "outcome": True}).status == 200
    key = signer.read(explained["feedback_id"]).key
    found = until(lambda: table(database, "SELECT seconds FROM exposures WHERE id = ?", f"{key}:0:ab"))
    assert found[0][0] > 0


def test_nothing_but_outputs_is_in_answers_sinks_and_metadata(tmp_path):
    config = {"to": f"sqlite:///{tmp_path}/kept.db", "key": KEY}
    with start(shop(), port=0, experiments=config, sinks=f"sqlite:///{tmp_path}/answers.db") as server:
        assert set(predict(server.url, ["ann"])[0]) == {"score", "feedback_id"}
        outputs = Asked(f"{server.url}/v2/models/shop").body["outputs"]
        assert [each["name"] for each in outputs] == ["score"]
        (row,) = until_rows(tmp_path / "answers.db", "predictions", 1)
    columns = [each[1] for each in table(tmp_path / "answers.db", "PRAGMA table_info(predictions)")]
    assert not [each for each in columns if "experiment" in each]
    assert len(row) == len(columns)


def test_streams_of_chats_carry_the_id_of_their_answer(tmp_path):
    text = mt.input("text", "string")
    arms = {name: mt.Model(f"python:models.streaming_models:{name}", name) for name in ("shouting", "titled")}
    arm = mt.route(arms, text, split={"shouting": 1, "titled": 1}, by=text, metric="liked", name="ab")
    config = {"to": f"sqlite:///{tmp_path}/kept.db", "key": KEY}
    body = json.dumps({"model": "talk", "messages": [{"role": "user", "content": "a b"}], "stream": True}).encode()
    with start(mt.Graph("talk", outputs={"text": arm}), port=0, experiments=config) as server:
        request = urllib.request.Request(f"{server.url}/v1/chat/completions", body)
        with urllib.request.urlopen(request, timeout=60) as answer:
            told = [line[6:] for line in answer.read().decode().splitlines() if line]
        *others, last = map(json.loads, told[:-1])
        assert last["choices"][0]["finish_reason"] == "stop"
        assert not any("feedback_id" in each for each in others)
        found = feedback(server.url, {"id": last["feedback_id"], "outcome": True}, graph="talk")
        assert found.body == {"accepted": 1, "refused": []}
