"""Stock clients of language models against the server: those of LangChain and LiteLLM."""

import gc
import json
import os
import warnings
from typing import Any

import numpy as np
import openai
import pytest

import motet as mt
from helpers.openai_server import OpenAIServer

MOOD = {
    "title": "Mood",
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"], "type": "string"}},
    "required": ["mood"],
    "additionalProperties": False,
}


def said(messages):
    """What the endpoint behind the graph answers."""
    last = str(messages[-1]["content"])
    return json.dumps({"mood": "good"}) if "nice" in last else f"you said {last}"


@mt.returns("float32[3]")
def measured(texts):
    return np.array([[len(text), text.count("a"), 0.5] for text in texts], np.float32)


@pytest.fixture(scope="module")
def endpoint():
    made = OpenAIServer(answer=said)
    yield made
    made.close()


@pytest.fixture(scope="module")
def address(live, endpoint):
    tools = ("tools", "tool_choice", "parallel_tool_calls")
    said = {name: f"{{{name}}}" for name in tools}
    asked = {"usage": True, "messages": "{messages}", "body": {"response_format": "{response_format}"}, **said}
    inputs: Any = {name: mt.input(name, "any", default=None) for name in ("response_format", *tools)}
    talk = mt.model(mt.Model(endpoint.uri(), "far", options=asked), messages=mt.input("messages", "any"), **inputs)
    names = ("text", "tool_calls", "finish_reason", "prompt_tokens", "completion_tokens")
    served = live.serve(
        mt.Graph("talk", outputs={name: getattr(talk, name) for name in names}),
        mt.Graph("measure", outputs={"vector": mt.map(measured, mt.input("text", "string"))}),
    )
    return f"{served.address}/v1"


@pytest.fixture(scope="module")
def langchain():
    """Imported late: it takes seconds."""
    import langchain_openai

    return langchain_openai


@pytest.fixture(scope="module")
def chain(address, langchain):
    return langchain.ChatOpenAI(base_url=address, api_key="x", model="talk", max_retries=0, stream_usage=True)


def test_langchain_chats(chain, endpoint):
    got = chain.invoke([("system", "Be short."), ("user", "hello")])
    assert got.content == "you said hello"
    assert got.usage_metadata["total_tokens"] == got.usage_metadata["input_tokens"] + 3
    assert [each["role"] for each in endpoint.requests[-1][2]["messages"]] == ["system", "user"]


def test_langchain_streams(chain):
    parts = list(chain.stream("hello there"))
    assert "".join(each.content for each in parts) == "you said hello there"
    assert sum(bool(each.content) for each in parts) >= 1
    assert sum((each.usage_metadata or {}).get("output_tokens", 0) for each in parts) == 4


def test_langchain_has_answers_of_a_schema(chain):
    assert chain.with_structured_output(MOOD, method="json_mode").invoke("a nice film, as JSON") == {"mood": "good"}
    assert chain.with_structured_output(MOOD, method="json_schema").invoke("a nice film") == {"mood": "good"}


def shout(text: str) -> str:
    """Say it loud."""
    return text.upper()


def test_langchain_calls_tools_and_tells_what_they_gave(chain, endpoint):
    bound = chain.bind_tools([shout])
    asked = [("user", "call it")]
    got = bound.invoke(asked)
    (call,) = got.tool_calls
    assert (call["name"], call["args"], got.response_metadata["finish_reason"]) == (
        "shout", {"text": "call it"}, "tool_calls",
    )  # fmt: skip
    told = {"role": "tool", "tool_call_id": call["id"], "content": shout(**call["args"])}
    assert bound.invoke([*asked, got, told]).content == "you said CALL IT"
    roles = [each["role"] for each in endpoint.requests[-1][2]["messages"]]
    assert roles == ["user", "assistant", "tool"]
    assert endpoint.requests[-1][2]["tools"][0]["function"]["name"] == "shout"


def test_langchain_streams_calls_of_tools(chain):
    whole = None
    for part in chain.bind_tools([shout]).stream("call it"):
        whole = part if whole is None else whole + part
    assert [(each["name"], each["args"]) for each in whole.tool_calls] == [("shout", {"text": "call it"})]
    assert whole.response_metadata["finish_reason"] == "tool_calls"


def test_langchain_has_answers_of_a_tool(chain, endpoint):
    schema = {"title": "Shout", "description": "", "type": "object", "properties": {"text": {"type": "string"}}}
    got = chain.with_structured_output(schema, method="function_calling").invoke("a film")
    assert got == {"text": "a film"}
    asked = endpoint.requests[-1][2]
    assert (asked["tool_choice"]["function"]["name"], asked["parallel_tool_calls"]) == ("Shout", False)


def test_pictures_go_through_to_the_endpoint(chain, endpoint):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    chain.invoke([("user", [{"type": "text", "text": "look"}, picture])])
    assert endpoint.requests[-1][2]["messages"][-1]["content"][1] == picture


def test_langchain_embeds(address, langchain):
    made = langchain.OpenAIEmbeddings(base_url=address, api_key="x", model="measure", check_embedding_ctx_length=False)
    assert made.embed_documents(["banana", "x"]) == [[6.0, 3.0, 0.5], [1.0, 0.0, 0.5]]


def test_langchain_is_told_what_is_wrong(address, langchain):
    nobody = langchain.ChatOpenAI(base_url=address, api_key="x", model="nobody", max_retries=0)
    with pytest.raises(openai.NotFoundError, match="no model 'nobody' is served"):
        nobody.invoke("hello")


@pytest.fixture(scope="module")
def litellm():
    """Imported late: it takes seconds, and looks for prices in the network unless it is told not to."""
    before = os.environ.get("LITELLM_LOCAL_MODEL_COST_MAP")
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import litellm
        litellm.telemetry = False
        yield litellm
        litellm.in_memory_llm_clients_cache.flush_cache()
        litellm.module_level_client.close()
        gc.collect()
    finally:
        if before is None:
            del os.environ["LITELLM_LOCAL_MODEL_COST_MAP"]
        else:
            os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = before


@pytest.fixture
def asked(address):
    return {"api_base": address, "api_key": "x", "num_retries": 0}


def user(text):
    return [{"role": "user", "content": text}]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
def test_litellm_chats_streams_and_embeds(litellm, asked):
    got = litellm.completion(model="openai/talk", messages=user("hello"), **asked)
    assert (got.choices[0].message.content, got.usage.completion_tokens) == ("you said hello", 3)
    parts = list(litellm.completion(model="openai/talk", messages=user("hello"), stream=True, **asked))
    assert "".join(each.choices[0].delta.content or "" for each in parts) == "you said hello"
    schema = {"type": "json_schema", "json_schema": {"name": "mood", "schema": MOOD, "strict": True}}
    got = litellm.completion(model="openai/talk", messages=user("a nice film"), response_format=schema, **asked)
    assert json.loads(got.choices[0].message.content) == {"mood": "good"}
    got = litellm.embedding(model="openai/measure", input=["banana"], encoding_format="float", **asked)
    assert got.data[0]["embedding"] == [6.0, 3.0, 0.5]
    with pytest.raises(litellm.NotFoundError, match="no model 'nobody' is served"):
        litellm.completion(model="openai/nobody", messages=user("hello"), **asked)
