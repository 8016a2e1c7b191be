"""The JSON Schema of graph files says what their readers do: an editor refuses nothing that Motet takes, and takes little that it
refuses."""

import ast
import copy
import json
import re
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

import motet as mt
from helpers.parsed_files import changed, places, value_at
from motet.cli import cli
from motet.errors import MotetError
from motet.graph.graph import GraphSpec
from motet.graph.yaml import dump_graph, parse, read_graph

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((resources.files("motet") / "schemas" / "graph.json").read_text(encoding="utf-8"))
EXAMPLES = [
    path
    for path in sorted((ROOT / "examples").glob("*/*.yaml"))
    if "\nmotet:" in f"\n{path.read_text(encoding='utf-8')}"
]  # and no catalogue
EVERYTHING = """
motet: 1
name: everything
inputs:
  x: float32[4]
  user: {type: string, default: nobody, column: who}
  amount: float32
models:
  a:
    uri: models/a.onnx
    inputs: {x: "float32[4]"}
    outputs: {y: "float32[2]"}
    before: [motet.ops.image.scale, {map: package.f, with: {k: 1}, outputs: "float32[4]"}]
    after: {map: package.g, outputs: {p: float32}}
    batch: {max_rows: 8, max_wait_ms: 2.5, pad: 0.0, rows: 4, max_cost: 4096.0, cost: tokens}
    replicas: {min: 0, max: 2, hold_s: 5.0, idle_s: 5.0}
    placement: process
    resources: {cpu: 2.0, memory: 1GiB, accelerator: 0.5}
    labels: [cat, dog]
    with: {n: 1}
    unpickle: allow
    version: v1
    device: cpu
    uris: [oip+http://host/a]
    balance: hash
    balance_by: x
    warm_up: {x: [[0, 0, 0, 0]]}
    timeout_s: 5.0
    resident: true
    concurrent: 2
    paid: true
  b: models/b.onnx
  c: {uris: [oip+http://host/a, oip+http://host/b], replicas: 2, batch: {pad: {x: 1.0}}, resources: {memory: 1000}}
graphs:
  part: {inputs: {x: "float32[4]"}, models: {m: a.onnx}, nodes: {n: {model: m, inputs: [x]}}, outputs: {y: n}}
nodes:
  scaled: {map: motet.ops.image.scale, inputs: [x], with: {by: 2}, each: true, outputs: "float32[4]"}
  one: {model: a, inputs: {x: scaled}}
  vote:
    ensemble: {a: {uses: a, inputs: [scaled], output: y}, b: b}
    inputs: [x]
    combine: {map: package.c, with: {k: 1}}
    weights: [1.0, 0.0]
    require: 1
    output: y
    within_ms: 40.0
    temperature: {b: 2.0}
  available: {ensemble: [a, b], inputs: [x], combine: majority_vote, weights: {a: 2.0}, members: as available}
  by_split: {route: [a, b], inputs: [x], split: {a: 1.0, b: 2.0}, by: user, salt: s, metric: clicked}
  test:
    route: [a, b]
    inputs: [x]
    split: {a: 1.0, b: 2.0}
    by: user
    metric:
      {name: c, kind: mean, better: less, effect: 0.1, control: b, missing: skip, guardrails: {errors: 0.1, seconds: 2.0}, segments: [user]}
  by_key: {route: {u: a, "*": b}, inputs: [x], key: user, missing: u, output: y, max_loaded: 1, max_swap_wait_ms: 5.0, combine: union, stack: false}
  by_when: {route: [a, b], inputs: [x], when: {a: amount > 3}, otherwise: b}
  sure: {cascade: [a, b], inputs: [x], until: {confidence: 0.5}, of: y, output: y, combine: union, on_error: fail, temperature: {a: 1.5}}
  surer: {cascade: [a, b], inputs: [x], until: {confidence: {a: 0.5}, by_class: {a: {"1": 0.9}}}}
  pieces: {shard: a, inputs: [x], apart: package.apart, together: {map: package.together}, spread: hash, together_inputs: [x], require: 1}
outputs: {y: vote, z: one.y}
pool: {max_loaded: 3, memory: 2GiB, max_swap_wait_ms: 5.0}
serve: {}
"""
WRONG = (None, True, 3, -1, 1.5, "?!", [], {}, ["x"], {"x": 1})
ONLY_READERS = re.compile(
    r"unknown member|cannot be the name of a member|expected one weight for each|does not weigh its members"  # references
    r"|no confidence is given|a cascade needs at least two|require must be from 1 to|a route goes by exactly one"
    r"|expected a default of type|this is no expression|rows is \d+, more than max_rows|min is \d+, more than max"
    r"|has no meaning without max_loaded|labels: expected a list; got '"  # the name of a file, which was not read here
)
"""What a schema cannot say: names that stand elsewhere in the file, expressions, sums, values of a declared type."""


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


def refusal(value):
    try:
        read_graph(copy.deepcopy(value), GraphSpec)
    except MotetError as error:
        return str(error)
    return None


def changed_alone(value, place, to):
    """A file with something else at a place; of the part that it is in nothing else is kept."""
    part, name = (*place, None, None)[:2]
    alone = part in ("models", "nodes") and name in value[part]
    return changed({**value, part: {name: value[part][name]}} if alone else value, place, to)


def test_everything_is_taken_by_both(validator):
    assert refusal(parse(EVERYTHING)) is None
    validator.validate(parse(EVERYTHING))


def test_every_kind_and_key_is_tried_here():
    said = {place[-1] for place in places(parse(EVERYTHING))}
    parts = {
        **SCHEMA,
        "$defs": {name: each for name, each in SCHEMA["$defs"].items() if name[0].islower() and name != "serve"},
    }
    assert {key for key, _ in keys_of(parts)} - said == {"file"}


def keys_of(form):
    """The keys of the mappings in a schema, and what it says of each."""
    if isinstance(form, dict):
        yield from form["properties"].items() if form.get("type") == "object" and "properties" in form else ()
    for each in form.values() if isinstance(form, dict) else form if isinstance(form, list) else ():
        yield from keys_of(each)


@pytest.mark.parametrize("part", ["inputs", "models", "graphs", "nodes", "outputs", "pool", "motet", "name", "serve"])
def test_wrong_kinds_are_refused_by_both(validator, part):
    whole = parse(EVERYTHING)
    for place in places(whole):
        for value in WRONG if place[0] == part else ():
            if value == {} and place[-1] == "inputs" and len(place) > 2:
                continue  # no inputs by name: nothing is wrong with them, whatever the node
            if value == {"x": 1} and place == ("serve",):
                continue  # which a server reads
            made = changed_alone(whole, place, value)
            said, fits = refusal(made), validator.is_valid(made)
            assert fits == (said is None) or (fits and ONLY_READERS.search(said)), (place, value, said)


def test_misspelt_keys_are_refused_by_both(validator):
    whole = parse(EVERYTHING)
    closed = 0
    for place in [(), *places(whole)]:
        if isinstance(value_at(whole, place), dict) and place != ("serve",):  # which a server reads
            made = changed_alone(whole, (*place, "mispelt"), {"x": 1})
            said, fits = refusal(made), validator.is_valid(made)
            assert fits == (said is None) or (fits and ONLY_READERS.search(said)), (place, said)
            closed += said is not None and "'mispelt'" in said and not fits
    assert closed > 20


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_examples_fit_and_name_the_schema(validator, path):
    text = path.read_text(encoding="utf-8")
    validator.validate(parse(text))
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert (path.parent / named[1]).resolve() == ROOT / "src" / "motet" / "schemas" / "graph.json"


def graphs_in_tests():
    """Texts in the tests that are graph files, or begin as some."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "motet: 1" in node.value:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value


def graphs_in_pages():
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for number, block in enumerate(
            re.findall(r"^```yaml\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)
        ):
            if "motet: 1" in block:
                yield f"{path.name}:{number}", block


@pytest.mark.parametrize("found", [graphs_in_tests, graphs_in_pages])
def test_graphs_of_tests_and_pages_that_are_taken_fit(validator, found):
    num_taken = 0
    for where, text in found():
        try:
            value = parse(text)
        except MotetError:
            continue
        if isinstance(value, dict) and refusal(value) is None:
            num_taken += 1
            errors = [f"{where}: {each.json_path}: {each.message}" for each in validator.iter_errors(value)]
            assert errors == []
    assert num_taken >= 8


def test_graphs_that_are_saved_fit(validator, tmp_path):
    model = mt.Model(
        "python:json:loads", "m", inputs={"x": "float32[2]"}, outputs={"y": "float32"}, batch={"max_rows": 3}
    )
    graph = GraphSpec("g", {"y": mt.ensemble([model, model.named("n")], mt.input("x", "float32[2]"), weights=[1, 2])})
    validator.validate(parse(dump_graph(graph)))


def test_every_key_says_what_it_is():
    silent = [
        key
        for key, each in keys_of(SCHEMA)
        if "description" not in each and "description" not in SCHEMA["$defs"].get(each.get("$ref", "")[8:], {})
    ]
    assert silent == []


def test_ops_are_offered_with_what_they_do():
    known = SCHEMA["$defs"]["path"]["anyOf"][0]
    said = dict(zip(known["enum"], known["enumDescriptions"], strict=True))
    assert "motet.ops.scores.softmax" in said
    assert all(said.values())


def test_the_command_prints_the_schema():
    result = CliRunner().invoke(cli, ["schema", "graph"])
    assert result.exit_code == 0
    assert json.loads(result.output) == SCHEMA
