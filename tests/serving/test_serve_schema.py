"""The JSON Schema of serve.yaml says what its readers do: an editor refuses nothing that a server takes, and no key that it knows."""

import copy
import json
import re
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from motet.errors import MotetError
from motet.graph.yaml import parse
from motet.serving.admission import AdmissionConfig
from motet.serving.batching.response_cache import ResponseCacheConfig
from motet.serving.config.grpc import GrpcConfig
from motet.serving.config.observability import ObservabilityConfig
from motet.serving.config.server import ServeConfig
from motet.serving.sinks import read_sinks

ROOT = Path(__file__).parents[2]
SCHEMAS = {
    name: json.loads((resources.files("motet") / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
    for name in ("graph", "serve")
}
WHOLE = """
graphs: [a.yaml, b.yaml]
host: 127.0.0.1
port: 8000
grpc_port: -1
processes: 2
threads: 2
limits: {body_bytes: 64MiB, rows: 100, body_timeout_s: 5.0}
tls: {certificate: chain.pem, key: key.pem}
cors: ["https://page.example"]
trusted_proxies: [10.0.0.0/8]
proxy_header: forwarded
admin: key
admission:
  anonymous: true
  keys: keys.jsonl
  classes: {batch: {concurrent: 2, queue: 10, rate: 5/second, wait_s: 2.0}, live: {rate: [5/second, 100/minute]}}
  audit: {file: audit.jsonl}
  folder: here
sinks: [{to: "sqlite:///a.db", record: stack, sample: 0.5, buffer_bytes: 1MiB}, b.jsonl]
cache: {max_bytes: 64MiB}
observability: {access_log: {file: access.jsonl, file_bytes: 1MiB}, trace: {sample: 0.1}}
grpc: {}
samples: pictures
store_poll_s: 1.0
pool: {max_loaded: 2}
log: {}
"""
WRONG = (None, True, 3, -1, 1.5, "?!", [], {}, ["x"], {"x": 1})


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(SCHEMAS["serve"])
    return jsonschema.Draft202012Validator(SCHEMAS["serve"])


def refusal(value):
    """Why a server would not take a configuration; None where it does."""
    try:
        config = ServeConfig.read(copy.deepcopy(value), "serve.yaml", "")
        AdmissionConfig.read({} if config.admission is None else config.admission, "admission")
        ResponseCacheConfig.read(config.cache, "cache")
        GrpcConfig.read({} if config.grpc is None else config.grpc, "grpc")
        ObservabilityConfig.read({} if config.observability is None else config.observability, "observability")
        read_sinks(config.sinks, "sinks")
    except MotetError as error:
        return str(error)
    return None


def places(value, at=()):
    for key, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*at, key)
        yield from places(each, (*at, key))


def changed(value, place, to):
    made = copy.deepcopy(value)
    inner = made
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = to
    return made


def test_the_whole_is_taken_by_both(validator):
    assert refusal(parse(WHOLE)) is None
    validator.validate(parse(WHOLE))


def test_nothing_is_refused_that_a_server_takes(validator):
    whole = parse(WHOLE)
    for place in places(whole):
        for value in WRONG:
            made = changed(whole, place, value)
            if refusal(made) is None:
                errors = [f"{each.json_path}: {each.message}" for each in validator.iter_errors(made)]
                assert errors == [], (place, value)


def test_misspelt_keys_are_refused_by_both(validator):
    whole = parse(WHOLE)
    closed = [
        (),
        ("limits",),
        ("tls",),
        ("admission",),
        ("admission", "classes", "batch"),
        ("admission", "audit"),
        ("sinks", 0),
    ]
    for place in [
        *closed,
        ("cache",),
        ("observability",),
        ("observability", "access_log"),
        ("observability", "trace"),
        ("grpc",),
        ("log",),
    ]:
        made = changed(whole, (*place, "mispelt"), 1)
        assert "'mispelt'" in refusal(made)
        assert not validator.is_valid(made), place


def test_what_the_pages_show_fits(validator):
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    shown = [
        block
        for page in pages
        for block in re.findall(r"^```yaml\n(# serve\.yaml.*?)^```", page.read_text("utf-8"), re.M | re.S)
    ]
    assert shown
    for block in shown:
        validator.validate(parse(block))


def test_a_graph_file_says_the_same_under_serve(validator):
    assert SCHEMAS["graph"]["$defs"]["serve"]["properties"] == SCHEMAS["serve"]["properties"]
    graph = jsonschema.Draft202012Validator(SCHEMAS["graph"])
    whole = {"motet": 1, "inputs": {"x": "float32"}, "outputs": {"y": "x"}, "serve": parse(WHOLE)}
    graph.validate(whole)
    assert not graph.is_valid(changed(whole, ("serve", "prot"), 80))
