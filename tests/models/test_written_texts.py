"""What is written by models is told as it grows, and asked for with parameters that mean something."""

import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from helpers.openai_server import CUT, Events, OpenAIServer
from motet.errors import ModelLoadError, RowErrors
from motet.models.huggingface.generation import GrowingText
from motet.models.openai.events import AnswerEvents, AnswerParts
from motet.models.openai.ranges import wrong_parameter

WRONG = [
    ({"temperature": -3}, "temperature must be a number of at least 0; got -3"),
    ({"top_p": 10**400}, "top_p must be a number from 0 to 1; got 1000"),
    ({"temperature": True}, "temperature must be a number of at least 0; got True"),
    ({"top_p": 7}, "top_p must be a number from 0 to 1; got 7"),
    ({"top_p": float("nan")}, "top_p must be a number from 0 to 1; got nan"),
    ({"max_tokens": 0}, "max_tokens must be a whole number of at least 1; got 0"),
    ({"max_tokens": -1}, "max_tokens must be a whole number of at least 1; got -1"),
    ({"max_completion_tokens": "9"}, "max_completion_tokens must be a whole number of at least 1; got '9'"),
    ({"seed": 1.5}, "seed must be a whole number; got 1.5"),
    ({"stop": 7}, "stop must be a text or a list of texts; got 7"),
    ({"stop": ["a", 7]}, r"stop must be a text or a list of texts; got \['a', 7\]"),
    ({"presence_penalty": 3}, "presence_penalty must be a number from -2 to 2; got 3"),
]


@pytest.fixture(scope="module")
def server():
    made = OpenAIServer()
    yield made
    made.close()


@pytest.mark.parametrize(("said", "what"), WRONG)
def test_parameters_out_of_their_ranges_are_refused_before_anybody_is_asked(server, said, what):
    text = mt.input("text", "string")
    with pytest.raises(ModelLoadError, match=what):
        mt.Graph("g", outputs={"t": mt.model(mt.Model(server.uri(), "far", options=said), text)})


def test_a_row_with_a_parameter_out_of_its_range_fails_alone(server):
    model = mt.Model(server.uri(), "far", options={"temperature": "{heat}"})
    inputs: dict[str, Any] = {"text": mt.input("text", "string"), "heat": mt.input("heat", "float64")}
    before = server.asked()
    with mt.Graph("g", outputs={"t": mt.model(model, **inputs).text}) as graph:
        with pytest.raises(mt.RowErrors, match=r"row 1.*temperature must be a number of at least 0; got -3\.0"):
            graph({"text": ["warm", "cold"], "heat": [0.5, -3.0]})
        assert server.asked() == before + 1


def test_what_is_right_passes():
    assert not wrong_parameter({"temperature": 0, "top_p": 1.0, "max_tokens": 5.0, "stop": None, "seed": -1, "user": 7})


def parts(chat: bool, *choices: dict[str, Any]) -> Any:
    made = AnswerParts(None, "m", chat=chat)
    for choice in choices:
        made.add({"choices": [{"index": 0, **choice}]})
    (choice,) = made.whole()["choices"]
    return choice["message"]["content"] if chat else choice["text"]


def test_a_stream_without_a_text_is_no_empty_text():
    assert parts(False, {"finish_reason": "stop"}) is None
    assert parts(False, {"text": ""}, {"finish_reason": "stop"}) == ""
    assert parts(True, {"delta": {"role": "assistant", "content": None}}, {"finish_reason": "stop"}) == ""
    assert parts(True, {"delta": {"tool_calls": []}}, {"finish_reason": "tool_calls"}) is None


PIECES = st.lists(st.sampled_from(["a", " b", "\n", "é", "👍🏽", "漢", "e\u0301", ""]), min_size=1, max_size=8)


@given(PIECES, st.sampled_from([b"\n", b"\r\n"]), st.integers(1, 7))
def test_events_may_be_cut_anywhere(pieces, line, size):
    said: list[str] = []
    lines = [b": a comment", b""]
    for piece in pieces:
        choice = {"index": 0, "delta": {"content": piece}}
        lines += [b"event: x", b"data: " + json.dumps({"choices": [choice]}, ensure_ascii=False).encode(), b""]
    lines += [b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}', b"", b"data:[DONE]", b"", b""]
    data = line.join(lines)
    events = AnswerEvents(said.append, "m", str, chat=True)
    for first in range(0, len(data), size):
        events.take({"content-type": "text/event-stream"}, data[first : first + size])
    assert events.answer()["choices"][0]["message"]["content"] == "".join(pieces) == "".join(said)


class Tokens:
    """Stands for a tensor."""

    def __init__(self, *ids: int) -> None:
        self.ids = ids

    def reshape(self, *_: int) -> "Tokens":
        return self

    def tolist(self) -> list[int]:
        return list(self.ids)


def grown(data: bytes, strips: bool = False) -> tuple[list[str], int]:
    """The pieces of a text whose tokens are its bytes, and how many tokens were put into words."""
    said, worked = [], 0

    def text(tokens: list[int]) -> str:
        nonlocal worked
        worked += len(tokens)
        found = bytes(tokens).decode(errors="replace")
        return found.removeprefix(" ") if strips else found

    growing = GrowingText(text, said.append, cleans=False)
    growing.put(Tokens(1, 2))
    for token in data:
        growing.put(Tokens(token))
    return said, worked


@given(st.text(st.sampled_from("ab \n漢👍é\u0301"), min_size=1, max_size=300), st.booleans())
def test_a_text_grows_to_itself(text, strips):
    said, _ = grown(text.encode(), strips)
    assert "".join(said) == (text.removeprefix(" ") if strips else text)
    assert not any("\ufffd" in piece for piece in said)


def test_a_long_text_is_not_put_into_words_again_with_each_token():
    said, worked = grown(b"word by word " * 400)
    assert "".join(said) == "word by word " * 400
    assert worked < 5200 * 70


def test_spaces_before_punctuation_wait_for_it_in_long_texts_too():
    words = [b"word", b" ,", b" word", b" ."] * 60
    said = []

    def text(tokens: list[int]) -> str:
        return b"".join(words[each] for each in tokens).decode().replace(" ,", ",").replace(" .", ".")

    growing = GrowingText(text, said.append, cleans=True)
    growing.put(Tokens(0))
    for token in range(len(words)):
        growing.put(Tokens(token))
    assert text(list(range(len(words)))).startswith("".join(said))
    assert len("".join(said)) > 60 * 10


def chunk(text: str | None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}]}


def read(server: OpenAIServer, text: str, **options: Any) -> list[str]:
    """The pieces of what the endpoint writes."""
    model = mt.Model(server.uri(), "far", options=options)
    with mt.Graph("g", outputs={"text": mt.model(model, mt.input("text", "string"))}) as graph:
        return list(graph.stream({"text": text}))


def test_an_endpoint_that_keeps_the_connection_open_after_its_end_is_not_waited_for(server):
    never = threading.Event()
    done = "data: [DONE]\n\n"
    server.then("open", Events([chunk("a "), chunk("b"), chunk(None, "stop"), done, never]))
    assert "".join(read(server, "open", timeout_s=20)) == "a b"  # else it would be late
    assert "".join(read(server, "hi")) == "you said hi"


def test_an_answer_that_is_whole_is_one_however_its_connection_ends(server):
    server.then("torn", Events([chunk("a "), chunk("b"), chunk(None, "stop"), "data: [DONE]\n\n"], cut=True))
    assert "".join(read(server, "torn")) == "a b"


@pytest.mark.parametrize(
    ("step", "what"),
    [
        (CUT, "the answer was cut off before its end"),
        (Events([chunk("a "), "data: {\n\n"]), "an event of the answer is no JSON"),
        (Events([chunk("a "), "data: 7\n\n"]), "an event of the answer is no object of JSON"),
        (Events([chunk("a "), {"error": {"message": "out of memory"}}]), "its server answered an error: out of memory"),
        (Events([chunk("a "), threading.Event()]), r"no answer within 0\.4 s"),
    ],
    ids=["cut", "malformed", "number", "error", "stalled"],
)
def test_a_stream_that_breaks_fails_its_row(server, step, what):
    server.then("breaks", step)
    with pytest.raises(RowErrors, match=what):
        read(server, "breaks", timeout_s=0.4)


def test_comments_and_very_long_lines_are_taken(server):
    word = "漢字 " * 200_000
    server.then("long", Events([": ping\r\n\r\n", chunk(word), "\n\n: ping\n", chunk("end", "stop")]))
    assert "".join(read(server, "long")) == word + "end"
