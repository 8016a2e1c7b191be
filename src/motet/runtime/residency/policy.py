"""Many models, few places: which are loaded, who waits for which, and what to load and to let go next.

Nothing here loads anything, waits, or reads a clock: it is told what happened and when, and says what to do. So the
server, bulk runs and simulations all run this code.

- Rows of a model that is loaded never wait. The others wait until their model has a place.
- Of the models that rows wait for, the one with the most rows is loaded next. Rows that have waited longer than
  `max_wait_s` go before all others, in the order they came, so that no key starves.
- The model that goes is idle, and the one for which the fewest rows came lately; where that one is in use it is waited for,
  rather than to let one go that is asked much more. Where rows have waited for `max_wait_s`, it gets no new rows until it is idle.

Counting rows with a half-life, rather than asking who was used last, keeps a model that is asked all the time while
many that are asked once go through the other places. With rows that wait for company it comes close to what a plan
that knows the future needs (Belady 1966, doi:10.1147/sj.52.0078); `benchmarks/keys.py` measures how close.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import takewhile
from operator import attrgetter
from typing import Any, Literal, NamedTuple

__all__ = ["ResidencyGroup", "ResidencyPolicy", "ResidentModel", "Swap", "Waiter"]

HALF_LIFE = 4096
"""Calls after which what was asked for counts half."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""How long a model that could not be loaded is left alone; twice as long each time."""
WORTH_WAITING = 4.0
"""A model that is idle does not go where one for which so many times fewer rows come will be idle in a moment."""
State = Literal["out", "loading", "in", "leaving"]
Key = Hashable


@dataclass(eq=False)
class ResidencyGroup:
    """Models that share places.

    Attributes:
        name: what they are of, for messages.
        max_loaded: how many may be loaded at the same time; None for any number.
        memory_bytes: how much memory they may take together; 0 for any.
        max_wait_s: how long rows may be passed over by rows of models that are loaded.
        members: the keys of its models.
        inside: those that take a place now.
    """

    name: str
    max_loaded: int | None = None
    memory_bytes: int = 0
    max_wait_s: float = 1.0
    members: set[Key] = field(default_factory=set)
    inside: set[ResidentModel] = field(default_factory=set)


@dataclass(eq=False)
class Waiter:
    """Rows that wait for a model.

    Attributes:
        key: of the model.
        rows: how many.
        since: when they began to wait.
        told: is given the model, or why there is none.
    """

    key: Key
    rows: int
    since: float
    told: Future[Any]


@dataclass(eq=False)
class ResidentModel:
    """A model, loaded or not.

    Attributes:
        key: what it is known by.
        groups: whose places it takes.
        resident: whether it stays once it is loaded.
        memory_bytes: what it takes, as far as is known.
        state: `out`, `loading`, `in` (loaded) or `leaving` (its memory is being given back).
        users: how many calls have it now.
        closing: whether it gets no new rows, because others have waited too long for its place.
        waiting: rows that wait for it, the oldest first.
        loads: how many times it was loaded.
        used_at: when it was asked for last.
        max_wait_s: how long its rows may be passed over.
        error: why it could not be loaded the last time; None where it could.
        retry_at: when loading it is tried again after that.
    """

    key: Key
    groups: tuple[ResidencyGroup, ...]
    resident: bool = False
    memory_bytes: int = 0
    state: State = "out"
    users: int = 0
    closing: bool = False
    waiting: deque[Waiter] = field(default_factory=deque)
    waiting_rows: int = 0
    loads: int = 0
    used_at: float = 0.0
    max_wait_s: float = 1.0
    error: BaseException | None = None
    retry_at: float = 0.0
    pause_s: float = 0.0
    demand: float = 0.0
    counted_at: int = 0


class Swap(NamedTuple):
    """What to do next: let some models go, then load one; `load` is None where only memory is given back."""

    load: Key | None
    drop: tuple[Key, ...] = ()


class ResidencyPolicy:
    """Places for models. One thread at a time may use it.

    Args:
        loads_at_once: how many models may be loaded at the same time.
    """

    def __init__(self, loads_at_once: int = 1) -> None:
        self.entries: dict[Key, ResidentModel] = {}
        self._loads_at_once = loads_at_once
        self._calls = self._working = 0
        self._wanted: dict[Key, ResidentModel] = {}  # those whose rows began to wait first stand first
        self._closing: set[Key] = set()

    def add(self, key: Key, group: ResidencyGroup, *, resident: bool = False, memory_bytes: int = 0) -> ResidentModel:
        """Make a model known, which takes a place of a group.

        Args:
            key: what it is known by.
            group: whose place it takes, beside those of the groups that it is in already.
            resident: whether it stays once it is loaded.
            memory_bytes: what it is expected to take.
        """
        entry = self.entries.get(key)
        if entry is None:
            entry = self.entries[key] = ResidentModel(key, (), memory_bytes=memory_bytes)
        if group not in entry.groups:
            entry.groups = (*entry.groups, group)
        entry.max_wait_s = min(each.max_wait_s for each in entry.groups)
        group.members.add(key)
        entry.resident = entry.resident or resident
        return entry

    def ask(self, key: Key, rows: int, now: float) -> bool | BaseException:
        """Rows come for a model.

        Returns:
            True where it is loaded and theirs until `give_back`; False where they have to `wait`; an error where it could
            not be loaded a moment ago, and is not tried again yet.
        """
        entry = self.entries[key]
        self._calls += 1
        entry.demand = self._demand(entry) + rows
        entry.counted_at, entry.used_at = self._calls, now
        if entry.state == "in" and not entry.closing:
            entry.users += 1
            return True
        if entry.error is not None and entry.state == "out" and now < entry.retry_at:
            return entry.error
        return False

    def wait(self, waiter: Waiter) -> None:
        """Rows wait for their model; they are told in `waiter.told`."""
        entry = self.entries[waiter.key]
        entry.waiting.append(waiter)
        entry.waiting_rows += waiter.rows
        self._wanted[waiter.key] = entry

    def give_back(self, key: Key) -> None:
        """A call that had a model is over."""
        self.entries[key].users -= 1

    @property
    def wanted(self) -> bool:
        """Whether rows wait for a model."""
        return bool(self._wanted)

    def next(self, now: float, models: Mapping[Key, Any]) -> Swap | None:
        """What to do next; None where nothing can be done now. To be followed by `done`, or `failed`.

        Args:
            now: the time.
            models: those that are loaded, for rows that need not wait any longer.
        """
        busy = self._working >= self._loads_at_once
        if busy and not self._closing:
            return None
        late = list(takewhile(lambda each: now - each.waiting[0].since >= each.max_wait_s, self._wanted.values()))
        late = [each for each in late if self._is_wanted(each)]
        if self._closing and all(each.state == "in" for each in late):
            self._reopen(models)
        if busy:
            return None
        blocked: set[tuple[ResidencyGroup, ...]] = set()
        while (entry := self._most_wanted(late, blocked)) is not None:
            victims = self._victims(entry, late=entry in late)
            if victims is None:
                blocked.add(entry.groups)
                continue
            for victim in victims:
                self._let_go(victim)
            self._set(entry, "loading")
            self._working += 1
            return Swap(entry.key, tuple(victim.key for victim in victims))
        return None

    def _most_wanted(
        self, late: Sequence[ResidentModel], blocked: Set[tuple[ResidencyGroup, ...]]
    ) -> ResidentModel | None:
        """The model to load next: the one whose rows are late longest, else the one that most rows wait for."""
        for each in late:
            if each.state == "out" and each.groups not in blocked and self._is_wanted(each):
                return each
        while True:
            left = (e for e in self._wanted.values() if e.state == "out" and e.groups not in blocked)
            found = max(left, key=attrgetter("waiting_rows"), default=None)
            if found is None or self._is_wanted(found):
                return found

    def drop(self, keys: Iterable[Key]) -> Swap | None:
        """Let those of some models go that are loaded and idle."""
        found = [entry for entry in map(self.entries.__getitem__, keys) if entry.state == "in" and not entry.users]
        for entry in found:
            self._let_go(entry)
        if not found:
            return None
        self._working += 1
        return Swap(None, tuple(entry.key for entry in found))

    def dropped(self, keys: Sequence[Key]) -> None:
        """The memory of models was given back."""
        for key in keys:
            self._set(self.entries[key], "out")

    def done(self, key: Key | None, memory_bytes: int = 0) -> list[Waiter]:
        """A swap is over; says who waited for the model that was loaded, each of whom has it until `give_back`."""
        self._working -= 1
        if key is None:
            return []
        entry = self.entries[key]
        self._set(entry, "in")
        entry.error, entry.pause_s = None, 0.0
        entry.loads += 1
        entry.memory_bytes = memory_bytes or entry.memory_bytes
        return self._grant(entry)

    def failed(self, key: Key, error: BaseException, now: float) -> list[Waiter]:
        """A model could not be loaded; says who waited for it."""
        self._working -= 1
        entry = self.entries[key]
        self._set(entry, "out")
        entry.error = error
        entry.pause_s = min(LONGEST_PAUSE_S, 2 * entry.pause_s or FIRST_PAUSE_S)
        entry.retry_at = now + entry.pause_s
        return self._take_waiting(entry)

    def forget(self, key: Key) -> None:
        """A model that is `out` and that nobody waits for is not known any more."""
        entry = self.entries.pop(key)
        self._wanted.pop(key, None)
        for group in entry.groups:
            group.members.discard(key)

    def _demand(self, entry: ResidentModel) -> float:
        return float(entry.demand * 0.5 ** ((self._calls - entry.counted_at) / HALF_LIFE))

    def _is_wanted(self, entry: ResidentModel) -> bool:
        """Whether anybody still waits for a model."""
        if any(waiter.told.cancelled() for waiter in entry.waiting):
            entry.waiting = deque(waiter for waiter in entry.waiting if not waiter.told.cancelled())
            entry.waiting_rows = sum(waiter.rows for waiter in entry.waiting)
        if not entry.waiting:
            del self._wanted[entry.key]
        return bool(entry.waiting)

    def _victims(self, entry: ResidentModel, *, late: bool) -> list[ResidentModel] | None:
        """Whom to let go so that a model has a place, and room; None where that is not possible now."""
        victims: list[ResidentModel] = []
        for group in entry.groups:
            found = self._victims_of(group, entry, victims, late=late)
            if found is None:
                return None
            victims += found
        return victims

    def _victims_of(
        self, group: ResidencyGroup, entry: ResidentModel, going: Sequence[ResidentModel], *, late: bool
    ) -> list[ResidentModel] | None:
        inside = [each for each in group.inside if each not in going]
        count, taken = len(inside), sum(each.memory_bytes for each in inside)
        movable = sorted(
            (each for each in inside if each.state == "in" and not each.resident), key=self._worth, reverse=True
        )
        victims: list[ResidentModel] = []
        while (group.max_loaded is not None and count >= group.max_loaded) or (
            group.memory_bytes and taken + entry.memory_bytes > group.memory_bytes and count
        ):
            victim = self._least(movable)
            if victim is None:
                if late and movable and not any(each.closing for each in inside):
                    movable[-1].closing = True
                    self._closing.add(movable[-1].key)
                return None
            movable.remove(victim)
            victims.append(victim)
            count -= 1
            taken -= victim.memory_bytes
        return victims

    def _least(self, movable: Sequence[ResidentModel]) -> ResidentModel | None:
        """The idle model that fewest rows come for; none where a much smaller loss will be idle in a moment."""
        for place in range(len(movable) - 1, -1, -1):
            entry = movable[place]
            if entry.closing and entry.users:
                return None
            if not entry.users:
                least = movable[-1]
                return entry if entry is least or self._demand(entry) <= WORTH_WAITING * self._demand(least) else None
        return None

    def _worth(self, entry: ResidentModel) -> tuple[bool, float, float]:
        """What keeps a model: rows that come for it."""
        return not entry.closing, self._demand(entry), entry.used_at

    def _set(self, entry: ResidentModel, state: State) -> None:
        entry.state = state
        for group in entry.groups:
            if state == "out":
                group.inside.discard(entry)
            else:
                group.inside.add(entry)

    def _let_go(self, entry: ResidentModel) -> None:
        self._set(entry, "leaving")
        entry.closing = False
        self._closing.discard(entry.key)

    def _reopen(self, models: Mapping[Key, Any]) -> None:
        """Nobody has waited too long any more: what was closed for them goes on."""
        for key in self._closing:
            self.entries[key].closing = False
            for waiter in self._grant(self.entries[key]):
                waiter.told.set_result(models[key])
        self._closing.clear()

    def _grant(self, entry: ResidentModel) -> list[Waiter]:
        granted = [waiter for waiter in self._take_waiting(entry) if waiter.told.set_running_or_notify_cancel()]
        entry.users += len(granted)
        return granted

    def _take_waiting(self, entry: ResidentModel) -> list[Waiter]:
        waiters, entry.waiting, entry.waiting_rows = list(entry.waiting), deque(), 0
        self._wanted.pop(entry.key, None)
        return waiters
