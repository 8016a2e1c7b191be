"""Models in processes of their own: what they answer, raise and print."""

import os
import re
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from helpers.process_replicas import do, made, started
from helpers.trained import FRAMEWORKS, X
from motet.batch import Ragged, objects
from motet.errors import ModelLoadError, UnknownNameError
from motet.graph.model import Model
from motet.models import ModelSource, handler_by_name
from motet.runtime.isolate import out_of_memory
from motet.runtime.replicas.process.columns import pack, unpack
from motet.runtime.replicas.process.replica import ProcessReplica, threads_each
from motet.runtime.resolve import ModelResolver
from motet.tracebacks import describe

texts = st.one_of(st.none(), st.text(st.characters(codec=None)))
DTYPES = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(endianness="?"),
    arrays.floating_dtypes(endianness="?"),
    arrays.datetime64_dtypes(),
    arrays.byte_string_dtypes(),
)
DENSE = DTYPES.flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(min_side=0, max_dims=4)))


@st.composite
def ragged(draw):
    kind, axes = draw(arrays.scalar_dtypes()), draw(st.integers(1, 3))
    shapes = draw(st.lists(st.tuples(*[st.integers(0, 3)] * axes), max_size=5))
    return Ragged.from_rows([draw(arrays.arrays(kind, shape)) for shape in shapes], kind, axes)


COLUMNS = st.one_of(
    DENSE,
    ragged(),
    st.lists(texts).map(objects),
    st.lists(st.one_of(st.none(), st.binary())).map(objects),
    st.lists(st.one_of(st.text(), st.binary(), st.none(), st.integers(), st.just({"a": [1.5]}))).map(objects),
    arrays.arrays(object, (2, 3), elements=st.text(max_size=3)),
)


@pytest.fixture(scope="module")
def replica():
    with started() as replica:
        yield replica


@pytest.fixture(scope="module")
def echo():
    with started("helpers.models:echo") as replica:
        yield replica


def assert_same(got, wanted):
    if isinstance(wanted, Ragged):
        assert isinstance(got, Ragged)
        for name in ("values", "offsets", "shapes"):
            assert_same(getattr(got, name), getattr(wanted, name))
        return
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    if wanted.dtype == object:
        assert got.tolist() == wanted.tolist()
        assert [type(value) for value in got.flat] == [type(value) for value in wanted.flat]
    else:
        assert got.tobytes() == wanted.tobytes()


@given(st.dictionaries(st.text(), COLUMNS, max_size=3))
def test_columns_are_the_same_bits_behind_shared_memory(columns):
    packed = pack(columns)
    memory = np.zeros(packed.num_bytes, np.uint8)
    packed.write(memory)
    found = unpack(packed.pieces, memory)
    assert list(found) == list(columns)
    for name, column in columns.items():
        assert_same(found[name], column)


@given(column=COLUMNS)
def test_a_model_in_another_process_gives_back_the_same_bits(echo, column):
    assert_same(echo.call({"x": column})["output"], column)


def test_bytes_of_any_kind_arrive(echo):
    column = objects([memoryview(b"one"), b"two", bytearray(b"three"), None])
    assert [None if v is None else bytes(v) for v in echo.call({"x": column})["output"]] == [
        b"one",
        b"two",
        b"three",
        None,
    ]


def test_columns_that_do_not_lie_together_in_memory_arrive(replica):
    x = np.arange(24.0).reshape(4, 6)[::2, ::-1]
    assert (do(replica, "fresh", x) == x + 1).all()
    assert (do(replica, "columns", x) == x[:, ::2]).all()
    assert (do(replica, "fresh", np.asfortranarray(x)) == x + 1).all()


@pytest.mark.parametrize("size", [2, 300_000])
def test_what_a_model_wrote_over_its_input_arrives_and_the_input_here_is_as_it_was(replica, size):
    x = np.arange(3 * size, dtype=np.float32).reshape(3, size)
    before = x.copy()
    assert (do(replica, "over", x) == before[1:] * 2).all()
    assert (x == before).all()


def test_no_rows_get_no_answers(replica):
    assert do(replica, "", np.empty((0, 5), np.float32)).shape == (0, 5)


def test_rows_that_differ_in_shape_come_as_a_list(replica):
    found = do(replica, "rows", np.array([[5.0], [6.0], [7.0]]))
    assert [row.tolist() for row in found] == [[], [[6.0, 6.0]], [[7.0, 7.0], [7.0, 7.0]]]


def test_an_answer_larger_than_any_before_arrives(replica):
    for size in (10, 100_000, 1_000_000, 10, 3_000_000):
        found = do(replica, f"larger {size}")
        assert found.shape == (3, size)
        assert (found == 7).all()


def test_answers_stay_as_they_are_while_others_come(replica):
    asked = [np.full((4, 50_000), place, np.float32) for place in range(12)]
    found = [do(replica, "fresh", x) for x in asked] + [do(replica, "echo", x) for x in asked]
    for place, answer in enumerate(found):
        assert (answer == place % 12 + (place < 12)).all()
    rows = [answer[0] for answer in found]  # hold the memory as well
    del found, answer
    do(replica, "fresh", np.full((4, 50_000), 99, np.float32))
    assert [row[0] for row in rows] == [*range(1, 13), *range(12)]


def test_a_model_may_keep_what_it_was_given():
    with started() as replica:
        for place in range(5):
            found = do(replica, "keep", np.full((2, 10_000), place, np.float64))
        assert found.tolist() == [0, 1, 2, 3, 4]


def test_several_threads_may_ask_at_once(replica):
    found = {}

    def ask(number):
        for turn in range(20):
            x = np.full((2, 1000 * number), turn, np.int64)
            found[number, turn] = bool((do(replica, "fresh", x) == turn + 1).all())

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    assert all(found.values())


def test_what_a_model_prints_goes_to_standard_error(capfd):
    with started() as replica:
        assert do(replica, "printing here").shape == (3, 2)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "printed here\n" in printed.err
    assert "written\n" in printed.err


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("value", ValueError, "('not this', 7)"),
        ("key", KeyError, "'name'"),
        ("unicode", UnicodeDecodeError, "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        ("file", FileNotFoundError, "[Errno 2] No such file or directory: 'nowhere'"),
        ("memory", MemoryError, "full"),
        ("silent", ValueError, ""),
    ],
)
def test_an_exception_of_the_model_is_raised_here(replica, name, kind, text):
    with pytest.raises(kind) as caught:
        do(replica, f"fail {name}")
    assert type(caught.value) is kind
    assert str(caught.value) == text
    assert "replica_models.py" in describe(caught.value)
    assert "in fail\n" in str(caught.value.__cause__)
    assert replica.alive()


def test_an_exception_of_a_class_that_is_not_here_has_its_name_and_its_built_in_class(tmp_path, monkeypatch):
    (tmp_path / "bad_rows.py").write_text(
        "class BadRowError(LookupError): pass\ndef model(x): raise BadRowError('row', 3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with started("bad_rows:model") as replica, pytest.raises(LookupError) as caught:
        replica.call({"x": np.zeros(2)})
    assert type(caught.value).__name__ == "BadRowError"
    assert type(caught.value).__module__ == "bad_rows"
    assert str(caught.value) == "('row', 3)"
    assert "bad_rows" not in sys.modules


def test_an_exception_that_cannot_be_made_again_still_says_what_it_said(replica):
    with pytest.raises(Exception, match=r"one and \{1, 2\}") as caught:
        do(replica, "fail odd")
    assert type(caught.value).__name__ == "OddError"


def test_memory_that_is_not_there_is_seen_as_such(replica):
    with pytest.raises(MemoryError) as caught:
        do(replica, "no_room")
    assert out_of_memory(caught.value)


def test_an_answer_that_no_process_can_give_to_another_is_an_error(replica):
    with pytest.raises(TypeError, match="no other process can have it, for it cannot be pickled"):
        do(replica, "unpicklable")
    assert replica.alive()


def test_a_call_that_is_too_large_is_refused_and_the_next_one_answered():
    with started(call_bytes=2**20) as replica:
        with pytest.raises(MemoryError, match="3145.* bytes for one call; a process replica has room for 1048576"):
            do(replica, "echo", np.zeros((3, 2**20), np.uint8))
        with pytest.raises(MemoryError, match="no room in shared memory for an answer of 6000000 bytes"):
            do(replica, "larger 2000000")
        assert (do(replica, "larger 300000") == 7).all()


def test_a_model_gets_no_more_memory_than_it_may_have():
    with started(memory_limit_bytes=400 * 2**20) as replica:
        assert do(replica, "hungry 10").shape == (3, 1)
        with pytest.raises(MemoryError):
            do(replica, "hungry 500")
        assert do(replica, "hungry 10").shape == (3, 1)


def test_libraries_get_the_threads_of_the_model():
    with started(threads=3) as replica:
        assert do(replica, "environment OMP_NUM_THREADS").tolist() == ["3"] * 3


def test_replicas_together_get_no_more_threads_than_there_are_cores():
    cores = len(os.sched_getaffinity(0))
    assert threads_each(1, 1) == 1
    assert threads_each(cores, 1) == cores
    assert threads_each(cores, cores) == 1
    assert threads_each(8 * cores, 1) == cores
    assert threads_each(4, 100 * cores) == 1


def test_the_process_imports_what_it_needs_and_not_the_program(replica):
    modules = set(do(replica, "modules")[0].split())
    assert "helpers.replica_models" in modules
    assert not modules & {"pytest", "pyarrow", "onnxruntime", "torch", "yaml", "motet.runtime.host", "multiprocessing"}


def raised(model, x):
    """The class and the words of what a model raises, addresses and times left out; None where it answers."""
    try:
        model({"x": x})
    except Exception as error:  # noqa: BLE001
        return type(error), re.sub(r"0x[0-9a-f]+|\d\d:\d\d:\d\d", "", str(error))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_answers_have_the_same_bits_as_in_this_process(framework, tmp_path):
    said, _ = FRAMEWORKS[framework](tmp_path, 1)
    options = {key: value for key, value in said.items() if key not in ("uri", "with")}
    model = Model(said["uri"], framework, options=said.get("with"), **options)
    located = ModelResolver().locate(model, str(tmp_path))
    loaded = located.handler.load(located.source)
    replica = ProcessReplica(located.handler, located.source)
    replica.start()
    try:
        assert replica.batch_invariant == getattr(loaded, "batch_invariant", None)
        for rows in (1, 7, 200):
            x = {"x": X[:rows]}
            here, there = loaded(x), replica.call(x)
            assert list(here) == list(there)
            for name in here:
                assert_same(there[name], np.asarray(here[name]))
        assert raised(loaded, X[:3, :2]) == raised(replica.call, X[:3, :2])
    finally:
        replica.close()
        loaded.close()


def test_a_model_that_is_not_there_is_said_as_in_this_process():
    with pytest.raises(ModelLoadError, match="unknown module 'no_such_module'"):
        made("no_such_module:f").start()
    with pytest.raises(UnknownNameError, match=r"did you mean 'Doing'\?") as caught:
        made("helpers.replica_models:Doin").start()
    assert "Doing" in caught.value.known


def test_options_that_a_model_does_not_take_are_said():
    with pytest.raises(ModelLoadError, match=r"Affine\(scael=2\) failed: TypeError"):
        made("motet.testing.fakes:Affine", {"scael": 2}).start()


def test_options_that_cannot_be_sent_are_refused_at_once():
    with pytest.raises(ModelLoadError, match="options cannot be sent to another process.*lambda"):
        made(options={"by": lambda: 1})
    with pytest.raises(ModelLoadError, match="cannot be sent.*lock"):
        made(options={"by": threading.Lock()})


def test_what_is_of_the_program_itself_is_refused_at_once():
    def mine():
        pass

    mine.__module__ = "__main__"
    hint = "put it into a module of its own, or place the model in a thread"
    for bad in ({"by": mine}, {"by": [mine]}, {"module": "__main__:Net"}):
        with pytest.raises(ModelLoadError, match="__main__") as caught:
            made(options=bad)
        assert caught.value.hint == hint
    with pytest.raises(ModelLoadError, match="__main__:f is in the program's own file"):
        made("__main__:f")


def test_a_handler_of_another_package_is_found_by_its_class():
    replica = ProcessReplica(handler_by_name("python"), ModelSource("m", "helpers.models:echo"))
    assert replica._load.handler == "motet.models.python:PythonHandler"
