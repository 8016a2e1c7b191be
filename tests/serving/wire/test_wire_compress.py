"""Compression of bodies; gzip and zlib of the standard library are the oracles."""

import contextlib
import gzip
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import InputError, TooLargeError
from motet.serving.wire.compress import MAX_MEMBERS, UnsupportedEncodingError, compress, decompress


def plain_deflate(body):
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(body) + deflater.flush()


@given(st.binary(max_size=2000))
def test_bodies_are_inflated(body):
    assert decompress(gzip.compress(body), "gzip", 2000) == body
    assert decompress(gzip.compress(body), " X-GZIP ", 2000) == body
    assert decompress(zlib.compress(body), "deflate", 2000) == body
    assert decompress(plain_deflate(body), "deflate", 2000) == body
    assert decompress(body, "identity", 2000) == body
    assert decompress(gzip.compress(zlib.compress(body)), "deflate, gzip", 4000) == body
    assert decompress(gzip.compress(body) + gzip.compress(b"more"), "gzip", 4000) == body + b"more"


@given(st.binary(max_size=3000), st.sampled_from(["gzip", "deflate"]))
def test_what_is_compressed_is_inflated_by_others(body, name):
    small, encoding = compress(body, name, 0)
    assert encoding == name
    unpack: dict[str, Any] = {"gzip": gzip.decompress, "deflate": zlib.decompress}
    assert unpack[name](small) == body


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br", "gzip"),
        ("gzip;q=0.2, deflate;q=0.8", "deflate"),
        ("GZIP ; q=1.0", "gzip"),
        ("*", "gzip"),
        ("gzip;q=0, *", "deflate"),
        ("gzip;q=0", None),
        ("*;q=0", None),
        ("br", None),
        ("identity", None),
        ("identity;q=1, gzip;q=0.5", None),
        ("gzip;q=often", None),
        ("", None),
        (",;=,", None),
    ],
)
def test_answers_are_in_the_encoding_that_is_liked_best(accepted, chosen):
    assert compress(b"x" * 100, accepted, 10)[1] == chosen


def test_short_answers_stay_as_they_are():
    assert compress(b"x" * 9, "gzip", 10) == (b"x" * 9, None)


def test_a_bomb_is_refused_before_it_is_inflated():
    bomb = gzip.compress(bytes(64 << 20))
    with pytest.raises(TooLargeError, match="the body has more than 1000 bytes when it is decompressed") as caught:
        decompress(bomb, "gzip", 1000)
    assert caught.value.status == 413
    with pytest.raises(TooLargeError):
        decompress(gzip.compress(bytes(600)) * 2, "gzip", 1000)
    assert decompress(gzip.compress(bytes(1000)), "gzip", 1000) == bytes(1000)


def test_an_unknown_encoding_is_said():
    with pytest.raises(UnsupportedEncodingError, match="the content encoding 'br' is not known") as caught:
        decompress(b"x", "br", 10)
    assert caught.value.status == 415
    with pytest.raises(UnsupportedEncodingError, match="3 content encodings; 2 at most"):
        decompress(b"x", "gzip, gzip, gzip", 10)


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (b"", "gzip", "the body is not in gzip: it is empty"),
        (b"what?", "gzip", "the body is not in gzip: .*incorrect header check"),
        (b"what?", "deflate", "the body is not in deflate: "),
        (gzip.compress(b"abc")[:-3], "gzip", "the body is not in gzip: it ends too soon"),
        (zlib.compress(b"abc") + b"12345", "deflate", "the body in deflate has 5 bytes behind its end"),
        (gzip.compress(b"") * (MAX_MEMBERS + 1), "gzip", "the body in gzip has more than 64 pieces; send it in one"),
    ],
    ids=["empty", "no gzip", "no deflate", "cut off", "more behind", "many pieces"],
)
def test_what_is_wrong_with_a_body_is_said(body, encoding, message):
    with pytest.raises(InputError, match=message):
        decompress(body, encoding, 1000)


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_are_inflated_or_refused(body, encoding):
    with contextlib.suppress(InputError, TooLargeError):
        decompress(body, encoding, 1000)
