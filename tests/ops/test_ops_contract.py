"""What every function of motet.ops keeps: types as declared, as many rows, and bits that do not depend on neighbours."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import motet.ops
from motet.batch import Ragged, as_column, column_type, objects
from motet.ops import boxes, columns, image, linalg, ranking, scores, text
from motet.types import ColumnType, declared_outputs

ROWS = 300
rng = np.random.default_rng(7)


def floats(*shape: Any, dtype: Any = np.float32) -> Any:
    return rng.standard_normal((ROWS, *shape)).astype(dtype)


def sizes(dtype: Any, *rest: Any) -> Any:
    rows = [rng.integers(0, 255, (int(h), int(w), *rest)) for h, w in rng.integers(3, 20, (ROWS, 2))]
    return Ragged.from_rows(rows, dtype=dtype)


def vectors(width: int, dtype: Any = np.float32) -> Any:
    return Ragged.from_rows([rng.standard_normal((int(n), width)) for n in rng.integers(3, 20, ROWS)], dtype=dtype)


def words() -> Any:
    alphabet = np.array(list("aäB cÇ  d１e"))
    return objects(["".join(rng.choice(alphabet, rng.integers(0, 12))) for _ in range(ROWS)])


PIXELS = rng.integers(0, 256, (ROWS, 9, 7), dtype=np.uint8)
COLOURS = rng.integers(0, 256, (ROWS, 9, 7, 3), dtype=np.uint8)
FILES = image.encode(COLOURS)

COUNTS = rng.integers(0, 6, ROWS)
LENGTHS = Ragged.from_rows([rng.standard_normal(int(n)) for n in COUNTS], dtype=np.float32)
WORD_LISTS = Ragged.from_rows([rng.choice(np.array(list("abcdefgh"), object), int(n), replace=False) for n in COUNTS])

BOXES = Ragged.from_rows([np.sort(rng.random((int(n), 2, 2)) * 20, axis=1).reshape(-1, 4) for n in COUNTS], np.float32)
BOX_LABELS = Ragged.from_rows([np.array(["a"] * int(n), dtype=object) for n in COUNTS], dtype=object)
BOX_SCORES = Ragged.from_rows([rng.random(int(n)) for n in COUNTS], dtype=np.float32)

CASES = [
    (scores.softmax, [floats(10)], {}),
    (scores.softmax, [floats(32)], {"temperature": 0.7}),
    (scores.softmax, [floats(33)], {}),
    (scores.softmax, [floats(3, 1000)], {}),
    (scores.softmax, [floats(10, dtype=np.float64)], {}),
    (scores.softmax, [floats(10, dtype=np.float16)], {}),
    (scores.softmax, [np.asfortranarray(floats(10))], {}),
    (scores.sigmoid, [floats(4, 5)], {}),
    (scores.sigmoid, [sizes(np.float32)], {}),
    (scores.argmax, [floats(10)], {}),
    (scores.top1, [floats(10)], {}),
    (scores.top1, [floats(2, 10, dtype=np.float64)], {}),
    (scores.top1, [rng.integers(0, 9, (ROWS, 4))], {}),
    (scores.topk, [floats(10)], {"k": 3}),
    (scores.topk, [floats(10)], {"k": 10}),
    (scores.threshold, [floats(10)], {"at": 0.25}),
    (scores.label, [rng.integers(0, 3, ROWS)], {"labels": ["a", "b", "c"]}),
    (scores.label, [rng.integers(0, 3, (ROWS, 2), dtype=np.uint8)], {"labels": ["a", "b", "c"]}),
    (scores.entropy, [np.abs(floats(10))], {}),
    (scores.entropy, [np.abs(floats(100))], {}),
    (scores.margin, [floats(10)], {}),
    (scores.normalise, [np.abs(floats(10))], {}),
    (image.decode, [FILES], {}),
    (image.decode, [FILES], {"mode": "grey", "size": [4, 5], "fit": "contain"}),
    (image.encode, [PIXELS], {"format": "jpeg"}),
    (image.encode, [sizes(np.uint8, 3)], {}),
    (image.resize, [PIXELS], {"size": [5, 6]}),
    (image.resize, [sizes(np.float32, 3)], {"size": [5, 6], "method": "bicubic", "fit": "cover"}),
    (image.center_crop, [COLOURS], {"size": [4, 4]}),
    (image.center_crop, [sizes(np.uint8)], {"size": [3, 2]}),
    (image.crop, [COLOURS, np.tile([1.5, 0, 5, 9], (ROWS, 1))], {}),
    (image.crop, [sizes(np.uint8, 3), np.tile([0, 1, 4, 9], (ROWS, 1))], {"size": [6, 6]}),
    (image.scale, [PIXELS], {"by": 255}),
    (image.scale, [sizes(np.uint8)], {}),
    (image.normalise, [COLOURS], {"mean": [1, 2, 3], "std": [4.0, 5.0, 6.0]}),
    (image.normalise, [sizes(np.uint8, 3)], {"mean": 1, "std": 2}),
    (image.to_chw, [COLOURS], {}),
    (image.to_chw, [PIXELS], {}),
    (image.to_chw, [sizes(np.uint8, 3)], {}),
    (image.to_hwc, [np.moveaxis(COLOURS, -1, 1)], {}),
    (image.to_grey, [COLOURS], {}),
    (image.to_grey, [COLOURS.astype(np.float32)], {}),
    (image.to_grey, [sizes(np.uint8, 3)], {}),
    (image.to_rgb, [PIXELS], {}),
    (image.to_rgb, [sizes(np.uint8, 4)], {}),
    (image.flip, [COLOURS], {"direction": "vertical"}),
    (image.flip, [sizes(np.uint8)], {}),
    (image.resize_shorter, [sizes(np.uint8, 3)], {"size": 5, "longest": 12}),
    (image.letterbox, [sizes(np.uint8, 3)], {"size": [6, 7]}),
    (image.normalise, [COLOURS], {"preset": "clip"}),
    (image.to_bgr, [COLOURS], {}),
    (image.to_bgr, [sizes(np.uint8, 3)], {}),
    (boxes.convert, [vectors(4)], {"source": "xywh", "target": "cxcywh"}),
    (boxes.nms, [BOXES, BOX_SCORES], {"overlap": 0.3}),
    (boxes.unletterbox, [BOXES, sizes(np.uint8, 3)], {"size": [64, 64]}),
    (boxes.draw, [COLOURS, BOXES], {}),
    (boxes.draw, [sizes(np.uint8, 3), BOXES, BOX_LABELS, BOX_SCORES], {}),
    (text.lower, [words()], {}),
    (text.upper, [words()], {}),
    (text.strip, [words()], {"characters": "a "}),
    (text.length, [words()], {}),
    (text.byte_length, [words()], {}),
    (text.normalise, [words()], {"form": "NFKC"}),
    (text.truncate, [words()], {"to": 4, "end": "."}),
    (text.join, [words(), words()], {"separator": "|"}),
    (text.contains, [words()], {"part": "Ä", "case": False}),
    (text.replace, [words()], {"pattern": "[aB]+", "by": "-"}),
    (text.hash_bucket, [words()], {"buckets": 1000, "salt": "s"}),
    (text.ngrams, [words()], {"dim": 50, "sizes": [1, 2], "of": "char"}),
    (linalg.dot, [floats(7), floats(7)], {}),
    (linalg.dot, [floats(257), floats(257, dtype=np.float64)], {}),
    (linalg.norm, [floats(300)], {}),
    (linalg.cosine_similarity, [floats(16), floats(16)], {}),
    (linalg.euclidean_distance, [floats(2, 64), floats(2, 64)], {}),
    (linalg.l2_normalise, [floats(64)], {}),
    (linalg.centre, [floats(64)], {}),
    (linalg.pairwise_distances, [floats(5, 8)], {}),
    (linalg.pairwise_distances, [floats(5, 8), floats(3, 8, dtype=np.float64)], {"metric": "cosine"}),
    (linalg.pairwise_distances, [vectors(8), vectors(8)], {}),
    (linalg.pairwise_distances, [vectors(8)], {"metric": "manhattan"}),
    (linalg.pairwise_kernels, [vectors(8), vectors(8)], {}),
    (linalg.pairwise_kernels, [floats(5, 8)], {"metric": "polynomial"}),
    (linalg.nearest_neighbours, [vectors(8), vectors(8)], {"k": 4}),
    (linalg.nearest_neighbours, [vectors(8)], {"k": 4}),
    (linalg.nearest_neighbours, [floats(5, 8)], {"k": 9}),
    (linalg.matmul, [vectors(8), floats(8, 3)], {}),
    (linalg.matmul, [floats(4, 8), floats(8, 3)], {}),
    (linalg.pca, [vectors(8)], {"components": 3}),
    (linalg.pca, [floats(5, 8)], {"components": 3}),
    (linalg.pca_transform, [vectors(8), floats(8), floats(3, 8)], {}),
    (linalg.pca_transform, [floats(5, 8), floats(8), floats(3, 8)], {}),
    (ranking.rank, [LENGTHS, LENGTHS], {"k": 3}),
    (ranking.fuse, [WORD_LISTS, WORD_LISTS], {"k": 4}),
    (ranking.weighted_sum, [WORD_LISTS, LENGTHS], {}),
    (text.chunk, [words()], {"size": 2, "overlap": 1, "of": "char"}),
    (columns.cast, [floats(3)], {"dtype": "int16"}),
    (columns.cast, [sizes(np.uint8)], {"dtype": "float32"}),
    (columns.cast, [words()], {"dtype": "bytes"}),
    (columns.stack, [floats(), floats(dtype=np.float64), rng.integers(0, 5, ROWS)], {}),
    (columns.stack, [words(), words()], {}),
    (columns.concat, [floats(2, 3), floats(2, 4)], {"axis": -1}),
    (columns.concat, [sizes(np.float32)], {"axis": 1}),
    (columns.pick, [floats(4, 5)], {"index": -1, "axis": 1}),
    (columns.pick, [sizes(np.uint8, 3)], {"index": [2, 0], "axis": 2}),
    (columns.constant, [floats(4)], {"value": [1, 2], "dtype": "uint8"}),
    (columns.constant, [words()], {"value": "x"}),
    (columns.where, [floats() > 0, floats(3), floats(3)], {}),
    (columns.reshape, [floats(4, 6)], {"shape": [3, -1]}),
    (columns.pad, [sizes(np.uint8, 3)], {"to": [20, 20], "value": 1}),
    (columns.pad, [floats(3)], {"to": 5}),
]
NAMES = [
    f"{place}-{function.__module__.rpartition('.')[2]}.{function.__name__}"
    for place, (function, _, _) in enumerate(CASES)
]
every_case = pytest.mark.parametrize(("function", "inputs", "keywords"), CASES, ids=NAMES)


def type_of(column: Any) -> Any:
    """The type that a graph would declare: axes fixed that never vary, the others open."""
    if not isinstance(column, Ragged):
        return column_type(column)
    fixed = (column.shapes == column.shapes[0]).all(axis=0)
    return ColumnType(
        column_type(column).dtype,
        tuple(int(n) if same else None for n, same in zip(column.shapes[0], fixed, strict=True)),
    )


def rows_of(column: Any, chosen: Any) -> Any:
    """Some rows, in the form that a map node gives them."""
    return [column[int(row)] for row in chosen] if isinstance(column, Ragged) else column[chosen]


def named(result: Any) -> Any:
    result = result._asdict() if hasattr(result, "_asdict") else result
    return result if isinstance(result, Mapping) else {"": result}


def same_bits(one: Any, other: Any) -> Any:
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype == object:
        return one.tolist() == other.tolist()
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@every_case
def test_a_row_has_the_same_bits_whatever_shares_its_batch(function: Any, inputs: Any, keywords: Any) -> None:
    whole = named(function(*inputs, **keywords))
    for chosen in ([5], [0, 299], list(range(100, 103)), list(range(7, 290))):
        part = named(function(*(rows_of(column, chosen) for column in inputs), **keywords))
        for name, column in whole.items():
            assert len(part[name]) == len(chosen)
            assert all(same_bits(part[name][place], column[row]) for place, row in enumerate(chosen)), (name, chosen)


@every_case
def test_what_is_returned_is_of_the_declared_types(function: Any, inputs: Any, keywords: Any) -> None:
    declared = declared_outputs(function, tuple(type_of(column) for column in inputs), keywords)
    declared = declared if isinstance(declared, Mapping) else {"": declared}
    returned = named(function(*inputs, **keywords))
    assert set(declared) == set(returned)
    for name, column in returned.items():
        assert len(column) == ROWS
        got = type_of(as_column(column))
        assert declared[name].accepts(got), f"{declared[name]} was declared, {got} returned"


@every_case
def test_columns_of_unknown_type_are_taken_when_a_graph_is_built(function: Any, inputs: Any, keywords: Any) -> None:
    assert declared_outputs(function, tuple(ColumnType("any") for _ in inputs), keywords) is not None


@every_case
def test_inputs_are_left_as_they_were(function: Any, inputs: Any, keywords: Any) -> None:
    before = [column.values.copy() if isinstance(column, Ragged) else column.copy() for column in inputs]
    function(*inputs, **keywords)
    for column, copy in zip(inputs, before, strict=True):
        assert same_bits(column.values if isinstance(column, Ragged) else column, copy)


@every_case
def test_no_rows_give_no_rows(function: Any, inputs: Any, keywords: Any) -> None:
    nothing = [column.take([]) if isinstance(column, Ragged) else column[:0] for column in inputs]
    assert all(len(column) == 0 for column in named(function(*nothing, **keywords)).values())


def test_the_submodules_are_loaded_when_asked_for() -> None:
    program = (
        "import sys, motet.ops\n"
        "print(sorted(m for m in sys.modules if m.startswith(('motet.ops.', 'PIL'))))\n"
        "motet.ops.scores.top1\n"
        "print('motet.ops.scores' in sys.modules, any(m.startswith('PIL') for m in sys.modules))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["[]", "True False"]


def test_an_unknown_submodule_is_named() -> None:
    with pytest.raises(
        AttributeError, match="no attribute 'audio'; known: boxes, columns, crops, image, linalg, ranking, scores, text"
    ):
        motet.ops.audio  # type: ignore[attr-defined]  # noqa: B018
    assert {"columns", "image", "linalg", "ranking", "scores", "text"} <= set(dir(motet.ops))


@pytest.mark.parametrize("module", [columns, image, linalg, ranking, scores, text], ids=lambda module: module.__name__)
def test_what_is_public_is_sorted_and_says_its_types(module: Any) -> None:
    assert module.__all__ == sorted(module.__all__)
    for name in module.__all__:
        public = getattr(module, name)
        if not isinstance(public, type):
            assert hasattr(public, "__motet_returns__"), name
            assert public.__module__ == module.__name__
            assert getattr(sys.modules[public.__module__], public.__qualname__) is public
