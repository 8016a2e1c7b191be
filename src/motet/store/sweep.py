"""What publishers that died have left behind: numbers without a manifest."""

from __future__ import annotations

from motet.store.storage import Storage
from motet.store.version import ABANDONED, NAME

__all__ = ["Leftover", "sweep"]

DEFAULT_AGE_S = 24 * 3600.0
Leftover = tuple[str, int]
"""The name of a model, and a number that was taken and never published."""


def sweep(storage: Storage, older_than_s: float = DEFAULT_AGE_S, *, dry_run: bool = False) -> list[Leftover]:
    """Remove the files of versions that were begun and never published; their numbers stay taken.

    A publisher that was only slow, and still is on its way, then cannot publish its number any more, and is told so.

    Args:
        storage: of the store.
        older_than_s: seconds since they were begun; younger ones may still be on their way.
        dry_run: only say which there are.

    Returns:
        what was removed, or would be.
    """
    if not dry_run:
        storage.remove_drafts(older_than_s)
    found: list[Leftover] = []
    for name in storage.names(""):
        if not NAME.fullmatch(name):
            continue
        for number in sorted(int(each) for each in storage.names(name) if each.isdecimal()):
            if not _is_left(storage, f"{name}/{number}", older_than_s):
                continue
            if dry_run or _abandon(storage, f"{name}/{number}"):
                found.append((name, number))
    return found


def _is_left(storage: Storage, folder: str, older_than_s: float) -> bool:
    inside = storage.names(folder)
    if "files" not in inside:
        return False
    if "manifest.json" in inside and storage.read(f"{folder}/manifest.json") != ABANDONED:
        return False
    age_s = storage.age_s(f"{folder}/claim.json")
    return age_s is not None and age_s >= older_than_s


def _abandon(storage: Storage, folder: str) -> bool:
    """Take the place of the manifest, so that nobody can publish what is removed; False where somebody just has."""
    manifest = f"{folder}/manifest.json"
    if not storage.create(manifest, ABANDONED) and storage.read(manifest) != ABANDONED:
        return False
    storage.remove(f"{folder}/files")
    return True
