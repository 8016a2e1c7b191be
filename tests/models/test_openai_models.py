"""Language models behind an endpoint, against one that answers as it is told, on real sockets."""

import base64
import email.utils
import json
import logging
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from helpers.authority import Authority
from helpers.openai_server import CUT, HANG, Change, Events, OpenAIServer, Say, Wait, error, vector
from helpers.until import until
from motet.errors import DeadlineError, GraphError, ModelLoadError, ModelUnavailableError, MotetError, UnknownNameError
from motet.models import ModelSource, find_handler
from motet.models.openai.events import AnswerParts
from motet.models.openai.prompts import Prompt
from motet.models.openai.tool_calls import calls_in
from motet.system.tls import server_context

SENTIMENT = {
    "type": "object",
    "properties": {
        "mood": {"enum": ["good", "bad"], "type": "string"},
        "stars": {"type": "integer"},
        "sure": {"type": "number"},
        "loud": {"type": "boolean"},
        "parts": {"type": "array", "items": {"type": "number"}},
        "more": {"type": "object"},
    },
    "required": ["mood", "stars", "sure", "loud", "parts", "more"],
    "additionalProperties": False,
}
GOOD = {"mood": "good", "stars": 5, "sure": 0.5, "loud": True, "parts": [1, 2.5], "more": {"why": ["nice"]}}


@pytest.fixture(scope="module")
def endpoint():
    server = OpenAIServer()
    yield server
    server.close()


@pytest.fixture
def server():
    server = OpenAIServer()
    yield server
    server.close()


def graph_of(
    server, inputs=("text",), outputs=None, model="small", uri="", scheme="openai+http", batch=None, **options
):
    """A graph of one model; its outputs are those of the model."""
    told = mt.Model(uri or server.uri(model, scheme), "far", options=options, outputs=outputs, batch=batch)
    asked = [mt.input(name, "any" if name == "history" else "string") for name in inputs]
    node = mt.model(told, *asked)
    handler, location = find_handler(told.uri)
    names = list(handler.signature(_source(told, location)).outputs)
    return mt.Graph("g", outputs={name: getattr(node, name) if len(names) > 1 else node for name in names})


def _source(model, location):
    return ModelSource("far", location, model.options, model.inputs, model.outputs)


def played(graph, **columns):
    """Answers by output and row, and what was said of rows that failed, by row."""
    answers, failures = graph(columns, failures="return")
    return answers, {failure.row: f"{failure.error}: {failure.message}" for failure in failures}


# --- the fake is faithful ---


def test_the_client_of_openai_understands_the_endpoint(server):
    server.key = "sk-right"
    with openai.OpenAI(base_url=server.url, api_key="sk-right", max_retries=2) as client:
        said = client.chat.completions.create(
            model="small", messages=[{"role": "user", "content": "hi you"}], logprobs=True
        )
        assert (said.choices[0].message.content, said.choices[0].finish_reason) == ("you said hi you", "stop")
        assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (2, 4)
        assert said.choices[0].logprobs.content[0].logprob == -0.5
        assert client.completions.create(model="large", prompt="hi").choices[0].text == "you said hi"
        got = client.embeddings.create(model="small", input=["a", "b"], dimensions=3)
        assert [each.embedding for each in got.data] == [vector("a", 3), vector("b", 3)]  # the client asks for base64
        assert [each.id for each in client.models.list()] == ["small", "large"]
        server.then("again", Say(429, error("slow down"), {"Retry-After": "0.01"}))
        client.completions.create(model="small", prompt="again")
        assert server.asked("again") == 2
        with pytest.raises(openai.NotFoundError, match="The model `none` does not exist"):
            client.completions.create(model="none", prompt="x")
        server.then("wrong", Say(400, error("no such parameter")))
        with pytest.raises(openai.BadRequestError, match="no such parameter"):
            client.completions.create(model="small", prompt="wrong")
    with openai.OpenAI(base_url=server.url, api_key="sk-wrong") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


# --- what is asked ---


def test_a_text_is_asked_and_answered(endpoint):
    assert graph_of(endpoint)({"text": ["a {b}", "ü\n"]})["text"].tolist() == ["you said a {b}", "you said ü\n"]
    path, headers, body = endpoint.requests[-1]
    assert (path, set(body)) == ("/v1/chat/completions", {"model", "messages"})
    assert "authorization" not in headers


def test_the_prompt_holds_values_of_columns(endpoint):
    graph = graph_of(
        endpoint, ("text", "language"), prompt="Say {{{text}}} in {language}: {text}", system="You speak {language}."
    )
    answer = graph({"text": ["{language}", "b"], "language": ["de", "fr"]})
    assert answer["text"].tolist() == ["you said Say {{language}} in de: {language}", "you said Say {b} in fr: b"]
    sent = [body["messages"] for _, _, body in endpoint.requests if "You speak fr" in json.dumps(body)]
    assert sent == [[{"role": "system", "content": "You speak fr."}, {"role": "user", "content": "Say {b} in fr: b"}]]


def test_values_stand_in_prompts_as_people_write_them(endpoint):
    kinds = {"i": "int64", "f": "float64", "b": "bool", "v": "float32[2]", "o": "any"}
    model = mt.Model(endpoint.uri(), "far", options={"prompt": "{i} {f} {b} {v} {o}"})
    graph = mt.Graph("g", outputs={"y": mt.model(model, *(mt.input(name, kind) for name, kind in kinds.items()))})
    columns = {"i": [3], "f": [0.5], "b": [True], "v": np.array([[1, 2]], np.float32), "o": [{"a": ["ü"]}]}
    assert graph(columns)["y"].tolist() == ['you said 3 0.5 true [1.0, 2.0] {"a": ["ü"]}']


@given(st.text(), st.text(), st.lists(st.sampled_from(["{a}", "{b}", "{{", "}}", "x {", "\n", "}"]), min_size=1))
def test_prompts_are_what_format_makes_of_them(a, b, parts):
    text = "".join(parts)
    try:
        wanted = text.format(a=a, b=b)
    except (ValueError, LookupError):  # LookupError: of what stands between braces that were not meant for each other
        with pytest.raises(GraphError):
            Prompt.read(text, "prompt")
    else:
        assert Prompt.read(text, "prompt").text({"a": a, "b": b}) == wanted


def test_messages_go_before_the_prompt(endpoint):
    shots = [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]
    graph_of(endpoint, messages=shots, prompt="{text}", system="Add.")({"text": ["few shots"]})
    assert [each["role"] for each in endpoint.requests[-1][2]["messages"]] == ["system", "user", "assistant", "user"]


def test_a_column_holds_whole_conversations(endpoint):
    graph = graph_of(endpoint, ("history",), messages="{history}")
    talk = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "bye"},
    ]
    answers, failures = played(graph, history=[talk, json.dumps(talk[:1]), "[", "{}", "[1]"])
    assert answers["text"].tolist() == ["you said bye", "you said hi"]
    assert {row: why.partition(":")[2].strip() for row, why in failures.items()} == {
        2: "input 'history' is no JSON of messages: Input data was truncated",
        3: "input 'history' must be a list of messages; got dict",
        4: "message 0 of input 'history' is not {role: ..., content: ...}",
    }


def test_parameters_are_handed_on_and_more(endpoint):
    said = {"temperature": 0.5, "max_tokens": 9, "seed": 1, "stop": ["x"], "top_p": 0.9}
    graph_of(endpoint, **said, body={"top_k": 3})({"text": ["handed on"]})
    body = dict(endpoint.requests[-1][2])
    del body["messages"]
    assert body == {"model": "small", "top_k": 3, **said}


def test_a_row_may_say_parameters(server):
    node = {"temperature": "{heat}", "seed": 7, "body": {"response_format": "{form}", "metadata": {"a": "{text}"}}}
    inputs: Any = {
        "text": mt.input("text", "string"),
        "heat": mt.input("heat", "any", default=None),
        "form": mt.input("form", "any", default=None),
    }
    with mt.Graph("g", {"text": mt.model(mt.Model(server.uri(), "far", options=node), **inputs)}) as graph:
        assert graph.predict({"text": "a", "heat": 0.5}) == {"text": "you said a"}
        asked = server.requests[-1][2]
        assert (asked["temperature"], asked["seed"], asked["metadata"]) == (0.5, 7, {"a": "{text}"})
        assert "response_format" not in asked
        assert graph.predict({"text": "b", "heat": None, "form": {"type": "json_object"}}) == {"text": "you said b"}
        asked = server.requests[-1][2]
        assert asked["response_format"] == {"type": "json_object"}
        assert "temperature" not in asked


def test_completions_are_plain_texts(endpoint):
    assert graph_of(endpoint, mode="completions", prompt="Q: {text}")({"text": ["a"]})["text"].tolist() == [
        "you said Q: a"
    ]
    assert endpoint.requests[-1][0] == "/v1/completions"


def test_tokens_cost_and_certainty_are_outputs(endpoint):
    graph = graph_of(endpoint, usage=True, price={"input": 1, "output": 4}, score=True)
    answer = graph({"text": ["one two three"]})
    assert (answer["prompt_tokens"].tolist(), answer["completion_tokens"].tolist()) == ([3], [5])
    assert answer["cost"].tolist() == [(3 * 1 + 5 * 4) / 1e6]
    assert answer["score"].tolist() == [pytest.approx(np.exp(-0.5))]
    again = graph_of(endpoint, mode="completions", score=True)({"text": ["a"]})
    assert again["score"].tolist() == [pytest.approx(np.exp(-0.25))]


def test_explanations_and_reports_say_what_was_used(server, tmp_path):
    server.then("bad", finished("length"))
    graph = graph_of(server, price={"input": 1, "output": 2})
    told = graph.explain({"text": ["one two"]})
    assert "2 prompt tokens, 4 completion tokens, cost 1e-05" in str(told)
    used = {"prompt_tokens": 2, "completion_tokens": 4, "cost": 1e-05}
    assert json.loads(told.to_json())["calls"][0]["used"] == used
    given, got = str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl")
    Path(given).write_text("".join(json.dumps({"text": text}) + "\n" for text in ("one", "bad", "one two")))
    report = graph.run(given, got, drop=["text"])
    (model,) = report.models
    assert (report.failed, model.failed, model.prompt_tokens, model.completion_tokens) == (
        1,
        1,
        4,
        10,
    )  # the bad one costs, too
    assert model.cost == pytest.approx((4 * 1 + 10 * 2) / 1e6)
    assert "prompt tokens  completion tokens     cost" in str(report)


# --- a schema ---


def test_properties_of_a_schema_are_columns(server):
    server.answer = lambda messages: json.dumps(GOOD)
    graph = graph_of(server, schema=SENTIMENT)
    answer = graph({"text": ["x", "y"]})
    assert answer["mood"].tolist() == ["good", "good"]
    assert (answer["stars"].dtype, answer["stars"].tolist()) == (np.int64, [5, 5])
    assert (answer["sure"].dtype, answer["loud"].dtype) == (np.float64, np.bool_)
    assert [each.tolist() for each in answer["parts"]] == [[1.0, 2.5]] * 2
    assert answer["more"][0] == {"why": ["nice"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SENTIMENT, "strict": True}}
    assert server.requests[-1][2]["response_format"] == wanted


def test_what_need_not_be_there_may_be_left_out(server):
    server.answer = lambda messages: "{}" if "none" in messages[-1]["content"] else '{"n": 2}'
    graph = graph_of(server, schema={"type": "object", "properties": {"n": {"type": "integer"}}})
    assert graph({"text": ["none", "some"]})["n"].tolist() == [None, 2]
    assert server.requests[-1][2]["response_format"]["json_schema"]["strict"] is False


def test_answers_that_do_not_follow_the_schema_fail_their_rows(server):
    answers = {
        "right": json.dumps(GOOD),
        "prose": "The mood is good.",
        "list": "[1]",
        "enum": json.dumps({**GOOD, "mood": "so so"}),
        "extra": json.dumps({**GOOD, "x": 1}),
        "huge": json.dumps({**GOOD, "stars": 2**70}),
    }
    server.answer = lambda messages: answers[messages[-1]["content"]]
    answer, failures = played(graph_of(server, schema=SENTIMENT), text=list(answers))
    assert answer["stars"].tolist() == [5]
    assert list(failures) == [1, 2, 3, 4, 5]
    assert failures[1].startswith("AnswerError: the answer is no JSON: ")
    assert failures[2] == "AnswerError: the answer does not follow the schema: [1] is not of type 'object'"
    assert "does not follow the schema at $.mood: 'so so' is not one of ['good', 'bad']" in failures[3]
    assert "Additional properties are not allowed ('x' was unexpected)" in failures[4]
    assert len(server.requests) == 6  # none is asked again


# --- tools ---


SHOUT = {
    "type": "function",
    "function": {"name": "shout", "parameters": {"type": "object", "properties": {"text": {}}}},
}
CALL = {"id": "call_0", "type": "function", "function": {"name": "shout", "arguments": '{"text": "call it"}'}}


def test_calls_of_tools_are_a_column(endpoint):
    graph = graph_of(endpoint, tools=[SHOUT])
    answer = graph({"text": ["call it", "tell me", "call it"]})
    assert answer["text"].tolist() == ["", "you said tell me", ""]
    assert [each.tolist() for each in answer["tool_calls"]] == [[CALL], [], [CALL]]
    assert answer["finish_reason"].tolist() == ["tool_calls", "stop", "tool_calls"]
    both = graph({"text": ["call it", "call it"]})["tool_calls"]
    assert [each.tolist() for each in both] == [[CALL], [CALL]]
    assert endpoint.requests[-1][2]["tools"] == [SHOUT]


def test_a_row_says_which_tools_there_are(endpoint):
    names = ("tools", "tool_choice", "parallel_tool_calls")
    inputs: Any = {"text": mt.input("text", "string"), **{name: mt.input(name, "any", default=None) for name in names}}
    model = mt.Model(endpoint.uri(), "far", options={name: f"{{{name}}}" for name in names})
    node = mt.model(model, **inputs)
    both = [SHOUT, {"type": "function", "function": {"name": "whisper"}}]
    with mt.Graph("g", {"text": node.text, "calls": node.tool_calls}) as graph:
        rows: Any = [
            {"text": "call all"},
            {"text": "call all", "tools": both},
            {"text": "call all", "tools": both, "parallel_tool_calls": False},
            {"text": "call all", "tools": both, "tool_choice": "none"},
            {"text": "a", "tools": both, "tool_choice": {"type": "function", "function": {"name": "whisper"}}},
        ]
        called = [[each["function"]["name"] for each in got["calls"]] for got in graph.predict(rows)]
        assert called == [[], ["shout", "whisper"], ["shout"], [], ["whisper"]]
        _, failures = graph({"text": ["a", "b"], "tools": [both, "both"]}, failures="return")
        assert [(each.row, each.message) for each in failures] == [(1, "tools must be a list of tools; got 'both'")]


def test_calls_that_are_streamed_are_those_that_are_not(endpoint):
    node = mt.model(mt.Model(endpoint.uri(), "far", options={"tools": [SHOUT]}), mt.input("text", "string"))
    names = ("text", "tool_calls", "finish_reason")
    with mt.Graph("g", {name: getattr(node, name) for name in names}) as graph:
        for text in ("call it", 'call \U0001f600 \\ " ü', "tell me"):
            stream = graph.stream({"text": text})
            assert "".join(stream) == stream.answer["text"]
            assert endpoint.requests[-1][2]["stream"]
            assert stream.answer == graph.predict({"text": text})


@pytest.mark.parametrize(
    ("pieces", "wanted"),
    [
        ([{"id": "a", "function": {"name": "f", "arguments": ""}}, {"function": {"arguments": "{}"}}], [("a", "f", "{}")]),
        ([{"id": "a", "function": {"name": "f"}}, {"id": "b", "function": {"name": "g"}}], [("a", "f", "{}"), ("b", "g", "{}")]),
        ([{"index": 1, "id": "b", "function": {"name": "g", "arguments": "1"}},
          {"index": 0, "id": "a", "function": {"name": "f", "arguments": "2"}},
          {"index": 1, "id": "b", "function": {"name": "g", "arguments": "3"}}], [("a", "f", "2"), ("b", "g", "13")]),
        ([{"index": 0, "id": "a", "function": {"name": "f", "arguments": "\ud83d"}},
          {"index": 0, "function": {"name": None, "arguments": "\ude00"}}], [("a", "f", "\U0001f600")]),
        ([{"index": 0, "id": "a", "function": None}, {"index": 0, "function": {"name": "f"}}], [("a", "f", "{}")]),
    ],
    ids=["no index", "no index, two", "mixed", "halves of a character", "nothing at first"],
)  # fmt: skip
def test_pieces_of_calls_are_put_together(pieces, wanted):
    parts = AnswerParts(None, "m", chat=True)
    for each in pieces:
        parts.add({"choices": [{"index": 0, "delta": {"tool_calls": [each]}}]})
    parts.add({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    message = parts.whole()["choices"][0]["message"]
    assert message["content"] is None
    found = [(each["id"], each["function"]["name"], each["function"]["arguments"]) for each in calls_in(message, "m")]
    assert found == wanted


@pytest.mark.parametrize(
    "calls",
    [
        "f",
        {"function": {}},
        [7],
        [{"function": {"arguments": "{}"}}],
        [{"function": {"name": "f", "arguments": {"a": 1}}}],
    ],
)
def test_calls_that_are_none_fail_their_rows(server, calls):
    server.then(
        "wrong",
        said(content=None, tool_calls=calls),
        Events([{"choices": [{"delta": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}]),
    )
    answer, failures = played(graph_of(server, tools=[SHOUT]), text=["wrong", "right"])
    assert answer["text"].tolist() == ["you said right"]
    assert failures[0].startswith("AnswerError: the answer has a call of a tool that is none; it is ")
    node = mt.model(mt.Model(server.uri(), "far", options={"tools": [SHOUT]}), mt.input("text", "string"))
    with mt.Graph("g", {"text": node.text}) as graph, pytest.raises(MotetError, match="a call of a tool that is none"):
        list(graph.stream({"text": "wrong"}))


def test_calls_that_were_cut_off_are_none(server):
    server.then("call", Change(lambda body: body["choices"][0].update(finish_reason="length")))
    _, failures = played(graph_of(server, tools=[SHOUT], truncated=True), text=["call it"])
    assert failures[0].startswith("AnswerError: the answer was cut off in calls of tools (finish_reason: length)")


def test_an_answer_without_the_call_that_it_must_have_is_none(server):
    server.then("must", Say(200, {"choices": [{"message": {"content": "no"}, "finish_reason": "stop"}]}))
    answer, failures = played(graph_of(server, tools=[SHOUT], tool_choice="required"), text=["must", "may"])
    assert len(answer["tool_calls"]) == 1
    assert failures == {0: "AnswerError: the answer calls no tool, which it must (tool_choice)"}


def test_calls_that_nobody_asked_for_are_no_text(server):
    server.then("odd", said(content=None, tool_calls=[CALL]))
    _, failures = played(graph_of(server), text=["odd"])
    assert failures == {0: "AnswerError: the answer has no text (finish_reason: stop)"}


def test_why_an_answer_ended_is_an_output(server):
    server.then("short", finished("length"))
    answer = graph_of(server, truncated=True, finish_reason=True)({"text": ["short", "whole"]})
    assert answer["finish_reason"].tolist() == ["length", "stop"]
    plain = graph_of(server, mode="completions", finish_reason=True)({"text": ["a"]})
    assert plain["finish_reason"].tolist() == ["stop"]


# --- one row's mistakes are its own ---


def no_answer(body):
    body["choices"] = []


def finished(why):
    def change(body):
        body["choices"][0]["finish_reason"] = why

    return Change(change)


def said(**message):
    return Change(lambda body: body["choices"][0]["message"].update(message))


MISTAKES = {
    "refused": (Say(400, error("the prompt is too long")), "InputError: its server answered 400: the prompt is too long"),
    "unprocessable": (Say(422, {"detail": "no such role"}), "InputError: its server answered 422: no such role"),
    "broken": (Say(500, error("oh no")), "RequestError: its server answered 500: oh no"),
    "gateway": (Say(504, "<html>late</html>"), "RequestError: its server answered 504: <html>late</html>"),
    "malformed": (Say(200, '{"choices": ['), "AnswerError: the answer is no JSON: "),
    "a list": (Say(200, []), "AnswerError: the answer is no object of JSON; it is '[]'"),
    "error inside": (Say(200, error("out of memory")), "RequestError: its server answered an error: out of memory"),
    "no choices": (Change(no_answer), "AnswerError: the answer has no choices; it has id, object, "),
    "no content": (said(content=None), "AnswerError: the answer has no text (finish_reason: stop)"),
    "refusal": (said(refusal="I may not."), "AnswerError: the model refused: I may not."),
    "length": (finished("length"), "AnswerError: the answer was cut off (finish_reason: length)"),
    "filter": (finished("content_filter"), "the answer was held back by the endpoint's content filter"),
    "moved": (Say(307, "", {"Location": "http://127.0.0.1:1/v1"}), "RequestError: its server answered 307: "),
}  # fmt: skip


def test_what_goes_wrong_with_a_row_fails_it_alone(server):
    for name, (step, _) in MISTAKES.items():
        server.then(f"row {name}!", step)
    texts = [f"row {name}!" for name in MISTAKES]
    rows = ["first", *(each for text in texts for each in (text, f"beside {text[:5]}"))]
    answer, failures = played(graph_of(server), text=rows)
    assert answer["text"].tolist() == [f"you said {row}" for row in rows if row not in texts]
    for place, (name, (_, wanted)) in enumerate(MISTAKES.items()):
        assert wanted in failures[2 * place + 1], name
    assert all(server.asked(text) == 1 for text in texts)  # not one is paid for twice
    assert len(failures) == len(texts)


def test_missing_values_fail_their_rows_and_nothing_is_asked_for_them(server):
    handler, location = find_handler(server.uri())
    model = handler.load(ModelSource("far", location, {"prompt": "{x}"}))
    got = model({"x": np.array(["a", None, float("nan"), b"x", np.datetime64("nat"), "b"], object)})["text"]
    model.close()
    assert (got[0], got[5]) == ("you said a", "you said b")
    assert [str(each) for each in got[1:5]] == [
        "input 'x' has no value",
        "input 'x' has no value",
        "input 'x' is of type bytes, which has no text",
        "input 'x' has no value",
    ]
    assert len(server.requests) == 2


def test_an_answer_that_was_cut_off_may_do(server):
    server.then("short", finished("length"))
    assert graph_of(server, truncated=True)({"text": ["short"]})["text"].tolist() == ["you said short"]


def test_an_endpoint_without_probabilities_has_no_score(server):
    server.then("x", Change(lambda body: body["choices"][0].update(logprobs=None)))
    _, failures = played(graph_of(server, score=True), text=["x", "y"])
    assert list(failures) == [0]
    assert "the answer does not say how probable its words are" in failures[0]


def test_a_slow_row_is_late_alone(server):
    server.then("slow", HANG)
    answer, failures = played(graph_of(server, timeout_s=4), text=["a", "slow", "b"])
    assert answer["text"].tolist() == ["you said a", "you said b"]
    assert failures[1].startswith("DeadlineError: no answer within 4 s")
    assert server.asked("slow") == 1


def test_a_call_that_is_late_asks_for_no_more_rows(server):
    server.then("row", *[HANG] * 9)
    graph = graph_of(server, concurrency=1, timeout_s=30)
    with pytest.raises(DeadlineError, match=r"not answered within 0.4 s"):
        graph({"text": [f"row {place}" for place in range(9)]}, timeout=0.4)
    until(lambda: not any(thread.name.startswith("motet-calls") for thread in threading.enumerate()))
    assert len(server.requests) <= 1  # which took no longer than the call, and not its own 30 s


# --- tried again ---


def test_what_is_refused_for_now_is_asked_again(server):
    later = {"Retry-After": "0.01"}
    server.then("busy", Say(429, error("slow down"), later), Say(503, "", later))
    server.then("cut", CUT)
    assert graph_of(server)({"text": ["busy", "cut", "c"]})["text"].tolist() == [
        "you said busy",
        "you said cut",
        "you said c",
    ]
    assert [server.asked(text) for text in ("busy", "cut")] == [3, 2]


@pytest.mark.parametrize("dated", [False, True])
def test_it_waits_as_long_as_the_endpoint_says(server, dated):
    begun = time.monotonic()
    said = email.utils.formatdate(time.time() + 1.5, usegmt=True) if dated else "0.4"
    server.then("busy", Say(429, error("slow down"), {"Retry-After": said}))
    graph_of(server)({"text": ["busy"]})
    assert time.monotonic() - begun >= (0.3 if dated else 0.4)  # a date has whole seconds


def test_it_does_not_wait_longer_than_a_row_may_take(server):
    server.then("busy", *[Say(429, error("slow down"), {"Retry-After": "30"})] * 2)
    with pytest.raises(ModelUnavailableError, match=r"model 'far': its server answered 429"):
        graph_of(server, timeout_s=5)({"text": ["busy"]})
    assert server.asked("busy") == 1


def test_tries_have_a_bound_and_the_other_rows_their_answers(server):
    server.then("busy", *[Say(429, error("slow down"), {"Retry-After": "0.01"})] * 9)
    answer, failures = played(graph_of(server, retries=3), text=["a", "busy", "b"])
    assert answer["text"].tolist() == ["you said a", "you said b"]
    assert failures[1] == "ModelUnavailableError: its server answered 429"
    assert server.asked("busy") == 4


def test_where_no_row_is_at_fault_the_batch_ends(server):
    server.then("", *[Say(503, "")] * 9)
    with pytest.raises(ModelUnavailableError, match="its server answered 503"):
        graph_of(server, retries=0)({"text": ["a", "b", "c"]})
    assert len(server.requests) == 3


def test_a_server_that_is_not_there_is_said_so():
    gone = OpenAIServer()
    gone.close()
    with pytest.raises(ModelUnavailableError, match="the server cannot be reached"):
        graph_of(gone, retries=0)({"text": ["a", "b"]})


# --- many at once ---


def test_so_many_requests_are_under_way_and_no_more(server):
    event = threading.Event()
    server.then("row", *[Wait(event)] * 12)
    graph = graph_of(server, concurrency=4)
    found: list = []
    thread = threading.Thread(target=lambda: found.append(graph({"text": [f"row {place}" for place in range(12)]})))
    thread.start()
    until(lambda: server.most == 4)
    event.set()
    thread.join()
    assert found[0]["text"].tolist() == [f"you said row {place}" for place in range(12)]
    assert (server.most, server.connections) == (4, 4)  # which are kept open
    graph({"text": ["later"]})
    assert server.connections == 4


# --- embeddings ---


def embedding_graph(server, size=4, **options):
    outputs = {"embedding": f"float32[{size}]"}
    return graph_of(server, outputs=None if "dimensions" in options else outputs, mode="embeddings", **options)


def test_many_texts_are_one_request(server):
    texts = [f"text {place}" for place in range(7)]
    got = embedding_graph(server, texts=3)({"text": texts})["embedding"]
    np.testing.assert_array_equal(got, np.array([vector(text, 4) for text in texts], np.float32))
    assert sorted(len(body["input"]) for _, _, body in server.requests) == [1, 3, 3]
    assert server.requests[0][2] == {
        "model": "small",
        "encoding_format": "float",
        "input": server.requests[0][2]["input"],
    }


def test_their_length_may_be_asked_for(server):
    got = embedding_graph(server, dimensions=6, prompt="query: {text}")({"text": ["a"]})["embedding"]
    np.testing.assert_array_equal(got, np.array([vector("query: a", 6)], np.float32))
    assert server.requests[0][2]["dimensions"] == 6


def test_a_text_that_is_refused_is_alone(server):
    answer, failures = played(embedding_graph(server), text=["a", "", None, "b", "c"])
    np.testing.assert_array_equal(answer["embedding"], np.array([vector(text, 4) for text in "abc"], np.float32))
    assert list(failures) == [1, 2]
    assert "its server answered 400: '$.input' is invalid: an empty text" in failures[1]


def test_half_a_character_fails_its_row_and_is_not_sent(server):
    texts = ["a", "\ud800", "b"]
    for graph in (embedding_graph(server), graph_of(server)):
        answer, failures = played(graph, text=texts)
        assert [len(each) for each in answer.values()] == [2]
        assert failures == {1: "InputError: input 'text' has half of a character (the surrogate '\\ud800')"}


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda body: body["data"].pop(), "2 texts were sent, and 1 embeddings came back"),
        (lambda body: body["data"][0].update(index=1), "the embeddings say other places than those of 2 texts"),
        (lambda body: body.pop("data"), "the answer has no list of data"),
    ],
)
def test_answers_of_other_texts_are_no_answers(server, change, wanted):
    server.then("first", Change(lambda body: change(body) and None))
    answer, failures = played(embedding_graph(server, texts=2), text=["first", "second", "third"])
    assert len(answer["embedding"]) == 1
    assert [wanted in failures[row] for row in (0, 1)] == [True, True]
    assert server.asked("first") == 1


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ([1.0, 2.0], "an embedding has 2 numbers; 4 are declared"),
        ([1.0, "x", 2.0, 3.0], "an embedding is not understood"),
        ("!!", "an embedding is not understood"),
        ([[1.0]], "an embedding has 1x1 numbers"),
        ([float("nan")] * 4, "an embedding has a number that is not finite"),
        (None, "an embedding has no list numbers"),
    ],
)
def test_a_vector_of_another_kind_fails_its_row(server, value, wanted):
    server.then("bad", Change(lambda body: body["data"][1].update(embedding=value)))
    answer, failures = played(embedding_graph(server), text=["a", "bad", "b"])
    assert (len(answer["embedding"]), list(failures)) == (2, [1])
    assert wanted in failures[1]


def test_places_are_the_endpoints_and_base64_is_read(server):
    def turned(body):
        body["data"] = [
            {**each, "embedding": np.array(each["embedding"], "<f4").tobytes()} for each in reversed(body["data"])
        ]
        for each in body["data"]:
            each["embedding"] = base64.b64encode(each["embedding"]).decode()

    server.then("a", Change(turned))
    got = embedding_graph(server)({"text": ["a", "b", "c"]})["embedding"]
    np.testing.assert_array_equal(got, np.array([vector(text, 4) for text in "abc"], np.float32))


# --- keys ---


def test_a_key_is_named_and_never_told(server, monkeypatch, caplog):
    monkeypatch.setenv("TEST_KEY", "sk-secret-123")
    server.key = "sk-secret-123"
    graph = graph_of(server, key_env="TEST_KEY")
    assert graph({"text": ["a"]})["text"].tolist() == ["you said a"]
    assert server.requests[-1][1]["authorization"] == "Bearer sk-secret-123"
    assert b"sk-secret-123" not in pickle.dumps(graph)
    server.key = "another"
    with caplog.at_level(logging.DEBUG), pytest.raises(ModelLoadError, match="its server answered 401") as raised:
        graph({"text": ["a", "b"]})
    told = f"{raised.value!r} {raised.value} {getattr(raised.value, '__notes__', '')} {caplog.text}"
    assert "Incorrect API key provided: ***." in told
    assert "sk-secret-123" not in told
    server.then("echo", Say(400, error("you sent Bearer sk-secret-123")), Say(200, error("you sent sk-secret-123")))
    failures = {**played(graph, text=["echo"])[1], 1: played(graph, text=["echo"])[1][0]}
    assert ["you sent ***" in failures[0], "you sent ***" in failures[1]] == [False, True]
    assert "sk-secret" not in str(failures)


def test_no_more_is_asked_once_a_key_was_refused(server):
    server.key = "right"
    with pytest.raises(ModelLoadError, match=r"its server answered 401\n  hint: give its credential"):
        graph_of(server, concurrency=1)({"text": [f"{place}" for place in range(20)]})
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (
            {"api_key": "sk-secret"},
            "the graph holds a key\n  hint: name the environment variable that holds it: key_env: NAME",
        ),
        ({"key_env": "TEST_NO_KEY"}, "the environment variable 'TEST_NO_KEY' is not set"),
        ({"key_env": "A", "api_key": "env:B"}, "key_env is the name of one environment variable"),
    ],
)
def test_a_key_in_a_graph_is_refused(endpoint, options, wanted):
    with pytest.raises(ModelLoadError) as raised:
        graph_of(endpoint, **options)({"text": ["a"]})
    assert wanted in str(raised.value)
    assert "sk-secret" not in str(raised.value)


def test_certificates_are_verified(tmp_path):
    authority = Authority(tmp_path)
    pair = authority.server()
    server = OpenAIServer(context=server_context(pair.certificate, pair.key))
    try:
        told = {"scheme": "openai+https", "retries": 0}
        assert graph_of(server, **told, ca=authority.file)({"text": ["a"]})["text"].tolist() == ["you said a"]
        with pytest.raises(ModelUnavailableError, match="the server cannot be reached") as raised:
            graph_of(server, **told)({"text": ["a"]})
        assert "certificate verify failed" in str(raised.value.__notes__)
    finally:
        server.close()


# --- what cannot be right is said when the graph is built ---


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"prompt": "{text.upper}"}, "{text.upper} is no name of a column\n  hint: write the name of a column alone"),
        ({"prompt": "{text[0]}"}, "{text[0]} is no name of a column"),
        ({"prompt": "{text!r}"}, "{text!r} is no name of a column"),
        ({"prompt": "{text:>9}"}, "{text:>9} is no name of a column"),
        ({"prompt": "{}"}, "{} is no name of a column"),
        ({"prompt": "{0}"}, "{0} is no name of a column"),
        ({"prompt": "{text"}, "the braces are not those of a template: expected '}' before end of string"),
        ({"prompt": "a } b"}, "the braces are not those of a template: Single '}' encountered in format string"),
        ({"prompt": "Hello"}, "no column is in the prompt"),
        ({"prompt": 3}, "prompt: expected a text; got int"),
        ({"messages": [{"role": "boss", "content": "{text}"}]}, "messages[0]: unknown role 'boss'; known: system"),
        ({"messages": [{"content": "{text}"}]}, "messages[0]: a message is {role: ..., content: ...}"),
        ({"messages": "say {text}"}, "'say {text}' is not the name of one column in braces"),
        ({"mode": "chats"}, "unknown mode 'chats'; did you mean 'chat'?"),
        ({"mode": ["chat"]}, "unknown mode ['chat']"),
        ({"schema": SENTIMENT | {"required": True}}, "schema: required is a list of properties; got True"),
        ({"mode": "embeddings"}, "how long its embeddings are is not said\n  hint: declare it"),
        ({"mode": "embeddings", "dimensions": 0}, "dimensions must be a whole number from 1 to 1048576; got 0"),
        ({"mode": "completions", "system": "x"}, "system means nothing with mode: completions"),
        ({"dimensions": 3}, "dimensions means nothing with mode: chat"),
        ({"schema": {"type": "array"}}, "the schema of answers must be of an object with properties"),
        ({"schema": {"type": "object", "properties": {"a b": {}}}}, "the property 'a b' cannot be the name of a column"),
        ({"schema": SENTIMENT | {"properties": {"score": {}}}, "score": True}, "a property 'score', which is an output already"),
        ({"concurrency": 0}, "concurrency must be a whole number from 1 to 256; got 0"),
        ({"usage": 1}, "usage must be true or false; got 1"),
        ({"tools": {}}, "tools must be a list of tools; got {}"),
        ({"tools": [{}], "schema": SENTIMENT}, "schema means nothing with tools"),
        ({"mode": "completions", "tools": [{}]}, "tools means nothing with mode: completions"),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls must be true or false; got 1"),
        ({"price": 3}, "price: expected the prices of input and output; got 3"),
        ({"price": {"input": -1}}, "input must be a number of at least 0; got -1"),
        ({"body": {"stream": True}}, "body: stream is not handed on"),
    ],
)  # fmt: skip
def test_wrong_options_are_said(endpoint, options, wanted):
    with pytest.raises(ModelLoadError) as raised:
        graph_of(endpoint, **options)
    assert wanted in str(raised.value)


def test_unknown_options_addresses_and_inputs(endpoint):
    with pytest.raises(UnknownNameError, match=r"unknown option 'temprature'; did you mean 'temperature'"):
        graph_of(endpoint, temprature=1)
    with pytest.raises(ModelLoadError, match=r"write openai\+http://localhost:8000/v1#MODEL"):
        graph_of(endpoint, uri="openai+http://h/v1")
    with pytest.raises(ModelLoadError, match="the URI holds a credential"):
        graph_of(endpoint, uri="openai+http://me:sk@h/v1#m")({"text": ["a"]})
    with pytest.raises(GraphError, match="takes 2 inputs \\(text: any, language: any\\)"):
        graph_of(endpoint, prompt="{text} {language}")


def test_a_schema_that_is_none_is_said(endpoint):
    wrong = {"type": "object", "properties": {"a": {"type": "strin"}}}
    with pytest.raises(ModelLoadError, match="the schema of answers is none: 'strin' is not valid"):
        graph_of(endpoint, schema=wrong)({"text": ["a"]})


def test_what_the_handler_says_of_itself(endpoint):
    handler: Any
    handler, location = find_handler(endpoint.uri("org/model:8b"))
    assert (handler.remote, handler.paid, handler.has_file, handler.batch_invariant) == (True, True, False, False)
    assert handler.version(location) == "org/model:8b"
