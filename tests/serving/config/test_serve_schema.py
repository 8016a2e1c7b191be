"""The JSON Schema of serve.yaml says what its readers do: an editor refuses nothing that a server takes, and no key that it knows."""

import copy
import json
import re
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.parsed_files import changed, places, value_at
from motet.errors import MotetError
from motet.graph.yaml import parse
from motet.serving.admission import AdmissionConfig
from motet.serving.config.cache import ResponseCacheConfig
from motet.serving.config.grpc import GrpcConfig
from motet.serving.config.observability import ObservabilityConfig
from motet.serving.config.pool import PoolConfig
from motet.serving.config.server import ServeConfig
from motet.serving.sinks import read_sinks

ROOT = Path(__file__).parents[3]
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
  redis: redis://h
  fail: open
  tokens: {jwks: j, class: role, leeway_s: 3}
sinks: [{to: "sqlite:///a.db", record: stack, sample: 0.5, buffer_bytes: 1MiB}, b.jsonl]
cache: {max_bytes: 64MiB, ttl_s: 1.5, graphs: [a]}
observability: {access_log: {file: access.jsonl, file_bytes: 1MiB}, trace: {sample: 0.1}}
grpc: {compression: gzip, calls: 10, idle_s: 5.5}
samples: pictures
store_poll_s: 1.0
pool: {max_loaded: 2, memory: 1GiB, max_swap_wait_ms: 5, cpu: 2}
log: {format: json, level: info}
"""
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False, allow_infinity=False).filter(
        lambda number: number % 1
    ),  # a whole one is an integer in JSON
    st.sampled_from(["", "a", "1MiB", "5/second", "forwarded", "X-Forwarded-For", "sqlite:///a.db", "redis://h", "?!"]),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=5),
    st.lists(st.sampled_from(["a", 1, None]), max_size=2),
    st.dictionaries(st.sampled_from(["x", "file", "rate", "a b"]), st.sampled_from(["a", 1, None]), max_size=2),
)
TOGETHER = re.compile(
    "nobody could be let in|unknown class|only databases have tables|is for `record: join`|two sinks|cannot tell what kind of sink"
    "|out of bounds|is no address or network"
)
"""What no schema says: of values that must go together, or that mean something only outside of the file."""


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(SCHEMAS["serve"])
    return jsonschema.Draft202012Validator(SCHEMAS["serve"])


def refusal(value):
    """Why a server would not take a configuration; None where it does."""
    try:
        config = ServeConfig.read(copy.deepcopy(value), "serve.yaml", "")
        AdmissionConfig.read(config.admission, "admission")
        ResponseCacheConfig.read(config.cache, "cache")
        GrpcConfig.read(config.grpc, "grpc")
        ObservabilityConfig.read(config.observability, "observability")
        PoolConfig.read(config.pool, "pool")
        read_sinks(config.sinks, "sinks")
    except MotetError as error:
        return str(error)
    return None


def test_the_whole_is_taken_by_both(validator):
    assert refusal(parse(WHOLE)) is None
    validator.validate(parse(WHOLE))


@settings(max_examples=400)
@given(st.data())
def test_the_schema_refuses_what_the_reader_does_which_says_where(validator, data):
    whole = parse(WHOLE)
    place = data.draw(st.sampled_from(list(places(whole))))
    made = changed(whole, place, data.draw(VALUES))
    said = refusal(made)
    if said is None or not TOGETHER.search(said):
        errors = [f"{each.json_path}: {each.message}" for each in validator.iter_errors(made)]
        assert (said is None) == (errors == []), (said, errors)
    if said is not None:
        *outer, last = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
        written = f"serve.yaml{''.join(outer)}{last}"
        inner, around = written.removeprefix("serve.yaml."), written.removesuffix(last).removeprefix("serve.yaml.")
        assert inner in said or (around in said and last[1:] in said) or TOGETHER.search(said), (written, said)


@settings(max_examples=100)
@given(st.data())
def test_a_key_that_is_not_known_is_refused_by_both_wherever_it_is(validator, data):
    whole = parse(WHOLE)
    found = [
        at
        for at in [(), *places(whole)]
        if isinstance(value_at(whole, at), dict) and at[-2:] != ("admission", "classes")
    ]
    place = data.draw(st.sampled_from(found))
    made = changed(whole, (*place, "mispelt"), data.draw(VALUES))
    assert "'mispelt'" in refusal(made)
    assert not validator.is_valid(made)


@pytest.mark.parametrize(
    "written",
    [
        {"tls": None},
        {"admission": {"keys": None}},
        {"admission": {"tokens": None}},
        {"admission": {"redis": None, "fail": "open"}},
        {"pool": {"memory": 0}},
        {"store_poll_s": 10**400},
        {"limits": {"body_bytes": "9" * 400 + "MiB"}},
    ],
)
def test_what_was_not_filled_in_or_has_no_end_is_refused(written):
    assert refusal(written)


def test_headers_are_named_in_any_case():
    assert ServeConfig.read({"proxy_header": "X-Forwarded-For"}, "serve.yaml").proxy_header == "x-forwarded-for"


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
