"""Functions that give what functions of this world give, and what each row should come to, by hand.

`CASES` has for each its input rows, what it declares, and its rows: a value, `MISSING`, or the class of a failure.
"""

import asyncio
import enum
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from motet.errors import GraphError

NAMES = ["ann", "bob", "cy", "", "bob", "dee e"]
MISSING = None


class Fails(str):
    """The class of the error that a row fails with."""


class Panic(BaseException):
    pass


class Mute(Exception):
    def __str__(self) -> None:
        raise Panic("no text")

    __repr__ = __str__


class NAType:
    """What pandas' NA looks like, without pandas."""


NAType.__module__ = "pandas._libs.missing"


def replaced(name: Any, value: Any) -> Any:
    """The names, with another value in the place of bob's."""
    made = np.empty(len(name), object)
    made[:] = [value if each == "bob" else each for each in name]
    return made


def nan(name: Any) -> Any:
    return replaced(name, float("nan"))


def none(name: Any) -> Any:
    return replaced(name, None).tolist()


def na(name: Any) -> Any:
    return replaced(name, NAType())


def numbers(name: Any) -> Any:
    return replaced(name, 7)


def raw(name: Any) -> Any:
    return replaced(name, b"x")


def surrogate(name: Any) -> Any:
    return replaced(name, "\ud800")


def numpy_text(name: Any) -> Any:
    return np.array(name.tolist())


def reported(name: Any) -> Any:
    return replaced(name, LookupError("429"))


def of_whole(value: Any) -> Any:
    """Something wrong with the whole answer of every batch in which bob is."""

    def function(name: Any) -> Any:
        if "bob" in name.tolist():
            return value(name)
        return name

    return function


def fewer(name: Any) -> Any:
    return name[name != "bob"]


def twice(name: Any) -> Any:
    return np.concatenate([name, name]) if "bob" in name.tolist() else name


def lone(name: Any) -> Any:
    return "x" if "bob" in name.tolist() else name


def nothing(name: Any) -> Any:
    return None if "bob" in name.tolist() else name


def columns(name: Any) -> Any:
    return {"a": name} if "bob" in name.tolist() else name


def raising(error: Any) -> Any:
    def function(name: Any) -> Any:
        if "bob" in name.tolist():
            raise error()
        return name

    return function


panics = raising(lambda: Panic("odd"))
leaves = raising(lambda: SystemExit("odd"))
cancels = raising(lambda: asyncio.CancelledError("odd"))
generator = raising(lambda: GeneratorExit("odd"))
stops = raising(lambda: StopIteration("odd"))
mute = raising(Mute)
of_graphs = raising(lambda: GraphError("odd"))
recursion = raising(lambda: RecursionError("odd"))


def squeezed(name: Any) -> Any:
    return np.squeeze(np.array([[len(each)] for each in name.tolist()], dtype=np.float64))


def whole_first(name: Any) -> Any:
    return np.array([len(each) / 2 if len(each) % 2 else len(each) // 2 for each in name.tolist()])


def narrow(name: Any) -> Any:
    return np.array([len(each) for each in name.tolist()], np.float32)


def whole(name: Any) -> Any:
    return np.array([len(each) for each in name.tolist()], np.int16)


def floats_as_whole(name: Any) -> Any:
    return np.array([2.5 if each == "bob" else len(each) for each in name.tolist()])


def too_big(name: Any) -> Any:
    return np.array([2**53 + 1 if each == "bob" else len(each) for each in name.tolist()], np.int64)


def some_missing(name: Any) -> Any:
    return [None if each == "bob" else len(each) for each in name.tolist()]


def as_text(name: Any) -> Any:
    return [str(len(each)) if each == "bob" else len(each) for each in name.tolist()]


def tags(name: Any) -> Any:
    return [each.split() for each in name.tolist()]


def tag_arrays(name: Any) -> Any:
    return [np.array(each.split(), dtype=object) for each in name.tolist()]


def tag_tuples(name: Any) -> Any:
    return tuple(tuple(each.split()) for each in name.tolist())


def tag_objects(name: Any) -> Any:
    made = np.empty(len(name), object)
    made[:] = tags(name)
    return made


def masked(name: Any) -> Any:
    return np.ma.array([len(each) for each in name.tolist()], mask=[each == "bob" for each in name.tolist()])


def masked_floats(name: Any) -> Any:
    return masked(name) / 2


def masked_rows(name: Any) -> Any:
    return [np.ma.array([1, 2], mask=[False, each == "bob"]) for each in name.tolist()]


def masked_values(name: Any) -> Any:
    return [np.ma.masked if each == "bob" else len(each) for each in name.tolist()]


def of_pandas(name: Any) -> Any:
    import pandas

    return pandas.Series([None if each == "bob" else len(each) for each in name.tolist()], dtype="Int64")


def texts_of_pandas(name: Any) -> Any:
    import pandas

    return pandas.Series([None if each == "bob" else each for each in name.tolist()], dtype="string")


def texts_of_arrow(name: Any) -> Any:
    import pyarrow

    return pyarrow.array([None if each == "bob" else each for each in name.tolist()])


class Name(str, enum.Enum):  # noqa: UP042 (members of `StrEnum` print as what they are)
    """Members that are texts, and print as `Name.BOB`."""

    BOB = "bob"


class Unwritten(Exception):
    """What it says is no text in any encoding, as the names of some files are."""


def members(name: Any) -> Any:
    return replaced(name, Name.BOB)


def yields(name: Any) -> Iterator[Any]:
    yield from name


def endless(name: Any) -> Iterator[Any]:
    while True:
        yield "a"


def awaited(name: Any) -> Any:
    async def answer() -> Any:
        return name

    found = answer()
    found.close()
    return found


def unwritten(name: Any) -> Any:
    if "bob" in name.tolist():
        raise Unwritten("caf\udce9.png")
    return name


def grouped(name: Any) -> Any:
    if "bob" in name.tolist():
        raise ExceptionGroup("two", [ValueError("a"), KeyError("b")])
    return name


SHOWN = {
    "float": np.float64(1.5),
    "inside": {"a": np.float64(1.5), "b": [np.int64(1), None], "c": np.str_("d")},
    "stamp": np.datetime64("2024-01-01T10:00:00.000000001"),
    "date": np.datetime64("2024-01-01"),
    "time": datetime(2024, 1, 1, 10, tzinfo=UTC),
    "day": {"on": date(2024, 1, 1)},
    "lasts": timedelta(days=1, seconds=2),
    "decimal": Decimal("1.10"),
    "member": Name.BOB,
    "bytes": b"\xff",
    "array": np.array([1.0, 2.0]),
}
"""Values that are no numbers and texts of Python's own, by name."""


def shows(name: Any) -> Any:
    """The value of each name; of others an object."""
    made = np.empty(len(name), object)
    for row, each in enumerate(name):
        made[row] = SHOWN.get(each, object())
    return made


def one_tags(name: Any) -> Any:
    return str(name).split()


def odd_tags(name: Any) -> Any:
    return [[None, 1] if each == "bob" else each.split() for each in name.tolist()]


def missing_tags(name: Any) -> Any:
    return [[None, float("nan")] if each == "bob" else each.split() for each in name.tolist()]


def pairs(name: Any) -> Any:
    return [[[word, word] for word in each.split()] for each in name.tolist()]


def lengths(name: Any) -> Any:
    return [[len(word) for word in each.split()] for each in name.tolist()]


def one_lengths(name: Any) -> Any:
    return [len(word) for word in str(name).split()]


def odd_lengths(name: Any) -> Any:
    return [[0.5] if each == "bob" else [len(word) for word in each.split()] for each in name.tolist()]


WORDS = [each.split() for each in NAMES]
LENGTHS = [[len(word) for word in words] for words in WORDS]
SIZES = [len(each) for each in NAMES]
WRONG = Fails("AnswerError")


def bobs(value: Any, of: Any = NAMES) -> Any:
    return [value if name == "bob" else each for name, each in zip(NAMES, of, strict=True)]


CASES = {
    "nan": ("string", bobs(MISSING)),
    "none": ("string", bobs(MISSING)),
    "na": ("string", bobs(MISSING)),
    "numbers": ("string", bobs(WRONG)),
    "raw": ("string", bobs(WRONG)),
    "surrogate": ("string", bobs(WRONG)),
    "numpy_text": ("string", NAMES),
    "reported": ("string", bobs(Fails("LookupError"))),
    "fewer": ("string", bobs(WRONG)),
    "twice": ("string", bobs(WRONG)),
    "lone": ("string", bobs(WRONG)),
    "nothing": ("string", bobs(WRONG)),
    "columns": ("string", bobs(WRONG)),
    "panics": ("string", bobs(Fails("Panic"))),
    "leaves": ("string", bobs(Fails("SystemExit"))),
    "cancels": ("string", bobs(Fails("CancelledError"))),
    "generator": ("string", bobs(Fails("GeneratorExit"))),
    "stops": ("string", bobs(Fails("StopIteration"))),
    "mute": ("string", bobs(Fails("Mute"))),
    "of_graphs": ("string", bobs(Fails("GraphError"))),
    "recursion": ("string", bobs(Fails("RecursionError"))),
    "members": ("string", NAMES),
    "yields": ("string", NAMES),
    "endless": ("string", [WRONG] * len(NAMES)),
    "awaited": ("string", [WRONG] * len(NAMES)),
    "unwritten": ("string", bobs(Fails("Unwritten"))),
    "grouped": ("string", bobs(Fails("ExceptionGroup"))),
    "squeezed": ("float64", SIZES),
    "whole_first": ("float64", [size / 2 for size in SIZES]),
    "narrow": ("float64", SIZES),
    "whole": ("int64", SIZES),
    "floats_as_whole": ("int64", bobs(WRONG, SIZES)),
    "too_big": ("float64", bobs(WRONG, SIZES)),
    "some_missing": ("int64", bobs(WRONG, SIZES)),
    "as_text": ("int64", bobs(WRONG, SIZES)),
    "masked": ("int64", bobs(WRONG, SIZES)),
    "masked_floats": ("float64", bobs(MISSING, [size / 2 for size in SIZES])),
    "of_pandas": ("int64", bobs(WRONG, SIZES)),
    "texts_of_pandas": ("string", bobs(MISSING)),
    "texts_of_arrow": ("string", bobs(MISSING)),
    "tags": ("string[?]", WORDS),
    "tag_arrays": ("string[?]", WORDS),
    "tag_tuples": ("string[?]", WORDS),
    "tag_objects": ("string[?]", WORDS),
    "odd_tags": ("string[?]", bobs(WRONG, WORDS)),
    "missing_tags": ("string[?]", bobs([None, None], WORDS)),
    "pairs": ("string[?,?]", [[[word, word] for word in words] for words in WORDS]),
    "lengths": ("int64[?]", LENGTHS),
    "odd_lengths": ("int64[?]", bobs(WRONG, LENGTHS)),
}
"""By function: what it declares, and what each row of `NAMES` comes to."""

EACH = {"one_tags": ("string[?]", WORDS), "one_lengths": ("int64[?]", LENGTHS)}
"""The same for functions that are called row by row."""
UNDECLARED = {
    name: CASES[name][1]
    for name in (
        "nan", "none", "numpy_text", "surrogate", "fewer", "panics", "reported", "narrow", "whole",
        "tags", "tag_arrays", "tag_tuples", "tag_objects", "lengths", "missing_tags", "members", "yields", "unwritten",
    )
}  # fmt: skip
"""Functions that declare nothing, with what their rows come to all the same."""


def as_pieces(name: Any) -> Any:
    return name, np.ones(len(name), np.int64)


def as_rows(pieces: Any, counts: Any) -> Any:
    return pieces


def _in_other_places(function: Any) -> Any:
    def apart(name: Any) -> Any:
        return as_pieces(function(name))

    def together(pieces: Any, counts: Any) -> Any:
        return function(pieces)

    def combined(first: Any, second: Any) -> Any:
        return function(first)

    return apart, together, combined


apart_panics, together_panics, combined_panics = _in_other_places(panics)
apart_leaves, together_leaves, combined_leaves = _in_other_places(leaves)
apart_cancels, together_cancels, combined_cancels = _in_other_places(cancels)
apart_generator, together_generator, combined_generator = _in_other_places(generator)
apart_mute, together_mute, combined_mute = _in_other_places(mute)
apart_reported, together_reported, combined_reported = _in_other_places(reported)
