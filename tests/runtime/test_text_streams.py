"""Texts that are told piece by piece while a model writes them, called from Python."""

import asyncio
import gc
import threading

import pytest

import motet as mt
from helpers.openai_server import CUT, Events, OpenAIServer, Say, chunks, error
from helpers.until import until
from models import streaming_models
from motet.errors import DeadlineError, InputError, RowErrors, UnknownNameError

HERE = "python:models.streaming_models"


def writer(name="shouting", **options):
    return mt.Model(f"{HERE}:{name}", name, **options)


def graph_of(model, **more):
    text = mt.input("text", "string")
    return mt.Graph("g", outputs={"text": mt.model(model, text), **more})


@pytest.fixture
def server():
    made = OpenAIServer()
    yield made
    made.close()


@pytest.fixture
def gate():
    streaming_models.GATES["slow"] = made = threading.Event()
    yield made
    del streaming_models.GATES["slow"]


def test_a_generator_answers_as_any_model():
    with graph_of(writer()) as graph:
        assert graph({"text": ["a b", "c", ""]})["text"].tolist() == ["A B", "C", ""]
        answers, failures = graph({"text": ["a", "13 x", "b c"]}, failures="return")
    assert answers["text"].tolist() == ["A", "B C"]
    assert [(each.row, each.message) for each in failures] == [(1, "13 brings bad luck")]


def test_pieces_come_while_the_text_is_written(gate):
    with graph_of(writer()) as graph:
        stream = graph.stream({"text": "slow and steady"})
        found = []
        for _ in range(3):
            gate.set()
            found.append(next(stream))
        assert found == ["SLOW ", "AND ", "STEADY"]
        assert list(stream) == []
        assert stream.answer == {"text": "SLOW AND STEADY"}


def test_coroutines_read_it_too():
    async def read(graph):
        async with graph.astream({"text": "one two"}) as stream:
            return "".join([piece async for piece in stream]), stream.answer

    with graph_of(writer("Counting")) as graph:
        text, answer = asyncio.run(
            read(mt.Graph("c", outputs={"text": mt.model(writer(), mt.input("text", "string"))}))
        )
        assert (text, answer) == ("ONE TWO", {"text": "ONE TWO"})
        assert "".join(graph.stream({"text": "4"})) == "0,1,2,3,"


def test_it_is_not_answered_before_its_end(gate):
    with graph_of(writer()) as graph, graph.stream({"text": "slow"}) as stream:
        with pytest.raises(InputError, match="there is no answer before the last piece has come"):
            stream.answer  # noqa: B018
        gate.set()
        assert list(stream) == ["SLOW"]


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_who_stops_to_listen_ends_the_writing(how):
    streaming_models.CLOSED.clear()
    with graph_of(writer("endless")) as graph:
        stream = graph.stream({"text": how})
        assert next(stream).startswith("on and on")
        if how == "closed":
            stream.close()
        else:
            del stream
            gc.collect()
        until(lambda: how in streaming_models.CLOSED)


def test_there_are_no_more_pieces_once_it_is_closed(gate):
    with graph_of(writer()) as graph:
        stream = graph.stream({"text": "slow and steady"})
        gate.set()
        assert next(stream) == "SLOW "
        stream.close()
        assert list(stream) == []
        gate.set()
        until(lambda: stream._writing.is_over)


def test_a_loop_that_ends_ends_the_writing():
    streaming_models.CLOSED.clear()

    async def begin(graph):
        stream = graph.astream({"text": "left"})
        return await anext(stream), stream

    with graph_of(writer("endless")) as graph:
        piece, stream = asyncio.run(begin(graph))
        assert piece.startswith("on and on")
        stream._writing.take()  # so that there is room, and the writer tells of the next piece
        until(lambda: "left" in streaming_models.CLOSED)
        until(lambda: stream._writing.is_over)


def test_half_of_a_character_is_no_piece():
    with graph_of(writer("halving")) as graph:
        stream = graph.stream({"text": "smile"})
        assert next(stream) == "smile "
        with pytest.raises(RowErrors, match="which has a lone surrogate; it must be string"):
            next(stream)


def test_a_slow_reader_holds_up_the_writer():
    with graph_of(writer("endless")) as graph, graph.stream({"text": "slowly"}) as stream:
        until(lambda: stream._writing._pieces._held >= 1 << 16)
        assert 1 << 16 <= len(next(stream)) < (1 << 16) + 400


def test_late_is_late():
    streaming_models.CLOSED.clear()
    with graph_of(writer("endless")) as graph:
        stream = graph.stream({"text": "late"}, timeout=0.3)
        with pytest.raises(DeadlineError, match=r"not answered within 0\.3 s"):
            list(stream)


def test_a_row_that_fails_says_so_behind_its_pieces():
    with graph_of(writer()) as graph:
        stream = graph.stream({"text": "a 13"})
        assert next(stream) == "A "
        with pytest.raises(RowErrors, match="13 brings bad luck"):
            next(stream)
        with pytest.raises(InputError, match="unknown input 'txt'; did you mean 'text'"):
            list(graph.stream({"txt": "a"}))


def test_a_cascades_last_member_and_a_routes_arm_tell_theirs(gate):
    text = mt.input("text", "string")
    sure = mt.cascade([writer("sure"), writer("surest")], text, confidence=0.9, of="score")
    with mt.Graph("c", outputs={"text": sure.text, "by": sure.member}) as graph:
        stream = graph.stream({"text": "short"})
        assert list(stream) == ["small short"]
        assert stream.answer == {"text": "small short", "by": "sure"}
        assert list(graph.stream({"text": "a long one"}, output="text")) == ["small a long one"]
    route = mt.route(
        {"short": writer(), "long": writer("Counting")}, text, when={"long": "text == '3'"}, otherwise="short"
    )
    with mt.Graph("r", outputs={"text": route.output}) as graph:
        stream = graph.stream({"text": "slow b"})
        gate.set()
        assert next(stream) == "SLOW "
        gate.set()
        assert list(stream) == ["B"]
        assert "".join(graph.stream({"text": "3"})) == "0,1,2,"


def test_graphs_inside_tell_theirs(gate):
    inner = graph_of(writer())
    text = mt.input("text", "string")
    with mt.Graph("outer", outputs={"said": mt.model(inner, text).text}) as graph:
        stream = graph.stream({"text": "slow text"})
        gate.set()
        assert next(stream) == "SLOW "
        gate.set()
        assert list(stream) == ["TEXT"]


def test_a_text_that_is_changed_on_its_way_comes_whole():
    with graph_of(writer(after=streaming_models.titled)) as graph:
        assert list(graph.stream({"text": "a b"})) == ["A B!"]


def test_a_model_in_a_process_of_its_own_comes_whole():
    with graph_of(writer(placement="process")) as graph:
        assert list(graph.stream({"text": "a b c"})) == ["A B C"]


def test_which_text_must_be_said():
    text = mt.input("text", "string")
    with mt.Graph("two", outputs={"a": mt.model(writer(), text), "b": mt.model(writer("sure"), text).text}) as graph:
        with pytest.raises(
            InputError, match=r"it is not said which output is the text\n  hint: say output=NAME, of a: string"
        ):
            graph.stream({"text": "x"})
        with pytest.raises(UnknownNameError, match="unknown output 'c'; known: a, b"):
            graph.stream({"text": "x"}, output="c")
        assert "".join(graph.stream({"text": "x y"}, output="b")) == "small x y"
        assert "".join(graph.stream({"text": "x y"}, output="a")) == "X Y"
    scored = mt.model(writer("sure"), text).score
    with mt.Graph("g", outputs={"text": mt.model(writer(), text), "score": scored}) as graph:
        with pytest.raises(InputError, match="output 'score' is float64, no text"):
            graph.stream({"text": "x"}, output="score")
        with pytest.raises(InputError, match="a row is a mapping of inputs by name"):
            graph.stream("x")  # type: ignore[arg-type]


def test_what_a_generator_must_yield():
    with (
        graph_of(writer("mumbling")) as graph,
        pytest.raises(RowErrors, match=r"a generator yields \(row, piece\); got"),
    ):
        graph({"text": ["x"]})


# --- endpoints ---


def asked(server, **options):
    return graph_of(mt.Model(server.uri(), "far", options=options))


@pytest.mark.parametrize("mode", ["chat", "completions"])
def test_an_endpoint_is_asked_for_its_pieces(server, mode):
    going = threading.Event()
    whole = server.right(f"/v1/{'chat/' if mode == 'chat' else ''}completions", {}, {
        "model": "small", "messages": [{"role": "user", "content": "hi"}], "prompt": "hi"}).body  # fmt: skip
    parts = chunks(whole, usage=True)
    begins = 2 if mode == "chat" else 1  # a chat says the role first
    head, rest = parts[:begins], parts[begins:]
    server.then("hi", Events([*head, ": a comment\n\n", going, *rest]))
    with asked(server, mode=mode) as graph:
        stream = graph.stream({"text": "hi"})
        assert next(stream) == "you "
        going.set()
        assert "".join(stream) == "said hi"
        (_, _, body) = server.requests[-1]
        assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
        assert stream.answer["text"] == "you said hi"
        assert graph({"text": ["hi"]})["text"].tolist() == ["you said hi"]
    assert "stream" not in server.requests[-1][2]


def test_what_was_used_and_how_sure_it_was_is_known_of_streams_too(server):
    text = mt.input("text", "string")
    node = mt.model(mt.Model(server.uri(), "far", options={"score": True, "usage": True}), text)
    names = ("text", "score", "prompt_tokens", "completion_tokens")
    with mt.Graph("g", outputs={name: getattr(node, name) for name in names}) as graph:
        stream = graph.stream({"text": "hi there"})
        assert "".join(stream) == "you said hi there"
        assert stream.answer == graph.predict({"text": "hi there"})


def test_halves_of_a_character_in_two_events_are_one(server):
    said = [
        {"choices": [{"index": 0, "delta": {"content": each}}]} for each in ("so \ud83d", "\ude00\ud83d", "\ude00!")
    ]
    server.then("hi", Events([*said, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]))
    with asked(server) as graph:
        stream = graph.stream({"text": "hi"})
        assert "".join(stream) == "so \U0001f600\U0001f600!" == stream.answer["text"]


def test_a_key_that_a_stream_tells_is_not_told(server, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "sk-secret-123")
    for said in (error("you sent sk-secret-123"), 'data: "sk-secret-123"\n\n', "data: sk-secret-123\n\n"):
        server.then("hi", Events([said]))
        with asked(server, key_env="TEST_KEY") as graph, pytest.raises(RowErrors) as raised:
            list(graph.stream({"text": "hi"}))
        assert "***" in str(raised.value)
        assert "sk-secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("step", "before", "wanted"),
    [
        (CUT, "", "the answer was cut off before its end"),
        (
            Events([{"choices": [{"index": 0, "delta": {"content": "a"}}]}]),
            "a",
            "the answer was cut off before its end",
        ),
        (Events(['data: {"choices": [{"de\n\n']), "", 'an event of the answer is no JSON; it is \'{"choices"'),
        (Events(["data: 7\n\n"]), "", "an event of the answer is no object of JSON; it is '7'"),
        (
            Events([{"choices": [{"index": 0, "delta": {"content": "a"}}]}, error("out of memory")]),
            "a",
            "its server answered an error: out of memory",
        ),
        (Say(400, error("too long")), "", "its server answered 400: too long"),
    ],
)
def test_a_stream_that_breaks_fails_its_row_and_is_not_asked_again(server, step, before, wanted):
    server.then("hi", step)
    with asked(server, retries=2) as graph:
        stream = graph.stream({"text": "hi"})
        found = []
        with pytest.raises(RowErrors, match=wanted.replace("{", "\\{").replace("[", "\\[")):
            found.extend(stream)
    assert "".join(found).startswith(before)
    assert server.asked("hi") == 1


def test_a_stream_that_is_refused_for_now_is_asked_again(server):
    server.then("hi", Say(429, error("slow down"), {"Retry-After": "0"}))
    with asked(server) as graph:
        assert "".join(graph.stream({"text": "hi"})) == "you said hi"
    assert server.asked("hi") == 2


def test_an_endpoint_that_streams_nothing_answers_whole(server):
    server.then("hi", Say(200, server.right("/v1/chat/completions", {}, {
        "model": "small", "messages": [{"role": "user", "content": "hi"}]}).body))  # fmt: skip
    with asked(server) as graph:
        assert list(graph.stream({"text": "hi"})) == ["you said hi"]


def test_an_endpoint_is_left_once_nobody_listens(server):
    going = threading.Event()
    piece = {"choices": [{"index": 0, "delta": {"content": "word "}}]}
    server.then("hi", Events([piece, going, *[piece] * 5000]))
    with asked(server) as graph:
        stream = graph.stream({"text": "hi"})
        assert next(stream) == "word "
        stream.close()
        going.set()
        until(lambda: server._under_way == 0)
    assert server.told < 5000
