"""Exceptions that can be copied and pickled as they are, with their attributes, notes and causes, whatever their constructors take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

__all__ = ["CauseText", "Portable", "Staying", "without_init"]

E = TypeVar("E", bound=BaseException)


class Portable(Exception):
    """An exception that goes to other processes with its cause; a cause that cannot becomes a `CauseText`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, (type(self), self.args, vars(self), _Cause.of(self))


class CauseText(Exception):
    """What the cause of an error said that came from another process and could not be sent itself: `KeyError: 'x'`."""


class Staying(dict[int, BaseException]):
    """Exceptions by row, which copies share, and which stay behind where an error is pickled."""

    def __deepcopy__(self, memo: Any) -> Staying:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Staying, ()


def without_init(kind: type[E], args: tuple[Any, ...]) -> E:
    """An exception made of its class and its arguments, as most are, whatever its constructor takes."""
    made = kind.__new__(kind, *args)
    made.args = args
    return made


def _made_again(kind: type[Portable], args: tuple[Any, ...], attributes: Mapping[str, Any], cause: _Cause) -> Any:
    """An error as it was."""
    made = without_init(kind, args)
    vars(made).update(attributes)
    return cause.put(made)


class _Cause:
    """The cause of an error, which copies share, and which is pickled apart: what goes wrong there harms the error not.

    Args:
        error: the cause; None for none.
        is_only: whether the context of the error is not to be shown (`raise ... from ...`).
    """

    def __init__(self, error: BaseException | None, is_only: bool) -> None:
        self.error, self.is_only = error, is_only

    @classmethod
    def of(cls, error: BaseException) -> _Cause:
        return cls(error.__cause__, error.__suppress_context__)

    def put(self, error: BaseException) -> BaseException:
        """Make it the cause of an error."""
        error.__cause__, error.__suppress_context__ = self.error, self.is_only
        return error

    def __deepcopy__(self, memo: Any) -> _Cause:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self.error is None:
            return _Cause, (None, self.is_only)
        import pickle  # for those alone that send an error

        own = None if isinstance(self.error, Portable) else _Cause.of(self.error)
        try:
            text = f"{type(self.error).__name__}: {self.error}"
        except Exception:  # noqa: BLE001 (it is of code that is not ours)
            text = type(self.error).__name__
        try:
            data = pickle.dumps(self.error)
        except Exception:  # noqa: BLE001 (likewise)
            data = b""
        return _cause_again, (data, text, own, self.is_only)


def _cause_again(data: bytes, text: str, own: _Cause | None, is_only: bool) -> _Cause:
    """A cause that was pickled, or what it said."""
    import pickle

    try:
        error: Any = pickle.loads(data)
    except Exception:  # noqa: BLE001 (its class may not be here, or its constructor want more than it keeps)
        error = None
    if not isinstance(error, BaseException):
        error = CauseText(text)
    return _Cause(error if own is None else own.put(error), is_only)
