"""A bad row never harms its neighbours; what fails on everything is found out soon."""

import re
import signal

import numpy as np
import pyarrow.parquet as pq
import pytest

import motet as mt
from helpers import functions, models, onnxes
from helpers.rows import play
from motet.errors import ModelFailedError
from motet.testing.fakes import Affine, Counting, Failing, Hungry, calls, fake


def x_():
    return mt.input("x", "float32")


def floats(*values):
    return {"x": np.array(values, dtype=np.float32)}


def graph_of(model):
    return mt.Graph("g", {"y": mt.model(model, x_(), name="asked")})


def refused(graph, columns):
    """The failures of a call: row, node, error and message."""
    _, failures = graph(columns, failures="return")
    return {(each.row, each.node, each.error, each.message) for each in failures}


def line_of(function, text):
    """The line of a function that holds this text, as `file:line`."""
    import inspect

    lines, first = inspect.getsourcelines(function)
    return (
        f"{inspect.getsourcefile(function)}:{first + next(place for place, line in enumerate(lines) if text in line)}"
    )


def test_exactly_the_rows_at_fault_fail():
    graph = graph_of(fake(Failing, "picky", bad=[7, 9], settings={"version": "v3"}))
    rows = np.arange(20, dtype=np.float32)
    found = play(graph, {"x": rows})
    assert [row for row, each in enumerate(found) if not isinstance(each, dict)] == [7, 9]
    assert found[7] == mt.Failure(7, "asked", "picky", "v3", "ValueError", "cannot take 7")
    assert [each["y"] for each in found if isinstance(each, dict)] == [x for x in rows if x not in (7, 9)]


def test_failures_of_users_code_name_its_file_and_line():
    graph = mt.Graph("g", {"y": mt.map(functions.refuse_negative, x_(), name="checked")})
    _, (failure,) = graph(floats(1, -2, 3), failures="return")
    place = line_of(functions.refuse_negative, "raise")
    assert failure == mt.Failure(
        1, "checked", "helpers.functions.refuse_negative", "", "ValueError", f"negative: -2 ({place})"
    )


def test_failures_of_users_models_name_their_file_and_line():
    strict = mt.Model("python:helpers.models:Strict", "strict", inputs={"x": "float32"}, outputs={"y": "float32"})
    _, (failure,) = graph_of(strict)(floats(1, -2, 3), failures="return")
    place = line_of(models.Strict.check, "raise")
    assert failure.message == f"negative ({place})"


def test_failures_of_onnx_models_name_the_digest_of_their_file(tmp_path):
    import hashlib

    path = onnxes.row_mean(tmp_path / "mean.onnx")
    checked = mt.map(functions.repeat, mt.input("n", "int64"))
    graph = mt.Graph("g", {"y": mt.model(mt.Model(str(path)), checked), "z": mt.map(functions.refuse_negative, x_())})
    explanation = graph.explain({"n": [3], "x": np.ones(1, dtype=np.float32)})
    assert explanation.calls[0].version == hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def test_row_errors_carry_what_was_answered():
    with pytest.raises(mt.RowErrors) as caught:
        graph_of(fake(Failing, "picky", bad=[2, 4], scale=10.0))(floats(1, 2, 3, 4, 5))
    error = caught.value
    assert [failure.row for failure in error.failures] == [1, 3]
    assert error.columns["y"].tolist() == [10, 30, 50]
    assert list(error.ids) == [0, 2, 4]
    assert error.status == 422
    assert str(error) == (
        "2 of 5 rows failed\n"
        "  row 1: node asked in picky: ValueError: cannot take 2\n"
        "  row 3: node asked in picky: ValueError: cannot take 4\n"
        "  hint: the answers of the other rows are in .columns and their positions in .ids; "
        "failures='return' gives both without raising"
    )


def test_row_errors_show_the_first_few():
    graph = graph_of(fake(Failing, "picky", bad=list(range(1, 9))))
    with pytest.raises(mt.RowErrors, match=r"8 of 9 rows failed\n(  row .*\n){5}  and 3 more\n  hint"):
        graph(floats(*range(9)))


def test_failures_can_be_returned():
    graph = graph_of(fake(Failing, "picky", bad=[2]))
    answers, failures = graph(floats(1, 2, 3), failures="return")
    assert answers["y"].tolist() == [1, 3]
    assert [failure.row for failure in failures] == [1]
    assert graph(floats(1), failures="return")[1] == []
    with pytest.raises(mt.InputError, match="failures must be 'raise' or 'return'; got 'ignore'"):
        graph(floats(1), failures="ignore")


@pytest.mark.parametrize("error", ["ValueError", "KeyError", "ZeroDivisionError", "RuntimeError", "OSError"])
def test_any_exception_is_a_rows_own(error):
    _, (failure,) = graph_of(fake(Failing, "picky", bad=[2], error=error))(floats(1, 2, 3), failures="return")
    assert (failure.row, failure.error) == (1, error)
    assert "cannot take 2" in failure.message


def test_what_ctrl_c_raises_is_not_caught():
    with pytest.raises(KeyboardInterrupt):
        graph_of(fake(Failing, "picky", bad=[2], error="KeyboardInterrupt"))(floats(1, 2, 3))


def test_what_a_handler_of_signals_raises_is_not_caught():
    def stop(number, frame):
        raise SystemExit("terminated")

    def interrupted(x):
        signal.raise_signal(signal.SIGTERM)
        return x

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(SystemExit, match="terminated"):
            mt.Graph("g", {"y": mt.map(interrupted, x_())})(floats(1, 2, 3))
    finally:
        signal.signal(signal.SIGTERM, before)


def test_long_messages_are_cut_and_put_on_one_line():
    def verbose(x):
        raise ValueError("many\n  lines " * 1000)

    _, (failure,) = mt.Graph("g", {"y": mt.map(verbose, x_())})(floats(1), failures="return")
    assert failure.message.startswith("many lines many lines")
    assert len(failure.message.split(" (")[0]) == 1000


# hopeless


def test_a_model_that_fails_on_everything_ends_the_call_after_few_calls():
    graph = graph_of(fake(Failing, "broken", log="broken"))
    with pytest.raises(ModelFailedError) as caught:
        graph({"x": np.arange(10_000, dtype=np.float32)})
    said = re.fullmatch(
        r"node 'asked': model 'broken' failed on each of the (\d+) rows it was tried on, alone and together; "
        r"the last error was ValueError: cannot take \d+\n"
        "  hint: mend the model or what it is given; try one row with motet explain",
        str(caught.value),
    )
    assert said
    # threads that play other parts of the call may each have rows under way
    assert 16 <= int(said[1]) <= 32
    assert isinstance(caught.value.__cause__, ValueError)
    # each of the threads that play parts of the call finds out on its own
    assert len(calls["broken"]) <= 5 * 52


def test_a_model_that_fails_on_everything_is_called_a_bounded_number_of_times():
    graph = graph_of(fake(Failing, "broken", log="broken"))
    with pytest.raises(ModelFailedError, match="the last error was ValueError: cannot take 15\n"):
        graph({"x": np.arange(2048, dtype=np.float32)})
    assert len(calls["broken"]) <= 2 * 16 + 8 + 12
    assert calls["broken"].count(1) == 16 + 8


def test_a_function_that_fails_on_everything_ends_the_call():
    log = []

    def broken(x):
        log.append(len(x))
        raise TypeError("no")

    graph = mt.Graph("g", {"y": mt.map(broken, x_(), name="f")})
    with pytest.raises(
        ModelFailedError,
        match=r"node 'f': broken \(.*\) failed on each of the 16 rows it was tried on, alone and together; the last error was TypeError: no \(",
    ):
        graph({"x": np.zeros(2048, dtype=np.float32)})
    assert len(log) <= 2 * 16 + 8 + 12


def test_rows_of_many_callers_are_not_all_that_there_is():
    graphs = [graph_of(fake(Failing, "picky", bad=[1])), mt.Graph("g", {"y": mt.map(functions.refuse_negative, x_())})]
    for graph, bad in zip(graphs, (1, -1), strict=True):
        for _ in range(40):
            with pytest.raises(mt.RowErrors):
                graph(floats(bad))
            with pytest.raises(mt.RowErrors, match="3 of 3 rows failed"):
                graph(floats(bad, bad, bad))
        assert graph(floats(2))["y"].tolist() == [2]


def test_a_few_bad_rows_do_not_make_a_model_hopeless():
    graph = graph_of(fake(Failing, "picky", bad=list(range(15)), log="picky"))
    found = play(graph, {"x": np.arange(100, dtype=np.float32)})
    assert [isinstance(each, dict) for each in found] == [False] * 15 + [True] * 85
    _, failures = graph({"x": np.zeros(40, dtype=np.float32)}, failures="return")
    assert len(failures) == 40  # it has answered rows, so it is not broken


def of_a_broken_graph_and(*others, **options):
    inner = mt.Graph("inner", {"output": mt.model(fake(Failing, "broken"), x_(), name="deep")})
    vote = mt.ensemble([inner, *others], x_(), name="vote", **options)
    return mt.Graph("g", {"y": vote.output, "who": vote.member})


@pytest.mark.parametrize(("require", "where"), [(None, "node 'inner/deep'"), (2, "node 'vote', member 'inner'")])
def test_a_hopeless_member_that_is_needed_ends_the_call_also_inside_an_ensemble_and_a_graph(require, where):
    graph = of_a_broken_graph_and(fake(Affine, "fine"), require=require)
    with pytest.raises(ModelFailedError, match=f"{where}: model 'broken' failed on each of the 16 rows"):
        graph({"x": np.zeros(100, dtype=np.float32)})


@pytest.mark.parametrize("within_ms", [None, 60_000])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_hopeless_member_that_is_not_needed_has_failed_on_its_rows(tmp_path, within_ms, workers):
    """The others answer, called and in bulk; a second look at the whole run comes first."""
    graph = of_a_broken_graph_and(fake(Affine, "fine", scale=3.0), require=1, within_ms=within_ms)
    x = np.arange(100, dtype=np.float32)
    found = graph({"x": x})
    assert found["y"].tolist() == (x * 3).tolist()
    assert set(found["who"]) == {"fine"}
    report = graph.run({"x": x}, tmp_path / "out.parquet", batch_rows=30, workers=workers)
    assert (report.answered, report.failed) == (100, 0)
    assert pq.read_table(tmp_path / "out.parquet")["y"].to_pylist() == (x * 3).tolist()


@pytest.mark.parametrize("node", ["ensemble", "cascade"])
def test_a_member_that_fails_on_the_first_rows_only_answers_the_others(tmp_path, node):
    """Rows of elsewhere are looked at before it is done without, so the rows that it can answer are answered by it."""
    early = fake(Failing, "early", scale=1.0, bad=[row / 256 for row in range(60)])
    fine = fake(Affine, "fine", scale=3.0)
    if node == "ensemble":
        both = mt.ensemble([early, fine], x_(), require=1)
    else:
        both = mt.cascade([early, fine], x_(), confidence=0.0, of="output")
    graph = mt.Graph("g", {"y": both.output, "who": both.member})
    x = np.arange(200, dtype=np.float32) / 256  # (confidences are from 0 to 1)
    report = graph.run({"x": x}, tmp_path / "out.parquet", batch_rows=64, workers=1)
    assert (report.answered, report.failed) == (200, 0)
    who = pq.read_table(tmp_path / "out.parquet")["who"].to_pylist()
    assert set(who[:60]) == {"fine"}
    assert set(who[60:]) == {"early,fine" if node == "ensemble" else "early"}


def test_a_run_whose_members_all_fail_on_everything_ends(tmp_path):
    graph = of_a_broken_graph_and(fake(Failing, "other"), require=1)
    with pytest.raises(ModelFailedError, match="failed on each of"):
        graph.run({"x": np.zeros(300, dtype=np.float32)}, tmp_path / "out.parquet", batch_rows=40)


# memory


def test_what_is_too_big_for_memory_is_halved_and_the_limit_lowered():
    graph = graph_of(
        fake(Hungry, "hungry", most=20, log="hungry", scale=2.0, settings={"batch": mt.Batching(max_rows=64)})
    )
    graph.executor.load()
    (model,) = graph.executor.host.models
    model.size = type(model.size)(64, 64)
    assert graph({"x": np.arange(64, dtype=np.float32)})["y"].tolist() == [2 * x for x in range(64)]
    assert calls["hungry"] == [64, 32, 16, 16, 32, 16, 16]
    assert model.size.rows == 16
    calls["hungry"].clear()
    graph({"x": np.arange(64, dtype=np.float32)})
    assert calls["hungry"] == [16, 16, 16, 16]


def test_a_row_that_alone_is_too_big_fails_and_leaves_the_limit():
    graph = graph_of(fake(Failing, "picky", bad=[5], error="MemoryError", settings={"batch": mt.Batching(max_rows=64)}))
    graph.executor.load()
    (model,) = graph.executor.host.models
    model.size = type(model.size)(64, 64)
    answers, (failure,) = graph({"x": np.arange(64, dtype=np.float32)}, failures="return")
    assert (failure.row, failure.error) == (5, "MemoryError")
    assert len(answers["y"]) == 63
    assert model.size.rows == 64


# contracts


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (functions.too_few, "helpers.functions.too_few gave another number of rows: 1 row in, 0 out"),
        (functions.single, "helpers.functions.single gave a single value for 1 row"),
        (functions.says_two, "helpers.functions.says_two gave float32; it must be float32[2]"),
    ],
)
def test_a_function_that_breaks_its_contract_is_named(function, message):
    graph = mt.Graph("g", {"y": mt.map(function, x_(), name="f")})
    assert refused(graph, floats(1, 2, 3)) == {(row, "f", "AnswerError", message) for row in range(3)}


@pytest.mark.parametrize(
    ("outputs", "result", "message"),
    [
        ("float32", lambda x: x.astype(np.float64), " gave float64; it must be float32"),
        ("int64", lambda x: [1.5] * len(x), " gave 1.5 (float); it must be int64"),
        ("string", lambda x: [1] * len(x), " gave 1 (int); it must be string"),
        ("string", lambda x: [b"a"] * len(x), " gave b'a' (bytes); it must be string"),
        ("float32", lambda x: {"a": x}, "declares one array and returned 'a'"),
        ({"a": "float32", "b": "float32"}, lambda x: {"a": x}, "declares 'a', 'b' and returned 'a'"),
        ({"a": "float32"}, lambda x: {"a": x[:-1]}, ": a gave another number of rows: 1 row in, 0 out"),
        ({"a": "bool"}, lambda x: {"a": x}, ": a gave float32; it must be bool"),
        ({"a": "float32"}, lambda x: x, "declares 'a' and returned one array"),
        ("float32[?]", lambda x: [np.zeros((1, 2), np.float32)] * len(x), " gave [[0.0, 0.0]] (ndarray); it must be float32[?]"),
        ("float32[?,2]", lambda x: [np.zeros((1, 3), np.float32)] * len(x), " gave [[0.0, 0.0, 0.0]] (ndarray); it must be float32[?,2]"),
        ("float32", lambda x: None, "gave a single value for 1 row"),
    ],
)  # fmt: skip
def test_a_function_must_return_what_it_declares(outputs, result, message):
    made = mt.map(result, x_(), outputs=outputs, name="f")
    found = refused(mt.Graph("g", {"y": made if isinstance(outputs, str) else made.a}), floats(1, 2, 3))
    assert {(row, node) for row, node, *_ in found} == {(row, "f") for row in range(3)}
    assert all(message in said for *_, said in found), found


@pytest.mark.parametrize(
    ("outputs", "result", "wanted"),
    [
        ("float32", lambda x: [1, 2.5, 3], np.array([1, 2.5, 3], np.float32)),
        ("uint8", lambda x: [1, 2, 255], np.array([1, 2, 255], np.uint8)),
        ("string", lambda x: ["a", None, "c"], np.array(["a", None, "c"], object)),
        ("string", lambda x: np.array(["a", "b", "c"]), np.array(["a", "b", "c"], object)),
        ("float32[2]", lambda x: [np.zeros(2, np.float32)] * 3, np.zeros((3, 2), np.float32)),
        ("float32[2]", lambda x: [[1, 2]] * 3, np.array([[1, 2]] * 3, np.float32)),
    ],
)
def test_lists_of_python_values_are_held_as_declared(outputs, result, wanted):
    found = mt.Graph("g", {"y": mt.map(result, x_(), outputs=outputs)})(floats(1, 2, 3))["y"]
    assert found.dtype == wanted.dtype
    assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        ("OneRowLess", "model 'liar': output 'y' gave another number of rows: 1 row in, 0 out"),
        ("OtherType", "model 'liar': output 'y' gave float64; it must be float32"),
    ],
)
def test_a_model_that_breaks_its_promise_is_named(cls, message):
    model = mt.Model(f"python:helpers.models:{cls}", "liar", inputs={"x": "float32"}, outputs={"y": "float32"})
    assert refused(graph_of(model), floats(1, 2, 3)) == {(row, "asked", "AnswerError", message) for row in range(3)}


def test_the_combiner_is_held_to_the_contract():
    members = {"a": fake(Affine, "a"), "b": fake(Affine, "b", scale=2.0)}
    graph = mt.Graph("g", {"y": mt.ensemble(members, x_(), combine=functions.short_combiner, name="vote")})
    message = "helpers.functions.short_combiner gave another number of rows: 1 row in, 0 out"
    assert refused(graph, floats(1, 2, 3)) == {(row, "vote", "AnswerError", message) for row in range(3)}


@pytest.mark.parametrize(
    ("apart", "message"),
    [
        (functions.bad_counts, r"helpers.functions.bad_counts must return one count for each of the 1 rows; got shape \[2\]"),
        (functions.not_a_pair, r"helpers.functions.not_a_pair must return \(pieces, counts\); got ndarray"),
        (lambda n: (np.zeros(2, np.float32), n - 3), r"must return counts that are whole numbers of at least 0; got \[-[12]\]"),
        (lambda n: (np.zeros(2, np.float32), n / 4), r"must return counts that are whole numbers of at least 0; got \[0.2?5\]"),
        (lambda n: (np.zeros(2, np.float32), n * 3), r"pieces gave another number of rows: [36] rows in, 2 out"),
    ],
)  # fmt: skip
def test_taking_apart_is_held_to_the_contract(apart, message):
    node = mt.shard(fake(Affine, "m"), mt.input("n", "int64"), apart=apart, together=functions.total, name="s")
    found = refused(mt.Graph("g", {"y": node}), {"n": [1, 2]})
    assert {(row, node, error) for row, node, error, _ in found} == {(row, "s", "AnswerError") for row in (0, 1)}
    assert all(re.search(message, said) for *_, said in found), found


def test_pieces_are_those_that_the_member_takes():
    def apart(n):
        return {"x": np.zeros(len(n), np.float32), "z": n}, np.ones(len(n), np.int64)

    node = mt.shard(fake(Affine, "m"), mt.input("n", "int64"), apart=apart, together=functions.total, name="s")
    with pytest.raises(mt.GraphError, match="node 's': .*model 'm' takes x; it was given x, z"):
        mt.Graph("g", {"y": node})({"n": [1, 2]})


def test_a_function_gets_arrays_that_it_cannot_change():
    given = np.array([1, 2], dtype=np.float32)
    graph = mt.Graph("g", {"y": mt.map(functions.in_place, x_())})
    _, failures = graph({"x": given}, failures="return")
    assert [failure.error for failure in failures] == ["ValueError", "ValueError"]
    assert "read-only" in failures[0].message
    assert given.tolist() == [1, 2]


def test_a_function_that_returns_other_columns_for_some_rows_is_named():
    def moody(x):
        if len(x) > 1:
            raise ValueError("one at a time")
        return {"a": x} if x[0] > 1 else {"b": x}

    graph = mt.Graph("g", {"y": mt.map(moody, x_(), name="f").a})
    with pytest.raises(mt.GraphError, match=r"node 'f': moody .* returned b for some rows and a for others"):
        graph(floats(1, 2, 3))


# each


def test_each_calls_row_by_row():
    given = []

    def tell(value, by):
        given.append(value)
        return {"twice": value * by, "text": f"{value:g}"}

    made = mt.map(tell, x_(), each=True, by=2, outputs={"twice": "float32", "text": "string"})
    answers = mt.Graph("g", {"twice": made.twice, "text": made.text})(floats(1, 2.5))
    assert given == [1, 2.5]
    assert (answers["twice"].tolist(), answers["twice"].dtype, answers["text"].tolist()) == (
        [2, 5],
        np.float32,
        ["1", "2.5"],
    )


def test_each_fails_only_the_rows_it_raises_on():
    made = mt.map(lambda value: 1 / int(value), mt.input("n", "int64"), each=True, outputs="float64")
    found = play(mt.Graph("g", {"y": made}), {"n": np.array([1, 0, 4])})
    assert (found[0]["y"], found[1].error, found[2]["y"]) == (1.0, "ZeroDivisionError", 0.25)


def test_each_gets_rows_that_differ_in_shape():
    made = mt.map(functions.one_length, mt.input("x", "float32[?]"), each=True, outputs="int64")
    rows = [np.zeros(3, np.float32), np.zeros(0, np.float32)]
    assert mt.Graph("g", {"y": made})({"x": rows})["y"].tolist() == [3, 0]


# before and after


def test_functions_before_and_after_a_model_are_played_in_order():
    settings = {"before": [lambda x: x + 1, lambda x: x * 2], "after": [lambda y: y - 1, functions.top_of_scalar]}
    made = mt.model(fake(Affine, "m", scale=10.0, settings=settings), x_(), name="n")
    answers = mt.Graph("g", {"z": made.low, "w": made.high})(floats(1, 2))
    assert (answers["z"].tolist(), answers["w"].tolist()) == ([39, 59], [40, 60])


@pytest.mark.parametrize("place", ["before", "after"])
def test_rows_that_fail_before_or_after_a_model_fail_alone(place):
    model = fake(Failing, "m", bad=[3.0], settings={place: functions.refuse_negative})
    found = play(graph_of(model), floats(1, -2, 3, -4, 5))
    assert [isinstance(each, dict) for each in found] == [True, False, False, False, True]
    assert [found[row].model for row in (1, 2, 3)] == [
        "helpers.functions.refuse_negative",
        "m",
        "helpers.functions.refuse_negative",
    ]
    assert {found[row].node for row in (1, 2, 3)} == {"asked"}


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("kind", ["model", "ensemble", "named", "route", "cascade", "shard"])
def test_when_every_row_fails_around_a_model_every_row_fails(place, kind):
    refusing = fake(Affine, "m", settings={place: functions.refuse_negative}, output="y")
    other = fake(Affine, "other", output="output" if place == "after" else "y")
    x = x_()
    node = {
        "model": lambda: mt.model(refusing, x),
        "ensemble": lambda: mt.ensemble([refusing, other], x),
        "named": lambda: mt.ensemble([refusing, other], x, output="z", require=1),
        "route": lambda: mt.route({"a": refusing, "b": other}, x, when={"a": "x < 0"}, otherwise="b", output="z"),
        "cascade": lambda: mt.cascade([refusing, other], x, confidence=0.0, on_error="fail"),
        "shard": lambda: mt.shard(refusing, x, apart=functions.one_piece, together=functions.total),
    }[kind]()
    graph = mt.Graph("g", {"y": node.z if kind in ("named", "route") else node})
    found = play(graph, floats(-1, -2, -3))
    if kind == "named":
        assert [each["y"] for each in found] == [-1, -2, -3]
    else:
        assert [(each.model, each.error) for each in found] == [("helpers.functions.refuse_negative", "ValueError")] * 3


def test_columns_by_name_go_to_the_parameters_of_the_function_before():
    model = mt.Model(
        "python:helpers.models:echo",
        "m",
        inputs={"x": "float32"},
        outputs={"y": "float32"},
        before="helpers.models.minus",
    )
    a, b = mt.input("a", "float32"), mt.input("b", "float32")
    columns = {"a": np.array([5], np.float32), "b": np.array([3], np.float32)}
    assert mt.Graph("g", {"y": mt.model(model, b=b, a=a)})(columns)["y"] == 2
    assert mt.Graph("g", {"y": mt.model(model, b, a)})(columns)["y"] == -2
    with pytest.raises(mt.GraphError, match="unknown input of 'helpers.models.minus' 'c'; known: a, b"):
        mt.Graph("g", {"y": mt.model(model, a=a, c=b)})


# shards without pieces


@pytest.mark.parametrize("place", ["before", "after", None])
def test_no_pieces_at_all_is_an_answer_too(place):
    inner = mt.Graph("inner", {"y": mt.model(fake(Affine, "m"), x_())})
    member = fake(Affine, "m", settings={place: functions.scale} if place else {})
    for uses in (member, inner):
        node = mt.shard(uses, mt.input("n", "int64"), apart=functions.digits, together=functions.total)
        assert mt.Graph("g", {"y": node})({"n": [-1, -1]})["y"].tolist() == [0, 0]


def test_a_graph_can_answer_pieces_that_do_not_say_their_type():
    inner = mt.Graph("inner", {"y": mt.model(fake(Affine, "m", scale=2.0), x_())})
    node = mt.shard(inner, mt.input("n", "int64"), apart=functions.digits, together=functions.total)
    assert mt.Graph("g", {"y": node})({"n": [12, 345]})["y"].tolist() == [6, 24]


# replicas, fixed rows, names


def test_replicas_share_the_calls():
    graph = graph_of(fake(Counting, "m", log="m", scale=3.0, settings={"replicas": 2}))
    assert graph(floats(1, 2, 3))["y"].tolist() == [3, 6, 9]
    assert graph(floats(1))["y"].tolist() == [3]
    (model,) = graph.executor.host.models
    assert [(each.kind, each.state, each.calls) for each in model.replicas.status()] == [("thread", "READY", 1)] * 2


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 8, 11])
def test_a_model_of_fixed_rows_is_given_as_many_and_the_rest_is_cut(onnx_files, rows):
    values = np.arange(rows, dtype=np.float32)
    graph = graph_of(mt.Model(str(onnx_files / "fixed.onnx")))
    assert graph({"x": values})["y"].tolist() == (values * 2 + 1).tolist()


def test_fixed_rows_and_fewer_allowed_are_refused(onnx_files):
    model = mt.Model(str(onnx_files / "fixed.onnx"), batch=mt.Batching(max_rows=2))
    with pytest.raises(mt.MotetError, match="model 'fixed': every call has 4 rows, max_rows allows 2"):
        graph_of(model)


def test_max_rows_is_the_most_rows_a_call_has():
    graph = graph_of(fake(Counting, "m", log="m", settings={"batch": mt.Batching(max_rows=6)}))
    graph({"x": np.zeros(20, dtype=np.float32)})
    assert calls["m"] == [6, 6, 6, 2]


def test_models_of_one_name_in_graphs_inside_each_other_stay_apart():
    inner = mt.Graph("inner", {"output": mt.model(fake(Affine, "m", scale=10.0), x_())})
    graph = mt.Graph("g", {"y": mt.model(inner, mt.model(fake(Affine, "m", scale=2.0), x_()))})
    assert graph(floats(1))["y"] == 20
    assert len(graph.executor.host.models) == 2
    assert graph(floats(1))["y"] == 20
    assert len(graph.executor.host.models) == 2


def test_closing_a_host_closes_its_models():
    models.Closing.closed = 0
    graph = graph_of(mt.Model("python:helpers.models:Closing", "m", outputs={"y": "float32"}, replicas=2))
    graph(floats(1))
    graph.executor.host.close()
    assert models.Closing.closed == 2


def test_a_cascade_whose_scores_are_no_probabilities_fails_those_rows():
    graph = mt.Graph(
        "g", {"y": mt.cascade({"a": fake(Affine, "a"), "b": fake(Affine, "b", scale=2.0)}, x_(), confidence=0.5)}
    )
    found = play(graph, floats(0.6, 3.0, 0.1, np.nan))
    assert (found[0]["y"], found[2]["y"]) == (np.float32(0.6), np.float32(0.2))
    assert "confidence nan of member 'a' is no probability" in found[3].message
    assert (
        found[1].message
        == "confidence 3 of member 'a' is no probability; put motet.ops.scores.softmax behind the model (after:)"
    )


def test_a_condition_that_does_not_fit_one_value_fails_that_row_alone():
    x, mixed = x_(), mt.input("mixed", "any", default=None)
    arms = {"a": mt.member(fake(Affine, "a"), [x]), "b": mt.member(fake(Affine, "b", scale=2.0), [x])}
    node = mt.route(arms, mixed, when={"a": "mixed > 'a'"}, otherwise="b", name="size")
    found = play(mt.Graph("g", {"y": node}), {**floats(1, 2, 3), "mixed": np.array(["b", 7, "a"], dtype=object)})
    assert (found[0]["y"], found[2]["y"]) == (1, 6)
    assert (found[1].node, found[1].error) == ("size", "InputError")


def test_functions_in_a_row_fail_the_rows_that_were_theirs():
    def refuse_five(x):
        if (x == 5).any():
            raise ValueError("five")
        return x

    model = fake(Failing, "m", bad=[7.0], settings={"before": [functions.refuse_negative, refuse_five]})
    found = play(graph_of(model), floats(1, -2, 5, 3, 7, -4, 6))
    said = [each["y"] if isinstance(each, dict) else each.message.split(" (")[0] for each in found]
    assert said == [1, "negative: -2", "five", 3, "cannot take 7", "negative: -4", 6]


def test_a_piece_that_fails_first_is_the_one_that_is_named():
    member = fake(Failing, "m", bad=[1.0], settings={"before": functions.refuse_two})
    node = mt.shard(member, mt.input("n", "int64"), apart=functions.digits, together=functions.total)
    _, failures = mt.Graph("g", {"y": node})({"n": [312, 321, 345]}, failures="return")
    assert [failure.message.split(" (")[0] for failure in failures] == [
        "piece 1 of 3: cannot take 1",
        "piece 1 of 3: two",
    ]


@pytest.mark.parametrize("last", ["fine", "broken"])
def test_a_cascade_goes_on_with_the_rows_that_are_left(last):
    first = fake(Failing, "first", "float32[2]", bad=[1.0, 2.0])
    other = fake(Failing, "other", "float32[2]", bad=[0.0] if last == "broken" else [])
    x = mt.input("x", "float32[2]")
    graph = mt.Graph("g", {"y": mt.cascade([first, other], x, confidence=0.9, on_error="fail")})
    found = play(graph, {"x": np.array([[1, 0], [2, 0]], np.float32)})
    assert [each.message for each in found] == ["cannot take 1", "cannot take 2"]
    found = play(graph, {"x": np.array([[1, 0], [0, 0.5], [0, 1]], np.float32)})
    assert [each["y"].tolist() if isinstance(each, dict) else each.message for each in found] == [
        "cannot take 1", [0, 0.5] if last == "fine" else "cannot take 0", [0, 1],
    ]  # fmt: skip


def test_a_member_is_confident_when_it_is_just_as_sure_as_it_must_be():
    arms = {"a": fake(Affine, "a"), "b": fake(Affine, "b", scale=0.5)}
    sure = mt.cascade(arms, x_(), confidence=0.5)
    graph = mt.Graph("g", {"who": sure.member})
    assert graph(floats(0.5, np.nextafter(np.float32(0.5), np.float32(0))))["who"].tolist() == ["a", "b"]
