"""Language models in GGUF files against llama.cpp itself, with SmolLM2; a few tokens each, since processors are slow at it."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import motet as mt
from helpers.smollm import smollm
from motet.errors import DeadlineError, InputError, ModelLoadError, RowErrors, UnknownNameError
from motet.models import ModelSource, find_handler
from motet.models.llama import LlamaCalls
from motet.models.openai.usage import Price
from motet.runtime.deadline import droppable

MOOD = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"], "type": "string"}},
    "required": ["mood"],
    "additionalProperties": False,
}
ASKED = [{"role": "user", "content": "Say hi to Ann."}]


@pytest.fixture(scope="module")
def file():
    return smollm()


@pytest.fixture(scope="module")
def itself(file):
    """The model as llama.cpp's own package has it; one for all questions."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx, parameters.n_parallel, parameters.verbosity, parameters.warmup = 512, 1, -1, False
    parameters.fit_params = False
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    return xllamacpp.Server(parameters)


CALLING = """{% if tools %}<|im_start|>system
# Tools
<tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools>
Answer by <tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call><|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content or '' }}{% for call in message.tool_calls or [] %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""A template that tells of tools, which that of the file does not."""
SAY = {
    "type": "function",
    "function": {
        "name": "mood",
        "parameters": {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]},
    },
}


def called(mood, name="c"):
    told = {"name": "mood", "arguments": f'{{"mood": "{mood}"}}'}
    return {"role": "assistant", "content": "", "tool_calls": [{"id": name, "type": "function", "function": told}]}


def test_tools_are_called_as_llama_cpp_calls_them(file):
    import xllamacpp

    names = ("messages", "tools", "tool_choice")
    said = {"context": 512, "max_tokens": 40, **{name: f"{{{name}}}" for name in names}}
    model = mt.Model(str(file), "small", options={**said, "chat_template": CALLING})
    inputs: Any = {name: mt.input(name, "any", default=None) for name in names[1:]}
    node = mt.model(model, messages=mt.input("messages", "any"), **inputs)
    texts = [("a nice film", "good"), ("a poor film", "bad")]
    messages = [each for text, mood in texts for each in ({"role": "user", "content": text}, called(mood))]
    asked = {"messages": [*messages, {"role": "user", "content": "a nice play"}], "tools": [SAY]}
    with mt.Graph("g", {name: getattr(node, name) for name in ("text", "tool_calls", "finish_reason")}) as graph:
        got = graph.predict({**asked, "tool_choice": "required"})
        stream = graph.stream({**asked, "tool_choice": "required"})
        assert list(stream) == []
        assert stream.answer == got  # with the ids of its calls
    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.chat_template = str(file), CALLING
    parameters.n_ctx, parameters.n_parallel, parameters.verbosity, parameters.warmup = 512, 1, -1, False
    parameters.fit_params, parameters.cpuparams.n_threads = False, 1
    right = {**asked, "max_tokens": 40, "temperature": 0.0, "cache_prompt": False, "tool_choice": "required"}
    (choice,) = xllamacpp.Server(parameters).handle_chat_completions(right)["choices"]
    wanted = [each["function"] for each in choice["message"]["tool_calls"]]
    assert [each["function"] for each in got["tool_calls"]] == wanted
    assert (got["text"], got["finish_reason"], choice["finish_reason"]) == ("", "tool_calls", "tool_calls")


def test_the_calls_of_a_question_have_ids_of_their_own():
    def answer(question, take):
        pieces = [
            {"index": place, "id": "made up", "function": {"name": "mood", "arguments": "{}"}} for place in (0, 1)
        ]
        take({"choices": [{"index": 0, "delta": {"tool_calls": pieces}, "finish_reason": "tool_calls"}]})

    options: Any = SimpleNamespace(mode="chat", price=Price())
    calls = LlamaCalls(SimpleNamespace(handle_chat_completions=answer), 1, options, "m")

    def ids(text):
        message = calls({"messages": [{"role": "user", "content": text}]})[0]["choices"][0]["message"]
        return [each["id"] for each in message["tool_calls"]]

    assert ids("a") == ids("a")
    assert len({*ids("a"), *ids("b")}) == 4


def test_a_template_that_tells_of_no_tools_is_refused(file):
    node = mt.model(mt.Model(str(file), "small", options={"tools": [SAY]}), mt.input("text", "string"))
    with (
        pytest.raises(
            ModelLoadError, match=r"its chat template tells the model of no tools\n  hint: say a template that"
        ),
        mt.Graph("g", {"text": node.text}) as graph,
    ):
        graph.predict({"text": "a"})


def graph_of(file, *outputs, **options):
    asked = {"context": 512, "max_tokens": 5, "truncated": True, **options}
    model = mt.Model(str(file), "small", options=asked)
    names = outputs or ("text",)
    node = mt.model(model, mt.input("name", "string"))
    found = {name: getattr(node, name) if len(names) > 1 or outputs else node for name in names}
    return mt.Graph("g", outputs=found)


@pytest.fixture(scope="module")
def talker(file):
    with graph_of(
        file, "text", "score", "prompt_tokens", "completion_tokens", prompt="Say hi to {name}.", score=True, usage=True
    ) as graph:
        yield graph


def told(answer):
    (choice,) = answer["choices"]
    return choice["message"]["content"], answer["usage"]


def test_it_says_what_llama_cpp_says(talker, itself):
    answer = talker({"name": ["Ann", "Bo"]})
    right = {"messages": ASKED, "max_tokens": 5, "temperature": 0.0, "cache_prompt": False}
    text, used = told(itself.handle_chat_completions(right))
    assert answer["text"][0] == text
    assert answer["prompt_tokens"][0] == used["prompt_tokens"]
    assert answer["completion_tokens"].tolist() == [5, 5]
    assert ((answer["score"] > 0) & (answer["score"] <= 1)).all()


def test_a_row_says_its_own_temperature(file, itself):
    options = {"context": 512, "max_tokens": 5, "truncated": True, "seed": 3, "prompt": "Say hi to {who}."}
    model = mt.Model(str(file), "small", options={**options, "temperature": "{heat}"})
    who, heat = mt.input("who", "string"), mt.input("heat", "any", default=None)
    with mt.Graph("g", {"text": mt.model(model, who=who, heat=heat)}) as graph:
        got = graph.predict([{"who": "Ann", "heat": 4.0}, {"who": "Ann"}])
    right = {"messages": ASKED, "max_tokens": 5, "seed": 3, "cache_prompt": False}
    wanted = [told(itself.handle_chat_completions({**right, "temperature": heat}))[0] for heat in (4.0, 0.0)]
    assert [each["text"] for each in got] == wanted
    assert wanted[0] != wanted[1]


def test_a_row_says_no_parameter_that_llama_cpp_would_pass_over():
    options: Any = SimpleNamespace(mode="chat", price=None)
    with pytest.raises(InputError, match="m: max_tokens must be a whole number of at least 1; got 0"):
        LlamaCalls(None, 1, options, "m")({"messages": ASKED, "max_tokens": 0})


def test_its_tokens_are_told_as_they_come_and_are_its_answer(talker):
    stream = talker.stream({"name": "Ann"})
    pieces = list(stream)
    assert len(pieces) > 1
    assert "".join(pieces) == stream.answer["text"] == talker({"name": ["Ann"]})["text"][0]


def test_who_is_late_or_gone_ends_the_writing(talker):
    with pytest.raises(DeadlineError):
        list(talker.stream({"name": "a man " * 40}, timeout=0.001))
    stream = talker.stream({"name": "Ann"})
    stream.close()
    assert talker({"name": ["Ann"]})["completion_tokens"].tolist() == [5]


def test_who_is_gone_before_there_is_room_is_not_asked():
    options: Any = SimpleNamespace(mode="chat", price=None)
    calls = LlamaCalls(None, 1, options, "m")
    asked: list[str] = []
    ask, drop = droppable(lambda: calls.each(asked.append, ["late"]))
    with ThreadPoolExecutor(1) as pool:
        with calls._room:
            waiting = pool.submit(ask)
            drop()
        with pytest.raises(DeadlineError, match="not waited for"):
            waiting.result()
    assert asked == []


def test_a_row_that_does_not_fit_fails_alone(talker):
    answers, failures = talker({"name": ["Ann", "word " * 600, None]}, failures="return")
    assert len(answers["text"]) == 1
    assert [each.row for each in failures] == [1, 2]
    assert "exceeds the available context size (512 tokens)" in failures[0].message
    assert "input 'name' is null" in failures[1].message


def test_answers_follow_a_schema(file):
    with graph_of(file, "mood", prompt="Is it good or bad? {name}", schema=MOOD, max_tokens=24) as graph:
        assert graph({"name": ["a nice film"]})["mood"][0] in ("good", "bad")
    graph = graph_of(file, "mood", prompt="{name}", schema=MOOD, max_tokens=2, truncated=False)
    with graph, pytest.raises(RowErrors, match=r"the answer was cut off \(finish_reason: length\)"):
        graph({"name": ["a nice film"]})


def test_completions_and_embeddings(file, itself):
    with graph_of(file, mode="completions", prompt="The capital of {name} is", max_tokens=2) as graph:
        text = graph({"name": ["France"]})["text"][0]
    right = {"prompt": "The capital of France is", "max_tokens": 2, "temperature": 0.0, "cache_prompt": False}
    assert text == itself.handle_completions(right)["choices"][0]["text"]
    outputs = {"embedding": "float32[576]"}
    options = {"mode": "embeddings", "context": 64, "prompt": "{text}", "pooling": "mean"}
    model = mt.Model(f"llama:{file}", "vectors", options=options, outputs=outputs)
    with mt.Graph("g", {"vector": mt.model(model, mt.input("text", "string"))}) as graph:
        vectors = graph({"text": ["a cat", "a cat", "the sea"]})["vector"]
    assert np.allclose(vectors[0], vectors[1], atol=1e-5)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert vectors[0] @ vectors[2] < 0.99


def test_what_is_wrong_is_said(file, tmp_path):
    def signature(location=file, **options):
        return find_handler("llama:x")[0].signature(ModelSource("m", str(location), options))

    assert (
        str(signature(prompt="{a}", usage=True))
        == "(a: any) -> (text: string, prompt_tokens: int64, completion_tokens: int64)"
    )
    other = tmp_path / "x.gguf"
    other.write_bytes(b"PK")
    with pytest.raises(
        ModelLoadError, match="this is no GGUF file\n  hint: convert it by llama.cpp's convert_hf_to_gguf.py"
    ):
        signature(other)
    with pytest.raises(ModelLoadError, match="context must be a whole number of at least 1; got 0"):
        signature(context=0)
    with pytest.raises(ModelLoadError, match="pooling must be mean, cls, last; got 'max'"):
        signature(pooling="max")
    with pytest.raises(ModelLoadError, match="chat_template must be a text"):
        signature(chat_template=7)
    for wrong, what in (
        ({"stop": 7}, "stop must be a text or a list of texts; got 7"),
        ({"max_tokens": 0}, "max_tokens must be a whole number of at least 1; got 0"),
        ({"max_completion_tokens": 2.5}, "max_completion_tokens must be a whole number of at least 1; got 2.5"),
        ({"logit_bias": 7}, "logit_bias must be a mapping from tokens to numbers; got 7"),
    ):
        with pytest.raises(ModelLoadError, match=what):
            signature(**wrong)
    with pytest.raises(UnknownNameError, match="unknown option 'key_env'"):
        signature(key_env="KEY")
    other.write_bytes(b"GGUF" + b"\0" * 64)
    with pytest.raises(ModelLoadError, match="llama.cpp cannot load it"):
        find_handler("llama:x")[0].load(ModelSource("m", str(other), {}))
