"""Everything that can be wrong with a graph is found when it is built, and said: what, where, what was got, what to do."""

import numpy as np
import pytest
import yaml

import motet as mt
from helpers import functions, onnxes
from motet.errors import CycleError, TypeMismatchError, UnknownNameError
from motet.testing.fakes import Affine, Scores, fake

BASE = """
motet: 1
name: g
inputs: {x: float32, key: string, wide: "float32[4]", n: int64}
models:
  one: {uri: "python:motet.testing.fakes:Affine", inputs: {x: float32}, outputs: {y: float32}}
  two: {uri: "python:motet.testing.fakes:Affine", inputs: {x: float32}, outputs: {y: float32}}
  pair: {uri: "python:helpers.models:minus", inputs: {a: float32, b: float32}, outputs: {y: float32}}
  scores: {uri: "python:motet.testing.fakes:Scores", inputs: {x: float32}, outputs: {p: "float32[3]", z: float32}}
  other: {uri: "python:motet.testing.fakes:Affine", inputs: {x: float32}, outputs: {z: float64}}
nodes: {a: {model: one, inputs: [x]}}
outputs: {y: a}
"""


def file_with(**changes):
    """A right graph file with some of its parts changed; a mapping is merged into what is there."""
    values = yaml.safe_load(BASE)
    for key, value in changes.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) and key in values else value
    return yaml.safe_dump(values, sort_keys=False)


def load(tmp_path, text):
    path = tmp_path / "g.yaml"
    path.write_text(text)
    return mt.load(path)


def refused(tmp_path, text, error=mt.GraphError):
    """What is said about a file, without its folder."""
    with pytest.raises(error) as caught:
        load(tmp_path, text)
    return str(caught.value).replace(f"{tmp_path}/", "")


def node(**description):
    return {"nodes": {"a": description}}


COMBINERS = "known: average, weighted_average, majority_vote, max, median, union, stack"
NODE_MISTAKES = [
    # names
    (dict(model="one", inputs=["xx"]), "g.yaml: graph 'g': node 'a': unknown column 'xx'; did you mean 'x'? known: x, key, wide, n, a"),
    (dict(model="tow", inputs=["x"]), "g.yaml: graph 'g': node 'a': unknown model or graph 'tow'; did you mean 'two'? known: one, two, pair, scores, other"),
    (dict(modell="one", inputs=["x"]), "g.yaml: nodes.a: unknown kind of node 'modell'; did you mean 'model'? known: "),
    (dict(model="one", inputs=["x"], combin="max"), "g.yaml: nodes.a: unknown key 'combin'; known: model, inputs"),
    (dict(ensemble=["one"], inputs=["x"], weigths=[1]), "g.yaml: nodes.a: unknown key 'weigths'; did you mean 'weights'? known: ensemble, inputs, combine, weights, require, output"),
    (dict(model="one", map="helpers.functions.scale", inputs=["x"]), "g.yaml: nodes.a: a node has exactly one kind, one of cascade, ensemble, map, model, route, shard; got model and map"),
    (dict(inputs=["x"]), "g.yaml: nodes.a: a node has exactly one kind, one of cascade, ensemble, map, model, route, shard; got none"),
    ("one", "g.yaml: nodes.a: expected a mapping with one of cascade, ensemble, map, model, route, shard; got 'one'"),
    (dict(ensemble=["one", "two"], inputs=["x"], combine="averag"), f"g.yaml: nodes.a.combine: unknown combiner 'averag'; did you mean 'average'? {COMBINERS}\n  hint: or write the import path of a function"),
    (dict(ensemble=["one", "two"], inputs=["x"], combine="mediann"), f"g.yaml: nodes.a.combine: unknown combiner 'mediann'; did you mean 'median'? {COMBINERS}"),
    (dict(map="helpers.functions.scal", inputs=["x"]), "g.yaml: graph 'g': node 'a': 'helpers.functions' has no 'scal' (for 'helpers.functions.scal'); did you mean 'scale'? known: "),
    (dict(map="helpers.function.scale", inputs=["x"]), "g.yaml: graph 'g': node 'a': 'helpers' has no 'function' (for 'helpers.function.scale'); did you mean 'functions'? "),
    (dict(map="no_such_package.scale", inputs=["x"]), "g.yaml: graph 'g': node 'a': no module 'no_such_package' for 'no_such_package.scale'\n  hint: the module must be importable: "),
    (dict(map="scale", inputs=["x"]), "g.yaml: graph 'g': node 'a': unknown op of an installed package 'scale'; there are none\n  hint: or write package.module.function"),
    (dict(map="helpers.functions.NUMBER", inputs=["x"]), "g.yaml: graph 'g': node 'a': 'helpers.functions.NUMBER' is no function; it is 3"),
    (dict(map="helpers.functions.NUMBER", inputs=["x"], outputs="float32"), "g.yaml: graph 'g': node 'a': 'helpers.functions.NUMBER' is no function; it is 3"),
    (dict(map="helpers.functions.scale", inputs=["x"], **{"with": {"buy": 2}}), "g.yaml: graph 'g': node 'a': unknown keyword of helpers.functions.scale 'buy'; did you mean 'by'? known: x, by"),
    # numbers of inputs
    (dict(map="helpers.functions.add", inputs=["x"]), "g.yaml: graph 'g': node 'a': helpers.functions.add(x: Any, y: Any) -> Any cannot be called with 1 column: missing a required argument: 'y'"),
    (dict(map="helpers.functions.add", inputs=["x", "x", "n"]), "g.yaml: graph 'g': node 'a': helpers.functions.add(x: Any, y: Any) -> Any cannot be called with 3 columns: too many positional arguments"),
    (dict(model="pair"), "g.yaml: graph 'g': node 'a': unknown column 'a'; known: x, key, wide, n\n  hint: the node names no inputs, so 'pair' takes the columns that are called as its own; name them: inputs: [...]"),
    (dict(model="pair", inputs=["x"]), "g.yaml: graph 'g': node 'a': 'pair' takes 2 inputs (a: float32, b: float32); got 1 (x)"),
    (dict(model="pair", inputs={"a": "x", "c": "x"}), "g.yaml: graph 'g': node 'a': unknown input of 'pair' 'c'; known: a, b"),
    (dict(model="pair", inputs={"a": "x"}), "g.yaml: graph 'g': node 'a': 'pair' takes 2 inputs (a: float32, b: float32); got 1 (a)"),
    (dict(model="one", inputs="x"), "g.yaml: nodes.a.inputs: expected a list of columns; got 'x'\n  hint: write [x]"),
    (dict(model="one", inputs=[3]), "g.yaml: nodes.a.inputs[0]: expected the name of a column; got 3"),
    (dict(model="one", inputs=7), "g.yaml: nodes.a.inputs: expected a list of columns, or a mapping by name; got 7"),
    (dict(map="helpers.functions.scale", inputs={"x": "x"}), "g.yaml: nodes.a: a map takes its inputs by position\n  hint: write inputs: [a, b]"),
    # types
    (dict(model="one", inputs=["n"]), "g.yaml: graph 'g': node 'a': 'one' takes x: float32; column 'n' is int64\n  hint: put a map node motet.ops.columns.cast with {dtype: float32} in between"),
    (dict(model="one", inputs=["wide"]), "g.yaml: graph 'g': node 'a': 'one' takes x: float32; column 'wide' is float32[4]\n  hint: reshape the column in a map node, or wire another one"),
    (dict(ensemble=["one", "other"], inputs=["x"]), "g.yaml: graph 'g': node 'a': members give different outputs: 'one' gives y; 'other' gives z\n  hint: name the one that counts with output: NAME"),
    (dict(ensemble={"one": "one", "s": {"uses": "scores", "output": "p"}}, inputs=["x"], output="y"), "g.yaml: graph 'g': node 'a': weighted_average needs members of one type; got float32, float32[3]\n  hint: cast or reshape one of them"),
    (dict(route={"1": "one", "2": "other"}, key="n", inputs=["x"], output="y"), "g.yaml: graph 'g': node 'a': output 'y' of '1' and '2' do not fit: float32 and float64"),
    (dict(route={"1": "one"}, key="wide", inputs=["x"]), "g.yaml: graph 'g': node 'a': a key is one value a row; 'wide' is float32[4]"),
    (dict(ensemble=["scores", "one"], inputs=["x"], output="w"), "g.yaml: graph 'g': node 'a': unknown output of member 'scores' 'w'; known: p, z\n  hint: say which one counts: {uses: NAME, output: OUTPUT}"),
    (dict(ensemble={"s": {"uses": "scores", "output": "q"}}, inputs=["x"]), "g.yaml: graph 'g': node 'a': unknown output of member 's' 'q'; known: p, z"),
    # ensembles
    (dict(ensemble=["one", "two"], inputs=["x"], weights=[1]), "g.yaml: nodes.a.weights: expected one weight for each of the 2 members (one, two); got [1]"),
    (dict(ensemble=["one", "two"], inputs=["x"], weights=[1, -1]), "g.yaml: nodes.a.weights: weights must be at least 0, and one more than 0; got [1.0, -1.0]"),
    (dict(ensemble=["one", "two"], inputs=["x"], weights=[0, 0]), "g.yaml: nodes.a.weights: weights must be at least 0, and one more than 0; got [0.0, 0.0]"),
    (dict(ensemble=["one", "two"], inputs=["x"], weights=[1, float("nan")]), "g.yaml: nodes.a.weights: weights must be at least 0, and one more than 0; got [1.0, nan]"),
    (dict(ensemble=["one", "two"], inputs=["x"], weights=["a", 1]), "g.yaml: nodes.a.weights[0]: expected a number; got 'a'"),
    (dict(ensemble=["one", "two"], inputs=["x"], weights={"three": 1}), "g.yaml: nodes.a.weights: unknown member 'three'; known: one, two"),
    (dict(ensemble=["one", "two"], inputs=["x"], weights=[1, 2], combine="max"), "g.yaml: nodes.a.weights: max does not weigh its members; got [1.0, 2.0]\n  hint: with it a weight is 1, or 0 for a member that does not count"),
    (dict(ensemble=["one", "two"], inputs=["x"], require=3), "g.yaml: nodes.a.require: require must be from 1 to 2, the number of members that count; got 3"),
    (dict(ensemble=["one", "two"], inputs=["x"], require=0), "g.yaml: nodes.a.require: require must be from 1 to 2"),
    (dict(ensemble=["one", "two"], inputs=["x"], weights=[1, 0], require=2), "g.yaml: nodes.a.require: require must be from 1 to 1"),
    (dict(ensemble=["one", "two"], inputs=["x"], require="all"), "g.yaml: nodes.a.require: expected a whole number; got 'all'"),
    (dict(ensemble=["one", "one"], inputs=["x"]), "g.yaml: nodes.a.ensemble: two members are named 'one'\n  hint: write a mapping with a name for each: {a: NAME, b: NAME}"),
    (dict(ensemble=[], inputs=["x"]), "g.yaml: nodes.a.ensemble: there are no members\n  hint: name at least one model or graph"),
    (dict(ensemble="one", inputs=["x"]), "g.yaml: nodes.a.ensemble: expected a list or a mapping of models and graphs; got 'one'"),
    (dict(ensemble={"a b": "one"}, inputs=["x"]), "g.yaml: nodes.a.ensemble: 'a b' cannot be the name of a member"),
    (dict(ensemble={"m": {"use": "one"}}, inputs=["x"]), "g.yaml: nodes.a.ensemble.m: unknown key 'use'; did you mean 'uses'? known: uses, inputs, output"),
    (dict(ensemble=["one", "two"], inputs=["x"], combine="union"), "g.yaml: graph 'g': node 'a': union needs the labels of every member\n  hint: declare labels: [...] for each model"),
    (dict(ensemble=["one", "two"], inputs=["x"], combine="helpers.functions.top"), "g.yaml: graph 'g': node 'a': helpers.functions.top(scores: Any) -> Any cannot be called with 2 columns"),
    (dict(ensemble=["one"], inputs=["x"], combine="helpers.functions.top"), "g.yaml: graph 'g': node 'a': a combiner returns one array; helpers.functions.top declares index, score"),
    # cascades
    (dict(cascade=["one", "two"], inputs=["x"]), "g.yaml: nodes.a: 'until' is missing"),
    (dict(cascade=["one", "two"], until={"confidence": 1.5}, inputs=["x"]), "g.yaml: nodes.a.until.confidence: a confidence is from 0 to 1; got 1.5"),
    (dict(cascade=["one", "two"], until={"confidence": -0.1}, inputs=["x"]), "g.yaml: nodes.a.until.confidence: a confidence is from 0 to 1; got -0.1"),
    (dict(cascade=["one", "two"], until={"confidence": "high"}, inputs=["x"]), "g.yaml: nodes.a.until.confidence: expected a number; got 'high'"),
    (dict(cascade=["one", "two"], until={"confident": 1}, inputs=["x"]), "g.yaml: nodes.a.until: unknown key 'confident'; did you mean 'confidence'? known: confidence"),
    (dict(cascade=["one", "two"], until={"confidence": {"two": 1}}, inputs=["x"]), "g.yaml: nodes.a.until.confidence: unknown member to be confident 'two'; known: one\n  hint: the last member answers in any case"),
    (dict(cascade=["one", "two", "other"], until={"confidence": {"one": 1}}, inputs=["x"]), "g.yaml: nodes.a.until.confidence: no confidence is given for two"),
    (dict(cascade=["one"], until={"confidence": 1}, inputs=["x"]), "g.yaml: nodes.a.until.confidence: a cascade needs at least two members; got one"),
    (dict(cascade={"s": "scores", "t": "scores"}, until={"confidence": 1}, inputs=["x"]), "g.yaml: graph 'g': node 'a': members give several outputs (p, z), so the cascade must say whose largest value is the confidence\n  hint: write of: OUTPUT"),
    (dict(cascade={"s": "scores", "t": "scores"}, until={"confidence": 1}, of="q", inputs=["x"]), "g.yaml: graph 'g': node 'a': of: unknown output 'q'; known: p, z"),
    # routes
    (dict(route={"a": "one"}, inputs=["x"]), "g.yaml: nodes.a: a route goes by exactly one of key, split and when; got none of them"),
    (dict(route={"a": "one"}, key="key", split={"a": 1}, by="key", inputs=["x"]), "g.yaml: nodes.a: a route goes by exactly one of key, split and when; got key and split"),
    (dict(route={"a": "one"}, split={"a": 1}, inputs=["x"]), "g.yaml: nodes.a: a split needs the column it goes by\n  hint: write by: COLUMN, for example the user"),
    (dict(route={"a": "one", "b": "two"}, split={"a": 1}, by="key", inputs=["x"]), "g.yaml: nodes.a.split: no weight is given for b\n  hint: write 0 for an arm that takes no rows"),
    (dict(route={"a": "one"}, split={"a": 0}, by="key", inputs=["x"]), "g.yaml: nodes.a.split: weights must be at least 0, and one more than 0; got {'a': 0.0}"),
    (dict(route={"a": "one"}, split={"c": 1}, by="key", inputs=["x"]), "g.yaml: nodes.a.split: unknown member 'c'; known: a"),
    (dict(route={"a": "one"}, key="key", by="key", inputs=["x"]), "g.yaml: nodes.a: 'by' has no meaning in a route by key"),
    (dict(route={"a": "one"}, key="key", otherwise="a", inputs=["x"]), "g.yaml: nodes.a: 'otherwise' has no meaning in a route by key"),
    (dict(route={"a": "one"}, key="key", missing="b", inputs=["x"]), "g.yaml: nodes.a.missing: unknown member 'b'; known: a"),
    (dict(route={"a|b": "one", "b": "two"}, key="key", inputs=["x"]), "g.yaml: nodes.a: the key 'b' is taken by both 'a|b' and 'b'"),
    (dict(route={"a|": "one"}, key="key", inputs=["x"]), "g.yaml: nodes.a: the keys 'a|' name an empty one\n  hint: use missing: for rows without a key"),
    (dict(route={"a": "one", "b": "two"}, when={"a": "x > 1"}, inputs=["x"]), "g.yaml: nodes.a: a route by conditions must say who takes the other rows\n  hint: write otherwise: ARM"),
    (dict(route={"a": "one", "b": "two", "c": "one"}, when={"a": "x > 1"}, otherwise="b", inputs=["x"]), "g.yaml: nodes.a.when: no condition leads to c"),
    (dict(route={"a": "one", "b": "two"}, when={"a": "x >"}, otherwise="b", inputs=["x"]), "g.yaml: nodes.a.when.a: "),
    (dict(route={"a": "one", "b": "two"}, when={"a": "z > 1"}, otherwise="b", inputs=["x"]), "g.yaml: graph 'g': node 'a': unknown column 'z'; known: x, key, wide, n, a"),
    (dict(route={"a": "one", "b": "two"}, when={"a": "key > 1"}, otherwise="b", inputs=["x"]), "g.yaml: graph 'g': node 'a': when.a: "),
    (dict(route={"a": "one"}, key="kei", inputs=["x"]), "g.yaml: graph 'g': node 'a': unknown column 'kei'; did you mean 'key'?"),
    # shards
    (dict(shard="one", apart="helpers.functions.digits", inputs=["n"]), "g.yaml: nodes.a: a shard needs one function 'together'; got 0"),
    (dict(shard="one", apart="helpers.functions.digits", together="helpers.functions.total", spread="hsh", inputs=["n"]), "g.yaml: nodes.a.spread: unknown spread 'hsh'; known: hash, rendezvous"),
    (dict(shard="pair", apart="helpers.functions.digits_typed", together="helpers.functions.total", inputs=["n"]), "g.yaml: graph 'g': node 'a': pieces: 'pair' takes 2 inputs (a: float32, b: float32); got 1 (piece)"),
    (dict(shard="one", apart="helpers.functions.digits", together="helpers.functions.single", inputs=["n"]), "g.yaml: graph 'g': node 'a': together: helpers.functions.single(x: Any) -> Any cannot be called with 2 columns"),
    # a node's own columns
    (dict(model="one", inputs=["a"]), "g.yaml: graph 'g': nodes wait for each other in a cycle: a -> a\n  hint: a node may only take columns of nodes that do not need its own"),
]  # fmt: skip


@pytest.mark.parametrize(("description", "message"), NODE_MISTAKES)
def test_a_mistake_in_a_node_is_refused(tmp_path, description, message):
    got = refused(tmp_path, file_with(**({"nodes": {"a": description}})))
    assert got.startswith(message), got


FILE_MISTAKES = [
    (dict(motet=2), "g.yaml: expected motet: 1, the version of the language; got 2\n  hint: begin the file with motet: 1"),
    (dict(motet="1"), "g.yaml: expected motet: 1, the version of the language; got '1'"),
    (dict(motet=True), "g.yaml: expected motet: 1, the version of the language; got True"),
    (dict(outputs=None), "g.yaml: the file.outputs: expected a mapping; got None"),
    (dict(modls={}), "g.yaml: the file: unknown key 'modls'; did you mean 'models'? known: motet, name, inputs, models, graphs, nodes, outputs, pool, serve"),
    (dict(name="a graph"), "g.yaml: graph 'a graph': 'a graph' cannot be the name of a graph\n  hint: a name begins with a letter or _ and goes on with letters, digits, _ and -"),
    (dict(inputs={"x": "flot32"}), "g.yaml: inputs.x: unknown dtype 'flot32' in 'flot32'; did you mean 'float32'? known: bool, int8, "),
    (dict(inputs={"x": "float32[a]"}), "g.yaml: inputs.x: 'a' is no axis in 'float32[a]'\n  hint: an axis is a whole number or ?"),
    (dict(inputs={"x": "float32 4"}), "g.yaml: inputs.x: 'float32 4' is no column type\n  hint: write dtype[shape], for example uint8[28,28], float32[?] or string"),
    (dict(inputs={"x": "any[3]"}), "g.yaml: inputs.x: 'any[3]' gives a shape to any"),
    (dict(inputs={"x": 3}), "g.yaml: inputs.x: expected a mapping with some of type, default, column; got 3"),
    (dict(inputs={"x": {"typ": "float32"}}), "g.yaml: inputs.x: unknown key 'typ'; did you mean 'type'? known: type, default"),
    (dict(inputs={"a": "float32"}), "g.yaml: graph 'g': 'a' is both an input and a node\n  hint: rename one of them"),
    (dict(inputs={"x.y": "float32"}), "g.yaml: graph 'g': 'x.y' cannot be the name of an input"),
    (dict(outputs={"y": "b"}), "g.yaml: graph 'g': output 'y': unknown column 'b'; known: x, key, wide, n, a"),
    (dict(outputs={"y": "a.z"}), "g.yaml: graph 'g': output 'y': unknown column 'a.z'; did you mean 'a.y'? known: a.y"),
    (dict(outputs={"y": 3}), "g.yaml: outputs.y: expected the name of a column; got 3"),
    (dict(outputs={"y z": "a"}), "g.yaml: graph 'g': 'y z' cannot be the name of an output"),
    (dict(nodes={"a": {"model": "scores", "inputs": ["x"]}}), "g.yaml: graph 'g': output 'y': 'a' gives several columns: a.p, a.z\n  hint: name the one you mean, for example a.p"),
    (dict(nodes={"a": {"model": "one", "inputs": ["b"]}, "b": {"model": "one", "inputs": ["c"]}, "c": {"model": "one", "inputs": ["a"]}}), "g.yaml: graph 'g': nodes wait for each other in a cycle: a -> b -> c -> a"),
    (dict(graphs={"one": {"inputs": {"x": "float32"}, "outputs": {"y": "x"}}}), "g.yaml: graph 'g': 'one' is both a model and a graph"),
    (dict(graphs={"h": {"inputs": {"x": "float32"}, "outputs": {"y": "z"}}}), "g.yaml: graph 'h': output 'y': unknown column 'z'; known: x"),
    (dict(graphs={"h": {"inputs": {"x": "float32"}, "nodes": {"b": {}}, "outputs": {"y": "b"}}}), "g.yaml: graphs.h.nodes.b: a node has exactly one kind"),
    (dict(graphs={"h": {"file": "h.yaml"}}), "g.yaml: there is no file '"),
    (dict(graphs={"h": {"file": "g.yaml"}}), "g.yaml: files contain each other in a cycle: g.yaml -> g.yaml\n  hint: a graph cannot contain itself"),
    (dict(graphs={"h": {"file": "g.yaml", "name": "h"}}), "g.yaml: graphs.h: unknown key 'name'; known: file"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), FILE_MISTAKES)
def test_a_mistake_in_a_file_is_refused(tmp_path, changes, message):
    values = yaml.safe_load(BASE)
    for key, value in changes.items():
        values[key] = {**values[key], **value} if key in ("inputs",) else value
    got = refused(tmp_path, yaml.safe_dump(values, sort_keys=False))
    assert got.startswith(message), got


def model(**description):
    return {"m": {"uri": "python:helpers.models:echo", **description}}


MODEL_MISTAKES = [
    ("models/gone.onnx", "g.yaml: graph 'g': model 'm': "),
    ({"url": "x.onnx"}, "g.yaml: models.m: unknown key 'url'; did you mean 'uri'? known: uri, inputs, "),
    ({}, "g.yaml: models.m: 'uri' is missing"),
    ({"uri": "model.tf"}, "g.yaml: graph 'g': model 'm': model.tf: unknown model suffix '.tf'; "),
    ({"uri": "sklern:m.bin"}, "g.yaml: graph 'g': model 'm': sklern:m.bin: unknown model scheme 'sklern'; did you mean 'sklearn'? "),
    ({"uri": "python:helpers.models:eco"}, "g.yaml: graph 'g': model 'm' (helpers.models:eco): unknown name in helpers.models"),
    ({"uri": "python:helpers.models:echo", "replicas": 0}, "g.yaml: model 'm': replicas must be a whole number from 1 to 256; got 0"),
    ({"uri": "python:helpers.models:echo", "replicas": {"min": 3, "max": 2}}, "g.yaml: model 'm': replicas: min is 3, more than max, which is 2"),
    ({"uri": "python:helpers.models:echo", "replicas": {"max": "8"}}, "g.yaml: model 'm': replicas.max: expected a whole number; got '8'"),
    ({"uri": "python:helpers.models:echo", "replicas": {"max": 2, "idle_s": 0}}, "g.yaml: model 'm': replicas.idle_s: must be more than 0; got 0.0"),
    ({"uri": "python:helpers.models:echo", "balance": "rr"}, "g.yaml: model 'm': unknown balance 'rr'; known: least_loaded, round_robin, power_of_two, hash"),
    ({"uri": "python:helpers.models:echo", "balance": "hash"}, "g.yaml: model 'm': balance: hash and balance_by are given together or not at all"),
    ({"uri": "python:helpers.models:echo", "timeout_s": 0}, "g.yaml: model 'm': timeout_s must be more than 0 and at most 86400 seconds; got 0.0"),
    ({"uri": "python:helpers.models:echo", "warm_up": {"x": 3}}, "g.yaml: model 'm': warm_up: x must be a list of rows; got 3"),
    ({"uri": "python:helpers.models:echo", "warm_up": {"x": [1], "y": [1, 2]}}, "g.yaml: model 'm': the inputs of warm_up have different numbers of rows: "),
    ({"uris": ["oip+http://a/v2/models/m", "oip+http://a/v2/models/m"]}, "g.yaml: model 'm': the address 'oip+http://a/v2/models/m' is there twice"),
    ({"uri": "python:helpers.models:echo", "uris": ["oip+http://a/v2/models/m"], "placement": "inline"}, "g.yaml: model 'm': a model with uris cannot be inline: "),
    ({"uri": "python:helpers.models:echo", "replicas": True}, "g.yaml: models.m.replicas: expected a whole number; got True"),
    ({"uri": "python:helpers.models:echo", "placement": "threads"}, "g.yaml: model 'm': unknown placement 'threads'; known: inline, thread, process"),
    ({"uri": "python:helpers.models:echo", "batch": {"max_row": 3}}, "g.yaml: models.m.batch: unknown key 'max_row'; did you mean 'max_rows'? known: max_rows, max_wait_ms, pad"),
    ({"uri": "python:helpers.models:echo", "batch": {"max_rows": 0}}, "g.yaml: models.m.batch.max_rows: must be at least 1; got 0"),
    ({"uri": "python:helpers.models:echo", "batch": {"rows": 0}}, "g.yaml: models.m.batch.rows: must be at least 1; got 0"),
    ({"uri": "python:helpers.models:echo", "batch": {"rows": 64, "max_rows": 8}}, "g.yaml: models.m.batch: rows is 64, more than max_rows, which is 8"),
    ({"uri": "python:helpers.models:echo", "batch": {"max_wait_ms": -1}}, "g.yaml: models.m.batch.max_wait_ms: must be at least 0; got -1.0"),
    ({"uri": "python:helpers.models:echo", "resources": {"cpu": 0}}, "g.yaml: models.m.resources.cpu: must be more than 0; got 0.0"),
    ({"uri": "python:helpers.models:echo", "resources": {"memory": "5 apples"}}, "g.yaml: models.m.resources.memory: '5 apples' is no amount of memory\n  hint: write a number and a unit: B, KiB, "),
    ({"uri": "python:helpers.models:echo", "unpickle": True}, "g.yaml: models.m.unpickle: expected a text; got True"),
    ({"uri": "python:helpers.models:echo", "unpickle": "yes"}, "g.yaml: models.m.unpickle: expected allow or refuse; got 'yes'"),
    ({"uri": "python:helpers.models:echo", "labels": ["a", "b", "a"]}, "g.yaml: model 'm': the label 'a' is there twice"),
    ({"uri": "python:helpers.models:echo", "inputs": {"x": "floot32"}}, "g.yaml: model 'm': inputs.x: unknown dtype 'floot32'"),
    ({"uri": "python:helpers.models:echo", "before": "helpers.functions.scal"}, "g.yaml: graph 'g': node 'a': before of 'm': 'helpers.functions' has no 'scal'"),
    ({"uri": "python:helpers.models:echo", "before": {"map": "helpers.functions.scale", "with": {"b": 1}}}, "g.yaml: graph 'g': node 'a': before of 'm': unknown keyword of helpers.functions.scale 'b'; did you mean 'by'? "),
    ({"uri": "python:helpers.models:echo", "outputs": {"y": "float32"}, "after": "helpers.functions.add"}, "g.yaml: graph 'g': node 'a': after of 'm': helpers.functions.add(x: Any, y: Any) -> Any cannot be called with 1 column"),
    ({"uri": "python:helpers.models:echo", "before": [3]}, "g.yaml: models.m.before[0]: expected a mapping with some of map, with, outputs; got 3"),
    (3, "g.yaml: models.m: expected a mapping with some of uri, inputs, "),
]  # fmt: skip


@pytest.mark.parametrize(("description", "message"), MODEL_MISTAKES)
def test_a_mistake_in_a_model_is_refused(tmp_path, description, message):
    text = file_with(models={"m": description}, nodes={"a": {"model": "m", "inputs": ["x"]}})
    got = refused(tmp_path, text, mt.MotetError)
    assert got.startswith(message), got


def test_a_missing_model_file_is_named(tmp_path):
    onnxes.affine(tmp_path / "models" / "affine.onnx")
    got = refused(tmp_path, file_with(models={"m": "models/afine.onnx"}), mt.MotetError)
    assert "model 'm'" in got
    assert str(tmp_path / "models" / "afine.onnx").replace(f"{tmp_path}/", "") in got
    assert "affine.onnx" in got.split("hint:")[1]


@pytest.mark.parametrize(
    ("kind", "default", "message"),
    [
        ("int64", 1.5, "expected a default of type int64; got 1.5"),
        ("int64", "12", "expected a default of type int64; got '12'"),
        ("int64", True, "expected a default of type int64; got True"),
        ("uint8", 256, "expected a default of type uint8; got 256"),
        ("uint8", -1, "expected a default of type uint8; got -1"),
        ("bool", 1, "expected a default of type bool; got 1"),
        ("float32", "nan", "expected a default of type float32; got 'nan'"),
        ("float32", [1], "expected a default of type float32; got [1]"),
        ("float32[2]", [1, 2, 3], "expected a default of type float32[2]; got [1, 2, 3]"),
        ("float32[2]", [[1, 2]], "expected a default of type float32[2]; got [[1, 2]]"),
        ("float32[?]", 3, "expected a default of type float32[?]; got 3"),
        ("float32[?,2]", [[1, 2], [3]], "expected a default of type float32[?,2]; got [[1, 2], [3]]"),
        ("string", 3, "expected a default of type string; got 3"),
        ("bytes", 3, "expected a default of type bytes; got 3"),
        ("int64", None, "a column of int64 holds no nulls\n  hint: give a value as the default"),
        ("float32[2]", None, "a column of float32[2] holds no nulls"),
    ],
)
def test_a_default_must_be_of_the_type(tmp_path, kind, default, message):
    with pytest.raises(mt.GraphError) as caught:
        mt.input("z", kind, default=default)
    assert str(caught.value).startswith(f"input 'z': {message}")
    got = refused(tmp_path, file_with(inputs={"z": {"type": kind, "default": default}}))
    assert got.startswith(f"g.yaml: inputs.z.default: {message}")


# YAML


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("motet: 1\nname: [", "g.yaml: line 3, column 1: not YAML: "),
        ("motet: 1\n\tname: g", "g.yaml: line 2, column 1: not YAML: "),
        ("motet: 1\nname: a\nname: b", "g.yaml: lines 2 and 3: the key 'name' is there twice"),
        ("motet: 1\nnodes:\n  a: 1\n  'a': 2", "g.yaml: lines 3 and 4: the key 'a' is there twice"),
        ("motet: 1\nnodes: {1: a, '1': b}", "g.yaml: line 2: the key '1' is there twice"),
        ("motet: 1\n[a]: b", "g.yaml: line 2: a key must be a text"),
        ("motet: 1\nname: !!int abc", "g.yaml: not YAML: invalid literal for int() with base 10: 'abc'"),
        (
            "motet: 1\nname: !!python/object:os.system x",
            "g.yaml: line 2, column 7: not YAML: could not determine a constructor",
        ),
        ("motet: 1\nname: \x07", "g.yaml: not YAML: "),
        ("a: &a [*a]", "g.yaml: "),
        (
            "",
            "g.yaml: the file: expected a mapping with some of motet, name, inputs, models, graphs, nodes, outputs, pool, serve; got None",
        ),
        ("- motet: 1", "g.yaml: the file: expected a mapping with some of "),
        ("[" * 3000, "g.yaml: "),
    ],
)
def test_a_file_that_is_no_graph_is_refused(tmp_path, text, message):
    got = refused(tmp_path, text)
    assert got.startswith(message), got


def test_a_missing_file_names_those_beside_it(tmp_path):
    (tmp_path / "fashion.yaml").write_text("motet: 1")
    with pytest.raises(mt.GraphError) as caught:
        mt.load(tmp_path / "fashon.yaml")
    assert str(caught.value) == f"there is no file '{tmp_path}/fashon.yaml'\n  hint: beside it are fashion.yaml"


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "g.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(mt.GraphError, match="g.yaml' cannot be read: 'utf-8' codec can't decode"):
        mt.load(tmp_path / "g.yaml")


def test_files_that_contain_each_other_are_refused(tmp_path):
    inner = "motet: 1\ninputs: {x: float32}\ngraphs: {%s}\noutputs: {y: x}\n"
    (tmp_path / "a.yaml").write_text(inner % "b: {file: deep/b.yaml}")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.yaml").write_text(inner % "a: {file: ../a.yaml}")
    with pytest.raises(mt.GraphError) as caught:
        mt.load(tmp_path / "a.yaml")
    text = str(caught.value).replace(f"{tmp_path}/", "")
    assert text.endswith(
        "files contain each other in a cycle: a.yaml -> deep/b.yaml -> a.yaml\n  hint: a graph cannot contain itself"
    )


# Python


def x_(kind="float32"):
    return mt.input("x", kind)


def said(make, error=mt.GraphError):
    with pytest.raises(error) as caught:
        make()
    return str(caught.value)


def one():
    return fake(Affine, "one")


def two():
    return fake(Affine, "two", scale=2)


PYTHON_MISTAKES = [
    (lambda: mt.Graph("g", {}), "graph 'g': outputs must map names to columns, at least one; got {}\n  hint: write outputs={\"label\": top.index}"),
    (lambda: mt.Graph("g", x_()), "graph 'g': outputs must map names to columns, at least one; got <x>"),
    (lambda: mt.Graph("g", {"y": 3}), "graph 'g': output 'y' must be a column; got 3\n  hint: pass a node, or one of its columns"),
    (lambda: mt.Graph("", {"y": x_()}), "graph '': '' cannot be the name of a graph"),
    (lambda: mt.Graph("g", {"y": mt.map(functions.add, x_(), x_())}), "graph 'g': two parts are named 'x'\n  hint: give one another name="),
    (lambda: mt.Graph("g", {"y": mt.map(functions.scale, x := x_(), name="x"), "x": x}), "graph 'g': two parts are named 'x'"),
    (lambda: mt.Graph("g", {"y": mt.map(functions.scale, x_(), name="a b")}), "graph 'g': 'a b' cannot be the name of a node"),
    (lambda: mt.map(functions.scale, np.zeros(3)), "map(scale) takes columns of the graph; got array([0., 0., 0.])\n  hint: make an input with motet.input"),  # type: ignore[arg-type]
    (lambda: mt.map(3, x_()), "expected a function or its import path; got 3"),  # type: ignore[arg-type]
    (lambda: mt.map(functions.scale, x_(), outputs="float31"), "outputs: unknown dtype 'float31' in 'float31'; did you mean 'float32'?"),
    (lambda: mt.ensemble(one(), x_()), "ensemble() needs a list or a mapping of models and graphs; got Model("),
    (lambda: mt.ensemble([], x_()), "ensemble() needs a list or a mapping of models and graphs; got []"),
    (lambda: mt.Graph("g", {"y": mt.ensemble(["m.onnx"], x_())}), "graph 'g': expected a model or a graph; got 'm.onnx'\n  hint: write motet.Model(\"path/to/model.onnx\")"),
    (lambda: mt.Graph("g", {"y": mt.ensemble([x := x_()], x)}), "graph 'g': expected a model or a graph; got <x>"),
    (lambda: mt.Graph("g", {"y": mt.ensemble([m := one(), m], x_())}), "node 'ensemble_1': two members are named 'one'\n  hint: write a mapping with a name for each"),
    (lambda: mt.Graph("g", {"y": mt.ensemble({"a b": one()}, x_())}), "node 'ensemble_1': 'a b' cannot be the name of a member"),
    (lambda: mt.Graph("g", {"y": mt.ensemble([one(), two()], x_(), combine="men")}), "node 'ensemble_1': combine: unknown combiner 'men'; "),
    (lambda: mt.Graph("g", {"y": mt.ensemble([one(), two()], x_(), weights=[1])}), "node 'ensemble_1': weights: expected one weight for each of the 2 members (one, two); got [1]"),
    (lambda: mt.Graph("g", {"y": mt.route({"a": one()}, x_())}), "node 'route_1': a route goes by exactly one of key, split and when; got none of them"),
    (lambda: mt.Graph("g", {"y": mt.route({"": one()}, x := x_(), key=x)}), "node 'route_1': the keys '' name an empty one"),
    (lambda: mt.route({"a": one()}, x_(), key="x"), "route() takes columns of the graph; got 'x'"),  # type: ignore[arg-type]
    (lambda: mt.Graph("g", {"y": mt.cascade([one(), two()], x_(), confidence=2)}), "node 'cascade_1': confidence: a confidence is from 0 to 1; got 2"),
    (lambda: mt.Graph("g", {"y": mt.cascade([one(), two()], x_("int64"), confidence=1)}), "graph 'g': node 'cascade_1', member 'one': 'one' takes x: float32; column 'x' is int64"),
    (lambda: mt.model(one(), x := x_(), x=x), "model(): a model takes its inputs either by position or by name"),
    (lambda: mt.Model(""), "model '': a model needs a URI, or a fitted estimator; got ''"),
    (lambda: mt.Model("m.onnx", replicas="2"), "model 'm.onnx': replicas must be a whole number from 1 to 256; got '2'"),  # type: ignore[arg-type]
    (lambda: mt.Batching(max_rows=-5), "max_rows: must be at least 1; got -5"),
    (lambda: mt.Resources(cpu=0), "cpu: must be more than 0; got 0.0"),
    (lambda: mt.Resources(cpu=float("inf")), "cpu: must be a finite number; got inf"),
    (lambda: mt.Batching(max_wait_ms=float("nan")), "max_wait_ms: must be a finite number; got nan"),
    (lambda: mt.Graph("g", {"y": mt.map(functions.top, x_("float32[3]"))}), "graph 'g': output 'y': 'top_1' gives several columns: top_1.index, top_1.score\n  hint: name the one you mean, for example top_1.index"),
    (lambda: mt.Graph("g", {"y": mt.map(functions.top, x_("float32[3]")).indx}), "graph 'g': output 'y': unknown column 'top_1.indx'; did you mean 'top_1.index'? known: top_1.index, top_1.score"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), PYTHON_MISTAKES)
def test_a_mistake_in_python_is_refused(make, message):
    got = said(make)
    assert got.startswith(message), got


def test_a_column_holds_no_values():
    with pytest.raises(
        TypeError,
        match="is a column of a graph that is being built, and holds no values; did you mean to call the graph",
    ):
        list(mt.map(functions.scale, x_()))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: mt.Graph("g", {"y": mt.map(functions.top, x_()).index.deep}), UnknownNameError),
        (lambda: mt.Graph("g", {"y": mt.model(one(), x_("float64"))}), TypeMismatchError),
        (lambda: mt.Graph("g", {"y": "a"}, nodes={}), UnknownNameError),
    ],
)
def test_mistakes_have_their_classes(make, error):
    caught = said(make, error)
    assert issubclass(error, ValueError)
    assert error.status == 400
    assert caught


def test_a_cycle_is_its_own_class(tmp_path):
    text = file_with(nodes={"a": {"model": "one", "inputs": ["b"]}, "b": {"model": "one", "inputs": ["a"]}})
    (tmp_path / "g.yaml").write_text(text)
    with pytest.raises(CycleError) as caught:
        mt.load(tmp_path / "g.yaml")
    assert caught.value.loop == ("a", "b", "a")


def test_graphs_that_stand_too_deep_are_refused():
    def nest(graph, times):
        return graph if not times else nest(mt.Graph("g", {"y": mt.model(graph, x_())}), times - 1)

    nest(inner := mt.Graph("g", {"y": mt.model(one(), x_())}), 16)
    with pytest.raises(
        mt.GraphError, match=r"graphs stand inside graphs more than 16 deep\n  hint: does a graph contain itself\?"
    ):
        nest(inner, 17)


def test_building_a_graph_runs_no_user_code(tmp_path):
    def explode(*columns):
        raise AssertionError("called")

    class Explosive:
        def __init__(self):
            raise AssertionError("made")

        def __call__(self, x):
            raise AssertionError("called")

    import helpers.models

    helpers.models.Explosive = Explosive  # type: ignore[attr-defined]
    explosive = mt.Model("python:helpers.models:Explosive", outputs={"y": "float32"}, before=explode, after=explode)
    x = mt.map(explode, x_())
    mt.Graph(
        "g",
        {
            "y": mt.ensemble([explosive], x, combine=explode),
            "z": mt.shard(explosive, x, apart=explode, together=explode),
        },
    )
    del helpers.models.Explosive  # type: ignore[attr-defined]


def test_a_model_file_that_changes_is_looked_at_again(tmp_path):
    path = onnxes.affine(tmp_path / "m.onnx")
    first = mt.Graph("g", {"y": mt.model(mt.Model(str(path)), x_())})
    onnxes.classifier(path)
    with pytest.raises(TypeMismatchError, match=r"'m' takes x: float32\[4\]; column 'x' is float32"):
        mt.Graph("g", {"y": mt.model(mt.Model(str(path)), x_())})
    path.unlink()
    with pytest.raises(mt.MotetError, match=r"m\.onnx"):
        mt.Graph("g", {"y": mt.model(mt.Model(str(path)), x_())})
    assert first.checked.signature.outputs["y"] == mt.ColumnType("float32")


def test_scores_that_are_not_of_a_float_cannot_be_confident():
    number = fake(Scores, "n", "float32", "int64")
    with pytest.raises(
        TypeMismatchError, match="the confidence is taken of 'output', which is int64, not probabilities"
    ):
        mt.Graph("g", {"y": mt.cascade({"a": number, "b": number}, x_(), confidence=0.5)})
