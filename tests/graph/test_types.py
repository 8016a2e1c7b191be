"""Column types: what is written, what fits where."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.batch import column_type, empty_column, fits, hold_as
from motet.graph.fields import read_bytes, write_bytes
from motet.types import DTYPES, ColumnType, Signature, declared_outputs, keeps_labels, returns

SHAPES = st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=3).map(tuple)
TYPES = st.builds(ColumnType, st.sampled_from([each for each in DTYPES if each != "any"]), SHAPES)


@given(TYPES)
def test_a_type_is_read_as_it_is_written(kind):
    assert ColumnType.parse(str(kind)) == kind
    assert ColumnType.parse(f" {str(kind).replace(',', ' , ').replace('[', ' [ ')} ") == kind


@given(TYPES, TYPES)
def test_a_type_takes_another_when_every_row_of_it_fits(wanted, got):
    fit = wanted.dtype == got.dtype and len(wanted.shape) == len(got.shape)
    fit = fit and all(want in (None, axis) for want, axis in zip(wanted.shape, got.shape, strict=False))
    assert wanted.accepts(got) == fit
    assert ColumnType("any").accepts(got)
    assert wanted.accepts(ColumnType("any"))


@given(TYPES)
def test_a_column_without_rows_is_of_its_type(kind):
    column = empty_column(kind)
    assert len(column) == 0
    if not kind.is_object and not kind.varies:
        assert column_type(column) == kind
        assert column.nbytes == 0
    assert hold_as(column, kind) is not None


@pytest.mark.parametrize(
    ("text", "row_bytes", "varies"),
    [
        ("uint8[28,28]", 784, False),
        ("float32", 4, False),
        ("float32[0]", 0, False),
        ("float64[?,3]", None, True),
        ("string", None, False),
    ],
)
def test_what_a_row_weighs(text, row_bytes, varies):
    kind = ColumnType.parse(text)
    assert (kind.row_bytes, kind.varies) == (row_bytes, varies)


@pytest.mark.parametrize(
    ("array", "kind", "fit"),
    [
        (np.zeros((2, 3), np.float32), "float32[3]", True),
        (np.zeros((2, 3), np.float32), "float32[?]", True),
        (np.zeros((2, 3), np.float32), "float32[4]", False),
        (np.zeros((2, 3), np.float32), "float64[3]", False),
        (np.array(["a", None], object), "string", True),
        (np.array(["a", b"b"], object), "bytes", True),  # of mixed objects it is not known what they are
        (np.array([b"a"], object), "string", False),
        (np.array([1, 2], object), "int64", False),
        (np.zeros(2), "any", True),
    ],
)
def test_what_a_column_shows_fits_its_type_or_does_not(array, kind, fit):
    assert fits(array, ColumnType.parse(kind)) == fit


def test_functions_declare_what_they_return():
    @returns(lambda x, by=1: f"float32[{by}]")
    def follow(x, by=1):
        return x

    @returns({"a": "int64"})
    def named(x):
        return x

    number = ColumnType("int64")
    assert declared_outputs(follow, (number,), {"by": 3}) == ColumnType("float32", (3,))
    assert declared_outputs(named, (number,), {}) == {"a": number}
    assert declared_outputs(len, (number,), {}) is None


def test_a_signature_is_shown_as_people_write_types():
    signature = Signature({"x": ColumnType("float32", (None, 3))}, {"y": ColumnType("string")})
    assert str(signature) == "(x: float32[?,3]) -> (y: string)"


@given(st.integers(0, 2**50))
def test_amounts_of_memory_are_read_as_they_are_written(count):
    assert read_bytes(write_bytes(count), "here") == count


@pytest.mark.parametrize(
    ("text", "count"),
    [("512MiB", 2**29), ("1.5 GB", 1_500_000_000), ("10B", 10), ("0.5KiB", 512), (7, 7), ("2 TiB", 2**41)],
)
def test_amounts_of_memory_have_units(text, count):
    assert read_bytes(text, "here") == count


def test_types_carry_the_labels_that_a_signature_says_as_texts():
    kinds = {"probabilities": ColumnType("float64", (3,)), "label": ColumnType("any")}
    signature = Signature({}, kinds, labels={"probabilities": (np.str_("a"), np.float64(2), np.True_)})
    assert signature.outputs == kinds
    assert signature.outputs["probabilities"].labels == ("a", "2", "true")
    assert signature.outputs["label"].labels == ()


def test_labels_go_through_the_functions_that_keep_places_and_no_others():
    kind = ColumnType("float32", (2,), ("no", "yes"))
    same = returns(lambda scores: scores)
    assert declared_outputs(same(lambda scores: scores[:, ::-1]), (kind,), {}).labels == ()
    assert declared_outputs(keeps_labels(same(lambda scores: scores * 2)), (kind,), {}).labels == ("no", "yes")
