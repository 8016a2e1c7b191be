"""Every kind of node with models of every framework, built in Python and read from YAML: the same answers."""

import json
from itertools import combinations

import numpy as np
import pytest

import motet as mt
from helpers import functions
from helpers.trained import FRAMEWORKS, X

KEYS = np.arange(len(X)) % 3
HEAD = """\
motet: 1
name: {kind}
inputs: {{x: "float32[4]", key: int64}}
models: {{one: {one}, two: {two}}}
"""


@pytest.fixture(scope="module", params=FRAMEWORKS)
def trained(request, tmp_path_factory):
    """A folder with two models of a framework, what a graph says of them, and what they answer by themselves."""
    folder = tmp_path_factory.mktemp(request.param)
    made = [FRAMEWORKS[request.param](folder, seed) for seed in (0, 1)]
    return folder, [said for said, _ in made], [answer for _, answer in made]


def models_of(folder, said):
    """The same models in Python."""
    for name, each in zip(("one", "two"), said, strict=True):
        options = {key: value for key, value in each.items() if key not in ("uri", "with")}
        uri = each["uri"] if each["uri"].startswith("python:") else str(folder / each["uri"])
        yield mt.Model(uri, name, options=each.get("with"), **options)


def a_map(one, two, x, key):
    return {"p": mt.model(one, mt.map(functions.halve, x, name="half"), name="n")}


def a_model(one, two, x, key):
    return {"p": mt.model(one, x, name="n")}


def an_ensemble(one, two, x, key):
    n = mt.ensemble([one, two], x, weights=[1, 3], output="probabilities", name="n")
    return {"p": n.probabilities, "own": n.two.probabilities}


def a_route(one, two, x, key):
    n = mt.route({"0": one, "1|2": two}, x, key=key, name="n")
    return {"p": n.probabilities, "who": n.member}


def a_split(one, two, x, key):
    n = mt.route({"a": one, "b": two}, x, split={"a": 2, "b": 1}, by=key, salt="s", name="n")
    return {"p": n.probabilities, "who": n.member}


def a_condition(one, two, x, key):
    n = mt.route(
        {"a": one, "b": two}, x, when={"b": "max_of(x) > 1 and key != 2"}, otherwise="a", using=[key], name="n"
    )
    return {"p": n.probabilities, "who": n.member}


def a_cascade(one, two, x, key):
    n = mt.cascade([one, two], x, confidence=0.6, of="probabilities", name="n")
    return {"p": n.probabilities, "who": n.member}


def a_shard(one, two, x, key):
    return {"p": mt.shard(one, x, apart=functions.both_signs, together=functions.mean_of_pieces, name="n")}


def a_graph(one, two, x, key):
    inner = mt.Graph(
        "inner", {"probabilities": mt.ensemble([one, two], mt.input("x", "float32[4]"), name="m").probabilities}
    )
    return {"p": mt.ensemble([inner, one], x, combine="median", name="n").probabilities}


KINDS = {
    a_map: "nodes: {half: {map: helpers.functions.halve, inputs: [x]}, n: {model: one, inputs: [half]}}\noutputs: {p: n}",
    a_model: "nodes: {n: {model: one, inputs: [x]}}\noutputs: {p: n}",
    an_ensemble: "nodes: {n: {ensemble: [one, two], inputs: [x], weights: [1, 3], output: probabilities}}\n"
    "outputs: {p: n, own: n.two.probabilities}",
    a_route: 'nodes: {n: {route: {0: one, "1|2": two}, key: key, inputs: [x]}}\noutputs: {p: n, who: n.member}',
    a_split: "nodes: {n: {route: {a: one, b: two}, split: {a: 2, b: 1}, by: key, salt: s, inputs: [x]}}\n"
    "outputs: {p: n, who: n.member}",
    a_condition: "nodes: {n: {route: {a: one, b: two}, when: {b: max_of(x) > 1 and key != 2}, otherwise: a, inputs: [x]}}\n"
    "outputs: {p: n, who: n.member}",
    a_cascade: "nodes: {n: {cascade: [one, two], until: {confidence: 0.6}, of: probabilities, inputs: [x]}}\n"
    "outputs: {p: n, who: n.member}",
    a_shard: "nodes: {n: {shard: one, apart: helpers.functions.both_signs, together: helpers.functions.mean_of_pieces, inputs: [x]}}\n"
    "outputs: {p: n}",
    a_graph: "graphs: {inner: {inputs: {x: 'float32[4]'}, nodes: {m: {ensemble: [one, two], inputs: [x]}}, outputs: {probabilities: m}}}\n"
    "nodes: {n: {ensemble: [inner, one], combine: median, inputs: [x]}}\noutputs: {p: n}",
}  # fmt: skip


def oracle(kind, answers, x, keys):
    """What the frameworks answer by themselves, put together here."""
    one, two = (answer(x) for answer in answers)
    if kind is a_map:
        return answers[0](x / np.float32(2))
    if kind is a_model:
        return one
    if kind is an_ensemble:
        return (one + 3 * two) / 4
    if kind is a_route:
        return np.where((keys == 0)[:, None], one, two)
    if kind is a_condition:
        return np.where(((x.max(axis=1) > 1) & (keys != 2))[:, None], two, one)
    if kind is a_cascade:
        return np.where((one.max(axis=1) >= 0.6)[:, None], one, two)
    if kind is a_shard:
        return (one + answers[0](-x)) / 2
    if kind is a_graph:
        return ((one + two) / 2 + one) / 2
    return None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_python_and_yaml_give_the_same_answers_as_the_framework(trained, kind, monkeypatch):
    folder, said, answers = trained
    used = {"key": KEYS} if kind in (a_route, a_split, a_condition) else {}
    python = mt.Graph(
        kind.__name__, kind(*models_of(folder, said), mt.input("x", "float32[4]"), mt.input("key", "int64"))
    )
    text = HEAD.format(kind=kind.__name__, one=json.dumps(said[0]), two=json.dumps(said[1])) + KINDS[kind]
    (folder / "g.yaml").write_text(text)
    read = mt.load(folder / "g.yaml")
    python.save(folder / "saved.yaml")
    saved = mt.load(folder / "saved.yaml")
    found = python({"x": X, **used})
    for graph, columns in ((read, {"x": X, "key": KEYS}), (saved, {"x": X, **used})):
        other = graph(columns)
        assert other.keys() == found.keys()
        for name in found:
            assert found[name].dtype == other[name].dtype
            np.testing.assert_allclose(
                other[name], found[name], atol=1e-6
            ) if name != "who" else np.testing.assert_array_equal(other[name], found[name])
    wanted = oracle(kind, answers, X, KEYS)
    if wanted is not None:
        np.testing.assert_allclose(found["p"], wanted, atol=1e-5)
    alone = np.concatenate(
        [python({"x": X[row : row + 1], **{n: c[row : row + 1] for n, c in used.items()}})["p"] for row in range(25)]
    )
    np.testing.assert_allclose(found["p"][:25], alone, atol=1e-5)


def test_members_of_every_framework_vote_together(tmp_path):
    members, answers = {}, []
    for name, make in FRAMEWORKS.items():
        said, answer = make(tmp_path, 0)
        (model,) = list(models_of(tmp_path, [said, said]))[:1]
        as_float = functions.to_float32 if name == "sklearn" else None
        members[name] = mt.Model(
            model.uri, name, inputs=model.inputs, outputs=model.outputs, options=model.options, after=as_float
        )
        answers.append(answer(X))
    outputs = {name: "output" if name == "sklearn" else None for name in members}
    x = mt.input("x", "float32[4]")
    made = {name: mt.member(model, [x], output=outputs[name]) for name, model in members.items()}
    graph = mt.Graph("all", {"p": mt.ensemble(made, output="probabilities").probabilities})
    np.testing.assert_allclose(graph({"x": X})["p"], np.mean(answers, axis=0), atol=1e-5)


def test_no_answer_shares_memory_with_another_or_with_what_was_given(trained):
    """Also of a handler that says that its arrays are new at each call, which nobody copies then."""
    folder, said, answers = trained
    one, _ = models_of(folder, said)
    x = mt.input("x", "float32[4]")
    with mt.Graph("g", {"p": mt.model(one, x, name="n"), "x": x}) as graph:
        given = X[:9].copy()
        first, second = graph({"x": given}), graph({"x": given[::-1].copy()})
        np.testing.assert_allclose(first["p"], answers[0](given), atol=1e-5)
        for array in (*first.values(), *second.values()):
            assert array.flags.writeable
        found = [first["p"], first["x"], second["p"], second["x"], given]
        assert not any(np.shares_memory(one, two) for one, two in combinations(found, 2))
        (hosted,) = graph.executor.models()
        direct, ((name, kind),) = hosted.replicas.direct, hosted.signature.inputs.items()
        own = given.astype(kind.dtype)
        raw = [direct({name: rows}) for rows in (own, own[::-1].copy(), own)]
    kept = [value for answer in raw for value in answer.values() if isinstance(value, np.ndarray)]
    assert not any(np.shares_memory(one, two) for one, two in combinations([*kept, own], 2))
    for name, value in raw[0].items():
        np.testing.assert_array_equal(value, raw[2][name])
