"""One tree of errors.

    MotetError
    ├── GraphError (ValueError)        a graph that cannot be right; found when it is built
    │   ├── UnknownNameError           a name that nothing has; lists the known ones
    │   ├── CycleError                 nodes that wait for each other; prints the loop
    │   └── TypeMismatchError          columns that do not fit; prints both types
    ├── InputError (ValueError)        data or arguments that cannot be used
    │   └── OutputExistsError          an output that would be overwritten
    ├── MissingExtraError (ImportError) a package that is not installed; names the command that installs it
    ├── ModelError (RuntimeError)      a model that cannot be loaded or called
    │   ├── ModelLoadError
    │   │   └── ModelUnavailableError  503: a model that cannot be called now: its address does not answer, no replica is ready
    │   │       └── ReplicaLostError   503: a replica that died, got stuck or broke its protocol
    │   ├── DeadlyRowsError            rows of which one replica after another died
    │   ├── AnswerError                a model or function that returned what it must not: other rows, another type
    │   └── ModelFailedError           a model or function that fails on every row it is given
    ├── RowErrors (RuntimeError)       some rows failed; carries the rows that did not
    ├── RequestError (RuntimeError)    a request that a server did not answer
    │   ├── NotFoundError              404: a model, version or path that is not served
    │   ├── UnauthorizedError          401: no credential, or one that does not hold
    │   ├── ForbiddenError             403: a credential that does not allow this
    │   ├── TooLargeError              413: more bytes or rows than a request may have
    │   ├── TooManyRequestsError       429: more than this caller may ask; says when to try again
    │   ├── OverloadedError            503: more than the server can take now; says when to try again
    │   ├── NotReadyError              503: not loaded, or about to stop
    │   ├── DeadlineError              504: not answered in time
    │   └── CancelledError             499: the caller is gone
    ├── TrainingError (RuntimeError)   a training that could not go on
    ├── WorkflowError (RuntimeError)   a workflow that could not go on
    │   ├── StepError                  a step that failed; carries its error
    │   └── OverlapError               a run that does not begin, as another one of the same workflow goes
    ├── StoreError (RuntimeError)      503: a store that cannot be reached, or in which something is not as it was written
    │   └── NotPublishedError          404: a model, version or alias that the store does not have
    └── RunError (RuntimeError)        a bulk run that could not go on
        ├── DataError (InputError)     data that it could not go on with, though no argument is wrong
        ├── TooManyFailuresError       more rows failed than `--max-failures` allows
        └── ResumeError                a run that may not go on where it stopped

Every message says what is wrong, where, what was got, and how to mend it. A class carries the HTTP status that it
answers with, whether trying again can help, and a hint. Errors can be copied and pickled, with their attributes, notes and
causes; a cause that cannot be pickled, or not where it arrives, becomes a `CauseText`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from motet.portable import CauseText, Portable, Staying

__all__ = [
    "AnswerError",
    "CancelledError",
    "CauseText",
    "CycleError",
    "DataError",
    "DeadlineError",
    "DeadlyRowsError",
    "Failure",
    "ForbiddenError",
    "GraphError",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "ModelFailedError",
    "ModelLoadError",
    "ModelUnavailableError",
    "MotetError",
    "NotFoundError",
    "NotPublishedError",
    "NotReadyError",
    "OutputExistsError",
    "OverlapError",
    "OverloadedError",
    "ReplicaLostError",
    "RequestError",
    "ResumeError",
    "RowErrors",
    "RunError",
    "StepError",
    "StoreError",
    "TooLargeError",
    "TooManyFailuresError",
    "TooManyRequestsError",
    "TrainingError",
    "TypeMismatchError",
    "UnauthorizedError",
    "UnknownNameError",
    "WorkflowError",
    "cut",
    "known_names",
    "told_file",
]


class MotetError(Portable):
    """The root of the tree.

    Args:
        what: what is wrong, in one sentence without a full stop.
        where: the node, file, column or argument it was found in.
        hint: how to mend it.

    Attributes:
        status: of the answer over HTTP.
        retryable: whether trying again can help.
        retry_after_s: when trying again may help, in seconds; None where that is not known.
    """

    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    retry_after_s: float | None = None

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(what, where, hint)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  hint: {self.hint}" if self.hint else text

    def located(self, where: str) -> MotetError:
        """The same error, found inside `where`; an error that has its place keeps it behind the new one."""
        self.where = f"{where}: {self.where}" if self.where else where
        self.args = (self.what, self.where, self.hint)
        return self


class GraphError(MotetError, ValueError):
    """A graph that cannot be right."""

    status = 400


class UnknownNameError(GraphError):
    """A name that nothing has.

    Args:
        kind: what the name should be the name of, for example `column`.
        name: the name that was got.
        known: the names that exist.
        where: the node or file it was found in.
        synonyms: what others call those that exist.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str],
        *,
        where: str = "",
        hint: str = "",
        synonyms: Mapping[str, str] | None = None,
    ) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        told = known_names(name, self.known, synonyms=synonyms)
        super().__init__(f"unknown {kind} {name!r}; {told}", where=where, hint=hint)


class CycleError(GraphError):
    """Nodes, or steps, that wait for each other.

    Args:
        loop: their names, the first one again at the end.
        where: the file it was found in.
        noun: what they are: `nodes`, `steps`, `workflows`.
    """

    def __init__(self, loop: Sequence[str], *, where: str = "", noun: str = "nodes") -> None:
        self.loop = tuple(loop)
        hint = "a node may only take columns of nodes that do not need its own"
        super().__init__(
            f"{noun} wait for each other in a cycle: {' -> '.join(loop)}",
            where=where,
            hint=hint if noun == "nodes" else "let one of them go without the other",
        )


class TypeMismatchError(GraphError):
    """Columns that do not fit."""


class InputError(MotetError, ValueError):
    """Data or arguments that cannot be used."""

    status = 400


class OutputExistsError(InputError):
    """An output that would be overwritten."""

    status = 409


class MissingExtraError(MotetError, ImportError):
    """A package that is not installed.

    Args:
        package: the package that cannot be imported.
        extra: the extra of motet that brings it.
        needed_for: what needs it.
    """

    status = 501

    def __init__(self, package: str, extra: str, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs {package}, which is not installed", hint=f"pip install 'motet[{extra}]'")


class ModelError(MotetError, RuntimeError):
    """A model that cannot be loaded or called."""


class ModelLoadError(ModelError):
    """A model that cannot be loaded."""

    status = 503


class ModelUnavailableError(ModelLoadError):
    """A model that cannot be called now; no row is at fault.

    Its address cannot be reached, is too busy or does not answer in time, or none of its replicas is ready.
    """

    retryable = True
    retry_after_s = 1.0


class ReplicaLostError(ModelUnavailableError):
    """A replica that died, got stuck past its time or broke its protocol; no row is at fault, another one may answer."""


class DeadlyRowsError(ModelError):
    """Rows of which one replica after another died, while others were answered; the rows at fault are found."""


class AnswerError(ModelError):
    """A model or a function that returned what it must not: more or fewer rows, other columns, another type."""


class ModelFailedError(ModelError):
    """A model or a function that fails on every row it is given.

    Attributes:
        looked: whether rows from elsewhere have been tried, too: a bulk run does so before it takes its word.
        spared: whether the node can do without it.
    """

    looked = True
    spared = False


@dataclass(frozen=True, slots=True)
class Failure:
    """One row that could not be answered.

    Attributes:
        row: the row's id, its position in the source, from 0.
        node: the node it failed in.
        model: the model or function that failed, empty where the node itself did.
        version: the version of that model, empty where it has none.
        error: the class of the exception.
        message: what it said.
    """

    row: int
    node: str
    model: str
    version: str
    error: str
    message: str

    def __str__(self) -> str:
        inside = f" in {self.model}" if self.model else ""
        return f"row {self.row}: node {self.node}{inside}: {self.error}: {self.message}"


class RowErrors(MotetError, RuntimeError):
    """Some rows failed.

    Attributes:
        failures: one `Failure` for each row that failed, in the order of the rows.
        columns: the answers of the other rows, arrays whose first axis is the row.
        ids: the positions of those rows in what was given.
        exceptions: what was raised for the rows that failed first, by row, with tracebacks, where it was raised in a call
            in this process; the first of them is the cause (`__cause__`). They do not travel to other processes.
    """

    status = 422

    def __init__(
        self,
        failures: Sequence[Failure],
        columns: Mapping[str, Any],
        ids: Sequence[int],
        exceptions: Mapping[int, BaseException] | None = None,
    ) -> None:
        self.failures, self.columns, self.ids = tuple(failures), columns, ids
        self.exceptions: Mapping[int, BaseException] = Staying(exceptions or {})
        first = "\n".join(f"  {failure}" for failure in self.failures[:5])
        more = f"\n  and {len(self.failures) - 5} more" if len(self.failures) > 5 else ""
        super().__init__(
            f"{len(self.failures)} of {len(self.failures) + len(ids)} rows failed\n{first}{more}",
            hint="the answers of the other rows are in .columns and their positions in .ids; "
            "failures='return' gives both without raising",
        )


class RunError(MotetError, RuntimeError):
    """A bulk run that could not go on."""


class TrainingError(MotetError, RuntimeError):
    """A training that could not go on."""


class WorkflowError(MotetError, RuntimeError):
    """A workflow that could not go on."""


class StepError(WorkflowError):
    """A step that failed. Its own error is the cause (`__cause__`), where it failed in this process."""


class OverlapError(WorkflowError):
    """A run that does not begin, as another one of the same workflow goes."""


class StoreError(MotetError, RuntimeError):
    """A store that cannot be reached, or in which something is not as it was written."""

    status = 503
    retryable = True


class NotPublishedError(StoreError):
    """A model, version or alias that the store does not have."""

    status = 404
    retryable = False


class DataError(RunError, InputError):
    """Data that a run could not go on with: what is read no further, has changed meanwhile, or cannot be written."""


class TooManyFailuresError(RunError):
    """More rows failed than the run allows."""


class ResumeError(RunError):
    """A run that may not go on where it stopped."""

    status = 409


def told_file(name: str) -> str:
    """A file of code as people know it: where it is a cell of a notebook, `In[4]`."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    told = getattr(getattr(shell, "compile", None), "format_code_name", lambda name: None)(name)
    return told[1] if told else name


def cut(text: str, length: int = 80) -> str:
    """A text for a message: of at most so many letters, with dots at the end of one that is longer."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def known_names(name: str, known: Sequence[str], limit: int = 12, synonyms: Mapping[str, str] | None = None) -> str:
    """Say which names exist, the nearest one first: `did you mean 'x'? known: x, y`; `synonyms` are what others call them."""
    if not known:
        return "there are none"
    import difflib  # for those alone that say an unknown name

    meant = (synonyms or {}).get(name.lower())
    near = [meant] if meant is not None else difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    listed = ", ".join(known[:limit]) + (f" and {len(known) - limit} more" if len(known) > limit else "")
    return (f"did you mean {near[0]!r}? " if near else "") + f"known: {listed}"


class RequestError(MotetError, RuntimeError):
    """A request that a server did not answer.

    Args:
        what: what is wrong.
        retry_after_s: when trying again may help, in seconds; None where it does not.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "", retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(what, where=where, hint=hint)


class NotFoundError(RequestError):
    """A model, a version or a path that is not served."""

    status = 404


class UnauthorizedError(RequestError):
    """No credential, or one that does not hold."""

    status = 401


class ForbiddenError(RequestError):
    """A credential that does not allow what was asked."""

    status = 403


class TooLargeError(RequestError):
    """More bytes or rows than a request may have."""

    status = 413


class TooManyRequestsError(RequestError):
    """More than this caller may ask now."""

    status = 429
    retryable = True


class OverloadedError(RequestError):
    """More than the server can take now."""

    status = 503
    retryable = True


class NotReadyError(RequestError):
    """What is asked for is not loaded, or the server is about to stop."""

    status = 503
    retryable = True


class DeadlineError(RequestError):
    """Not answered in time."""

    status = 504


class CancelledError(RequestError):
    """The caller is gone."""

    status = 499
