"""Candidates, then rank: one row gives candidates, a second model scores each beside the row, and they come best first."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers.pair_models import QUERIES, TEXTS, Relevance
from helpers.rows import play, play_alone, same
from motet.errors import GraphError, TypeMismatchError

YAML = """
motet: 1
name: ranked
inputs: {query: string, candidates: "string[?]", ids: "int64[?]"}
models:
  ranker:
    uri: python:helpers.pair_models:Relevance
    inputs: {query: string, candidate: string}
    outputs: {score: float32}
nodes:
  best:
    shard: ranker
    inputs: [query, candidates]
    apart: motet.ops.ranking.pairs
    together: {map: motet.ops.ranking.best_first, with: {k: 3, names: [texts, ids]}}
    together_inputs: [candidates, ids]
outputs: {text: best.texts, id: best.ids, score: best.scores}
"""


def ranker(**more: Any) -> mt.Model:
    return mt.Model(
        "python:helpers.pair_models:Relevance", inputs={"query": "string", "candidate": "string"}, **more,
        outputs={"score": "float32"},
    )  # fmt: skip


def objects(*texts: str) -> Any:
    return np.array(texts, dtype=object)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> mt.Graph:
    path = tmp_path_factory.mktemp("ranked") / "ranked.yaml"
    path.write_text(YAML)
    return mt.load(path)


@pytest.fixture(scope="module")
def rows() -> dict[str, Any]:
    chosen = [[0, 2, 5, 1], [4, 3, 1], [0], []]
    return {
        "query": objects(*QUERIES, "nothing"),
        "candidates": [objects(*(TEXTS[place] for place in each)) for each in chosen],
        "ids": [np.array(each, dtype=np.int64) for each in chosen],
    }


def oracle(query: str, ids: Any, k: int = 3) -> tuple[list[int], list[float]]:
    """What a loop by hand gives."""
    model = Relevance()
    scores = [float(model([query], [TEXTS[place]])[0]) for place in ids]
    order = sorted(range(len(scores)), key=lambda place: -scores[place])[:k]
    return [int(ids[place]) for place in order], [scores[place] for place in order]


def check(rows: Any, ids: Any, scores: Any, texts: Any) -> None:
    for row, query in enumerate(rows["query"]):
        right, of_right = oracle(query, rows["ids"][row])
        assert [*ids[row]] == right
        assert [*texts[row]] == [TEXTS[each] for each in right]
        np.testing.assert_allclose(scores[row], of_right, rtol=1e-6)


def test_called(graph: mt.Graph, rows: Any) -> None:
    found = graph(rows)
    check(rows, found["id"], found["score"], found["text"])
    same(play(graph, rows), play_alone(graph, rows))


def table_of(rows: Any) -> pa.Table:
    return pa.table({name: [each if isinstance(each, str) else each.tolist() for each in rows[name]] for name in rows})


@pytest.mark.parametrize("engine", ["local", "beam"])
def test_in_bulk(graph: mt.Graph, rows: Any, engine: str, tmp_path: Path) -> None:
    if engine == "beam":
        pytest.importorskip("apache_beam")
    source, output = tmp_path / "rows.parquet", tmp_path / "ranked.parquet"
    pq.write_table(table_of(rows), source)
    report = graph.run(source, output, engine=engine)
    assert (report.rows, report.answered) == (4, 4)
    found = pq.read_table(output).sort_by("query") if engine == "beam" else pq.read_table(output)
    order = np.argsort(rows["query"]) if engine == "beam" else np.arange(4)
    given = {name: [rows[name][place] for place in order] for name in rows}
    check(given, found["id"].to_pylist(), found["score"].to_pylist(), found["text"].to_pylist())


def test_live(graph: mt.Graph, rows: Any) -> None:
    with graph.serve(block=False, port=0) as server:
        for row in range(4):
            given = {name: rows[name][row] for name in rows}
            body = {name: each if isinstance(each, str) else each.tolist() for name, each in given.items()}
            request = urllib.request.Request(
                f"{server.url}/predict/ranked", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request) as response:
                answer = json.load(response)
            one = {name: [rows[name][row]] for name in rows}
            check(one, [answer["id"]], [answer["score"]], [answer["text"]])


def in_python(require: int | None = None) -> mt.Graph:
    query, candidates = mt.input("query", "string"), mt.input("candidates", "string[?]")
    best = mt.shard(
        ranker(), query, candidates, apart=mt.ops.ranking.pairs, together=mt.ops.ranking.best_first,
        together_inputs=[candidates], require=require, name="best",
    )  # fmt: skip
    return mt.Graph("g", {"text": best.candidates, "index": best.indices})


BAD = {
    "query": objects("quiet room", "quiet room", "quiet room", "x"),
    "candidates": [
        objects("unreadable 1", TEXTS[1], TEXTS[0]),
        objects("unreadable 2", "unreadable 3"),
        objects(TEXTS[5], TEXTS[0]),
        objects(),
    ],
}


@pytest.mark.parametrize("require", [None, 0, 1, 2, 3])
def test_a_candidate_that_cannot_be_scored_is_left_out_where_enough_are(require: int | None) -> None:
    found = play(in_python(require), BAD)
    same(found, play_alone(in_python(require), BAD))
    if require is None:
        assert found[0].message.startswith("piece 0 of 3: cannot read a candidate (")
    elif require == 3:
        assert found[0].message.startswith("2 of 3 pieces were answered, 3 are required: cannot read a candidate (")
    else:
        assert found[0]["index"].tolist() == [2, 1]
        assert found[0]["text"].tolist() == [TEXTS[0], TEXTS[1]]
    if require == 0:
        assert found[1]["index"].tolist() == []
    else:
        assert (found[1].node, found[1].model, found[1].error) == (
            "best",
            "Relevance",
            "ValueError",
        )
    assert found[2]["text"].tolist() == [TEXTS[0], TEXTS[5]]
    assert found[3]["text"].tolist() == []


@pytest.mark.parametrize("require", [None, 0, 1])
def test_a_row_without_candidates_is_answered_where_all_others_fail(require: int | None) -> None:
    rows = {name: column[1:4:2] for name, column in BAD.items()}
    found = play(in_python(require), rows)
    assert found[1]["text"].tolist() == []
    assert require == 0 or found[0].error == "ValueError"


def test_what_is_declared_is_written_as_it_is_read(graph: mt.Graph, tmp_path: Path) -> None:
    in_python(2).save(tmp_path / "g.yaml")
    text = (tmp_path / "g.yaml").read_text()
    assert "together_inputs: [candidates]" in text
    assert "require: 2" in text
    mt.load(tmp_path / "g.yaml").save(tmp_path / "read.yaml")
    assert (tmp_path / "read.yaml").read_text() == text
    graph.save(tmp_path / "again.yaml")
    assert "names: [texts, ids]" in (tmp_path / "again.yaml").read_text()


def test_what_does_not_fit_is_refused() -> None:
    for require in (-1, 1.5, True):
        with pytest.raises(GraphError, match=rf"node 'best': require: require must be a whole number .* got {require}"):
            in_python(require)  # type: ignore[arg-type]
    query = mt.input("query", "string")
    with pytest.raises(GraphError, match=r"together_inputs must be a list of columns; got <query>"):
        mt.shard(ranker(), query, apart=len, together=len, together_inputs=query)  # type: ignore[arg-type]
    numbers = mt.input("numbers", "float64[?]")
    whole = mt.Model("python:math:floor", inputs={"x": "float64"}, outputs={"y": "int64"})
    joined = mt.shard(whole, numbers, apart=mt.ops.ranking.split, together=mt.ops.ranking.join, require=1, name="n")
    with pytest.raises(TypeMismatchError, match=r"may be missing, which 'y' of 'floor' cannot be: it is int64"):
        mt.Graph("g", {"y": joined})
