import json
from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from motet.errors import ForbiddenError, TooManyRequestsError, UnauthorizedError
from motet.serving.admission import AdmissionConfig
from motet.serving.admission.callers import Callers
from motet.serving.admission.keys import KeyStore
from motet.serving.admission.wrong import WrongCredentials
from motet.serving.batching.request import Identity
from motet.serving.middleware.call import HeaderFields

SIGNER = ed25519.Ed25519PrivateKey.generate()


@pytest.fixture
def config(tmp_path):
    jwk = jwt.algorithms.OKPAlgorithm.to_jwk(SIGNER.public_key(), as_dict=True)
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [jwk]}))
    written = {"keys": "keys.jsonl", "tokens": {"jwks": "jwks.json"}, "classes": {"gold": {"concurrent": 9}}}
    return AdmissionConfig.read(written, "admission", str(tmp_path))


@pytest.fixture
def key(config):
    return KeyStore(config.keys).add("alice", "gold")[0]


def token(**claims):
    return jwt.encode({"sub": "bob", "exp": 4_000_000_000, **claims}, SIGNER, "EdDSA")


def test_a_caller_without_a_credential_is_its_address(config):
    caller = Callers(config).identify({}, "192.0.2.7")
    assert (caller.identity, caller.klass) == (Identity("192.0.2.7", "anonymous"), "anonymous")


def test_anonymous_callers_can_be_refused(tmp_path):
    callers = Callers(AdmissionConfig.read({"anonymous": False, "keys": str(tmp_path / "keys")}, "admission"))
    with pytest.raises(UnauthorizedError, match="a credential is missing"):
        callers.identify({}, "192.0.2.7")


@pytest.mark.parametrize("name", ["authorization", b"authorization", "x-api-key", b"x-api-key"])
def test_a_key_comes_in_either_header_as_it_is_on_the_wire_or_as_text(config, key, name):
    value = key if "api" in str(name) else f"Bearer {key}"
    headers = HeaderFields([(name, value.encode())]) if isinstance(name, bytes) else {name: value}
    caller = Callers(config).identify(headers, "192.0.2.7")
    assert caller.identity == Identity("alice", "key")
    assert (caller.klass, caller.limits.concurrent, caller.credential) == ("gold", 9, key[3:15])


def test_a_token_names_its_caller_and_class(config):
    callers = Callers(config)
    for claims, klass in (({}, "known"), ({"class": "gold"}, "gold"), ({"class": ["staff", "gold"]}, "gold")):
        caller = callers.identify({"authorization": f"bearer {token(**claims)}"}, "192.0.2.7")
        assert (caller.identity, caller.klass) == (Identity("bob", "token"), klass)


@pytest.mark.parametrize("claim", ["admin", ["admin"], ["staff", "admin"], "motet-admins"])
def test_no_claim_makes_an_administrator_where_none_is_configured(config, claim):
    said = "which no token gives here" if "admin" in claim and claim != "motet-admins" else "motet-admins"
    with pytest.raises(ForbiddenError, match=said):
        Callers(config).identify({"authorization": f"Bearer {token(**{'class': claim})}"}, "192.0.2.7")
    both = {"authorization": f"Bearer {token(**{'class': ['admin', 'gold']})}"}
    assert Callers(config).identify(both, "192.0.2.7").klass == "gold"


@pytest.mark.parametrize(
    ("claim", "klass"),
    [
        ("motet-admins", "admin"),
        (["staff", "motet-admins"], "admin"),
        ("gold", "gold"),
        ("admin", None),
        (["admin"], None),
    ],
)
def test_the_claim_that_is_configured_makes_an_administrator(config, claim, klass):
    callers = Callers(replace(config, tokens=replace(config.tokens, admin="motet-admins")))
    headers = {"authorization": f"Bearer {token(**{'class': claim})}"}
    if klass is None:
        with pytest.raises(ForbiddenError, match="no token gives"):
            callers.identify(headers, "192.0.2.7")
    else:
        assert callers.identify(headers, "192.0.2.7").klass == klass


def test_a_class_that_the_server_does_not_have_is_forbidden(config):
    callers = Callers(config)
    with pytest.raises(ForbiddenError, match="'bob' is of class 'silver', which this server does not have"):
        callers.identify({"authorization": f"Bearer {token(**{'class': 'silver'})}"}, "192.0.2.7")
    key, _ = KeyStore(config.keys).add("carol", "silver")
    with pytest.raises(ForbiddenError):
        Callers(config).identify({"x-api-key": key}, "192.0.2.7")


def wrong_credentials(key):
    good, signed = f"Bearer {key}", f"Bearer {token()}"
    for value in ("", " ", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", key, good + "x", good[:-1], "Bearer a.b.c"):
        yield {"authorization": value}
    for value in (signed[:-4] + "AAAA", signed + ".x", f"{good}, {good}", "Bearer \xff", "Bearer mk_", "Bearer \0"):
        yield {"authorization": value}
    for value in ("", " ", "x", key + "x", key[:-1], token(), f"{key}, {key}"):
        yield {"x-api-key": value}
    yield {"authorization": good, "x-api-key": key}
    yield HeaderFields([(b"authorization", b"\xff\xfe")])


def test_no_wrong_credential_is_let_in_nor_taken_for_an_anonymous_caller(config, key):
    callers = Callers(config)
    for number, headers in enumerate(wrong_credentials(key)):  # each of an address of its own: more of one are 429
        with pytest.raises(UnauthorizedError):
            callers.identify(headers, f"192.0.2.{number}")


@pytest.mark.parametrize("value", ["Bearer mk_000000000000_" + "A" * 43, "Bearer a.b.c"])
def test_a_server_without_keys_and_tokens_refuses_them(value):
    with pytest.raises(UnauthorizedError, match="this server takes no"):
        Callers(AdmissionConfig()).identify({"authorization": value}, "192.0.2.7")


def test_callers_differ_by_kind_name_and_class_and_not_by_key(config):
    store, callers = KeyStore(config.keys), Callers(config)
    keys = [store.add("bob", "gold")[0], store.add("bob", "gold")[0], store.add("bob", "known")[0]]
    callers = Callers(config)
    found = [callers.identify({"x-api-key": each}, "192.0.2.7").key for each in keys]
    found.append(callers.identify({"authorization": f"Bearer {token(**{'class': 'gold'})}"}, "").key)
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_addresses_of_one_network_of_64_bits_are_one_caller():
    callers = Callers(AdmissionConfig())
    first, second = (callers.identify({}, f"2001:db8::{number}") for number in (1, 2))
    assert first is second


def test_wrong_credentials_of_one_network_are_bounded_and_those_that_hold_are_let_in(config, key, caplog):
    now = 5.0
    callers = Callers(config, ticks=lambda: now)
    guesses = [{"x-api-key": "mk_0123"}, {"authorization": "Bearer a.b.c"}]
    for number in range(10):
        with pytest.raises(UnauthorizedError):
            callers.identify(guesses[number % 2], f"2001:db8::{number}")
    now = 25.0
    for number in range(30):
        with pytest.raises(TooManyRequestsError, match="more than 10 wrong credentials") as refused:
            callers.identify(guesses[number % 2], f"2001:db8::{number}")
        assert refused.value.retry_after_s == 40.0
    for headers in ({"x-api-key": key}, {"authorization": f"Bearer {token()}"}, {}):
        callers.identify(headers, "2001:db8::1")
    with pytest.raises(UnauthorizedError):  # of another network
        callers.identify(guesses[0], "2001:db8:0:1::1")
    assert [record.incident for record in caplog.records if hasattr(record, "incident")] == ["wrong_credentials"]
    now = 65.0
    with pytest.raises(UnauthorizedError):
        callers.identify(guesses[0], "2001:db8::1")


def test_networks_with_wrong_credentials_are_forgotten_beyond_a_number(monkeypatch):
    monkeypatch.setattr("motet.serving.admission.wrong.MOST_NETWORKS", 2)
    wrong = WrongCredentials(lambda: 0.0)
    for network in ("a", "b", "c", "b"):
        wrong.add(network)
    assert {network: wrong._counts.get(network) for network in "abc"} == {"a": None, "b": (0.0, 2), "c": (0.0, 1)}
