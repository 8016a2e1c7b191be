"""Cases that a server answers: as rows of JSON, and as tensors, which the protocol's own client asks for."""

from __future__ import annotations

import base64
import importlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

import motet as mt
from helpers.engine_cases import Case, Outcome, Row
from helpers.live_server import Live
from helpers.ways import Graphs, plain


@contextmanager
def serving(cases: Sequence[Case], graphs: Graphs, folder: Path) -> Iterator[Live]:
    """A server of the graphs of cases."""
    paths = []
    for case in cases:
        paths.append(folder / f"{case.name}.yaml")
        graphs[case.name].save(paths[-1])
    with closing(Live(folder, *paths)) as live:
        live.until_ready()
        yield live


def as_rows(cases: Sequence[Case], graphs: Graphs, live: Live) -> dict[str, Outcome]:
    """By `/predict`."""
    with httpx.Client(base_url=live.url, timeout=60) as http:
        return {case.name: _predicted(case, graphs[case.name], http) for case in cases}


def _given(case: Case, graph: mt.Graph) -> list[Row]:
    """Rows by names of inputs."""
    names = {graph.stored[name]: name for name in graph.inputs}
    return [{names[key]: value for key, value in row.items() if key in names} for row in case.rows.to_pylist()]


def _predicted(case: Case, graph: mt.Graph, http: httpx.Client) -> Outcome:
    given = [{name: _jsonable(value) for name, value in row.items()} for row in _given(case, graph)]
    answered = http.post(f"/predict/{graph.name}", content=json.dumps({"rows": given}, default=str))
    answers, failures = {}, {}
    if not answered.is_success:
        return Outcome(error=answered.text)
    for place, row in enumerate(answered.json()["rows"]):
        if "error" in row:
            failures[place] = ("", "", row["error"])
        else:
            kinds = graph.checked.signature.outputs
            answers[place] = {
                name: _bytes(row[name]) if kinds[name].dtype == "bytes" else row[name] for name in graph.outputs
            }
    return Outcome(answers, failures)


def _jsonable(value: Any) -> Any:
    if isinstance(value, list):
        return [_jsonable(each) for each in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _bytes(said: Any) -> Any:
    if isinstance(said, list):
        return [_bytes(each) for each in said]
    return None if said is None else base64.b64decode(said)


def as_tensors(cases: Sequence[Case], graphs: Graphs, live: Live, protocol: str) -> dict[str, Outcome]:
    """By the protocol's own client over `grpc` or `http`.

    Rows that have the same inputs, of the same shapes, are asked together; what is refused is halved until rows at fault stand alone.
    """
    package = importlib.import_module(f"tritonclient.{protocol}")
    port = live.grpc_port if protocol == "grpc" else live.port
    with closing(package.InferenceServerClient(f"127.0.0.1:{port}")) as client:
        return {case.name: _inferred(case, graphs[case.name], partial(_asked, package, client)) for case in cases}


def _inferred(case: Case, graph: mt.Graph, ask: Any) -> Outcome:
    groups: defaultdict[Any, list[int]] = defaultdict(list)
    rows = [_arrays(case, graph, row) for row in _given(case, graph)]
    for place, row in enumerate(rows):
        groups[tuple((name, array.shape) for name, array in row.items())].append(place)
    answers: dict[int, Row] = {}
    failures: dict[int, tuple[str, str, str]] = {}
    waiting = list(groups.values())
    while waiting:
        places = waiting.pop()
        found = ask(graph, {name: np.stack([rows[place][name] for place in places]) for name in rows[places[0]]})
        if isinstance(found, dict):
            columns = zip(*found.values(), strict=True)
            answers |= {
                place: dict(zip(found, map(plain, row), strict=True))
                for place, row in zip(places, columns, strict=True)
            }
        elif case.error:
            return Outcome(error=found)
        elif len(places) > 1:
            waiting += [places[: len(places) // 2], places[len(places) // 2 :]]
        else:
            failures[places[0]] = ("", "", found)
    return Outcome(answers, failures)


def _arrays(case: Case, graph: mt.Graph, row: Row) -> dict[str, Any]:
    """The values of a row as they are stored; a number that is missing is NaN, and what has a default is left out then. Other nulls have no tensor."""
    found = {}
    for name, value in row.items():
        kind = case.rows.schema.field(graph.stored[name]).type
        while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            kind = kind.value_type
        if value is not None or not graph.inputs[name].has_default:
            is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
            given = np.array(np.nan if value is None and pa.types.is_floating(kind) else value, object)
            if not given.size and None in (axes := graph.inputs[name].type.shape):
                given = given.reshape([axis or 0 for axis in axes])
            found[name] = given.astype(kind.to_pandas_dtype()) if is_number and None not in given.flat else given
    return found


def _asked(package: Any, client: Any, graph: mt.Graph, columns: dict[str, Any]) -> dict[str, Any] | str:
    """The outputs of rows, or why they are refused."""
    given = []
    for name, column in columns.items():
        given.append(package.InferInput(name, list(column.shape), np_to_triton_dtype(column.dtype)))
        given[-1].set_data_from_numpy(column)
    try:
        answer = client.infer(graph.name, given)
    except InferenceServerException as error:
        return str(error.message())
    kinds = graph.checked.signature.outputs
    return {name: _texts(answer.as_numpy(name), kinds[name].dtype) for name in graph.outputs}


def _texts(column: Any, dtype: str) -> Any:
    """A column whose texts, which the client leaves as bytes, are texts."""
    if dtype != "string":
        return column
    return np.array([value.decode() for value in column.flat], object).reshape(column.shape)
