import pytest

from motet.errors import GraphError
from motet.serving.admission import AdmissionConfig, AuditConfig, ClassLimits, Rate, TokenConfig
from motet.serving.admission.redis_rates import RedisRates
from motet.serving.config.admission import TotalLimits


def read(value, folder=""):
    return AdmissionConfig.read(value, "serve.yaml: admission", folder)


def test_everything_that_can_be_written_is_read():
    config = read(
        {
            "anonymous": False,
            "keys": "keys.jsonl",
            "tokens": {
                "jwks": "jwks.json",
                "issuer": "https://id",
                "audience": "motet",
                "name": "email",
                "class": "role",
            },
            "classes": {
                "anonymous": {"concurrent": 2, "queue": 4, "rate": "1/hour"},
                "gold": {"rate": ["10/second", "5 per 2 hours"], "total": {"concurrent": 20, "queue": 0}},
            },
            "redis": "redis://localhost:6379/1",
            "folder": "state",
            "audit": {"file": "audit.jsonl", "file_bytes": 1000, "files": 3, "waiting": 7},
        },
        folder="/etc/motet",
    )
    assert config.keys == "/etc/motet/keys.jsonl"
    assert config.folder == "/etc/motet/state"
    assert config.tokens == TokenConfig("/etc/motet/jwks.json", "https://id", "motet", "email", "role")
    assert config.audit == AuditConfig("/etc/motet/audit.jsonl", 1000, 3, 7)
    assert config.classes["anonymous"] == ClassLimits(2, 4, (Rate(1, 3600),))
    assert config.classes["gold"].rates == (Rate(10, 1), Rate(5, 7200))
    assert config.classes["gold"].total == TotalLimits(20, 0)
    assert config.classes["known"].concurrent == 8


def test_nothing_written_lets_anonymous_callers_in_within_bounds():
    config = read({})
    assert config.anonymous
    assert config.classes["anonymous"].concurrent == 2
    assert config.classes["anonymous"].rates == (Rate(60, 60),)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"key": "keys.jsonl"}, r"admission: unknown key 'key'; did you mean 'keys'\?"),
        ({"anonymous": "no"}, r"admission.anonymous: expected true or false; got 'no'"),
        ({"anonymous": False}, "nobody could be let in"),
        ({"classes": {"known": {"concurent": 2}}}, r"classes.known: unknown key 'concurent'; did you mean 'concurrent'\?"),
        ({"classes": {"known": {"concurrent": 0}}}, r"classes.known.concurrent: must be from 1 to 4096; got 0"),
        ({"classes": {"known": {"queue": 3}}}, r"classes.known: 'queue' means nothing without 'concurrent'"),
        ({"classes": {"known": {"rate": "fast"}}}, r"classes.known.rate: 'fast' is no rate"),
        ({"classes": {"known": {"rate": "0/hour"}}}, r"classes.known.rate: '0/hour' is out of bounds"),
        ({"classes": {"known": {"rate": ["1/hour", 3]}}}, r"classes.known.rate\[1\]: expected a text; got 3"),
        ({"classes": {"known": {"total": {"total": {}}}}}, r"classes.known.total: unknown key 'total'"),
        ({"classes": {"a b": {}}}, r"'a b' cannot be the name of a class"),
        ({"tokens": {}}, r"admission.tokens: 'jwks' is missing"),
        ({"tokens": {"jwks": "j", "leeway_s": 4000}}, r"tokens.leeway_s: must be from 0 to 300; got 4000"),
        ({"tokens": {"jwks": "j", "default_class": "gold"}}, r"tokens.default_class: unknown class 'gold'"),
        ({"redis": "localhost"}, r"admission.redis: 'localhost' is no address of a Redis"),
        ({"redis": "http://:secret@h"}, r"admission.redis: 'http://:\*\*\*@h' is no address of a Redis"),
        ({"audit": {"file": "a", "files": 0}}, r"audit.files: must be at least 1; got 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(written, said):
    with pytest.raises(GraphError, match=said):
        read(written)


@pytest.mark.parametrize("address", ["redis://:secret@h:x", "redis://:secret/9@h", "redis://:secret@h?db=x"])
def test_what_is_no_address_of_a_redis_is_said_without_its_password(address):
    pytest.importorskip("redis")
    with pytest.raises(GraphError, match="admission.redis: is no address of a Redis") as refused:
        RedisRates(address)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", ["1/hour", "100/minute", "5 per 2 hours", "7/second", "1/week"])
def test_a_rate_is_said_as_it_is_written(text):
    assert str(Rate.read(text, "here")) == text
