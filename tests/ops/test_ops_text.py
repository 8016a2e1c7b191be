import re
import unicodedata
from hashlib import blake2b
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.batch import objects
from motet.errors import InputError
from motet.ops import text
from motet.types import ColumnType, declared_outputs

BUCKETS = [838756, 292928, 668807, 771610]
SALTED = [880470, 15383, 580084, 365854]

strings = st.lists(st.text(max_size=20), max_size=8).map(objects)


@given(strings)
def test_strings_are_changed_and_measured_as_python_does(column: Any) -> None:
    assert text.lower(column).tolist() == [value.lower() for value in column]
    assert text.upper(column).tolist() == [value.upper() for value in column]
    assert text.strip(column).tolist() == [value.strip() for value in column]
    assert text.length(column).tolist() == [len(value) for value in column]
    assert text.byte_length(column).tolist() == [len(value.encode()) for value in column]
    assert text.join(column, column, separator="+").tolist() == [f"{value}+{value}" for value in column]


@given(strings, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_what_is_normalised_stays_so(column: Any, form: Any) -> None:
    once = text.normalise(column, form=form)
    assert text.normalise(once, form=form).tolist() == once.tolist()
    assert text.normalise(column, form=form, whitespace=False).tolist() == [
        unicodedata.normalize(form, v) for v in column
    ]
    assert all(not re.search(r"^\s|\s\s|\s$", value) for value in once)


@given(strings, st.integers(0, 8), st.sampled_from(["", "…"]))
def test_truncate_never_leaves_more(column: Any, to: Any, end: Any) -> None:
    if to < len(end):
        return
    for before, after in zip(column, text.truncate(column, to=to, end=end), strict=True):
        assert after == before if len(before) <= to else len(after) == to and after.endswith(end)


@given(strings, st.integers(1, 10**9), st.sampled_from(["", "salt"]))
def test_buckets_are_the_documented_hash(column: Any, buckets: Any, salt: Any) -> None:
    key = blake2b(salt.encode(), digest_size=16).digest() if salt else b""
    wanted = [int.from_bytes(blake2b(v.encode(), digest_size=8, key=key).digest(), "little") % buckets for v in column]
    assert text.hash_bucket(column, buckets=buckets, salt=salt).tolist() == wanted


def test_buckets_never_change() -> None:
    column = objects(["", "a", "häh", "x" * 1000])
    assert text.hash_bucket(column, buckets=1_000_000).tolist() == BUCKETS
    assert text.hash_bucket(column, buckets=1_000_000, salt="s").tolist() == SALTED


def test_ngrams_count_runs_at_their_hash() -> None:
    found = text.ngrams(objects(["to be or not to be", ""]), dim=1000, sizes=[1, 2])
    assert (found.dtype, found.shape) == (np.float32, (2, 1000))
    places = text.hash_bucket(objects(["to", "be", "or", "not", "to be", "be or", "or not", "not to"]), buckets=1000)
    assert found[0, places].tolist() == [2, 2, 1, 1, 2, 1, 1, 1]
    assert (found[0].sum(), found[1].sum()) == (11, 0)
    assert text.ngrams(objects(["abc"]), dim=9, sizes=[2], of="char").sum() == 2


def test_contains_and_replace() -> None:
    column = objects(["Straße 5", "none"])
    assert text.contains(column, part="STRASSE", case=False).tolist() == [True, False]
    assert text.contains(column, part="Str.").tolist() == [False, False]
    assert text.replace(column, pattern=r"(\w+) (\d)", by=r"\2 \1").tolist() == ["5 Straße", "none"]


@pytest.mark.parametrize(
    ("function", "kinds", "keywords", "said"),
    [
        (text.lower, ["int64"], {}, "lower takes strings, got int64"),
        (text.join, [], {}, "join takes one column or more"),
        (text.join, ["string", "float32[2]"], {}, r"join takes strings, got float32\[2\]"),
        (text.normalise, ["string"], {"form": "ABC"}, "no Unicode form 'ABC'; known: NFC, NFD, NFKC, NFKD"),
        (text.truncate, ["string"], {"to": 1, "end": "..."}, "at least the 3 characters of end, got 1"),
        (text.contains, ["string"], {}, "contains needs part"),
        (text.replace, ["string"], {"pattern": "(", "by": ""}, r"'\(' is no regular expression: missing \)"),
        (text.hash_bucket, ["string"], {"buckets": 0}, "a number of at least 1, got 0"),
        (text.ngrams, ["string"], {"dim": 0}, "the length of the vector, at least 1, got 0"),
        (text.ngrams, ["string"], {"dim": 4, "sizes": [0]}, "sizes are whole numbers of at least 1"),
        (text.ngrams, ["string"], {"dim": 4, "of": "line"}, "ngrams are of char or word, got 'line'"),
    ],
)
def test_what_does_not_fit_is_refused_when_the_graph_is_built(
    function: Any, kinds: Any, keywords: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        declared_outputs(function, tuple(ColumnType.parse(kind) for kind in kinds), keywords)


def test_a_row_that_is_no_string_is_named_by_what_it_is() -> None:
    with pytest.raises(InputError, match=r"motet.ops.text.lower: a row is NoneType, not a string"):
        text.lower(objects(["a", None]))
