"""Graph files: what is built in Python and what is read from YAML are the same, without loss."""

import functools
import math
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from helpers import functions, onnxes
from motet.graph.yaml import dump_graph, parse, read_graph
from motet.testing.fakes import Affine, Scores, fake


def again(graph):
    """The graph that its own file describes."""
    return read_graph(parse(graph.to_yaml()), mt.Graph, folder=graph.folder)


def lossless(graph):
    """Python -> YAML -> graph -> YAML, all equal."""
    read = again(graph)
    assert read == graph
    assert read.to_yaml() == graph.to_yaml()
    return read


def x_():
    return mt.input("x", "float32")


def scores(name, seed=0, **options):
    return fake(Scores, name, "float32", "float32[3]", output="p", seed=seed, **options)


def model_with_everything():
    return mt.Model(
        "python:motet.testing.fakes:Affine",
        "full",
        inputs={"x": "float32"},
        outputs={"output": "float32"},
        before=[functools.partial(functions.scale, by=2.0), "helpers.functions.refuse_negative"],
        after=functions.scale,
        batch=mt.Batching(max_rows=16, max_wait_ms=2.5, pad=0.5, rows=8),
        replicas={"min": 1, "max": 4, "idle_s": 30},
        placement="process",
        uris=["oip+http://other:8000/v2/models/full"],
        balance="hash",
        balance_by="x",
        warm_up={"x": [1.0, 2.0]},
        timeout_s=2.5,
        resources=mt.Resources(cpu=2, memory_bytes=512 * 2**20, accelerator=0.5),
        labels=["no", "yes", "1"],
        options={"scale": 3.0},
        version="7.0",
        device="cpu",
    )


GRAPHS = {}


def example(make):
    GRAPHS[make.__name__] = make
    return make


@example
def a_map():
    return mt.Graph("g", {"y": mt.map(functions.scale, x_(), by=255)})


@example
def a_map_by_path_each_with_outputs():
    made = mt.map(
        "helpers.functions.one_length", mt.input("s", "string"), each=True, outputs="int64", name="length-of_s"
    )
    return mt.Graph("g", {"y": made})


@example
def a_map_that_says_what_it_gives():
    made = mt.map(functions.undeclared_dict, x_(), outputs={"low": "float32", "high": "float32"})
    return mt.Graph("g", {"low": made.low, "high": made.high})


@example
def a_map_that_does_not():
    made = mt.map(functions.undeclared_dict, x_())
    return mt.Graph("g", {"low": made.low, "high": made.high})


@example
def a_model_by_position():
    return mt.Graph("g", {"y": mt.model(fake(Affine, "m", scale=2), x_())})


@example
def a_model_by_name():
    minus = mt.Model("python:helpers.models:minus", inputs={"a": "float32", "b": "float32"}, outputs={"d": "float32"})
    return mt.Graph("g", {"y": mt.model(minus, b=x_(), a=mt.input("z", "float32"))})


@example
def a_model_with_everything():
    return mt.Graph("g", {"y": mt.model(model_with_everything(), x_())})


@example
def ensembles():
    one, two, three = scores("one"), scores("two", 1), scores("three", 2)
    x, z = x_(), mt.input("z", "float32")
    plain = mt.ensemble([one, two, three], x)
    weighed = mt.ensemble([one, two], x, weights={"two": 3}, require=1, name="weighed")
    named = mt.ensemble({"a": mt.member(one, [z]), "b": mt.member(two, {"x": x}, output="p")}, combine="median")
    custom = mt.ensemble([one, two], x, combine=functions.smallest, output="scores")
    shadow = mt.ensemble([one, three], x, combine="max", weights=[1, 0])
    return mt.Graph(
        "g",
        {"a": plain, "b": weighed, "c": named, "d": custom.scores, "e": shadow, "f": plain.three.p, "g": plain.member},
    )


@example
def a_combiner_with_keywords():
    combine = functools.partial(functions.smallest)
    return mt.Graph("g", {"y": mt.ensemble([scores("one"), scores("two", 1)], x_(), combine=combine)})


@example
def a_union():
    one, two = (
        fake(Affine, name, "float32[2]", settings={"labels": labels})
        for name, labels in (("one", ["a", "b"]), ("two", [1, True]))
    )
    return mt.Graph("g", {"y": mt.ensemble([one, two], mt.input("x", "float32[2]"), combine="union")})


@example
def routes():
    one, two, three = fake(Affine, "one"), fake(Affine, "two", scale=2), fake(Affine, "three", scale=3)
    x, key = x_(), mt.input("key", "string")
    keyed = mt.route({"yes": one, "no|on|1": two, "*": three}, x, key=key, missing="yes")
    numbered = mt.route({0: one, True: two, 2.5: three}, x, key=key)  # type: ignore[dict-item]
    split = mt.route({"a": one, "b": mt.member(two, [x])}, x, split={"a": 90, "b": 10}, by=key, salt="s", missing="a")
    when = mt.route(
        {"big": one, "odd": two, "rest": three}, x, when={"big": "x > 10", "odd": "key == 'odd'"}, otherwise="rest"
    )
    return mt.Graph("g", {"a": keyed, "b": numbered, "c": split, "d": when, "who": split.member})


@example
def cascades():
    one, two, three = scores("one"), scores("two", 1), scores("three", 2)
    x = x_()
    plain = mt.cascade([one, two], x, confidence=0.9)
    named = mt.cascade({"a": one, "b": two, "c": three}, x, confidence={"a": 0.5, "b": 0.75}, of="s", output="s")
    return mt.Graph("g", {"a": plain, "b": named.s, "c": named.confidence})


@example
def shards():
    number = mt.input("number", "int64")
    plain = mt.shard(fake(Affine, "m"), number, apart=functions.digits, together=functions.total)
    spread = mt.shard(
        fake(Affine, "m"), number, apart="helpers.functions.digits_typed", together=functions.total, spread="hash"
    )
    return mt.Graph("g", {"a": plain, "b": spread})


@example
def graphs_inside():
    inner = mt.Graph("inner", {"output": mt.model(fake(Affine, "shared"), x_())})
    outer = mt.Graph("outer", {"output": mt.ensemble([inner, fake(Affine, "other", scale=2)], x_())})
    return mt.Graph("g", {"a": mt.model(outer, x := x_()), "b": mt.model(inner, x)})


@example
def inputs_of_all_types():
    made = {
        "f": mt.input("f", "float32[2,3]", default=[[1, 2, 3], [4, 5, 6]]),
        "g": mt.input("g", "float64", default=None),
        "h": mt.input("h", "float32[?]", default=[]),
        "i": mt.input("i", "uint8", default=255),
        "j": mt.input("j", "bool", default=True),
        "k": mt.input("k", "string", default="yes"),
        "l": mt.input("l", "string", default=None),
        "m": mt.input("m", "bytes", default=b"\x00\xff"),
        "n": mt.input("n", "any", default={"a": [1, None]}),
        "o": mt.input("o", "float32", default=math.nan),
        "p": mt.input("p", "int64", default=np.int64(3)),
        "q": mt.input("q", "float32[3]", default=np.arange(3)),
        "r": mt.input("r", "string", default="two\nlines: # not a comment "),
        "s": mt.input("s", "float64", default=1e-7),
        "t": mt.input("t", "string", default="1e3"),
    }
    return mt.Graph("g", made)


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
def test_a_graph_is_the_same_when_it_is_written_and_read(make):
    lossless(make())


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS)
def test_the_same_program_makes_the_same_file(make):
    assert make().to_yaml() == make().to_yaml()


def test_the_file_looks_as_people_write_it():
    graph = mt.Graph(
        "fashion",
        {
            "score": mt.map(
                functions.top, mt.ensemble([scores("one"), scores("two", 1)], x_(), weights=[1, 3], name="vote")
            ).score
        },
    )
    assert graph.to_yaml() == textwrap.dedent("""\
        motet: 1
        name: fashion
        inputs:
          x: float32
        models:
          one: {uri: 'python:motet.testing.fakes:Scores', inputs: {x: float32}, outputs: {p: 'float32[3]'}, with: {seed: 0}}
          two: {uri: 'python:motet.testing.fakes:Scores', inputs: {x: float32}, outputs: {p: 'float32[3]'}, with: {seed: 1}}
        nodes:
          vote: {ensemble: [one, two], inputs: [x], combine: weighted_average, weights: [1.0, 3.0]}
          top_1: {map: helpers.functions.top, inputs: [vote]}
        outputs: {score: top_1.score}
    """)


WRITTEN = """\
motet: 1
name: all
inputs:
  x: float32
  key: {type: string, default: no}
  number: int64
models:
  one: {uri: "python:motet.testing.fakes:Affine", inputs: {x: float32}, outputs: {y: float32}}
  two: {uri: "python:motet.testing.fakes:Affine", inputs: {x: float32}, outputs: {y: float32}, with: {scale: 2e0}}
graphs:
  both:
    inputs: {x: float32}
    nodes:
      mean: {ensemble: [one, two], inputs: [x]}
    outputs: {y: mean}
nodes:
  keyed: {route: {yes: one, no: two, on: both, 007: one, 1: two, null: both, "*": one}, key: key, inputs: [x]}
  split: {route: {a: one, b: both}, split: {a: 1, b: 1e-3}, by: key, inputs: [x]}
  cut: {shard: both, apart: helpers.functions.digits, together: helpers.functions.total, inputs: [number]}
  vote:
    ensemble: {near: one, far: {uses: two, inputs: [keyed]}}
    inputs: {x: split}
    combine: {map: helpers.functions.smallest}
outputs: {keyed: keyed, vote: vote, cut: cut, who: keyed.member}
"""


def test_yaml_is_the_same_when_it_is_read_and_written(tmp_path):
    (tmp_path / "all.yaml").write_text(WRITTEN)
    graph = mt.load(tmp_path / "all.yaml")
    assert [arm.name for arm in graph.nodes["keyed"].players] == ["yes", "no", "on", "007", "1", "null", "*"]  # type: ignore[attr-defined]
    assert lossless(graph)({"x": [3.0], "key": ["on"], "number": [12]}) == {
        "keyed": 4.5, "vote": 3.0, "cut": 4.5, "who": "on",
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["yes", "no", "on", "off", "y", "n", "~x", "007", "12:30", "2024-01-01", "1_000", "0o7"]
)
def test_what_other_yaml_readers_change_stays_a_text(text):
    assert parse(f"{{{text}: {text}}}") == {text: text}


@pytest.mark.parametrize("text", ["1", "1.0", "true", "null", "1e3", "0x10", ".5", "~"])
def test_keys_are_texts(text):
    assert list(parse(f"{{{text}: 0}}")) == [text]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1e3", 1e3), ("-1.5E+2", -150.0), (".5", 0.5), ("5.", 5.0), ("0x10", 16), ("-7", -7), ("true", True),
     ("False", False), ("~", None), ("null", None), ("-.inf", -math.inf), ("[1, a]", [1, "a"]), ("0", 0), ("0.5", 0.5)],
)  # fmt: skip
def test_numbers_are_numbers(text, value):
    found = parse(f"v: {text}")["v"]
    assert (found, type(found)) == (value, type(value))


def test_merged_keys_are_known():
    assert parse("a: &base {x: 1, y: 2}\nb: {<<: *base, y: 3}") == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}


PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=8), st.binary(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=6).filter(lambda text: "\ud800" not in text), PLAIN, max_size=3))
def test_any_plain_values_are_given_back_as_they_were(values):
    from motet.graph.yaml import dump

    text = dump({"with": values, "nodes": {"a": {"with": values}}, "graphs": {"g": {"nodes": {"b": {"with": values}}}}})
    assert parse(text) == {
        "with": values, "nodes": {"a": {"with": values}}, "graphs": {"g": {"nodes": {"b": {"with": values}}}},
    }  # fmt: skip


def test_tuples_mean_lists_before_and_after():
    graph = mt.Graph("g", {"y": mt.map("helpers.functions.keywords", x_(), size=(2, (3, np.float32(0.5))))})
    assert graph.nodes["keywords_1"].function.keywords == {"size": [2, [3, 0.5]]}  # type: ignore[attr-defined]
    lossless(graph)


# files


def folder_of(tmp_path):
    onnxes.affine(tmp_path / "models" / "affine.onnx")
    (tmp_path / "inner.yaml").write_text(
        "motet: 1\ninputs: {x: float32}\nmodels: {m: models/affine.onnx}\nnodes: {a: {model: m, inputs: [x]}}\noutputs: {y: a}\n"
    )
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "outer.yaml").write_text(
        "motet: 1\ninputs: {x: float32}\nmodels: {m: ../models/affine.onnx}\ngraphs: {twice: {file: ../inner.yaml}}\n"
        "nodes: {a: {model: m, inputs: [x]}, b: {model: twice, inputs: [a]}}\noutputs: {y: b}\n"
    )
    return tmp_path / "deep" / "outer.yaml"


def test_uris_and_files_are_relative_to_the_file_that_names_them(tmp_path):
    graph = mt.load(folder_of(tmp_path))
    assert graph.name == "outer"
    assert graph.graphs["twice"].name == "inner"
    assert graph({"x": [1.0]})["y"].tolist() == [7.0]


@pytest.mark.parametrize("place", ["here.yaml", "new/here.yaml", "deep/here.yaml"])
def test_save_writes_uris_relative_to_the_new_file(tmp_path, place):
    graph = mt.load(folder_of(tmp_path))
    graph.save(tmp_path / place)
    text = (tmp_path / place).read_text()
    assert str(tmp_path) not in text
    assert ("uri: models/affine.onnx" if place == "here.yaml" else "uri: ../models/affine.onnx") in text
    assert mt.load(tmp_path / place)({"x": [1.0]})["y"].tolist() == [7.0]
    assert [each.name for each in (tmp_path / place).parent.glob(".*")] == []


def test_save_keeps_absolute_uris_and_import_paths(tmp_path):
    path = onnxes.affine(tmp_path / "models" / "affine.onnx")
    both = mt.ensemble(
        {"a": mt.Model(str(path)), "b": mt.Model("python:helpers.models:echo", outputs={"y": "float32"})}, x_()
    )
    mt.Graph("g", {"y": both}).save(tmp_path / "g.yaml")
    graph = mt.load(tmp_path / "g.yaml")
    assert [model.uri for model in graph.models.values()] == [str(path), "python:helpers.models:echo"]


def test_save_writes_uris_of_the_working_directory_relative_to_the_file(tmp_path, monkeypatch):
    onnxes.affine(tmp_path / "models" / "affine.onnx")
    monkeypatch.chdir(tmp_path)
    mt.Graph("g", {"y": mt.model(mt.Model("onnx:models/affine.onnx"), x_())}).save("graphs/g.yaml")
    monkeypatch.chdir("/")
    graph = mt.load(tmp_path / "graphs" / "g.yaml")
    assert graph.models["affine"].uri == "onnx:../models/affine.onnx"
    assert graph({"x": [1.0]})["y"].tolist() == [3.0]


def test_save_refuses_functions_that_cannot_be_imported(tmp_path):
    def local(x):
        return x

    graph = mt.Graph("g", {"y": mt.map(local, x_())})
    with pytest.raises(mt.GraphError) as error:
        graph.save(tmp_path / "g.yaml")
    line = local.__code__.co_firstlineno
    assert str(error.value) == (
        f"node 'local_1': the function local ({__file__}:{line}) cannot be imported by name, so a file cannot name it\n"
        "  hint: define it at the top level of a module (not in __main__, a notebook, or inside another function)"
    )
    assert not (tmp_path / "g.yaml").exists()


@pytest.mark.parametrize("place", ["before", "after", "combine", "apart", "main"])
def test_every_place_of_a_function_refuses_those_without_a_name(place):
    x = x_()
    unnamed = lambda x, *more: x  # noqa: E731
    if place == "main":
        exec("def of_main(x):\n    return x", namespace := {"__name__": "__main__"})
        node = mt.map(namespace["of_main"], x)
    elif place == "combine":
        node = mt.ensemble([fake(Affine, "a"), fake(Affine, "b")], x, combine=unnamed)
    elif place == "apart":
        node = mt.shard(fake(Affine, "a"), x, apart=unnamed, together=functions.total)
    else:
        node = mt.model(fake(Affine, "a", settings={place: unnamed}), x)
    with pytest.raises(mt.GraphError, match="cannot be imported by name, so a file cannot name it"):
        mt.Graph("g", {"y": node}).to_yaml()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(2), r"nodes.keywords_1.with.size: a file cannot hold array\(\[0., 0.\]\) \(ndarray\)"),
        ({1: 2}, r"nodes.keywords_1.with.size: a key of a file is a text; got 1"),
        ([{"a": {1}}], r"nodes.keywords_1.with.size\[0\].a: a file cannot hold \{1\} \(set\)"),
    ],
)
def test_values_that_a_file_cannot_hold_are_refused(value, message):
    graph = mt.Graph("g", {"y": mt.map("helpers.functions.keywords", x_(), size=value)})
    with pytest.raises(mt.GraphError, match=message):
        dump_graph(graph)


def test_graphs_in_files_do_not_share_models_and_inline_ones_do(tmp_path):
    inner = "inputs: {x: float32}\nnodes: {a: {model: m, inputs: [x]}}\noutputs: {y: a}"
    (tmp_path / "inner.yaml").write_text(f"motet: 1\n{inner}\n")
    outer = "motet: 1\ninputs: {x: float32}\nmodels: {m: 'python:helpers.models:echo'}\ngraphs: {g: %s}\nnodes: {b: {model: g, inputs: [x]}}\noutputs: {y: b}\n"
    inline = "{inputs: {x: float32}, nodes: {a: {model: m, inputs: [x]}}, outputs: {y: a}}"
    (tmp_path / "inline.yaml").write_text(outer % inline)
    (tmp_path / "file.yaml").write_text(outer % "{file: inner.yaml}")
    assert mt.load(tmp_path / "inline.yaml")({"x": [2.0]})["y"].tolist() == [2.0]
    with pytest.raises(
        mt.GraphError, match=r"inner\.yaml: graph 'inner': node 'a': unknown model or graph 'm'; there are none"
    ):
        mt.load(tmp_path / "file.yaml")


def test_functions_without_a_name_are_the_same_only_if_they_are_one():
    first, second = (lambda x: x + 1), (lambda x: x + 2)
    one, two = (fake(Affine, "m", settings={"before": function}) for function in (first, second))
    x = x_()
    graph = mt.Graph("g", {"one": mt.model(one, x), "two": mt.model(two, x), "again": mt.model(one, x)})
    assert list(graph.models) == ["m", "m_2"]
    answers = graph({"x": [0.0]})
    assert (answers["one"], answers["two"], answers["again"]) == (1, 2, 1)
