"""Golden rows: rows with the answers that a graph is to give, one a line of a JSON Lines file.

    {"inputs": {"x": 1.5}, "outputs": {"y": 3.0}}      these answers
    {"inputs": {"x": null}, "error": "is null"}        this row fails, with this in its message; true for any
    {"inputs": {"x": 2.5}}                             nothing yet: `update` writes it

Values are as `/predict` takes and gives them: numbers, texts, nested lists, base64 for bytes; and the tokens NaN and Infinity.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motet.errors import InputError, cut, known_names
from motet.facade import Graph, load
from motet.graph.fields import show
from motet.io.target import write_file
from motet.runtime.predict import answered_rows

__all__ = ["TOLERANCE", "Golden", "check_golden", "play_golden"]

TOLERANCE = 1e-5
"""How far a float may be from the golden one, as part of it and as a number."""
SHOWN = 20
_KEYS = ("inputs", "outputs", "error")


@dataclass(frozen=True)
class Golden:
    """What became of golden rows.

    Attributes:
        rows: how many there are.
        differences: what differs, each with its line and output.
        changed: lines that were written anew.
    """

    rows: int
    differences: tuple[str, ...]
    changed: int = 0

    def __str__(self) -> str:
        more = [f"and {len(self.differences) - SHOWN} more"] if len(self.differences) > SHOWN else []
        return "\n".join([*self.differences[:SHOWN], *more])


def check_golden(
    graph: Graph | str | Path, path: str | Path, *, tolerance: float = TOLERANCE, update: bool = False
) -> None:
    """See that a graph answers golden rows as their file says; for tests.

    Args:
        graph: the graph, or its file.
        path: a JSON Lines file; see `motet.testing.golden`.
        tolerance: how far a float may be from the golden one, as part of it and as a number.
        update: write what the graph answers into the file instead.

    Raises:
        AssertionError: when answers differ; says in which line and output, what was expected and what was got.
        InputError: when the file is not one of golden rows.
    """
    found = play_golden(graph if isinstance(graph, Graph) else load(graph), path, tolerance=tolerance, update=update)
    if found.differences:
        raise AssertionError(f"{os.fspath(path)}: {len(found.differences)} differences\n{found}")


def play_golden(graph: Graph, path: str | Path, *, tolerance: float = TOLERANCE, update: bool = False) -> Golden:
    """Play golden rows, and compare, or write, the answers; see `check_golden`."""
    if not isinstance(tolerance, (int, float)) or not tolerance >= 0:
        raise InputError(f"tolerance must be a number, 0 or more; got {show(tolerance)}")
    lines = list(_read(path, graph.inputs))
    if not lines:
        raise InputError("the file has no rows", where=os.fspath(path))
    answers, failures, _ = answered_rows(graph.executor, [line["inputs"] for _, line in lines])
    failed = {failure.row for failure in failures}
    got = [answer if row in failed else {"outputs": answer} for row, answer in enumerate(answers)]
    if update:
        written = [_golden(line, each, tolerance) for (_, line), each in zip(lines, got, strict=True)]
        changed = sum(line != new for (_, line), new in zip(lines, written, strict=True))
        if changed:
            _write(path, written)
        return Golden(len(lines), (), changed)
    found = [
        f"line {number}: {each}"
        for (number, line), answer in zip(lines, got, strict=True)
        for each in _differences(line, answer, tolerance)
    ]
    return Golden(len(lines), tuple(found))


def _read(path: str | Path, inputs: Collection[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number and the content of each line that is not empty; a line without `inputs` is the inputs themselves."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the golden rows cannot be read: {error}", where=os.fspath(path)) from error
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        where = f"{os.fspath(path)}:{number}"
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"the line is no JSON: {error}", where=where) from error
        if not isinstance(line, dict):
            raise InputError(f"a line must be an object; got {show(line)}", where=where)
        yield number, _checked(line, where, inputs)


def _checked(line: dict[str, Any], where: str, inputs: Collection[str]) -> dict[str, Any]:
    if not isinstance(line.get("inputs"), dict):
        if len(line) > 1 and {*line} <= {*_KEYS} - {*inputs}:
            raise InputError("inputs must be an object beside outputs or an error", where=where)
        return {"inputs": line}
    for name in line:
        if name not in _KEYS:
            raise InputError(f"unknown key {name!r}; {known_names(name, _KEYS)}", where=where)
    if "outputs" in line and "error" in line:
        raise InputError("a row is answered or fails; there are both outputs and error", where=where)
    if not isinstance(line.get("outputs", {}), dict):
        raise InputError(f"outputs must be an object; got {show(line['outputs'])}", where=where)
    if not (line.get("error", True) is True or isinstance(line["error"], str)):
        raise InputError(f"error must be a part of the message, or true; got {show(line['error'])}", where=where)
    return line


def _golden(line: dict[str, Any], got: dict[str, Any], tolerance: float) -> dict[str, Any]:
    """A line with what was got; one that holds stays as it is."""
    return {"inputs": line["inputs"], **got} if list(_differences(line, got, tolerance)) else line


def _differences(line: dict[str, Any], got: dict[str, Any], tolerance: float) -> Iterator[str]:
    """What is not as a line says.

    Args:
        line: of the file.
        got: `outputs`, or `error` and its message.
        tolerance: see `check_golden`.
    """
    if "error" in line:
        wanted = "" if line["error"] is True else line["error"]
        if "outputs" in got:
            yield f"expected a failure ({wanted or 'any'}), got {show(got['outputs'])}"
        elif wanted not in got["error"]:
            yield f"expected a failure ({wanted}), got {got['error']}"
    elif "outputs" not in line:
        yield "no answer is written there; update writes it"
    elif "error" in got:
        yield f"expected {show(line['outputs'])}, got the failure {got['error']}"
    else:
        outputs = got["outputs"]
        for name in dict.fromkeys([*line["outputs"], *outputs]):
            if name not in outputs:
                yield f"{name}: the graph has no such output; {known_names(name, list(outputs))}"
            elif name not in line["outputs"]:
                yield f"{name}: the line has no such output; got {show(outputs[name])}"
            else:
                yield from _unequal(name, line["outputs"][name], outputs[name], tolerance)


def _unequal(place: str, wanted: Any, got: Any, tolerance: float) -> Iterator[str]:
    """Where two values differ: the first places of lists and objects."""
    if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for position, (one, other) in enumerate(zip(wanted, got, strict=True)):
            yield from _unequal(f"{place}[{position}]", one, other, tolerance)
    elif isinstance(wanted, dict) and isinstance(got, dict) and set(wanted) == set(got):
        for name, one in wanted.items():
            yield from _unequal(f"{place}.{name}", one, got[name], tolerance)
    elif not _equal(wanted, got, tolerance):
        yield f"{place}: expected {cut(json.dumps(wanted, ensure_ascii=False))}, got {cut(json.dumps(got, ensure_ascii=False))}"


def _equal(wanted: Any, got: Any, tolerance: float) -> bool:
    """Whether values are the same: NaN is itself, and missing; numbers of which one is a float may be apart a little."""
    if _is_missing(wanted) or _is_missing(got):
        return _is_missing(wanted) and _is_missing(got)
    if isinstance(wanted, bool) or isinstance(got, bool) or not (_is_number(wanted) and _is_number(got)):
        return type(wanted) is type(got) and bool(wanted == got)
    if isinstance(wanted, int) and isinstance(got, int):
        return wanted == got
    try:
        return math.isclose(wanted, got, rel_tol=tolerance, abs_tol=tolerance)
    except OverflowError:  # an integer beyond all floats
        return False


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _write(path: str | Path, lines: list[dict[str, Any]]) -> None:
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    write_file(os.fspath(path), text.encode())
