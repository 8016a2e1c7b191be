"""Tools in chats, and why answers end, by OpenAI's own client against the server; before it an endpoint that calls tools."""

import json
from typing import Any

import jsonschema
import openai
import pytest

import motet as mt
from helpers.openai_server import Change, OpenAIServer

SHOUT = {
    "type": "function",
    "function": {
        "name": "shout",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    },
}
WHISPER = {"type": "function", "function": {"name": "whisper", "parameters": {"type": "object", "properties": {}}}}
TOOLS = ("tools", "tool_choice", "parallel_tool_calls")
NAMES = ("text", "tool_calls", "finish_reason")


@pytest.fixture(scope="module")
def endpoint():
    made = OpenAIServer()
    yield made
    made.close()


@mt.returns("string")
def shouted(text):
    return [each.upper() for each in text]


@mt.returns({"text": "string", "tool_calls": "any"})
def odd(text):
    return {"text": ["" for _ in text], "tool_calls": [7 for _ in text]}


@pytest.fixture(scope="module")
def served(live, endpoint):
    text, messages = mt.input("text", "string"), mt.input("messages", "any")

    def far(names, taken=messages, **options):
        inputs: Any = {name: mt.input(name, "any", default=None) for name in options if name in TOOLS}
        held = {"messages": "{messages}"} if taken is messages else {}
        model = mt.Model(endpoint.uri(), "far", options={**held, **options})
        inputs["messages" if held else "text"] = taken
        node = mt.model(model, **inputs)
        return {name: getattr(node, name) for name in names} if len(names) > 1 else {names[0]: node}

    columns = {name: f"{{{name}}}" for name in TOOLS}
    fixed = mt.model(mt.Model(endpoint.uri(), "far", options={"tools": [SHOUT]}), text)
    return live.serve(
        mt.Graph("agent", outputs=far(NAMES, **columns)),
        mt.Graph("untold", outputs=far(("text", "tool_calls"), tools="{tools}")),
        mt.Graph("deaf", outputs=far(("text", "finish_reason"), tools="{tools}")),
        mt.Graph("fixed", outputs={name: getattr(fixed, name) for name in NAMES}),
        mt.Graph("short", outputs=far(("text", "finish_reason"), text, truncated=True, finish_reason=True)),
        mt.Graph("plain", outputs=far(("text",), text)),
        mt.Graph("shout", outputs={"loud": mt.map(shouted, text)}),
        mt.Graph("odd", outputs={name: getattr(mt.map(odd, text), name) for name in ("text", "tool_calls")}),
    )


@pytest.fixture(scope="module")
def client(served):
    with openai.OpenAI(base_url=f"{served.address}/v1", api_key="x", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def itself(endpoint):
    """The endpoint, asked without a server in between."""
    with openai.OpenAI(base_url=endpoint.url, api_key="x", max_retries=0) as made:
        yield made


def user(text):
    return {"role": "user", "content": text}


def put_together(stream):
    """What a stream says, as clients read it: the text, the calls by their index, and why it ended."""
    text, calls, reason = "", {}, None
    for part in stream:
        for choice in part.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for piece in choice.delta.tool_calls or ():
                name, arguments = calls.get(piece.index, ("", ""))
                function = piece.function
                calls[piece.index] = (name + (function.name or ""), arguments + (function.arguments or ""))
    return text, [calls[each] for each in sorted(calls)], reason


ASKED = {
    "one": {"messages": [user("call it")], "tools": [SHOUT, WHISPER]},
    "two": {"messages": [user("call all")], "tools": [SHOUT, WHISPER]},
    "one of two": {"messages": [user("call all")], "tools": [SHOUT, WHISPER], "parallel_tool_calls": False},
    "none": {"messages": [user("tell me")], "tools": [SHOUT]},
    "must": {"messages": [user("tell me")], "tools": [SHOUT], "tool_choice": "required"},
    "may not": {"messages": [user("call it")], "tools": [SHOUT], "tool_choice": "none"},
    "this": {"messages": [user("tell")], "tools": [SHOUT, WHISPER],
             "tool_choice": {"type": "function", "function": {"name": "whisper"}}},
    "no tools": {"messages": [user("call it")]},
}  # fmt: skip


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_a_graph_calls_tools_as_the_endpoint_behind_it_does(client, itself, asked):
    got = client.chat.completions.create(model="agent", **asked).choices[0]
    right = itself.chat.completions.create(model="small", **asked).choices[0]
    assert got.message.tool_calls == right.message.tool_calls
    assert (got.message.content, got.finish_reason) == (right.message.content, right.finish_reason)
    streams = [
        put_together(who.chat.completions.create(model=model, stream=True, **asked))
        for who, model in ((client, "agent"), (itself, "small"))
    ]
    assert streams[0] == streams[1]
    assert streams[0][2] == right.finish_reason


def test_what_tools_gave_goes_back(client, endpoint):
    asked = [user("call it")]
    called = client.chat.completions.create(model="agent", messages=asked, tools=[SHOUT]).choices[0].message
    (call,) = called.tool_calls
    assert json.loads(call.function.arguments) == {"text": "call it"}
    told = {"role": "tool", "tool_call_id": call.id, "content": "CALL IT"}
    bare = {"role": "assistant", "tool_calls": [call.model_dump()]}  # which lacks a content
    for message in (called, bare):
        got = client.chat.completions.create(model="agent", messages=[*asked, message, told], tools=[SHOUT])
        assert got.choices[0].message.content == "you said CALL IT"
        assert endpoint.requests[-1][2]["messages"][2] == told
        assert endpoint.requests[-1][2]["messages"][1]["tool_calls"] == [call.model_dump()]


def test_calls_are_one_part_before_the_last(client):
    stream = client.chat.completions.create(model="agent", messages=[user("call it")], tools=[SHOUT], stream=True)
    first, last = stream
    assert (first.choices[0].delta.role, first.choices[0].delta.tool_calls[0].index) == ("assistant", 0)
    assert (first.choices[0].finish_reason, last.choices[0].finish_reason) == (None, "tool_calls")


def test_a_graph_need_not_say_why_it_ended(client):
    asked = {"model": "untold", "tools": [SHOUT]}
    for text, reason in (("call it", "tool_calls"), ("tell me", "stop")):
        got = client.chat.completions.create(messages=[user(text)], **asked)
        assert got.choices[0].finish_reason == reason


def test_a_graph_may_have_tools_of_its_own(client, served):
    got = client.chat.completions.create(model="fixed", messages=[user("call it")]).choices[0]
    assert [each.function.name for each in got.message.tool_calls] == ["shout"]
    assert served.post("/predict/fixed", json={"text": "call it"}).json()["tool_calls"][0]["id"] == "call_0"
    assert client.completions.create(model="fixed", prompt=["a", "b"]).choices[1].text == "you said b"
    for stream in (False, True):
        with pytest.raises(openai.APIError, match="row 1: the answer calls tools, which /v1/completions"):
            list(client.completions.create(model="fixed", prompt=["a", "call it"], stream=stream))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_answer_that_was_cut_off_is_said_to_be(client, endpoint, stream):
    def ended(text, model="short"):
        got = client.chat.completions.create(model=model, messages=[user(text)], stream=stream)
        return put_together(got)[2] if stream else got.choices[0].finish_reason

    cut = Change(lambda body: body["choices"][0].update(finish_reason="length"))
    endpoint.then("cut", cut, cut)
    assert [ended("cut"), ended("whole")] == ["length", "stop"]
    got = client.completions.create(model="short", prompt=["whole", "cut"], stream=stream)
    choices = [each.choices[0] for each in got] if stream else got.choices
    reasons = {each.index: each.finish_reason for each in choices if each.finish_reason}
    assert reasons == {0: "stop", 1: "length"}


WRONG = [
    ("plain", {"tools": [SHOUT]}, "'tools' is not offered here; hint: leave it out, or give the graph an input 'tools'"),
    ("shout", {"tools": [SHOUT]}, "'tools' is not offered here"),
    ("fixed", {"tools": [SHOUT]}, "'tools' is not offered here"),
    ("deaf", {"tools": [SHOUT]}, "'tools' is not offered here: deaf answers with no calls of them; hint: leave it out, or give the graph an output"),
    ("plain", {"tool_choice": "required"}, "'tool_choice' is not offered here"),
    ("untold", {"tools": [SHOUT], "tool_choice": "none"}, "'tool_choice' is not offered here"),
    ("untold", {"tools": [SHOUT], "parallel_tool_calls": False}, "'parallel_tool_calls' is not offered here"),
    ("plain", {"functions": [{"name": "f"}]}, "'functions' is not offered here; hint: leave it out"),
    ("agent", {"functions": [{"name": "f"}]}, "'functions' is not offered here"),
    ("agent", {"function_call": {"name": "f"}}, "'function_call' is not offered here"),
    ("agent", {"tools": "shout"}, "tools must be a list of tools; got 'shout'"),
    ("agent", {"tools": [SHOUT], "tool_choice": 3}, "tool_choice must be auto, none, required or the tool to call; got 3"),
    ("agent", {"tools": [SHOUT], "parallel_tool_calls": "no"}, "parallel_tool_calls must be true or false; got 'no'"),
    ("plain", {"messages": [user("a"), {"role": "tool", "tool_call_id": "x", "content": "b"}]}, "the last message is what a tool gave"),
    ("agent", {"messages": [{"role": "assistant"}]}, "message 0 is not an object with a role and content"),
    ("agent", {"messages": [{"role": "assistant", "tool_calls": []}]}, "message 0 is not an object with a role and content"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "said", "message"), WRONG)
def test_tools_are_refused_where_they_would_be_passed_over(served, model, said, message):
    for stream in (False, True):
        body = {"model": model, "messages": [user("a")], "stream": stream, **said}
        answer = served.post("/v1/chat/completions", json=body)
        assert (answer.status_code, message in answer.json()["error"]["message"]) == (400, True), answer.text


def test_what_changes_nothing_without_tools_is_taken(client):
    for said in ({"tool_choice": "auto"}, {"tool_choice": "none"}, {"parallel_tool_calls": False}, {"tools": []}):
        body = {**said, "function_call": "none"}
        got = client.chat.completions.create(model="shout", messages=[user("a")], extra_body=body)
        assert got.choices[0].message.content == "A"


def test_completions_and_calls_that_are_none(client):
    with pytest.raises(openai.BadRequestError, match="'tools' is not offered here"):
        client.completions.create(model="agent", prompt="a", extra_body={"tools": [SHOUT]})
    for stream in (False, True):
        with pytest.raises(
            openai.UnprocessableEntityError, match="row 0: 'tool_calls' is no list of calls; it is of type int"
        ):
            list(client.chat.completions.create(model="odd", messages=[user("a")], stream=stream))


def test_the_description_of_the_api_knows_tools(served):
    described = served.get("/openapi.json").json()

    def check(name, value):
        told = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
        jsonschema.Draft202012Validator(told).validate(value)

    asked = {"model": "agent", "messages": [user("call it")], "tools": [SHOUT], "tool_choice": "required"}
    check("ChatQuestion", asked)
    answer = served.post("/v1/chat/completions", json=asked).json()
    check("ChatAnswer", answer)
    check("ChatQuestion", asked | {"messages": [user("call it"), answer["choices"][0]["message"]]})
    for line in served.post("/v1/chat/completions", json=asked | {"stream": True}).text.splitlines():
        if line.startswith("data: {"):
            check("ChatPart", json.loads(line.removeprefix("data: ")))
