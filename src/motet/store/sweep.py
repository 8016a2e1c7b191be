"""What publishers that died have left behind: numbers without a manifest."""

from __future__ import annotations

from motet.store.storage import Storage
from motet.store.version import NAME

__all__ = ["Leftover", "sweep"]

DEFAULT_AGE_S = 24 * 3600.0
Leftover = tuple[str, int]
"""The name of a model, and a number that was taken and never published."""


def sweep(storage: Storage, older_than_s: float = DEFAULT_AGE_S, *, dry_run: bool = False) -> list[Leftover]:
    """Remove the files of versions that were begun and never published; their numbers stay taken.

    Args:
        storage: of the store.
        older_than_s: seconds since they were begun; younger ones may still be on their way.
        dry_run: only say which there are.

    Returns:
        what was removed, or would be.
    """
    found: list[Leftover] = []
    for name in storage.names(""):
        if not NAME.fullmatch(name):
            continue
        for number in sorted(int(each) for each in storage.names(name) if each.isdecimal()):
            inside = storage.names(f"{name}/{number}")
            if "manifest.json" in inside or "files" not in inside:
                continue
            age_s = storage.age_s(f"{name}/{number}/claim.json")
            if age_s is None or age_s < older_than_s:
                continue
            found.append((name, number))
            if not dry_run:
                storage.remove(f"{name}/{number}/files")
    return found
