import operator
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motet.batch import Ragged, objects
from motet.errors import GraphError, TypeMismatchError, UnknownNameError
from motet.graph.condition import Condition
from motet.types import ColumnType

ROWS = 4
ints = st.lists(st.integers(-20, 20), min_size=ROWS, max_size=ROWS)
floats = st.lists(st.integers(-80, 80).map(lambda n: n / 4), min_size=ROWS, max_size=ROWS)
bools = st.lists(st.booleans(), min_size=ROWS, max_size=ROWS)
words = st.lists(st.sampled_from(["", "a", "Ab", "abc", "c"]), min_size=ROWS, max_size=ROWS)
vectors = st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=3), min_size=ROWS, max_size=ROWS)


def typed(**kinds):
    return {name.replace("__", "."): ColumnType.parse(kind) for name, kind in kinds.items()}


def holds(text, rows=None, **columns):
    columns = {name.replace("__", "."): column for name, column in columns.items()}
    return Condition.parse(text).evaluate(columns, len(next(iter(columns.values()))) if rows is None else rows).tolist()


# Random expressions, and Python's own eval as the oracle.

literals = st.one_of(st.integers(0, 9).map(str), st.sampled_from(["0.5", "1.25", "-3", "-0.25"]))
numbers = st.recursive(
    st.one_of(st.sampled_from(["i", "j", "u", "f", "n.out"]), literals),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda part: f"({part[0]} {part[1]} {part[2]})"),
        st.tuples(inner, st.sampled_from(["/", "//", "%"]), st.sampled_from(["2", "4", "-8", "0.5"])).map(" ".join).map("({})".format),
        inner.map("-({})".format),
        inner.map("abs({})".format),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda part: f"{part[0]}({part[1]}, {part[2]})"),
        st.sampled_from(["len(s)", "len(v)", "max_of(v)", "min_of(v)", "sum_of(v)"]),
    ),
    max_leaves=5,
)  # fmt: skip
texts = st.one_of(
    st.sampled_from(["s", "t", "'a'", '"Ab"']), st.sampled_from("st").map("lower({})".format), st.just("upper(s)")
)
comparison = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
truths = st.recursive(
    st.one_of(
        st.sampled_from(["b", "true", "False", "any_of(v)", "all_of(v)"]),
        st.tuples(numbers, comparison, numbers).map(" ".join),
        st.tuples(numbers, comparison, numbers, comparison, numbers).map(" ".join),
        st.tuples(texts, comparison, texts).map(" ".join),
        st.sampled_from(["s in ['a', 'c']", "t not in ('abc', '')", "i in [1, -2, 3]", "f not in (0.5, 2)"]),
        st.sampled_from(["startswith(s, 'a')", "endswith(t, 'c')", "contains(s, 'b')", "not isnull(s)"]),
    ),
    lambda inner: st.one_of(
        inner.map("not ({})".format),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda part: f"({part[0]} {part[1]} {part[2]})"),
    ),
    max_leaves=4,
)


class Node:
    """Stands for a node's name before a dot."""


ORACLE = {
    "true": True, "false": False, "lower": str.lower, "upper": str.upper, "startswith": str.startswith, "endswith": str.endswith,
    "contains": operator.contains, "isnull": lambda value: value is None, "max_of": max, "min_of": min, "sum_of": sum,
    "any_of": any, "all_of": all,
}  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(truths, ints, ints, bools, floats, words, words, vectors)
def test_a_condition_is_what_python_says_row_by_row(text, i, j, b, f, s, t, v):
    columns: dict[str, Any] = {
        "i": np.array(i), "j": np.array(j, dtype=np.int8), "u": np.array(j, dtype=np.int16).astype(np.uint8), "b": np.array(b),
        "f": np.array(f), "n.out": np.array(f) * 2, "s": objects(s), "t": objects(t), "v": Ragged.from_rows(v, dtype=np.int64),
    }  # fmt: skip
    kinds = typed(
        i="int64", j="int8", u="uint8", b="bool", f="float64", n__out="float64", s="string", t="string", v="int64[?]"
    )
    condition = Condition.parse(text)
    condition.check(kinds)
    wanted = []
    for row in range(ROWS):
        node: Any = Node()
        node.out = f[row] * 2
        names = {"i": i[row], "j": j[row], "u": int(columns["u"][row]), "b": b[row], "f": f[row], "n": node}
        names |= {"s": s[row], "t": t[row], "v": v[row]}
        wanted.append(bool(eval(text, {**ORACLE, **names})))
    found = condition.evaluate(columns, ROWS)
    assert (found.dtype, found.shape) == (np.bool_, (ROWS,))
    assert found.tolist() == wanted
    for row in range(ROWS):
        alone = {name: column[row : row + 1] for name, column in columns.items()}
        assert condition.evaluate(alone, 1).tolist() == [wanted[row]]


# What it means.


def test_columns_are_those_it_names_in_order_and_once():
    condition = Condition.parse("b.score > a and lower(c) == 'x' or a < 2")
    assert condition.columns == ("b.score", "a", "c")
    assert condition.text == str(condition) == "b.score > a and lower(c) == 'x' or a < 2"


def test_conditions_are_equal_by_their_text_and_can_be_pickled():
    condition = Condition.parse("a > 1")
    assert condition == Condition.parse("a > 1") != Condition.parse("a > 2")
    again = pickle.loads(pickle.dumps(condition))
    assert again == condition
    assert again.evaluate({"a": np.array([1, 2])}, 2).tolist() == [False, True]


def test_columns_whose_name_is_no_word_are_quoted():
    assert holds(
        "column('odd-name') == 1 and column('class') > 1", **{"odd-name": np.array([1]), "class": np.array([2])}
    )


def test_the_result_is_a_new_array():
    flag = np.array([True, False])
    found = Condition.parse("flag").evaluate({"flag": flag}, 2)
    found[:] = True
    assert flag.tolist() == [True, False]
    assert holds("true", rows=2, a=np.zeros(2)) == [True, True]


def test_a_null_compares_as_false_with_everything():
    names = objects(["a", None])
    assert holds("s == 'a'", s=names) == [True, False]
    assert holds("s != 'a'", s=names) == [False, False]
    assert holds("s not in ['b']", s=names) == [True, False]
    assert holds("lower(s) < 'b'", s=names) == [True, False]
    assert holds("startswith(s, '')", s=names) == [True, False]
    assert holds("len(s) >= 0", s=names) == [True, False]
    assert holds("not s == 'a'", s=names) == [False, True]
    for text in ("isnull(s)", "s == null", "s is None", "isnull(lower(s))", "not (s != None)"):
        assert holds(text, s=names) == [False, True], text
    assert holds("s == 'a' or isnull(s)", s=objects([None, None])) == [True, True]
    assert holds("isnull(f)", f=np.array([np.nan, 1.0])) == [True, False]


def test_what_cannot_be_computed_is_null():
    a, b = np.array([4, 4]), np.array([2, 0])
    for text in ("a / b >= 0", "a // b >= 0", "a % b >= 0"):
        assert holds(text, a=a, b=b) == [True, False], text
    assert holds("isnull(a / b)", a=a, b=b) == [False, True]
    assert holds("b != 0 and a / b == 2", a=a, b=b) == [True, False]


def test_whole_numbers_do_not_wrap():
    assert holds("a + b == 400 and a * b == 40000 and -a < 0", a=np.array([200], "u1"), b=np.array([200], "u1")) == [
        True
    ]
    huge = np.array([2**62, 1])
    assert holds("a * 4 == 18446744073709551616", a=huge) == [True, False]
    assert holds("isnull(a + a + a)", a=huge) == [False, False]
    assert holds("a > 9223372036854775807", a=np.array([2**64 - 1, 5], dtype=np.uint64)) == [True, False]


edges = st.sampled_from([0, 1, 2, 7, 2**31, 2**53 - 1, 2**53, 2**53 + 1, 2**62, 2**63 - 2, 2**63 - 1])
signed = st.one_of(edges, edges.map(lambda value: -value), st.just(-(2**63)), st.integers(-(2**63), 2**63 - 1))
unsigned = st.one_of(edges, edges.map(lambda value: 2**64 - 1 - value), st.integers(0, 2**64 - 1))
whole = st.recursive(
    st.one_of(
        st.sampled_from(["i", "u", "f"]),
        st.sampled_from(["3", "9223372036854775808", "18446744073709551616", "9007199254740992.0", "9007199254740993"]),
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda part: f"({part[0]} {part[1]} {part[2]})"),
        st.tuples(st.sampled_from("iu"), st.sampled_from(["/", "//", "%"]), st.sampled_from(["3", "-1", "7"])).map(" ".join).map("({})".format),
        inner.map("-({})".format),
        inner.map("abs({})".format),
    ),
    max_leaves=3,
)  # fmt: skip


@given(st.data())
def test_whole_numbers_are_exact_at_the_edges_of_64_bits(data):
    rows = data.draw(st.integers(1, 4))
    i, u = (data.draw(st.lists(each, min_size=rows, max_size=rows)) for each in (signed, unsigned))
    f = data.draw(st.lists(st.sampled_from([0.5, -1.0, 2.0**53, 2.0**63, 1e300]), min_size=rows, max_size=rows))
    text = f"{data.draw(whole)} {data.draw(comparison)} {data.draw(whole)}"
    wanted = [
        bool(eval(text, {"abs": abs}, {"i": first, "u": second, "f": third}))
        for first, second, third in zip(i, u, f, strict=True)
    ]
    assert holds(text, i=np.array(i), u=np.array(u, "u8"), f=np.array(f)) == wanted, text


def test_whole_numbers_of_objects_and_in_lists_are_exact():
    large = objects([2**64, 2**63, -(2**70), None])
    assert holds("a > 9223372036854775808", a=large) == [True, False, False, False]
    assert holds("a in [18446744073709551616, 9223372036854775808.0]", a=large) == [True, True, False, False]
    assert holds("a in [9007199254740992.0]", a=np.array([2**53, 2**53 + 1])) == [True, False]
    assert holds("max(a, 6) == a", a=np.array([2**64 - 1, 2**63, 5], "u8")) == [True, True, False]
    assert holds("min(a, b) == b", a=np.array([2**64 - 1], "u8"), b=np.array([-(2**63)])) == [True]
    assert holds("sum_of(v) > 0", v=np.array([[2**63 - 1, 1], [-1, 0]])) == [True, False]
    assert holds("sum_of(v) == 18446744073709551616", v=np.array([[2**64 - 1, 1], [1, 0]], "u8")) == [True, False]
    assert holds(f"{' * '.join(['a'] * 60)} / 2 > 0", a=np.array([2**62, 1])) == [True, True]


def test_nan_is_no_true_value():
    values = np.array([[np.nan, 0], [np.nan, 1], [1, 1], [0, 0]])
    assert holds("any_of(v)", v=values) == [False, True, True, False]
    assert holds("all_of(v)", v=values) == [False, False, True, False]
    assert holds("any_of(v)", v=Ragged.from_rows([[np.nan], [np.nan, 2.0], []])) == [False, True, False]


def test_floats_are_compared_in_the_columns_precision():
    assert holds(
        "f == 0.9 and f >= 0.9 and max_of(v) == 0.9", f=np.array([0.9], "f"), v=np.array([[0.9, 0.1]], "f")
    ) == [True]
    assert holds("f == 0.5", f=np.array([0.5], np.float16)) == [True]


def test_rows_arrays_are_reduced():
    dense, ragged = np.array([[1, 5], [2, 3]]), [np.array([1.0, 5.0]), np.array([])]
    assert holds("max_of(v) > 4 and mean_of(v) == 3 and sum_of(v) == 6", v=dense) == [True, False]
    assert holds("any_of(v)", v=dense > 4) == [True, False]
    assert holds("len(v) == 0 and sum_of(v) == 0 and all_of(v) and not any_of(v)", v=Ragged.from_rows(ragged)) == [
        False,
        True,
    ]
    assert holds("isnull(max_of(v)) or mean_of(v) == 3", v=Ragged.from_rows(ragged)) == [True, True]
    assert holds("max_of(v) > 2", v=np.arange(12).reshape(2, 3, 2)) == [True, True]


def test_columns_of_unknown_type_are_judged_by_their_values():
    assert holds("a > 1", a=objects([1, 2.5, None])) == [False, True, False]
    assert holds("a == 'x'", a=objects([None, "x"])) == [False, True]
    assert holds("a > 1 or isnull(a)", a=objects([None])) == [True]
    assert holds("not a", a=objects([True, None, False])) == [False, True, True]
    with pytest.raises(ValueError, match=r"== compares a number with a string\n  a == 'x'\n  \^\^\^\^\^\^\^\^"):
        holds("a == 'x'", a=objects([1]))
    with pytest.raises(ValueError, match=r"column 'a' has values of int, str"):
        holds("a == 'x'", a=objects(["x", 1]))


def test_no_rows_give_no_rows():
    for text in ("s == 'a'", "isnull(s)", "lower(s) in ['a']"):
        assert holds(text, s=objects([])) == []


def test_long_lists_and_sums_are_fine():
    assert holds(f"a in {list(range(500))}", a=np.array([499, 500])) == [True, False]
    assert holds(" + ".join(["a"] * 50) + " == 50", a=np.array([1])) == [True]
    assert holds(" or ".join(f"a == {n}" for n in range(200)), a=np.array([199, 200])) == [True, False]


# What is refused.


@pytest.mark.parametrize(
    ("text", "said", "spot"),
    [
        ("amount > open('x')", "unknown function 'open'", "open"),
        ("amount.real() > 1", "only functions are called", "amount.real"),
        ("(a + b).c > 1", "a dot only stands in the name of a column", "(a + b).c"),
        ("scores[0] > 1", "no place for an index", "scores[0]"),
        ("any_of([x for x in a])", "no place for", "[x for x in a]"),
        ("(lambda: 1)() > 0", "only functions are called", "lambda: 1"),
        ("f'{a}' == 'x'", "no place for an f-string", "f'{a}'"),
        ("(a := 1) == 1", "no place for :=", "a := 1"),
        ("a ** 2 > 1", "no place for **", "a ** 2"),
        ("a > 1 & b > 1", "no place for &", "1 & b"),
        ("~a", "no place for ~", "~a"),
        ("1 if a else 0", "no place for if .. else", "1 if a else 0"),
        ("a > 1e999", "this number is too large", "1e999"),
        ("a == b'x'", "a constant is a number, a string, true, false or null", "b'x'"),
        ("a > 2j", "a constant is a number, a string, true, false or null", "2j"),
        ("a / 0 > 1", "/ divides by zero", "a / 0"),
        ("a is 1", "is only stands before null", "a is 1"),
        ("a is b", "is only stands before null", "a is b"),
        ("a in b", "in needs a list of constants", "b"),
        ("a in []", "in needs a list of constants", "[]"),
        ("a in [1, 'x']", "are all numbers or all strings", "[1, 'x']"),
        ("a in [b]", "a constant is a number, a string, true, false or null", "b"),
        ("min(a) > 1", "min takes 2 to 16 arguments, got 1", "min(a)"),
        ("startswith(a)", "startswith takes 2 arguments, got 1", "startswith(a)"),
        ("max_of(a, key=b)", "functions take plain arguments", "max_of(a, key=b)"),
        ("min(*a) > 1", "functions take plain arguments", "min(*a)"),
        ("a > 1 and 'x' > 1", "> compares a string with a number", "'x' > 1"),
    ],
)
def test_what_the_language_does_not_have_is_pointed_at(text, said, spot):
    with pytest.raises(GraphError) as caught:
        Condition.parse(text, "node 'big': when.large")
    first, line, carets = str(caught.value).splitlines()[:3]
    assert said in first
    assert first.startswith("node 'big': when.large: ")
    assert line == f"  {text}"
    start = carets.index("^") - 2
    assert text[start : start + carets.count("^")] == spot
    assert caught.value.hint


@pytest.mark.parametrize("text", ["a >", "a = 1", "a > 1 && b", "a b", "(a", "'a", "a > 1; b", "import os", "a\0b"])
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(GraphError, match=r"this (is no expression|cannot be read): .*\n.*\n *\^"):
        Condition.parse(text)


def test_the_spot_is_right_behind_letters_of_several_bytes_and_lines():
    with pytest.raises(GraphError, match=r"\n  naïve == 'é' or  x \*\* 2 > 1\n {19}\^{6}\n"):
        Condition.parse("\n naïve == 'é' or\n x ** 2 > 1")


def test_a_long_condition_shows_what_is_near():
    text = " or ".join(f"a == {n}" for n in range(300)) + " or a ** 2 > 1"
    with pytest.raises(GraphError) as caught:
        Condition.parse(text)
    _, line, carets = str(caught.value).splitlines()[:3]
    assert line[carets.index("^") :].startswith("a ** 2")
    assert len(line) < 130


@pytest.mark.parametrize("text", ["", "  ", "# only this"])
def test_an_empty_condition_is_refused(text):
    with pytest.raises(GraphError, match=r"a condition is empty|this is no expression"):
        Condition.parse(text)


def test_length_and_depth_are_bounded():
    with pytest.raises(GraphError, match=r"a condition has at most 4096 characters, got 5002"):
        Condition.parse("a" + " " * 5000 + "b")
    with pytest.raises(GraphError, match="nested more than 64 deep"):
        Condition.parse("not " * 100 + "a")
    with pytest.raises(GraphError, match=r"nested more than 64 deep|cannot be read"):
        Condition.parse("-" * 4000 + "a")
    with pytest.raises(GraphError, match=r"this (is no expression|cannot be read)"):
        Condition.parse("(" * 2000 + "a" + ")" * 2000)


# What does not fit the columns' types.


def test_an_unknown_column_is_named_with_those_there_are():
    with pytest.raises(UnknownNameError, match=r"^w: unknown column 'amunt'; did you mean 'amount'\? known: amount, b"):
        Condition.parse("amunt > 1").check(typed(amount="int64", b="bool"), "w")


@pytest.mark.parametrize(
    ("text", "said", "spot"),
    [
        ("number", "a condition is true or false: it takes a bool, got a number", "number"),
        ("number + 1", "a condition is true or false: it takes a bool, got a number", "number + 1"),
        ("text == 1", "== compares a string with a number", "text == 1"),
        ("1 < number < text", "< compares a number with a string", "1 < number < text"),
        ("flag == 1", "== compares a bool with a number", "flag == 1"),
        ("flag < true", "< does not order bools", "flag < true"),
        ("flag + 1 > 1", "+ takes a number, got a bool", "flag"),
        ("-text > 1", "- takes a number, got a string", "text"),
        ("flag and number", "and takes a bool, got a number", "number"),
        ("not text", "not takes a bool, got a string", "text"),
        ("vector > 1", "> takes a number or a string, got an array of numbers", "vector"),
        ("number > 1 and vector", "and takes a bool, got an array of numbers", "vector"),
        ("max_of(number) > 1", "max_of takes an array of numbers, got a number", "number"),
        ("lower(number) == 'a'", "lower takes a string, got a number", "number"),
        ("startswith(text, number)", "startswith takes a string, got a number", "number"),
        ("len(number) > 1", "len takes a string or bytes or", "number"),
        ("isnull(vector)", "isnull takes one value a row, got an array of numbers", "vector"),
        ("text in [1, 2]", "in this list takes a number, got a string", "text"),
        ("number < null", "< cannot compare with null", "number < null"),
    ],
)
def test_what_does_not_fit_the_types_is_pointed_at(text, said, spot):
    kinds = typed(number="float32", text="string", flag="bool", vector="float32[10]", open="any")
    with pytest.raises(TypeMismatchError) as caught:
        Condition.parse(text).check(kinds, "node 'r'")
    first, line, carets = str(caught.value).splitlines()[:3]
    assert first.startswith("node 'r': ")
    assert said in first
    assert line == f"  {text}"
    start = carets.index("^") - 2
    assert text[start : start + carets.count("^")] == spot


def test_columns_of_unknown_type_fit_everything():
    kinds = typed(open="any", data="bytes", many="string[3]", vector="bool[?]")
    for text in (
        "open",
        "open > 1",
        "lower(open) == 'a'",
        "max_of(open) + open > 1",
        "len(data) > len(many)",
        "any_of(vector)",
    ):
        Condition.parse(text).check(kinds)
