"""Golden rows: what a file of them may say, and what differs."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import motet as mt
from motet.cli import cli
from motet.errors import InputError
from motet.testing import check_golden
from motet.testing.golden import Golden, play_golden


def answered(x: Any, text: Any, raw: Any) -> Any:
    return {
        "double": x * 2,
        "whole": (x * 10).astype(np.int64),
        "text": [each.upper() for each in text],
        "raw": [bytes(reversed(each)) for each in raw],
        "vector": np.stack([x, x / 3], axis=1),
        "flag": x > 1,
    }


TYPES = {
    "double": "float64", "whole": "int64", "text": "string", "raw": "bytes", "vector": "float64[2]", "flag": "bool",
}  # fmt: skip


def made(function: Any = answered) -> mt.Graph:
    inputs = [
        mt.input("x", "float64", default=None),
        mt.input("text", "string", default="a"),
        mt.input("raw", "bytes", default=b"\xff\0"),
    ]
    node = mt.map(function, *inputs, outputs=TYPES, name="n")
    return mt.Graph("g", {name: getattr(node, name) for name in TYPES})


def b64(data: Any) -> Any:
    return base64.b64encode(data).decode()


def outputs(x: Any, text: str = "A", raw: Any = b"\0\xff") -> Any:
    """What the function gives, worked out by hand, as JSON has it."""
    return {
        "double": x * 2, "whole": int(x * 10), "text": text, "raw": b64(raw), "vector": [x, x / 3], "flag": x > 1,
    }  # fmt: skip


def written(path: Any, *lines: Any) -> Any:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def refusing(x: Any, text: Any, raw: Any) -> Any:
    if (np.asarray(x) == 7).any():
        raise ValueError("no sevens")
    return answered(x, text, raw)


def test_rows_that_are_answered_as_written(tmp_path: Path) -> None:
    path = written(
        tmp_path / "golden.jsonl",
        {"inputs": {"x": 1.5}, "outputs": outputs(1.5)},
        {"inputs": {"x": 3, "text": "straße", "raw": b64(b"abc")}, "outputs": outputs(3, "STRASSE", b"cba")},
        {"inputs": {"x": 7}, "error": "no sevens"},
        {"inputs": {"x": 7}, "error": True},
        {"inputs": {"x": "seven"}, "error": "input 'x' is float64"},
    )
    check_golden(made(refusing), path)


def test_nan_is_itself_and_missing_and_infinity_is_not(tmp_path: Path) -> None:
    x = mt.input("x", "float64", default=None)
    graph = mt.Graph("g", {"y": mt.map(lambda x: x, x, outputs="float64")})
    path = tmp_path / "golden.jsonl"
    for value, token, holds in (
        ("null", "NaN", True), ("null", "null", True), ("null", "0", False), ("Infinity", "Infinity", True), ("Infinity", "null", False),
        ("Infinity", "-Infinity", False), ("Infinity", "1e308", False),
    ):  # fmt: skip
        path.write_text(f'{{"inputs": {{"x": {value}}}, "outputs": {{"y": {token}}}}}\n')
        assert (play_golden(graph, path).differences == ()) == holds, (value, token)


@pytest.mark.parametrize(
    ("tolerance", "off", "holds"),
    [(1e-5, 1e-6, True), (1e-5, 1e-3, False), (1e-2, 1e-3, True), (0, 0, True), (0, 1e-15, False)],
)
def test_floats_may_be_a_little_apart_and_nothing_else(
    tmp_path: Path, tolerance: float, off: float, holds: bool
) -> None:
    wanted = outputs(1.5)
    wanted["vector"][1] *= 1 + off
    path = written(tmp_path / "golden.jsonl", {"inputs": {"x": 1.5}, "outputs": wanted})
    found = play_golden(made(), path, tolerance=tolerance)
    assert (not found.differences) == holds
    assert holds or found.differences[0].startswith("line 1: vector[1]: expected 0.5")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("whole", 16, "line 1: whole: expected 16, got 15"),
        ("text", "B", 'line 1: text: expected "B", got "A"'),
        ("flag", 1, "line 1: flag: expected 1, got true"),
        ("flag", False, "line 1: flag: expected false, got true"),
        ("vector", [1.5], "line 1: vector: expected [1.5], got [1.5, 0.5]"),
        ("double", "3.0", 'line 1: double: expected "3.0", got 3.0'),
        ("double", 10**400, "line 1: double: expected 1000000"),
        ("double", None, "line 1: double: expected null, got 3.0"),
        ("doubel", 3, "line 1: doubel: the graph has no such output; did you mean 'double'?"),
    ],
)
def test_what_differs_is_said_by_line_and_output(tmp_path: Path, name: str, value: Any, said: str) -> None:
    path = written(tmp_path / "golden.jsonl", {"inputs": {"x": 1.5}, "outputs": {**outputs(1.5), name: value}})
    with pytest.raises(AssertionError) as raised:
        check_golden(made(), path)
    assert "1 differences\n" in str(raised.value)
    assert said in str(raised.value)


def test_failures_that_should_be_answers_and_the_other_way_round(tmp_path: Path) -> None:
    path = written(
        tmp_path / "golden.jsonl",
        {"inputs": {"x": 7}, "outputs": outputs(7)},
        {"inputs": {"x": 1}, "error": "no sevens"},
        {"inputs": {"x": 7}, "error": "no eights"},
        {"inputs": {"x": 2}},
        {"inputs": {"x": 2}, "outputs": {"double": 4}},
    )
    found = play_golden(made(refusing), path).differences
    assert [each.partition(": ")[0] for each in found] == [
        "line 1", "line 2", "line 3", "line 4", *["line 5"] * 5,
    ]  # fmt: skip
    assert "got the failure node n in" in found[0]
    assert "expected a failure (no sevens), got {'double'" in found[1]
    assert "expected a failure (no eights), got node n" in found[2]
    assert "update writes it" in found[3]
    assert "whole: the line has no such output; got 20" in found[4]


def test_update_writes_what_differs_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl"
    kept = json.dumps({"inputs": {"x": 1.5}, "outputs": {**outputs(1.5), "double": 3.0000001}})
    path.write_text(f'{kept}\n\n{{"x": 3}}\n{{"inputs": {{"x": 7}}}}\n{{"inputs": {{"x": 2}}, "error": true}}\n')
    assert play_golden(made(refusing), path, update=True).changed == 3
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == json.loads(kept)
    assert lines[1] == {"inputs": {"x": 3}, "outputs": outputs(3)}
    assert "no sevens" in lines[2]["error"]
    assert lines[3] == {"inputs": {"x": 2}, "outputs": outputs(2)}
    check_golden(made(refusing), path)
    before = path.stat().st_mtime_ns
    check_golden(made(refusing), path, update=True)
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "golden.jsonl: the file has no rows"),
        ("\n \n", "golden.jsonl: the file has no rows"),
        ("{", "golden.jsonl:1: the line is no JSON"),
        ("[" * 100_000, "golden.jsonl:1: the line is no JSON"),
        ("[1]", "golden.jsonl:1: a line must be an object"),
        ('{"inputs": {}, "output": {}}', "unknown key 'output'; did you mean 'outputs'"),
        ('{"inputs": {}, "outputs": {}, "error": true}', "there are both outputs and error"),
        ('{"inputs": {}, "error": 3}', "error must be a part of the message, or true; got 3"),
        ('{"inputs": [1], "outputs": {}}', "golden.jsonl:1: inputs must be an object beside outputs or an error"),
        ('{"outputs": {}, "error": true}', "inputs must be an object"),
        ('{"inputs": {}, "outputs": []}', r"outputs must be an object; got \[\]"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: Any, said: str) -> None:
    (tmp_path / "golden.jsonl").write_text(text)
    with pytest.raises(InputError, match=said):
        check_golden(made(), tmp_path / "golden.jsonl")


@pytest.mark.parametrize("wrong", [-1, float("nan"), "0.1", None])
def test_a_tolerance_is_a_number(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(InputError, match="tolerance must be a number, 0 or more"):
        check_golden(made(), tmp_path / "golden.jsonl", tolerance=wrong)


def test_lines_end_where_json_lines_do(tmp_path: Path) -> None:
    """Not at what else Unicode calls the end of a line; a mark of the byte order and CRLF are no part of them."""
    path = tmp_path / "golden.jsonl"
    text = "a\u2028b\x85c"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"x": 1, "text": text}).encode() + b"\r\n")
    assert play_golden(made(), path, update=True) == Golden(1, (), 1)
    assert text.upper() in path.read_text()
    check_golden(made(), path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the golden rows cannot be read"):
        check_golden(made(), tmp_path / "nothing.jsonl")


GRAPH = """
motet: 1
name: thrice
inputs: {x: float32}
models:
  m: {uri: "python:motet.testing.fakes:Affine", inputs: {x: float32}, outputs: {y: float32}, with: {scale: 3.0}}
nodes:
  n: {model: m, inputs: [x]}
outputs: {y: n.y}
"""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thrice.yaml").write_text(GRAPH)

    def run(*arguments: Any) -> Any:
        done = CliRunner().invoke(cli, ["check", "thrice.yaml", *arguments])
        return done.exit_code, done.output

    return run


def test_the_command_compares_and_writes(command: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", {"x": 1}, {"x": 2.5}, {"x": "a"})
    code, said = command("--golden", "rows.jsonl")
    assert (code, "rows.jsonl: 3 golden rows, 3 differences" in said) == (1, True)
    assert command("--golden", "rows.jsonl", "--update") == (0, "rows.jsonl: 3 golden rows, 3 written\n")
    assert json.loads(path.read_text().splitlines()[1]) == {"inputs": {"x": 2.5}, "outputs": {"y": 7.5}}
    assert command("--golden", "rows.jsonl") == (0, "rows.jsonl: 3 golden rows, all answered as written\n")
    path.write_text(path.read_text().replace("7.5", "7.6"))
    code, said = command("--golden", "rows.jsonl")
    assert (code, said.splitlines()[0]) == (1, "line 2: y: expected 7.6, got 7.5")
    assert command("--golden", "rows.jsonl", "--tolerance", "0.1")[0] == 0
    check_golden("thrice.yaml", "rows.jsonl", tolerance=0.1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--update"], "--update and --tolerance are for golden rows"),
        (["--golden", "nothing.jsonl"], "the golden rows cannot be read"),
        (["--golden", "x", "--tolerance", "-1"], "-1.0 is not in the range"),
    ],
)
def test_what_the_command_refuses(command: Any, arguments: Any, said: str) -> None:
    code, told = command(*arguments)
    assert (code, said in told) == (2, True), told
