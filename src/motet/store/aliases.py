"""Where aliases point: each move is a file of its own, numbered; the highest number holds, those below are the history."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from motet.errors import StoreError
from motet.store.storage import Storage

__all__ = ["Aliases", "Move"]

TRIES = 100
"""Times that a move is tried while others move the same alias."""
KEPT = 100
"""Moves of an alias that are kept."""


class Move(msgspec.Struct, frozen=True):
    """An alias was moved.

    Attributes:
        number: of the version that it points at from then on; 0 where it was withdrawn.
        at: seconds since 1970.
        back_to: the move that was taken back to; None for a move forward.
    """

    number: int
    at: float
    back_to: int | None = None


class Aliases:
    """The aliases of one model.

    Args:
        storage: of the store.
        name: of the model.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage, self._folder = storage, f"{name}/aliases"

    def names(self) -> list[str]:
        """The aliases that there are."""
        return self._storage.names(self._folder)

    def get(self, alias: str) -> int | None:
        """The number of the version that an alias points at; 0 where it was withdrawn, None where it never was."""
        found = self._last(alias)
        return None if found is None else found[1].number

    def history(self, alias: str) -> list[tuple[int, Move]]:
        """The moves of an alias that are kept, oldest first, with their places."""
        found = [(place, self._read(alias, place)) for place in self._places(alias)]
        return [(place, move) for place, move in found if move is not None]

    def move(self, alias: str, choose: Callable[[int | None], int | None]) -> int | None:
        """Point an alias at another version. Where others do so at the same time, one move comes after the other.

        Args:
            alias: the alias.
            choose: is given where it points now, and says where it is to point; None leaves it. May be asked again.

        Returns:
            where it points then.
        """
        return self._move(
            alias,
            lambda last: None if (to := choose(last[1].number if last else None)) is None else Move(to, time.time()),
        )

    def back(self, alias: str, exists: Callable[[int], bool]) -> int | None:
        """Point an alias where it pointed before; None where it did not point elsewhere.

        To go back twice leads to where it pointed before that.

        Args:
            alias: the alias.
            exists: whether there still is a version of this number; others are passed over.
        """

        def earlier(last: tuple[int, Move] | None) -> Move | None:
            if last is None:
                return None
            moves = dict(self.history(alias))
            place = last[1].back_to or last[0]
            while (before := moves.get(place - 1)) is not None:
                place = before.back_to or place - 1
                move = moves.get(place)
                if move is not None and move.number != last[1].number and exists(move.number):
                    return Move(move.number, time.time(), place)
            return None

        last = self._last(alias)
        moved = self._move(alias, earlier)
        return None if last is None or moved == last[1].number else moved

    def _move(self, alias: str, choose: Callable[[tuple[int, Move] | None], Move | None]) -> int | None:
        for _ in range(TRIES):
            last = self._last(alias)
            move = choose(last)
            if move is None:
                return last[1].number if last else None
            place = (last[0] if last else 0) + 1
            if self._storage.create(self._path(alias, place), msgspec.json.encode(move)):
                places = self._places(alias)
                for old in places[:-KEPT]:
                    self._storage.remove(self._path(alias, old))
                if place in places[-KEPT:]:
                    return move.number  # else it was slow, and took a place that had been given up long ago
        raise StoreError(
            f"alias {alias!r} was moved by others {TRIES} times", where=f"store {self._storage.url}", hint="try again"
        )

    def _last(self, alias: str) -> tuple[int, Move] | None:
        places = self._places(alias)
        for place in reversed(places):
            move = self._read(alias, place)
            if move is not None:
                return place, move
        return None

    def _places(self, alias: str) -> list[int]:
        names = self._storage.names(f"{self._folder}/{alias}")
        return sorted(int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdecimal())

    def _path(self, alias: str, place: int) -> str:
        return f"{self._folder}/{alias}/{place:08d}.json"

    def _read(self, alias: str, place: int) -> Move | None:
        data = self._storage.read(self._path(alias, place))
        if data is None:
            return None
        try:
            return msgspec.json.decode(data, type=Move)
        except msgspec.MsgspecError as error:
            where = f"store {self._storage.url}: {self._path(alias, place)}"
            raise StoreError(f"the alias is damaged: {error}", where=where, hint="remove this file") from error
