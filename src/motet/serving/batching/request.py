"""What a protocol hands to the repository, and what it gets back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from motet.batch import Column, Indices
from motet.errors import Failure, MotetError
from motet.runtime.executor import Call
from motet.runtime.pieces import PieceBuffer

__all__ = ["ANONYMOUS", "DEFAULT_PRIORITY", "OWNER", "BatchCodec", "Identity", "Reply", "Request"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks.

    Attributes:
        name: of the key, the token's subject or the client's certificate; the address for anonymous callers; `owner`.
        kind: `anonymous`, `key`, `token`, `certificate`, or `owner` for the user that runs the server.
    """

    name: str
    kind: str = "anonymous"


ANONYMOUS = Identity("anonymous")
OWNER = Identity("owner", "owner")
DEFAULT_PRIORITY = 100
"""Of requests that say none: there is room before it and behind it."""


@dataclass(slots=True)
class Reply:
    """The answer to a request: some rows of a batch that was played.

    Attributes:
        columns: the outputs of the whole batch by name, of the rows that were answered.
        first: where the request's rows begin in them.
        end: where they end.
        kept: positions in the request of the rows that were answered; None when all were.
        failures: why the others were not, `row` counted from the request's first row.
        batch_rows: how many rows were played together.
        queue_s: seconds that the request waited.
        compute_s: seconds that its batch took.
        calls: for each row the calls of models, in order; only where the request asked to be explained.
        feedback_ids: for each row that was answered the id that feedback names, empty for a row that was in no experiment.
    """

    columns: Mapping[str, Column]
    first: int
    end: int
    kept: Indices | None
    failures: Sequence[Failure]
    batch_rows: int
    queue_s: float
    compute_s: float
    calls: Sequence[Sequence[Call]] = field(default_factory=tuple)
    feedback_ids: Sequence[str] = ()

    @property
    def feedback_id(self) -> str:
        """The ids of all rows that were answered, joined with commas; empty where there is none."""
        return ",".join(self.feedback_ids) if any(self.feedback_ids) else ""


class BatchCodec(Protocol):
    """Reads and answers, at one go, requests that have this very object as their `batch_codec`."""

    def columns(self, requests: Sequence[Request], /) -> dict[str, Column]:
        """The inputs of all their rows."""
        ...

    def answer(self, requests: Sequence[Request], columns: Mapping[str, Column], /) -> None:
        """Answer each that is not settled; every one is settled then.

        Args:
            requests: those whose inputs were read.
            columns: the outputs of all their rows.
        """
        ...


class Request(ABC):
    """Rows for one served graph. A protocol makes one, hands it to `ModelRepository.submit`, and is called back once.

    All of it happens in the thread of the event loop. Subclasses implement `answered` and `failed`, which must not raise.

    Attributes:
        columns: by the names of the graph's inputs, held as their types want them (`motet.batch.hold_as`).
        rows: how many.
        id: the caller's name for it, empty where there is none.
        deadline: when its answer is of no use any more, on the clock of the event loop; None for never.
        priority: 1 goes first, then 2, and so on; 0, where nothing is said, is `DEFAULT_PRIORITY`.
        identity: who asks.
        explain: whether the reply is to carry the calls of models; such a request is played row by row.
        watch: is given every call of a model when it is done, in the event loop; such a request is played alone.
        pieces: is given the texts of the answer piece by piece, while they are written, each row by its place; such a request is
            played alone, row by row. None where nobody listens.
        cancelled: set by the protocol when nobody waits for the answer any more; seen before rows cost compute.
        arrived: when it was submitted, on the clock `time.monotonic`, which is that of the event loop; set by the repository.
        batch_codec: reads and answers it with others like it; None where it is read and answered alone. Such a request has
            neither a priority, nor is it explained or watched.
        kept_as: what its answer is kept under, to be given again; set by the repository.
        settled: whether it was called back; set by the repository.
    """

    __slots__ = (
        "arrived", "batch_codec", "cancelled", "columns", "deadline", "explain", "id", "identity", "kept_as", "pieces", "priority", "rows",
        "settled", "watch",
    )  # fmt: skip

    def __init__(
        self,
        columns: Mapping[str, Column],
        rows: int,
        *,
        id: str = "",
        deadline: float | None = None,
        priority: int = 0,
        identity: Identity = ANONYMOUS,
        explain: bool = False,
        watch: Callable[[Call], None] | None = None,
    ) -> None:
        self.columns, self.rows, self.id = columns, rows, id
        self.deadline, self.priority, self.identity, self.explain = deadline, priority, identity, explain
        self.watch = watch
        self.pieces: PieceBuffer | None = None
        self.cancelled = self.settled = False
        self.arrived = 0.0
        self.kept_as = b""
        self.batch_codec: BatchCodec | None = None

    @property
    def is_alone(self) -> bool:
        """Whether it shares a batch with no other one: somebody looks on, or listens."""
        return self.explain or self.watch is not None or self.pieces is not None

    @abstractmethod
    def answered(self, reply: Reply) -> None:
        """Take the answer; some rows may have failed."""

    @abstractmethod
    def failed(self, error: MotetError) -> None:
        """Take the reason why there is none: `error.status` is the HTTP status."""
