"""Spark: a split is a partition of one element. Spark plays those of executors that die again."""

from __future__ import annotations

import os
import re
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from motet.engines.spark.java import begin_java, told_by_java
from motet.engines.spark.resources import hints_of, profile_of
from motet.engines.splits.engine import EngineOptions, SplitEngine, imported, needed
from motet.errors import InputError
from motet.runtime.resources.need import Need
from motet.system.signals import kept_signals

__all__ = ["SparkEngine"]

T = TypeVar("T")
R = TypeVar("R")

_QUIET = {"spark.ui.showConsoleProgress": "false", "spark.log.level": "OFF"}
"""What is wrong is said by Motet; `--conf spark.log.level=WARN` has Spark say it, too."""
LOOK_S = 0.1
"""How often the driver looks for what came back."""


class SparkEngine(SplitEngine):
    """Runs splits as a job of Spark: in the session that the program has, or in one that is begun, or that of a server.

    Args:
        arguments: `--master URL` and `--conf KEY=VALUE` (may be repeated), where the program has no session; `--split-bytes`.
    """

    name = "spark"

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self._spark = imported("pyspark", self.name)
        options = EngineOptions(self.name)
        options.add_argument("--master", type=_master)
        options.add_argument("--conf", action="append", default=[], type=_pair)
        self._options = options.parse_args(arguments)
        self._remote: Any = None
        self.split_bytes, self.one_stage = self._options.split_bytes, self._options.one_stage

    @contextmanager
    def connected(self, needs: Sequence[Need] = ()) -> Iterator[None]:
        """A session: that of the program, or one that is begun.

        Raises:
            InputError: when options say what the program's own has decided, there is no server where they say, or executors have
                less than a task asks for.
        """
        with ExitStack() as stack:
            self._remote = self._server(stack)
            stack.callback(setattr, self, "_remote", None)
            if self._remote is None:
                begun = self._spark.SparkContext._active_spark_context is None
                self._check_free(begun)
                context = self._context()
                if begun:
                    stack.callback(context.stop)
            setting = self._setting()
            for need in needs:
                profile_of(setting, need)
            yield

    def _server(self, stack: ExitStack) -> Any:
        """The session of Spark Connect that is the program's, or that options or the environment name; None without one."""
        from motet.engines.spark import connect  # needs Spark

        if (own := connect.session_of_program()) is not None:
            self._check_free(begun=False)
            return own
        begun = self._spark.SparkContext._active_spark_context is None
        url = self._options.master or (os.environ.get("SPARK_REMOTE", "") if begun else "")
        if not url.startswith(connect.SCHEME):
            return None
        self._check_free(begun)
        return stack.enter_context(connect.session_at(url, self._options.conf))

    def _check_free(self, begun: bool) -> None:
        options = self._options
        if not begun and (options.master or options.conf):
            what = "--master and --conf are not used: the program has a session already"
            raise InputError(what, where="engine spark", hint="leave them out, or stop that session first")

    def hints(self, need: Need) -> Mapping[str, Any]:
        """See `SplitEngine.hints`: of a resource profile."""
        return hints_of(need)

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """See `SplitEngine.map`."""
        if self._remote is None:
            return self._mapped(self._context(), function, items)
        from motet.engines.spark.connect import mapped

        return mapped(self._remote, function, items, profile_of(self._setting(), needed(function)))

    def _setting(self) -> Callable[[str, str], Any]:
        found: Any = self._context().getConf() if self._remote is None else self._remote.conf
        get: Callable[[str, str], Any] = found.get
        return get

    def _context(self) -> Any:
        """The context that is there, or one that is begun, whose workers have this Python."""
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        conf = self._spark.SparkConf().setAppName("motet").setAll(_QUIET.items())
        if self._options.master:
            conf.setMaster(self._options.master)
        if path := os.environ.get("PYTHONPATH"):  # without one here that of an executor's machine counts
            conf.set("spark.executorEnv.PYTHONPATH", path)
        conf.setAll(self._options.conf)
        with kept_signals(), told_by_java():
            begin_java(conf, quiet=conf.get("spark.log.level") == "OFF")
            return self._spark.SparkContext.getOrCreate(conf)

    def _mapped(self, context: Any, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Results come back through an accumulator, as each task ends, and not when all have."""
        accumulators = imported("pyspark.accumulators", self.name)
        results = context.accumulator([], accumulators.AddingAccumulatorParam([]))
        job, group = _Job(context, function, items, results), f"motet-{id(results)}"
        thread = self._spark.InheritableThread(target=job.run, args=(group,))
        thread.start()
        given = 0
        try:
            while True:
                alive = thread.is_alive()
                found = list(results.value)
                yield from found[given:]
                given = len(found)
                if not alive:
                    break
                thread.join(LOOK_S)
        finally:
            while thread.is_alive():  # it may not have begun the job yet
                context.cancelJobGroup(group)
                thread.join(LOOK_S)
            # or it would hold all results until the session ends
            accumulators._accumulatorRegistry.pop(results.aid, None)
        if job.error is not None:
            raise job.error


class _Job:
    """A job that a thread waits for."""

    def __init__(self, context: Any, function: Callable[[T], R], items: Sequence[T], results: Any) -> None:
        self._context, self._items, self._need = context, items, needed(function)
        self._play = lambda item: results.add([function(item)])
        self.error: Exception | None = None

    def run(self, group: str) -> None:
        """Play all items."""
        try:
            self._context.setJobGroup(group, "motet", interruptOnCancel=True)
            rows = self._context.parallelize(self._items, len(self._items))
            profile = profile_of(self._context.getConf().get, self._need)
            with told_by_java("--resume goes on with what is finished"):
                (rows if profile is None else rows.withResources(profile)).foreach(self._play)
        except Exception as error:  # noqa: BLE001 (told by whoever waits for it)
            self.error = error


_MASTERS = r"local(\[(\d+|\*)(, *\d+)?\])?|local-cluster\[\d+, *\d+, *\d+\]|yarn|spark://.+|k8s://.+|sc://.+"


def _master(text: str) -> str:
    if not re.fullmatch(_MASTERS, text):
        raise ArgumentTypeError(
            f"must be spark://HOST:PORT, k8s://URL, yarn, local, local[CORES] or sc://HOST:PORT; got {text!r}"
        )
    return text


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ArgumentTypeError(f"must be KEY=VALUE; got {text!r}")
    if not key.startswith("spark."):
        raise ArgumentTypeError(f"must be a setting of Spark, spark.NAME=VALUE; got {text!r}")
    if key == "spark.master":
        _master(value)
    return key, value
