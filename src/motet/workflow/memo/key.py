"""Keys: what a result is found by, and what is told of it when it is not found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from motet.workflow.memo.encode import pack

__all__ = ["Argument", "Key", "differences"]


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument as a key has it.

    Attributes:
        digest: of its value; empty where it counts by a rule instead of by content.
        told: the value in short, or where it comes from.
    """

    digest: str
    told: str


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
        code: gives the parts of code by its digest, with versions under `package NAME`; none where they are not known.
    """
    found = []
    for name in {**then.arguments, **now.arguments}:
        before, after = then.arguments.get(name), now.arguments.get(name)
        if before is None or after is None:
            found.append(f"parameter {name} is {'new' if before is None else 'gone'}")
        elif before.digest != after.digest:
            same = before.told == after.told
            found.append(f"{name}: {after.told} changed" if same else f"{name}: {before.told} -> {after.told}")
    if then.code == now.code:
        return found
    code_then, code_now = code(then.code), code(now.code)
    changed = [name for name in {**code_then, **code_now} if code_then.get(name) != code_now.get(name)]
    for name in changed if code_then else ():
        if name.startswith("package "):
            found.append(f"{name}: {code_then.get(name, 'not used')} -> {code_now.get(name, 'not used')}")
        elif name not in code_then:
            found.append(f"now uses {name}")
        elif name not in code_now:
            found.append(f"does not use {name} any more")
        else:
            found.append(f"code of {name} changed" if not name.startswith("module ") else f"{name} changed")
    return found if changed and code_then else [*found, "its code changed"]
