"""Graph batchers: what is played together, and what each request gets of it."""

import logging
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import motet as mt
from helpers.gates import gated, gates, shut
from helpers.models import minus  # noqa: F401  (named in a graph)
from motet import errors
from motet.graph.capacity import Batching
from motet.testing.fakes import Affine, Counting, Failing, calls, fake
from motet.types import returns
from serving.batching.batcher_live import Asked, request, submit

X = mt.input("x", "float32")


def graph_of(model, name="g", **outputs):
    return mt.Graph(name, outputs={"y": mt.model(model, X), **outputs})


@returns("float32")
def picky(x):
    if (x == 99).any():
        raise ValueError("ninety-nine")
    return x + 1


@returns("float32")
def patient(x):
    """Long batches wait for a gate."""
    if len(x) > 100:
        gates["patient"].entered.release()
        assert gates["patient"].open.wait(20)
    return x


@returns("int64")
def where(x):
    return np.full(len(x), threading.get_ident())


@returns(lambda x: x)
def same(x):
    return x


class TestTogether:
    def test_what_comes_in_one_tick_is_one_batch(self, batcher_loop, gateways):
        repository = gateways(graph_of(fake(Counting, "counting", log="tick", settings={"placement": "inline"})))
        calls["tick"].clear()
        asked = submit(
            batcher_loop, repository, *[("g", {"x": [float(n), n + 0.5]}) for n in range(4)], ("g", {"x": []})
        )
        assert [each.values() for each in asked] == [[float(n), n + 0.5] for n in range(4)] + [[]]
        assert calls["tick"] == [8]
        assert {each.reply.batch_rows for each in asked} == {8}
        assert repository.find("g").batcher.idle

    def test_no_more_rows_than_a_batch_may_have(self, batcher_loop, gateways):
        repository = gateways(graph_of(gated("most", placement="inline")), batch_rows=4)
        gates["most"].played.clear()
        sizes = [1, 2, 3, 4, 5, 1]
        asked = submit(batcher_loop, repository, *[("g", {"x": [float(n)] * n}) for n in sizes])
        assert [each.values() for each in asked] == [[float(n)] * n for n in sizes]
        assert [len(each) for each in gates["most"].played] == [3, 3, 4, 5, 1]

    def test_what_comes_while_all_threads_are_busy_is_one_batch(self, batcher_loop, gateways):
        repository = gateways(graph_of(gated("busy")), threads=1)
        with shut("busy") as gate:
            (first,) = submit(batcher_loop, repository, ("g", {"x": [1.0]}))
            assert gate.entered.acquire(timeout=20)
            rest = [submit(batcher_loop, repository, ("g", {"x": [float(n)]}))[0] for n in range(2, 6)]
        assert [each.values() for each in (first, *rest)] == [[1.0], [2.0], [3.0], [4.0], [5.0]]
        assert gate.played == [[1.0], [2.0, 3.0, 4.0, 5.0]]

    def test_what_is_quick_does_not_wait_for_what_takes_long(self, batcher_loop, gateways):
        repository = gateways(mt.Graph("g", outputs={"y": mt.map(patient, X)}), threads=2, batch_rows=64)
        batcher = repository.find("g").batcher
        batcher.placement.costs.took(1000, 1.0)
        batcher.placement.costs.took(1, 1e-6)
        with shut("patient") as gate:
            long = submit(batcher_loop, repository, *[("g", {"x": [float(n)] * 1000}) for n in range(3)])
            for _ in range(2):
                assert gate.entered.acquire(timeout=20)
            for number in range(3):
                quick = submit(batcher_loop, repository, *[("g", {"x": [number + n / 10]}) for n in range(4)])
                assert [each.values() for each in quick] == [[pytest.approx(number + n / 10)] for n in range(4)]
                assert {each.reply.batch_rows for each in quick} == {4}
            assert [each.told.done() for each in long] == [False] * 3
            assert batcher.waiting_rows == 1000
        assert [each.values()[0] for each in long] == [0.0, 1.0, 2.0]
        assert batcher.idle

    def test_a_slow_graph_leaves_a_thread_to_each_other_one(self, batcher_loop, gateways):
        """A slow graph has all threads; others answer meanwhile, each as often as it is asked."""
        brisk = [graph_of(fake(Affine, f"brisk{n}", settings={"placement": "thread"}), f"brisk{n}") for n in range(3)]
        repository = gateways(graph_of(gated("slow one")), *brisk, threads=2)
        with shut("slow one") as gate:
            slow = [submit(batcher_loop, repository, ("g", {"x": [float(n)]}))[0] for n in range(2)]
            for _ in slow:
                assert gate.entered.acquire(timeout=20)
            slow += submit(batcher_loop, repository, ("g", {"x": [2.0]}))
            for number in range(50):
                asked = submit(batcher_loop, repository, *[(f"brisk{n}", {"x": [float(number)]}) for n in range(3)])
                assert [each.values() for each in asked] == [[float(number)]] * 3
            assert not any(each.told.done() for each in slow)
        assert [each.values() for each in slow] == [[0.0], [1.0], [2.0]]

    def test_the_first_call_is_not_made_in_the_loop_nor_are_those_after_one_that_held_it(self, batcher_loop, gateways):
        repository = gateways(mt.Graph("g", outputs={"y": mt.map(where, X)}))
        batcher, here = repository.find("g").batcher, batcher_loop.call(threading.get_ident)
        (first,) = submit(batcher_loop, repository, ("g", {"x": [1.0]}))
        assert first.values() != [here]
        batcher_loop.call(lambda: batcher.placement.costs.took(1, 1e-9))
        for _ in range(30):
            batcher.placement.costs.took(1, 1e-9)
        (second,) = submit(batcher_loop, repository, ("g", {"x": [1.0]}))
        assert second.values() == [here]
        batcher.placement.costs.held(0.5)
        (third,) = submit(batcher_loop, repository, ("g", {"x": [1.0]}))
        assert third.values() != [here]

    def test_a_machine_that_is_busy_with_other_things_drives_no_graph_from_the_loop(
        self, batcher_loop, gateways, monkeypatch
    ):
        """A batch is as long as it is because its thread waited for a processor, and then because it really is."""
        waited = [0.0]
        monkeypatch.setattr("motet.serving.batching.placement.queued_seconds", lambda: waited[0])
        repository = gateways(mt.Graph("g", outputs={"y": mt.map(where, X)}))
        batcher, here = repository.find("g").batcher, batcher_loop.call(threading.get_ident)
        for _ in range(30):
            batcher.placement.costs.took(1, 1e-9)

        def where_after(seconds):
            batcher_loop.call(lambda: batcher.placement.held(seconds))
            return submit(batcher_loop, repository, ("g", {"x": [1.0]}))[0].values()

        assert where_after(0.0) == [here]
        waited[0] = 0.5
        assert where_after(0.5) == [here]
        assert where_after(0.5) != [here]

    def test_priority_1_goes_first_and_order_is_kept_within_one(self, batcher_loop, gateways):
        repository = gateways(graph_of(gated("priority")), threads=1, batch_rows=2)
        with shut("priority") as gate:
            submit(batcher_loop, repository, ("g", {"x": [0.0]}))
            assert gate.entered.acquire(timeout=20)
            order = [(1.0, 0), (2.0, 5), (3.0, 100), (4.0, 5), (5.0, 101), (6.0, 1)]
            asked = submit(batcher_loop, repository, *[("g", {"x": [x], "priority": p}) for x, p in order])
        for each in asked:
            assert each.reply
        assert gate.played == [[0.0], [6.0, 2.0], [4.0, 1.0], [3.0, 5.0]]

    def test_quick_batches_are_played_in_the_loop_and_slow_ones_are_not(self, batcher_loop, gateways):
        repository = gateways(graph_of(fake(Affine, "quick")), graph_of(fake(Affine, "slow"), "slow"))
        quick, slow = repository.find("g").batcher, repository.find("slow").batcher
        batcher_loop.call(lambda: quick.placement.costs.took(1, 1e-9))

        def played_at_once(batcher):
            batcher.placement.costs._seconds = {1: 1e-5 if batcher is quick else 1.0}
            each = request(repository.find(batcher.name), x=[1.0])
            batcher.submit(each)
            batcher._tick()
            return each, each.told.done()

        each, at_once = batcher_loop.call(played_at_once, quick)
        assert (each.values(), at_once) == ([1.0], True)
        each, at_once = batcher_loop.call(played_at_once, slow)
        assert (each.values(), at_once) == ([1.0], False)

    def test_columns_of_other_types_are_not_put_together(self, batcher_loop, gateways):
        """They would be changed: an integer beside a float becomes a float."""
        anything = mt.input("x", "any")
        repository = gateways(mt.Graph("g", outputs={"y": mt.map(same, anything)}))
        columns = [
            np.array([2**53 + 1]), np.array([0.5]), np.array([[1, 2]]), np.array([3]), np.array(["a", None], object),
            np.array([[1.5, 2.5, 3.5]], np.float32),
        ]  # fmt: skip
        asked = submit(batcher_loop, repository, *[("g", {"x": column}) for column in columns])
        for each, column in zip(asked, columns, strict=True):
            reply = each.reply
            got = reply.columns["y"][reply.first : reply.end]
            assert got.dtype == column.dtype
            assert got.tolist() == column.tolist()


class TestFailures:
    @pytest.mark.parametrize("placement", ["inline", "thread"])
    def test_a_bad_row_fails_its_request_alone(self, batcher_loop, gateways, placement):
        model = fake(Failing, "failing", bad=[13.0], settings={"placement": placement})
        repository = gateways(graph_of(model))
        asked = submit(
            batcher_loop,
            repository,
            ("g", {"x": [1.0]}),
            ("g", {"x": [2.0, 13.0, 3.0]}),
            ("g", {"x": [13.0]}),
            ("g", {"x": [4.0]}),
        )
        assert [asked[0].values(), asked[3].values()] == [[1.0], [4.0]]
        assert asked[1].values() == [2.0, 3.0]
        assert asked[1].reply.kept.tolist() == [0, 2]
        (failure,) = asked[1].reply.failures
        assert (failure.row, failure.node, "cannot take 13" in str(failure)) == (1, "model_1", True)
        (failure,) = asked[2].reply.failures
        assert failure.row == 0
        assert asked[2].values() == []

    @pytest.mark.parametrize("placement", ["inline", "thread"])
    def test_what_fails_as_a_whole_is_played_again_for_each(self, batcher_loop, gateways, placement, monkeypatch):
        """A mistake outside of models and functions: no row is at fault for it."""
        repository = gateways(graph_of(gated("whole", placement=placement)))
        batcher = repository.find("g").batcher
        play = batcher.executor.play

        async def fails_on_seven(batch, *args):
            if len(batch) > 1 or (batch.columns["x"] == 7).any():
                raise MemoryError("no room")
            return await play(batch, *args)

        monkeypatch.setattr(batcher.executor, "play", fails_on_seven)
        asked = submit(batcher_loop, repository, *[("g", {"x": [float(n)]}) for n in (1, 7, 2)])
        assert [asked[0].values(), asked[2].values()] == [[1.0], [2.0]]
        assert isinstance(asked[1].error, errors.ModelError)
        assert "MemoryError: no room" in str(asked[1].error)
        assert [each.times for each in asked] == [1, 1, 1]
        batcher_loop.until(lambda: batcher.idle)

    @pytest.mark.parametrize("placement", ["inline", "thread"])
    def test_columns_that_cannot_be_put_together_fail_alone(self, batcher_loop, gateways, placement):
        repository = gateways(graph_of(gated("columns", placement=placement)))
        good = [request(repository.find("g"), x=[float(n)]) for n in (1, 2)]
        bad = Asked({"z": np.zeros(1, np.float32)}, 1)
        submit(batcher_loop, repository, ("g", good[0]), ("g", bad), ("g", good[1]))
        assert [each.values() for each in good] == [[1.0], [2.0]]
        assert bad.error is not None
        batcher_loop.until(lambda: repository.find("g").batcher.idle)

    @pytest.mark.parametrize("placement", ["inline", "thread"])
    def test_a_request_that_breaks_harms_no_other(self, batcher_loop, gateways, placement, caplog):
        repository = gateways(graph_of(fake(Failing, "failing", bad=[13.0], settings={"placement": placement})))

        class Broken(Asked):
            __slots__ = ()

            def answered(self, reply):
                raise KeyError("a mistake")

        class MoreBroken(Broken):
            __slots__ = ()

            def failed(self, error):
                raise KeyError("another")

        served = repository.find("g")
        with caplog.at_level(logging.CRITICAL):
            for last in (3.0, 13.0):
                asked = [request(served, cls, x=[1.0]) for cls in (Asked, Broken, MoreBroken)]
                asked.append(request(served, x=[2.0, last]))
                submit(batcher_loop, repository, *[("g", each) for each in asked])
                assert asked[0].values() == [1.0]
                assert "a mistake" in str(asked[1].error)
                assert asked[3].values()[0] == 2.0


class TestEnds:
    def test_a_late_request_is_told_so_at_once_and_its_rows_are_not_played(self, batcher_loop, gateways):
        repository = gateways(graph_of(gated("late")), threads=1)
        with shut("late") as gate:
            (first,) = submit(batcher_loop, repository, ("g", {"x": [1.0]}))
            assert gate.entered.acquire(timeout=20)
            soon = batcher_loop.loop.time() + 0.05
            (late,) = submit(batcher_loop, repository, ("g", {"x": [2.0], "deadline": soon}))
            (last,) = submit(batcher_loop, repository, ("g", {"x": [3.0]}))
            assert isinstance(late.error, errors.DeadlineError)  # while the first is still being played
            assert late.error.status == 504
            batcher = repository.find("g").batcher
            batcher_loop.until(lambda: batcher.waiting_rows == 1)  # it leaves room for others
        assert [first.values(), last.values()] == [[1.0], [3.0]]
        assert gate.played == [[1.0], [3.0]]
        assert late.times == 1

    def test_a_request_may_be_late_before_it_comes(self, batcher_loop, gateways):
        repository = gateways(graph_of(gated("early", placement="inline")))
        gates["early"].played.clear()
        (late,) = submit(batcher_loop, repository, ("g", {"x": [2.0], "deadline": 0.0}))
        assert isinstance(late.error, errors.DeadlineError)
        assert gates["early"].played == []

    def test_a_request_that_is_late_while_it_is_played(self, batcher_loop, gateways):
        """It is told at once; rows that are of no use any more do not go on to the next node."""
        second = gated("second", "second")
        repository = gateways(mt.Graph("g", outputs={"y": mt.model(second, mt.model(gated("first", "first"), X))}))
        gates["second"].played.clear()
        with shut("first") as gate:
            soon = batcher_loop.loop.time() + 0.05
            asked = submit(batcher_loop, repository, ("g", {"x": [1.0, 2.0], "deadline": soon}), ("g", {"x": [3.0]}))
            assert gate.entered.acquire(timeout=20)
            assert isinstance(asked[0].error, errors.DeadlineError)
        assert asked[1].values() == [3.0]
        assert gates["second"].played == [[3.0]]
        assert [each.times for each in asked] == [1, 1]

    def test_what_nobody_waits_for_is_not_played(self, batcher_loop, gateways):
        repository = gateways(graph_of(gated("gone")), threads=1)
        with shut("gone") as gate:
            (first,) = submit(batcher_loop, repository, ("g", {"x": [1.0]}))
            assert gate.entered.acquire(timeout=20)
            gone, last = submit(batcher_loop, repository, ("g", {"x": [2.0]}), ("g", {"x": [3.0]}))
            gone.cancelled = True
        assert [first.values(), last.values()] == [[1.0], [3.0]]
        assert gate.played == [[1.0], [3.0]]
        assert isinstance(gone.error, errors.CancelledError)
        assert gone.times == 1

    def test_a_request_that_is_cancelled_while_it_is_played_is_given_no_part_of_an_answer(self, batcher_loop, gateways):
        second = gated("part two", "second")
        repository = gateways(mt.Graph("g", outputs={"y": mt.model(second, mt.model(gated("part one", "first"), X))}))
        gates["part two"].played.clear()
        with shut("part one") as gate:
            asked = submit(batcher_loop, repository, ("g", {"x": [1.0, 2.0]}), ("g", {"x": [3.0]}))
            assert gate.entered.acquire(timeout=20)
            asked[0].cancelled = True
        assert asked[1].values() == [3.0]
        assert isinstance(asked[0].error, errors.CancelledError)
        assert gates["part two"].played == [[3.0]]

    def test_the_queue_has_a_bound(self, batcher_loop, gateways):
        repository = gateways(graph_of(gated("full")), threads=1, queue_rows=3)
        with shut("full") as gate:
            (first,) = submit(batcher_loop, repository, ("g", {"x": [1.0]}))
            assert gate.entered.acquire(timeout=20)
            asked = submit(
                batcher_loop, repository, *[("g", {"x": [float(n)] * 2}) for n in (2, 3)], ("g", {"x": [4.0]})
            )
            assert isinstance(asked[1].error, errors.OverloadedError)
            assert asked[1].error.status == 503
            assert asked[1].error.retry_after_s
        assert [each.values() for each in (first, asked[0], asked[2])] == [[1.0], [2.0, 2.0], [4.0]]

    def test_one_request_may_be_longer_than_the_queue(self, batcher_loop, gateways):
        repository = gateways(graph_of(fake(Affine, "affine")), queue_rows=3)
        (asked,) = submit(batcher_loop, repository, ("g", {"x": [1.0] * 10}))
        assert asked.values() == [1.0] * 10


class TestLooks:
    def test_an_explained_request_is_told_of_the_calls_of_each_row(self, batcher_loop, gateways):
        model = fake(Failing, "failing", bad=[13.0], offset=1.0)
        repository = gateways(mt.Graph("g", outputs={"y": mt.model(model, mt.map(picky, X))}))
        asked = submit(
            batcher_loop,
            repository,
            ("g", {"x": [0.0]}),
            ("g", {"x": [1.0, 12.0, 99.0, 2.0], "explain": True}),
            ("g", {"x": [3.0]}),
        )
        assert [asked[0].values(), asked[2].values()] == [[2.0], [5.0]]
        assert asked[1].values() == [3.0, 4.0]
        reply = asked[1].reply
        assert reply.kept.tolist() == [0, 3]
        assert [failure.row for failure in reply.failures] == [1, 2]
        assert [[call.uses for call in calls] for calls in reply.calls] == [["failing"], ["failing"], [], ["failing"]]

    def test_no_rows_can_be_explained(self, batcher_loop, gateways):
        repository = gateways(graph_of(fake(Affine, "affine")))
        (asked,) = submit(batcher_loop, repository, ("g", {"x": [], "explain": True}))
        assert asked.values() == []

    def test_a_watched_request_is_told_of_each_call_when_it_is_done(self, batcher_loop, gateways):
        seen = []
        second = gated("watched", "second")
        repository = gateways(
            mt.Graph("g", outputs={"y": mt.model(second, mt.model(fake(Affine, "first", offset=1.0), X))})
        )
        with shut("watched") as gate:
            asked = submit(batcher_loop, repository, ("g", {"x": [1.0], "watch": seen.append}), ("g", {"x": [5.0]}))
            assert gate.entered.acquire(timeout=20)
            batcher_loop.until(lambda: [call.uses for call in seen] == ["first"])
        assert [each.values() for each in asked] == [[2.0], [6.0]]
        assert [call.uses for call in seen] == ["first", "second"]


class TestShared:
    def test_graphs_that_share_a_model_and_have_rows_at_once_make_common_calls(self, batcher_loop, gateways):
        def shared():
            return fake(Counting, "counting", log="shared", offset=1.0, settings={"placement": "inline"})

        plus = fake(Affine, "plus", offset=10.0)
        repository = gateways(
            graph_of(shared(), "one"), mt.Graph("two", outputs={"y": mt.model(plus, mt.model(shared(), X))})
        )
        batcher = repository.find("one").batcher
        assert batcher.rivals == [repository.find("two").batcher]
        (model,) = batcher.models
        calls["shared"].clear()
        before = model.stats.calls
        asked = submit(
            batcher_loop, repository, *[(name, {"x": [float(n)]}) for n in range(4) for name in ("one", "two")]
        )
        assert [each.values() for each in asked] == [[n + 1.0 + more] for n in range(4) for more in (0.0, 10.0)]
        assert sum(calls["shared"]) == 8
        assert model.stats.calls - before == len(calls["shared"]) <= 2
        assert [each.times for each in asked] == [1] * 8

    def test_rows_are_held_back_where_the_model_says_so(self, batcher_loop, gateways):
        model = gated("held", placement="inline", batch=Batching(max_rows=4, max_wait_ms=60_000))
        repository = gateways(graph_of(model), threads=1)
        gates["held"].played.clear()
        asked = [submit(batcher_loop, repository, ("g", {"x": [float(n)]}))[0] for n in range(1)]
        batcher_loop.until(
            lambda: repository._loader.calls.batcher(repository.find("g").batcher.models[0]).waiting_rows == 1
        )
        asked += submit(batcher_loop, repository, ("g.gate", {"x": [1.0, 2.0, 3.0]}))
        assert [each.values() for each in asked] == [[0.0], [1.0, 2.0, 3.0]]  # long before a minute is over
        assert gates["held"].played == [[0.0, 1.0, 2.0, 3.0]]

    def test_a_bad_row_in_a_common_call_fails_its_request_alone(self, batcher_loop, gateways):
        def shared():
            return fake(Failing, "failing", bad=[13.0], settings={"placement": "inline"})

        repository = gateways(graph_of(shared(), "one"), graph_of(shared(), "two"))
        asked = submit(
            batcher_loop, repository, ("one", {"x": [13.0, 1.0]}), ("two", {"x": [2.0]}), ("two", {"x": [13.0]})
        )
        assert [asked[0].values(), asked[1].values(), asked[2].values()] == [[1.0], [2.0], []]
        assert [len(each.reply.failures) for each in asked] == [1, 0, 1]


VALUES = st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, 13.0, 12.0, 99.0, 7.0, -2.5]), max_size=6)


def mixed(name="mixed"):
    """Functions, models and an ensemble, each of which fails on rows of its own."""
    failing = fake(Failing, "failing", bad=[13.0])
    other = fake(Failing, "other", bad=[3.0], scale=2.0)
    after = mt.map(picky, X)
    return mt.Graph(
        name,
        outputs={"y": mt.model(failing, after), "z": mt.model(other, X), "w": after},
    )


class TestAnyMix:
    @pytest.fixture(scope="class")
    @classmethod
    def mixes(cls, batcher_loop):
        from serving.batching.batcher_live import made

        repository = batcher_loop.run(made([mixed("mixed"), mixed("rival")], threads=2))
        yield repository
        batcher_loop.call(repository.close)

    @settings(max_examples=60)
    @given(
        asked=st.lists(
            st.tuples(st.sampled_from(["mixed", "rival"]), VALUES, st.integers(0, 2)), min_size=1, max_size=12
        ),
        way=st.sampled_from(["loop", "thread", "explain"]),
    )
    def test_each_request_gets_what_the_graph_gives_it_alone(self, batcher_loop, mixes, asked, way):
        for name in ("mixed", "rival"):
            batcher_loop.call(setattr, mixes.find(name).batcher.placement, "threaded", way == "thread")
        explained = {"explain": True} if way == "explain" else {}
        made = submit(
            batcher_loop, mixes, *[(name, {"x": x, "priority": priority, **explained}) for name, x, priority in asked]
        )
        for (name, x, _), each in zip(asked, made, strict=True):
            graph = mixes.find(name).graph
            columns = {"x": np.array(x, np.float32)}
            expected, failures = graph(columns, failures="return")
            reply = each.reply
            for output in ("y", "z", "w"):
                assert each.values(output) == np.asarray(expected[output]).tolist()
            key = [(f.row, f.node, f.message) for f in reply.failures]
            assert key == [(f.row, f.node, f.message) for f in failures]
            failed = {row for row, _, _ in key}
            kept = range(len(x)) if reply.kept is None else reply.kept.tolist()
            assert list(kept) == [row for row in range(len(x)) if row not in failed]
            assert each.times == 1
        batcher_loop.until(lambda: all(served.batcher.idle for served in mixes.things))
