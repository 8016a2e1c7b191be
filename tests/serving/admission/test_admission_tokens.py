import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import GraphError, NotReadyError, UnauthorizedError
from motet.serving.admission import TokenConfig
from motet.serving.admission.tokens import TokenVerifier

ISSUER, AUDIENCE = "https://id.example.org", "motet"
SECRET = b"0123456789abcdef0123456789abcdef"
PRIVATE: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
KINDS: dict[str, Any] = {
    "RS256": jwt.algorithms.RSAAlgorithm,
    "ES256": jwt.algorithms.ECAlgorithm,
    "EdDSA": jwt.algorithms.OKPAlgorithm,
}


def public(algorithm, **more):
    return {**KINDS[algorithm].to_jwk(PRIVATE[algorithm].public_key(), as_dict=True), "kid": algorithm, **more}


def shared(**more):
    return {"kty": "oct", "k": base64.urlsafe_b64encode(SECRET).decode().rstrip("="), "kid": "HS256", **more}


def write(folder, *keys):
    path = folder / "jwks.json"
    path.write_text(json.dumps({"keys": list(keys)}))
    return str(path)


class Ticks:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def ticks():
    return Ticks()


@pytest.fixture
def verifier(tmp_path, clock, ticks):
    path = write(tmp_path, *(public(algorithm) for algorithm in PRIVATE), shared(alg="HS256"))
    return TokenVerifier(TokenConfig(path, ISSUER, AUDIENCE), clock=clock, ticks=ticks)


def claims(clock, **more):
    said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": clock.now + 100}
    return {name: value for name, value in {**said, **more}.items() if value is not None}


def signed(said, algorithm="RS256", key=None, **header):
    key = key or PRIVATE.get(algorithm, SECRET)
    return jwt.encode(said, key, algorithm, {"kid": algorithm, **header})


def crafted(header, said, signature=b""):
    """A token written by hand."""
    parts = (json.dumps(header).encode(), json.dumps(said).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA", "HS256"])
def test_a_token_signed_by_a_key_of_the_set_says_who_asks(verifier, clock, algorithm):
    told = verifier.verify(signed(claims(clock, **{"class": "gold"}), algorithm))
    assert (told.name, told.classes) == ("alice", ("gold",))


def test_a_token_holds_until_it_expires_and_a_leeway_longer(verifier, clock):
    token = signed(claims(clock))
    clock.now += 129
    assert verifier.verify(token)
    clock.now += 1
    with pytest.raises(UnauthorizedError, match="the token has expired"):
        verifier.verify(token)


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_token_does_not_hold_before_its_time_less_a_leeway(verifier, clock, claim):
    token = signed(claims(clock, **{claim: clock.now + 40}))
    with pytest.raises(UnauthorizedError, match="the token is not valid yet"):
        verifier.verify(token)
    clock.now += 10
    assert verifier.verify(token)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"iss": "https://evil.example.org"}, "Invalid issuer"),
        ({"iss": None}, "missing the \"iss\" claim"),
        ({"aud": "other"}, "Audience doesn't match"),
        ({"aud": None}, "missing the \"aud\" claim"),
        ({"exp": None}, "has no 'exp'"),
        ({"exp": "never"}, "'exp' is no number of seconds"),
        ({"exp": True}, "'exp' is no number of seconds"),
        ({"exp": float("inf")}, "'exp' is no number of seconds"),
        ({"exp": float("nan")}, "'exp' is no number of seconds"),
        ({"nbf": "x"}, "'nbf' is no number of seconds"),
        ({"sub": None}, "claim 'sub' is no name"),
        ({"sub": ""}, "claim 'sub' is no name"),
        ({"sub": "a\nb"}, "claim 'sub' is no name"),
        ({"sub": "\ud800"}, "claim 'sub' is no name"),
        ({"class": 3}, "claim 'class' is neither a text nor a list of texts"),
    ],
)  # fmt: skip
def test_a_token_that_says_something_else_is_refused(verifier, clock, more, said):
    token = crafted_and_signed(claims(clock, **more))
    with pytest.raises(UnauthorizedError, match=said):
        verifier.verify(token)


def crafted_and_signed(said):
    """Signed whatever it says; libraries refuse to write some of it."""
    unsigned = crafted({"alg": "RS256", "kid": "RS256"}, said).rstrip(".")
    algorithm = jwt.get_algorithm_by_name("RS256")
    signature = algorithm.sign(unsigned.encode(), PRIVATE["RS256"])
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, 7, ["RS256"]])
def test_a_token_without_an_algorithm_is_refused(verifier, clock, algorithm):
    with pytest.raises(UnauthorizedError):
        verifier.verify(crafted({"alg": algorithm, "kid": "RS256"}, claims(clock)))


@pytest.mark.parametrize("kid", ["RS256", "ES256", "EdDSA", "HS256", None])
def test_a_public_key_is_no_shared_secret(verifier, clock, kid):
    import hmac
    from hashlib import sha256

    for algorithm in PRIVATE:
        key = PRIVATE[algorithm].public_key()
        texts = [key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)]
        texts.append(json.dumps(public(algorithm)).encode())
        for text in texts:
            unsigned = crafted({"alg": "HS256", "kid": kid}, claims(clock)).rstrip(".")
            signature = base64.urlsafe_b64encode(hmac.new(text, unsigned.encode(), sha256).digest()).decode()
            with pytest.raises(UnauthorizedError):
                verifier.verify(f"{unsigned}.{signature.rstrip('=')}")


def test_a_key_that_the_token_brings_along_counts_for_nothing(verifier, clock):
    own = rsa.generate_private_key(65537, 2048)
    brought = jwt.algorithms.RSAAlgorithm.to_jwk(own.public_key(), as_dict=True)
    for kid in ("RS256", "mine"):
        with pytest.raises(UnauthorizedError):
            verifier.verify(signed(claims(clock), key=own, kid=kid, jwk=brought, jku="https://evil.example.org"))


def test_the_algorithm_is_the_keys_not_the_tokens(verifier, clock):
    with pytest.raises(UnauthorizedError, match="does not name one key"):
        verifier.verify(signed(claims(clock), "ES256", kid="RS256"))


def test_a_critical_header_that_is_not_understood_refuses_the_token(verifier, clock):
    for crit in (["exp"], ["b64"], []):
        with pytest.raises(UnauthorizedError):
            verifier.verify(crafted({"alg": "RS256", "kid": "RS256", "crit": crit}, claims(clock), b"x"))


def test_a_shared_secret_counts_only_where_the_key_set_says_so(tmp_path, clock):
    path = write(tmp_path, public("RS256"), shared())
    verifier = TokenVerifier(TokenConfig(path, ISSUER, AUDIENCE), clock=clock)
    with pytest.raises(UnauthorizedError):
        verifier.verify(signed(claims(clock), "HS256"))


def test_a_token_for_somebody_is_not_for_a_server_that_has_no_name(tmp_path, clock):
    verifier = TokenVerifier(TokenConfig(write(tmp_path, public("RS256"))), clock=clock)
    with pytest.raises(UnauthorizedError):
        verifier.verify(signed(claims(clock)))
    assert verifier.verify(signed(claims(clock, aud=None)))


def test_a_token_without_a_key_id_holds_where_one_key_fits(tmp_path, clock, verifier):
    unnamed = jwt.encode(claims(clock), PRIVATE["RS256"], "RS256")
    assert verifier.verify(unnamed)
    path = write(tmp_path, public("RS256"), public("RS256", kid="other"))
    with pytest.raises(UnauthorizedError, match="does not name one key"):
        TokenVerifier(TokenConfig(path, ISSUER, AUDIENCE), clock=clock).verify(unnamed)


@pytest.mark.parametrize("change", ["header", "claims", "signature"])
def test_a_token_that_was_changed_anywhere_is_refused(verifier, clock, change):
    parts = signed(claims(clock)).split(".")
    place = ["header", "claims", "signature"].index(change)
    for at in range(0, len(parts[place]) - 1, 7):
        other = "A" if parts[place][at] != "A" else "B"
        changed = [*parts]
        changed[place] = parts[place][:at] + other + parts[place][at + 1 :]
        with pytest.raises(UnauthorizedError):
            verifier.verify(".".join(changed))


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*", fullmatch=True))
def test_no_text_is_a_token_and_none_breaks_anything(tmp_path_factory, text):
    verifier = TokenVerifier(TokenConfig(write(tmp_path_factory.getbasetemp(), public("RS256")), ISSUER, AUDIENCE))
    with pytest.raises(UnauthorizedError):
        verifier.verify(text)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_no_header_breaks_anything(tmp_path_factory, header):
    verifier = TokenVerifier(TokenConfig(write(tmp_path_factory.getbasetemp(), public("RS256")), ISSUER, AUDIENCE))
    with pytest.raises(UnauthorizedError):
        verifier.verify(crafted(header, {"sub": "alice", "exp": time.time() + 10}))


def test_a_key_that_leaves_the_set_takes_its_tokens_along_also_those_that_were_seen(verifier, tmp_path, clock, ticks):
    token = signed(claims(clock))
    assert verifier.verify(token)
    write(tmp_path, public("ES256"))
    ticks.now += 0.6
    with pytest.raises(UnauthorizedError):
        verifier.verify(token)


def test_a_key_set_that_cannot_be_read_any_more_lets_nobody_in(verifier, tmp_path, clock, ticks):
    token = signed(claims(clock))
    assert verifier.verify(token)
    (tmp_path / "jwks.json").unlink()
    ticks.now += 0.6
    with pytest.raises(NotReadyError):
        verifier.verify(token)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{", "is no JSON Web Key Set"),
        ("{}", "is no JSON Web Key Set: expected"),
        ('{"keys": []}', "has no key for one of RS256, ES256, EdDSA, HS256"),
        ('{"keys": [{"kty": "RSA", "alg": "RS256"}]}', r"keys\[0\]: is no key for RS256"),
        ('{"keys": [{"kty": "oct", "alg": "HS256", "k": "c2hvcnQ"}]}', r"keys\[0\]: is too weak a key"),
        ('{"keys": [{"kty": "RSA", "d": "AQAB", "n": "AQAB", "e": "AQAB"}]}', r"keys\[0\]: is a private key"),
        ('{"keys": [{"kty": "oct", "alg": "RS256", "k": "AAAA"}]}', r"keys\[0\]: is no key for RS256"),
        ('{"keys": [{"kty": "RSA", "alg": "HS256", "k": "AAAA"}]}', r"keys\[0\]: is no key for HS256"),
    ],
)
def test_a_wrong_key_set_is_told_when_a_server_starts(tmp_path, written, said):
    path = tmp_path / "jwks.json"
    path.write_text(written)
    with pytest.raises(GraphError, match=said):
        TokenVerifier(TokenConfig(str(path)))


def test_a_weak_rsa_key_is_refused(tmp_path):
    weak = rsa.generate_private_key(65537, 1024).public_key()
    path = write(tmp_path, jwt.algorithms.RSAAlgorithm.to_jwk(weak, as_dict=True))
    with pytest.raises(GraphError, match="too weak a key"):
        TokenVerifier(TokenConfig(path))


def test_a_key_for_encryption_signs_nothing(tmp_path, clock):
    path = write(tmp_path, public("RS256", use="enc"), public("ES256"))
    with pytest.raises(UnauthorizedError):
        TokenVerifier(TokenConfig(path, ISSUER, AUDIENCE), clock=clock).verify(signed(claims(clock)))
