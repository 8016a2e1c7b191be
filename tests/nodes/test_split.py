"""Stable splits: the same arm for the same key everywhere, in the shares asked for, with no more moves than must be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from motet.nodes.split import canonical_bytes, choose_arms, is_missing_key
from motet.testing.fakes import Affine, fake

USERS = np.array([f"user-{number}" for number in range(20_000)], dtype=object)


def shares(weights, salt=""):
    chosen = choose_arms(USERS, weights, salt)
    return {arm: float(np.mean(chosen == place)) for place, arm in enumerate(weights)}


@pytest.mark.parametrize(
    "weights",
    [{"a": 50, "b": 50}, {"a": 90, "b": 10}, {"a": 1, "b": 1, "c": 2}, {"a": 99, "b": 1}, {"a": 3, "off": 0, "c": 1}],
)
@pytest.mark.parametrize("salt", ["", "experiment"])
def test_arms_get_the_shares_asked_for(weights, salt):
    total = sum(weights.values())
    for arm, share in shares(weights, salt).items():
        wanted = weights[arm] / total
        assert abs(share - wanted) <= 4 * np.sqrt(wanted * (1 - wanted) / len(USERS)) + 1e-12


def moved(before, after, users=USERS):
    """For each pair of arms how many users go from the one to the other."""
    arms = list(before)
    one, other = choose_arms(users, before, "s"), choose_arms(users, {arm: after[arm] for arm in arms}, "s")
    pairs, counts = np.unique(np.stack([one, other])[:, one != other], axis=1, return_counts=True)
    return {(arms[a], arms[b]): int(count) for (a, b), count in zip(pairs.T, counts, strict=True)}


@pytest.mark.parametrize(
    ("before", "after", "fro", "to", "least"),
    [
        ({"a": 90, "b": 10}, {"a": 80, "b": 20}, {"a"}, {"b"}, 0.10),
        ({"a": 90, "b": 10}, {"a": 99, "b": 1}, {"b"}, {"a"}, 0.09),
        ({"a": 1, "b": 1, "c": 0}, {"a": 1, "b": 1, "c": 1}, {"a", "b"}, {"c"}, 1 / 3),
        ({"a": 2, "b": 1, "c": 1}, {"a": 2, "b": 1, "c": 0}, {"c"}, {"a", "b"}, 0.25),
        ({"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 1, "c": 1}, {"b", "c"}, {"a"}, 0.5 - 1 / 3),
    ],
)
def test_when_one_arm_changes_only_as_many_users_move_as_must(before, after, fro, to, least):
    moves = moved(before, after)
    assert {a for a, _ in moves} == fro
    assert {b for _, b in moves} == to
    assert sum(moves.values()) / len(USERS) == pytest.approx(least, abs=4 * np.sqrt(least / len(USERS)))


def test_weights_that_are_multiples_of_each_other_move_nobody():
    assert moved({"a": 9, "b": 1, "c": 2}, {"a": 45, "b": 5, "c": 10}) == {}


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=2, max_size=5))
def test_users_only_move_to_arms_that_grew_more(pairs):
    before = {f"arm{place}": old for place, (old, _) in enumerate(pairs)}
    after = {f"arm{place}": new for place, (_, new) in enumerate(pairs)}
    growth = {arm: after[arm] / before[arm] for arm in before}
    users = USERS[:3000]
    moves = moved(before, after, users)
    for fro, to in moves:
        assert growth[to] > growth[fro]
    old, new = sum(before.values()), sum(after.values())
    apart = sum(abs(after[arm] / new - before[arm] / old) for arm in before) / 2
    bound = 2 * apart / (1 + apart)  # no way to choose arms one key at a time does better for all changes of weights
    assert sum(moves.values()) / len(users) <= bound + 4 * np.sqrt(bound / len(users))


def test_splits_with_different_salts_are_independent():
    one = choose_arms(USERS, {"a": 1, "b": 1}, "one") == 0
    other = choose_arms(USERS, {"a": 1, "b": 1}, "other") == 0
    assert abs(np.mean(one == other) - 0.5) < 0.02
    np.testing.assert_array_equal(one, choose_arms(USERS, {"a": 1, "b": 1}, "one") == 0)


def test_the_order_of_the_arms_does_not_matter():
    one = choose_arms(USERS, {"a": 2, "b": 1, "c": 3}, "")
    other = choose_arms(USERS, {"c": 3, "a": 2, "b": 1}, "")
    assert [("a", "b", "c")[place] for place in one] == [("c", "a", "b")[place] for place in other]


def test_arms_are_the_same_as_in_every_release():
    """Users may not move because Motet was upgraded: these are fixed for good."""
    chosen = choose_arms(USERS[:24], {"a": 60, "b": 30, "c": 10}, "fixed")
    assert "".join("abc"[place] for place in chosen) == "baacacaabababaaaabbaaaaa"


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ([7, 7.0, np.int8(7), np.uint64(7), np.float32(7)], b"i7"),
        ([-3, -3.0, np.int16(-3)], b"i-3"),
        ([True, 1, 1.0, np.bool_(True)], b"i1"),
        ([False, 0, 0.0, -0.0], b"i0"),
        ([2**70, float(2**70)], b"i%d" % 2**70),
        (["7"], b"s7"),
        ([b"7", bytearray(b"7"), memoryview(b"7")], b"b7"),
        (["é", np.str_("é")], b"s\xc3\xa9"),
        (["\ud800"], b"s\xed\xa0\x80"),
        ([0.5, np.float32(0.5), np.float64(0.5)], b"f\x3f\xe0\0\0\0\0\0\0"),
        ([float("inf")], b"f\x7f\xf0\0\0\0\0\0\0"),
    ],
)
def test_canonical_bytes_are_those_of_the_value_whatever_its_width(keys, wanted):
    assert [canonical_bytes(key) for key in keys] == [wanted] * len(keys)


@given(
    st.lists(st.one_of(st.integers(-(2**40), 2**40), st.floats(allow_nan=False), st.text(), st.binary()), unique=True)
)
def test_different_keys_have_different_bytes(keys):
    assert len({canonical_bytes(key) for key in keys}) == len(keys)


@pytest.mark.parametrize("key", [None, "", b"", float("nan"), np.float32("nan")])
def test_keys_that_say_nothing_are_missing(key):
    assert is_missing_key(key)


@pytest.mark.parametrize("key", [0, 0.0, False, " ", "0", "none", b"\0"])
def test_other_keys_are_not_missing(key):
    assert not is_missing_key(key)


def graph_of(weights, missing=None, kind="string", default=None, **options):
    x, user = mt.input("x", "float32"), mt.input("user", kind, default=default)
    arms = {arm: fake(Affine, arm, scale=place + 1.0) for place, arm in enumerate(weights)}
    routed = mt.route(arms, x, split=weights, by=user, missing=missing, **options)
    return mt.Graph("g", {"y": routed, "arm": routed.member})


def test_a_user_meets_the_same_arm_in_every_batch_order_and_graph():
    one, other = graph_of({"a": 2, "b": 1}), graph_of({"b": 1, "a": 2}, name="elsewhere")
    users, x = USERS[:300], np.ones(300, dtype=np.float32)
    whole = one({"x": x, "user": users})["arm"]
    assert set(whole) == {"a", "b"}
    alone = [one({"x": x[:1], "user": users[row : row + 1]})["arm"][0] for row in range(40)]
    assert alone == whole[:40].tolist()
    assert one({"x": x, "user": users[::-1]})["arm"].tolist() == whole[::-1].tolist()
    assert other({"x": x, "user": users})["arm"].tolist() == whole.tolist()


def test_numbers_of_any_width_are_the_same_user():
    numbers = np.arange(1, 100)
    x = np.ones(99, dtype=np.float32)
    arms = [
        graph_of({"a": 1, "b": 1}, kind=kind, default=0)({"x": x, "user": numbers.astype(kind)})["arm"].tolist()
        for kind in ("int8", "int64", "uint16", "float32", "float64")
    ]
    assert set(arms[0]) == {"a", "b"}
    assert arms == [arms[0]] * 5


def test_a_row_without_a_key_fails_or_goes_to_the_arm_for_it():
    columns = {"x": np.ones(4, dtype=np.float32), "user": ["u", None, "", "u"]}
    with pytest.raises(
        mt.RowErrors, match=r"row 1: node route_1: InputError: the key 'user' is missing; write missing: ARM"
    ):
        graph_of({"a": 1, "b": 0})(columns)
    assert graph_of({"a": 1, "b": 0}, missing="b")(columns)["arm"].tolist() == ["a", "b", "b", "a"]


def test_an_arm_of_weight_zero_takes_no_rows():
    graph = graph_of({"a": 1, "b": 0})
    assert set(graph({"x": np.ones(500, dtype=np.float32), "user": USERS[:500]})["arm"]) == {"a"}
