"""What the server itself says: one line an event, as text or JSON, with no more in it than anybody may read."""

import json
import logging
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motet.errors import GraphError
from motet.serving.config.log import LogSettings
from motet.serving.observability.server_log import one_line, set_up
from motet.system.incidents import INCIDENTS, MOST


@pytest.fixture
def written(capsys):
    """Sets the log up, and gives the lines that were written; the logging of the tests is back afterwards."""
    root, level, shown = logging.getLogger(), logging.getLogger().level, warnings.showwarning
    before = list(root.handlers)

    def begin(**options):
        root.handlers[:] = []  # those of pytest, which raise where a line cannot be written
        set_up(LogSettings(**options))
        return lambda: capsys.readouterr().err.splitlines()

    yield begin
    root.handlers[:], root.level = before, level
    logging.captureWarnings(False)
    assert warnings.showwarning is shown
    INCIDENTS.tell_rest(now=True)


def test_json_has_one_object_a_line(written):
    lines = written(format="json", level="info")
    logging.getLogger("motet.serving").info("a %s\nand\r\n  more \x1b[31m\u2028end", "b")
    INCIDENTS.say(logging.getLogger("motet.serving"), "sink_out", "gone", sink="s\n1", seconds=1.23456, nothing=None)
    first, second = map(json.loads, lines())
    assert first["message"] == "a b; and; more ?[31m; end"
    assert (first["level"], first["logger"], "incident" in first) == ("info", "motet.serving", False)
    assert {name: second[name] for name in ("level", "incident", "sink", "seconds")} == {
        "level": "warning", "incident": "sink_out", "sink": "s; 1", "seconds": 1.235,
    }  # fmt: skip
    assert "nothing" not in second


def test_an_exception_is_its_class_and_place_without_what_it_says(written):
    def broken():
        raise ValueError("row [1, 2, 3]")

    for form in ("text", "json"):
        lines = written(format=form)
        try:
            broken()
        except ValueError:
            logging.getLogger("motet.serving").exception("it failed")
        (line,) = lines()
        assert "row [1, 2, 3]" not in line
        assert "ValueError at test_server_log.py:" in line
        assert "in broken < test_server_log.py:" in line


def test_a_level_leaves_out_what_is_below(written):
    lines = written(level="error")
    log = logging.getLogger("motet.serving")
    log.warning("no")
    log.error("yes")
    assert [line.partition("ERROR ")[2] for line in lines()] == ["yes"]


def test_what_libraries_say_is_written_likewise_and_bounded(written):
    lines = written()
    for number in range(MOST + 5):
        logging.getLogger("multipart").warning("Found invalid character %d", number)
        logging.getLogger("motet.serving").warning("ours %d", number)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)  # over what pytest has set
        warnings.warn("pixels\nof a picture", UserWarning, stacklevel=1)
    found = lines()
    assert sum("Found invalid" in line for line in found) == MOST
    assert sum("ours" in line for line in found) == MOST + 5
    assert "UserWarning: pixels; of a picture" in found[-1]
    INCIDENTS.tell_rest(now=True)
    assert "5 more lines of the logger multipart were left out" in lines()[0]


def test_what_cannot_be_written_costs_no_line(written):
    lines = written(format="json")
    logging.getLogger("other").warning("%d", "x")
    logging.getLogger("other").warning("lone \ud800 surrogate")
    assert [json.loads(line)["message"] for line in lines()] == [
        "other logs what cannot be written: TypeError", "lone ? surrogate",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("to postgresql://ann:hunter2@db/x", "to postgresql://ann:***@db/x"),
        ("redis://:hunter2@h:1/0 is away", "redis://:***@h:1/0 is away"),
        ("redis://ann:hun@ter@h:1/0 is away", "redis://ann:***@h:1/0 is away"),
        ("asked http://h/v2/x?key=SECRET for it", "asked http://h/v2/x for it"),
        ("POST /predict/g?api_key=SECRET HTTP/1.1", "POST /predict/g HTTP/1.1"),
        ("why? since it was 2/3", "why? since it was 2/3"),
        ("  a\n\n  b  ", "a; b"),
        (" a \r\n b\x85\u2028c\vd\x1ee", "a; b; c; d; e"),
        (f"{' ' * 10**6}{'/' * 10**6}", f"{'/' * 2000}..."),
    ],
)
def test_no_password_query_or_break_is_in_a_line(said, expected):
    assert one_line(said) == expected


@given(st.text())
@settings(max_examples=300)
def test_any_text_is_one_line_of_utf8(text):
    found = one_line(text)
    assert len(found.splitlines()) <= 1
    found.encode()


@pytest.mark.parametrize("wrong", [{"format": "xml"}, {"level": "loud"}, {"colour": "red"}, "json"])
def test_what_cannot_be_meant_is_refused(wrong):
    with pytest.raises(GraphError):
        LogSettings.read(wrong, "serve.log")
