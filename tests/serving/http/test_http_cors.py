"""Answers of the inference routes to pages of other origins."""

import pytest

from serving.http.http_live import infer, infer_body, values_of

SHOP, EXPOSED = b"https://shop.example", b"Retry-After, Inference-Header-Content-Length, X-Request-Id, X-Feedback-Id"
HEAD = b"POST /v2/models/%b/infer HTTP/1.1\r\nHost: a\r\nOrigin: %b\r\nContent-Length: %d\r\n%b\r\n%b"
BODY = infer_body([1.0, 2.0])


def asked(origin=SHOP, name=b"echo", body=BODY, more=b""):
    return HEAD % (name, origin, len(body), more, body)


@pytest.fixture
def shared(make_site):
    return make_site(cors=(SHOP.decode(),))


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        pytest.param({}, 200, id="answered"),
        pytest.param({"more": b"Accept-Encoding: gzip\r\n"}, 200, id="a browser's"),
        pytest.param({"more": b"Connection: close\r\n"}, 200, id="the last one"),
        pytest.param({"body": b"{"}, 400, id="no JSON"),
        pytest.param({"more": b"Inference-Header-Content-Length: x\r\n"}, 400, id="a wrong head"),
        pytest.param({"name": b"nothing"}, 404, id="not served"),
    ],
)
def test_a_page_of_an_origin_that_is_allowed_may_read_what_it_is_answered(shared, parts, status):
    (answer,) = shared.ask(asked(**parts))
    assert answer.status == status
    assert answer.headers[b"access-control-allow-origin"] == SHOP
    assert answer.headers[b"access-control-expose-headers"] == EXPOSED
    assert answer.headers[b"vary"] == b"Origin"


def test_other_pages_and_programs_are_answered_without_it(shared):
    answers = shared.ask(asked() + asked(b"https://site.example") + infer([1.0, 2.0]), [b"POST"] * 3)
    assert [values_of(answer) for answer in answers] == [[1.0, 2.0]] * 3
    assert [b"access-control-allow-origin" in answer.headers for answer in answers] == [True, False, False]


def test_every_origin_may_be_allowed_and_none_is_by_default(make_site, site):
    (answer,) = make_site(cors=("*",)).ask(asked())
    assert (answer.headers[b"access-control-allow-origin"], b"vary" in answer.headers) == (b"*", False)
    (answer,) = site.ask(asked())
    assert b"access-control-allow-origin" not in answer.headers
