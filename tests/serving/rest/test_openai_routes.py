"""Graphs asked as language models, by OpenAI's own client."""

import base64
import json

import jsonschema
import numpy as np
import openai
import openapi_spec_validator
import pytest

import motet as mt
from helpers.openai_server import OpenAIServer, Say, error
from motet.errors import OverloadedError, TooManyRequestsError, UnauthorizedError
from motet.serving.batching.request import Identity
from motet.serving.config.server import ServeConfig
from motet.serving.middleware.middleware import Middleware


@mt.returns("string")
def shouted(texts):
    if "13" in texts:
        raise ValueError("13 is unlucky")
    return np.array([text.upper() for text in texts], object)


@mt.returns({"text": "string", "prompt_tokens": "int64", "completion_tokens": "int64"})
def talked(history, mood):
    told = [json.loads(each) for each in history]
    texts = [f"{each[-1]['content']} ({len(each)}, {how})" for each, how in zip(told, mood, strict=True)]
    return {
        "text": np.array(texts, object),
        "prompt_tokens": np.full(len(texts), 7),
        "completion_tokens": np.full(len(texts), 2),
    }


@mt.returns("float32[3]")
def measured(texts):
    return np.array([[len(text), text.count("a"), 0.1] for text in texts], np.float32)


class Door(Middleware):
    """Knows one key, and what others are told; notes how requests end."""

    def __init__(self, repository):
        super().__init__(repository, ServeConfig(admin="open"))
        self.ended = []

    def enter(self, call, deadline=None):
        key = call.headers.get("authorization", "").removeprefix("Bearer ")
        if key == "many":
            raise TooManyRequestsError("more than 1/hour", retry_after_s=12.2)
        if key == "full":
            raise OverloadedError("too much at once", retry_after_s=1)
        if key != "good":
            raise UnauthorizedError("a credential is missing")
        context = super().enter(call, deadline)
        context.identity = Identity("ann", "key")
        return context

    def finished(self, context):
        call, rows = context.call, None if context.request is None else context.request.rows
        self.ended.append((call.path, call.target, rows, context.status))


@pytest.fixture(scope="module")
def served(live):
    text, messages = mt.input("text", "string"), mt.input("messages", "string")
    mood = mt.input("mood", "string", default="calm")
    talk = mt.map(talked, messages, mood)
    names = ("text", "prompt_tokens", "completion_tokens")
    return live.serve(
        mt.Graph("shout", outputs={"loud": mt.map(shouted, text)}),
        mt.Graph("talk", outputs={name: getattr(talk, name) for name in names}),
        mt.Graph("measure", outputs={"vector": mt.map(measured, text)}),
        mt.Graph("double", outputs={"y": mt.map(lambda x: x * 2, mt.input("x", "float64"))}),
        middleware=Door,
    )


@pytest.fixture(scope="module")
def client(served):
    with openai.OpenAI(base_url=f"{served.address}/v1", api_key="good", max_retries=0) as made:
        yield made


def user(text):
    return {"role": "user", "content": text}


def test_a_chat_is_about_the_last_message_of_the_user(client):
    messages = [user("first"), {"role": "assistant", "content": "yes?"}, user("second")]
    said = client.chat.completions.create(model="shout", messages=messages, temperature=0, max_tokens=5)
    choice = said.choices[0]
    assert (said.object, said.model, said.usage) == ("chat.completion", "shout", None)
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "SECOND", "stop")
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    again = client.chat.completions.create(model="shout", messages=[user(parts)], n=1, stream=False)
    assert again.choices[0].message.content == "AB"


def test_a_graph_may_take_the_whole_conversation_and_count_tokens(client):
    messages = [{"role": "system", "content": "Be."}, user("hi")]
    said = client.chat.completions.create(model="talk", messages=messages)
    assert said.choices[0].message.content == "hi (2, calm)"
    assert (said.usage.prompt_tokens, said.usage.completion_tokens, said.usage.total_tokens) == (7, 2, 9)
    moody = client.chat.completions.create(model="talk", messages=messages, extra_body={"mood": "glad"})
    assert moody.choices[0].message.content == "hi (2, glad)"


def test_completions_are_one_or_many(client):
    said = client.completions.create(model="shout", prompt=["a", "b"])
    assert [(each.index, each.text, each.finish_reason) for each in said.choices] == [
        (0, "A", "stop"),
        (1, "B", "stop"),
    ]
    assert client.completions.create(model="shout", prompt="c").choices[0].text == "C"
    assert client.completions.create(model="talk", prompt=["a", "b"]).usage.total_tokens == 18


def test_clients_that_stream_get_the_answer_as_one_event(client):
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    events = list(client.chat.completions.create(model="talk", messages=[user("hi")], **asked))
    text = "".join(each.choices[0].delta.content or "" for each in events if each.choices)
    assert (text, events[1].choices[0].finish_reason, events[-1].usage.total_tokens) == ("hi (1, calm)", "stop", 9)
    words = list(client.completions.create(model="shout", prompt="a", stream=True))
    assert [(each.choices[0].text, each.choices[0].finish_reason) for each in words] == [("A", None), ("", "stop")]
    with pytest.raises(openai.UnprocessableEntityError, match="13 is unlucky"):
        client.completions.create(model="shout", prompt="13", stream=True)


@pytest.mark.parametrize("coding", ["float", "base64"])
def test_embeddings_come_as_numbers_and_as_base64(client, coding):
    got = client.embeddings.create(model="measure", input=["banana", "x"], encoding_format=coding)
    assert [each.index for each in got.data] == [0, 1]
    first = got.data[0].embedding
    found = np.frombuffer(base64.b64decode(first), "<f4") if isinstance(first, str) else np.array(first, np.float32)
    np.testing.assert_array_equal(found, measured(["banana"])[0])
    assert isinstance(first, str) == (coding == "base64")
    plain = client.embeddings.create(model="measure", input="banana")  # the client asks for base64, and reads it
    np.testing.assert_array_equal(np.array(plain.data[0].embedding, np.float32), measured(["banana"])[0])
    assert plain.usage.total_tokens == 0


def test_what_is_served_is_listed(client):
    assert {"shout", "talk", "measure"} <= {each.id for each in client.models.list()}
    assert client.models.retrieve("shout").id == "shout"


@pytest.mark.parametrize(
    ("key", "model", "kind", "code", "message"),
    [
        ("bad", "shout", openai.AuthenticationError, "invalid_api_key", "a credential is missing"),
        ("good", "nothing", openai.NotFoundError, "model_not_found", "'nothing'"),
        ("many", "shout", openai.RateLimitError, "rate_limit_exceeded", "more than 1/hour"),
        ("full", "shout", openai.InternalServerError, None, "too much at once"),
    ],
)
def test_who_may_not_ask_is_told_as_openai_tells_it(client, key, model, kind, code, message):
    with pytest.raises(kind, match=message) as raised:
        client.with_options(api_key=key).chat.completions.create(model=model, messages=[user("a")])
    assert raised.value.code == code
    wanted = {"many": "13", "full": "1"}.get(key)
    assert raised.value.response.headers.get("retry-after") == wanted


def test_what_is_wrong_with_a_request_is_said(client, served):
    headers = {"authorization": "Bearer good"}
    for path, body, status, message in (
        ("chat/completions", {"model": "shout"}, 400, "'messages' must be a list of messages"),
        ("chat/completions", {"model": "shout", "messages": [{"role": "user"}]}, 400, "message 0 is not an object with a role"),
        ("chat/completions", {"model": "shout", "messages": [{"role": "system", "content": "x"}]}, 400, "no message of the role 'user'"),
        ("chat/completions", {"model": "shout", "messages": [user([{"type": "image_url"}])]}, 400, "must be text"),
        ("embeddings", {"model": "measure", "input": "a", "stream": True}, 400, "'stream' is not offered here"),
        ("chat/completions", {"model": "shout", "messages": [user("a")], "n": 2}, 400, "'n' is not offered here"),
        ("chat/completions", {"model": "double", "messages": [user("a")]}, 400, "double takes no text alone: it takes x: float64"),
        ("chat/completions", {"model": "measure", "messages": [user("a")]}, 400, "does not answer with a string: it gives vector: float32[3]"),
        ("chat/completions", {"model": "shout", "messages": [user("13")]}, 422, "13 is unlucky"),
        ("chat/completions", {"messages": []}, 400, "the body must be a JSON object with a 'model'"),
        ("completions", {"model": "shout", "prompt": [[1, 2]]}, 400, "'prompt' must be a text or a list of texts"),
        ("completions", {"model": "shout", "prompt": []}, 400, "'prompt' must be a text or a list of texts"),
        ("completions", {"model": "shout", "prompt": ["a", "13", "b"]}, 422, "1 of 3 rows failed: row 1: "),
        ("embeddings", {"model": "shout", "input": "a"}, 400, "shout does not answer with a vector of floats: it gives loud: string"),
        ("embeddings", {"model": "measure", "input": "a", "encoding_format": "hex"}, 400, "'encoding_format' must be float or base64"),
        ("embeddings", {"model": "measure", "input": "a", "dimensions": 2}, 400, "'dimensions' must be 3 or left out; got 2"),
    ):  # fmt: skip
        answer = served.post(f"/v1/{path}", json=body, headers=headers)
        told = answer.json()["error"]
        assert (answer.status_code, message in told["message"]) == (status, True), (body, told)
        assert told["type"] == "invalid_request_error"
    assert served.post("/v1/embeddings", content=b"{", headers=headers).status_code == 400
    with pytest.raises(openai.UnprocessableEntityError, match="13 is unlucky"):
        client.completions.create(model="shout", prompt="13")


def test_requests_pass_the_middleware_and_end_once(client, served):
    served.middleware.ended.clear()
    client.completions.create(model="shout", prompt=["a", "b"])
    with pytest.raises(openai.UnprocessableEntityError):
        client.chat.completions.create(model="shout", messages=[user("13")])
    assert served.middleware.ended == [
        ("/v1/completions", "shout", 2, 200),
        ("/v1/chat/completions", "shout", 1, 422),
    ]


def test_what_is_not_loaded_is_503(live):
    served = live.serve(mt.Graph("late", outputs={"y": mt.map(shouted, mt.input("text", "string"))}), load=False)
    with openai.OpenAI(base_url=f"{served.address}/v1", api_key="x", max_retries=0) as client:
        with pytest.raises(openai.InternalServerError, match="late") as raised:
            client.completions.create(model="late", prompt="a")
        assert (raised.value.status_code, raised.value.type) == (503, "server_error")


def test_what_an_endpoint_refuses_for_now_is_refused_for_now(live):
    endpoint = OpenAIServer()
    endpoint.then("busy", *[Say(429, error("slow down"))] * 9)
    model = mt.Model(endpoint.uri(), "far", options={"retries": 0})
    served = live.serve(mt.Graph("relay", outputs={"y": mt.model(model, mt.input("text", "string"))}))
    with openai.OpenAI(base_url=f"{served.address}/v1", api_key="x", max_retries=0) as client:
        assert client.completions.create(model="relay", prompt="a").choices[0].text == "you said a"
        with pytest.raises(openai.InternalServerError, match="its server answered 429") as raised:
            client.completions.create(model="relay", prompt=["a", "busy", "c"])
        assert (raised.value.status_code, raised.value.response.headers["retry-after"]) == (503, "1")
        with pytest.raises(openai.InternalServerError, match="its server answered 429") as raised:
            client.completions.create(model="relay", prompt="busy")
        assert raised.value.status_code == 503
    assert served.post("/predict/relay", json={"text": "busy"}).status_code == 503
    assert served.get("/v2/models/relay/ready").status_code == 200
    endpoint.close()


def test_a_graph_calls_another_one_through_it(served, monkeypatch):
    monkeypatch.setenv("TEST_GATE_KEY", "good")
    address = f"openai+http://127.0.0.1:{served.port}/v1"
    told = {"key_env": "TEST_GATE_KEY"}
    text = mt.input("text", "string")
    shout = mt.model(mt.Model(f"{address}#shout", "shout", options=told), text)
    size = {"embedding": "float32[3]"}
    measure = mt.model(
        mt.Model(f"{address}#measure", "measure", outputs=size, options={"mode": "embeddings", **told}), text
    )
    answers, failures = mt.Graph("far", outputs={"y": shout, "v": measure})(
        {"text": ["a", "13", "ü"]}, failures="return"
    )
    assert answers["y"].tolist() == ["A", "Ü"]
    np.testing.assert_array_equal(answers["v"], measured(["a", "ü"]))
    assert [(failure.row, "13 is unlucky" in failure.message) for failure in failures] == [(1, True)]


def test_the_description_of_the_api_has_what_is_asked_and_answered(served, client):
    described = served.get("/openapi.json").json()
    openapi_spec_validator.validate(described)
    schemas, key = described["components"]["schemas"], {"authorization": "Bearer good"}
    assert schemas["ChatQuestion"]["properties"]["model"]["enum"] == ["shout", "talk"]
    assert schemas["EmbeddingQuestion"]["properties"]["model"]["enum"] == ["measure"]

    def check(name, value):
        jsonschema.Draft202012Validator(
            {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
        ).validate(value)

    chat = {"model": "talk", "messages": [user("hi")]}
    asked = {
        "Chat": ("/v1/chat/completions", chat),
        "Completion": ("/v1/completions", {"model": "shout", "prompt": ["a", "b"]}),
        "Embedding": ("/v1/embeddings", {"model": "measure", "input": "a", "encoding_format": "base64"}),
    }
    for name, (path, body) in asked.items():
        check(f"{name}Question", body)
        check(f"{name}Answer", served.post(path, json=body, headers=key).json())
    check(
        "LanguageError", served.post("/v1/chat/completions", json=chat, headers={"authorization": "Bearer bad"}).json()
    )
    options = {"stream": True, "stream_options": {"include_usage": True}}
    told = served.post("/v1/chat/completions", json=chat | options, headers=key).text
    for line in told.splitlines()[:-2]:
        if line:
            check("ChatPart", json.loads(line.removeprefix("data: ")))


def test_a_server_of_no_texts_does_not_describe_them(live):
    number = mt.input("x", "float64")
    described = (
        live.serve(mt.Graph("twice", outputs={"y": mt.map(lambda x: x * 2, number)})).get("/openapi.json").json()
    )
    assert not [path for path in described["paths"] if "completions" in path or "embeddings" in path]
    assert "ChatQuestion" not in described["components"]["schemas"]


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"temperature": -3}, "temperature must be a number of at least 0; got -3"),
        ({"top_p": 7}, "top_p must be a number from 0 to 1; got 7"),
        ({"max_tokens": 0}, "max_tokens must be a whole number of at least 1; got 0"),
        ({"n": 2}, "'n' is not offered here"),
        ({"stop": [7]}, r"stop must be a text or a list of texts; got \[7\]"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_parameters_out_of_their_ranges_are_refused_whoever_answers(client, said, what, stream):
    with pytest.raises(openai.BadRequestError, match=what):
        client.chat.completions.create(model="shout", messages=[user("a")], stream=stream, **said)
    with pytest.raises(openai.BadRequestError, match=what):
        client.completions.create(model="shout", prompt="a", stream=stream, **said)
