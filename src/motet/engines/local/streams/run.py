"""The loop of a stream: a window is read, played and written out with its offsets, and then the next one, until it is to end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from typing import Any, Protocol

from motet.engines.local.options import BulkOptions
from motet.engines.local.report import RunReport, model_reports, node_reports, peak_memory_bytes
from motet.engines.local.streams.address import STARTS, TopicAddress, is_topic
from motet.engines.local.streams.client import check_topic
from motet.engines.local.streams.folder_output import PartsOutput
from motet.engines.local.streams.topic_output import TopicOutput
from motet.engines.local.streams.topic_reader import TopicReader, WindowBounds
from motet.engines.local.streams.window import Answers, WindowPlayer
from motet.errors import InputError, TooManyFailuresError
from motet.graph.check import CheckedGraph
from motet.io.places import STANDARD, place_of
from motet.metrics_log import log

__all__ = ["run_stream"]

TO_TOPIC, TO_FOLDER = WindowBounds(10_000, 0.1), WindowBounds(100_000, 60.0)
"""When a window ends by itself: topics are read as it comes, a folder should not have many small parts."""
SHOWN = 3
"""Failures that the report shows."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_KNOWN = (
    "failed", "batch_rows", "limit", "row_ids", "workers", "output_format", "keep", "drop", "max_failures", "format",
    "window_rows", "window_s", "until_end", "progress",
)  # fmt: skip
"""The options that a stream has; the others are of inputs that end."""


class WindowOutput(Protocol):
    """Where windows go."""

    @property
    def failed(self) -> str:
        """Where failures go."""

    def begin(self) -> None:
        """Be ready to write.

        Raises:
            MotetError: when it cannot be.
        """

    def resume(self, partition: int) -> int | None:
        """See `topic_reader.Resume`."""

    def write(self, messages: Any, played: Answers, reader: TopicReader) -> bool:
        """Write a window and commit its offsets; whether that was done, or its partitions are another process's by now.

        Raises:
            MotetError: when it cannot be.
        """

    def close(self) -> None:
        """Leave nothing under way."""


def run_stream(checked: CheckedGraph, source: Any, output: str, options: dict[str, Any]) -> RunReport:
    """Play the messages of a topic until a signal, a limit or its end.

    Args:
        checked: the graph.
        source: the address of the topic.
        output: that of another topic, or a folder.
        options: the fields of `BulkOptions`.

    Raises:
        InputError: when an address or an option cannot be used.
        RunError: when it could not go on; the same command again goes on.
    """
    address = TopicAddress.parse(source)
    address = replace(address, group=address.group or f"motet-{checked.graph.name}")
    chosen = BulkOptions.named(options)
    plain = BulkOptions()
    for each in fields(BulkOptions):
        given = getattr(chosen, each.name)
        if each.name not in _KNOWN and given and given != getattr(plain, each.name):
            raise InputError(f"{each.name} is for inputs that end", where=str(address), hint="leave it out")
    with ExitStack() as stack:
        return _Stream(checked, address, output, chosen, stack).play()


class _Stream:
    """A stream; what it opens is closed by a stack."""

    def __init__(
        self, checked: CheckedGraph, address: TopicAddress, output: str, options: BulkOptions, stack: ExitStack
    ) -> None:
        self._started = time.perf_counter()
        self._checked, self._address, self._path, self._options = checked, address, output, options
        self._window = WindowPlayer(checked, options)
        stack.callback(self._window.player.close)
        self._reader = TopicReader(address, self._resume, until_end=options.until_end)
        stack.callback(self._reader.close)
        partitions = len(check_topic(self._reader.consumer, address))
        self._output = _output(address, output, options, partitions)
        stack.callback(self._output.close)
        default = TO_TOPIC if is_topic(output) else TO_FOLDER
        seconds = default.seconds if options.window_s is None else options.window_s
        self._bounds = WindowBounds(options.window_rows or default.rows, seconds)
        self._rows = self._failed = 0
        self._first: list[str] = []
        self._reading = self._writing = 0.0

    def _resume(self, partition: int) -> int | None:
        return self._output.resume(partition)

    def play(self) -> RunReport:
        """Play windows until it is to end."""
        self._window.player.executor.load()
        self._output.begin()
        with _told_to_stop() as stopped:
            self._reader.begin()
            while not stopped() and self._left() and not (self._options.until_end and self._reader.at_end):
                self._play_window(stopped)
        return self._report()

    def _left(self) -> int:
        """Messages of the next window at most."""
        limit = self._options.limit
        return self._bounds.rows if limit is None else min(self._bounds.rows, limit - self._rows)

    def _play_window(self, stopped: Callable[[], bool]) -> None:
        began = time.perf_counter()
        messages = self._reader.read(replace(self._bounds, rows=self._left()), stopped)
        self._reading += time.perf_counter() - began
        if not messages:
            return
        played = self._window.play(messages)
        self._check_failures(len(messages), len(played.failures))
        began = time.perf_counter()
        if self._output.write(messages, played, self._reader):
            self._count(messages, played)
        else:
            self._reader.rejoin()
        self._writing += time.perf_counter() - began

    def _check_failures(self, rows: int, failed: int) -> None:
        allowed, rows, failed = self._options.allowed, self._rows + rows, self._failed + failed
        if allowed and allowed.exceeded(failed, rows, None):
            what = f"{failed:,} of {rows:,} messages failed, more than {allowed} are too many"
            hint = "the last window was not committed; mend what fails, and the same command goes on with it"
            raise TooManyFailuresError(what, where=str(self._address), hint=hint)

    def _count(self, messages: Any, played: Answers) -> None:
        self._rows += len(messages)
        self._failed += len(played.failures)
        for place, failure in played.failures.items():
            if len(self._first) == SHOWN:
                break
            at = messages[place]
            self._first.append(f"{at.topic()}[{at.partition()}] at {at.offset()}: {str(failure).partition(': ')[2]}")
        lag = self._reader.lag()
        log(self._rows, rows=self._rows, failed=self._failed, lag=lag)
        if self._options.progress:
            self._options.progress(self._rows, self._rows + lag if lag else None, self._failed)

    def _report(self) -> RunReport:
        seconds, host = time.perf_counter() - self._started, self._window.player.executor.host
        return RunReport(
            graph=self._checked.graph.name,
            source=str(self._address),
            output=self._path,
            failed_output=self._output.failed if self._failed else "",
            first_failures=tuple(self._first),
            rows=self._rows,
            answered=self._rows - self._failed,
            failed=self._failed,
            resumed_rows=0,
            seconds=seconds,
            rows_per_second=self._rows / seconds,
            seconds_reading=self._reading,
            seconds_writing=self._writing,
            seconds_waiting=0.0,
            batch_rows=self._window.job.batch_rows,
            workers=self._window.workers,
            peak_memory_bytes=peak_memory_bytes(),
            sizes_file="",
            nodes=node_reports(self._window.player.executor.stats),
            models=model_reports((model, model.stats) for model in host.known),
            left_out=self._checked.left_out,
        )


def _output(address: TopicAddress, output: str, options: BulkOptions, partitions: int) -> WindowOutput:
    failed = options.failed
    if is_topic(output) != is_topic(failed if failed is not None else output):
        what = "failures go where answers go: to a topic beside a topic, to a folder beside a folder"
        raise InputError(what, where="failed", hint="leave it out, or name another one of the kind of the output")
    if not is_topic(output):
        if output == STANDARD or not place_of(output).names_folder:
            raise InputError(
                "a stream is written to a topic or a folder", where=output, hint=f"{output.rstrip('/')}/ is a folder"
            )
        path = output.rstrip("/")
        form = options.output_format or "jsonl"
        return PartsOutput(path, failed or f"{path}.failed", address.topic, form)
    answers = TopicAddress.parse(output)
    failures = TopicAddress.parse(failed) if failed else replace(answers, topic=f"{answers.topic}.failed")
    if options.output_format not in (None, "jsonl"):
        raise InputError(f"messages are written as JSON; got {options.output_format!r}", where="output_format")
    if any((each.group, each.start) != ("", STARTS[0]) for each in (answers, failures)):
        raise InputError("group and start are of what is read", where=str(answers), hint="say them of the input")
    names = [(each.servers, each.topic) for each in (address, answers, failures)]
    if len(set(names)) < len(names):
        raise InputError("the topics of input, output and failures must differ", where=str(answers))
    if answers.servers != failures.servers or answers.servers != address.servers:
        hint = "mirror the topic, or write to a folder"
        raise InputError(
            "topics of one stream are of the same brokers, as their transaction is", where=output, hint=hint
        )
    return TopicOutput(answers, failures, address.group, partitions)


@contextmanager
def _told_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether a signal has come, while it is entered in the main thread; a second one ends the program as without us."""
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told.is_set
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: Any) -> None:
        told.set()
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield told.is_set
    finally:
        restore()
