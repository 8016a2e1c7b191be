"""Many models by key, few of them loaded: answers, places, errors, what stays."""

import gc

import numpy as np
import pytest

import motet as mt
from helpers import keyed
from motet.errors import GraphError
from motet.graph.pool import Places
from motet.runtime.residency.lazy_models import lazy_names


@pytest.fixture(autouse=True)
def log():
    keyed.LOG.clear()
    yield keyed.LOG
    gc.collect()


def test_every_row_is_answered_by_the_model_of_its_key(log):
    keys = np.random.default_rng(0).integers(0, 20, 500)
    answers = keyed.graph(20, 3)(keyed.rows(keys))
    assert (answers["y"] == np.arange(500) + keys).all()
    assert answers["who"].tolist() == [str(key) for key in keys]


def test_no_more_models_are_loaded_than_there_are_places(log):
    keyed.graph(20, 3)(keyed.rows(list(range(20)) * 3))
    loaded, most = set(), 0
    for what, name in log:
        (loaded.add if what == "load" else loaded.discard if what == "close" else lambda name: None)(name)
        most = max(most, len(loaded))
    assert most == 3
    assert len(keyed.loads()) == 20


def test_what_is_loaded_is_played_first(log):
    graph = keyed.graph(6, 2)
    graph(keyed.rows([4, 5]))
    log.clear()
    graph(keyed.rows([0, 1, 4, 2, 5, 3]))
    assert [name for what, name in log if what == "call"][:2] == ["m4", "m5"]
    assert not {"m4", "m5"} & set(keyed.loads())


def test_nothing_is_loaded_before_rows_need_it(log):
    graph = keyed.graph(6, 2)
    graph.executor.load()
    assert not log
    graph(keyed.rows([3]))
    assert keyed.loads() == ["m3"]


def test_where_all_models_have_a_place_they_are_loaded_and_stay(log):
    graph = keyed.graph(3, 3)
    graph.executor.load()
    assert sorted(keyed.loads()) == ["m0", "m1", "m2"]


def test_a_resident_model_is_loaded_first_and_never_leaves(log):
    graph = keyed.graph(8, 2, resident=[7])
    graph.executor.load()
    graph(keyed.rows([0, 1, 2, 3, 4, 5, 6, 7, 0, 1]))
    assert keyed.loads()[0] == "m7"
    assert ("close", "m7") not in log
    assert keyed.loads().count("m7") == 1


def test_residents_must_leave_a_place(log):
    with pytest.raises(
        GraphError, match=r"2 models may be loaded at the same time, and 'm0', 'm1' are resident"
    ) as caught:
        keyed.graph(4, 2, resident=[0, 1])
    assert "node 'by_key'" in str(caught.value)


def test_a_model_that_is_asked_more_stays_while_others_come_and_go(log):
    graph = keyed.graph(10, 2)
    for other in range(1, 10):
        graph(keyed.rows([0] * 10))
        graph(keyed.rows([other]))
    assert keyed.loads().count("m0") == 1


def test_keys_that_share_a_model_are_one_call(log):
    same = keyed.model("same", 10.0)
    others = {f"x{place}": keyed.model(f"m{place}", 0.0) for place in range(3)}
    chosen = mt.route(
        {"a": same, "b": same, "c|d": same, **others},
        mt.input("x", "float32"),
        key=mt.input("k", "string"),
        max_loaded=2,
        name="r",
    )
    graph = mt.Graph("g", {"y": chosen.y, "who": chosen.member})
    answers = graph({"x": np.arange(5, dtype=np.float32), "k": ["b", "x1", "d", "a", "c"]})
    assert log.count(("call", "same")) == 1
    assert answers["y"].tolist() == [10, 1, 12, 13, 14]
    assert answers["who"].tolist() == ["b", "x1", "c|d", "a", "c|d"]


def test_a_model_that_cannot_be_loaded_fails_its_rows_alone(log):
    graph = keyed.graph(5, 2, broken=[3])
    answers, failures = graph(keyed.rows([0, 3, 1, 3, 4]), failures="return")
    assert answers["y"].tolist() == [0, 3, 8]
    assert [failure.row for failure in failures] == [1, 3]
    (said,) = {(failure.error, failure.model, failure.node) for failure in failures}
    assert said == ("ModelLoadError", "m3", "by_key")
    assert failures[0].message.startswith("the model of k '3': model 'm3' cannot be loaded: ")
    assert "the weights are torn" in failures[0].message


def test_a_model_that_cannot_be_loaded_is_left_alone_for_a_while(log):
    graph = keyed.graph(5, 2, broken=[3])
    for _ in range(4):
        graph(keyed.rows([3, 0]), failures="return")
    assert keyed.loads().count("m3") == 1


def test_what_models_did_is_known_after_they_went(log):
    graph = keyed.graph(6, 2)
    graph(keyed.rows([0, 1, 2, 3, 4, 5] * 2))
    graph(keyed.rows([0, 1, 2, 3, 4, 5] * 2))
    assert {model.model.name: model.stats.rows for model in graph.executor.host.known} == {f"m{n}": 4 for n in range(6)}


def test_models_of_the_graphs_that_a_route_leads_to_share_places(log):
    def inner(place):
        return mt.Graph(f"g{place}", {"y": mt.model(keyed.model(f"m{place}", float(place)), mt.input("x", "float32"))})

    chosen = mt.route(
        {str(n): inner(n) for n in range(5)}, mt.input("x", "float32"), key=mt.input("k", "int64"), max_loaded=2
    )
    graph = mt.Graph("outer", {"y": chosen.y})
    keys = np.array([0, 1, 2, 3, 4] * 4)
    assert (graph(keyed.rows(keys))["y"] == np.arange(20) + keys).all()
    held = graph.executor.host.residency.held()
    assert sum(each.state == "in" for each in held) == 2


def test_a_graph_may_share_places_among_all_its_models(log, tmp_path):
    graph = keyed.graph(6, None)
    written = graph.to_yaml() + "pool: {max_loaded: 2, max_swap_wait_ms: 20.0}\n"
    (tmp_path / "g.yaml").write_text(written)
    read = mt.load(str(tmp_path / "g.yaml"))
    assert (read(keyed.rows([5, 4, 3, 2, 1, 0]))["y"] == 5).all()
    assert sum(each.state == "in" for each in read.executor.host.residency.held()) == 2
    assert "pool: {max_loaded: 2, max_swap_wait_ms: 20.0}" in read.to_yaml()


@pytest.mark.parametrize(("places", "lazy"), [(2, {"m2", "inner"}), (3, set())])
def test_models_of_graphs_inside_are_counted_one_by_one(log, places, lazy):
    first = mt.model(keyed.model("m0", 0.0), mt.input("x", "float32"))
    inner = mt.Graph("inner", {"y": mt.model(keyed.model("m1", 1.0), first.y)})
    then = mt.model(keyed.model("m2", 2.0), mt.model(inner, mt.input("x", "float32")).y)
    graph = mt.Graph("outer", {"y": then.y}, pool=Places(max_loaded=places))
    assert lazy_names(graph.checked) == lazy
    assert bool(graph.executor.lazy_keys) == bool(lazy)
    assert (graph({"x": np.zeros(3, np.float32)})["y"] == 3).all()


def test_memory_is_bounded_too(log, tmp_path):
    from helpers import onnxes

    members = {}
    for place in range(5):
        path = onnxes.row_mean(tmp_path / f"m{place}.onnx")
        members[str(place)] = mt.Model(str(path), f"m{place}")
    chosen = mt.route(members, mt.input("x", "float32[3]"), key=mt.input("k", "int64"), name="r")
    graph = mt.Graph("g", {"y": chosen})
    written = graph.to_yaml() + "pool: {memory: 1B}\n"
    (tmp_path / "g.yaml").write_text(written)
    read = mt.load(str(tmp_path / "g.yaml"))
    _, failures = read({"x": np.ones((1, 3), dtype=np.float32), "k": [0]}, failures="return")
    assert "the models of graph 'g' may take 0 MiB together" in failures[0].message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_loaded": 0}, "max_loaded: must be at least 1; got 0"),
        ({"max_loaded": None, "max_swap_wait_ms": 5.0}, "max_swap_wait_ms has no meaning without max_loaded"),
        ({"max_loaded": 2, "max_swap_wait_ms": -1.0}, "must be more than 0; got -1"),
        ({"max_loaded": "two"}, "expected a whole number; got 'two'"),
    ],
)
def test_places_that_cannot_be_are_refused(settings, message):
    max_loaded = settings.pop("max_loaded")
    with pytest.raises(GraphError, match=message):
        keyed.graph(3, max_loaded, **settings)


def test_memory_is_really_given_back(tmp_path):
    from helpers import onnxes
    from motet.runtime.resources.memory import resident_bytes

    size = 4 * 1024 * 2048 * 4  # of the weights of one model: 32 MiB
    members = {}
    for place in range(6):
        path = onnxes.classifier(tmp_path / f"m{place}.onnx", features=1024, hidden=4 * 2048, seed=place)
        members[str(place)] = mt.Model(str(path), f"m{place}")
    x, k = mt.input("x", "float32[1024]"), mt.input("k", "int64")
    graph = mt.Graph("g", {"p": mt.route(members, x, key=k, max_loaded=1)})
    rows = {"x": np.ones((1, 1024), dtype=np.float32)}
    graph({**rows, "k": [0]})
    before = resident_bytes()
    for key in range(1, 6):
        graph({**rows, "k": [key]})
    assert resident_bytes() - before < 1.5 * size
    held = {each.key.name: each for each in graph.executor.host.residency.held()}  # type: ignore[attr-defined]
    assert held["m5"].state == "in"
    assert size <= held["m3"].memory_bytes < 4 * size
    assert held["m3"].loads == 1
