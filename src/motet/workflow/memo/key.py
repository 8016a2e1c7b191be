"""Keys: what a result is found by, and what is told of it when it is not found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from motet.workflow.memo.checkout import FileState
from motet.workflow.memo.trees import pack

__all__ = ["Argument", "Key", "differences"]


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument as a key has it.

    Attributes:
        digest: of its value; empty where it counts by a rule instead of by content.
        told: the value in short, or where it comes from.
        files: the files and folders that count with their content.
        shared: what its functions and classes may set that a process has once.
    """

    digest: str
    told: str
    files: tuple[FileState, ...] = ()
    shared: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Key:
    """What a result is found by.

    Attributes:
        step: the function, by module and name.
        code: digest of what it stands on.
        arguments: what it is called with, by parameter.
    """

    step: str
    code: str
    arguments: dict[str, Argument]

    @property
    def digest(self) -> str:
        """The key itself, 64 hex digits."""
        found = [self.step, self.code, [[name, each.digest] for name, each in self.arguments.items()]]
        return hashlib.sha256(pack(found)).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """As entries have it."""
        arguments = {name: [each.digest, each.told] for name, each in self.arguments.items()}
        return {"step": self.step, "code": self.code, "arguments": arguments}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Key:
        """The inverse of `to_json`."""
        return cls(found["step"], found["code"], {name: Argument(*each) for name, each in found["arguments"].items()})


def differences(then: Key, now: Key, code: Callable[[str], dict[str, str]]) -> list[str]:
    """What differs between two keys of the same step, in words, the most telling first.

    Args:
        then: an earlier key.
        now: the present one.
        code: gives what is told of code by its digest, as `Code.named` gives it; nothing where that is not known.
    """
    found = []
    for name in {**then.arguments, **now.arguments}:
        before, after = then.arguments.get(name), now.arguments.get(name)
        if before is None or after is None:
            found.append(f"parameter {name} is {'new' if before is None else 'gone'}")
        elif before.digest != after.digest:
            same = before.told == after.told
            digests = f"{before.digest[:8]} -> {after.digest[:8]}"
            found.append(
                f"{name}: {after.told} changed, {digests}" if same else f"{name}: {before.told} -> {after.told}"
            )
    if then.code == now.code:
        return found
    return found + (_of_code(code(then.code), code(now.code)) or ["its code changed"])


def _of_code(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """What differs between what is told of two codes, in words; nothing where one of them is not known."""
    if not then or not now:
        return []
    changed = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return [told for name in changed if (told := _told(name, then, now))]


def _told(name: str, then: dict[str, str], now: dict[str, str]) -> str:
    kind, _, rest = name.partition(" ")
    if kind == "package":
        return f"{name}: {then.get(name, 'not used')} -> {now.get(name, 'not used')}"
    if kind == "value":
        (before, _, old), (after, _, new) = (each.get(name, "").partition(" ") for each in (then, now))
        if not before or not after or before == after:
            return ""  # the code that uses a new name has changed, and is told of
        return f"{rest}: {old} -> {new}" if old != new else f"{rest} changed"
    if kind == "code":
        return ""
    if name not in then:
        return f"now uses {name}"
    if name not in now:
        return f"does not use {name} any more"
    if kind in ("module", "file"):
        return f"{name} changed"
    code = f"code {name}"
    return "" if code in then and then[code] == now.get(code) else f"code of {name} changed"
