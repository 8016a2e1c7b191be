"""Language models by vLLM, against a stand-in of its documented interface: there is no GPU to run it on."""

import asyncio
import json
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import motet as mt
from helpers.until import until
from motet.errors import MissingExtraError, ModelLoadError, RowErrors, UnknownNameError
from motet.models import ModelSource, find_handler


@dataclass
class Sampling:
    """What vLLM is asked with."""

    output_kind: str = ""
    temperature: float = 1.0
    max_tokens: int | None = 16
    structured_outputs: Any = None


@dataclass
class Structured:
    json: Any = None


@dataclass
class Engine:
    """Says each word of a prompt, as many as it may; `forever` goes on."""

    arguments: Any
    asked: list[Any] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    closed: bool = False

    @classmethod
    def from_engine_args(cls, arguments):
        ENGINES.append(cls(arguments))
        return ENGINES[-1]

    def get_tokenizer(self):
        def apply(messages, tokenize, add_generation_prompt):
            assert (tokenize, add_generation_prompt) == (False, True)
            return " ".join(f"<{each['role']}> {each['content']}" for each in messages)

        def encode(text, add_special_tokens):
            assert not add_special_tokens  # which the template has said
            return list(text.encode())

        return SimpleNamespace(apply_chat_template=apply, encode=encode)

    async def generate(self, prompt, sampling_params, request_id):
        prompt = prompt if isinstance(prompt, str) else bytes(prompt["prompt_token_ids"]).decode()
        self.asked.append((prompt, sampling_params))
        words = ['{"mood": "good"}'] if sampling_params.structured_outputs else prompt.split(" ")
        if "broken" in prompt:
            raise RuntimeError("CUDA is gone")
        if "long" in prompt:
            raise ValueError("the prompt is longer than the model takes")
        try:
            most = len(words) if sampling_params.max_tokens is None else sampling_params.max_tokens
            for place, word in enumerate(words[:most]):
                last = place == min(most, len(words)) - 1
                told = SimpleNamespace(
                    text=f"{word} ",
                    token_ids=[place],
                    finish_reason=("length" if most < len(words) else "stop") if last else None,
                )
                yield SimpleNamespace(outputs=[told], prompt_token_ids=[1, 2, 3])
            while "forever" in prompt:
                await asyncio.sleep(0.01)
                yield SimpleNamespace(
                    outputs=[SimpleNamespace(text="", token_ids=[], finish_reason=None)], prompt_token_ids=None
                )
        except BaseException:
            self.given_up.append(prompt)
            raise

    def shutdown(self):
        self.closed = True


ENGINES: list[Engine] = []


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


@pytest.fixture
def vllm(monkeypatch):
    made: Any = ModuleType("vllm")
    made.AsyncEngineArgs, made.AsyncLLMEngine = lambda **given: given, Engine
    made.sampling_params = SimpleNamespace(
        SamplingParams=Sampling, StructuredOutputsParams=Structured, RequestOutputKind=SimpleNamespace(DELTA="delta")
    )
    monkeypatch.setitem(sys.modules, "vllm", made)
    ENGINES.clear()
    return made


def graph_of(folder, output="text", **options):
    node = mt.model(mt.Model(f"vllm:{folder}", "m", options=options), mt.input("text", "string"))
    return mt.Graph("g", outputs={output: getattr(node, output) if options.get("usage") else node})


def test_why_an_answer_ended_is_an_output_and_there_are_no_tools(vllm, folder):
    asked = {"prompt": "{text}", "max_tokens": 2, "truncated": True, "finish_reason": True}
    node = mt.model(mt.Model(f"vllm:{folder}", "m", options=asked), mt.input("text", "string"))
    with mt.Graph("g", outputs={"text": node.text, "why": node.finish_reason}) as graph:
        assert graph({"text": ["a", "a b c"]})["why"].tolist() == ["stop", "length"]
    with pytest.raises(UnknownNameError, match="unknown option 'tools'"):
        graph_of(folder, tools=[{}])


def test_rows_are_asked_and_answered(vllm, folder):
    with graph_of(folder, system="Be short.", prompt="{text}", max_tokens=9, engine={"max_model_len": 64}) as graph:
        assert graph({"text": ["a b", "c"]})["text"].tolist() == [
            "<system> Be short. <user> a b ",
            "<system> Be short. <user> c ",
        ]
        assert ENGINES[0].arguments == {"model": str(folder), "max_model_len": 64}
        assert ENGINES[0].asked[0][1] == Sampling("delta", 0.0, 9)
        pieces = graph.stream({"text": "one two"})
        assert "".join(pieces) == "<system> Be short. <user> one two "
        answers, failures = graph({"text": ["broken", "too long", "fine"]}, failures="return")
        assert answers["text"].tolist() == ["<system> Be short. <user> fine "]
        assert [
            "vLLM failed: RuntimeError: CUDA is gone" in failures[0].message,
            "longer than the model takes" in failures[1].message,
        ]
    assert ENGINES[0].closed


def test_what_is_cut_off_fails_and_schemas_are_kept(vllm, folder):
    graph = graph_of(folder, mode="completions", prompt="{text}", max_tokens=2)
    with graph, pytest.raises(RowErrors, match=r"the answer was cut off \(finish_reason: length\)"):
        graph({"text": ["a b c"]})
    many = " ".join(map(str, range(30)))
    with graph_of(folder, mode="completions", prompt="{text}") as graph:  # 16 is what vLLM takes where it is not said
        assert graph({"text": [many]})["text"].tolist() == [f"{many} "]
    schema = {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
    with graph_of(folder, "mood", prompt="{text}", schema=schema) as graph:
        assert graph({"text": ["nice"]})["mood"].tolist() == ["good"]
    assert json.loads(json.dumps(ENGINES[-1].asked[0][1].structured_outputs.json)) == schema


def test_a_row_that_nobody_waits_for_is_given_up(vllm, folder):
    with graph_of(folder, prompt="{text}") as graph:
        stream = graph.stream({"text": "forever"})
        assert next(stream)
        stream.close()
        until(lambda: ENGINES[0].given_up == ["<user> forever"])


def test_what_is_wrong_is_said(folder, tmp_path, monkeypatch):
    handler = find_handler("vllm:x")[0]
    with pytest.raises(ModelLoadError, match="vllm: answers in words alone"):
        handler.signature(ModelSource("m", str(folder), {"mode": "embeddings"}))
    with pytest.raises(ModelLoadError, match=r"the folder has no config\.json"):
        handler.signature(ModelSource("m", str(tmp_path / "other"), {}))
    with pytest.raises(ModelLoadError, match="engine is arguments of vLLM's engine by name"):
        handler.signature(ModelSource("m", str(folder), {"engine": 7}))
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'motet\[vllm\]'"):
        handler.load(ModelSource("m", str(folder), {}))
