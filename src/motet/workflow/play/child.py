"""What runs in a step's own process: `python -m motet.workflow.play.child JOB ANSWER`, two files by their numbers."""

from __future__ import annotations

import base64
import os
import pickle
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO

from motet.errors import InputError, MotetError
from motet.metrics_log import MetricsDestination, logging_to
from motet.system.lifeline import hold
from motet.tracebacks import ends_program
from motet.workflow.code.follow import follow
from motet.workflow.code.parts import PROGRAM
from motet.workflow.deferred import mapped
from motet.workflow.functions import place_of
from motet.workflow.load import load_module
from motet.workflow.memo.artifacts import Artifacts
from motet.workflow.memo.checkout import Checkout
from motet.workflow.memo.trees import pack, unpack
from motet.workflow.play.execute import refuse_result
from motet.workflow.play.pack import packed, paths_in, unpacked
from motet.workflow.play.process import ResultPart, StepJob
from motet.workflow.play.session import unpicklable
from motet.workflow.record.logs import Lenient
from motet.workflow.step import Step, StepContext, _running

__all__ = ["main"]


def main(job: BinaryIO, answer: BinaryIO) -> None:
    """Do a job, and write the answer: a line, and behind it a result that could not be kept."""
    hold()
    cancelled = threading.Event()

    def end(*_: Any) -> None:
        cancelled.set()
        sys.exit(143)

    signal.signal(signal.SIGTERM, end)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]  # as other logs are
    sys.stdout, sys.stderr = Lenient(sys.stdout), Lenient(sys.stderr)
    found = unpack(job.readline())
    sys.path[:] = [*found["path"], *(each for each in sys.path if each not in found["path"])]
    stage, data = "load", b""
    try:
        call = _prepared(job, found["module"], found["file"], cancelled)
        stage = "call"
        with logging_to(MetricsDestination(call.job.metrics, call.job.step), whole_process=True):
            result = call.step.call(call.values)
        refuse_result(result)
        stage = "keep"
        told, data = call.kept(result)
    except BaseException as error:
        if ends_program(error):
            raise
        told = {**_failure(error, found["file"]), "called": stage == "call" or isinstance(error, OSError)}
    answer.write(pack({**told, "size": len(data)}) + b"\n")
    answer.write(data)
    answer.flush()
    sys.stdout.flush()


@dataclass(frozen=True)
class _Call:
    """A step that is ready to be called.

    Attributes:
        step: the step.
        values: its arguments.
        job: what is to be done.
        artifacts: where its result goes.
        fault: why that is not kept; empty where it is.
    """

    step: Step[Any, Any]
    values: dict[str, Any]
    job: StepJob
    artifacts: Artifacts
    fault: str

    def kept(self, result: Any) -> tuple[dict[str, Any], bytes]:
        """The answer of a result, which is kept; where it cannot be, also the result itself.

        Raises:
            InputError: when it cannot be sent either.
        """
        try:
            kept, _ = self.artifacts.keep(result, self.job.checkout)
        except OSError as error:
            why = {"refused": error.strerror or str(error), "fault": ""}
            return {**why, "paths": paths_in(result)}, self._packed(result)
        except Exception as error:  # noqa: BLE001  pickling a user's value may raise anything
            data = self._packed(result)
            unpacked(data)  # what nobody could read fails here
            return {"refused": "", "fault": unpicklable(error), "paths": paths_in(result)}, data
        return {"kept": kept.to_json(), "refused": self.artifacts.refused, "fault": self.fault}, b""

    def _packed(self, result: Any) -> bytes:
        try:
            return packed(result)
        except Exception as error:
            raise InputError(
                f"the result of a step in a process of its own cannot be sent to the others: {error}",
                where=self.job.step,
                hint="return data, arrays, tables or paths",
            ) from error


def _prepared(source: BinaryIO, name: str, file: str, cancelled: threading.Event) -> _Call:
    module = load_module(name, file)
    job: StepJob = pickle.load(source)
    source.close()
    function: Any = attrgetter(job.name)(module)
    if isinstance(function, Step):
        function = function.function
    fault = _refuse_other(function, job)
    artifacts = Artifacts(Path(job.cache), job.spare)
    artifacts.refused = job.refused
    values = {name: _loaded(artifacts, value, job.checkout) for name, value in job.arguments.items()}
    _running.set(StepContext(job.run, job.step, job.attempt, job.resources, cancelled))
    return _Call(Step(function), values, job, artifacts, fault)


def _refuse_other(function: Any, job: StepJob) -> str:
    """Refuse functions that are not those that the key of the result was made of: their file has changed meanwhile.

    Returns:
        Why a result is not kept: values that they use are others here, as the program has set them after the import.
    """
    found = follow(function)
    other = [name for name, body in found.bodies.items() if job.bodies.get(name, body) != body]
    if other:
        raise InputError(
            f"the code of {', '.join(other[:3])} has changed since it was imported",
            where=place_of(function),
            hint="import it anew, as importlib.reload does, or begin the program again",
        )
    known = [name for name in {**job.parts, **found.parts} if not name.startswith(PROGRAM)]
    parts = [name for name in known if job.parts.get(name) != found.parts.get(name)]
    if not parts:
        return ""
    told = f"values that {', '.join(parts[:3])} uses are others in the step's own process than in the program"
    if job.only_same:
        raise InputError(told, where=place_of(function))
    return f"{told}, so its result is not kept; give them to it as arguments"


def _loaded(artifacts: Artifacts, value: Any, checkout: Checkout) -> Any:
    if isinstance(value, ResultPart):
        return artifacts.load(value.kept, keys=value.keys, checkout=checkout)
    return mapped(value, lambda each: _loaded(artifacts, each, checkout))


def _failure(error: BaseException, file: str) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)
    own = isinstance(error, MotetError)  # which says itself where
    inside = [frame for frame in frames if frame.filename == file] or ([] if own else list(frames))
    try:
        cause = base64.b64encode(pickle.dumps(error)).decode()
    except Exception:  # noqa: BLE001  pickling a user's error may raise anything
        cause = ""
    text = "".join(traceback.format_exception(error))
    print(text, file=sys.stderr)  # noqa: T201  its standard error is the step's log
    return {
        "error": str(error) if own and not inside else f"{type(error).__name__}: {error}",
        "place": f"{inside[-1].name} ({inside[-1].filename}:{inside[-1].lineno})" if inside else "",
        "traceback": text,
        "cause": cause,
    }


if __name__ == "__main__":
    from motet.workflow.play.child import main as own_main

    own_main(os.fdopen(int(sys.argv[1]), "rb"), os.fdopen(int(sys.argv[2]), "wb"))
