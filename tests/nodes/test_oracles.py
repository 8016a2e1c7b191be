"""Multi-model nodes against oracles of a few lines, row by row, with models that raise on some rows."""

import functools
import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import motet as mt
from helpers.rows import play, play_alone, same
from motet.testing.fakes import Affine, Failing, Scores, fake

BAD = 7.0
VALUES = st.sampled_from([0.0, 1.0, 2.5, -3.0, BAD, 8.0])
GOOD = np.array([1.0], dtype=np.float32)


def floats(values):
    return np.array(values, dtype=np.float32)


def failing(name, *bad, scale=1.0, offset=0.0):
    return fake(Failing, name, bad=list(bad), scale=scale, offset=offset)


def primed(graph, **columns):
    """A graph whose models have answered, so that they are not taken for hopeless."""
    for value in columns.pop("keys", [None]):
        graph({**columns, **({} if value is None else {"key": [value]})})
    return graph


# route by key


@functools.cache
def by_key(rest, missing):
    arms = {"en": failing("en", BAD), "fr|de": fake(Affine, "eu", scale=2.0)}
    arms |= {"*": fake(Affine, "rest", scale=-1.0)} if rest else {}
    key, x = mt.input("key", "string", default=None), mt.input("x", "float32")
    routed = mt.route(arms, x, key=key, missing="fr|de" if missing else None, name="lang")
    return primed(mt.Graph("g", {"y": routed, "who": routed.member}), x=GOOD, keys=["en", "de"])


def key_oracle(key, x, rest, missing):
    if not key:
        return (2 * x, "fr|de") if missing else "the key 'key' is missing"
    if key == "en":
        return (x, "en") if x != BAD else "cannot take 7"
    if key in ("fr", "de"):
        return 2 * x, "fr|de"
    return (-x, "*") if rest else f"no member takes the key {key!r}"


@given(
    st.lists(st.tuples(st.sampled_from(["en", "fr", "de", "it", "EN", "*", "fr|de", "", None]), VALUES), max_size=30),
    st.booleans(),
    st.booleans(),
)
def test_route_by_key_sends_each_row_to_the_member_of_its_key(rows, rest, missing):
    keys = np.array([key for key, _ in rows], dtype=object)
    found = play(by_key(rest, missing), {"key": keys, "x": floats([x for _, x in rows])})
    for (key, x), got in zip(rows, found, strict=True):
        wanted = key_oracle(key, x, rest, missing)
        if isinstance(wanted, str):
            assert got.message.startswith(wanted)
            assert got.node == "lang"
        else:
            assert (got["y"], got["who"]) == wanted


@pytest.mark.parametrize(
    ("kind", "keys", "names"),
    [
        ("int32", [1, 2, 1], ["1", "2"]),
        ("float64", [1.0, 2.5, 1.0], ["1", "2.5"]),
        ("bool", [True, False, True], ["true", "false"]),
        ("bytes", [b"a", b"b", b"a"], ["a", "b"]),
        ("string", ["yes", "no", "yes"], ["yes", "no"]),
    ],
)
def test_keys_of_every_dtype_are_matched_by_their_text(kind, keys, names):
    x = mt.input("x", "float32")
    routed = mt.route(
        {names[0]: fake(Affine, "a"), names[1]: fake(Affine, "b", scale=10.0)}, x, key=mt.input("key", kind)
    )
    assert mt.Graph("g", {"y": routed})({"key": keys, "x": floats([1, 2, 3])})["y"].tolist() == [1, 20, 3]


# route by condition


@functools.cache
def by_condition():
    amount, x = mt.input("amount", "float64"), mt.input("x", "float32")
    arms = {"small": fake(Affine, "a"), "large": failing("b", BAD, scale=2.0), "huge": fake(Affine, "c", scale=3.0)}
    given_x = {name: mt.member(arm, [x]) for name, arm in arms.items()}
    when = {"huge": "amount > 1000", "large": "amount > 10"}
    routed = mt.route(given_x, amount, when=when, otherwise="small", name="size")
    graph = mt.Graph("g", {"y": routed, "who": routed.member})
    graph({"amount": [100.0], "x": GOOD})
    return graph


@given(st.lists(st.tuples(st.sampled_from([0.0, 10.0, 11.0, 1000.0, 1001.0, float("nan")]), VALUES), max_size=30))
def test_route_by_condition_takes_the_first_that_holds(rows):
    amounts = np.array([amount for amount, _ in rows])
    found = play(by_condition(), {"amount": amounts, "x": floats([x for _, x in rows])})
    for (amount, x), got in zip(rows, found, strict=True):
        arm, factor = ("huge", 3) if amount > 1000 else ("large", 2) if amount > 10 else ("small", 1)
        if arm == "large" and x == BAD:
            assert (got.node, got.model, got.error) == ("size", "b", "ValueError")
        else:
            assert (got["who"], got["y"]) == (arm, factor * x)


# route by split: an independent implementation


def arm_of(user, weights, salt=""):
    """The weighted rendezvous hash, from the documentation alone."""
    key = hashlib.blake2b(salt.encode()).digest()[:32]
    mask = 2**64 - 1

    def hashed(data):
        return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=key).digest(), "little")

    def mixed(value):
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & mask
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB & mask
        return value ^ (value >> 31)

    def score(arm):
        unit = ((mixed(hashed(b"s" + user.encode()) ^ hashed(b"a" + arm.encode())) >> 11) + 0.5) * 2.0**-53
        return -np.log(unit) / weights[arm]

    return min((arm for arm in weights if weights[arm]), key=score)


@functools.cache
def by_split(salt):
    weights = {"a": 70.0, "b": 30.0, "off": 0.0}
    arms = {"a": failing("a", BAD), "b": fake(Affine, "b", scale=2.0), "off": fake(Failing, "off")}
    user, x = mt.input("user", "string", default=None), mt.input("x", "float32")
    routed = mt.route(arms, x, split=weights, by=user, salt=salt)
    graph = mt.Graph("g", {"y": routed, "who": routed.member})
    graph({"user": [str(i) for i in range(9)], "x": np.ones(9, dtype=np.float32)})
    return graph, weights


@given(
    st.lists(st.tuples(st.one_of(st.text(max_size=5), st.none()), VALUES), max_size=30),
    st.sampled_from(["", "s", "exp-1"]),
)
def test_a_split_is_the_weighted_rendezvous_hash_of_the_key(rows, salt):
    graph, weights = by_split(salt)
    users = np.array([user for user, _ in rows], dtype=object)
    users = np.array([user if user is None or user.isprintable() else "u" for user in users], dtype=object)
    found = play(graph, {"user": users, "x": floats([x for _, x in rows])})
    for user, (_, x), got in zip(users, rows, found, strict=True):
        if not user:
            assert (
                got.message
                == "the key 'user' is missing; write missing: ARM in node 'route_1' to say which member takes such rows"
            )
            continue
        arm = arm_of(user, weights, salt)
        if arm == "a" and x == BAD:
            assert got.message == "cannot take 7"
        else:
            assert (got["who"], got["y"]) == (arm, x if arm == "a" else 2 * x)


# cascade


@functools.cache
def cascading(threshold):
    """Three members of which the first fails on BAD; they give scores and are sure of some rows."""
    x = mt.input("x", "float32")
    members = [
        fake(Scores, name, "float32", "float32[3]", output="p", seed=seed, sharpness=sharpness)
        for name, seed, sharpness in (("first", 1, 0.3), ("second", 2, 0.6), ("last", 3, 0.1))
    ]
    sure = mt.cascade(members, x, confidence=threshold)
    return mt.Graph("g", {"p": sure.p, "who": sure.member, "how": sure.confidence})


@given(st.lists(VALUES, max_size=30), st.sampled_from([0.0, 0.5, 0.7, 0.99, 1.0]))
def test_a_cascade_asks_on_until_a_member_is_confident(values, threshold):
    found = play(cascading(threshold), {"x": floats(values)})
    models = {"first": Scores(3, 1, 0.3), "second": Scores(3, 2, 0.6), "last": Scores(3, 3, 0.1)}
    for value, got in zip(values, found, strict=True):
        for name, model in models.items():
            scores = model(floats([value]))[0]
            if scores.max() >= threshold or name == "last":
                break
        assert got["who"] == name
        np.testing.assert_array_equal(got["p"], scores)
        assert got["how"] == np.float64(scores.max())


# shard


def digits_oracle(number):
    return float(sum(3 * int(digit) for digit in str(number))) if number >= 0 else 0.0


@functools.cache
def sharding(apart):
    number = mt.input("number", "int64")
    tripled = fake(Failing, "tripled", bad=[9.0], scale=3.0)
    graph = mt.Graph(
        "g",
        {
            "sum": mt.shard(
                tripled, number, apart=f"helpers.functions.{apart}", together="helpers.functions.total", name="s"
            )
        },
    )
    graph({"number": [1]})
    return graph


@given(st.lists(st.integers(-1, 2999), max_size=20), st.sampled_from(["digits", "digits_typed"]))
def test_a_shard_answers_pieces_and_puts_them_together(numbers, apart):
    found = play(sharding(apart), {"number": np.array(numbers, dtype=np.int64)})
    for number, got in zip(numbers, found, strict=True):
        if "9" in str(number):
            text = str(number)
            assert got.message == f"piece {text.index('9')} of {len(text)}: cannot take 9"
            assert (got.node, got.model, got.error) == ("s", "tripled", "ValueError")
        else:
            assert got["sum"] == digits_oracle(number)


# ensemble


MEMBERS = {"a": (1.0, 0.0, []), "b": (2.0, -1.0, [BAD]), "c": (-1.0, 4.0, [BAD, 8.0]), "shadow": (9.0, 9.0, [0.0])}


def numbers_oracle(combine, answers, weights):
    """What a combiner makes of the members' answers, by name, for one row; None for a member that failed."""
    there = [(answers[name], weight) for name, weight in weights.items() if weight and answers[name] is not None]
    values, shares = [value for value, _ in there], [weight for _, weight in there]
    if combine == "weighted_average":
        return sum(value * weight for value, weight in there) / sum(shares)
    if combine == "max":
        return max(values)
    if combine == "median":
        return float(np.median(values))
    if combine == "helpers.functions.smallest":
        return min(values)
    if combine == "majority_vote":
        votes = {value: sum(weight for other, weight in there if other == value) for value in values}
        return max(values, key=lambda value: votes[value])
    return [np.nan if answers[name] is None else answers[name] for name, weight in weights.items() if weight]


@functools.cache
def voting(combine, require, weighted):
    x = mt.input("x", "float32")
    members = {name: failing(name, *bad, scale=scale, offset=offset) for name, (scale, offset, bad) in MEMBERS.items()}
    weights = {"a": 1.0, "b": 2.0 if weighted else 1.0, "c": 4.0 if weighted else 1.0, "shadow": 0.0}
    vote = mt.ensemble(members, x, combine=combine, weights=weights, require=require, name="vote")
    columns: dict[str, Any] = {f"own_{name}": vote[name].output for name in members}
    graph = mt.Graph("g", {"y": vote.output, "who": vote.member, **columns})
    graph({"x": GOOD})
    return graph, weights


WEIGHTED = ("weighted_average", "majority_vote")
COMBINERS = (*WEIGHTED, "max", "median", "stack", "helpers.functions.smallest")


@given(st.lists(VALUES, max_size=25), st.sampled_from(COMBINERS), st.sampled_from([None, 1, 2, 3]), st.booleans())
def test_an_ensemble_combines_the_members_that_answered(values, combine, require, weighted):
    graph, weights = voting(combine, require, weighted and combine in WEIGHTED)
    found = play(graph, {"x": floats(values)})
    for x, got in zip(values, found, strict=True):
        answers = {name: None if x in bad else x * scale + offset for name, (scale, offset, bad) in MEMBERS.items()}
        counting = [name for name in ("a", "b", "c") if answers[name] is not None]
        if len(counting) < (require or 3):
            failed = next(name for name in ("a", "b", "c") if answers[name] is None)
            assert (got.node, got.model, got.error) == ("vote", failed, "ValueError")
            assert got.message == f"cannot take {x:g}"
            continue
        assert got["who"] == ",".join(name for name, answer in answers.items() if answer is not None)
        np.testing.assert_allclose(got["y"], numbers_oracle(combine, answers, weights), rtol=1e-6)
        for name, answer in answers.items():
            np.testing.assert_array_equal(got[f"own_{name}"], np.float32(np.nan if answer is None else answer))


@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=6, max_size=6), max_size=12),
    st.sampled_from([(1.0, 1.0), (1.0, 3.0)]),
)
def test_majority_vote_of_scores_gives_the_share_of_votes(rows, weights):
    one, two = mt.input("one", "float32[3]"), mt.input("two", "float32[3]")
    same_scores = fake(Affine, "m", "float32[3]")
    members = {"a": mt.member(same_scores, [one]), "b": mt.member(same_scores, [two])}
    graph = mt.Graph("g", {"y": mt.ensemble(members, combine="majority_vote", weights=weights)})
    both = floats(rows).reshape(len(rows), 2, 3)
    found = graph({"one": both[:, 0], "two": both[:, 1]})["y"]
    for scores, got in zip(both, found, strict=True):
        wanted = np.zeros(3)
        for member, weight in zip(scores, weights, strict=True):
            wanted[int(np.argmax(member))] += weight / sum(weights)
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


@given(st.lists(VALUES, max_size=12), st.sampled_from([None, 1]))
def test_union_averages_each_label_over_the_members_that_know_it(values, require):
    x = mt.input("x", "float32[2]")
    one = fake(Failing, "one", "float32[2]", bad=[BAD], scale=2.0, settings={"labels": ["cat", "dog"]})
    two = fake(Affine, "two", "float32[2]", scale=4.0, settings={"labels": ["dog", "emu"]})
    graph = mt.Graph("g", {"y": mt.ensemble([one, two], x, combine="union", weights=[1, 3], require=require)})
    graph({"x": floats([[1, 2]])})
    found = play(graph, {"x": floats([[value, 1.0] for value in values]).reshape(-1, 2)})
    for value, got in zip(values, found, strict=True):
        first = None if value == BAD else (2 * value, 2.0)
        if first is None and require is None:
            assert got.model == "one"
            continue
        dog = 4 * value if first is None else (first[1] + 3 * 4 * value) / 4
        np.testing.assert_allclose(got["y"], [first[0] if first else 0.0, dog, 4.0], rtol=1e-6)


@given(st.lists(st.sampled_from(["red", "green", "blue"]), min_size=3, max_size=30))
def test_majority_vote_of_texts_gives_the_text_with_the_most_votes(words):
    rows = len(words) // 3
    columns: dict[str, Any] = {name: words[place * rows : (place + 1) * rows] for place, name in enumerate("abc")}
    same_text = mt.Model("python:helpers.models:echo", "echo", inputs={"x": "string"}, outputs={"word": "string"})
    members = {name: mt.member(same_text, [mt.input(name, "string")]) for name in "abc"}
    graph = mt.Graph("g", {"word": mt.ensemble(members, combine="majority_vote")})
    found = graph(columns)["word"]
    for row in range(rows):
        votes = [columns[name][row] for name in "abc"]
        assert found[row] == max(votes, key=votes.count)


# what shares a batch


@functools.cache
def everything(folder, *, stack=False):
    """All kinds of nodes of ONNX models in one graph."""
    one, two, three = (mt.Model(str(folder / f"{name}.onnx")) for name in ("one", "two", "three"))
    x, key = mt.input("x", "float32[4]"), mt.input("key", "int64")
    vote = mt.ensemble([one, two, three], x, weights=[0.2, 0.3, 0.5])
    sure = mt.cascade([one, two, three], x, confidence=0.8)
    routed = mt.route({"0": one, "1|2": two, "*": three}, x, key=key, stack=stack)
    split = mt.route({"a": one, "b": two}, x, split={"a": 1, "b": 2}, by=key, stack=stack)
    inner = mt.Graph("inner", {"probabilities": mt.ensemble([two, three], mt.input("x", "float32[4]"))})
    nested = mt.ensemble([inner, one], x, combine="median")
    top = mt.map("helpers.functions.top", vote)
    outputs = {"vote": vote, "sure": sure, "step": sure.member, "routed": routed, "split": split, "nested": nested}
    return mt.Graph("everything", {**outputs, "index": top.index, "score": top.score})


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 40))
def test_the_answer_of_a_row_has_the_same_bits_whatever_shares_its_batch(onnx_files, seed, rows):
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "x": random.normal(size=(rows, 4)).astype(np.float32),
        "key": random.integers(0, 5, rows),
    }
    graph = everything(onnx_files)
    whole = play(graph, columns)
    same(whole, play_alone(graph, columns))
    order = random.permutation(rows)
    shuffled = play(graph, {name: column[order] for name, column in columns.items()})
    same([whole[row] for row in order], shuffled)


def test_models_that_are_played_together_differ_by_rounding_alone(onnx_files):
    random = np.random.default_rng(7)
    columns: dict[str, Any] = {
        "x": random.normal(size=(300, 4)).astype(np.float32),
        "key": random.integers(0, 5, 300),
    }
    graph = everything(onnx_files, stack=True)
    play(graph, columns)
    whole = play(graph, columns)
    assert [len(stacks) for stacks in graph.executor.shared.stacks.values()] == [1, 1]
    same(whole, play_alone(graph, columns), exact=False)
    same(whole, play(everything(onnx_files), columns), exact=False)


def test_a_long_call_is_the_same_as_its_parts(onnx_files):
    graph = everything(onnx_files)
    random = np.random.default_rng(5)
    columns: dict[str, Any] = {
        "x": random.normal(size=(5000, 4)).astype(np.float32),
        "key": random.integers(0, 5, 5000),
    }
    parts = [
        play(graph, {name: column[at : at + 777] for name, column in columns.items()}) for at in range(0, 5000, 777)
    ]
    same(play(graph, columns), [row for part in parts for row in part])


# rows in = rows out + failures


@functools.cache
def fallible():
    """A graph in which everything fails on some rows."""
    x = mt.input("x", "float32")
    checked = mt.map("helpers.functions.refuse_negative", x, name="checked")
    inner_x = mt.input("x", "float32")
    inner = mt.Graph("inner", {"output": mt.model(failing("deep", 4.0, scale=2.0), inner_x, name="deep_node")})
    vote = mt.ensemble({"a": failing("a", 3.0), "g": inner, "c": failing("c", 5.0)}, checked, require=2, name="vote")
    arms = {"low": failing("low", 1.0), "high": inner}
    routed = mt.route(arms, checked, when={"high": "checked > 3"}, otherwise="low", name="size")
    both = mt.map("helpers.functions.add", vote, routed)
    graph = mt.Graph("g", {"vote": vote, "routed": routed, "both": both})
    graph({"x": floats([0.0, 2.0, 6.0])})
    return graph


def fallible_oracle(x):
    if x < 0:
        return "checked", f"negative: {x:g}"
    answers = [None if x == 3 else x, None if x == 4 else 2 * x, None if x == 5 else x]
    there = [answer for answer in answers if answer is not None]
    vote = sum(there) / len(there)
    if x == 4:
        return "inner/deep_node", "cannot take 4"
    if x == 1:
        return "size", "cannot take 1"
    return vote, 2 * x if x > 3 else x


@given(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), max_size=60))
def test_every_row_ends_once_as_an_answer_or_as_a_failure(values):
    found = play(fallible(), {"x": floats(values)})
    for x, got in zip(values, found, strict=True):
        wanted = fallible_oracle(x)
        if isinstance(wanted[0], str):
            assert (got.node, got.message.split(" (")[0]) == wanted
        else:
            np.testing.assert_allclose([got["vote"], got["routed"], got["both"]], [*wanted, sum(wanted)], rtol=1e-6)
